//! The decision without a client: no feature, no runtime, no allocation.

use std::hint::black_box;

use allocation_counter::measure;
use leverframe::{GateReason, GateResult, Policy, SafeModeStrategy, gate, gate::TagWeights};

#[test]
fn the_pure_decision_allocates_nothing() {
    let policy = Policy {
        global_max_weight: 100.0,
        tag_max_weights: TagWeights::from([("free", 1.0), ("pro", 50.0), ("batch", 0.0)]),
        ..Policy::default()
    };
    let calls = [
        (None, None, GateReason::Allowed),
        (Some("free"), Some(1.0), GateReason::Allowed),
        (Some("free"), Some(2.0), GateReason::TagBlocked),
        (Some("batch"), Some(0.5), GateReason::TagBlocked),
        (Some("pro"), Some(f64::NAN), GateReason::OverWeight),
        (Some("a tag that the policy does not name"), Some(101.0), GateReason::OverWeight),
    ];

    let counted = measure(|| {
        for (tag, weight, reason) in calls {
            assert_eq!(black_box(gate(&policy, black_box(tag), weight)).reason, reason);
        }
    });

    assert_eq!(counted.count_total, 0);
}

#[test]
fn a_result_is_plain_data() {
    fn plain<T: Copy + Eq + std::hash::Hash + Send + Sync + 'static>(_: T) {}
    let result: GateResult = gate(&Policy::default(), None, None);

    plain(result);
    plain(SafeModeStrategy::default());
    assert_eq!(serde_json::to_string(&result).unwrap(), r#"{"allowed":true,"reason":"allowed"}"#);
}
