//! The `git` source against git itself: on disk, behind OpenSSH, behind nginx.
#![cfg(all(feature = "testing", feature = "source-git", feature = "http-in-process"))]
#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

mod on_disk;
mod over_https;
mod over_ssh;
#[path = "../support/real/mod.rs"]
mod real;
#[path = "../support/real/test_transport.rs"]
mod test_transport;

use std::{
    fs,
    future::poll_fn,
    io::Read,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    pin::pin,
    process::{Command, Stdio},
    sync::Arc,
    task::Poll,
    thread,
    time::Duration,
};

use leverframe::{
    Error, ErrorKind, Retry, Secret, UriAuth,
    backends::clock_system::SystemClock,
    config::Config,
    document::{Content, Document, Entry, Revision},
    live::block_on,
    registry::{BuildContext, Registry},
    sources::git::{GitConfig, GitSource},
    testing::conformance::source,
    traits::{Load, Source},
};
use real::{
    certs::Pki,
    githttp::{GitHttp, TOKEN},
    process::program,
    repository::Repository,
    sshd::{Sshd, make_key},
};
use test_transport::TestTransport;

const FLAG: &str = "payments/flags/new-checkout.toml";

/// A repository with a branch of two commits, a tag on the first, and a second branch.
struct Flags {
    dir: tempfile::TempDir,
    repository: Repository,
    first: String,
    second: String,
}

impl Flags {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let repository = Repository::new(&dir.path().join("root/flags"));
        let first = repository.commit(&[
            (FLAG, "number = 1"),
            ("payments/flags/notes.txt", "not read"),
            ("payments/segments/us.toml", "s = 1"),
            ("payments/.exdignore", "*.bak"),
            ("other/flags/other.toml", "o = 1"),
        ]);
        repository.git(&["tag", "--annotate", "v1", "--message", "One"]);
        repository.git(&["tag", "light"]);
        let second = repository.commit(&[(FLAG, "number = 2")]);
        repository.git(&["checkout", "--quiet", "-b", "trial"]);
        repository.commit(&[(FLAG, "number = 3")]);
        repository.git(&["checkout", "--quiet", "main"]);
        Self { dir, repository, first, second }
    }

    fn file_uri(&self, fragment: &str) -> String {
        format!("git+file://{}{fragment}", self.repository.path().display())
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Settings whose temporary files go to a folder that the test can look into.
    fn config(&self) -> GitConfig {
        let mut config = GitConfig::default();
        config.work_dir = self.folder("work");
        fs::create_dir_all(&config.work_dir).unwrap();
        config
    }

    fn ssh(&self, settings: &str) -> (Sshd, GitConfig) {
        let server = Sshd::start(&self.folder("sshd"), settings);
        let mut config = self.config();
        config.ssh_key_file = server.client_key();
        config.known_hosts_file = server.known_hosts(&["ed25519"]);
        (server, config)
    }

    fn http(&self) -> (GitHttp, Arc<TestTransport>) {
        let pki = Pki::new(self.dir.path());
        let server = GitHttp::start(&self.folder("http"), &self.folder("root"), &pki);
        (server, Arc::new(TestTransport::trusting(pki.ca_pem())))
    }

    fn leftovers(&self) -> usize {
        fs::read_dir(self.folder("work")).unwrap().count()
    }
}

fn open(uri: &str, config: &GitConfig) -> GitSource {
    GitSource::open(uri, config.clone()).unwrap()
}

fn load(source: &GitSource, since: Option<&Revision>) -> Load {
    block_on(source.load(since)).unwrap_or_else(|e| panic!("{} (hint: {:?})", e.chain(), e.hint_text()))
}

fn whole(source: &GitSource) -> Document {
    match load(source, None) {
        Load::Snapshot(document) => document,
        other => panic!("{other:?}"),
    }
}

fn failure(source: &GitSource) -> Error {
    block_on(source.load(None)).expect_err("the load should fail")
}

fn text(document: &Document, path: &str) -> String {
    let Content::Tree(tree) = document.content() else { panic!("not a tree") };
    let file = tree.file(path).unwrap_or_else(|| panic!("no `{path}` in {tree:?}"));
    String::from_utf8(file.to_vec()).unwrap()
}

/// What the flag says under this ref.
fn number(document: &Document) -> String {
    text(document, "flags/new-checkout.toml").replace("number = ", "")
}

/// The fragments of every kind of ref, with what the flag says there.
fn refs(flags: &Flags) -> Vec<(String, &'static str)> {
    vec![
        ("#:payments".to_owned(), "2"),
        ("#main:payments".to_owned(), "2"),
        ("#trial:payments".to_owned(), "3"),
        ("#refs/heads/trial:payments".to_owned(), "3"),
        ("#v1:payments".to_owned(), "1"),
        ("#light:payments".to_owned(), "1"),
        (format!("#{}:payments", flags.second), "2"),
        (format!("#{}:payments", &flags.second[..9]), "2"),
    ]
}

fn shows_nothing_of(secret: &str, error: &Error, source: &GitSource) {
    let shown = format!("{error} {error:?} {} {:?} {source:?}", error.chain(), error.hint_text());
    assert!(!shown.contains(secret), "{shown}");
}

/// Starts a load and drops it after its first, second, third… poll, until one gets through.
fn dropped_everywhere(source: &GitSource) {
    for polls in 1..10_000 {
        let mut load = pin!(source.load(None));
        let mut left = polls;
        let done = block_on(poll_fn(|cx| {
            if load.as_mut().poll(cx).is_ready() {
                return Poll::Ready(true);
            }
            left -= 1;
            if left == 0 { Poll::Ready(false) } else { Poll::Pending }
        }));
        if done {
            assert!(polls > 2, "there was nowhere to drop it");
            return;
        }
    }
    panic!("the load takes too many polls");
}

/// Reads until the other side closes; bounded, so that a leak fails instead of hanging.
fn end_of(mut socket: TcpStream) {
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut buffer = [0; 4096];
    loop {
        match socket.read(&mut buffer) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return,
            Err(error) => panic!("the connection was not closed: {error}"),
        }
    }
}

/// Text that does not compress.
fn noise(bytes: usize) -> String {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut text = String::with_capacity(bytes);
    while text.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        text.push_str(&format!("{state:016x}"));
    }
    text
}
