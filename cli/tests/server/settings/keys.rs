//! `leverframe admin settings-key` and `leverframe admin rekey`.

use std::{fs, os::unix::fs::PermissionsExt};

use serde_json::{Value, json};

use super::Service;
use crate::child::{Serving, Stage, stderr, stdout};

/// Where the service of a test is.
const AT: [&str; 6] = ["--tenant", "acme", "--namespace", "web", "--environment", "staging"];

fn in_json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn a_key_is_made_with_all_that_it_needs_and_revoked_while_a_server_runs() {
    let service = Service::new();
    let admin = |command: &str, args: &[&str]| {
        service.stage.admin(&[&["settings-key", command], args, &AT, &["--format", "json"]].concat())
    };

    let made = in_json(&admin("create", &["--name", "checkout"]));
    let second = in_json(&admin("create", &["--type", "pk", "--legacy"]));
    let key = made["result"]["key"].as_str().unwrap();
    let id = made["result"]["key_id"].as_str().unwrap();
    let asked = service.settings(&["list", "--key", key]);
    let public = service.settings(&["set", "a", "1", "--key", second["result"]["key"].as_str().unwrap()]);
    let listed = in_json(&admin("list", &[]));
    let words = service.stage.admin(&[&["settings-key", "list"], &AT[..]].concat());
    let revoked = service.stage.admin(&[&["settings-key", "revoke", id], &AT[..]].concat());
    let again = service.stage.admin(&[&["settings-key", "revoke", id], &AT[..]].concat());
    // A server looks once a second whether another process has changed its store.
    let mut tries = (0..100).map(|_| service.settings(&["list", "--key", key]));
    let refused = tries.find(|output| !output.status.success()).unwrap();

    assert_eq!(made["query"], "admin-settings-key-create");
    assert_eq!(
        made["result"]["created"],
        json!(["tenant acme", "namespace acme/web", "service acme/web/staging"])
    );
    assert_eq!(
        (&made["result"]["endpoint_slug"], &made["result"]["kind"]),
        (&json!("acme-web-staging"), &json!("backend"))
    );
    assert!(key.starts_with("wxs_") && id.starts_with("set_"), "{made}");
    assert!(second["result"]["key"].as_str().unwrap().starts_with("pk_live_"), "{second}");
    assert_eq!(second["result"]["created"], json!([]));
    assert_eq!(asked.status.code(), Some(0), "{}", stderr(&asked));
    assert_eq!(public.status.code(), Some(4), "{}", stderr(&public));
    assert_eq!(listed["result"]["keys"].as_array().unwrap().len(), 2);
    assert!(words.contains("checkout") && words.contains("  live") && !words.contains(key), "{words}");
    assert_eq!(revoked, format!("revoked {id}"));
    assert_eq!(again, format!("it was revoked before: {id}"));
    assert_eq!(refused.status.code(), Some(4), "{}", stderr(&refused));
    assert!(!listed.to_string().contains(key));
    // Nobody keeps a key.
    assert!(!service.stage.everything_written().windows(key.len()).any(|part| part == key.as_bytes()));
}

#[test]
fn a_frontend_service_has_no_secrets_and_stays_one() {
    let service = Service::new();
    let create = |args: &[&str]| {
        let args = [&["admin", "settings-key", "create", "--data", "data"], &AT[..], args].concat();
        service.stage.run(&args)
    };
    let made = create(&["--kind", "frontend"]);
    let key = stdout(&made).trim_end().to_owned();

    let config = service.settings(&["set", "a", "1", "--key", &key]);
    fs::write(service.stage.path("value"), "x").unwrap();
    let secret = service.settings(&["set", "TOKEN", "--kind", "secret", "--file", "value", "--key", &key]);
    let backend = create(&[]);
    let name =
        service.stage.run(&["admin", "settings-key", "create", "--data", "data", "--tenant", "No Tenant"]);

    assert_eq!(made.status.code(), Some(0), "{}", stderr(&made));
    assert!(stderr(&made).contains("created service acme/web/staging"), "{}", stderr(&made));
    assert!(stderr(&made).contains("it is not shown again"), "{}", stderr(&made));
    assert!(config.status.code() == Some(4), "{}", stderr(&config));
    assert_eq!(secret.status.code(), Some(4), "{}", stderr(&secret));
    for refused in [backend, name] {
        assert_eq!((refused.status.code(), stdout(&refused).as_str()), (Some(1), ""), "{}", stderr(&refused));
        assert!(stderr(&refused).contains("hint: "), "{}", stderr(&refused));
    }
}

#[test]
fn the_master_key_is_replaced_while_a_server_runs_and_secrets_stay() {
    let service = Service::new();
    service.secret(&["TOKEN"], b"canary-secret");
    let own = fs::read(service.stage.path("data/settings.key")).unwrap();
    let file = |name: &str, digit: char, mode: u32| {
        let path = service.stage.path(name);
        fs::write(&path, digit.to_string().repeat(64)).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
    };
    file("new.key", '7', 0o600);
    file("open.key", '8', 0o644);
    let rekey = ["rekey", "--new-master-key-file", "new.key"];

    let open = service.stage.run(&["admin", "rekey", "--new-master-key-file", "open.key", "--data", "data"]);
    let wrong = service.stage.run(&[
        "admin",
        "rekey",
        "--master-key-file",
        "new.key",
        "--new-master-key-file",
        "new.key",
        "--data",
        "data",
    ]);
    let done = service.stage.admin(&rekey);
    let again = in_json(&service.stage.admin(&[&rekey[..], &["--format", "json"]].concat()));
    let running = service.ok(&["get", "TOKEN", "--reveal"]);
    service.secret(&["OTHER"], b"of the new key");
    let Service { stage, server, key } = service;
    server.kill();
    let next = Service { server: stage.serve(), stage, key };

    assert_eq!(open.status.code(), Some(4), "{}", stderr(&open));
    assert!(stderr(&open).contains("chmod 600"), "{}", stderr(&open));
    assert_eq!(wrong.status.code(), Some(2), "{}", stderr(&wrong));
    assert!(stderr(&wrong).contains("another master key has sealed it"), "{}", stderr(&wrong));
    assert_eq!(done, "sealed 1 data key by the new master key");
    assert_eq!(again["result"], json!({ "data_keys": 0 }));
    assert_eq!(running, "canary-secret\n");
    assert_ne!(fs::read(next.stage.path("data/settings.key")).unwrap(), own);
    assert_eq!(next.ok(&["get", "TOKEN", "--reveal"]), "canary-secret\n");
    assert_eq!(next.ok(&["get", "OTHER", "--reveal"]), "of the new key\n");
}

#[test]
fn a_server_with_another_master_key_says_so_and_shows_nothing() {
    let stage = Stage::new();
    let path = stage.path("other.key");
    fs::write(&path, "7".repeat(64)).unwrap();
    fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    let key = stage.admin(&["settings-key", "create"]);
    let service = Service { server: stage.serve(), stage, key };
    service.secret(&["TOKEN"], b"canary-secret");
    let Service { stage, server, key } = service;
    server.kill();
    let server = Serving::start(stage.dir.path(), "127.0.0.1:0", |command| {
        command.arg("--master-key-file").arg(&path);
    });
    let service = Service { server, stage, key };

    let output = service.settings(&["get", "TOKEN", "--reveal"]);

    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(3), ""), "{}", stderr(&output));
    assert!(fs::read_to_string(service.stage.path("log")).unwrap().contains("open the service's data key"));
}

#[test]
fn a_command_that_is_not_given_the_servers_master_key_makes_no_other_one() {
    let stage = Stage::new();
    for (name, digit) in [("server.key", "7"), ("other.key", "8")] {
        let path = stage.path(name);
        fs::write(&path, digit.repeat(64)).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    }
    let create = ["settings-key", "create"];
    let with = |key: &'static str| ["--master-key-file", key];
    let key = stage.admin(&[&create[..], &with("server.key")].concat());
    let run = |args: &[&str]| stage.run(&[&["admin"], args, &["--data", "data"]].concat());

    let without = run(&[&create[..], &AT].concat());
    let rekey = run(&["rekey", "--new-master-key-file", "other.key"]);
    let other = run(&[&create[..], &AT, &with("other.key")].concat());
    let is_made = stage.path("data/settings.key").exists();
    let server = Serving::start(stage.dir.path(), "127.0.0.1:0", |command| {
        command.arg("--master-key-file").arg(stage.path("server.key"));
    });
    let second = stage.admin(&[&create[..], &AT, &with("server.key")].concat());

    for output in [without, rekey, other] {
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        let said = stderr(&output);
        assert!(said.contains("--master-key-file") && said.contains("LEVERFRAME_MASTER_KEY"), "{said}");
    }
    assert!(!is_made);
    // The service that was there before, and the one that came to be, have keys that the server opens.
    let mut service = Service { server, stage, key };
    for _ in 0..2 {
        service.secret(&["TOKEN"], b"canary-secret");
        assert_eq!(service.ok(&["get", "TOKEN", "--reveal"]), "canary-secret\n");
        service.key.clone_from(&second);
    }
}
