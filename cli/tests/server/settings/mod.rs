//! `leverframe settings`, and what else a service of settings is worked on with.

mod double;

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::fs::PermissionsExt,
    process::{Command, Output, Stdio},
};

use leverframe::{NexusClient, settings::WriteOptions};
use serde_json::{Value, json};

use self::double::Double;
use crate::child::{Stage, json, leverframe, stderr, stdout, watch};

/// A server with a service, and a secret key of it.
pub(crate) struct Service {
    pub(crate) stage: Stage,
    server: Double,
    pub(crate) key: String,
}

impl Service {
    pub(crate) fn new() -> Self {
        Self {
            stage: Stage::new(),
            server: Double::start("wxs_canary-key"),
            key: "wxs_canary-key".to_owned(),
        }
    }

    pub(crate) fn url(&self) -> &str {
        &self.server.url
    }

    /// Has the server gone.
    pub(crate) fn close(&self) {
        self.server.close();
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = leverframe();
        command
            .args(args)
            .current_dir(self.stage.dir.path())
            .env("LEVERFRAME_SETTINGS_ENDPOINT", self.url())
            .env("LEVERFRAME_SETTINGS_KEY", &self.key);
        command
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
        assert!(!shown.contains("canary-key"), "{shown}");
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
        "eval \"$(\"$0\" settings export --reveal --as shell)\"\nfor v in A B C D E; do eval \"printf '%s|' \\\"\\$$v\\\"\"; done\n",
    )
    .unwrap();

    let shell = service
        .command(&[])
        .get_envs()
        .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
        .collect::<Vec<_>>();
    let read = Command::new("sh")
        .args([
            "-c",
            &fs::read_to_string(service.stage.path("read.sh")).unwrap(),
            env!("CARGO_BIN_EXE_leverframe"),
        ])
        .envs(shell)
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
    let cases: [(&[&str], i32, &str); 19] = [
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
        assert!(!stdout(&output).contains("canary-key"), "{}", stdout(&output));
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
