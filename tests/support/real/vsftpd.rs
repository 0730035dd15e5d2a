//! vsftpd: anonymous log-in, TLS demanded everywhere, data connections must resume their control connection's session.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{
    certs::Pki,
    ports::free_port,
    process::{Server, program},
};

/// How a vsftpd differs from the usual.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// TLS begins with the first byte.
    pub implicit: bool,
    /// TLS 1.2 is the newest that is spoken.
    pub tls12: bool,
    /// No TLS at all.
    pub plain: bool,
}

/// A vsftpd that serves one folder; ended with all its sessions on drop.
#[derive(Debug)]
pub struct Vsftpd {
    dir: tempfile::TempDir,
    pki: Pki,
    port: u16,
    tls12: bool,
    group: Option<Group>,
}

impl Vsftpd {
    /// Starts one with a certificate for `localhost` and 127.0.0.1.
    pub fn start(options: Options) -> Self {
        Self::start_with(options, |pki| pki.server("server"))
    }

    /// Starts one with the certificate and key that `certify` makes.
    pub fn start_with(options: Options, certify: impl FnOnce(&Pki) -> (PathBuf, PathBuf)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        // The anonymous user must get through, and may not write.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for folder in ["files", "empty"] {
            fs::create_dir(dir.path().join(folder)).unwrap();
        }
        let pki = Pki::new(dir.path());
        let (cert, key) = certify(&pki);
        let port = free_port();
        let at = |name: &str| dir.path().join(name).display().to_string();
        let yes = |set: bool| if set { "YES" } else { "NO" };
        let config = format!(
            "listen=YES\nlisten_address=127.0.0.1\nlisten_port={port}\nbackground=NO\nseccomp_sandbox=NO\n\
             anonymous_enable=YES\nlocal_enable=NO\nanon_root={files}\nsecure_chroot_dir={empty}\n\
             ssl_enable={tls}\nimplicit_ssl={implicit}\nallow_anon_ssl={tls}\nforce_anon_logins_ssl={tls}\n\
             force_anon_data_ssl={tls}\nrequire_ssl_reuse=YES\nssl_tlsv1=YES\nssl_ciphers=HIGH\n\
             rsa_cert_file={cert}\nrsa_private_key_file={key}\n\
             debug_ssl=YES\nlog_ftp_protocol=YES\nxferlog_enable=YES\nvsftpd_log_file={log}\n",
            files = at("files"),
            empty = at("empty"),
            log = at("log"),
            tls = yes(!options.plain),
            implicit = yes(options.implicit),
            cert = cert.display(),
            key = key.display(),
        );
        fs::write(dir.path().join("vsftpd.conf"), config).unwrap();
        let openssl = "openssl_conf = init\n[init]\nssl_conf = ssl\n[ssl]\nsystem_default = tls\n[tls]\nMaxProtocol = TLSv1.2\n";
        fs::write(dir.path().join("openssl.cnf"), openssl).unwrap();
        let mut server = Self { dir, pki, port, tls12: options.tls12, group: None };
        server.go();
        server
    }

    /// Ends the server and every session.
    pub fn stop(&mut self) {
        self.group = None;
    }

    /// Starts the server again after [`Vsftpd::stop`], on the same port.
    pub fn go(&mut self) {
        let mut command = Command::new(program("vsftpd"));
        command.arg(self.dir.path().join("vsftpd.conf"));
        if self.tls12 {
            command.env("OPENSSL_CONF", self.dir.path().join("openssl.cnf"));
        }
        self.group = Some(Group::start(&mut command, self.port));
    }

    /// The URI of a file, without user-info.
    pub fn uri(&self, file: &str) -> String {
        format!("ftps://localhost:{}/{file}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The authority's certificate.
    pub fn ca_file(&self) -> PathBuf {
        self.pki.ca_file()
    }

    /// The folder that is served.
    pub fn files(&self) -> PathBuf {
        self.dir.path().join("files")
    }

    /// What the server logged: each command, each reply, and how each TLS connection began.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// The commands that the server received, without their arguments.
    pub fn commands(&self) -> Vec<String> {
        let log = self.log();
        let lines = log.lines().filter_map(|line| line.split_once("FTP command: "));
        lines
            .map(|(_, rest)| {
                let command = rest.split_once(", \"").map_or(rest, |(_, command)| command);
                command.trim_end_matches('"').split(' ').next().unwrap().to_owned()
            })
            .collect()
    }
}

/// A server that makes a process for each session; all are killed on drop.
#[derive(Debug)]
pub struct Group(Server);

impl Group {
    /// Starts a command that stays in the foreground, and waits until it accepts connections on `port`.
    pub fn start(command: &mut Command, port: u16) -> Self {
        Self(Server::start(command, port))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Sessions are leaders of their own, so no signal to a group reaches them; they are found by their parents.
        let family = family(self.0.id());
        // Ended already is as good; the first process is reaped when the field is dropped.
        let _ = Command::new("kill").arg("-KILL").args(&family).stderr(Stdio::null()).status();
    }
}

/// A process and those that descend from it, the eldest first.
fn family(eldest: u32) -> Vec<String> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        // The second field is a name in brackets, which may hold anything; the fourth is the parent.
        let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)).unwrap().to_owned();
        parents.push((entry.file_name().to_string_lossy().into_owned(), parent));
    }
    let mut family = vec![eldest.to_string()];
    let mut next = 0;
    while let Some(parent) = family.get(next).cloned() {
        family.extend(parents.iter().filter(|(_, p)| *p == parent).map(|(child, _)| child.clone()));
        next += 1;
    }
    family
}

/// Writes a file and dates it long ago, so that its time can be trusted at once.
pub fn write_old(path: &Path, content: &[u8], seconds: u64) {
    let beside = path.with_extension("new");
    fs::write(&beside, content).unwrap();
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000 + seconds);
    fs::File::options().write(true).open(&beside).unwrap().set_modified(time).unwrap();
    fs::rename(beside, path).unwrap();
}
