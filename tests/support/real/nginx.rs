//! nginx with everything that an HTTP client can meet in a well-behaved peer.

use std::{
    fs::{self, File},
    io::{Read, Write},
    net::TcpStream,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use rcgen::date_time_ymd;

use super::{
    certs::Pki,
    ports::free_ports,
    process::{Server, program},
};

/// The user and password of `/basic/`.
pub const USER: &str = "reader";
/// The password of [`USER`]; the characters are those that must be escaped in a URI.
pub const PASSWORD: &str = "p@ss/w%rd";
/// The token of `/bearer`.
pub const TOKEN: &str = "exd_read_good";

/// Asked for to know that everything before it is in the log.
const SETTLE: &str = "/settled";

/// A running nginx. Every listener serves the same locations:
///
/// | path | answer |
/// |---|---|
/// | `/files/…` | the files of [`files`](Self::files), with `ETag` and `Last-Modified` |
/// | `/gzip/…` | the same, compressed where the client asks for it |
/// | `/slow/…` | the same at 1,000 bytes a second |
/// | `/basic/…` | the same for [`USER`] with [`PASSWORD`], otherwise 401 |
/// | `/bearer` | 200 for [`TOKEN`], otherwise 401 |
/// | `/status/N` | the status, for 401, 403, 404, 408, 429, 500, 502, 503, 504 |
/// | `/status/N/later` | 429 or 503 with `Retry-After: 2` |
/// | `/echo…` | lines `method`, `uri`, `protocol`, `host`, `authorization`, `cookie`, `user-agent`, `accept-encoding`, `client`, `tls`, `requests` (so far on the connection) |
/// | `/redirect/same` | to `/echo/redirected` of the same listener |
/// | `/redirect/N`, N of 1 to 6 | N redirects, then `/echo/redirected` |
/// | `/redirect/loop` | to itself, for ever |
/// | `/redirect/other-port` | to `/echo/redirected` of the second TLS listener, same host |
/// | `/redirect/other-host` | to `/echo/redirected` of the first TLS listener as `127.0.0.1` |
/// | `/redirect/downgrade` | to `/echo/redirected` of the plain listener |
/// | `/redirect/file` | to `file:///etc/hostname` |
#[derive(Debug)]
pub struct Nginx {
    // Ended before its folder goes.
    _server: Server,
    dir: tempfile::TempDir,
    pki: Pki,
    ports: Ports,
}

#[derive(Clone, Copy, Debug)]
struct Ports {
    plain: u16,
    tls: u16,
    second: u16,
    mutual: u16,
    expired: u16,
    misnamed: u16,
    tls12: u16,
    tls11: u16,
}

impl Nginx {
    /// Starts it with a certificate authority of its own.
    pub fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::new(dir.path());
        pki.server("server");
        pki.leaf("expired", &["localhost", "127.0.0.1"], |params| {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        });
        pki.leaf("misnamed", &["elsewhere.example"], |_| {});
        for folder in ["files", "tmp"] {
            fs::create_dir(dir.path().join(folder)).unwrap();
        }
        fs::write(dir.path().join("users"), format!("{USER}:{{PLAIN}}{PASSWORD}\n")).unwrap();
        fs::write(dir.path().join("files/hello"), "hello").unwrap();
        let (server, ports) = launch(dir.path());
        Self { _server: server, dir, pki, ports }
    }

    /// The authority that signed every certificate.
    pub fn pki(&self) -> &Pki {
        &self.pki
    }

    /// The authority's certificate, as a client trusts it.
    pub fn ca_file(&self) -> PathBuf {
        self.pki.ca_file()
    }

    /// Puts a file where `/files/`, `/gzip/`, `/slow/` and `/basic/` find it.
    pub fn put(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.dir.path().join("files").join(name), content).unwrap();
    }

    /// Puts a file of zeros, which takes no space and compresses to a thousandth.
    pub fn put_zeros(&self, name: &str, bytes: u64) {
        File::create(self.dir.path().join("files").join(name)).unwrap().set_len(bytes).unwrap();
    }

    /// Where the plain listener serves a path.
    pub fn http(&self, path: &str) -> String {
        format!("http://localhost:{}{path}", self.ports.plain)
    }

    /// Where the first TLS listener serves a path: TLS 1.2 and 1.3, HTTP/1.1 and HTTP/2.
    pub fn https(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.ports.tls)
    }

    /// The first TLS listener under its address instead of its name.
    pub fn https_by_address(&self, path: &str) -> String {
        format!("https://127.0.0.1:{}{path}", self.ports.tls)
    }

    /// Where the listener that asks for client certificates of the authority serves a path; it answers 400 without one.
    pub fn mutual(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.ports.mutual)
    }

    /// Where the listener with an expired certificate serves a path.
    pub fn expired(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.ports.expired)
    }

    /// Where the listener whose certificate is for another host serves a path.
    pub fn misnamed(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.ports.misnamed)
    }

    /// Where the listener that speaks TLS 1.2 only serves a path.
    pub fn tls12(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.ports.tls12)
    }

    /// Where the listener that speaks TLS 1.1 only serves a path.
    pub fn tls11(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.ports.tls11)
    }

    /// The TLS listener spoken to without TLS.
    pub fn http_on_the_tls_port(&self, path: &str) -> String {
        format!("http://localhost:{}{path}", self.ports.tls)
    }

    /// The plain listener spoken to with TLS.
    pub fn https_on_the_plain_port(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.ports.plain)
    }

    /// The folder of [`put`](Self::put).
    pub fn files(&self) -> PathBuf {
        self.dir.path().join("files")
    }

    /// The log of sizes so far: one line `METHOD URI STATUS BYTES` a request, with the bytes of the answer's body;
    /// waits until there are as many lines as expected.
    pub fn sizes(&self, expected: usize) -> Vec<String> {
        // nginx writes a line after the answer is sent; bounded by attempts.
        for _ in 0..500 {
            let log = fs::read_to_string(self.dir.path().join("sizes.log")).unwrap();
            if log.lines().count() >= expected {
                return log.lines().map(str::to_owned).collect();
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
        panic!("fewer than {expected} requests were made");
    }

    /// The access log so far: one line `METHOD URI STATUS` a request.
    pub fn log(&self) -> String {
        // A line is written once its answer is sent, which a client may have read by then. The one worker is done with
        // it when it has answered another request.
        let mut settled = TcpStream::connect(("127.0.0.1", self.ports.plain)).unwrap();
        settled.write_all(format!("GET {SETTLE} HTTP/1.0\r\n\r\n").as_bytes()).unwrap();
        settled.read_to_end(&mut Vec::new()).unwrap();
        let log = fs::read_to_string(self.dir.path().join("access.log")).unwrap();
        log.split_inclusive('\n').filter(|line| !line.contains(SETTLE)).collect()
    }
}

impl Ports {
    fn pick() -> Self {
        let [plain, tls, second, mutual, expired, misnamed, tls12, tls11] = free_ports();
        Self { plain, tls, second, mutual, expired, misnamed, tls12, tls11 }
    }
}

/// Starts nginx on ports that were free a moment ago, and on others where somebody else was quicker.
fn launch(dir: &Path) -> (Server, Ports) {
    for _ in 0..3 {
        let ports = Ports::pick();
        fs::write(dir.join("nginx.conf"), configuration(dir, ports)).unwrap();
        let mut command = Command::new(program("nginx"));
        command.arg("-p").arg(dir).arg("-e").arg(dir.join("error.log")).arg("-c").arg("nginx.conf");
        // What nginx says before it reads its configuration goes to the terminal otherwise.
        command.stderr(File::create(dir.join("stderr.log")).unwrap());
        let started = catch_unwind(AssertUnwindSafe(|| Server::start(&mut command, ports.plain)));
        if let Ok(server) = started
            && answers_as(dir, ports.plain)
        {
            return (server, ports);
        }
    }
    panic!("nginx does not start: {}", fs::read_to_string(dir.join("error.log")).unwrap_or_default());
}

/// Whether it is our nginx that listens: one that could not have every port ends, and leaves them to others.
fn answers_as(dir: &Path, port: u16) -> bool {
    // Bounded by attempts: nginx gives up after 3 s itself.
    (0..400).any(|_| {
        let ours = ask_who(port).is_ok_and(|answer| answer.ends_with(&dir.display().to_string()));
        if !ours {
            std::thread::park_timeout(Duration::from_millis(10));
        }
        ours
    })
}

fn ask_who(port: u16) -> std::io::Result<String> {
    let mut connection = TcpStream::connect(("127.0.0.1", port))?;
    connection.set_read_timeout(Some(Duration::from_millis(500)))?;
    connection.write_all(b"GET /who HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    Ok(answer)
}

fn configuration(dir: &Path, ports: Ports) -> String {
    let dir = dir.display();
    let Ports { plain, tls, second, mutual, expired, misnamed, tls12, tls11 } = ports;
    let locations = format!("location = /who {{ access_log off; return 200 {dir}; }}\n{}", locations(ports));
    let tls_server = |port: u16, certificate: &str, more: &str| {
        format!(
            "server {{
                listen 127.0.0.1:{port} ssl http2;
                ssl_certificate {dir}/{certificate}.pem;
                ssl_certificate_key {dir}/{certificate}.key;
                {more}
                {locations}
            }}\n"
        )
    };
    let both = "ssl_protocols TLSv1.2 TLSv1.3;";
    // OpenSSL counts TLS 1.1 as insecure and would not offer it at its usual level.
    let obsolete = "ssl_protocols TLSv1.1; ssl_ciphers DEFAULT@SECLEVEL=0;";
    let servers = [
        format!("server {{ listen 127.0.0.1:{plain}; {locations} }}\n"),
        tls_server(tls, "server", both),
        tls_server(second, "server", both),
        tls_server(
            mutual,
            "server",
            &format!("{both} ssl_client_certificate {dir}/ca.pem; ssl_verify_client on;"),
        ),
        tls_server(expired, "expired", both),
        tls_server(misnamed, "misnamed", both),
        tls_server(tls12, "server", "ssl_protocols TLSv1.2;"),
        tls_server(tls11, "server", obsolete),
    ]
    .concat();
    // One process in the foreground: there is no worker that could outlive it.
    format!(
        "daemon off;
        master_process off;
        pid {dir}/nginx.pid;
        error_log {dir}/error.log;
        events {{ worker_connections 256; }}
        http {{
            client_body_temp_path {dir}/tmp/body;
            proxy_temp_path {dir}/tmp/proxy;
            fastcgi_temp_path {dir}/tmp/fastcgi;
            uwsgi_temp_path {dir}/tmp/uwsgi;
            scgi_temp_path {dir}/tmp/scgi;
            log_format short '$request_method $request_uri $status';
            access_log {dir}/access.log short;
            log_format sizes '$request_method $request_uri $status $body_bytes_sent';
            access_log {dir}/sizes.log sizes;
            default_type application/octet-stream;
            absolute_redirect off;
            {servers}
        }}\n"
    )
}

fn locations(ports: Ports) -> String {
    let Ports { plain, tls, second, .. } = ports;
    let statuses: String = [401, 403, 404, 408, 429, 500, 502, 503, 504]
        .map(|status| format!("location = /status/{status} {{ return {status} 'status {status}'; }}\n"))
        .concat();
    let later: String = [429, 503]
        .map(|status| {
            format!(
                "location = /status/{status}/later {{ add_header Retry-After 2 always; return {status} 'later'; }}\n"
            )
        })
        .concat();
    let redirects: String = [
        ("same", "/echo/redirected".to_owned()),
        ("1", "/echo/redirected".to_owned()),
        ("2", "/redirect/1".to_owned()),
        ("3", "/redirect/2".to_owned()),
        ("4", "/redirect/3".to_owned()),
        ("5", "/redirect/4".to_owned()),
        ("6", "/redirect/5".to_owned()),
        ("loop", "/redirect/loop".to_owned()),
        ("other-port", format!("https://localhost:{second}/echo/redirected")),
        ("other-host", format!("https://127.0.0.1:{tls}/echo/redirected")),
        ("downgrade", format!("http://localhost:{plain}/echo/redirected")),
        ("file", "file:///etc/hostname".to_owned()),
    ]
    .iter()
    .map(|(name, target)| format!("location = /redirect/{name} {{ return 302 {target}; }}\n"))
    .collect();
    format!(
        r#"root /nonexistent;
        location /files/ {{ alias files/; }}
        location /gzip/ {{ alias files/; gzip on; gzip_types *; gzip_min_length 1; }}
        location /slow/ {{ alias files/; limit_rate 1000; }}
        location /basic/ {{ alias files/; auth_basic "files"; auth_basic_user_file users; }}
        location = /bearer {{ if ($http_authorization != "Bearer {TOKEN}") {{ return 401; }} return 200 "known"; }}
        location /echo {{
            return 200 "method: $request_method\nuri: $request_uri\nprotocol: $server_protocol\nhost: $http_host\nauthorization: $http_authorization\ncookie: $http_cookie\nuser-agent: $http_user_agent\naccept-encoding: $http_accept_encoding\nclient: $ssl_client_s_dn\ntls: $ssl_protocol\nrequests: $connection_requests\n";
        }}
        {statuses}{later}{redirects}"#
    )
}
