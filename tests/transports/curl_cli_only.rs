//! What the `curl_cli` transport does beyond what all transports must.

use std::{
    fs,
    path::{Path, PathBuf},
    pin::pin,
    task::{Context, Waker},
    thread,
    time::Duration,
};

use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use leverframe::{
    ErrorKind,
    backends::{http_client::HttpClientConfig, transport_curl_cli::CurlCliTransport},
    traits::{Request, Transport},
};

use crate::{
    ask::{answer, failure, get, header as with, in_time, trusting},
    real::{
        nginx::{Nginx, PASSWORD, USER},
        proxy::Proxy,
        rude::{Manner, Rude},
    },
};

/// A transport whose program finds this `.curlrc`.
fn with_curlrc(dir: &Path, config: &HttpClientConfig, curlrc: &str) -> CurlCliTransport {
    fs::write(dir.join(".curlrc"), curlrc).unwrap();
    CurlCliTransport::open(config).unwrap().with_home(dir)
}

/// The programs that run with this home folder.
fn running(home: &Path) -> Vec<PathBuf> {
    let variable = format!("HOME={}\0", home.display());
    let environment = |process: &PathBuf| fs::read(process.join("environ")).unwrap_or_default();
    let listing = fs::read_dir("/proc").unwrap();
    listing
        .flatten()
        .map(|item| item.path())
        .filter(|process| String::from_utf8_lossy(&environment(process)).contains(&variable))
        .collect()
}

#[test]
fn nothing_of_a_request_shows_in_the_list_of_processes() {
    let (rude, dir) = (Rude::start(), tempfile::tempdir().unwrap());
    let mut config = HttpClientConfig::default();
    config.proxy = leverframe::Secret::new(format!("http://proxy:s3cret-1@{}", rude.address()));
    let transport = with_curlrc(dir.path(), &config, "");
    let uri = "http://user:s3cret-2@peer.invalid/flags?sig=s3cret-3";
    let mut request = Request::new(Method::POST, uri.parse().unwrap()).deadline(Duration::from_secs(20));
    request.body = "s3cret-4".into();
    let request = with(request, HeaderName::from_static("x-api-key"), "s3cret-5");

    let seen = {
        let mut future = pin!(transport.send(request));
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..2_000 {
            assert!(future.as_mut().poll(&mut context).is_pending());
            if !rude.requests().is_empty() {
                break;
            }
            thread::park_timeout(Duration::from_millis(5));
        }
        let sent = rude.requests().remove(0);
        assert!(
            sent.contains("s3cret-3") && sent.contains("s3cret-4") && sent.contains("s3cret-5"),
            "{sent}"
        );
        let processes = running(dir.path());
        assert_eq!(processes.len(), 1, "{processes:?}");
        ["cmdline", "environ", "comm"].map(|file| fs::read(processes[0].join(file)).unwrap())
    };

    let [arguments, environment, name] = seen.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert_eq!((arguments.as_str(), name.trim()), ("curl\0--config\0-\0", "curl"));
    assert!(!environment.contains("s3cret"));
}

#[test]
fn a_program_that_is_no_longer_wanted_is_ended_and_reaped() {
    let (rude, dir) = (Rude::start(), tempfile::tempdir().unwrap());
    let transport = with_curlrc(dir.path(), &HttpClientConfig::default(), "");
    let request = get(rude.arrange(Manner::endless())).body_limit(u64::MAX);
    let response = in_time(transport.send(request)).unwrap();
    let processes = running(dir.path());

    drop(response);

    assert_eq!(processes.len(), 1);
    let gone = (0..2_000).any(|_| {
        thread::park_timeout(Duration::from_millis(5));
        !processes[0].exists()
    });
    assert!(gone, "{}", fs::read_to_string(processes[0].join("status")).unwrap());
}

#[test]
fn the_users_own_file_is_read() {
    let (nginx, proxy, dir) = (Nginx::start(), Proxy::start(), tempfile::tempdir().unwrap());
    let curlrc =
        format!("proxy = \"http://{}\"\nuser-agent = \"theirs\"\ncookie = \"a=b\"\n", proxy.address());
    let transport = with_curlrc(dir.path(), &trusting(&nginx), &curlrc);

    let got = answer(&transport, get(nginx.https("/echo")));

    assert_eq!(got.line("cookie"), "a=b");
    // Settings of ours win.
    assert!(got.line("user-agent").starts_with("leverframe/"));
    assert!(proxy.heads()[0].starts_with("CONNECT localhost:"));
}

/// A log-in of curl's own takes several answers, of which the last is the one.
#[test]
fn a_log_in_of_the_users_own_file_is_seen_through() {
    let (nginx, dir) = (Nginx::start(), tempfile::tempdir().unwrap());
    nginx.put("large", vec![b'x'; 300_000]);
    let curlrc = format!("anyauth\nuser = \"{USER}:{PASSWORD}\"\n");
    let transport = with_curlrc(dir.path(), &trusting(&nginx), &curlrc);

    for uri in [nginx.http("/basic/large"), nginx.https("/basic/large")] {
        let got = answer(&transport, get(uri));
        assert_eq!((got.status, got.body.len()), (StatusCode::OK, 300_000));
        assert!(!got.headers.contains_key(header::WWW_AUTHENTICATE));
    }
    assert!(nginx.log().contains("GET /basic/large 401"), "{}", nginx.log());
}

#[test]
fn options_that_would_spoil_answers_are_overruled() {
    let (nginx, dir) = (Nginx::start(), tempfile::tempdir().unwrap());
    let curlrc = "include\nfail\nlocation\nverbose\ncompressed\nretry = 3\nwrite-out = \"%{http_code}\"\n";
    let transport = with_curlrc(dir.path(), &trusting(&nginx), curlrc);

    assert_eq!(answer(&transport, get(nginx.https("/files/hello"))).body, "hello");
    assert_eq!(answer(&transport, get(nginx.https("/gzip/hello"))).body, "hello");
    assert_eq!(answer(&transport, get(nginx.https("/status/503"))).body, "status 503");
    let post = Request::new(Method::POST, nginx.http("/redirect/same").parse().unwrap());
    assert_eq!(answer(&transport, post).status, StatusCode::FOUND);
}

#[test]
fn verification_cannot_be_switched_off() {
    let (nginx, dir) = (Nginx::start(), tempfile::tempdir().unwrap());
    let transport = with_curlrc(dir.path(), &HttpClientConfig::default(), "insecure\n");

    let error = failure(&transport, get(nginx.https("/files/hello")));

    assert!(error.hint_text().unwrap().contains("ca_file"), "{}", error.chain());
}

#[test]
fn an_answer_that_goes_elsewhere_is_an_error() {
    let (nginx, dir) = (Nginx::start(), tempfile::tempdir().unwrap());
    let elsewhere = dir.path().join("elsewhere");
    let curlrc = format!("output = \"{}\"\n", elsewhere.display());
    let transport = with_curlrc(dir.path(), &HttpClientConfig::default(), &curlrc);

    let error = failure(&transport, get(nginx.http("/files/hello")));

    assert_eq!(error.kind(), ErrorKind::Config, "{}", error.chain());
    assert!(error.hint_text().unwrap().contains("output"));
}

#[test]
fn values_cannot_become_options() {
    let (rude, dir) = (Rude::start(), tempfile::tempdir().unwrap());
    let transport = with_curlrc(dir.path(), &HttpClientConfig::default(), "");
    let hostile = [
        "\"\\",
        "x\" \"y",
        "\\\"\\n\\",
        "a\\nheader = \"x-injected: 1\"",
        "\" # comment",
        "tab\there",
        "@/etc/hostname",
        "caf\u{e9}",
    ];

    for value in hostile {
        let uri = format!("{}/a\"\\nheader=x-injected", rude.uri(""));
        rude.arrange_at("/a\"\\nheader=x-injected", Manner::whole(200, &[], b"ok"));
        let mut request = get(uri);
        request.headers.insert("x-value", HeaderValue::from_bytes(value.as_bytes()).unwrap());
        request.headers.insert("x-empty", HeaderValue::from_static(""));

        assert_eq!(answer(&transport, request).body, "ok");

        let sent = rude.requests().pop().unwrap();
        assert!(sent.starts_with("GET /a\"\\nheader=x-injected HTTP/1.1\r\n"), "{sent}");
        assert!(sent.contains(&format!("\r\nx-value: {value}\r\n")), "{sent}");
        assert!(sent.contains("\r\nx-empty:\r\n"), "{sent}");
        assert!(!sent.contains("\r\nx-injected"), "{sent}");
    }
}

#[test]
fn line_ends_in_settings_cannot_become_headers_or_options() {
    let mut config = HttpClientConfig::default();
    config.user_agent = "agent\"\nheader = \"x-injected: 1".to_owned();
    assert_eq!(CurlCliTransport::open(&config).unwrap_err().kind(), ErrorKind::Config);

    let (rude, dir) = (Rude::start(), tempfile::tempdir().unwrap());
    let mut config = HttpClientConfig::default();
    config.proxy = leverframe::Secret::new(format!("http://a\"\nurl = \"{}", rude.uri("/injected")));
    let transport = with_curlrc(dir.path(), &config, "");

    failure(&transport, get(rude.arrange(Manner::whole(200, &[], b"ok"))));

    assert_eq!(rude.connections(), 0, "{:?}", rude.requests());
}

#[test]
fn trailers_are_no_part_of_the_body() {
    let (rude, dir) = (Rude::start(), tempfile::tempdir().unwrap());
    let transport = with_curlrc(dir.path(), &HttpClientConfig::default(), "");
    let text = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n";
    let uri = rude.arrange(Manner::Says(text.to_vec()));

    let got = answer(&transport, get(uri));

    assert_eq!(got.body, "hello");
    assert!(!got.headers.contains_key("x-sum"));
}

#[test]
fn a_missing_program_says_what_to_do() {
    let transport =
        CurlCliTransport::open(&HttpClientConfig::default()).unwrap().with_program("/nonexistent/curl");

    let error = failure(&transport, get("http://127.0.0.1/"));

    assert_eq!(error.kind(), ErrorKind::Config);
    let hint = error.hint_text().unwrap();
    assert!(hint.contains("install curl") && hint.contains("transport"), "{hint}");
}

#[test]
fn a_program_that_is_no_curl_is_an_error() {
    for program in ["/bin/true", "/bin/false", "/bin/cat"] {
        let transport = CurlCliTransport::open(&HttpClientConfig::default()).unwrap().with_program(program);

        let error = failure(&transport, get("http://127.0.0.1/"));

        assert!(!format!("{} {error:?}", error.chain()).is_empty(), "{program}");
    }
}

#[test]
fn bodies_go_through_a_file_that_does_not_stay() {
    let (rude, dir) = (Rude::start(), tempfile::tempdir().unwrap());
    let transport = with_curlrc(dir.path(), &HttpClientConfig::default(), "");
    let uri = rude.arrange(Manner::whole(200, &[], b"ok"));
    let mut request = Request::new(Method::PUT, uri.parse().unwrap());
    request.body = b"\0binary\r\n@body".as_slice().into();

    assert_eq!(answer(&transport, request).body, "ok");

    let sent = rude.requests().remove(0);
    assert!(sent.starts_with("PUT /") && sent.ends_with("\r\n\r\n\0binary\r\n@body"), "{sent:?}");
    assert!(!sent.to_ascii_lowercase().contains("content-type"), "{sent}");
    assert!(!sent.to_ascii_lowercase().contains("expect"), "{sent}");
}
