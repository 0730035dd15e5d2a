//! proftpd with mod_tls: log-in by password, TLS demanded, data connections must resume the session.

use std::{
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Command, Stdio},
};

use super::{certs::Pki, ports::free_port, process::program, vsftpd::Group};

/// The user that may log in.
pub const USER: &str = "reader";

/// That user's password.
pub const PASS: &str = "hunter2-\u{e4}:@/%";

/// A proftpd that serves one folder; ended with all its sessions on drop.
#[derive(Debug)]
pub struct Proftpd {
    dir: tempfile::TempDir,
    pki: Pki,
    port: u16,
    group: Group,
}

impl Proftpd {
    /// Starts one that speaks these versions, such as `TLSv1.2 TLSv1.3`, with further lines of configuration.
    pub fn start(versions: &str, more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(dir.path().join("files")).unwrap();
        let pki = Pki::new(dir.path());
        let (cert, key) = pki.server("server");
        let port = free_port();
        let at = |name: &str| dir.path().join(name).display().to_string();
        let users = dir.path().join("users");
        fs::write(&users, format!("{USER}:{}:65534:65534::{}:/bin/false\n", hashed(PASS), at("files")))
            .unwrap();
        fs::set_permissions(&users, fs::Permissions::from_mode(0o640)).unwrap();
        let config = format!(
            "ServerType standalone\nPort {port}\nDefaultAddress 127.0.0.1\nUseIPv6 off\nUser nobody\nGroup nogroup\n\
             ModulePath /opt/proftpd/usr/lib/proftpd\nLoadModule mod_tls.c\n\
             PidFile {pid}\nScoreboardFile {scoreboard}\nDelayEngine off\nUseReverseDNS off\nWtmpLog off\n\
             TransferLog none\nSystemLog {log}\nAuthOrder mod_auth_file.c\nAuthUserFile {users}\n\
             RequireValidShell off\nDefaultRoot {files}\nTLSEngine on\nTLSProtocol {versions}\nTLSRequired on\n\
             TLSECCertificateFile {cert}\nTLSECCertificateKeyFile {key}\n{more}\n",
            pid = at("pid"),
            scoreboard = at("scoreboard"),
            log = at("log"),
            users = users.display(),
            files = at("files"),
            cert = cert.display(),
            key = key.display(),
        );
        let file = dir.path().join("proftpd.conf");
        fs::write(&file, config).unwrap();
        let mut command = Command::new(program("proftpd"));
        command.args(["-n", "-q", "-c"]).arg(&file).stderr(Stdio::null());
        let group = Group::start(&mut command, port);
        Self { dir, pki, port, group }
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

    /// What the server logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

fn hashed(password: &str) -> String {
    let mut openssl = Command::new(program("openssl"))
        .args(["passwd", "-6", "-stdin"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    writeln!(openssl.stdin.take().unwrap(), "{password}").unwrap();
    let output = openssl.wait_with_output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
