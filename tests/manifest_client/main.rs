//! The write path against a server that keeps the contract, and against servers that do not.
#![cfg(feature = "async-tokio")]
#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::to_string_in_format_args,
    reason = "the contract's sample prints"
)]

mod api;
mod scripted;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Mutex,
};

use leverframe::{
    HttpBackend, IfVersion, ManifestClient, ManifestError, VersionRef, document::Tree, live::block_on,
    manifest::archive,
};
use scripted::{Asked, Said, Scripted, json, refusal};
use serde_json::{Value, json};

const TOKEN: &str = "exd_write_canary0123456789";
const MANIFEST: &str = "/api/v1/tenants/-/namespaces/shop/manifest";

fn flag(value: i64) -> String {
    format!(
        "schema_version = \"0.1\"\n[flag]\ntype = \"integer\"\ndescription = \"a\"\nowner = \"b\"\n[flag.variants]\nonly = {value}\n[flag.environments._]\nvariant = \"only\"\n"
    )
}

fn files(flags: &[(&str, i64)]) -> Tree {
    let namespace = "schema_version = \"0.1\"\n[namespace]\nslug = \"shop\"\n".to_owned();
    let flags = flags.iter().map(|(name, value)| (format!("flags/{name}.toml"), flag(*value)));
    [("namespace.toml".to_owned(), namespace)].into_iter().chain(flags).collect()
}

fn packed(flags: &[(&str, i64)]) -> Vec<u8> {
    archive::pack(&files(flags)).unwrap()
}

/// A server that keeps archives as the contract says.
fn contract(first: Vec<Vec<u8>>) -> Scripted {
    let versions = Mutex::new(first);
    Scripted::start(move |asked| {
        let mut versions = versions.lock().unwrap();
        let current = versions.len() as u64;
        if asked.header("authorization") != Some(&format!("Bearer {TOKEN}")) {
            return refusal(401, "unauthenticated", "a valid token is required", json!({}));
        }
        let archive = |number: u64| match number.checked_sub(1).and_then(|n| versions.get(n as usize)) {
            Some(bytes) => (200, vec![("etag", format!("\"v{number}\""))], bytes.clone()),
            None => refusal(404, "not_found", "there is no such version", json!({})),
        };
        let receipt = |version: usize| {
            json(
                200,
                json!({ "version": version, "uploaded_at": "2026-04-25T12:00:00Z", "flag_count": 1,
                "segment_count": 0, "lint": { "errors": [], "warnings": [{ "code": "W001" }], "infos": [] } }),
            )
        };
        match asked.line.split_once(' ').unwrap() {
            ("GET", MANIFEST) => archive(current),
            ("PUT", MANIFEST) => {
                let stated = asked.header("if-version").map(|text| text.parse::<u64>().unwrap());
                if stated.is_some_and(|stated| stated != current) {
                    return refusal(409, "version_conflict", "…", json!({ "current_version": current }));
                }
                archive::unpack(asked.archive()).unwrap();
                if versions.last().is_none_or(|last| last != asked.archive()) {
                    versions.push(asked.archive().to_vec());
                }
                receipt(versions.len())
            }
            ("POST", target) if target == format!("{MANIFEST}/rollback") => {
                let asked: Value = serde_json::from_slice(&asked.body).unwrap();
                let content = versions[asked["version"].as_u64().unwrap() as usize - 1].clone();
                versions.push(content);
                receipt(versions.len())
            }
            ("POST", target) if target == format!("{MANIFEST}/lint") => {
                archive::unpack(asked.archive()).unwrap();
                json(
                    200,
                    json!({ "passed": false, "errors": [{ "code": "E005", "file": "flags/a.toml", "line": 3,
                    "column": 1, "message": "unknown segment", "help": null }], "warnings": [], "infos": [] }),
                )
            }
            ("GET", target) => match target.strip_prefix(&format!("{MANIFEST}/versions")) {
                Some(number) if number.starts_with('/') => archive(number[1..].parse().unwrap()),
                Some(query) => page(current, query),
                None => refusal(404, "not_found", "…", json!({})),
            },
            _ => refusal(404, "not_found", "…", json!({})),
        }
    })
}

/// Lists three versions at a time, newest first; the cursor has characters that a query does not.
fn page(current: u64, query: &str) -> Said {
    let parameters: Vec<_> = query[1..].split('&').filter_map(|pair| pair.split_once('=')).collect();
    let value = |key| parameters.iter().find(|(k, _)| *k == key).map(|(_, value)| *value);
    let limit: u64 = value("limit").unwrap().parse().unwrap();
    assert!((1..=500).contains(&limit));
    let below = value("cursor")
        .map_or(current + 1, |cursor| cursor.strip_prefix("a%2Bb%20").unwrap().parse().unwrap());
    let numbers: Vec<u64> = (1..below).rev().take(limit.min(3) as usize).collect();
    let next = numbers.last().filter(|last| **last > 1).map(|last| format!("a+b {last}"));
    let versions: Vec<Value> = numbers
        .iter()
        .map(|n| {
            json!({ "version": n, "uploaded_at": "2026-04-25T12:00:00Z",
        "uploaded_by": "tok_1", "flag_count": 1, "segment_count": 0, "sha256": "00", "size": 9 })
        })
        .collect();
    json(200, json!({ "versions": versions, "next_cursor": next }))
}

fn client(server: &Scripted) -> ManifestClient {
    ManifestClient::new(server.base(), TOKEN)
}

/// A directory for a test, and the place of a namespace in it.
fn place() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let shop = dir.path().join("shop");
    (dir, shop)
}

/// Every path below a directory, hidden ones as well, with the content of files.
fn listing(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for item in fs::read_dir(folder).unwrap() {
            let path = item.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(dir).unwrap().display().to_string();
                found.push((name, fs::read(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

fn names(dir: &Path) -> Vec<String> {
    listing(dir).into_iter().map(|(name, _)| name).collect()
}

#[test]
fn what_was_pulled_is_pushed_back_to_the_byte() {
    let server = contract(vec![packed(&[("a", 1)])]);
    for backend in [HttpBackend::InProcess, HttpBackend::Curl] {
        let (_dir, shop) = place();
        let client = client(&server).with_http_backend(backend);

        let meta = block_on(client.pull("shop", VersionRef::Latest, &shop)).unwrap();
        let pushed = block_on(client.push("shop", &shop, Some(IfVersion(meta.version)))).unwrap();

        assert_eq!((meta.version, meta.flag_count, meta.written), (1, 1, 2));
        assert_eq!(pushed.version, 1, "equal content makes no new version");
        assert_eq!(pushed.lint.warnings[0].code, "W001");
        assert_eq!(names(&shop), ["flags/a.toml", "namespace.toml"]);
        let again = block_on(client.pull("shop", VersionRef::Version(1), &shop)).unwrap();
        assert_eq!((again.written, again.removed), (0, 0));
    }
}

#[test]
fn the_calls_work_on_a_runtime_as_well() {
    let server = contract(vec![packed(&[("a", 1)])]);
    let (_dir, shop) = place();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();

    let pushed = runtime.block_on(async {
        let client = client(&server);
        let meta = client.pull("shop", VersionRef::Latest, &shop).await?;
        fs::write(shop.join("flags/a.toml"), flag(2)).unwrap();
        client.push("shop", &shop, Some(IfVersion(meta.version))).await
    });

    assert_eq!(pushed.unwrap().version, 2);
}

#[test]
fn pulling_replaces_the_files_of_the_namespace_and_no_others() {
    let server = contract(vec![packed(&[("a", 1), ("b", 1)]), packed(&[("a", 1), ("c", 3)])]);
    let (_dir, shop) = place();
    fs::create_dir_all(shop.join("flags")).unwrap();
    fs::create_dir_all(shop.join(".git")).unwrap();
    for (name, content) in [
        ("README.md", "ours"),
        (".git/HEAD", "ref"),
        (".exdignore", "draft-*.toml\n"),
        ("flags/notes.md", "ours"),
        ("flags/draft-x.toml", "not yet"),
        ("flags/a.toml", &flag(9)),
        ("flags/b.toml", "broken"),
    ] {
        fs::write(shop.join(name), content).unwrap();
    }

    let meta = block_on(client(&server).pull("shop", VersionRef::Latest, &shop)).unwrap();

    assert_eq!((meta.version, meta.written, meta.removed), (2, 3, 1));
    assert_eq!(
        names(&shop),
        [
            ".exdignore",
            ".git/HEAD",
            "README.md",
            "flags/a.toml",
            "flags/c.toml",
            "flags/draft-x.toml",
            "flags/notes.md",
            "namespace.toml"
        ]
    );
    assert_eq!(fs::read_to_string(shop.join("flags/a.toml")).unwrap(), flag(1));
    let pushed = block_on(client(&server).push("shop", &shop, Some(IfVersion(2)))).unwrap();
    assert_eq!(pushed.version, 2, "pushing what was pulled changes nothing");
}

#[test]
fn reflex_rules_are_pulled_pushed_and_taken_away_like_any_file_of_the_namespace() {
    let rules = "[[rule]]\ntag = \"free\"\nmetric = \"errors\"\noperator = \">\"\nthreshold = 5\naction = \"block\"\n";
    let mut with_rules = files(&[("a", 1)]);
    with_rules.insert("gate.toml", leverframe::document::Entry::File(rules.into()));
    let server = contract(vec![packed(&[("a", 1)]), archive::pack(&with_rules).unwrap()]);
    let (_dir, shop) = place();

    let pulled = block_on(client(&server).pull("shop", VersionRef::Latest, &shop)).unwrap();

    assert_eq!((pulled.version, pulled.written), (2, 3));
    assert_eq!(fs::read_to_string(shop.join("gate.toml")).unwrap(), rules);
    let same = block_on(client(&server).push("shop", &shop, None)).unwrap();
    assert_eq!(same.version, 2, "pushing what was pulled changes nothing");
    fs::write(shop.join("gate.toml"), rules.replace('5', "6")).unwrap();
    assert_eq!(block_on(client(&server).push("shop", &shop, Some(IfVersion(2)))).unwrap().version, 3);
    fs::write(shop.join("gate.toml"), "[[rule]]\n").unwrap();
    let refused = block_on(client(&server).push("shop", &shop, None)).unwrap_err();
    assert!(matches!(refused, ManifestError::LintFailed { .. }), "{refused}");
    let back = block_on(client(&server).pull("shop", VersionRef::Version(1), &shop)).unwrap();
    assert_eq!(
        (back.removed, names(&shop)),
        (1, vec!["flags/a.toml".to_owned(), "namespace.toml".to_owned()])
    );
}

type Arrange = fn(&Path);

#[test]
fn a_pull_that_would_destroy_something_else_changes_nothing() {
    let server = contract(vec![packed(&[("a", 1), ("b", 1)])]);
    let obstacles: [(&str, Arrange); 5] = [
        ("an ignored file in the way", |shop| {
            fs::write(shop.join(".exdignore"), "flags/b.toml\n").unwrap();
            fs::write(shop.join("flags/b.toml"), "mine").unwrap();
        }),
        ("a file that would be ignored", |shop| {
            fs::write(shop.join(".exdignore"), "flags/b.toml\n").unwrap()
        }),
        ("a directory in the way", |shop| fs::create_dir(shop.join("flags/b.toml")).unwrap()),
        ("a link in the way", |shop| {
            fs::write(shop.join("elsewhere"), "mine").unwrap();
            link(&shop.join("elsewhere"), &shop.join("flags/b.toml"));
        }),
        ("a link for a folder", |shop| {
            fs::remove_dir_all(shop.join("flags")).unwrap();
            fs::create_dir(shop.join("elsewhere")).unwrap();
            link(&shop.join("elsewhere"), &shop.join("flags"));
        }),
    ];
    for (what, arrange) in obstacles {
        let (_dir, shop) = place();
        fs::create_dir_all(shop.join("flags")).unwrap();
        fs::write(shop.join("flags/a.toml"), flag(7)).unwrap();
        arrange(&shop);
        let before = listing(&shop);

        let error = block_on(client(&server).pull("shop", VersionRef::Latest, &shop)).unwrap_err();

        assert!(matches!(error, ManifestError::Io(_)), "{what}: {error}");
        assert!(error.hint().is_some(), "{what}: {error}");
        assert_eq!(listing(&shop), before, "{what}");
    }
}

fn link(to: &Path, at: &Path) {
    std::os::unix::fs::symlink(to, at).unwrap();
}

#[test]
fn whoever_is_second_learns_which_version_is_current() {
    let server = contract(vec![packed(&[("a", 1)])]);
    let (_dir, shop) = place();
    let client = client(&server);
    block_on(client.pull("shop", VersionRef::Latest, &shop)).unwrap();
    fs::write(shop.join("flags/a.toml"), flag(2)).unwrap();
    block_on(client.push("shop", &shop, Some(IfVersion(1)))).unwrap();

    fs::write(shop.join("flags/a.toml"), flag(3)).unwrap();
    let error = block_on(client.push("shop", &shop, Some(IfVersion(1)))).unwrap_err();

    assert!(matches!(error, ManifestError::VersionConflict { current_version: 2 }), "{error:?}");
    assert_eq!(block_on(client.push("shop", &shop, None)).unwrap().version, 3);
}

#[test]
fn what_does_not_pass_lint_is_never_sent() {
    let server = contract(vec![]);
    let (_dir, shop) = place();
    fs::create_dir_all(shop.join("flags")).unwrap();
    fs::write(shop.join("flags/a.toml"), flag(1).replace("\"only\"", "\"none\"")).unwrap();

    let error = block_on(client(&server).push("shop", &shop, None)).unwrap_err();

    assert!(
        matches!(&error, ManifestError::LintFailed { message } if message.contains("flags/a.toml:")),
        "{error}"
    );
    assert!(server.asked().is_empty());
}

#[test]
fn a_file_that_an_archive_cannot_hold_is_an_error_and_not_left_out() {
    let server = contract(vec![]);
    let (_dir, shop) = place();
    fs::create_dir_all(shop.join("flags")).unwrap();
    fs::write(shop.join("flags/a.toml"), flag(1)).unwrap();
    fs::write(shop.join("flags/b.toml"), vec![b'#'; archive::limits::FILE + 1]).unwrap();
    let client = client(&server);

    let pushed = block_on(client.push("shop", &shop, None)).unwrap_err();
    let linted = block_on(client.lint("shop", &shop)).unwrap_err();

    assert!(matches!(pushed, ManifestError::LintFailed { .. }), "{pushed}");
    assert!(matches!(linted, ManifestError::Io(_)), "{linted}");
    assert!(server.asked().is_empty());
}

#[test]
fn all_pages_of_versions_are_read_and_no_more_than_asked_for() {
    let server = contract((1..=8).map(|n| packed(&[("a", n)])).collect());
    let client = client(&server);

    let all = block_on(client.versions("shop")).unwrap();
    let some = block_on(client.latest_versions("shop", 4)).unwrap();

    assert_eq!(all.iter().map(|v| v.version).collect::<Vec<_>>(), [8, 7, 6, 5, 4, 3, 2, 1]);
    assert_eq!(some.iter().map(|v| v.version).collect::<Vec<_>>(), [8, 7, 6, 5]);
    assert_eq!((all[0].uploaded_by.as_str(), all[0].size), ("tok_1", 9));
}

#[test]
fn two_versions_are_compared_by_what_they_mean() {
    let server = contract(vec![packed(&[("a", 1)]), packed(&[("a", 2)])]);

    let diff = block_on(client(&server).diff("shop", VersionRef::Version(1), VersionRef::Latest)).unwrap();

    let shown = diff.to_string();
    assert!(shown.contains("flag `a`") && shown.contains("1 → 2"), "{shown}");
}

#[test]
fn rolling_back_makes_a_new_version_of_the_old_content() {
    let server = contract(vec![packed(&[("a", 1)]), packed(&[("a", 2)])]);
    let (_dir, shop) = place();
    let client = client(&server);

    let back = block_on(client.rollback("shop", 1)).unwrap();
    block_on(client.pull("shop", VersionRef::Latest, &shop)).unwrap();

    assert_eq!(back.version, 3);
    assert_eq!(fs::read_to_string(shop.join("flags/a.toml")).unwrap(), flag(1));
}

#[test]
fn the_servers_lint_comes_back_as_findings() {
    let server = contract(vec![]);
    let (_dir, shop) = place();
    fs::create_dir_all(shop.join("flags")).unwrap();
    fs::write(shop.join("flags/a.toml"), "nonsense").unwrap();

    let lint = block_on(client(&server).lint("shop", &shop)).unwrap();

    assert!(!lint.passed());
    let (severity, finding) = lint.findings().next().unwrap();
    assert_eq!((severity.as_str(), finding.code.as_str(), finding.line), ("error", "E005", 3));
}

#[test]
fn a_lint_answer_comes_whole_in_either_form_or_not_at_all() {
    let finding = || json!({ "code": "E005", "message": "unknown segment" });
    let (_dir, shop) = place();
    fs::create_dir_all(shop.join("flags")).unwrap();
    let ask = |body: Value| {
        let server = Scripted::start(move |_| json(200, body.clone()));
        block_on(client(&server).lint("shop", &shop))
    };

    let nested =
        ask(json!({ "passed": false, "lint": { "errors": [finding()], "warnings": [], "infos": [] } }));
    let beside = ask(json!({ "passed": false, "errors": [finding()], "warnings": [], "infos": [] }));

    assert_eq!(nested.unwrap(), beside.unwrap());
    for odd in [json!({ "passed": true }), json!({ "passed": false, "errors": [] }), json!({ "errors": [] })]
    {
        assert!(matches!(ask(odd.clone()), Err(ManifestError::Malformed(_))), "{odd}");
    }
}

#[test]
fn a_tenant_is_named_in_the_path_where_one_is_given() {
    let server =
        Scripted::start(|_| refusal(403, "forbidden", "the token does not permit this here", json!({})));
    let client = client(&server).with_tenant("acme");

    let error = block_on(client.versions("shop")).unwrap_err();

    let asked = &server.asked()[0];
    assert!(
        asked.line.starts_with("GET /api/v1/tenants/acme/namespaces/shop/manifest/versions?"),
        "{}",
        asked.line
    );
    let ManifestError::Server { status, code, request_id, .. } = &error else { panic!("{error:?}") };
    assert_eq!((*status, code.as_str()), (403, "forbidden"));
    assert_eq!(request_id.as_deref(), Some("01HV5XK1EFQT8N3JRDCP7MW04A"));
}

/// Asks a server that always says the same.
fn refused(said: impl Fn() -> Said + Send + Sync + 'static) -> ManifestError {
    let server = Scripted::start(move |_: &Asked| said());
    let (_dir, shop) = place();
    block_on(client(&server).pull("shop", VersionRef::Version(1), &shop)).unwrap_err()
}

#[test]
fn answers_that_break_the_contract_are_told_as_such() {
    let etag = |tag: &str| vec![("etag", tag.to_owned())];
    let v1 = packed(&[("a", 1)]);
    let (whole, other) = (v1.clone(), v1.clone());
    let cases: Vec<ManifestError> = vec![
        refused(move || (200, etag("\"v2\""), whole.clone())),
        refused(move || (200, etag("\"8\""), other.clone())),
        refused(move || (200, vec![], v1.clone())),
        refused(move || (200, etag("\"v1\""), b"<html>".to_vec())),
    ];
    for error in cases {
        assert!(matches!(error, ManifestError::Malformed(_)), "{error:?}");
        assert!(error.hint().is_some());
    }
    let huge = refused(move || (200, etag("\"v1\""), vec![0; archive::limits::COMPRESSED + 1]));
    assert!(matches!(huge, ManifestError::Transport(_)), "{huge:?}");
}

#[test]
fn lists_that_lead_nowhere_end() {
    let same = || json!({ "versions": [{ "version": 3 }], "next_cursor": "x" });
    let none = || json!({ "versions": [], "next_cursor": "x" });
    for body in [same as fn() -> Value, none] {
        let server = Scripted::start(move |_| json(200, body()));

        let error = block_on(client(&server).versions("shop")).unwrap_err();

        assert!(matches!(error, ManifestError::Malformed(_)), "{error:?}");
        assert!(server.asked().len() <= 2);
    }
}

#[test]
fn refusals_without_an_envelope_are_told_by_their_status() {
    for (status, code) in [(401, "unauthenticated"), (404, "not_found"), (418, "http_418")] {
        let error = refused(move || (status, vec![("x-request-id", "abc".to_owned())], b"<html>no".to_vec()));

        let ManifestError::Server { status: seen, code: word, request_id, .. } = &error else {
            panic!("{error:?}")
        };
        assert_eq!((*seen, word.as_str(), request_id.as_deref()), (status, code, Some("abc")));
    }
}

#[test]
fn lint_errors_of_the_server_name_the_first_and_count_the_rest() {
    let finding = |code: &str| json!({ "code": code, "file": "flags/a.toml", "line": 3, "column": 1, "message": "bad\u{1b}[2J" });
    let error = refused(move || {
        refusal(
            422,
            "manifest_lint_failed",
            "…",
            json!({ "lint": { "errors": [finding("E005"), finding("E006")] } }),
        )
    });

    let ManifestError::LintFailed { message } = &error else { panic!("{error:?}") };
    assert_eq!(message, "error[E005] bad [2J at flags/a.toml:3:1 (and 1 more)");
}

#[test]
fn no_error_and_no_debug_form_shows_the_token() {
    let echo = refused(|| refusal(400, "bad_request", &format!("what is {TOKEN}?"), json!({})));
    let unreachable =
        block_on(ManifestClient::new("http://127.0.0.1:1", TOKEN).versions("shop")).unwrap_err();
    let malformed =
        block_on(ManifestClient::new("http://127.0.0.1:1", format!("{TOKEN}\n")).versions("shop"))
            .unwrap_err();
    let in_base = ManifestClient::new(format!("http://user:{TOKEN}@127.0.0.1:1"), TOKEN);
    let refused = block_on(in_base.versions("shop")).unwrap_err();

    for text in [
        format!("{echo} {echo:?}"),
        format!("{unreachable} {unreachable:?}"),
        format!("{malformed} {malformed:?}"),
        format!("{refused} {refused:?} {in_base:?}"),
    ] {
        assert!(!text.contains("canary"), "{text}");
    }
    assert!(matches!(unreachable, ManifestError::Transport(_)));
    assert!(matches!(malformed, ManifestError::Invalid(_)) && matches!(refused, ManifestError::Invalid(_)));
}

#[test]
fn names_that_would_leave_their_place_in_the_path_are_refused() {
    let client = ManifestClient::new("http://127.0.0.1:1", TOKEN);
    for name in ["", "..", "a/b", "a?b", "A", "ä"] {
        assert!(matches!(block_on(client.versions(name)).unwrap_err(), ManifestError::Invalid(_)), "{name}");
        let tenant = client.clone().with_tenant(name);
        assert!(
            matches!(block_on(tenant.versions("shop")).unwrap_err(), ManifestError::Invalid(_)),
            "{name}"
        );
    }
}

/// The documented sample of exd's SDK, with nothing changed but the crate's name, the address and the folder.
#[tokio::test]
async fn the_sample_of_the_public_contract_runs() -> Result<(), Box<dyn std::error::Error>> {
    let server = contract((1..=6).map(|n| packed(&[("a", n)])).collect());
    let (_dir, shop) = place();
    let (base, folder) = (server.base(), shop.to_str().unwrap());

    let mgr = ManifestClient::new(base, TOKEN);
    let mgr = mgr.with_http_backend(leverframe::HttpBackend::Curl);
    let meta = mgr.pull("shop", VersionRef::Latest, folder).await?;
    println!("downloaded version {}", meta.version);
    let report = leverframe::lint_dir(folder)?;
    if report.has_errors() {
        for diag in report.errors() {
            eprintln!("[{}] {}:{} — {}", diag.code, diag.file, diag.line, diag.message);
        }
        return Err("lint failed".into());
    }
    mgr.push("shop", folder, Some(IfVersion(meta.version))).await?;
    let diff = mgr.diff("shop", VersionRef::Version(5), VersionRef::Latest).await?;
    println!("{}", diff.to_string());
    let versions = mgr.versions("shop").await?;

    assert_eq!((meta.version, versions.len()), (6, 6));
    Ok(())
}
