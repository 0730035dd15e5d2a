//! The `git` source against git itself: on disk, behind OpenSSH, behind nginx.
#![cfg(all(feature = "testing", feature = "source-git", feature = "http-in-process"))]
#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

#[path = "support/real/mod.rs"]
mod real;
#[path = "support/real/test_transport.rs"]
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

mod on_disk {
    use super::*;

    #[test]
    fn every_kind_of_ref_is_read() {
        let flags = Flags::new();
        for (fragment, expected) in refs(&flags) {
            assert_eq!(
                number(&whole(&open(&flags.file_uri(&fragment), &flags.config()))),
                expected,
                "{fragment}"
            );
        }
        let first = format!("#{}:payments", &flags.first[..7]);
        assert_eq!(number(&whole(&open(&flags.file_uri(&first), &flags.config()))), "1");
    }

    #[test]
    fn the_tree_is_what_the_file_source_would_read() {
        let flags = Flags::new();
        let big = "#".repeat(2_000_000);
        std::os::unix::fs::symlink(
            "new-checkout.toml",
            flags.repository.path().join("payments/flags/link.toml"),
        )
        .unwrap();
        flags.repository.commit(&[
            ("payments/flags/big.toml", &big),
            ("payments/flags/deep/x.toml", ""),
            ("payments/flags/.hidden.toml", ""),
            ("payments/unread/x.toml", ""),
        ]);
        let head = flags.head();
        flags.repository.git(&[
            "update-index",
            "--add",
            "--cacheinfo",
            &format!("160000,{head},payments/flags/sub"),
        ]);
        flags.repository.git(&["commit", "--quiet", "--message", "Add a submodule"]);

        let document = whole(&open(&flags.file_uri("#:payments"), &flags.config()));

        let Content::Tree(tree) = document.content() else { panic!() };
        let shape = |path: &str| tree.get(path).cloned();
        assert_eq!(shape("flags/link.toml"), Some(Entry::Symlink));
        assert_eq!(shape("flags/big.toml"), Some(Entry::TooLarge { bytes: 2_000_000 }));
        assert_eq!(shape("flags/deep"), Some(Entry::Directory));
        assert_eq!(shape("flags/deep/x.toml"), None);
        assert_eq!(shape("flags/sub"), Some(Entry::Special));
        assert_eq!(shape("flags/notes.txt"), Some(Entry::Skipped));
        assert_eq!(shape("flags/.hidden.toml"), None);
        assert_eq!(shape("unread"), Some(Entry::Directory));
        assert_eq!(text(&document, ".exdignore"), "*.bak");
        assert_eq!(text(&document, "segments/us.toml"), "s = 1");
        assert_eq!(document.name(), Some("payments"));

        // Submodules are no files on disk, so that the comparison leaves them out.
        let on_disk = leverframe::sources::file::read_tree(
            &flags.repository.path().join("payments"),
            &leverframe::sources::file::ReadLimits::default(),
        )
        .unwrap();
        for (path, entry) in on_disk.iter() {
            assert_eq!(tree.get(path), Some(entry), "{path}");
        }
    }

    #[test]
    fn only_a_change_of_the_folder_is_a_change() {
        let flags = Flags::new();
        let source = open(&flags.file_uri("#main:payments"), &flags.config());
        let old = whole(&source);

        flags.repository.commit(&[("other/flags/other.toml", "o = 2")]);
        assert_eq!(load(&source, Some(old.revision())), Load::Unchanged);
        flags.repository.commit(&[(FLAG, "number = 9")]);

        let Load::Snapshot(new) = load(&source, Some(old.revision())) else {
            panic!("a change was not brought")
        };
        assert_eq!(number(&new), "9");
    }

    #[test]
    fn a_branch_that_is_pushed_over_is_a_change() {
        let flags = Flags::new();
        let source = open(&flags.file_uri("#main:payments"), &flags.config());
        let old = whole(&source);

        flags.repository.git(&["reset", "--quiet", "--hard", &flags.first]);

        let Load::Snapshot(new) = load(&source, Some(old.revision())) else {
            panic!("a change was not brought")
        };
        assert_eq!(number(&new), "1");
    }

    #[test]
    fn what_is_not_there_is_said_with_what_is() {
        let flags = Flags::new();
        let error = failure(&open(&flags.file_uri("#mian:payments"), &flags.config()));
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert_eq!(error.hint_text(), Some("did you mean `main`?"));
        assert!(error.to_string().contains("light, main, trial, v1"), "{error}");

        let error = failure(&open(&flags.file_uri("#main:paymnts"), &flags.config()));
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.to_string().contains("folder: paymnts"), "{error}");

        let absent = "1".repeat(40);
        let error = failure(&open(&flags.file_uri(&format!("#{absent}")), &flags.config()));
        assert_eq!(error.kind(), ErrorKind::NotFound);

        let error = failure(&open("git+file:///does/not/exist.git", &flags.config()));
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.hint_text().is_some());

        let empty = Repository::new(&flags.folder("empty"));
        let error = failure(&open(&format!("git+file://{}", empty.path().display()), &flags.config()));
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.hint_text().unwrap().contains("push a commit"), "{:?}", error.hint_text());
    }

    struct Place {
        flags: Flags,
        count: usize,
    }

    impl source::Place for Place {
        fn change(&mut self) {
            self.count += 1;
            self.flags.repository.commit(&[(FLAG, &format!("number = {}", self.count))]);
        }

        fn break_it(&mut self) -> bool {
            fs::rename(self.flags.repository.path(), self.flags.folder("away")).unwrap();
            true
        }

        fn mend(&mut self) {
            fs::rename(self.flags.folder("away"), self.flags.repository.path()).unwrap();
        }

        fn tells(&self) -> bool {
            false
        }
    }

    fn fixture() -> source::Fixture<GitSource> {
        let flags = Flags::new();
        let source = open(&flags.file_uri("#main:payments"), &flags.config());
        source::Fixture::new(source, Place { flags, count: 100 })
    }

    leverframe::source_conformance!(git_on_disk, fixture);
}

impl Flags {
    fn head(&self) -> String {
        self.repository.head()
    }
}

mod over_ssh {
    use super::*;

    #[test]
    fn every_kind_of_ref_is_fetched_in_either_version_of_the_protocol() {
        let flags = Flags::new();
        for (i, settings) in ["", "AcceptEnv GIT_PROTOCOL"].into_iter().enumerate() {
            let (server, config) = flags.ssh(settings);
            for (fragment, expected) in refs(&flags) {
                let source = open(&server.uri(flags.repository.path(), &fragment), &config);
                assert_eq!(number(&whole(&source)), expected, "{fragment} with `{settings}`");
            }
            // Not the tip of anything any more.
            flags.repository.git(&["tag", "--delete", "light"]);
            flags.repository.git(&["tag", "--delete", "v1"]);
            for digits in [8, 40] {
                let buried = format!("#{}:payments", &flags.first[..digits]);
                let source = open(&server.uri(flags.repository.path(), &buried), &config);
                let document = whole(&source);
                assert_eq!(number(&document), "1", "{buried} with `{settings}`");
                assert_eq!(load(&source, Some(document.revision())), Load::Unchanged);
                assert_eq!(whole(&source), document);
            }
            flags.repository.git(&["tag", "light", &flags.first]);
            flags.repository.git(&["tag", "--annotate", "v1", "--message", "One", &flags.first]);
            assert_eq!(flags.leftovers(), 0, "round {i}");
            drop(server);
            fs::remove_dir_all(flags.folder("sshd")).unwrap();
        }
    }

    #[test]
    fn history_is_left_where_it_is() {
        let flags = Flags::new();
        flags.repository.commit(&[("blob.bin", &noise(3_000_000))]);
        flags.repository.git(&["rm", "--quiet", "blob.bin"]);
        flags.repository.commit(&[]);
        let (server, mut config) = flags.ssh("");
        config.max_fetch_bytes = 100_000;
        assert_eq!(
            number(&whole(&open(&server.uri(flags.repository.path(), "#main:payments"), &config))),
            "2"
        );

        let (server, transport) = flags.http();
        for door in ["open", "old"] {
            let source =
                GitSource::open(&server.uri("", door, "flags#main:payments"), config.clone()).unwrap();
            assert_eq!(number(&whole(&source.with_transport(Arc::clone(&transport) as _))), "2", "{door}");
        }
    }

    #[test]
    fn a_poll_without_news_fetches_nothing() {
        let flags = Flags::new();
        let (server, config) = flags.ssh("");
        let source = open(&server.uri(flags.repository.path(), "#main:payments"), &config);
        let document = whole(&source);
        let touched = fs::metadata(&config.work_dir).unwrap().modified().unwrap();

        for _ in 0..3 {
            assert_eq!(load(&source, Some(document.revision())), Load::Unchanged);
        }

        assert_eq!(
            fs::metadata(&config.work_dir).unwrap().modified().unwrap(),
            touched,
            "something was fetched"
        );
        assert_eq!(server.sessions(), 4);
    }

    #[test]
    fn a_commit_given_in_full_is_asked_for_once() {
        let flags = Flags::new();
        let (server, config) = flags.ssh("");
        let uri = server.uri(flags.repository.path(), &format!("#{}:payments", flags.second));
        let source = open(&uri, &config);
        let document = whole(&source);
        drop(server);

        assert_eq!(load(&source, Some(document.revision())), Load::Unchanged);
    }

    #[test]
    fn a_branch_that_is_pushed_over_is_a_change() {
        let flags = Flags::new();
        let (server, config) = flags.ssh("");
        let source = open(&server.uri(flags.repository.path(), "#main:payments"), &config);
        let old = whole(&source);

        flags.repository.git(&["reset", "--quiet", "--hard", &flags.first]);

        let Load::Snapshot(new) = load(&source, Some(old.revision())) else {
            panic!("a change was not brought")
        };
        assert_eq!(number(&new), "1");
    }

    #[test]
    fn keys_of_every_kind_log_in_and_a_passphrase_opens_them() {
        let flags = Flags::new();
        let (server, mut config) = flags.ssh("");
        for (kind, passphrase) in
            [("rsa", ""), ("ecdsa", ""), ("ed25519", "p4ss phrase"), ("rsa", "p4ss phrase")]
        {
            let key = make_key(&flags.folder(&format!("{kind}{}", passphrase.len())), kind, passphrase);
            server.let_in(&key, "");
            config.ssh_key_file = key;
            config.ssh_key_passphrase = Secret::new(passphrase);
            let source = open(&server.uri(flags.repository.path(), "#main:payments"), &config);
            assert_eq!(number(&whole(&source)), "2", "{kind} `{passphrase}`");
        }
        config.ssh_key_passphrase = Secret::new("wr0ng phrase");
        let source = open(&server.uri(flags.repository.path(), "#main:payments"), &config);
        let error = failure(&source);
        assert_eq!(error.kind(), ErrorKind::Config, "{}", error.chain());
        shows_nothing_of("wr0ng phrase", &error, &source);
    }

    #[test]
    fn a_wrong_key_is_refused_with_the_next_step() {
        let flags = Flags::new();
        let (server, mut config) = flags.ssh("");
        config.ssh_key_file = make_key(&flags.folder("stranger"), "ed25519", "");
        let error = failure(&open(&server.uri(flags.repository.path(), ""), &config));
        assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{}", error.chain());
        assert!(error.hint_text().unwrap().contains("public half"));

        config.ssh_key_file = flags.folder("no such key");
        let error = failure(&open(&server.uri(flags.repository.path(), ""), &config));
        assert_eq!(error.kind(), ErrorKind::NotFound, "{}", error.chain());
    }

    #[test]
    fn unknown_and_changed_hosts_are_refused_with_the_next_step() {
        let flags = Flags::new();
        let (server, mut config) = flags.ssh("");
        let uri = server.uri(flags.repository.path(), "#:payments");
        let known_hosts = |line: String| {
            let file = flags.folder("hosts");
            fs::write(&file, line).unwrap();
            file
        };
        let key =
            |kind: &str| fs::read_to_string(flags.folder("sshd").join(format!("host_{kind}.pub"))).unwrap();
        let at = format!("[127.0.0.1]:{}", server.port());

        config.known_hosts_file = known_hosts(String::new());
        let error = failure(&open(&uri, &config));
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{}", error.chain());
        let scan = format!("`ssh-keyscan -p {} 127.0.0.1`", server.port());
        assert!(error.hint_text().unwrap().contains(&scan), "{:?}", error.hint_text());

        let stranger = make_key(&flags.folder("stranger"), "ed25519", "");
        let other = fs::read_to_string(stranger.with_extension("pub")).unwrap();
        config.known_hosts_file = known_hosts(format!("{at} {other}"));
        let error = failure(&open(&uri, &config));
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{}", error.chain());
        assert!(error.to_string().contains("another key than the known one"), "{error}");

        config.known_hosts_file = known_hosts(format!("{at} {0}@revoked * {0}", key("ed25519")));
        let error = failure(&open(&uri, &config));
        assert!(error.to_string().contains("revoked"), "{error}");

        // Each kind of key alone is enough, whichever the server would rather show.
        for kind in ["ed25519", "ecdsa", "rsa"] {
            config.known_hosts_file = known_hosts(format!("{at} {}", key(kind)));
            assert_eq!(number(&whole(&open(&uri, &config))), "2", "{kind}");
        }

        let hashed = known_hosts(format!("{at} {}", key("ecdsa")));
        assert!(
            Command::new(program("ssh-keygen"))
                .arg("-q")
                .arg("-H")
                .arg("-f")
                .arg(&hashed)
                .status()
                .unwrap()
                .success()
        );
        assert!(fs::read_to_string(&hashed).unwrap().starts_with("|1|"));
        config.known_hosts_file = hashed;
        assert_eq!(number(&whole(&open(&uri, &config))), "2", "hashed");

        config.known_hosts_file = flags.folder("no such file");
        assert_eq!(failure(&open(&uri, &config)).kind(), ErrorKind::NotFound);
    }

    #[test]
    fn what_is_not_there_is_said() {
        let flags = Flags::new();
        let (server, config) = flags.ssh("AcceptEnv GIT_PROTOCOL");
        let error = failure(&open(&server.uri(Path::new("/does/not/exist.git"), ""), &config));
        assert_eq!(error.kind(), ErrorKind::NotFound, "{}", error.chain());
        assert!(error.to_string().contains("does not appear to be a git repository"), "{error}");

        let error = failure(&open(&server.uri(flags.repository.path(), "#mian"), &config));
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert_eq!(error.hint_text(), Some("did you mean `main`?"));

        let error =
            failure(&open(&server.uri(flags.repository.path(), &format!("#{}", "1".repeat(40))), &config));
        assert_eq!(error.kind(), ErrorKind::NotFound, "{}", error.chain());

        let empty = Repository::new(&flags.folder("empty"));
        let error = failure(&open(&server.uri(empty.path(), ""), &config));
        assert_eq!(error.kind(), ErrorKind::NotFound, "{}", error.chain());
        assert_eq!(flags.leftovers(), 0);
    }

    #[test]
    fn a_server_that_hangs_ends_in_a_timeout_and_is_let_go_of() {
        let flags = Flags::new();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let peer = thread::spawn(move || end_of(listener.accept().unwrap().0));
        let (_server, mut config) = flags.ssh("");
        config.timeout_ms = 300;

        let error = failure(&open(&format!("git+ssh://git@127.0.0.1:{port}/x.git"), &config));

        assert_eq!(error.kind(), ErrorKind::Timeout, "{}", error.chain());
        assert!(error.retry_state().may_retry());
        // Ends only when the source has closed its side.
        peer.join().unwrap();
    }

    #[test]
    fn a_server_that_is_not_there_is_unavailable() {
        let flags = Flags::new();
        let (_server, config) = flags.ssh("");
        let port = real::process::free_port();
        let error = failure(&open(&format!("git+ssh://git@127.0.0.1:{port}/x.git"), &config));
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", error.chain());
        assert_eq!(error.retry_state(), Retry::Now);
    }

    #[test]
    fn dropping_the_load_at_any_point_leaves_the_source_usable() {
        let flags = Flags::new();
        let (server, config) = flags.ssh("AcceptEnv GIT_PROTOCOL");
        let source = open(&server.uri(flags.repository.path(), "#main:payments"), &config);

        dropped_everywhere(&source);

        assert_eq!(number(&whole(&source)), "2");
        assert_eq!(flags.leftovers(), 0);
    }

    #[test]
    fn an_agent_s_keys_log_in() {
        let flags = Flags::new();
        let (server, mut config) = flags.ssh("");
        let key = config.ssh_key_file.clone();
        config.ssh_key_file = PathBuf::new();
        let socket = flags.folder("agent.sock");
        let mut agent = Command::new(program("ssh-agent"))
            .arg("-D")
            .arg("-a")
            .arg(&socket)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let added = (0..500).any(|_| {
            thread::park_timeout(Duration::from_millis(10));
            let mut add = Command::new(program("ssh-add"));
            socket.exists()
                && add.arg("-q").arg(&key).env("SSH_AUTH_SOCK", &socket).status().unwrap().success()
        });
        // The library finds the agent by its environment, which a test must not change for all the others.
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "over_ssh::inside_the_agent_s_environment", "--nocapture"])
            .env("SSH_AUTH_SOCK", &socket)
            .env("GIT_TEST_URI", server.uri(flags.repository.path(), "#main:payments"))
            .env("GIT_TEST_KNOWN_HOSTS", &config.known_hosts_file)
            .output()
            .unwrap();
        agent.kill().unwrap();
        agent.wait().unwrap();

        assert!(added);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("read number 2"), "{said}");
    }

    #[test]
    #[expect(clippy::disallowed_methods, clippy::print_stdout, reason = "the other half of the test above")]
    fn inside_the_agent_s_environment() {
        let Ok(uri) = std::env::var("GIT_TEST_URI") else { return };
        let mut config = GitConfig::default();
        config.known_hosts_file = std::env::var("GIT_TEST_KNOWN_HOSTS").unwrap().into();
        println!("read number {}", number(&whole(&open(&uri, &config))));
    }

    #[test]
    fn a_repository_over_the_cap_is_not_fetched() {
        let flags = Flags::new();
        let (server, mut config) = flags.ssh("");
        flags.repository.commit(&[("blob.bin", &noise(3_000_000))]);
        config.max_fetch_bytes = 1_000_000;
        let error = failure(&open(&server.uri(flags.repository.path(), "#main:payments"), &config));
        assert_eq!(error.kind(), ErrorKind::LimitExceeded, "{}", error.chain());
        assert!(error.hint_text().unwrap().contains("max_fetch_bytes"));
        assert_eq!(flags.leftovers(), 0);
    }
}

mod over_https {
    use super::*;

    fn open(
        server: &GitHttp,
        transport: &Arc<TestTransport>,
        flags: &Flags,
        door: &str,
        rest: &str,
    ) -> GitSource {
        let uri = server.uri("", door, rest);
        GitSource::open(&uri, flags.config()).unwrap().with_transport(Arc::clone(transport) as _)
    }

    #[test]
    fn every_kind_of_ref_is_fetched_in_either_version_of_the_protocol() {
        let flags = Flags::new();
        let (server, transport) = flags.http();
        for door in ["open", "old"] {
            for (fragment, expected) in refs(&flags) {
                let source = open(&server, &transport, &flags, door, &format!("flags{fragment}"));
                assert_eq!(number(&whole(&source)), expected, "{door} {fragment}");
            }
        }
        let plain = GitSource::open(&server.plain_uri("open", "flags#v1:payments"), flags.config()).unwrap();
        assert_eq!(number(&whole(&plain.with_transport(transport))), "1");
        assert_eq!(flags.leftovers(), 0);
    }

    #[test]
    fn a_poll_without_news_is_one_small_request() {
        let flags = Flags::new();
        let (server, transport) = flags.http();
        let source = open(&server, &transport, &flags, "open", "flags#main:payments");
        let document = whole(&source);
        let before = server.requests(3);
        assert_eq!(before.len(), 3, "{before:?}");
        let received = transport.received();

        for _ in 0..3 {
            assert_eq!(load(&source, Some(document.revision())), Load::Unchanged);
        }

        let after = server.requests(6);
        assert_eq!(after.len(), 6, "{after:?}");
        assert!(
            after[3..].iter().all(|r| r.starts_with("POST /open/flags/git-upload-pack 200 version=2")),
            "{after:?}"
        );
        assert!(transport.received() - received < 3 * 200);
    }

    #[test]
    fn only_a_change_of_the_folder_is_a_change() {
        let flags = Flags::new();
        let (server, transport) = flags.http();
        let source = open(&server, &transport, &flags, "open", "flags#main:payments");
        let old = whole(&source);

        flags.repository.commit(&[("other/flags/other.toml", "o = 2")]);
        assert_eq!(load(&source, Some(old.revision())), Load::Unchanged);
        let fetched = server.requests(5).len();
        assert_eq!(load(&source, Some(old.revision())), Load::Unchanged);
        assert_eq!(server.requests(fetched + 1).len(), fetched + 1, "the other commit was fetched twice");
        flags.repository.git(&["reset", "--quiet", "--hard", &flags.first]);

        let Load::Snapshot(new) = load(&source, Some(old.revision())) else {
            panic!("a change was not brought")
        };
        assert_eq!(number(&new), "1");
    }

    #[test]
    fn tokens_are_taken_as_bearer_as_basic_and_from_the_uri() {
        let flags = Flags::new();
        let (server, transport) = flags.http();
        let bearer = UriAuth::Bearer(TOKEN.to_owned());
        let basic = UriAuth::Basic { user: "x-access-token".to_owned(), pass: TOKEN.to_owned() };
        for (door, auth) in [("bearer", bearer), ("basic", basic)] {
            let source = open(&server, &transport, &flags, door, "flags#main:payments").with_auth(auth);
            assert_eq!(number(&whole(&source)), "2", "{door}");
            assert!(!format!("{source:?}").contains(TOKEN));
        }
        let uri = server.uri(&format!("x-access-token:{TOKEN}@"), "basic", "flags#main:payments");
        let source = GitSource::open(&uri, flags.config()).unwrap().with_transport(transport);
        assert_eq!(number(&whole(&source)), "2");
        assert!(!format!("{source:?}").contains(TOKEN));
    }

    #[test]
    fn refusals_say_what_to_do_and_show_no_token() {
        let flags = Flags::new();
        let (server, transport) = flags.http();
        let wrong = "wr0ng-t0ken";
        for (door, rest, kind) in [
            ("basic", "flags", ErrorKind::Unauthenticated),
            ("bearer", "flags", ErrorKind::Unauthenticated),
            ("forbidden", "flags", ErrorKind::PermissionDenied),
            ("open", "absent", ErrorKind::NotFound),
            ("busy", "flags", ErrorKind::Unavailable),
            ("page", "flags", ErrorKind::Invalid),
            ("away", "flags", ErrorKind::Invalid),
            ("open", "flags#mian", ErrorKind::NotFound),
            ("old", "flags#mian", ErrorKind::NotFound),
            ("open", "flags#main:paymnts", ErrorKind::NotFound),
            ("open", "flags#1111111111111111111111111111111111111111", ErrorKind::NotFound),
            ("old", "flags#1111111111111111111111111111111111111111", ErrorKind::NotFound),
            ("old", "flags#deadbeef", ErrorKind::NotFound),
        ] {
            let requests = server.requests(0).len();
            let source =
                open(&server, &transport, &flags, door, rest).with_auth(UriAuth::Bearer(wrong.to_owned()));
            let error = failure(&source);
            assert_eq!(error.kind(), kind, "{door} {rest}: {}", error.chain());
            assert!(error.hint_text().is_some(), "{door} {rest}: {}", error.chain());
            shows_nothing_of(wrong, &error, &source);
            if kind == ErrorKind::Unauthenticated {
                assert_eq!(server.requests(requests + 1).len(), requests + 1, "a wrong token was sent again");
            }
            if door == "busy" {
                assert_eq!(error.retry_state(), Retry::After(Duration::from_secs(7)));
            }
        }
        assert_eq!(flags.leftovers(), 0);
    }

    #[test]
    fn a_renamed_repository_is_followed_on_its_server() {
        let flags = Flags::new();
        let (server, transport) = flags.http();
        let source = open(&server, &transport, &flags, "moved", "flags#main:payments");
        let document = whole(&source);
        assert_eq!(number(&document), "2");
        assert_eq!(load(&source, Some(document.revision())), Load::Unchanged);
    }

    #[test]
    fn a_certificate_of_another_authority_is_refused() {
        let flags = Flags::new();
        let (server, _) = flags.http();
        let elsewhere = flags.folder("elsewhere");
        fs::create_dir_all(&elsewhere).unwrap();
        let stranger = Arc::new(TestTransport::trusting(Pki::new(&elsewhere).ca_pem()));
        let error = failure(&open(&server, &stranger, &flags, "open", "flags"));
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }

    #[test]
    fn it_is_registered_under_its_name() {
        let config = Config::builder().set("source.git.timeout_ms", 5).build().unwrap();
        let plugin = Registry::discover().unwrap().find::<dyn Source>("git").unwrap();
        let context = || BuildContext::new(&config, "source.git", Arc::new(SystemClock::new()));

        let source = plugin.build(&context().with_uri("git+file:///srv/flags.git")).unwrap();
        assert_eq!(source.name(), "git");
        assert!(format!("{source:?}").contains("timeout_ms: 5"));

        for context in [context(), context().with_uri("git+https://localhost/x.git")] {
            assert_eq!(plugin.build(&context).unwrap_err().kind(), ErrorKind::Config);
        }
    }

    #[test]
    fn a_closed_source_ends_its_load() {
        let flags = Flags::new();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (_server, config) = flags.ssh("");
        let uri = format!("git+ssh://git@127.0.0.1:{}/x.git", listener.local_addr().unwrap().port());
        let source = Arc::new(super::open(&uri, &config));
        let loading = thread::spawn({
            let source = Arc::clone(&source);
            move || failure(&source)
        });
        // Once it is connected, it waits for a greeting that never comes.
        let peer = listener.accept().unwrap().0;

        block_on(source.close()).unwrap();

        assert_eq!(loading.join().unwrap().kind(), ErrorKind::Cancelled);
        end_of(peer);
    }

    #[test]
    fn without_a_transport_it_says_what_is_missing() {
        let flags = Flags::new();
        let error = failure(&GitSource::open("git+https://localhost/x.git", flags.config()).unwrap());
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.hint_text().unwrap().contains("transport"));
    }

    #[test]
    fn a_server_that_hangs_ends_in_a_timeout() {
        let flags = Flags::new();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let uri = format!("git+http://127.0.0.1:{}/x.git", listener.local_addr().unwrap().port());
        let peer = thread::spawn(move || end_of(listener.accept().unwrap().0));
        let (_server, transport) = flags.http();
        let mut config = flags.config();
        config.timeout_ms = 300;

        let error = failure(&GitSource::open(&uri, config).unwrap().with_transport(transport));

        assert_eq!(error.kind(), ErrorKind::Timeout, "{}", error.chain());
        peer.join().unwrap();
    }

    #[test]
    fn a_repository_over_the_cap_is_not_fetched() {
        let flags = Flags::new();
        let (server, transport) = flags.http();
        flags.repository.commit(&[("blob.bin", &noise(3_000_000))]);
        for (cap, kind) in [(1_000_000, Some(ErrorKind::LimitExceeded)), (5_000_000, None)] {
            let mut config = flags.config();
            config.max_fetch_bytes = cap;
            let source = GitSource::open(&server.uri("", "open", "flags#main:payments"), config).unwrap();
            let result = block_on(source.with_transport(Arc::clone(&transport) as _).load(None));
            assert_eq!(result.err().map(|e| e.kind()), kind);
        }
        // Compresses to next to nothing.
        flags.repository.commit(&[("blob.bin", &"0".repeat(30_000_000))]);
        let mut config = flags.config();
        config.max_fetch_bytes = 5_000_000;
        let source = GitSource::open(&server.uri("", "open", "flags#main:payments"), config).unwrap();
        let error = failure(&source.with_transport(transport));
        assert_eq!(error.kind(), ErrorKind::LimitExceeded, "{}", error.chain());
        assert_eq!(flags.leftovers(), 0);
    }

    #[test]
    fn dropping_the_load_at_any_point_leaves_the_source_usable() {
        let flags = Flags::new();
        let (server, transport) = flags.http();
        let source = open(&server, &transport, &flags, "open", "flags#main:payments");

        dropped_everywhere(&source);

        assert_eq!(number(&whole(&source)), "2");
        assert_eq!(flags.leftovers(), 0);
    }

    struct Place {
        flags: Flags,
        transport: Arc<TestTransport>,
        server: Option<GitHttp>,
        count: usize,
    }

    impl source::Place for Place {
        fn change(&mut self) {
            self.count += 1;
            self.flags.repository.commit(&[(FLAG, &format!("number = {}", self.count))]);
        }

        fn break_it(&mut self) -> bool {
            fs::rename(self.flags.repository.path(), self.flags.folder("away")).unwrap();
            true
        }

        fn mend(&mut self) {
            fs::rename(self.flags.folder("away"), self.flags.repository.path()).unwrap();
        }

        fn tells(&self) -> bool {
            false
        }

        fn secret(&self) -> Option<&str> {
            Some(TOKEN)
        }
    }

    fn fixture() -> source::Fixture<GitSource> {
        let flags = Flags::new();
        let (server, transport) = flags.http();
        let source = open(&server, &transport, &flags, "bearer", "flags#main:payments")
            .with_auth(UriAuth::Bearer(TOKEN.to_owned()));
        source::Fixture::new(source, Place { flags, transport, server: Some(server), count: 100 })
    }

    impl Drop for Place {
        fn drop(&mut self) {
            // The server goes before its files do.
            drop(self.server.take());
            assert!(self.transport.received() < 10_000_000);
        }
    }

    leverframe::source_conformance!(git_over_https, fixture);
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
