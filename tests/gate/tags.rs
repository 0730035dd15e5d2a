//! Many tags, and numbers that are none.

use leverframe::{gate::GateReason, live::block_on, testing::ManualClock};

use crate::plane::{Does, FREE_10, Plane, REFUSAL, synced};

#[test]
fn a_million_tags_are_bounded_counted_and_change_no_limit() {
    const CALLS: u64 = 1_000_000;
    let (plane, clock) = (Plane::answering(FREE_10), ManualClock::new());
    let ws = synced(&plane, &clock);

    for i in 0..CALLS {
        ws.gate(Some(&format!("tag-{i}")), None);
    }
    for long in 0..100 {
        ws.gate(Some(&format!("{long:x>5000}")), None);
    }

    assert_eq!(ws.gate(Some("free"), Some(11.0)).reason, GateReason::TagBlocked);
    block_on(ws.flush()).unwrap();
    plane.with(|c| {
        assert_eq!(c.usage, CALLS + 101);
        assert_eq!(c.tags.values().sum::<u64>(), c.usage);
        assert!(c.tags.len() <= 1_002, "{}", c.tags.len());
        assert!(c.tags["__other__"] > CALLS - 1_000);
        assert!(c.bodies.iter().all(|body| body.len() < 256 * 1024));
    });
}

#[test]
fn tags_of_a_burst_do_not_keep_their_places_for_ever() {
    let (plane, clock) = (Plane::answering(FREE_10), ManualClock::new());
    let ws = synced(&plane, &clock);
    for i in 0..2_000 {
        ws.gate(Some(&format!("burst-{i}")), None);
    }
    ws.gate(Some("late"), None);
    for _ in 0..10 {
        block_on(ws.flush()).unwrap();
    }

    ws.gate(Some("later"), None);
    block_on(ws.flush()).unwrap();

    plane.with(|c| {
        assert_eq!((c.usage, c.tags.get("late"), c.tags.get("later")), (2_002, None, Some(&1)));
    });
}

#[test]
fn a_policy_that_throttles_too_many_tags_is_refused_and_the_one_before_stays() {
    let (plane, clock) = (Plane::answering(FREE_10), ManualClock::new());
    let ws = synced(&plane, &clock);
    let throttling = |count: usize| {
        let tags: Vec<String> = (0..count).map(|n| format!(r#""t{n}":100"#)).collect();
        format!(r#"{{"globalMaxWeight":null,"throttle":{{{}}}}}"#, tags.join(","))
    };
    plane.answers(&throttling(1_001));

    let error = block_on(ws.flush()).unwrap_err();

    assert!(error.chain().contains("more than 1000 tags"), "{}", error.chain());
    assert!(ws.state().last_error.is_some());
    assert_eq!(ws.gate(Some("free"), Some(11.0)).reason, GateReason::TagBlocked);
    assert!(ws.gate(Some("t0"), None).allowed);
    plane.answers(&throttling(1_000));
    block_on(ws.flush()).unwrap();
    assert_eq!(ws.gate(Some("t0"), None).reason, GateReason::Throttled);
}

#[test]
fn many_metrics_of_many_tags_travel_in_reports_of_bounded_size() {
    let (plane, clock) = (Plane::answering(FREE_10), ManualClock::new());
    let ws = synced(&plane, &clock);
    for tag in 0..200 {
        for metric in 0..40 {
            ws.report(&format!("metric_{metric}"), 1.0, Some(&format!("\u{1}{tag}")));
        }
    }

    block_on(ws.flush()).unwrap();

    plane.with(|c| {
        assert_eq!(c.custom, 8_000.0);
        assert!(c.bodies.len() > 2 && c.bodies.iter().all(|body| body.len() < 256 * 1024));
    });
    assert!(
        plane
            .pulses()
            .iter()
            .flat_map(|p| &p.tag_metrics)
            .all(|m| m.custom_metrics.as_ref().unwrap().len() <= 33)
    );
}

#[test]
fn weights_that_are_none_are_refused_and_endless_ones_weigh_more_than_any_limit() {
    let (plane, clock) = (Plane::answering(FREE_10), ManualClock::new());
    let ws = synced(&plane, &clock);

    for weight in [f64::NAN, -f64::NAN, -1.0, f64::NEG_INFINITY, f64::INFINITY, f64::MAX] {
        let result = ws.gate(Some("pro"), Some(weight));
        assert_eq!((result.allowed, result.reason), (false, GateReason::OverWeight), "{weight}");
    }
    assert!(ws.gate(Some("pro"), Some(-0.0)).allowed);
    assert!(ws.gate(Some("pro"), Some(f64::MIN_POSITIVE)).allowed);
}

#[test]
fn measurements_that_are_no_numbers_break_no_report() {
    let (plane, clock) = (Plane::answering(FREE_10), ManualClock::new());
    let ws = synced(&plane, &clock);

    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, f64::MAX, f64::MIN] {
        ws.report_latency(value, None);
        ws.report("depth", value, None);
    }
    ws.report("depth", f64::MAX, None);
    for name in ["", "Depth", "p95_latency", "1st", "a.b", "\0", &"m".repeat(64)] {
        ws.report(name, 1.0, None);
    }
    block_on(ws.flush()).unwrap();

    let pulse = plane.pulses().pop().unwrap();
    let [metric] = &pulse.tag_metrics[..] else { panic!("one tag") };
    assert_eq!(
        metric.latency_buckets,
        Some([4, 0, 0, 0, 0, 0, 0, 2]),
        "what is no time is none, what is endless a day"
    );
    let custom = metric.custom_metrics.as_ref().unwrap();
    assert_eq!(custom.keys().collect::<Vec<_>>(), ["depth"]);
    assert_eq!((custom["depth"].count, custom["depth"].min, custom["depth"].max), (4, f64::MIN, f64::MAX));
    assert!(!plane.with(|c| c.bodies.concat()).contains("null"));
}

#[test]
fn tags_and_metrics_of_any_text_arrive_as_they_are() {
    let (plane, clock) = (Plane::answering(FREE_10), ManualClock::new());
    let ws = synced(&plane, &clock);
    let tags = ["", "a\0b", "\"", "\u{1f3af}", "*", " free", "__other__"];
    for tag in tags {
        ws.gate(Some(tag), None);
        ws.report("depth", 1.0, Some(tag));
    }

    block_on(ws.flush()).unwrap();

    plane.with(|c| {
        assert_eq!(c.tags.len(), tags.len());
        assert!(tags.iter().all(|tag| c.tags[*tag] == 1), "{:?}", c.tags);
    });
}

#[test]
fn a_tag_that_the_control_plane_does_not_take_holds_no_other_up() {
    let (plane, clock) = (Plane::answering(FREE_10), ManualClock::new());
    let ws = synced(&plane, &clock);
    plane.refuses_tag("<script>", 400);
    for i in 0..20 {
        ws.gate(Some(&format!("tag-{i}")), None);
    }
    ws.gate(Some("<script>"), None);

    for _ in 0..5 {
        let asked = plane.paths().len();
        // That it was refused is told each time.
        let _ = block_on(ws.flush());
        assert!(plane.paths().len() - asked <= 12, "without end");
    }
    assert_eq!(plane.with(|c| c.usage), 20);
    assert!(ws.state().last_report_error.is_some_and(|error| error.contains("400")));
    plane.refuses_tag("nothing", 400);
    block_on(ws.flush()).unwrap();

    assert_eq!(plane.with(|c| (c.usage, c.tags["<script>"])), (21, 1));
}

#[test]
fn a_control_plane_that_takes_nothing_is_not_asked_without_end() {
    let (plane, clock) = (Plane::answering(FREE_10), ManualClock::new());
    let ws = synced(&plane, &clock);
    for i in 0..900 {
        ws.gate(Some(&format!("tag-{i}")), None);
    }
    plane.only(&Does::Reply(413, &[], REFUSAL));

    for _ in 0..3 {
        let asked = plane.paths().len();
        block_on(ws.flush()).unwrap_err();
        assert!(plane.paths().len() - asked <= 7, "{:?}", plane.paths());
    }
    plane.recovers();
    block_on(ws.flush()).unwrap();

    assert_eq!(plane.with(|c| c.usage), 900);
}

#[test]
fn a_refusal_that_may_not_be_the_control_planes_leaves_the_report_as_it_is() {
    let (plane, clock) = (Plane::answering(FREE_10), ManualClock::new());
    let ws = synced(&plane, &clock);
    ws.gate(Some("a"), None);
    ws.gate(Some("b"), None);
    plane.then([Does::Refuse(400)]);

    block_on(ws.flush()).unwrap_err();
    block_on(ws.flush()).unwrap();

    let with_calls: Vec<_> = plane.pulses().into_iter().filter(|pulse| pulse.usage_delta > 0).collect();
    assert_eq!(with_calls.len(), 2);
    assert_eq!((&with_calls[0].pulse_id, with_calls[0].usage_delta), (&with_calls[1].pulse_id, 2));
    assert_eq!(plane.with(|c| c.usage), 2);
}
