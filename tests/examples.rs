//! Every example runs to its end by itself and shows what its comments say.
//!
//! `cargo test` builds the examples beside the tests; this runs what it built.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    env,
    io::{self, Read},
    path::PathBuf,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

/// Far above what an example takes, so that one which hangs fails instead of holding the tests up.
const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn quick_start_evaluates_each_type_and_explains() {
    shows(
        "quick_start",
        &[
            "loaded payments, version 1",
            "new-checkout: true",
            "checkout-cta: Complete my order",
            "max-basket-items: 2500",
            "fraud-threshold: 0.78",
            "retry-policy: 6 attempts",
            "new-checkout is variant on, by rule:1",
            "refused: flag `checkout-cta` is of type string, not boolean (it resolved to variant `friendly`)",
            "  rule[0] segment `employees` does not match",
            "outcome: on = true",
        ],
    );
}

#[cfg(feature = "async-tokio")]
#[test]
fn async_client_falls_back_to_defaults_and_closes() {
    shows(
        "async_client",
        &[
            "new-checkout: true",
            "checkout-cta: Pay {amount}",
            "a key that does not exist gives the default: 50",
            "the same without await: true",
            "variant on by rule:1 in version 1",
            "16 flags in all",
            "fraud-threshold by handle: 0.78",
            "a request on version 1: true",
            "in a task: true",
            "closed",
        ],
    );
}

#[test]
fn config_file_builds_two_namespaces_and_says_where_settings_come_from() {
    let shown = shows(
        "config_file",
        &[
            "payments: new-checkout is true",
            "storefront: 16 flags",
            "cache.use = \"file\" (file)",
            "clock.use = \"system\" (default)",
            "flags.payments.environment = \"production\" (file)",
            "flags.payments.poll_interval_ms = 10000 (file)",
            "flags.storefront.poll_interval_ms = 30_000 (default)",
            "closed",
        ],
    );
    assert!(shown.contains("configured: payments, storefront"), "{shown}");
}

#[test]
fn custom_source_is_chosen_by_configuration_and_its_faults_are_refused() {
    shows(
        "custom_source",
        &[
            "dark-mode: true",
            "new-search: false",
            "new-search after a refresh: true",
            "refused: namespace `switches` has lint errors: error[E004] flag 'dark-mode': undeclared variant \
             `perhaps` at flags/dark-mode.toml:11:11",
            "dark-mode is still: true",
        ],
    );
}

#[cfg(all(feature = "async-tokio", feature = "http-in-process"))]
#[test]
fn from_uri_transfers_only_what_changed_and_starts_offline() {
    shows(
        "from_uri",
        &[
            "version 1: false",
            "polls answered `304 Not Modified`: at least 3; archives sent: 1",
            "version 2: true",
            "archives sent: 2",
            "refused: permission denied",
            "version 2 still: true",
            "offline: true from `kept`",
        ],
    );
}

#[cfg(feature = "signed")]
#[test]
fn signed_serves_what_the_key_signed_and_refuses_the_rest() {
    shows(
        "signed",
        &[
            "unsigned: failed to verify the signature (reason: there is none)",
            "signed: version 1, true",
            "tampered: failed to verify the signature (namespace: payments, reason: it was made for other files)",
            "served on: version 1, true",
            "rolled back: failed to verify the signature (namespace: payments, reason: it is older than what was served \
             before, counter: 6, served: 7)",
            "another key: failed to verify the signature (namespace: payments, reason: 0 of 1 trusted signatures)",
            "signed again: version 2, last error None",
        ],
    );
}

#[cfg(feature = "tower")]
#[test]
fn gate_axum_refuses_what_is_too_heavy_and_stops_when_it_is_told_to() {
    shows(
        "gate_axum",
        &[
            "ready: true",
            "a look, free: 200 OK: welcome",
            "an order, free: 429 Too Many Requests, to come again after 60 s: \
             {\"error\":\"rate_limited\",\"reason\":\"tag_blocked\"}",
            "an order, pro: 200 OK: ordered",
            "a look, stopped: 429 Too Many Requests, to come again after 60 s: \
             {\"error\":\"rate_limited\",\"reason\":\"kill_signal\"}",
            "reported of free: 2 calls, 1 of them refused",
            "reported of pro: 2 calls, 1 of them refused",
        ],
    );
}

#[cfg(feature = "async-tokio")]
#[test]
fn gate_goes_by_the_policy_and_reports_everything_once() {
    shows(
        "gate",
        &[
            "synced: true",
            "free, weight 5: allowed",
            "free, weight 20: tag_blocked",
            "pro, weight 20: allowed",
            "the control plane counted 3 calls, 1 of them denied",
            "down: true",
            "free, weight 20: tag_blocked",
            "pro, weight 20: kill_signal",
            "the control plane counted 6 calls, 3 of them denied",
        ],
    );
}

#[cfg(feature = "testing")]
#[test]
fn mocked_passes_each_of_its_tests() {
    shows(
        "mocked",
        &[
            "ok: shipping is free where the flag says so",
            "ok: a change is picked up without waiting for the interval",
            "ok: an outage changes nothing that is served",
            "ok: a refresh asks the source once and for everything",
        ],
    );
}

#[test]
fn live_refresh_serves_the_good_edit_and_refuses_the_bad_one() {
    shows(
        "live_refresh",
        &[
            "version 1: false",
            "version 2: true",
            "refused: namespace `payments` has lint errors: error[E004] flag 'new-checkout': undeclared variant \
             `of` at flags/new-checkout.toml:15:11 (and 1 more)",
            "version 2: true",
            "mended: last error None",
        ],
    );
}

/// Runs an example and compares: these lines, in this order, other lines between them.
#[track_caller]
fn shows(example: &str, expected: &[&str]) -> String {
    let shown = run(example);
    let mut lines = shown.lines();
    for line in expected {
        assert!(lines.any(|shown| shown == *line), "no line `{line}` where it is expected in:\n{shown}");
    }
    shown
}

#[track_caller]
fn run(example: &str) -> String {
    let path = binary(example);
    assert!(
        path.is_file(),
        "{} is missing: `cargo test` builds the examples, `cargo test --test examples` does not; run `cargo build \
         --examples` with the same features first",
        path.display()
    );
    // An empty folder, and none of the caller's settings: an example must not depend on where it runs.
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(path)
        .current_dir(folder.path())
        .env_remove("LEVERFRAME_CACHE__USE")
        .env_remove("EXD_HTTP_BACKEND")
        .env_remove("LEVERFRAME_TRANSPORT__USE")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = read(child.stdout.take().unwrap());
    let stderr = read(child.stderr.take().unwrap());
    let Ok(shown) = stdout.recv_timeout(LIMIT) else {
        child.kill().unwrap();
        child.wait().unwrap();
        panic!("{example} did not end within {LIMIT:?}");
    };
    let status = child.wait().unwrap();
    let errors = stderr.recv_timeout(LIMIT).unwrap().unwrap();
    assert!(status.success(), "{example} ended with {status}: {errors}");
    shown.unwrap()
}

/// The example's binary: `examples/` stands beside the `deps/` that this test was built into.
fn binary(example: &str) -> PathBuf {
    let deps = env::current_exe().unwrap().parent().unwrap().to_owned();
    deps.with_file_name("examples").join(format!("{example}{}", env::consts::EXE_SUFFIX))
}

/// Reads a pipe to its end beside the caller, so that neither pipe fills up.
fn read(mut pipe: impl Read + Send + 'static) -> mpsc::Receiver<io::Result<String>> {
    let (done, result) = mpsc::channel();
    thread::spawn(move || {
        let mut text = String::new();
        let outcome = pipe.read_to_string(&mut text).map(|_| text);
        // Nobody listens any more where the time was up.
        let _ = done.send(outcome);
    });
    result
}
