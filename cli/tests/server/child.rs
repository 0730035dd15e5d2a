//! `leverframe serve` as a process of its own.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio},
    sync::mpsc::{self, Sender},
    thread,
    time::Duration,
};

use serde_json::Value;

/// No server of a test lives longer, and none is waited for longer.
const LONGEST: Duration = Duration::from_secs(120);
/// Variables that would change what a test sees.
const AMBIENT: [&str; 18] = [
    "CLICOLOR_FORCE",
    "EXD_API_TOKEN",
    "EXD_DB_PATH",
    "EXD_HTTP_BACKEND",
    "EXD_LISTEN",
    "EXD_SERVER_URL",
    "LEVERFRAME_API_TOKEN",
    "LEVERFRAME_DATABASE_URL",
    "LEVERFRAME_LOG",
    "LEVERFRAME_MASTER_KEY",
    "LEVERFRAME_MASTER_KEY_FILE",
    "LEVERFRAME_SERVER_LISTEN",
    "LEVERFRAME_SERVER_URL",
    "LEVERFRAME_SETTINGS_ENDPOINT",
    "LEVERFRAME_SETTINGS_KEY",
    "NO_COLOR",
    "RUST_LOG",
    "WESTYX_SERVICE_ENDPOINT",
];

pub(crate) fn leverframe() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_leverframe"));
    AMBIENT.iter().for_each(|name| {
        command.env_remove(name);
    });
    command
}

/// A running server; dropped, it is killed.
pub(crate) struct Serving {
    child: Child,
    stdout: BufReader<ChildStdout>,
    /// Its first lines.
    pub(crate) greeting: String,
    pub(crate) url: String,
    _watched: Sender<()>,
}

impl Serving {
    /// Starts a server and returns once it says where it listens; its log is in `log` of the folder.
    pub(crate) fn start(dir: &Path, listen: &str, change: impl FnOnce(&mut Command)) -> Self {
        let log = File::options().create(true).append(true).open(dir.join("log")).unwrap();
        let mut command = leverframe();
        command.arg("serve").args(["--listen", listen]).arg("--data").arg(dir.join("data"));
        change(&mut command);
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let watched = watch(child.id());
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut greeting = String::new();
        while stdout.read_line(&mut greeting).unwrap() > 0 && !greeting.contains("Ctrl-C") {}
        let url = greeting.lines().next().and_then(|line| line.strip_prefix("serving at "));
        let url = url.and_then(|rest| rest.split_whitespace().next()).unwrap_or_else(|| {
            panic!("{greeting}{}", fs::read_to_string(dir.join("log")).unwrap());
        });
        Self { url: url.to_owned(), child, stdout, greeting, _watched: watched }
    }

    /// The host and port.
    pub(crate) fn address(&self) -> &str {
        self.url.split_once("://").unwrap().1
    }

    pub(crate) fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// Waits until the process has ended.
    pub(crate) fn ended(mut self) -> ExitStatus {
        let status = self.child.wait().unwrap();
        let mut rest = String::new();
        while self.stdout.read_line(&mut rest).unwrap() > 0 {}
        status
    }

    /// Ends it without a chance to tidy up.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn signal(process: u32, name: &str) {
    let done = Command::new("kill").args([&format!("-{name}"), &process.to_string()]).status().unwrap();
    assert!(done.success());
}

/// Kills a process that is at work too long, so that no test hangs.
pub(crate) fn watch(process: u32) -> Sender<()> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        if receiver.recv_timeout(LONGEST) == Err(mpsc::RecvTimeoutError::Timeout) {
            signal(process, "KILL");
        }
    });
    sender
}

/// A folder for a server's data, its log, and files of the test.
pub(crate) struct Stage {
    pub(crate) dir: tempfile::TempDir,
}

impl Stage {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn serve(&self) -> Serving {
        Serving::start(self.dir.path(), "127.0.0.1:0", |_| {})
    }

    /// Runs a command in the folder.
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        leverframe().args(args).current_dir(self.dir.path()).output().unwrap()
    }

    /// Runs `leverframe admin` on the server's data, and returns what it prints.
    #[track_caller]
    pub(crate) fn admin(&self, args: &[&str]) -> String {
        let output = self.run(&[&["admin"], args, &["--data", "data"]].concat());
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", stderr(&output));
        stdout(&output).trim_end().to_owned()
    }

    /// Makes tenant `acme` with namespace `payments`, and returns a token that may write it.
    pub(crate) fn prepare(&self) -> String {
        self.admin(&["tenant", "create", "acme"]);
        self.admin(&["namespace", "create", "acme/payments"]);
        self.admin(&["token", "mint", "write", "acme/payments", "--name", "test"])
    }

    /// Runs `leverframe manifest` with server and token from the environment.
    pub(crate) fn manifest(&self, server: &Serving, token: &str, args: &[&str]) -> Output {
        leverframe()
            .arg("manifest")
            .args(args)
            .current_dir(self.dir.path())
            .env("EXD_SERVER_URL", "http://127.0.0.1:1")
            .env("LEVERFRAME_SERVER_URL", &server.url)
            .env("EXD_API_TOKEN", token)
            .output()
            .unwrap()
    }

    /// Puts the payments namespace of the examples into the folder.
    pub(crate) fn payments(&self) -> PathBuf {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/namespaces/payments");
        let to = self.path("payments");
        for folder in ["", "flags", "segments"] {
            fs::create_dir_all(to.join(folder)).unwrap();
            for item in fs::read_dir(from.join(folder)).unwrap() {
                let path = item.unwrap().path();
                if path.is_file() {
                    fs::copy(&path, to.join(folder).join(path.file_name().unwrap())).unwrap();
                }
            }
        }
        to
    }

    /// Everything that was written into the folder, in one piece.
    pub(crate) fn everything_written(&self) -> Vec<u8> {
        let mut found = Vec::new();
        let mut folders = vec![self.dir.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for item in fs::read_dir(folder).unwrap() {
                let path = item.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    found.extend(fs::read(path).unwrap());
                }
            }
        }
        found
    }
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[track_caller]
pub(crate) fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}{}", stdout(output), stderr(output)))
}
