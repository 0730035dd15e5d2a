//! What the server has counted is what callers did, whatever happens on the way.

use std::{collections::BTreeMap, sync::Arc};

use leverframe::{
    backends::clock_system::SystemClock,
    gate::{DEFAULT_TAG, WaitState, reflex::Aggregate, types::CustomMetricAggregate},
};
use serde_json::json;

use crate::{
    proxy::{Fault, Proxy},
    stage::{change, key, reopened, totals},
    support::TestServer,
};

/// What callers did, by tag.
type Done = BTreeMap<String, Aggregate>;

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// Does something, and writes it down.
fn act(client: &WaitState, dice: &mut Dice, done: &mut Done) {
    let tag = [None, Some("free"), Some("pro"), Some("batch")][dice.below(4) as usize];
    let written = done.entry(tag.unwrap_or(DEFAULT_TAG).to_owned()).or_default();
    match dice.below(10) {
        0..=5 => {
            let allowed = client.gate(tag, Some(dice.below(12) as f64)).allowed;
            written.calls += 1;
            written.denied += u64::from(!allowed);
        }
        6 | 7 => {
            // Half milliseconds, which are whole numbers of microseconds.
            let halves = dice.below(16_000);
            client.report_latency(halves as f64 / 2.0, tag);
            written.latency_micros += halves * 500;
            let bounds = [50, 100, 250, 500, 1_000, 2_500, 5_000];
            let bucket = bounds.iter().position(|bound| halves <= bound * 2).unwrap_or(7);
            written.buckets[bucket] += 1;
        }
        8 => {
            client.report_error(tag);
            written.errors += 1;
        }
        _ => {
            let value = dice.below(100) as f64;
            client.report("depth", value, tag);
            match written.custom.get_mut("depth") {
                None => {
                    let mut first = CustomMetricAggregate::default();
                    (first.min, first.max, first.sum, first.count) = (value, value, value, 1);
                    written.custom.insert("depth".to_owned(), first);
                }
                Some(held) => {
                    held.min = held.min.min(value);
                    held.max = held.max.max(value);
                    held.sum += value;
                    held.count += 1;
                }
            }
        }
    }
}

async fn conserved(seed: u64) {
    let mut server = TestServer::start().await;
    let key = key(&server, "acme", None).await;
    let limits = json!({"tag_max_weights": {"free": 5, "batch": -1}, "global_max_weight": 10});
    assert_eq!(change(&server, "acme", &limits).await.status, 200);
    let proxy = Proxy::before(server.running.address()).await;
    let client = WaitState::builder()
        .publish_key(&key.publish)
        .secret_key(&key.secret)
        .base_url(proxy.url())
        .build()
        .unwrap();
    let (mut dice, mut done) = (Dice(seed), Done::new());

    for _ in 0..40 {
        for _ in 0..dice.below(60) {
            act(&client, &mut dice, &mut done);
        }
        // A report that fails asks for a token: what fails is the report.
        match dice.below(9) {
            0 => proxy.fail("/v1/pulse", Fault::Reset),
            1 | 2 => proxy.fail("/v1/pulse", Fault::Unheard),
            3 => proxy.fail("/v1/pulse", Fault::Status(500 + dice.below(4) as u16)),
            4 => proxy.fail("/v1/pulse", Fault::Status(401)),
            5 => proxy.fail("/v1/pulse", Fault::Body(b"<html>please log in</html>".to_vec())),
            6 => proxy.fail("/v1/pulse", Fault::Body(Vec::new())),
            _ => {}
        }
        // While reports are on their way, others go on, connections break, and servers die.
        let turns = dice.below(200);
        let deed = dice.below(8);
        let flushing = async {
            // It fails where it should; what counts is that nothing is lost.
            let _ = client.flush().await;
        };
        let meanwhile = async {
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
            match deed {
                0 => proxy.cut(),
                1 => {
                    let next = reopened(&server, Arc::new(SystemClock::new())).await;
                    proxy.lead_to(next.address());
                    server.running = next;
                }
                _ => {
                    for _ in 0..deed {
                        act(&client, &mut dice, &mut done);
                    }
                }
            }
        };
        tokio::join!(flushing, meanwhile);
    }
    // What was to go wrong and has not yet.
    let mut attempts = 0;
    while client.flush().await.is_err() {
        attempts += 1;
        assert!(attempts < 100, "{:?}", client.state());
    }
    act(&client, &mut dice, &mut done);
    client.close().await.unwrap();

    let counted: Done = totals(&server, "default")
        .await
        .into_iter()
        .filter(|(_, tag)| *tag != Aggregate::default())
        .collect();
    assert_eq!(counted, done);
    assert!(done.values().any(|tag| tag.denied > 0) && done.values().all(|tag| tag.samples() > 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_counted_is_what_was_done_whatever_breaks() {
    for seed in 1..=4 {
        conserved(seed).await;
    }
}
