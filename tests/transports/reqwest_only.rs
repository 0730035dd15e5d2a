//! What the `reqwest` transport does beyond what all transports must.

use std::{process::Command, sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue};
use leverframe::{
    ErrorKind,
    backends::{
        clock_system::SystemClock, http_client::HttpClientConfig, layers, transport_reqwest::ReqwestTransport,
    },
    config::Config,
    registry::Registry,
    testing::ManualClock,
    traits::Transport,
};

use crate::{
    ask::{answer, default, get, in_time, reqwest, trusting},
    real::{
        nginx::Nginx,
        proxy::Proxy,
        rude::{Manner, Rude},
    },
};

#[test]
fn connections_are_used_again() {
    let nginx = Nginx::start();
    let transport = reqwest(&trusting(&nginx)).unwrap();

    for uri in [nginx.http("/echo"), nginx.https("/echo")] {
        answer(&*transport, get(&uri));
        assert_eq!(answer(&*transport, get(&uri)).line("requests"), "2", "{uri}");
    }
}

/// Tokens travel under many names, and a redirect must not carry away one that this code has never heard of.
#[test]
fn headers_that_may_be_credentials_stay_with_their_origin() {
    let (home, away) = (Rude::start(), Rude::start());
    let target = away.arrange(Manner::whole(200, &[], b"hello"));
    // Credentials come from the caller: what the redirect brings is not used.
    let location = target.replace("://", "://s3cret:s3cret@");
    let uri = home.arrange(Manner::whole(302, &[("location", &location)], b""));
    let request = get(uri)
        .header(HeaderName::from_static("x-api-key"), HeaderValue::from_static("s3cret"))
        .header(http::header::IF_NONE_MATCH, HeaderValue::from_static("\"v1\""));

    assert_eq!(answer(&*default(reqwest), request).body, "hello");

    let sent = away.requests().remove(0);
    assert!(!sent.contains("s3cret") && sent.contains("\"v1\""), "{sent}");
    assert!(!sent.to_ascii_lowercase().contains("authorization"), "{sent}");
}

#[test]
fn closing_is_told_from_failing() {
    let rude = Rude::start();
    let transport = default(reqwest);
    let uri = rude.arrange(Manner::stalled());
    let mut body = in_time(transport.send(get(uri))).unwrap().body;

    in_time(transport.close()).unwrap();

    assert_eq!(in_time(body.next()).unwrap_err().kind(), ErrorKind::Cancelled);
    assert!(in_time(body.next()).is_err(), "a body that failed looks as if it had ended");
}

#[test]
fn deadlines_are_the_clocks() {
    let rude = Rude::start();
    let clock = ManualClock::new();
    let transport =
        ReqwestTransport::open_with_clock(&HttpClientConfig::default(), Arc::new(clock.clone())).unwrap();
    let uri = rude.arrange(Manner::stalled());
    let mut body = in_time(transport.send(get(uri).deadline(Duration::from_secs(3_600)))).unwrap().body;

    clock.advance(Duration::from_secs(3_600));

    assert_eq!(in_time(body.next()).unwrap_err().kind(), ErrorKind::Timeout);
}

/// The peer is made to wait where nobody reads: what is in flight is bounded by the sockets, not by the body.
#[test]
fn unread_bodies_hold_the_peer_back() {
    let rude = Rude::start();
    let transport = default(reqwest);
    let uri = rude.arrange(Manner::endless());
    let response = in_time(transport.send(get(uri).body_limit(u64::MAX))).unwrap();

    let written = rude.written_when_stuck();

    assert!(written < 32_000_000, "{written} bytes were taken while nobody read");
    drop(response);
}

#[test]
fn the_settings_may_say_that_there_is_no_proxy_whatever_the_environment_says() {
    let proxy = Proxy::start();
    let url = format!("http://{}", proxy.address());

    let passed = another_environment("reqwest::proxies::none_at_all", &[("http_proxy", &url)]);

    assert!(passed);
    assert_eq!(proxy.heads(), Vec::<String>::new());
}

#[test]
fn the_environment_names_the_proxy_where_the_settings_do_not() {
    let proxy = Proxy::start();
    let url = format!("http://{}", proxy.address());

    let passed = another_environment("reqwest::answers::plain_http", &[("http_proxy", &url)]);

    assert!(passed);
    assert!(proxy.heads()[0].starts_with("GET http://localhost:"), "{:?}", proxy.heads());
}

#[test]
fn plain_http_needs_no_platform_authorities() {
    let nowhere = [("SSL_CERT_FILE", "/nonexistent"), ("SSL_CERT_DIR", "/nonexistent")];

    assert!(another_environment("reqwest::answers::plain_http", &nowhere));
    assert!(another_environment("reqwest::answers::tls", &nowhere));
    assert!(another_environment("reqwest::trust::no_authority", &nowhere));
}

#[test]
fn in_all_layers_a_peer_in_trouble_is_asked_four_times() {
    let nginx = Nginx::start();
    let inner = reqwest(&trusting(&nginx)).unwrap();
    let (transport, counters) = layers::standard_with_counters(inner, Arc::new(SystemClock::new()));

    let troubled = answer(&*transport, get(nginx.https("/status/503?sig=s3cret")));
    let well = answer(&*transport, get(nginx.https("/files/hello")));

    assert_eq!((troubled.status.as_u16(), &well.body[..]), (503, &b"hello"[..]));
    assert_eq!(nginx.log().matches("/status/503").count(), 4);
    let traffic = counters.read();
    assert_eq!((traffic.requests, traffic.refused, traffic.answered), (2, 1, 1));
}

#[test]
fn it_is_registered_and_its_example_is_valid_but_for_the_file() {
    let registry = Registry::discover().unwrap();
    let plugin = registry.find::<dyn Transport>("reqwest").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("leverframe.toml");
    std::fs::write(&file, plugin.example()).unwrap();

    let config = Config::builder().file(file).build().unwrap();

    config.check(&registry).unwrap();
    let settings: HttpClientConfig = config.read("transport.reqwest").unwrap();
    assert_eq!(settings.connect_timeout_ms, 2_000);
}

/// Runs another test of this binary in a process of its own, whose environment can be set.
fn another_environment(test: &str, variables: &[(&str, &str)]) -> bool {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test]).envs(variables.iter().copied());
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("1 passed") || !output.status.success(), "`{test}` does not exist: {text}");
    output.status.success() || panic!("{text}")
}
