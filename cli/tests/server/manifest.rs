//! `leverframe manifest push|pull|versions|diff|rollback` against a server.

use std::{fs, path::Path};

use crate::child::{Stage, json, leverframe, stderr, stdout};

fn widen(dir: &Path, from: &str, to: &str) {
    let path = dir.join("segments/sepa-instant-half.toml");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(path, text.replace(from, to)).unwrap();
}

#[test]
fn a_namespace_is_pushed_changed_compared_rolled_back_and_pulled() {
    let stage = Stage::new();
    let token = stage.prepare();
    let dir = stage.payments();
    let server = stage.serve();
    let run = |args: &[&str]| stage.manifest(&server, &token, args);

    let first = run(&["push", "acme/payments", "payments", "--if-version", "0"]);
    let same = run(&["push", "payments", "payments", "--if-version", "1", "--format", "json"]);
    widen(&dir, "end = 4999", "end = 5499");
    let second = run(&["push", "payments", "payments", "--if-version", "1"]);
    let late = run(&["push", "payments", "payments", "--if-version", "1"]);
    let diff = run(&["diff", "payments", "1"]);
    let back = run(&["rollback", "payments", "1"]);
    let versions = run(&["versions", "payments"]);
    let pulled = run(&["pull", "payments", "copy"]);
    let older = run(&["pull", "payments", "copy", "--version", "2", "--format", "json"]);

    assert_eq!(stdout(&first), "payments: version 1, 16 flags, 12 segments\n", "{}", stderr(&first));
    assert_eq!(json(&same)["result"]["version"], 1);
    assert_eq!(stdout(&second), "payments: version 2, 16 flags, 12 segments\n", "{}", stderr(&second));
    // The content is that of version 2 by now: nothing of it was stored twice, whichever way the server tells it.
    assert!(
        late.status.code() == Some(1) && stderr(&late).contains("version conflict: version 2 is current")
    );
    assert!(stderr(&late).contains("hint: pull the current version"), "{}", stderr(&late));
    assert!(stdout(&diff).contains("500 of 10000 (5%)"), "{}{}", stdout(&diff), stderr(&diff));
    assert_eq!(stdout(&back), "payments: version 3 has the content of version 1\n", "{}", stderr(&back));
    let listed = stdout(&versions);
    let numbers: Vec<&str> =
        listed.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(numbers, ["3", "2", "1"], "{listed}");
    assert!(
        stdout(&pulled)
            .starts_with("payments: version 3, 16 flags, 12 segments — 29 files written, 0 removed")
    );
    assert_eq!(json(&older)["result"]["files_written"], 1);
    assert_eq!(json(&older)["query"], "manifest-pull");
    assert_eq!(json(&older)["provenance"]["manifest_versions_observed"][0], 2);
    assert!(!stdout(&older).contains(&token));
}

#[test]
fn each_refusal_has_its_exit_code_and_a_hint() {
    let stage = Stage::new();
    let token = stage.prepare();
    let reader = stage.admin(&["token", "mint", "read", "acme/payments"]);
    let dir = stage.payments();
    let server = stage.serve();
    let made_up = format!("exd_write_{}", "a".repeat(43));
    let push = |token: &str| stage.manifest(&server, token, &["push", "payments", "payments"]);
    let code = |output: &std::process::Output| output.status.code().unwrap();

    let unknown = push(&made_up);
    let read_only = push(&reader);
    let nothing = stage.manifest(&server, &reader, &["pull", "payments"]);
    fs::write(dir.join("flags/new-checkout.toml"), "nonsense").unwrap();
    let broken = push(&token);
    let elsewhere = ["versions", "payments", "--server", "http://127.0.0.1:1"];
    let unreachable = stage.manifest(&server, &token, &elsewhere);
    let two_tenants = stage.manifest(&server, &token, &["versions", "acme/payments", "--tenant", "other"]);
    let no_server = leverframe().args(["manifest", "versions", "payments"]).output().unwrap();

    assert_eq!((code(&unknown), code(&read_only)), (4, 4), "{}{}", stderr(&unknown), stderr(&read_only));
    assert_eq!((code(&nothing), code(&broken)), (3, 1), "{}{}", stderr(&nothing), stderr(&broken));
    assert_eq!((code(&unreachable), code(&two_tenants), code(&no_server)), (3, 2, 2));
    for output in [unknown, read_only, nothing, broken, unreachable, two_tenants, no_server] {
        assert!(stderr(&output).contains("\nhint: ") && stdout(&output).is_empty(), "{}", stderr(&output));
        assert!(
            !stderr(&output).contains(&token) && !stderr(&output).contains(&made_up),
            "{}",
            stderr(&output)
        );
    }
}

#[test]
fn tokens_come_from_a_file_and_requests_travel_by_curl() {
    let stage = Stage::new();
    let token = stage.prepare();
    stage.payments();
    let server = stage.serve();
    fs::write(stage.path("write.token"), format!("{token}\n")).unwrap();

    let output = leverframe()
        .args(["manifest", "push", "acme/payments", "payments", "--token-file", "write.token"])
        .args(["--http-backend", "curl", "--server", &server.url, "--format", "json"])
        .current_dir(stage.dir.path())
        .output()
        .unwrap();

    assert_eq!(json(&output)["result"]["version"], 1);
    let shown = leverframe()
        .args([
            "manifest",
            "versions",
            "payments",
            "--token",
            &token,
            "--server",
            &server.url,
            "--format",
            "json",
        ])
        .output()
        .unwrap();
    assert_eq!(json(&shown)["result"]["versions"][0]["version"], 1);
    assert!(!stdout(&shown).contains(&token), "the invocation in the envelope hides it");
}

#[test]
fn commands_that_read_a_namespace_take_it_from_the_server() {
    let stage = Stage::new();
    let token = stage.prepare();
    let dir = stage.payments();
    let server = stage.serve();
    stage.manifest(&server, &token, &["push", "payments", "payments"]);
    let place = format!("exd-server://{}/acme/payments", server.address());
    widen(&dir, "end = 4999", "end = 5499");
    let run = |args: &[&str]| {
        leverframe()
            .args(args)
            .env("LEVERFRAME_API_TOKEN", &token)
            .current_dir(stage.dir.path())
            .output()
            .unwrap()
    };

    let lint = run(&["lint", &place]);
    let eval =
        run(&["eval", "checkout-cta", "--env", "production", "--manifest", &place, "--ctx", "user.id=u-2"]);
    let diff = run(&["diff", &place, "payments"]);
    let refused = leverframe().args(["lint", &place]).output().unwrap();

    assert_eq!(stdout(&lint), "namespace 'payments': 16 flags, 12 segments — OK\n", "{}", stderr(&lint));
    assert_eq!(stdout(&eval), "friendly\n", "{}", stderr(&eval));
    assert!(stdout(&diff).contains("500 of 10000 (5%)"), "{}{}", stdout(&diff), stderr(&diff));
    assert_eq!(refused.status.code(), Some(4), "{}", stderr(&refused));
}
