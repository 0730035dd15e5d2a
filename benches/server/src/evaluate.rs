//! Evaluation over HTTP, against a bare route that answers a constant of the same size.

use std::time::Duration;

use serde_json::json;

use crate::{
    load::{by_turns, once},
    options::Options,
    report::{Report, Row},
    stage::{FLAGS, Stage},
};

const PEER: &str = "a bare axum route";
/// Of the requests a second that the bare route reaches.
const LEAST: f64 = 0.7;
/// How long each side's turn lasts.
const TURN: Duration = Duration::from_millis(200);

pub(crate) fn measure(stage: &Stage, options: &Options, report: &mut Report) {
    let context = json!({
        "user.id": "u-18273", "user.country": "AT", "user.plan": "pro", "user.age": 31, "user.beta": true,
    });
    let base = "/api/v1/tenants/acme/namespaces/payments";
    let keys = |count: usize| (0..count).map(|n| format!("flag-{n:03}")).collect::<Vec<_>>();
    let evaluate = |count| {
        (
            format!("evaluate {count} flag{}", if count == 1 { "" } else { "s" }),
            format!("{base}/evaluate"),
            json!({"environment": "production", "flags": keys(count), "context": context}),
        )
    };
    let rows = [
        evaluate(1),
        evaluate(10),
        (
            format!("evaluate all {FLAGS} flags"),
            format!("{base}/evaluate/all"),
            json!({"environment": "production", "context": context}),
        ),
        (
            "ofrep, one flag".to_owned(),
            "/ofrep/v1/evaluate/flags/flag-001?environment=production".to_owned(),
            json!({"context": {"targetingKey": "u-18273", "user": {"country": "AT", "plan": "pro"}}}),
        ),
    ];
    for (name, path, body) in rows {
        if !options.wants(&name) {
            continue;
        }
        eprintln!("measuring {name}");
        let ours = stage.post(&path, &body.to_string());
        let answer = stage.runtime.block_on(once(&ours));
        let peer = stage.bare(&ours, answer.len());
        let pairs = by_turns(&ours, &peer, options.rounds(), TURN);
        report.push(Row::paired(&name, "requests/s", PEER, &pairs, LEAST));
    }
}
