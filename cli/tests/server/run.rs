//! `leverframe run`, with real children.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    process::{Child, ChildStdin, ChildStdout, Output, Stdio},
    sync::mpsc::Sender,
};

use leverframe::settings::WriteOptions;
use serde_json::json;

use crate::{
    child::{signal, stderr, stdout, watch},
    settings::Service,
};

impl Service {
    /// Runs a script of the shell to its end.
    fn sh(&self, args: &[&str], script: &str) -> Output {
        self.command(&[&["run"], args, &["--", "sh", "-c", script]].concat()).output().unwrap()
    }

    /// Starts a script of the shell that waits for standard input to close.
    fn run(&self, args: &[&str], script: &str) -> Running {
        let mut child = self
            .command(&[&["run"], args, &["--", "sh", "-c", script]].concat())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Of no terminal, so that every signal is passed on.
            .process_group(0)
            .spawn()
            .unwrap();
        let watched = watch(child.id());
        Running {
            stdin: child.stdin.take(),
            stdout: BufReader::new(child.stdout.take().unwrap()),
            child,
            _watched: watched,
        }
    }

    fn config(&self, key: &str, value: &str) {
        self.client().set_config(key, &json!(value), &WriteOptions::new()).unwrap();
    }
}

/// A run at work.
struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    _watched: Sender<()>,
}

impl Running {
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Closes standard input, and waits for the end.
    fn ended(mut self) -> Option<i32> {
        drop(self.stdin.take());
        self.child.wait().unwrap().code()
    }

    /// Waits for the end while standard input stays open.
    fn ended_by_itself(mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_command_has_the_settings_as_variables_and_gives_its_exit_code() {
    let service = Service::new();
    service.ok(&["set", "db.url", "postgres://h/d"]);
    service.ok(&["set", "limits", r#"{"a": [1]}"#]);
    service.ok(&["set", "new-checkout", "on", "--kind", "flag"]);
    service.secret(&["TOKEN"], b"it's $5\nand more");

    let output =
        service.sh(&[], r#"printf '%s|' "$DB_URL" "$LIMITS" "$NEW_CHECKOUT" "$TOKEN"; echo bad >&2; exit 7"#);
    let prefixed = service.sh(
        &["--env-prefix", "APP_", "--only", "db.url", "TOKEN", "--rename", "db.url=DSN"],
        r#"echo "$DSN|$APP_TOKEN|$APP_LIMITS|$TOKEN""#,
    );

    assert_eq!(stdout(&output), "postgres://h/d|{\"a\":[1]}|true|it's $5\nand more|");
    assert_eq!((stderr(&output).as_str(), output.status.code()), ("bad\n", Some(7)));
    assert_eq!(stdout(&prefixed), "postgres://h/d|it's $5\nand more||\n", "{}", stderr(&prefixed));
}

#[test]
fn variables_that_are_set_are_kept_unless_they_are_to_be_replaced() {
    let service = Service::new();
    service.ok(&["set", "greeting", "hello"]);
    let run = |args: &[&str]| {
        let args = [&["run"], args, &["--", "sh", "-c", "echo $GREETING"]].concat();
        stdout(&service.command(&args).env("GREETING", "mine").output().unwrap())
    };

    assert_eq!(run(&[]), "mine\n");
    assert_eq!(run(&["--override"]), "hello\n");
}

#[test]
fn the_key_is_kept_from_the_command_unless_it_is_to_be_passed() {
    let service = Service::new();

    let kept = service.sh(&[], "env");
    let passed = service.sh(&["--pass-key"], "echo $LEVERFRAME_SETTINGS_KEY");

    assert!(stdout(&kept).contains("LEVERFRAME_SETTINGS_ENDPOINT=") && !stdout(&kept).contains(&service.key));
    assert_eq!(stdout(&passed).trim_end(), service.key);
}

#[test]
fn two_settings_of_one_name_are_refused_and_nothing_is_run() {
    let service = Service::new();
    service.ok(&["set", "db.url", "1"]);
    service.secret(&["DB_URL"], b"canary");

    let output = service.sh(&[], "echo ran");
    let renamed = service.sh(&["--rename", "DB_URL=DSN"], "echo ran");

    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(1), ""));
    let error = stderr(&output);
    assert!(error.contains("config `db.url`") && error.contains("secret `DB_URL`"), "{error}");
    assert!(error.contains("--rename") && !error.contains("canary"), "{error}");
    assert_eq!(stdout(&renamed), "ran\n");
}

#[test]
fn a_command_that_cannot_be_run_or_is_killed_ends_as_in_a_shell() {
    let service = Service::new();
    fs::write(service.stage.path("plain"), "").unwrap();
    let run = |command: &[&str]| {
        let output = service.command(&[&["run", "--"], command].concat()).output().unwrap();
        output.status.code()
    };

    assert_eq!(run(&["no-such-command"]), Some(127));
    assert_eq!(run(&["./plain"]), Some(126));
    assert_eq!(run(&["sh", "-c", "kill -KILL $$"]), Some(137));
    assert_eq!(run(&["true"]), Some(0));
    assert_eq!(run(&[]), Some(2));
}

#[test]
fn what_is_too_large_for_a_variable_fits_into_a_file() {
    let service = Service::new();
    service.config("large", &"x".repeat(200_000));

    let variables = service.sh(&[], "echo ran");
    let files = service.sh(&["--files", "settings"], "wc -c < settings/large");

    assert_eq!((variables.status.code(), stdout(&variables).as_str()), (Some(126), ""));
    assert!(stderr(&variables).contains("use `--files DIR`"), "{}", stderr(&variables));
    assert_eq!(stdout(&files).trim(), "200000", "{}", stderr(&files));
}

#[test]
fn signals_are_passed_on() {
    let service = Service::new();
    for (name, number) in [("INT", 2), ("TERM", 15), ("HUP", 1), ("USR1", 10)] {
        let script = format!("trap 'echo {name}; exit 3' {name}; echo ready; read line");
        let mut running = service.run(&[], &script);
        assert_eq!(running.line(), "ready");
        signal(running.child.id(), name);
        assert_eq!((running.line().as_str(), running.ended_by_itself()), (name, Some(3)));

        let mut running = service.run(&[], "echo ready; read line");
        assert_eq!(running.line(), "ready");
        signal(running.child.id(), name);
        assert_eq!(running.ended_by_itself(), Some(128 + number), "{name}");
    }
}

#[test]
fn what_is_typed_reaches_the_command_once() {
    let service = Service::new();
    let script = "trap \"echo told\" INT; echo ready; read a; read b; echo \"<$b>\"; exit 6";
    let mut terminal = service.on_terminal(&format!("exec \"$LEVERFRAME\" run -- sh -c '{script}'"));
    terminal.until("ready");
    terminal.press("\u{3}");
    terminal.until("told");
    terminal.press("go\rgo\r");

    assert_eq!(terminal.ended(), Some(6), "{}", terminal.shown);
    assert_eq!(terminal.shown.matches("told").count(), 1, "{}", terminal.shown);
    assert!(terminal.shown.contains("<go>"), "{}", terminal.shown);
}

#[test]
fn files_are_private_and_gone_at_the_end() {
    let service = Service::new();
    service.ok(&["set", "db.url", "postgres://h/d"]);
    service.secret(&["CERT", "--type", "file"], &[0, 255, 10]);

    let output = service.sh(
        &["--files", "settings"],
        "stat -c %a settings settings/db.url; cat settings/db.url; echo; echo $DB_URL; cmp $CERT settings/CERT && cat $CERT; exit 4",
    );
    let beside = service.sh(&[], "stat -c %a $CERT $(dirname $CERT); cat $CERT; echo $CERT > path");
    fs::create_dir(service.stage.path("mine")).unwrap();
    fs::write(service.stage.path("mine/file"), "").unwrap();
    let taken = service.sh(&["--files", "mine"], "echo ran");

    assert_eq!(output.stdout, b"700\n600\npostgres://h/d\n\n\0\xff\n", "{}", stderr(&output));
    assert_eq!(output.status.code(), Some(4));
    assert!(!service.stage.path("settings").exists());
    assert_eq!(beside.stdout, b"600\n700\n\0\xff\n", "{}", stderr(&beside));
    let path = fs::read_to_string(service.stage.path("path")).unwrap();
    assert!(!std::path::Path::new(path.trim()).exists());
    assert_eq!((taken.status.code(), stdout(&taken).as_str()), (Some(2), ""));
    assert!(service.stage.path("mine/file").exists() && stderr(&taken).contains("hint: "));
}

#[test]
fn files_that_a_killed_run_left_behind_are_cleared_away() {
    let service = Service::new();
    service.ok(&["set", "greeting", "hello"]);
    let mut running = service.run(&["--files", "settings"], "echo ready; read line");
    assert_eq!(running.line(), "ready");
    let used = service.sh(&["--files", "settings"], "echo ran");
    running.child.kill().unwrap();
    running.child.wait().unwrap();
    assert!(service.stage.path("settings/greeting").exists());
    service.ok(&["delete", "greeting"]);
    service.ok(&["set", "other", "1"]);

    let next = service.sh(&["--files", "settings"], "ls settings");

    assert_eq!(used.status.code(), Some(2), "{}", stderr(&used));
    assert_eq!(stdout(&next), "other\n", "{}", stderr(&next));
    assert!(!service.stage.path("settings").exists());
}

#[test]
fn a_change_starts_the_command_again_once_however_many_come_together() {
    let service = Service::new();
    let client = service.client();
    service.config("greeting", "hello");
    service.config("other", "1");
    let set = |key: &str, value: &str| client.set_config(key, &json!(value), &WriteOptions::new()).unwrap();
    let script = "trap 'echo stopped; exit 0' TERM; echo $GREETING $NAME; read line";
    let watched = ["--watch", "--only", "greeting", "name", "--restart-delay", "1500ms"];
    assert_eq!(service.run(&watched, script).ended(), Some(1), "a name that is not there");
    service.config("name", "ann");

    let mut running = service.run(&watched, script);
    assert_eq!(running.line(), "hello ann");
    set("greeting", "bye");
    set("name", "bob");
    // Usually one change; two where the second takes longer than the delay to come.
    assert_eq!(running.line(), "stopped");
    let mut last = running.line();
    if last == "bye ann" {
        assert_eq!(running.line(), "stopped");
        last = running.line();
    }
    assert_eq!(last, "bye bob");
    // Of no interest to it.
    set("other", "2");
    set("name", "eve");
    assert_eq!((running.line().as_str(), running.line().as_str()), ("stopped", "bye eve"));
    // What cannot be is told, and the command goes on.
    client.delete_config("name").unwrap();
    set("name", "dan");

    assert_eq!((running.line().as_str(), running.line().as_str()), ("stopped", "bye dan"));
    signal(running.child.id(), "TERM");
    assert_eq!((running.line().as_str(), running.ended_by_itself()), ("stopped", Some(0)));
}

#[test]
fn a_command_that_does_not_stop_is_killed_and_files_follow() {
    let service = Service::new();
    let client = service.client();
    service.config("greeting", "hello");
    service.config("old", "1");
    let args = ["--watch", "--files", "settings", "--kill-after", "200ms", "--restart-delay", "100ms"];
    let mut running =
        service.run(&args, "trap '' TERM; echo $(ls settings) $(cat settings/greeting); read line");
    assert_eq!(running.line(), "greeting old hello");

    client.delete_config("old").unwrap();
    client.set_config("greeting", &json!("bye"), &WriteOptions::new()).unwrap();
    let mut shown = running.line();
    // The two may come apart.
    if shown == "greeting hello" {
        shown = running.line();
    }

    assert_eq!(shown, "greeting bye");
    assert_eq!(running.ended(), Some(1), "`read` ends with standard input");
    assert!(!service.stage.path("settings").exists());
}

#[test]
fn a_command_that_was_told_to_end_is_not_started_again() {
    let service = Service::new();
    let client = service.client();
    service.config("greeting", "hello");
    let draining = "trap 'echo stopping; read line; exit 7' TERM; echo $GREETING; read line";
    let mut running = service.run(&["--watch", "--restart-delay", "50ms"], draining);
    assert_eq!(running.line(), "hello");
    signal(running.child.id(), "TERM");
    assert_eq!(running.line(), "stopping");

    // Told to another one that watches, and so about now to the one that runs.
    let mut other = service.run(&["--watch", "--restart-delay", "50ms"], "echo $GREETING; read line");
    assert_eq!(other.line(), "hello");
    client.set_config("greeting", &json!("bye"), &WriteOptions::new()).unwrap();
    assert_eq!(other.line(), "bye");

    drop(running.stdin.take());
    assert_eq!(running.line(), "", "started again");
    assert_eq!(running.ended_by_itself(), Some(7));
}

#[test]
fn a_command_that_ends_by_itself_ends_the_run() {
    let service = Service::new();
    service.config("greeting", "hello");

    let output = service.sh(&["--watch"], "echo $GREETING; exit 5");

    assert_eq!((stdout(&output).as_str(), output.status.code()), ("hello\n", Some(5)));
}

#[test]
fn a_run_starts_from_what_was_kept_while_the_service_cannot_be_had() {
    let service = Service::new();
    service.secret(&["TOKEN"], b"canary-secret");
    fs::write(service.stage.path("cache.key"), "0123456789abcdef0123456789abcdef\n").unwrap();
    let kept = ["--cache", "cache", "--cache-key-file", "cache.key"];
    let first = service.sh(&kept, "echo $TOKEN");
    service.close();

    let without = service.sh(&[], "echo ran");
    let second = service.sh(&kept, "echo $TOKEN");

    assert_eq!(stdout(&first), "canary-secret\n", "{}", stderr(&first));
    assert_eq!((without.status.code(), stdout(&without).as_str()), (Some(3), ""));
    assert_eq!(stdout(&second), "canary-secret\n", "{}", stderr(&second));
    assert!(
        stderr(&second).starts_with("offline: ") && !stderr(&second).contains("canary"),
        "{}",
        stderr(&second)
    );
    let written = service.stage.everything_written();
    assert!(!written.windows(13).any(|part| part == b"canary-secret"), "what is kept is sealed");
}

#[test]
fn secrets_are_in_no_argument_of_any_process_in_no_file_and_in_no_log() {
    let service = Service::start(|server| {
        server.env("LEVERFRAME_LOG", "trace");
    });
    service.secret(&["TOKEN"], b"canary-secret");
    let mut running = service.run(&["--watch"], "echo ready; read line");
    assert_eq!(running.line(), "ready");

    for process in fs::read_dir("/proc").unwrap() {
        let process = process.unwrap();
        if process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()).is_some() {
            let arguments = fs::read(process.path().join("cmdline")).unwrap_or_default();
            let found = arguments.windows(13).any(|part| part == b"canary-secret");
            assert!(!found, "{}", process.path().display());
        }
    }
    assert_eq!(running.ended(), Some(1));
    // The log, too, which says everything.
    let written = service.stage.everything_written();
    let is_written = |text: &[u8]| written.windows(text.len()).any(|part| part == text);
    assert!(!is_written(b"canary-secret") && !is_written(service.key.as_bytes()));
    assert!(is_written(b"route=\"/v1/secrets\""), "the log has the write");
}
