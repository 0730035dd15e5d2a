//! `leverframe gate` and `leverframe admin gate-key`, with a client that reports.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Child, ChildStdout, Output, Stdio},
    sync::mpsc::Sender,
    time::Duration,
};

use leverframe::gate::{GateReason, WaitState, WaitStateConfig};
use serde_json::Value;

use crate::child::{Serving, Stage, json, leverframe, signal, stderr, stdout, watch};

/// A server with tenant `acme`, the token of its admin, and a gate key.
struct Fleet {
    stage: Stage,
    server: Serving,
    admin: String,
    publish_key: String,
    secret_key: String,
}

impl Fleet {
    fn new() -> Self {
        let stage = Stage::new();
        stage.admin(&["tenant", "create", "acme"]);
        let admin = stage.admin(&["token", "mint", "tenant-admin", "acme"]);
        let created = stage.admin(&["gate-key", "create", "--org", "acme", "--format", "json"]);
        let created: Value = serde_json::from_str(&created).unwrap();
        let text = |name: &str| created["result"][name].as_str().unwrap().to_owned();
        let (publish_key, secret_key) = (text("publish_key"), text("secret_key"));
        assert_eq!(text("org_id"), "acme");
        Self { server: stage.serve(), stage, admin, publish_key, secret_key }
    }

    fn gate(&self, args: &[&str]) -> Output {
        self.gate_as(&self.admin, args)
    }

    fn gate_as(&self, token: &str, args: &[&str]) -> Output {
        let at = ["--server", &self.server.url, "--token", token];
        self.stage.run(&[&["gate"], args, &at].concat())
    }

    #[track_caller]
    fn ok(&self, args: &[&str]) -> String {
        let output = self.gate(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", stderr(&output));
        stdout(&output)
    }

    #[track_caller]
    fn status(&self) -> Value {
        let shown = self.ok(&["status", "--org", "acme", "--format", "json"]);
        serde_json::from_str::<Value>(&shown).unwrap()["result"].take()
    }

    /// `gate status --watch`, at work.
    fn watch(&self) -> Watching {
        let mut child = leverframe()
            .args([
                "gate",
                "status",
                "--org",
                "acme",
                "--watch",
                "--interval",
                "0.2",
                "--server",
                &self.server.url,
            ])
            .env("LEVERFRAME_API_TOKEN", &self.admin)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let watched = watch(child.id());
        Watching { shown: BufReader::new(child.stdout.take().unwrap()), child, _watched: watched }
    }

    /// A client that reports when it is told to, and else every five minutes.
    async fn client(&self) -> WaitState {
        let client = WaitState::start(WaitStateConfig {
            publish_key: self.publish_key.clone(),
            secret_key: self.secret_key.clone(),
            base_url: self.server.url.clone(),
            pulse_interval_secs: 300,
            ..WaitStateConfig::default()
        });
        assert!(client.ready(Duration::from_secs(30)).await, "{:?}", client.state());
        client
    }
}

/// Dropped, it is killed.
struct Watching {
    child: Child,
    shown: BufReader<ChildStdout>,
    _watched: Sender<()>,
}

impl Watching {
    /// Reads until a line has these words.
    #[track_caller]
    fn until(&mut self, words: &str) {
        let mut line = String::new();
        while !line.contains(words) {
            line.clear();
            assert!(self.shown.read_line(&mut line).unwrap() > 0, "it ended before it showed `{words}`");
        }
    }

    fn interrupted(&mut self) -> Option<i32> {
        signal(self.child.id(), "INT");
        self.child.wait().unwrap().code()
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn keys_are_made_listed_and_revoked_on_the_store_and_through_a_server() {
    let fleet = Fleet::new();
    let remote = |args: &[&str]| {
        let at = ["--server", &fleet.server.url, "--token", &fleet.admin];
        fleet.stage.run(&[&["admin", "gate-key"], args, &at].concat())
    };

    let words =
        fleet.stage.run(&["admin", "gate-key", "create", "--org", "acme", "--site", "eu", "--data", "data"]);
    let through = json(&remote(&["create", "--org", "acme", "--name", "checkout", "--format", "json"]));
    let listed = fleet.stage.admin(&["gate-key", "list", "--org", "acme"]);
    let key = through["result"]["publish_key"].as_str().unwrap();
    let revoked = fleet.stage.admin(&["gate-key", "revoke", key, "--org", "acme"]);
    let again = fleet.stage.admin(&["gate-key", "revoke", key, "--org", "acme"]);
    let revoked_there = remote(&["revoke", &fleet.publish_key, "--org", "acme"]);
    let left = json(&remote(&["list", "--org", "acme", "--format", "json"]));

    let shown = stdout(&words);
    let secret = shown.lines().nth(1).and_then(|line| line.strip_prefix("GATE_SECRET_KEY=")).unwrap();
    assert!(shown.starts_with("GATE_PUBLISH_KEY=wpk_") && secret.starts_with("wsk_"), "{shown}");
    assert!(shown.lines().count() == 2 && stderr(&words).contains("it is not shown again"), "{shown}");
    assert_eq!(through["query"], "admin-gate-key-create");
    assert_eq!(
        (&through["result"]["org_id"], &through["result"]["name"]),
        (&"acme".into(), &"checkout".into())
    );
    assert!(listed.contains(key) && listed.contains("checkout") && listed.contains("  eu  "), "{listed}");
    assert!(
        revoked.starts_with("revoked wpk_") && again.starts_with("it was revoked before"),
        "{revoked} {again}"
    );
    assert_eq!(revoked_there.status.code(), Some(0), "{}", stderr(&revoked_there));
    let live =
        left["result"]["keys"].as_array().unwrap().iter().filter(|key| key["revoked_at"].is_null()).count();
    assert_eq!((left["result"]["keys"].as_array().unwrap().len(), live), (3, 1), "{left}");
    // Nobody keeps a secret.
    let written = fleet.stage.everything_written();
    for secret in [secret, &fleet.secret_key, through["result"]["secret_key"].as_str().unwrap()] {
        assert!(!written.windows(secret.len()).any(|part| part == secret.as_bytes()));
        assert!(!listed.contains(secret) && !left.to_string().contains(secret));
    }
}

#[test]
fn what_is_wrong_with_a_key_is_told_with_a_next_step() {
    let fleet = Fleet::new();
    let url = fleet.server.url.clone();
    let refused: [(&[&str], i32); 8] = [
        (&["create", "--org", "Acme", "--data", "data"], 1),
        (&["create", "--org", "acme", "--site", "a b", "--data", "data"], 1),
        (&["create", "--data", "data"], 2),
        (&["create", "--org", "acme", "--data", "data", "--server", &url], 2),
        (&["create", "--org", "acme", "--server", &url], 2),
        (&["create", "--org", "other", "--server", &url, "--token", &fleet.admin], 4),
        (&["revoke", "wpk_nobody", "--org", "acme", "--data", "data"], 3),
        (&["revoke", &fleet.publish_key, "--org", "other", "--data", "data"], 3),
    ];
    for (args, code) in refused {
        let output = fleet.stage.run(&[&["admin", "gate-key"], args].concat());

        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", stderr(&output));
        assert!(stdout(&output).is_empty() && stderr(&output).starts_with("error: "), "{}", stderr(&output));
        assert!(!stderr(&output).contains(&fleet.admin) && !stderr(&output).contains(&fleet.secret_key));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_set_seen_obeyed_and_taken_away() {
    let fleet = Fleet::new();
    let client = fleet.client().await;
    assert!(client.gate(Some("free"), Some(11.0)).allowed);

    let set = fleet.ok(&[
        "set",
        "--org",
        "acme",
        "--global",
        "500",
        "--tag",
        "free=10",
        "--tag",
        "batch=-1",
        "--lease",
        "120",
        "--pulse-interval",
        "30s",
        "--status",
        "busy",
    ]);
    client.flush().await.unwrap();
    let refused = client.gate(Some("free"), Some(11.0));
    client.flush().await.unwrap();
    let words = fleet.ok(&["status", "--org", "acme"]);
    let status = fleet.status();
    let late = fleet.gate(&["set", "--org", "acme", "--global", "1", "--if-revision", "7"]);
    let site = fleet.ok(&["set", "--org", "acme", "--site", "default", "--tag", "pro=5", "--format", "json"]);
    let gone = fleet.ok(&[
        "set",
        "--org",
        "acme",
        "--global",
        "none",
        "--tag",
        "free=none",
        "--tag",
        "batch=none",
        "--status",
        "",
        "--lease",
        "none",
        "--pulse-interval",
        "none",
    ]);
    client.flush().await.unwrap();

    assert!(
        set.starts_with(
            "acme: kill off · global 500 · batch blocked · free 10 · lease 120 s · report every 30 s · “busy”"
        ),
        "{set}"
    );
    assert!(!refused.allowed && refused.reason == GateReason::TagBlocked, "{refused:?}");
    assert!(
        words.contains("site default  1 instance · last report") && words.contains("revision 1"),
        "{words}"
    );
    assert!(words.lines().any(|line| line.trim().starts_with("free ") && line.contains("50.0%")), "{words}");
    assert!(
        words.lines().any(|line| line.trim().starts_with("batch ") && line.ends_with("blocked")),
        "{words}"
    );
    assert!(!words.contains('\u{1b}'), "no styles where no terminal is");
    assert_eq!(status["settings"]["tag_max_weights"]["free"], 10.0);
    assert_eq!(status["sites"][0]["totals"]["calls"], 2, "{status}");
    assert_eq!((late.status.code(), stdout(&late).as_str()), (Some(1), ""), "{}", stderr(&late));
    assert!(stderr(&late).contains("hint: look at what is set now"), "{}", stderr(&late));
    let site: Value = serde_json::from_str(&site).unwrap();
    assert_eq!(
        (&site["query"], &site["result"]["settings"]["tag_max_weights"]["pro"]),
        (&"gate-set".into(), &5.0.into())
    );
    assert!(gone.starts_with("acme: kill off · global none\n"), "{gone}");
    assert!(client.gate(Some("free"), Some(11.0)).allowed && !client.gate(Some("pro"), Some(6.0)).allowed);
    client.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kill_switch_refuses_every_call_and_says_how_to_undo_it() {
    let fleet = Fleet::new();
    let client = fleet.client().await;

    let on = fleet.ok(&["kill", "--org", "acme", "on"]);
    client.flush().await.unwrap();
    let killed = client.gate(None, None);
    let status = fleet.ok(&["status", "--org", "acme"]);
    let off = fleet.ok(&["kill", "--org", "acme", "off", "--format", "json"]);
    client.flush().await.unwrap();
    let back = client.gate(None, None);
    let site = fleet.ok(&["kill", "--org", "acme", "--site", "default", "on"]);
    client.flush().await.unwrap();

    assert!(
        on.contains("every call is refused") && on.contains("undo: leverframe gate kill --org acme off"),
        "{on}"
    );
    assert_eq!(killed.reason, GateReason::KillSignal);
    assert!(status.starts_with("acme  KILLED: every call is refused"), "{status}");
    let off: Value = serde_json::from_str(&off).unwrap();
    assert_eq!(
        (&off["query"], &off["result"]["settings"]["kill_signal"]),
        (&"gate-kill".into(), &false.into())
    );
    assert!(back.allowed);
    assert!(site.contains("acme, site default") && site.contains("off --site default"), "{site}");
    assert_eq!(client.gate(None, None).reason, GateReason::KillSignal);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_trips_is_shown_with_the_reason() {
    let fleet = Fleet::new();
    fleet.stage.admin(&["namespace", "create", "acme/payments"]);
    let writer = fleet.stage.admin(&["token", "mint", "write", "acme/payments"]);
    let dir = fleet.stage.payments();
    fs::write(
        dir.join("gate.toml"),
        "[[rule]]\nname = \"shed-free\"\ntag = \"free\"\nmetric = \"errors\"\noperator = \">\"\nthreshold = 5\n\
         window_secs = 60\naction = \"block\"\nrecover_after_secs = 60\n",
    )
    .unwrap();
    let pushed = fleet.stage.manifest(&fleet.server, &writer, &["push", "payments", "payments"]);
    assert_eq!(pushed.status.code(), Some(0), "{}", stderr(&pushed));
    let client = fleet.client().await;
    let before = fleet.ok(&["status", "--org", "acme"]);

    for _ in 0..6 {
        assert!(client.gate(Some("free"), None).allowed);
        client.report_latency(120.0, Some("free"));
        client.report_error(Some("free"));
    }
    client.flush().await.unwrap();
    // Rules are looked at once a second.
    fleet.watch().until("● payments/shed-free  in force for");
    let after = fleet.ok(&["status", "--org", "acme"]);
    client.flush().await.unwrap();

    assert!(before.contains("○ payments/shed-free  calm"), "{before}");
    assert!(before.contains("free: errors > 5 over 60 s → block"), "{before}");
    assert!(after.contains("● payments/shed-free  in force for"), "{after}");
    assert!(after.contains("why: errors was 6") && after.contains("above 5"), "{after}");
    assert!(
        after.lines().any(|line| line.trim().starts_with("free ") && line.ends_with("blocked")),
        "{after}"
    );
    assert_eq!(client.gate(Some("free"), None).reason, GateReason::TagBlocked);
}

#[tokio::test(flavor = "multi_thread")]
async fn watching_looks_again_until_it_is_interrupted() {
    let fleet = Fleet::new();
    let client = fleet.client().await;
    let mut watching = fleet.watch();

    watching.until("kill off");
    client.gate(Some("checkout"), None);
    client.flush().await.unwrap();
    watching.until("checkout");
    fleet.ok(&["kill", "--org", "acme", "on"]);
    watching.until("KILLED");

    assert_eq!(watching.interrupted(), Some(0));
}

#[test]
fn without_an_organisation_every_one_that_the_token_sees_is_shown() {
    let fleet = Fleet::new();
    let root = fleet.stage.admin(&["bootstrap"]);
    fleet.stage.admin(&["gate-key", "create", "--org", "globex"]);

    let all = fleet.gate_as(&root, &["status"]);
    let own = json(&fleet.gate(&["status", "--format", "json"]));

    let all = stdout(&all);
    assert!(all.contains("acme  kill off") && all.contains("globex  kill off"), "{all}");
    assert!(all.contains("no instance has reported yet"), "{all}");
    let orgs: Vec<&Value> = own["result"]["orgs"].as_array().unwrap().iter().map(|org| &org["org"]).collect();
    assert_eq!(orgs, ["acme"]);
}

#[test]
fn each_refusal_has_its_exit_code_and_a_hint() {
    let fleet = Fleet::new();
    let root = fleet.stage.admin(&["bootstrap"]);
    fleet.stage.admin(&["namespace", "create", "acme/payments"]);
    let writer = fleet.stage.admin(&["token", "mint", "write", "acme/payments"]);
    let cases: [(&str, &[&str], i32); 14] = [
        (&fleet.admin, &["status", "--org", "other"], 4),
        (&fleet.admin, &["set", "--org", "other", "--global", "1"], 4),
        (&fleet.admin, &["kill", "--org", "other", "on"], 4),
        (&writer, &["status", "--org", "acme"], 4),
        (&writer, &["kill", "--org", "acme", "on"], 4),
        ("exd_tenant_nobody", &["status"], 4),
        (&root, &["status", "--org", "nobody"], 3),
        (&fleet.admin, &["status", "--org", "No Org"], 2),
        (&fleet.admin, &["set", "--org", "acme"], 2),
        (&fleet.admin, &["set", "--org", "acme", "--tag", "free"], 2),
        (&fleet.admin, &["set", "--org", "acme", "--global", "NaN"], 2),
        (&fleet.admin, &["set", "--org", "acme", "--pulse-interval", "1ms"], 2),
        (&fleet.admin, &["set", "--org", "acme", "--site", "a/b", "--global", "1"], 2),
        (&fleet.admin, &["kill", "--org", "acme", "maybe"], 2),
    ];
    for (token, args, code) in cases {
        let output = fleet.gate_as(token, args);

        let error = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {error}");
        assert!(stdout(&output).is_empty() && error.starts_with("error: "), "{args:?}: {error}");
        assert!(!error.contains(&fleet.admin) && !error.contains(&writer), "{error}");
    }
    let nobody =
        fleet.stage.run(&["gate", "status", "--server", "http://127.0.0.1:1", "--token", "exd_admin_x"]);
    let nowhere = fleet.stage.run(&["gate", "status", "--token", "exd_admin_x"]);
    assert_eq!((nobody.status.code(), nowhere.status.code()), (Some(3), Some(2)), "{}", stderr(&nobody));
    assert!(stderr(&nowhere).contains("LEVERFRAME_SERVER_URL"), "{}", stderr(&nowhere));
    // Nothing of it was set.
    assert_eq!(fleet.status()["settings"]["revision"], 0);
}
