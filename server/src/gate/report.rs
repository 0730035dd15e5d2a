//! Reads pulses: what is no pulse is refused, what is out of bounds is brought within them, and nothing is lost on the
//! way.

use std::collections::BTreeMap;

use leverframe::gate::{
    reflex::{Window, pulse_window},
    types::{CustomMetricAggregate, LONGEST_TAG, PulsePayload, is_valid_metric_name},
};

use crate::{
    extract,
    gate::model::{DEFAULT_SITE, GateKey, Pulse, SiteId, is_site},
    problem::Problem,
};

/// A pulse names at most this many tags: what a client tells apart, and the two that take the rest.
const MOST_TAGS: usize = 1_002;
/// A tag has at most this many custom metrics; further ones are counted as one.
const MOST_METRICS: usize = 32;
/// Takes what is counted under names beyond the bounds.
const OTHER: &str = "__other__";
/// Bytes of an instance's id, and of a pulse's.
const LONGEST_ID: usize = 128;
/// Counts up to here are numbers that every program can hold.
const MOST: u64 = 1 << 53;
/// Sums of custom metrics: far enough from the end that adding many of them stays a number.
const MOST_SUM: f64 = 1e290;

/// Reads the body of a pulse that a key has signed.
///
/// # Errors
/// `bad_request` for what is no pulse, `forbidden` for a site that the key may not report for.
pub(crate) fn read(key: &GateKey, body: &[u8]) -> Result<Pulse, Problem> {
    let bad = |what: &str| Problem::bad_request(format!("the pulse cannot be counted: {what}"));
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(bad("it is not a JSON object"));
    }
    let payload: PulsePayload = extract::parsed(body).map_err(|error| extract::unreadable(&error))?;
    if !is_id(&payload.instance_id) {
        return Err(bad("`instanceId` must be a name of at most 128 bytes"));
    }
    if payload.pulse_id.as_deref().is_some_and(|id| !is_id(id)) {
        return Err(bad("`pulseId` must be a name of at most 128 bytes"));
    }
    if payload.ts > MOST {
        return Err(bad("`ts` must be the time in milliseconds"));
    }
    if payload.tag_metrics.len() > MOST_TAGS {
        return Err(bad("it names more than 1,002 tags"));
    }
    let site = match (payload.site_id.as_deref(), key.site.as_deref()) {
        (Some(named), _) if !is_site(named) => {
            return Err(bad("`siteId` must be letters, digits, `.`, `_` and `-`, at most 64 of them"));
        }
        (Some(named), Some(only)) if named != only => {
            return Err(Problem::forbidden("the key may not report for this site"));
        }
        (Some(named), _) => named,
        // A key of one site need not be told which.
        (None, only) => only.unwrap_or(DEFAULT_SITE),
    };
    let site = SiteId::new(&key.org, site);
    let mut pulse = Pulse::new(site, payload.instance_id.clone(), payload.ts, Window::new());
    pulse.pulse_id.clone_from(&payload.pulse_id);
    pulse.window = within_bounds(payload);
    Ok(pulse)
}

fn within_bounds(mut payload: PulsePayload) -> Window {
    for tag in &mut payload.tag_metrics {
        if !is_tag(&tag.tag) {
            OTHER.clone_into(&mut tag.tag);
        }
        if let Some(metrics) = tag.custom_metrics.take() {
            tag.custom_metrics = Some(folded(metrics));
        }
    }
    let mut window = pulse_window(&payload);
    for counted in window.values_mut() {
        for number in
            [&mut counted.calls, &mut counted.denied, &mut counted.errors, &mut counted.latency_micros]
                .into_iter()
                .chain(&mut counted.buckets)
                .chain(counted.custom.values_mut().map(|values| &mut values.count))
        {
            *number = (*number).min(MOST);
        }
        for values in counted.custom.values_mut() {
            for number in [&mut values.min, &mut values.max, &mut values.sum] {
                *number = number.clamp(-MOST_SUM, MOST_SUM);
            }
        }
    }
    window
}

/// Counts metrics of other names, and those that are too many, as one.
fn folded(metrics: BTreeMap<String, CustomMetricAggregate>) -> BTreeMap<String, CustomMetricAggregate> {
    let mut kept: BTreeMap<String, CustomMetricAggregate> = BTreeMap::new();
    for (name, values) in metrics {
        let name = if is_valid_metric_name(&name) && kept.len() < MOST_METRICS { name } else { OTHER.into() };
        match kept.get_mut(&name) {
            None => {
                kept.insert(name, values);
            }
            Some(held) => {
                held.min = held.min.min(values.min);
                held.max = held.max.max(values.max);
                held.sum += values.sum;
                held.count = held.count.saturating_add(values.count);
            }
        }
    }
    kept
}

fn is_id(id: &str) -> bool {
    (1..=LONGEST_ID).contains(&id.len()) && !id.chars().any(char::is_control)
}

/// Returns true for a tag that is kept under its own name.
pub(crate) fn is_tag(tag: &str) -> bool {
    tag.len() <= LONGEST_TAG && !tag.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use serde_json::{Value, json};

    use super::*;

    fn key(site: Option<&str>) -> GateKey {
        GateKey {
            org: "acme".to_owned(),
            publish_key: "wpk_1".to_owned(),
            site: site.map(str::to_owned),
            name: String::new(),
            created_at: SystemTime::UNIX_EPOCH,
            created_by: String::new(),
            revoked_at: None,
        }
    }

    fn pulse(changes: &[(&str, Value)]) -> Vec<u8> {
        let mut pulse = json!({
            "instanceId": "i", "usageDelta": 2, "bouncedUnits": 1, "metrics": {"latency": 1.5, "errors": 0},
            "tagMetrics": [{"tag": "a", "latency": 1.5, "count": 2}], "ts": 1,
        });
        for (field, value) in changes {
            pulse[field] = value.clone();
        }
        pulse.to_string().into_bytes()
    }

    fn read_one(changes: &[(&str, Value)]) -> Result<Pulse, Problem> {
        read(&key(None), &pulse(changes))
    }

    #[test]
    fn a_pulse_is_of_the_site_that_it_names_or_its_key_does() {
        let site = |key_of: Option<&str>, named: Value| {
            read(&key(key_of), &pulse(&[("siteId", named)]))
                .map(|pulse| pulse.site.site)
                .map_err(|p| p.code())
        };

        assert_eq!(site(None, Value::Null), Ok("default".to_owned()));
        assert_eq!(site(None, json!("eu")), Ok("eu".to_owned()));
        assert_eq!(site(Some("eu"), Value::Null), Ok("eu".to_owned()));
        assert_eq!(site(Some("eu"), json!("eu")), Ok("eu".to_owned()));
        assert_eq!(site(Some("eu"), json!("us")), Err("forbidden"));
        for bad in ["", "a b", "a/b", "ä", &"x".repeat(65)] {
            assert_eq!(site(None, json!(bad)), Err("bad_request"), "{bad}");
        }
    }

    #[test]
    fn what_is_no_pulse_is_refused() {
        for body in [
            "",
            "null",
            "[]",
            "{}",
            "{",
            r#"["i",null,1,0,{"latency":0,"errors":0},[],1,null]"#,
            "\u{1f}\u{8b}",
        ] {
            assert_eq!(read(&key(None), body.as_bytes()).unwrap_err().code(), "bad_request", "{body}");
        }
        for change in [
            ("instanceId", json!("")),
            ("instanceId", json!("a\0b")),
            ("instanceId", json!("x".repeat(129))),
            ("pulseId", json!("")),
            ("usageDelta", json!(-1)),
            ("usageDelta", json!(1.5)),
            ("ts", json!(u64::MAX)),
            ("tagMetrics", json!(vec![json!({"tag": "a", "latency": 0, "count": 0}); 1_003])),
        ] {
            let what = change.0;
            assert_eq!(read_one(&[change]).unwrap_err().code(), "bad_request", "{what}");
        }
        let deep = format!("{{\"instanceId\":{}", "[".repeat(100_000));
        assert_eq!(read(&key(None), deep.as_bytes()).unwrap_err().code(), "bad_request");
        let infinite = String::from_utf8(pulse(&[])).unwrap().replace("1.5", "1e999");
        assert_eq!(read(&key(None), infinite.as_bytes()).unwrap_err().code(), "bad_request");
    }

    #[test]
    fn what_every_client_sends_is_taken() {
        let read = read_one(&[(
            "tagMetrics",
            json!([
                {"tag": "__default__", "latency": null, "count": 0},
                {"tag": "a", "latency": 2.0, "count": 1, "latencyBuckets": [1, 0, 0, 0, 0, 0, 0, 0],
                 "customMetrics": {"depth": {"min": null, "max": null, "sum": null, "count": 1}}},
                {"tag": "a", "latency": 0, "count": 1},
            ]),
        )])
        .unwrap();

        let a = &read.window["a"];
        assert_eq!((a.calls, a.samples(), a.latency_micros), (2, 1, 2_000), "of one tag, all are added up");
        assert_eq!(a.custom["depth"].count, 1);
        assert_eq!(read.window[""].denied, 1, "known for the whole only");
    }

    #[test]
    fn names_beyond_the_bounds_are_counted_together() {
        let metrics: BTreeMap<String, Value> = (0..40)
            .map(|n| (format!("m{n:02}"), json!({"min": n, "max": n, "sum": n, "count": 1})))
            .chain([("no name\0".to_owned(), json!({"min": -5, "max": -5, "sum": -5, "count": 1}))])
            .collect();
        let tag = |tag: &str| json!({"tag": tag, "latency": 0, "count": 1, "customMetrics": metrics});

        let read =
            read_one(&[("tagMetrics", json!([tag("a\0b"), tag(&"x".repeat(LONGEST_TAG + 1)), tag("ok")]))])
                .unwrap();

        let tags: Vec<&str> = read.window.keys().map(String::as_str).filter(|tag| !tag.is_empty()).collect();
        assert_eq!(tags, [OTHER, "ok"]);
        assert_eq!(read.window[OTHER].calls, 2);
        let ok = &read.window["ok"];
        assert_eq!(ok.custom.len(), 33);
        assert_eq!(ok.custom.values().map(|values| values.count).sum::<u64>(), 41, "none is lost");
        assert_eq!(ok.custom.values().map(|values| values.sum).sum::<f64>(), 775.0);
        assert_eq!(ok.custom[OTHER].min, -5.0);
    }

    #[test]
    fn numbers_beyond_the_bounds_are_brought_within_them() {
        let read = read_one(&[
            ("usageDelta", json!(u64::MAX)),
            ("bouncedUnits", json!(u64::MAX)),
            ("metrics", json!({"latency": 1e300, "errors": 1e300})),
            (
                "tagMetrics",
                json!([{"tag": "a", "latency": 1e308, "count": u64::MAX, "denied": u64::MAX, "errors": u64::MAX,
                    "latencyBuckets": vec![u64::MAX; 8],
                    "customMetrics": {"depth": {"min": -1e308, "max": 1e308, "sum": 1e308, "count": u64::MAX}}}]),
            ),
        ])
        .unwrap();

        let a = &read.window["a"];
        assert_eq!((a.calls, a.denied, a.errors, a.latency_micros), (MOST, MOST, MOST, MOST));
        assert_eq!(a.buckets, [MOST; 8]);
        let depth = a.custom["depth"];
        assert_eq!((depth.min, depth.max, depth.sum, depth.count), (-MOST_SUM, MOST_SUM, MOST_SUM, MOST));
    }
}
