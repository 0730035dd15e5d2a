//! `leverframe settings`, and what else a service of settings is worked on with.

mod keys;

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    os::unix::fs::PermissionsExt,
    process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio},
    sync::mpsc::Sender,
};

use leverframe::{NexusClient, settings::WriteOptions};
use serde_json::{Value, json};

use crate::child::{Serving, Stage, json, leverframe, stderr, stdout, watch};

/// A server with a service, and a secret key of it.
pub(crate) struct Service {
    pub(crate) stage: Stage,
    server: Serving,
    pub(crate) key: String,
}

impl Service {
    pub(crate) fn new() -> Self {
        Self::start(|_| {})
    }

    /// Starts a server in another way.
    pub(crate) fn start(change: impl FnOnce(&mut Command)) -> Self {
        let stage = Stage::new();
        let key = stage.admin(&["settings-key", "create"]);
        Self { server: Serving::start(stage.dir.path(), "127.0.0.1:0", change), stage, key }
    }

    pub(crate) fn url(&self) -> &str {
        &self.server.url
    }

    /// Has the server gone.
    pub(crate) fn close(&self) {
        self.server.signal("KILL");
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = leverframe();
        self.equip(&mut command).args(args);
        command
    }

    /// Has a program know of the service.
    pub(crate) fn equip<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        command
            .current_dir(self.stage.dir.path())
            .env("LEVERFRAME_SETTINGS_ENDPOINT", self.url())
            .env("LEVERFRAME_SETTINGS_KEY", &self.key)
    }

    /// Runs a script of the shell on a terminal; `$LEVERFRAME` is the command.
    pub(crate) fn on_terminal(&self, script: &str) -> Terminal {
        let mut command = Command::new("script");
        let mut child = self
            .equip(&mut command)
            .args(["-qec", script, "/dev/null"])
            .env("LEVERFRAME", env!("CARGO_BIN_EXE_leverframe"))
            .env("SHELL", "/bin/sh")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let watched = watch(child.id());
        Terminal {
            keys: child.stdin.take().unwrap(),
            screen: child.stdout.take().unwrap(),
            child,
            shown: String::new(),
            _watched: watched,
        }
    }

    pub(crate) fn settings(&self, args: &[&str]) -> Output {
        self.command(&[&["settings"], args].concat()).output().unwrap()
    }

    #[track_caller]
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let output = self.settings(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", stderr(&output));
        stdout(&output)
    }

    /// Stores a secret through standard input.
    #[track_caller]
    pub(crate) fn secret(&self, args: &[&str], value: &[u8]) -> Output {
        let args = [&["settings", "set", "--kind", "secret", "--stdin"], args].concat();
        let mut child = self
            .command(&args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(value).unwrap();
        child.wait_with_output().unwrap()
    }

    /// A client, for what has to be quicker than a process starts.
    pub(crate) fn client(&self) -> NexusClient {
        NexusClient::builder().endpoint(self.url()).api_key(&self.key).build().unwrap()
    }

    #[track_caller]
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let output = self.settings(&[args, &["--format", "json"]].concat());
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", stderr(&output));
        json(&output)
    }
}

/// Something at work on a terminal.
pub(crate) struct Terminal {
    child: Child,
    keys: ChildStdin,
    screen: ChildStdout,
    pub(crate) shown: String,
    _watched: Sender<()>,
}

impl Terminal {
    /// Reads until the screen shows these words.
    #[track_caller]
    pub(crate) fn until(&mut self, words: &str) {
        let mut bytes = [0; 1024];
        while !self.shown.contains(words) {
            let read = self.screen.read(&mut bytes).unwrap();
            assert!(read > 0, "it ended before it showed `{words}`: {}", self.shown);
            self.shown.push_str(&String::from_utf8_lossy(&bytes[..read]));
        }
    }

    pub(crate) fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    pub(crate) fn ended(&mut self) -> Option<i32> {
        let mut rest = Vec::new();
        self.screen.read_to_end(&mut rest).unwrap();
        self.shown.push_str(&String::from_utf8_lossy(&rest));
        self.child.wait().unwrap().code()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_secret_is_typed_without_being_shown() {
    let service = Service::new();
    let asks = "\"$LEVERFRAME\" settings set TOKEN --kind secret; code=$?; stty -a; exit $code";
    let mut terminal = service.on_terminal(asks);
    terminal.until("value of the secret `TOKEN`: ");
    terminal.press("wrong\u{15}canaryö\u{7f}\r");
    let stored = terminal.ended();
    let mut left = service.on_terminal(asks);
    left.until("TOKEN`: ");
    left.press("never\u{3}");
    let given_up = left.ended();

    assert_eq!(stored, Some(0), "{}", terminal.shown);
    assert!(terminal.shown.contains(" is stored, version 1"), "{}", terminal.shown);
    assert!(terminal.shown.contains(" echo ") && !terminal.shown.contains("canary"), "{}", terminal.shown);
    assert_eq!(given_up, Some(2), "{}", left.shown);
    assert!(left.shown.contains("no value is given") && left.shown.contains(" echo "), "{}", left.shown);
    assert_eq!(service.ok(&["get", "TOKEN", "--reveal"]), "canary\n");
}

#[test]
fn what_is_shown_on_a_terminal_does_nothing_to_it() {
    let service = Service::new();
    service.secret(&["TOKEN"], b"a\x1b[2Jb\nc");
    let mut terminal = service.on_terminal("\"$LEVERFRAME\" settings get TOKEN --reveal");

    assert_eq!(terminal.ended(), Some(0));
    assert_eq!(terminal.shown, "a\u{fffd}[2Jb\r\nc\r\n");
    assert_eq!(service.ok(&["get", "TOKEN", "--reveal"]), "a\u{1b}[2Jb\nc\n");
}

#[test]
fn settings_are_set_shown_listed_and_deleted() {
    let service = Service::new();
    fs::write(service.stage.path("cert.bin"), [0, 255, 1]).unwrap();

    let config = service.ok(&["set", "db.url", "postgres://h/d"]);
    let number = service.ok(&["set", "db.pool.size", "20", "--kind", "config"]);
    let flag = service.ok(&["set", "new-checkout", "on", "--kind", "flag"]);
    let secret = service.secret(&["DB_PASSWORD"], b"s3cret\n");
    let again = service.secret(&["DB_PASSWORD", "--format", "json", "--if-version", "1"], b"s3cret2");
    let file = service.ok(&["set", "CERT", "--kind", "secret", "--type", "file", "--file", "cert.bin"]);
    // What was a text stays one.
    service.ok(&["set", "db.url", "7"]);
    service.ok(&["set", "db.pool.size", "21"]);
    let listed = service.ok(&["list"]);
    let in_json = service.json(&["list", "--reveal"]);
    let got = service.ok(&["get", "DB_PASSWORD", "--reveal"]);
    service.ok(&["get", "CERT", "-o", "copy.bin"]);
    let deleted = service.ok(&["delete", "DB_PASSWORD"]);
    service.ok(&["delete", "db.pool.size", "--kind", "config"]);
    service.ok(&["delete", "new-checkout"]);
    let left = service.ok(&["list"]);

    assert_eq!(config, "config db.url is stored\n");
    assert_eq!(number, "config db.pool.size is stored\n");
    assert_eq!(flag, "flag new-checkout is stored\n");
    assert_eq!(stdout(&secret), "secret DB_PASSWORD is stored, version 1\n", "{}", stderr(&secret));
    assert_eq!(json(&again)["result"], json!({ "key": "DB_PASSWORD", "kind": "secret", "version": 2 }));
    assert_eq!(file, "secret CERT is stored, version 1\n");
    let expected = "kind    key           value  type    version  source
config  db.pool.size  ***    number        -  service
config  db.url        ***    string        -  service
flag    new-checkout  on     bool          -  service
secret  CERT          ***    file          1  service
secret  DB_PASSWORD   ***    text          2  service
";
    assert_eq!(listed, expected);
    let values = in_json["result"]["settings"].as_array().unwrap().iter();
    let values: Vec<Value> = values.map(|entry| entry["value"].clone()).collect();
    assert_eq!(values, [json!(21), json!("7"), json!(true), json!("AP8B"), json!("s3cret2")]);
    assert_eq!(in_json["result"]["key_type"], "sk");
    assert_eq!(got, "s3cret2\n");
    assert_eq!(fs::read(service.stage.path("copy.bin")).unwrap(), [0, 255, 1]);
    let mode = fs::metadata(service.stage.path("copy.bin")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(deleted, "secret DB_PASSWORD is deleted\n");
    assert!(!left.contains("DB_PASSWORD") && !left.contains("pool") && left.contains("CERT"), "{left}");
}

#[test]
fn values_are_masked_until_they_are_asked_for() {
    let service = Service::new();
    service.ok(&["set", "db.url", "postgres://u:canary@h"]);
    service.secret(&["TOKEN"], b"canary-secret");
    let shows = |args: &[&str]| {
        let output = service.settings(args);
        let shown = stdout(&output) + &stderr(&output);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {shown}");
        assert!(!shown.contains(&service.key), "{shown}");
        shown.contains("canary")
    };

    for masked in [
        &["list"][..],
        &["list", "--format", "json"],
        &["get", "db.url"],
        &["get", "TOKEN"],
        &["get", "TOKEN", "--format", "json"],
        &["export"],
        &["export", "--as", "env"],
        &["export", "--as", "shell"],
        &["export", "--as", "json"],
        &["export", "--as", "toml"],
    ] {
        assert!(!shows(masked), "{masked:?}");
        if masked != ["get", "TOKEN", "--format", "json"] {
            assert!(shows(&[masked, &["--reveal"]].concat()), "{masked:?}");
        }
    }
    let stored = service.ok(&["set", "db.url", "canary", "--format", "json"]);
    assert!(!stored.contains("canary"), "{stored}");
    let masked = service.json(&["get", "TOKEN"]);
    assert_eq!((&masked["result"]["masked"], &masked["result"]["value"]), (&json!(true), &Value::Null));
    assert_eq!(service.json(&["get", "TOKEN", "--reveal"])["result"]["value"], "canary-secret");
}

#[test]
fn exports_are_read_back_whatever_the_values_are() {
    let service = Service::new();
    let client = service.client();
    let hostile = [
        ("a", "it's \"$HOME\" `id` \\ $(id) !x #y"),
        ("b", "two\nlines\r\n'and' a tab\t\n"),
        ("c", ""),
        ("d", "-n \u{1b}[31mred ä€😀"),
        ("e", "--\n$PATH"),
    ];
    for (key, value) in hostile {
        client.set_config(key, &json!(value), &WriteOptions::new()).unwrap();
    }
    fs::write(
        service.stage.path("read.sh"),
        "eval \"$(\"$LEVERFRAME\" settings export --reveal --as shell)\"\nfor v in A B C D E; do eval \"printf '%s|' \\\"\\$$v\\\"\"; done\n",
    )
    .unwrap();

    let mut shell = Command::new("sh");
    let read = service
        .equip(&mut shell)
        .args(["-c", ". ./read.sh"])
        .env("LEVERFRAME", env!("CARGO_BIN_EXE_leverframe"))
        .output()
        .unwrap();
    let in_json: Value = serde_json::from_str(&service.ok(&["export", "--reveal", "--as", "json"])).unwrap();
    let in_toml: Value = toml::from_str(&service.ok(&["export", "--reveal", "--as", "toml"])).unwrap();
    let env = service.settings(&["export", "--reveal", "--as", "env"]);
    let chosen = service.ok(&[
        "export",
        "--reveal",
        "--as",
        "env",
        "--only",
        "a,c",
        "--rename",
        "c=EMPTY",
        "--env-prefix",
        "X_",
    ]);
    service.ok(&["export", "--reveal", "--as", "dotenv", "--kind", "config", "-o", ".env"]);

    let texts = hostile.map(|(_, value)| format!("{value}|")).concat();
    assert_eq!(stdout(&read), texts, "{}", stderr(&read));
    for (key, value) in hostile {
        assert_eq!((&in_json["configs"][key], &in_toml["configs"][key]), (&json!(value), &json!(value)));
    }
    assert_eq!(env.status.code(), Some(1));
    assert!(stdout(&env).is_empty() && stderr(&env).contains("`b` has several lines"), "{}", stderr(&env));
    assert_eq!(chosen, format!("EMPTY=\nX_A={}\n", hostile[0].1));
    let written = fs::read_to_string(service.stage.path(".env")).unwrap();
    assert!(written.starts_with("A=\"it's") && written.contains("\nC=''\n"), "{written}");
    let mode = fs::metadata(service.stage.path(".env")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn each_refusal_has_its_exit_code_and_a_hint_and_shows_no_secret() {
    let service = Service::new();
    service.ok(&["set", "twice", "1"]);
    service.ok(&["set", "twice", "on", "--kind", "flag"]);
    service.secret(&["TOKEN"], b"canary-secret");
    fs::write(service.stage.path("bytes"), [0xff]).unwrap();
    let cases: [(&[&str], i32, &str); 20] = [
        (&["get", "nobody"], 1, "there is no setting `nobody`"),
        (&["get", "nobody", "--kind", "secret"], 1, "there is no secret `nobody`"),
        (&["get", "twice"], 2, "--kind"),
        (&["delete", "nobody"], 1, "there is no setting"),
        (&["delete", "nobody", "--kind", "flag"], 1, "there is no flag"),
        (&["delete", "twice", "--version", "1", "--kind", "flag"], 2, "only secrets"),
        (&["set", "TOKEN", "canary-secret2"], 2, "whoever lists processes"),
        (&["set", "NEW", "canary-secret2", "--kind", "secret"], 2, "--stdin"),
        (&["set", "new", "--file", "bytes"], 2, "--kind"),
        (&["set", "new", "--file", "bytes", "--kind", "config"], 2, "no text"),
        (&["set", "new", "--file", "absent", "--kind", "config"], 3, "absent"),
        (&["set", "new", "x", "--type", "number"], 2, "no number"),
        (&["set", "new", "{", "--type", "json"], 2, "no JSON"),
        (&["set", "bad key", "x"], 1, "is `bad key` a name?"),
        (&["set", "new", "x", "--rollout-percent", "5"], 2, "for flags"),
        (&["set", "twice", "maybe", "--kind", "flag"], 2, "`on` or `off`"),
        (&["set", "TOKEN", "--file", "bytes", "--type", "number"], 2, "string or file"),
        (&["set", "twice", "2", "--kind", "config", "--if-version", "9"], 1, "set it anew"),
        (&["list", "--server", "http://127.0.0.1:1"], 3, "hint"),
        (&["list", "--server", "http://settings.example.com"], 2, "not encrypted"),
    ];
    for (args, code, words) in cases {
        let output = service.settings(args);

        let error = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {error}");
        assert!(stdout(&output).is_empty() && error.starts_with("error: "), "{args:?}: {error}");
        assert!(error.contains(words) && error.contains("hint: "), "{args:?}: {error}");
        assert!(!error.contains("canary"), "{error}");
    }
    let identity = service.settings(&["list", "--wif", "nonsense"]);
    assert_eq!(identity.status.code(), Some(2));
    assert!(stderr(&identity).contains("auto, kubernetes"), "{}", stderr(&identity));
    let wrong = service.settings(&["list", "--key", "wxs_canary-wrong", "--format", "json"]);
    assert_eq!(wrong.status.code(), Some(4), "{}", stderr(&wrong));
    assert!(stdout(&wrong).is_empty() && !stderr(&wrong).contains("canary"));
    let nowhere = leverframe().args(["settings", "list"]).output().unwrap();
    assert_eq!(nowhere.status.code(), Some(2));
    assert!(stderr(&nowhere).contains("LEVERFRAME_SETTINGS_ENDPOINT"), "{}", stderr(&nowhere));
    let nobody = leverframe().args(["settings", "list", "--server", service.url()]).output().unwrap();
    assert_eq!(nobody.status.code(), Some(2));
    assert!(stderr(&nobody).contains("LEVERFRAME_SETTINGS_KEY"), "{}", stderr(&nobody));
}

#[test]
fn a_key_comes_from_a_file_or_an_argument_and_is_not_repeated() {
    let service = Service::new();
    fs::write(service.stage.path("key"), format!("{}\n", service.key)).unwrap();
    let run = |args: &[&str]| {
        let at = ["settings", "list", "--format", "json", "--server", service.url()];
        leverframe().args(at).args(args).current_dir(service.stage.dir.path()).output().unwrap()
    };

    for args in [&["--key-file", "key"][..], &["--key", &service.key], &[&format!("--key={}", service.key)]] {
        let output = run(args);

        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert!(!stdout(&output).contains(&service.key), "{}", stdout(&output));
    }
    let both = run(&["--key", "k", "--key-file", "key"]);
    assert_eq!(both.status.code(), Some(2));
}

#[test]
fn watching_prints_what_changes() {
    let service = Service::new();
    let client = service.client();
    let mut child = service
        .command(&["settings", "watch", "--changes", "2"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _watched = watch(child.id());
    let mut told = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut told).unwrap();
    let mut shown = BufReader::new(child.stdout.take().unwrap());

    let mut line = |change: &dyn Fn()| {
        change();
        let mut line = String::new();
        shown.read_line(&mut line).unwrap();
        line
    };
    let first = line(&|| client.set_config("greeting", &json!("canary"), &WriteOptions::new()).unwrap());
    let second = line(&|| client.set_secret("TOKEN", "canary").unwrap());

    assert!(told.contains("0 settings; Ctrl-C ends"), "{told}");
    assert_eq!((first.as_str(), second.as_str()), ("change 1 config greeting\n", "change 2 secret TOKEN\n"));
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
