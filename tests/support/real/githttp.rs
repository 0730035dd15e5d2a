//! Git's own HTTP back end behind nginx, which asks for a token.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use super::{
    certs::Pki,
    ports::free_port,
    process::{Server, program},
};

/// A running git server. `/basic/` wants the token as a password, `/bearer/` as a bearer's, `/open/` nothing.
#[derive(Debug)]
pub struct GitHttp {
    dir: PathBuf,
    port: u16,
    plain_port: u16,
    _nginx: Server,
    _back_end: Server,
}

/// The token that the server takes.
pub const TOKEN: &str = "gh-s3cret-t0ken";

impl GitHttp {
    /// Serves the repositories in `root`, with a certificate for `localhost`; its files are in `dir`.
    pub fn start(dir: &Path, root: &Path, pki: &Pki) -> Self {
        fs::create_dir_all(dir).unwrap();
        let (certificate, key) = pki.server("git-http");
        let back_end_port = free_port();
        let mut command = Command::new(program("spawn-fcgi"));
        command
            .args(["-n", "-a", "127.0.0.1", "-p", &back_end_port.to_string(), "--"])
            .arg(program("fcgiwrap"))
            .env("GIT_CONFIG_GLOBAL", "/dev/null");
        let back_end = Server::start(&mut command, back_end_port);
        let password =
            Command::new(program("openssl")).args(["passwd", "-apr1", TOKEN]).output().unwrap().stdout;
        fs::write(dir.join("htpasswd"), format!("x-access-token:{}", String::from_utf8(password).unwrap()))
            .unwrap();
        let (port, plain_port) = (free_port(), free_port());
        let config = CONFIG
            .replace("@PORT@", &port.to_string())
            .replace("@PLAIN@", &plain_port.to_string())
            .replace("@BACKEND@", &back_end_port.to_string())
            .replace("@CERT@", &certificate.display().to_string())
            .replace("@KEY@", &key.display().to_string())
            .replace("@ROOT@", &root.display().to_string())
            .replace("@TOKEN@", TOKEN)
            .replace("@DIR@", &dir.display().to_string());
        fs::write(dir.join("nginx.conf"), config).unwrap();
        let mut command = Command::new(program("nginx"));
        command.arg("-e").arg(dir.join("error.log")).arg("-c").arg(dir.join("nginx.conf"));
        Self {
            dir: dir.to_owned(),
            port,
            plain_port,
            _nginx: Server::start(&mut command, port),
            _back_end: back_end,
        }
    }

    /// The URI of a repository behind one of the three doors; `login` ends with `@` or is empty.
    pub fn uri(&self, login: &str, door: &str, rest: &str) -> String {
        format!("git+https://{login}localhost:{}/{door}/{rest}", self.port)
    }

    /// The same without TLS.
    pub fn plain_uri(&self, door: &str, rest: &str) -> String {
        format!("git+http://127.0.0.1:{}/{door}/{rest}", self.plain_port)
    }

    /// The requests so far, as method, target and status; waits until there are as many as expected.
    pub fn requests(&self, expected: usize) -> Vec<String> {
        // nginx writes a line after the answer is sent; bounded by attempts.
        for _ in 0..500 {
            let log = fs::read_to_string(self.dir.join("access.log")).unwrap();
            if log.lines().count() >= expected {
                return log.lines().map(str::to_owned).collect();
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
        panic!("fewer than {expected} requests were made");
    }

    /// The bytes of the answers' bodies, request by request; as many as [`GitHttp::requests`] found or more.
    pub fn sizes(&self) -> Vec<usize> {
        let log = fs::read_to_string(self.dir.join("sizes.log")).unwrap();
        log.lines().map(|line| line.parse().unwrap()).collect()
    }
}

const CONFIG: &str = r#"
daemon off;
master_process off;
pid @DIR@/nginx.pid;
events {}
http {
  log_format plain '$request_method $request_uri $status $http_git_protocol';
  access_log @DIR@/access.log plain;
  log_format size '$body_bytes_sent';
  access_log @DIR@/sizes.log size;
  client_body_temp_path @DIR@/body; proxy_temp_path @DIR@/proxy; fastcgi_temp_path @DIR@/fastcgi;
  uwsgi_temp_path @DIR@/uwsgi; scgi_temp_path @DIR@/scgi;
  client_max_body_size 10m;
  map $http_authorization $bearer_ok { default 0; "Bearer @TOKEN@" 1; }
  fastcgi_param QUERY_STRING $query_string;
  fastcgi_param REQUEST_METHOD $request_method;
  fastcgi_param CONTENT_TYPE $content_type;
  fastcgi_param CONTENT_LENGTH $content_length;
  fastcgi_param SCRIPT_FILENAME /usr/lib/git-core/git-http-backend;
  fastcgi_param GIT_HTTP_EXPORT_ALL 1;
  fastcgi_param GIT_PROJECT_ROOT @ROOT@;
  fastcgi_param PATH_INFO $git_path;
  fastcgi_param REMOTE_USER $remote_user;
  fastcgi_param HTTP_GIT_PROTOCOL $git_protocol;
  server {
    listen 127.0.0.1:@PORT@ ssl http2;
    listen 127.0.0.1:@PLAIN@;
    ssl_certificate @CERT@; ssl_certificate_key @KEY@;
    ssl_protocols TLSv1.2 TLSv1.3;
    set $git_protocol $http_git_protocol;
    set $git_path "";
    location ~ ^/basic(?<rest>/.*) {
      auth_basic "git"; auth_basic_user_file @DIR@/htpasswd;
      set $git_path $rest; fastcgi_pass 127.0.0.1:@BACKEND@;
    }
    location ~ ^/bearer(?<rest>/.*) {
      if ($bearer_ok = 0) { return 401; }
      set $git_path $rest; fastcgi_pass 127.0.0.1:@BACKEND@;
    }
    location ~ ^/open(?<rest>/.*) { set $git_path $rest; fastcgi_pass 127.0.0.1:@BACKEND@; }
    location ~ ^/old(?<rest>/.*) { set $git_protocol ""; set $git_path $rest; fastcgi_pass 127.0.0.1:@BACKEND@; }
    location ~ ^/moved(?<rest>/.*) { return 301 /open$rest?$query_string; }
    location ~ ^/away(?<rest>/.*) { return 302 https://localhost:1/open$rest?$query_string; }
    location /forbidden/ { return 403; }
    location /busy/ { add_header Retry-After 7 always; return 503; }
    location /page/ { default_type text/html; return 200 "<html>log in</html>"; }
  }
}
"#;
