//! OpenSSH's server, with keys made for the test, for the user who runs the test.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    ports::free_port,
    process::{Server, program},
};

/// A running ssh server.
#[derive(Debug)]
pub struct Sshd {
    dir: PathBuf,
    port: u16,
    server: Server,
}

impl Sshd {
    /// Starts a server whose files are in `dir`; `settings` are further lines of its configuration.
    pub fn start(dir: &Path, settings: &str) -> Self {
        fs::create_dir_all(dir).unwrap();
        // The server insists on this folder, which a container may lack.
        let _ = fs::create_dir_all("/run/sshd");
        for kind in ["ed25519", "ecdsa", "rsa"] {
            make_key(&dir.join(format!("host_{kind}")), kind, "");
        }
        let client = make_key(&dir.join("client"), "ed25519", "");
        fs::copy(client.with_extension("pub"), dir.join("authorized_keys")).unwrap();
        let port = free_port();
        let at = dir.display();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {at}/host_ed25519\nHostKey {at}/host_ecdsa\nHostKey {at}/host_rsa\n\
             AuthorizedKeysFile {at}/authorized_keys\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
             PermitRootLogin prohibit-password\nStrictModes no\nUsePAM no\nPidFile none\nLogLevel VERBOSE\nMaxStartups 100\n{settings}\n"
        );
        fs::write(dir.join("sshd_config"), config).unwrap();
        let log = File::create(dir.join("sshd.log")).unwrap();
        let mut command = Command::new(program("sshd"));
        command.arg("-D").arg("-e").arg("-f").arg(dir.join("sshd_config")).stderr(log);
        Self { dir: dir.to_owned(), port, server: Server::start(&mut command, port) }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process's id.
    pub fn id(&self) -> u32 {
        self.server.id()
    }

    /// The private key that the server lets in.
    pub fn client_key(&self) -> PathBuf {
        self.dir.join("client")
    }

    /// Lets a key in as well; `options` stand before it in the file.
    pub fn let_in(&self, key: &Path, options: &str) {
        let public = fs::read_to_string(key.with_extension("pub")).unwrap();
        let file = self.dir.join("authorized_keys");
        let known = fs::read_to_string(&file).unwrap();
        fs::write(file, format!("{known}{options} {public}")).unwrap();
    }

    /// A known-hosts file that trusts the server's keys of these kinds.
    pub fn known_hosts(&self, kinds: &[&str]) -> PathBuf {
        let file = self.dir.join(format!("known_hosts_{}", kinds.join("_")));
        let lines = kinds.iter().map(|kind| {
            let public = fs::read_to_string(self.dir.join(format!("host_{kind}.pub"))).unwrap();
            format!("[127.0.0.1]:{} {public}", self.port)
        });
        fs::write(&file, lines.collect::<String>()).unwrap();
        file
    }

    /// The URI of a repository, for the user who runs the test.
    pub fn uri(&self, repository: &Path, fragment: &str) -> String {
        let user = Command::new("id").arg("-un").output().unwrap().stdout;
        let user = String::from_utf8(user).unwrap();
        format!("git+ssh://{}@127.0.0.1:{}{}{fragment}", user.trim(), self.port, repository.display())
    }

    /// How often a program was started for a client.
    pub fn sessions(&self) -> usize {
        let log = fs::read_to_string(self.dir.join("sshd.log")).unwrap();
        log.lines().filter(|line| line.contains("Starting session: command")).count()
    }
}

/// Makes a key pair at `path` and `path.pub`; an empty passphrase leaves it in the clear.
pub fn make_key(path: &Path, kind: &str, passphrase: &str) -> PathBuf {
    let status = Command::new(program("ssh-keygen"))
        .args(["-q", "-t", kind, "-N", passphrase, "-f"])
        .arg(path)
        .args(if kind == "rsa" { &["-b", "2048"][..] } else { &[] })
        .status()
        .unwrap();
    assert!(status.success());
    path.to_owned()
}
