//! Repositories behind OpenSSH.

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
    assert_eq!(number(&whole(&open(&server.uri(flags.repository.path(), "#main:payments"), &config))), "2");

    let (server, transport) = flags.http();
    for door in ["open", "old"] {
        let source = GitSource::open(&server.uri("", door, "flags#main:payments"), config.clone()).unwrap();
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

    assert_eq!(fs::metadata(&config.work_dir).unwrap().modified().unwrap(), touched, "something was fetched");
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

    let Load::Snapshot(new) = load(&source, Some(old.revision())) else { panic!("a change was not brought") };
    assert_eq!(number(&new), "1");
}

#[test]
fn keys_of_every_kind_log_in_and_a_passphrase_opens_them() {
    let flags = Flags::new();
    let (server, mut config) = flags.ssh("");
    for (kind, passphrase) in [("rsa", ""), ("ecdsa", ""), ("ed25519", "p4ss phrase"), ("rsa", "p4ss phrase")]
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
    let key = |kind: &str| fs::read_to_string(flags.folder("sshd").join(format!("host_{kind}.pub"))).unwrap();
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
    // On a busy machine it may have been cut off before it called; the peer waits for a call.
    drop(TcpStream::connect(("127.0.0.1", port)));
    // Ends only when the source has closed its side.
    peer.join().unwrap();
}

#[test]
fn a_server_that_is_not_there_is_unavailable() {
    let flags = Flags::new();
    let (_server, config) = flags.ssh("");
    let port = real::ports::free_port();
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
        socket.exists() && add.arg("-q").arg(&key).env("SSH_AUTH_SOCK", &socket).status().unwrap().success()
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
