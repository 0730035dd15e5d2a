//! The real binary on the example namespaces: output, exit codes, colour.
#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;

fn payments() -> String {
    example("payments")
}

fn example(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/namespaces").join(name);
    root.canonicalize().unwrap().display().to_string()
}

/// Runs the command away from any terminal, in a folder of its own.
fn run_in(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_leverframe"))
        .args(args)
        .current_dir(dir)
        .env_remove("NO_COLOR")
        .env_remove("CLICOLOR_FORCE")
        .env_remove("LEVERFRAME_CACHE__USE")
        .output()
        .unwrap()
}

fn run(args: &[&str]) -> Output {
    run_in(Path::new(env!("CARGO_MANIFEST_DIR")), args)
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[track_caller]
fn json(args: &[&str]) -> Value {
    let output = run(args);
    serde_json::from_str(&stdout(&output))
        .unwrap_or_else(|e| panic!("{e}: {}{}", stdout(&output), stderr(&output)))
}

/// A copy of the payments namespace under its own name, to break.
fn copy() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("payments");
    for folder in ["", "flags", "segments"] {
        fs::create_dir_all(target.join(folder)).unwrap();
        for item in fs::read_dir(Path::new(&payments()).join(folder)).unwrap() {
            let path = item.unwrap().path();
            if path.is_file() {
                fs::copy(&path, target.join(folder).join(path.file_name().unwrap())).unwrap();
            }
        }
    }
    (dir, target)
}

#[test]
fn a_clean_namespace_is_one_line_and_exit_0() {
    let output = run(&["lint", &payments()]);

    assert_eq!(stdout(&output), "namespace 'payments': 16 flags, 12 segments — OK\n");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn an_error_shows_code_place_line_caret_and_hint_and_exit_1() {
    let (_dir, namespace) = copy();
    let flag = namespace.join("flags/sepa-instant.toml");
    let text = fs::read_to_string(&flag).unwrap().replace("sepa-instant-half", "sepa-instant-halv");
    fs::write(&flag, text).unwrap();

    let output = run(&["lint", namespace.to_str().unwrap()]);

    let shown = stdout(&output);
    let expected = "error[E005] flag 'sepa-instant' rule[0]: unknown segment `sepa-instant-halv`
  at flags/sepa-instant.toml:18:11
  18 | segment = \"sepa-instant-halv\"
     |           ^^^^^^^^^^^^^^^^^^^
  hint: did you mean `sepa-instant-half`?
";
    assert!(shown.starts_with(expected), "{shown}");
    assert!(shown.trim_end().ends_with("1 error, 1 warning"), "{shown}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn warnings_pass_unless_they_are_denied() {
    let (_dir, namespace) = copy();
    fs::create_dir(namespace.join("flags/old")).unwrap();
    fs::write(namespace.join("flags/old/x.toml"), "").unwrap();
    let path = namespace.to_str().unwrap();

    assert_eq!(run(&["lint", path]).status.code(), Some(0));
    assert_eq!(run(&["lint", path, "--deny-warnings"]).status.code(), Some(1));
}

#[test]
fn lint_as_json_is_one_object_with_result_and_provenance() {
    let value = json(&["lint", &payments(), "--format", "json"]);

    assert_eq!(value["query"], "lint");
    assert_eq!(value["result"]["namespace"], "payments");
    assert_eq!(value["result"]["passed"], true);
    assert_eq!(value["result"]["flags"], 16);
    assert_eq!(value["provenance"]["engine"], "static");
    assert_eq!(value["provenance"]["record_count"], 0);
}

#[test]
fn equal_runs_differ_only_in_the_time() {
    let once = || {
        let mut value = json(&[
            "eval",
            "--env",
            "production",
            "--manifest",
            &payments(),
            "--ctx",
            "user.id=u",
            "--format",
            "json",
        ]);
        value["provenance"]["executed_at"] = Value::Null;
        value
    };

    assert_eq!(once(), once());
}

#[test]
fn one_flag_is_its_bare_variant_and_all_flags_are_a_line_each() {
    let one = run(&[
        "eval",
        "checkout-cta",
        "--env",
        "production",
        "--manifest",
        &payments(),
        "--ctx",
        "user.id=u-2",
    ]);
    let all = run(&["eval", "--env", "production", "--manifest", &payments()]);

    assert_eq!(stdout(&one), "friendly\n");
    assert_eq!(stdout(&all).lines().count(), 16);
    assert!(stdout(&all).contains("new-checkout        off\n"), "{}", stdout(&all));
}

#[test]
fn evaluation_as_json_carries_value_variant_rule_and_version() {
    let value = json(&[
        "eval",
        "fraud-threshold",
        "--env",
        "production",
        "--manifest",
        &payments(),
        "--ctx",
        "account.labels=[risk-review]",
        "--format",
        "json",
    ]);

    let result = &value["result"];
    assert_eq!(value["query"], "eval");
    assert_eq!(result["value"], 0.62);
    assert_eq!(result["variant_key"], "strict");
    assert_eq!(result["rule_matched"], "rule:0");
    assert_eq!(result["flag_version"], 1);
    assert_eq!(value["provenance"]["engine"], "static+ctx");
}

#[test]
fn a_trace_shows_blocks_rules_outcome_and_context() {
    let output = run(&[
        "eval",
        "new-checkout",
        "--env",
        "production",
        "--manifest",
        &payments(),
        "--trace",
        "--ctx",
        "user.email=ann@example.com",
    ]);

    let shown = stdout(&output);
    for line in [
        "[flag.environments.production].rules",
        "  rule[0] segment `employees` MATCHES → on",
        "(not reached)",
        "outcome: on = true",
        "via:     rule:0",
        "ctx:     user.email=\"ann@example.com\"",
    ] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
}

#[test]
fn unknown_flags_and_environments_name_the_nearest_and_exit_1() {
    let flag = run(&["eval", "new-chekout", "--env", "production", "--manifest", &payments()]);
    let env = run(&["eval", "new-checkout", "--env", "prodution", "--manifest", &payments()]);

    assert_eq!(stderr(&flag), "error: unknown flag `new-chekout`\nhint: did you mean `new-checkout`?\n");
    assert!(stderr(&env).contains("did you mean `production`?"), "{}", stderr(&env));
    assert_eq!((flag.status.code(), env.status.code()), (Some(1), Some(1)));
}

#[test]
fn a_context_of_the_wrong_type_is_told_and_exit_1() {
    let args =
        ["eval", "new-checkout", "--env", "production", "--manifest", &payments(), "--ctx", "user.email=7"];

    let output = run(&args);
    let as_json = run(&[&args[..], &["--format", "json"]].concat());

    assert!(stderr(&output).contains("`user.email` is int in the context"), "{}", stderr(&output));
    let value: Value = serde_json::from_slice(&as_json.stdout).unwrap();
    assert_eq!(value["result"]["rule_matched"], "attr_type_mismatch");
    assert_eq!(value["result"]["mismatch"]["expected"], "string");
    assert_eq!((output.status.code(), as_json.status.code()), (Some(1), Some(1)));
}

#[test]
fn what_explain_says_would_change_the_result_does() {
    let value = json(&[
        "explain",
        "new-checkout",
        "--env",
        "production",
        "--manifest",
        &payments(),
        "--ctx",
        "user.country=US",
        "--want",
        "on",
        "--format",
        "json",
    ]);
    let change = &value["result"]["resolution"]["nearest_change"];
    assert_eq!(change["variant"], "on");

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ctx.json");
    fs::write(&file, change["context"].to_string()).unwrap();
    let applied = run(&[
        "eval",
        "new-checkout",
        "--env",
        "production",
        "--manifest",
        &payments(),
        "--ctx-file",
        file.to_str().unwrap(),
    ]);

    assert_eq!(stdout(&applied), "on\n");
}

#[test]
fn explain_shows_its_sections_for_a_flag_and_an_overview_without_one() {
    let flag = stdout(&run(&["explain", "retry-policy", "--env", "production", "--manifest", &payments()]));
    let all = stdout(&run(&["explain", "--env", "production", "--manifest", &payments()]));

    for section in
        ["variants", "resolution", "rules of", "segments", "context that is read", "pitfalls", "notes"]
    {
        assert!(flag.contains(section), "{section}: {flag}");
    }
    assert!(all.contains("segment → flags") && all.contains("flags in production"), "{all}");
}

#[test]
fn an_archive_holds_what_the_directory_held_and_packs_to_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();

    let packed = run(&["manifest", "pack", &payments(), "-o", &at("a.tar.gz")]);
    let unpacked = run(&["manifest", "unpack", &at("a.tar.gz"), &at("payments")]);
    run(&["manifest", "pack", &at("payments"), "-o", &at("b.tar.gz")]);

    assert_eq!((packed.status.code(), unpacked.status.code()), (Some(0), Some(0)));
    assert_eq!(fs::read(at("a.tar.gz")).unwrap(), fs::read(at("b.tar.gz")).unwrap());
    assert_eq!(
        stdout(&run(&["lint", &at("a.tar.gz")])).lines().last(),
        Some("namespace 'payments': 16 flags, 12 segments — OK")
    );
}

#[cfg(unix)]
#[test]
fn archives_and_signatures_are_readable_as_other_files_are_and_secret_keys_are_not() {
    use std::os::unix::fs::PermissionsExt;
    let (folder, payments) = copy();
    let mode = |name: &str| fs::metadata(folder.path().join(name)).unwrap().permissions().mode() & 0o777;
    fs::write(folder.path().join("other"), "").unwrap();
    let payments = payments.to_str().unwrap();

    for args in [
        &["manifest", "pack", payments, "-o", "a.tar.gz"][..],
        &["keygen", "release.key"],
        &["sign", "a.tar.gz", "--key", "release.key"],
    ] {
        assert!(run_in(folder.path(), args).status.success(), "{args:?}");
    }

    assert_eq!((mode("a.tar.gz"), mode("a.tar.gz.sig")), (mode("other"), mode("other")));
    assert_eq!(mode("release.key"), 0o600);
}

#[test]
fn unpacking_never_overwrites() {
    let dir = tempfile::tempdir().unwrap();
    let archive = dir.path().join("a.tar.gz").display().to_string();
    run(&["manifest", "pack", &payments(), "-o", &archive]);

    let output = run(&["manifest", "unpack", &archive, dir.path().to_str().unwrap()]);

    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("is not empty"), "{}", stderr(&output));
}

#[test]
fn a_new_namespace_lints_clean_and_evaluates() {
    let dir = tempfile::tempdir().unwrap();

    let init = run_in(dir.path(), &["init", "my-team"]);
    let lint = run_in(dir.path(), &["lint", "my-team", "--deny-warnings"]);
    let eval = run_in(dir.path(), &["eval", "new-greeting", "--env", "staging", "--manifest", "my-team"]);

    assert_eq!((init.status.code(), lint.status.code()), (Some(0), Some(0)), "{}", stderr(&init));
    assert_eq!(stdout(&eval), "on\n");
}

#[test]
fn generated_namespaces_are_equal_for_equal_seeds_and_lint_clean() {
    let dir = tempfile::tempdir().unwrap();
    run_in(dir.path(), &["gen", "--flags", "60", "--seed", "7", "a"]);
    run_in(dir.path(), &["gen", "--flags", "60", "--seed", "7", "b"]);

    let diff = run_in(dir.path(), &["diff", "a", "b", "--max-moved", "0%"]);
    let lint = run_in(dir.path(), &["lint", "a", "--deny-warnings"]);

    assert_eq!(
        (diff.status.code(), lint.status.code()),
        (Some(0), Some(0)),
        "{}{}",
        stdout(&diff),
        stdout(&lint)
    );
}

#[test]
fn a_difference_counts_the_buckets_that_move_and_the_bound_decides_the_exit_code() {
    let (_dir, namespace) = copy();
    let segment = namespace.join("segments/sepa-instant-half.toml");
    let text = fs::read_to_string(&segment).unwrap().replace("end = 4999", "end = 5499");
    fs::write(&segment, text).unwrap();
    let new = namespace.to_str().unwrap();

    let within = run(&["diff", &payments(), new, "--max-moved", "5%"]);
    let beyond = run(&["diff", &payments(), new, "--max-moved", "4.99%"]);

    assert!(stdout(&within).contains("500 of 10000 (5%)"), "{}", stdout(&within));
    assert_eq!((within.status.code(), beyond.status.code()), (Some(0), Some(1)));
}

#[test]
fn schema_and_fixtures_come_in_every_form() {
    for format in ["human", "json", "jsonschema", "rust", "typescript"] {
        let output = run(&[
            "schema",
            "new-checkout",
            "--env",
            "production",
            "--manifest",
            &payments(),
            "--format",
            format,
        ]);
        assert_eq!(output.status.code(), Some(0), "schema {format}: {}", stderr(&output));
        assert!(stdout(&output).contains("country"), "schema {format}: {}", stdout(&output));
    }
    for format in ["human", "json", "rust", "typescript"] {
        let output = run(&[
            "fixtures",
            "checkout-cta",
            "--env",
            "production",
            "--manifest",
            &payments(),
            "--format",
            format,
        ]);
        assert_eq!(output.status.code(), Some(0), "fixtures {format}: {}", stderr(&output));
        assert!(stdout(&output).contains("friendly"), "fixtures {format}: {}", stdout(&output));
    }
}

#[test]
fn plugins_and_settings_are_listed() {
    let plugins = json(&["plugins", "--format", "json"]);
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("l.toml"), "[cache]\nuse = \"memory\"\n").unwrap();
    let explained = run_in(dir.path(), &["config", "explain", "--config", "l.toml"]);

    assert_eq!(plugins["result"]["plugins"][0]["name"], "file");
    assert!(stdout(&explained).contains("\"memory\"  (l.toml:2)"), "{}", stdout(&explained));
}

#[test]
fn colour_is_for_terminals_and_for_those_who_ask() {
    let plain = run(&["lint", &payments()]);
    let asked = run(&["--color", "always", "lint", &payments()]);
    let unasked = Command::new(env!("CARGO_BIN_EXE_leverframe"))
        .args(["lint", &payments()])
        .env("NO_COLOR", "1")
        .env("CLICOLOR_FORCE", "0")
        .output()
        .unwrap();

    assert!(!stdout(&plain).contains('\u{1b}'));
    assert!(stdout(&asked).contains('\u{1b}'));
    assert!(!stdout(&unasked).contains('\u{1b}'));
}

#[test]
fn every_command_has_examples_in_its_help() {
    let commands = [
        vec!["lint"],
        vec!["eval"],
        vec!["explain"],
        vec!["schema"],
        vec!["fixtures"],
        vec!["diff"],
        vec!["init"],
        vec!["gen"],
        vec!["plugins"],
        vec!["completions"],
        vec!["demo"],
        vec!["manifest", "pack"],
        vec!["manifest", "unpack"],
        vec!["manifest", "push"],
        vec!["manifest", "pull"],
        vec!["manifest", "versions"],
        vec!["manifest", "diff"],
        vec!["manifest", "rollback"],
        vec!["serve"],
        vec!["admin", "bootstrap"],
        vec!["admin", "tenant", "create"],
        vec!["admin", "tenant", "list"],
        vec!["admin", "namespace", "create"],
        vec!["admin", "namespace", "list"],
        vec!["admin", "token", "mint"],
        vec!["admin", "token", "list"],
        vec!["admin", "token", "revoke"],
        vec!["admin", "gate-key", "create"],
        vec!["admin", "gate-key", "list"],
        vec!["admin", "gate-key", "revoke"],
        vec!["admin", "settings-key", "create"],
        vec!["admin", "settings-key", "list"],
        vec!["admin", "settings-key", "revoke"],
        vec!["admin", "rekey"],
        vec!["settings", "get"],
        vec!["settings", "list"],
        vec!["settings", "set"],
        vec!["settings", "delete"],
        vec!["settings", "export"],
        vec!["settings", "watch"],
        vec!["run"],
        vec!["gate", "status"],
        vec!["gate", "set"],
        vec!["gate", "kill"],
        vec!["admin", "migrate"],
        vec!["admin", "backup"],
        vec!["admin", "restore"],
        vec!["config", "explain"],
        vec!["config", "reference"],
    ];
    for command in commands {
        let output = run(&[&command[..], &["--help"]].concat());
        assert!(stdout(&output).contains("Example"), "{command:?}");
        assert_eq!(output.status.code(), Some(0), "{command:?}");
    }
}

#[test]
fn completions_are_written_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(stdout(&run(&["completions", shell])).contains("leverframe"), "{shell}");
    }
}

#[test]
fn usage_errors_exit_2_and_missing_files_exit_3() {
    assert_eq!(run(&["frobnicate"]).status.code(), Some(2));
    assert_eq!(
        run(&["eval", "a", "--env", "e", "--manifest", &payments(), "--ctx", "novalue"]).status.code(),
        Some(2)
    );
    assert_eq!(run(&["lint", "gopher://x"]).status.code(), Some(2));
    let missing = run(&["lint", "/no/such/place"]);
    assert_eq!(missing.status.code(), Some(3));
    assert!(stderr(&missing).contains("hint: "), "{}", stderr(&missing));
}

#[test]
fn the_demonstration_ends_by_itself_and_shows_the_change() {
    let output = run(&["demo", "--once"]);

    let shown = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(shown.contains("the client serves version 2 after"), "{shown}");
    assert!(shown.contains("grace gets true"), "{shown}");
    assert!(shown.contains("✓ greeting was changed, and reads `Good evening`"), "{shown}");
    assert!(!shown.contains("correct horse"), "{shown}");
}
