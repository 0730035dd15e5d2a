//! `leverframe admin`.

use serde_json::Value;

use crate::child::{Stage, json, stderr, stdout};

#[test]
fn the_first_token_is_printed_alone_and_issued_once() {
    let stage = Stage::new();

    let first = stage.run(&["admin", "bootstrap", "--data", "data"]);
    let second = stage.run(&["admin", "bootstrap", "--data", "data"]);
    let forced = stage.admin(&["bootstrap", "--force", "--name", "recovery"]);

    let secret = stdout(&first);
    assert!(secret.starts_with("exd_admin_") && secret.lines().count() == 1, "{secret}");
    assert_eq!(secret.trim_end().len(), "exd_admin_".len() + 43);
    assert!(stderr(&first).contains("it is not shown again"), "{}", stderr(&first));
    assert_eq!(second.status.code(), Some(1));
    assert!(stdout(&second).is_empty() && stderr(&second).contains("--force"), "{}", stderr(&second));
    assert_ne!(forced, secret.trim_end());
}

#[test]
fn tenants_namespaces_and_tokens_are_created_listed_and_revoked() {
    let stage = Stage::new();
    let secret = stage.prepare();

    let tenants: Value = serde_json::from_str(&stage.admin(&["tenant", "list", "--format", "json"])).unwrap();
    let namespaces = stage.admin(&["namespace", "list", "--tenant", "acme"]);
    let minted = stage.run(&[
        "admin",
        "token",
        "mint",
        "client",
        "acme/payments",
        "--environment",
        "production",
        "--allowed-origin",
        "https://shop.example",
        "--expires",
        "90d",
        "--format",
        "json",
        "--data",
        "data",
    ]);
    let minted = json(&minted);
    let id = minted["result"]["token"]["id"].as_str().unwrap();
    let live = stage.admin(&["token", "list", "--live"]);
    let revoked = stage.admin(&["token", "revoke", id]);
    let again = stage.admin(&["token", "revoke", id]);
    let left = stage.admin(&["token", "list", "--live"]);

    assert_eq!(tenants["query"], "admin-tenant-list");
    assert_eq!(tenants["result"]["tenants"][0]["namespace_count"], 1);
    assert!(namespaces.contains("acme/payments  payments"), "{namespaces}");
    assert!(minted["result"]["secret"].as_str().unwrap().starts_with("exd_client_"));
    assert_eq!(minted["result"]["token"]["allowed_origins"][0], "https://shop.example");
    assert!(live.contains("acme/payments (production)") && live.contains("until 20"), "{live}");
    assert!(!live.contains(&secret) && live.contains("namespace_write"), "{live}");
    assert!(
        revoked.starts_with("revoked tok_") && again.starts_with("it was revoked before"),
        "{revoked} {again}"
    );
    assert!(!left.contains(id), "{left}");
}

#[test]
fn what_cannot_be_kept_is_told_with_a_next_step() {
    let stage = Stage::new();
    stage.prepare();
    let refused: [(&[&str], i32); 7] = [
        (&["tenant", "create", "Acme"], 1),
        (&["tenant", "create", "acme"], 1),
        (&["namespace", "create", "payments"], 2),
        (&["namespace", "create", "nobody/payments"], 3),
        (&["token", "mint", "read", "acme"], 1),
        (&["token", "mint", "read", "acme/payments", "--expires", "soon"], 2),
        (&["token", "revoke", "tok_nobody"], 3),
    ];
    for (args, code) in refused {
        let output = stage.run(&[&["admin"], args, &["--data", "data"]].concat());

        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", stderr(&output));
        assert!(stdout(&output).is_empty() && stderr(&output).starts_with("error: "), "{}", stderr(&output));
    }
}

#[test]
fn a_backup_restores_everything_into_an_empty_store() {
    let stage = Stage::new();
    let token = stage.prepare();
    stage.payments();
    let server = stage.serve();
    assert_eq!(stage.manifest(&server, &token, &["push", "payments", "payments"]).status.code(), Some(0));

    stage.admin(&["backup", "all.backup"]);
    server.kill();
    let taken = stage.run(&["admin", "restore", "all.backup", "--data", "other"]);
    let over = stage.run(&["admin", "restore", "all.backup", "--data", "other"]);
    let other = crate::child::Serving::start(stage.dir.path(), "127.0.0.1:0", |command| {
        command.arg("--drain=5").env("EXD_DB_PATH", "ignored/exd.sqlite");
        command.env("LEVERFRAME_SERVER_DATA", "ignored");
    });
    drop(other);

    assert_eq!(taken.status.code(), Some(0), "{}", stderr(&taken));
    assert_ne!(over.status.code(), Some(0), "a store that holds something is not overwritten");
    let namespaces = stage.run(&["admin", "namespace", "list", "--data", "other"]);
    assert!(stdout(&namespaces).contains("acme/payments  payments  1"), "{}", stdout(&namespaces));
    assert!(!stage.path("ignored").exists());
}
