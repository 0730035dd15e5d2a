//! Evaluation of booleans, integers and floats allocates nothing, whatever the outcome, and neither does a gate or a
//! limiter.
#![cfg(all(feature = "async-tokio", feature = "testing"))]
#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

use std::{hint::black_box, sync::Arc, time::Duration};

use allocation_counter::measure;
use leverframe::{
    EvalContext, ExdClient, Namespace, Policy, WaitState,
    gate::limiter::{AdaptiveLimiter, Permit, Priority},
    testing::ManualClock,
};

fn flag(flag_type: &str, first: &str, second: &str) -> String {
    format!(
        r#"
schema_version = "0.1"
[flag]
type = "{flag_type}"
[flag.variants]
first = {first}
second = {second}
[flag.environments._]
variant = "first"
[[flag.environments._.rules]]
segment = "half-of-premium"
variant = "second"
"#
    )
}

const SEGMENT: &str = r#"
schema_version = "0.1"
[segment]
[segment.predicate]
and = [
    { attribute = "user.country", op = "in", values = ["US", "DE", "FR"] },
    { attribute = "user.app", op = "semver_gte", value = "2.1.0" },
    { attribute = "user.age", op = "gt", value = 17 },
]
[segment.bucket]
entity_id_attribute = "user.id"
salt = "s"
start = 0
end = 4999
"#;

fn namespace() -> Namespace {
    let files = [
        ("flags/bool.toml", flag("boolean", "false", "true")),
        ("flags/int.toml", flag("integer", "1", "2")),
        ("flags/float.toml", flag("float", "1.5", "2.5")),
        ("segments/half-of-premium.toml", SEGMENT.to_owned()),
    ];
    Namespace::from_files("shop", &files).unwrap()
}

fn contexts() -> Vec<EvalContext> {
    (0..64)
        .map(|i| {
            EvalContext::builder()
                .str("user.id", format!("user-{i}"))
                .str("user.country", if i % 3 == 0 { "ES" } else { "DE" })
                .str("user.app", "2.3.0-rc.1")
                .int("user.age", i)
                .build()
        })
        .collect()
}

fn client() -> ExdClient {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime
        .block_on(ExdClient::builder().namespace_inline(namespace()).environment("production").build())
        .unwrap()
}

#[test]
fn strict_entry_points_allocate_nothing() {
    let (namespace, contexts) = (namespace(), contexts());
    // The first read on a thread makes that thread's slot of the snapshot pointer.
    black_box(namespace.eval_bool("bool", "production", &contexts[0]).unwrap());

    let counted = measure(|| {
        for ctx in &contexts {
            black_box(namespace.eval_bool("bool", "production", ctx).unwrap());
            black_box(namespace.eval_i64("int", "production", ctx).unwrap());
            black_box(namespace.eval_f64("float", "production", ctx).unwrap());
        }
    });

    assert_eq!(counted.count_total, 0);
}

#[test]
fn client_pinned_view_and_handles_allocate_nothing() {
    let (client, contexts) = (client(), contexts());
    let (pinned, handle) = (client.pin(), client.flag("bool", false));
    black_box(handle.get(&contexts[0]));

    let counted = measure(|| {
        for ctx in &contexts {
            black_box(client.bool_flag_sync("bool", ctx, false));
            black_box(client.int_flag_sync("int", ctx, 0));
            black_box(client.float_flag_sync("float", ctx, 0.0));
            black_box(pinned.bool_flag("bool", ctx, false));
            black_box(handle.get(ctx));
        }
    });

    assert_eq!(counted.count_total, 0);
}

#[test]
fn a_failing_evaluation_allocates_nothing_once_its_warning_is_not_due() {
    let (client, contexts) = (client(), contexts());
    black_box(client.bool_flag_sync("no-such-flag", &contexts[0], false));

    let counted = measure(|| {
        for ctx in &contexts {
            black_box(client.bool_flag_sync("no-such-flag", ctx, true));
        }
    });

    assert_eq!(counted.count_total, 0);
}

#[test]
fn a_limiter_allocates_nothing_for_a_call_nor_at_the_end_of_a_window() {
    let clock = ManualClock::new();
    let limiter = AdaptiveLimiter::builder()
        .initial(3)
        .priority("checkout", Priority::Critical)
        .clock(Arc::new(clock.clone()))
        .build()
        .unwrap();
    let run = || {
        for i in 0..20_000_u32 {
            let mut held = [0, 1, 2, 3].map(|_| limiter.acquire(Some("checkout"), None));
            clock.advance(Duration::from_micros(u64::from(200 + i % 3 * 800)));
            if i % 50 == 0 {
                held.iter_mut().flatten().for_each(Permit::failed);
            }
            drop(black_box(held));
        }
    };

    assert_eq!(measure(run).count_total, 0);
    let snapshot = limiter.snapshot();
    assert!(snapshot.windows > 50 && snapshot.priorities[3].denied > 0, "{snapshot:?}");
}

#[test]
fn an_entry_allocates_nothing_after_the_first_of_its_tag() {
    let ws = WaitState::builder().publish_key("pk").secret_key("sk").base_url("http://127.0.0.1:9");
    let ws = ws.build().unwrap().limited(AdaptiveLimiter::builder().build().unwrap());
    drop(ws.enter(Some("checkout"), None));

    let run = || (0..1_000).for_each(|_| drop(black_box(ws.enter(Some("checkout"), Some(1.0)))));

    assert_eq!(measure(run).count_total, 0);
}

#[test]
fn a_gate_allocates_nothing_but_for_the_first_call_of_a_tag() {
    let ws = WaitState::builder()
        .publish_key("pk")
        .secret_key("sk")
        .base_url("http://127.0.0.1:9")
        .build()
        .unwrap();
    let throttle = [("slow".to_owned(), 50)].into();
    ws.set_policy(Policy {
        tag_max_weights: [("free", 1.0), ("pro", 50.0), ("batch", 0.0)].into(),
        throttle,
        ..Policy::default()
    });
    let tags = [None, Some("free"), Some("pro"), Some("batch"), Some("slow"), Some("of no policy")];
    let every_call = || {
        for tag in tags {
            black_box(ws.gate(tag, Some(2.0)));
            ws.report_latency(3.5, tag);
            ws.report_error(tag);
            drop(ws.timer(tag));
        }
    };
    // The first time, tags get their places, and the thread its slot of the snapshot pointer.
    every_call();

    assert_eq!(measure(every_call).count_total, 0);
}

#[test]
fn the_counter_counts() {
    let counted = measure(|| {
        black_box(vec![1_u8]);
    });

    assert_eq!(counted.count_total, 1);
}
