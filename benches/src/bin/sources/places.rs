//! Servers with a namespace of 1,000 flags on them, and what loads it from there.

use std::{fs, path::PathBuf, sync::Arc};

use leverframe::{
    LoadOptions, Namespace,
    backends::{
        clock_system::SystemClock, http_client::HttpClientConfig, layers, transport_reqwest::ReqwestTransport,
    },
    document::{Entry, Tree},
    manifest::archive,
    sources::git::{GitConfig, GitSource},
    traits::{Source, Transport},
};
use leverframe_benches::load;

use crate::real::{
    certs::Pki, githttp::GitHttp, nginx::Nginx, repository::Repository, sshd::Sshd, vsftpd::write_old,
};

/// How many flags every namespace here has.
const FLAGS: usize = 1_000;

/// The namespace before a change and after it: one flag's description differs, as after a merge.
pub(crate) fn states() -> [Tree; 2] {
    let before = load::tree(FLAGS);
    let (path, flag) = before
        .iter()
        .find_map(|(path, entry)| match entry {
            Entry::File(content) if path.starts_with("flags/") => Some((path.to_owned(), content.clone())),
            _ => None,
        })
        .expect("there are flags");
    let text = String::from_utf8(flag.to_vec()).expect("flags are text").replace("load", "change");
    let mut after = before.clone();
    after.insert(path, Entry::File(text.into()));
    [before, after]
}

/// The default transport in its layers, trusting one authority more.
pub(crate) fn transport(ca_file: PathBuf) -> Arc<dyn Transport> {
    let mut config = HttpClientConfig::default();
    config.ca_file = ca_file;
    let transport = ReqwestTransport::open(&config).expect("the authority was just made");
    layers::standard(Arc::new(transport), Arc::new(SystemClock::new()))
}

/// Loads from a source, as a service would.
pub(crate) fn namespace(source: impl Source) -> Namespace {
    Namespace::from_source(Arc::new(source), &LoadOptions::new()).unwrap_or_else(|e| panic!("{e}: {e:?}"))
}

/// An archive behind nginx, over TLS.
pub(crate) struct Archive {
    pub(crate) server: Nginx,
    pub(crate) archives: [Vec<u8>; 2],
    written: u64,
}

impl Archive {
    pub(crate) fn new() -> Self {
        let archives = states().map(|state| archive::pack(&state).expect("generated namespaces are small"));
        let mut made = Self { server: Nginx::start(), archives, written: 0 };
        made.change();
        made
    }

    /// Puts the other state in place; each is a second younger than the one before, so that no two have one `ETag`.
    pub(crate) fn change(&mut self) {
        self.written += 1;
        write_old(&self.server.files().join("m.tar.gz"), self.archive(), self.written);
    }

    /// What stands there now.
    pub(crate) fn archive(&self) -> &[u8] {
        &self.archives[self.written as usize % 2]
    }

    pub(crate) fn uri(&self) -> String {
        self.server.https("/files/m.tar.gz")
    }

    pub(crate) fn transport(&self) -> Arc<dyn Transport> {
        transport(self.server.ca_file())
    }
}

/// A repository whose branch has two commits to move between.
pub(crate) struct Branch {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) repository: Repository,
    commits: [String; 2],
    moved: usize,
}

impl Branch {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("there is room");
        let repository = Repository::new(&dir.path().join("root/flags"));
        let commits = states().map(|state| {
            let files: Vec<(&str, &str)> = state
                .iter()
                .filter_map(|(path, entry)| match entry {
                    Entry::File(content) => {
                        Some((path, std::str::from_utf8(content).expect("files are text")))
                    }
                    _ => None,
                })
                .collect();
            repository.commit(&files)
        });
        // As a server keeps it that serves it often.
        repository.git(&["repack", "-a", "-d", "-q"]);
        Self { dir, repository, commits, moved: 1 }
    }

    /// Moves the branch to the other commit.
    pub(crate) fn change(&mut self) {
        self.moved += 1;
        let head = self.repository.path().join(".git/refs/heads/main");
        fs::write(head, format!("{}\n", self.commits[self.moved % 2])).expect("the repository is ours");
    }
}

/// The branch behind git's own HTTP back end and nginx, over TLS.
pub(crate) struct GitOverHttps {
    pub(crate) branch: Branch,
    pub(crate) pki: Pki,
    pub(crate) server: GitHttp,
}

impl GitOverHttps {
    pub(crate) fn new() -> Self {
        let branch = Branch::new();
        let pki = Pki::new(branch.dir.path());
        let server = GitHttp::start(&branch.dir.path().join("http"), &branch.dir.path().join("root"), &pki);
        Self { branch, pki, server }
    }

    /// Loads from the branch.
    pub(crate) fn namespace(&self) -> Namespace {
        let uri = self.server.uri("", "open", "flags#main");
        let source = GitSource::open(&uri, GitConfig::default()).expect("the URI is one");
        namespace(source.with_transport(transport(self.pki.ca_file())))
    }
}

/// The branch behind OpenSSH's server.
pub(crate) struct GitOverSsh {
    branch: Branch,
    pub(crate) server: Sshd,
}

impl GitOverSsh {
    pub(crate) fn new() -> Self {
        let branch = Branch::new();
        let server = Sshd::start(&branch.dir.path().join("sshd"), "AcceptEnv GIT_PROTOCOL");
        Self { branch, server }
    }

    /// Loads from the branch.
    pub(crate) fn namespace(&self) -> Namespace {
        let mut config = GitConfig::default();
        config.ssh_key_file = self.server.client_key();
        config.known_hosts_file = self.server.known_hosts(&["ed25519"]);
        let uri = self.server.uri(self.branch.repository.path(), "#main");
        namespace(GitSource::open(&uri, config).expect("the URI is one"))
    }
}
