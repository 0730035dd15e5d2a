//! Memory and disk of the `git` source over many refreshes; alone in its process, whose memory it measures.
#![cfg(all(target_os = "linux", feature = "testing", feature = "source-git", feature = "http-in-process"))]
#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

#[path = "support/real/mod.rs"]
mod real;
#[path = "support/real/test_transport.rs"]
mod test_transport;

use std::{fs, sync::Arc};

use leverframe::{
    live::block_on,
    sources::git::{GitConfig, GitSource},
    traits::{Load, Source},
};
use real::{certs::Pki, githttp::GitHttp, repository::Repository, sshd::Sshd};
use test_transport::TestTransport;

#[test]
fn many_refreshes_leave_memory_and_disk_as_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let repository = Repository::new(&dir.path().join("root/flags"));
    let commits = ["1", "2"].map(|n| {
        let files: Vec<(String, String)> =
            (0..100).map(|i| (format!("flags/f{i}.toml"), format!("n = {n}\n").repeat(100))).collect();
        let files: Vec<(&str, &str)> = files.iter().map(|(p, c)| (p.as_str(), c.as_str())).collect();
        repository.commit(&files)
    });
    let head = repository.path().join(".git/refs/heads/main");
    let mut config = GitConfig::default();
    config.work_dir = dir.path().join("work");
    fs::create_dir(&config.work_dir).unwrap();
    let pki = Pki::new(dir.path());
    let server = GitHttp::start(&dir.path().join("http"), &dir.path().join("root"), &pki);
    let transport = Arc::new(TestTransport::trusting(pki.ca_pem()));
    let on_disk = format!("git+file://{}#main", repository.path().display());

    let sshd = Sshd::start(&dir.path().join("sshd"), "AcceptEnv GIT_PROTOCOL");
    let mut by_key = config.clone();
    by_key.ssh_key_file = sshd.client_key();
    by_key.known_hosts_file = sshd.known_hosts(&["ed25519"]);

    let https = GitSource::open(&server.uri("", "open", "flags#main"), config.clone()).unwrap();
    // Halves of the rounds are even, so that every refresh brings another commit than the one before.
    let sources = [
        (GitSource::open(&on_disk, config.clone()).unwrap(), 300),
        (https.with_transport(transport), 160),
        (GitSource::open(&sshd.uri(repository.path(), "#main"), by_key).unwrap(), 80),
    ];
    for (source, rounds) in sources {
        let mut seen = None;
        let mut refresh = |i: usize| {
            fs::write(&head, format!("{}\n", commits[i % 2])).unwrap();
            let Load::Snapshot(document) = block_on(source.load(seen.as_ref())).unwrap() else {
                panic!("the change to {} was not brought by {source:?}", commits[i % 2]);
            };
            seen = Some(document.revision().clone());
        };
        (0..rounds / 2).for_each(&mut refresh);
        let before = resident();

        (0..rounds).for_each(&mut refresh);

        let after = resident();
        assert!(after * 100 <= before * 105, "{source:?}: {before} kB became {after} kB");
        assert_eq!(fs::read_dir(&config.work_dir).unwrap().count(), 0);
    }
}

/// The memory that the process holds, in kB.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
