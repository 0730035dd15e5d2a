//! What both transports over libcurl do beyond what all transports must, and what the compiled-in one does alone.

use std::{process::Command, sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue, Method, header};
use leverframe::{
    ErrorKind,
    backends::{http_client::HttpClientConfig, transport_curl_cli::CurlCliTransport},
    config::Config,
    registry::Registry,
    testing::ManualClock,
    traits::{Request, Transport},
};

use crate::{
    ask::{Make, answer, default, get, in_time, trusting},
    real::{
        nginx::Nginx,
        proxy::Proxy,
        rude::{Manner, Rude},
    },
};

/// Tokens travel under many names, and a redirect must not carry away one that this code has never heard of.
fn headers_that_may_be_credentials_stay_with_their_origin(make: Make) {
    let (home, away) = (Rude::start(), Rude::start());
    let target = away.arrange(Manner::whole(200, &[], b"hello"));
    let uri = home.arrange(Manner::whole(302, &[("location", &target)], b""));
    let request = get(uri)
        .header(HeaderName::from_static("x-api-key"), HeaderValue::from_static("s3cret"))
        .header(header::IF_NONE_MATCH, HeaderValue::from_static("\"v1\""));

    assert_eq!(answer(&*default(make), request).body, "hello");

    let sent = away.requests().remove(0);
    assert!(!sent.contains("s3cret") && sent.contains("\"v1\""), "{sent}");
}

fn closing_is_told_from_failing(make: Make) {
    let rude = Rude::start();
    let transport = default(make);
    let mut body = in_time(transport.send(get(rude.arrange(Manner::stalled())))).unwrap().body;

    in_time(transport.close()).unwrap();

    assert_eq!(in_time(body.next()).unwrap_err().kind(), ErrorKind::Cancelled);
    assert!(in_time(body.next()).is_err(), "a body that failed looks as if it had ended");
    assert!(rude.sees_clients_go(1), "the connection stays open");
}

/// The peer is made to wait where nobody reads: what is in flight is bounded by the sockets, not by the body.
fn unread_bodies_hold_the_peer_back(make: Make) {
    let rude = Rude::start();
    let transport = default(make);
    let uri = rude.arrange(Manner::endless());
    let response = in_time(transport.send(get(uri).body_limit(u64::MAX))).unwrap();

    let written = rude.written_when_stuck();

    assert!(written < 32_000_000, "{written} bytes were taken while nobody read");
    drop(response);
    assert!(rude.sees_clients_go(1), "the connection stays open");
}

/// A paused transfer goes on, and loses and repeats nothing.
fn slowly_read_bodies_are_whole(make: Make) {
    let nginx = Nginx::start();
    let content: Vec<u8> = (0..3_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    nginx.put("large", &content);
    let transport = make(&trusting(&nginx)).unwrap();

    for uri in [nginx.http("/files/large"), nginx.https("/files/large")] {
        let mut body = in_time(transport.send(get(&uri))).unwrap().body;
        // Another exchange runs while this one is full.
        assert_eq!(answer(&*transport, get(nginx.https("/files/hello"))).body, "hello");
        let mut read = Vec::new();
        while let Some(chunk) = in_time(body.next()).unwrap() {
            read.extend_from_slice(&chunk);
            std::thread::yield_now();
        }
        assert!(read == content, "{uri} was altered");
        assert!(in_time(body.next()).unwrap().is_none());
    }
}

/// Trailers, interim heads and folded headers are told from the answer's own.
fn odd_heads_are_understood(make: Make) {
    let rude = Rude::start();
    let text = b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\nx-a: 1\r\nx-a: 2\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n";
    let uri = rude.arrange(Manner::Says(text.to_vec()));

    let got = answer(&*default(make), get(uri));

    assert_eq!((got.status.as_u16(), &got.body[..]), (200, &b"hello"[..]));
    assert_eq!(got.headers.get_all("x-a").iter().collect::<Vec<_>>(), ["1", "2"]);
    assert!(!got.headers.contains_key("x-sum") && !got.headers.contains_key("link"));
}

fn nothing_follows_an_error(make: Make) {
    let nginx = Nginx::start();
    nginx.put_zeros("zeros", 10_000_000);
    let transport = make(&trusting(&nginx)).unwrap();

    for uri in [nginx.http("/files/zeros"), nginx.https("/gzip/zeros")] {
        let mut body = in_time(transport.send(get(uri).body_limit(100_000))).unwrap().body;
        let error = loop {
            if let Err(error) = in_time(body.next()) {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::LimitExceeded);
        assert!(in_time(body.next()).is_err(), "a body that failed goes on");
    }
}

/// What a stream of events needs.
fn parts_arrive_as_they_are_sent(make: Make) {
    let rude = Rude::start();
    let text = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n";
    let uri = rude.arrange(Manner::SaysAndHangs(text.to_vec()));
    let transport = default(make);

    let mut body = in_time(transport.send(get(uri))).unwrap().body;

    assert_eq!(in_time(body.next()).unwrap().unwrap(), "data: 1\n\n");
}

fn every_method_travels(make: Make) {
    let rude = Rude::start();
    let transport = default(make);
    for (method, body) in [
        (Method::DELETE, ""),
        (Method::OPTIONS, ""),
        (Method::PATCH, "change"),
        (Method::POST, ""),
        (Method::PUT, "content"),
        (Method::GET, "query"),
    ] {
        let uri = rude.arrange(Manner::whole(200, &[], b"ok"));
        let mut request = Request::new(method.clone(), uri.parse().unwrap());
        request.body = body.into();

        assert_eq!(answer(&*transport, request).body, "ok");

        let sent = rude.requests().pop().unwrap();
        assert!(
            sent.starts_with(&format!("{method} /")) && sent.ends_with(&format!("\r\n\r\n{body}")),
            "{sent}"
        );
        let says_zero = sent.to_ascii_lowercase().contains("content-length: 0\r\n");
        assert_eq!(says_zero, method == Method::POST, "{sent}");
        assert!(!sent.to_ascii_lowercase().contains("content-type"), "{sent}");
    }
}

macro_rules! both {
    ($module:ident, $make:path) => {
        both! {
            $module, $make, headers_that_may_be_credentials_stay_with_their_origin, closing_is_told_from_failing,
            unread_bodies_hold_the_peer_back, slowly_read_bodies_are_whole, odd_heads_are_understood,
            every_method_travels, nothing_follows_an_error,
            parts_arrive_as_they_are_sent
        }
    };
    ($module:ident, $make:path, $($case:ident),+) => {
        mod $module {
            $(
                #[test]
                fn $case() {
                    super::$case($make);
                }
            )+
        }
    };
}

both!(curl_cli, crate::ask::curl_cli);
#[cfg(feature = "transport-curl")]
both!(curl, crate::ask::curl);

fn deadlines_are_the_clocks(transport: &dyn Transport, clock: &ManualClock) {
    let rude = Rude::start();
    let uri = rude.arrange(Manner::stalled());
    let mut body = in_time(transport.send(get(uri).deadline(Duration::from_secs(3_600)))).unwrap().body;

    clock.advance(Duration::from_secs(3_600));

    assert_eq!(in_time(body.next()).unwrap_err().kind(), ErrorKind::Timeout);
    assert!(rude.sees_clients_go(1), "the connection stays open");
}

#[test]
fn the_deadlines_of_the_program_are_the_clocks() {
    let clock = ManualClock::new();
    let config = HttpClientConfig::default();
    let transport = CurlCliTransport::open_with_clock(&config, Arc::new(clock.clone())).unwrap();

    deadlines_are_the_clocks(&transport.with_home("/nonexistent"), &clock);
}

#[test]
fn they_are_registered_and_their_examples_are_valid_but_for_the_files() {
    let registry = Registry::discover().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("leverframe.toml");
    for name in
        ["curl", "curl_cli"].iter().filter(|name| **name != "curl" || cfg!(feature = "transport-curl"))
    {
        let plugin = registry.find::<dyn Transport>(name).unwrap();
        std::fs::write(&file, plugin.example()).unwrap();

        let config = Config::builder().file(&file).build().unwrap();

        config.check(&registry).unwrap();
        let settings: HttpClientConfig = config.read(&format!("transport.{name}")).unwrap();
        assert_eq!(settings.connect_timeout_ms, 2_000);
    }
}

/// Runs another test of this binary in a process of its own, whose environment can be set.
fn another_environment(test: &str, variables: &[(&str, &str)]) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test]).envs(variables.iter().copied());
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
fn the_settings_may_say_that_there_is_no_proxy_whatever_the_environment_says() {
    let proxy = Proxy::start();
    let url = format!("http://{}", proxy.address());

    another_environment("curl_cli::proxies::none_at_all", &[("http_proxy", &url)]);
    #[cfg(feature = "transport-curl")]
    another_environment("curl::proxies::none_at_all", &[("http_proxy", &url)]);

    assert_eq!(proxy.heads(), Vec::<String>::new());
}

#[test]
fn the_environment_names_the_programs_proxy_where_the_settings_do_not() {
    let proxy = Proxy::start();
    let url = format!("http://{}", proxy.address());

    another_environment("curl_cli::answers::plain_http", &[("http_proxy", &url)]);

    assert!(proxy.heads()[0].starts_with("GET http://localhost:"), "{:?}", proxy.heads());
}

#[test]
fn the_programs_own_authorities_work_without_the_platforms() {
    let nowhere = [("SSL_CERT_FILE", "/nonexistent"), ("SSL_CERT_DIR", "/nonexistent")];

    another_environment("curl_cli::answers::plain_http", &nowhere);
    another_environment("curl_cli::answers::tls", &nowhere);
    another_environment("curl_cli::trust::wrong_authority", &nowhere);
}

#[cfg(feature = "transport-curl")]
mod alone {
    use super::*;
    use crate::ask::{curl, failure};
    use leverframe::backends::transport_curl::CurlTransport;

    #[test]
    fn connections_are_used_again() {
        let nginx = Nginx::start();
        let transport = curl(&trusting(&nginx)).unwrap();

        for uri in [nginx.http("/echo"), nginx.https("/echo")] {
            answer(&*transport, get(&uri));
            assert_eq!(answer(&*transport, get(&uri)).line("requests"), "2", "{uri}");
        }
    }

    /// The next log-in through a tunnel that is kept has no answer of the proxy before its own.
    #[test]
    fn tunnels_are_used_again() {
        let (nginx, proxy) = (Nginx::start(), Proxy::start());
        let mut config = trusting(&nginx);
        config.proxy = leverframe::Secret::new(format!("http://{}", proxy.address()));
        let transport = curl(&config).unwrap();

        for status in [404, 503, 401] {
            let got = answer(&*transport, get(nginx.https(&format!("/status/{status}"))));
            assert_eq!(got.status.as_u16(), status);
        }
        assert_eq!(proxy.heads().len(), 1, "{:?}", proxy.heads());
    }

    #[test]
    fn deadlines_are_those_of_the_clock() {
        let clock = ManualClock::new();
        let config = HttpClientConfig::default();
        let transport = CurlTransport::open_with_clock(&config, Arc::new(clock.clone())).unwrap();

        deadlines_are_the_clocks(&transport, &clock);
    }

    #[test]
    fn headers_that_are_no_text_are_refused() {
        let value = HeaderValue::from_bytes(b"caf\xe9").unwrap();
        let request = get("http://127.0.0.1:9/").header(HeaderName::from_static("x-name"), value);

        let error = failure(&*default(curl), request);

        assert_eq!(error.kind(), ErrorKind::Unsupported, "{}", error.chain());
    }

    #[test]
    fn the_environment_names_the_proxy_where_the_settings_do_not() {
        let proxy = Proxy::start();
        let url = format!("http://{}", proxy.address());

        another_environment("curl::answers::plain_http", &[("http_proxy", &url)]);

        assert!(proxy.heads()[0].starts_with("GET http://localhost:"), "{:?}", proxy.heads());
    }

    #[test]
    fn own_authorities_work_without_the_platforms() {
        let nowhere = [("SSL_CERT_FILE", "/nonexistent"), ("SSL_CERT_DIR", "/nonexistent")];

        another_environment("curl::answers::plain_http", &nowhere);
        another_environment("curl::answers::tls", &nowhere);
        another_environment("curl::trust::no_authority", &nowhere);
    }
}
