//! Through a proxy that the settings name.

use http::StatusCode;
use leverframe::{ErrorKind, backends::http_client::HttpClientConfig};

use crate::{
    ask::{Make, answer, exchange, failure, get, trusting},
    real::{nginx::Nginx, ports::free_port, proxy::Proxy},
};

/// `user:s3cret` as the header has it.
const AUTHORIZATION: &str = "Basic dXNlcjpzM2NyZXQ=";

pub(crate) fn plain_requests(make: Make) {
    let (nginx, proxy) = (Nginx::start(), Proxy::start());
    let mut config = HttpClientConfig::default();
    config.proxy = leverframe::Secret::new(format!("http://{}", proxy.address()));

    let got = answer(&*make(&config).unwrap(), get(nginx.http("/files/hello")));

    assert_eq!(got.body, "hello");
    assert!(proxy.heads()[0].starts_with(&format!("GET {} HTTP/1.1", nginx.http("/files/hello"))));
}

pub(crate) fn tunnels(make: Make) {
    let (nginx, proxy) = (Nginx::start(), Proxy::start());
    let mut config = trusting(&nginx);
    config.proxy = leverframe::Secret::new(format!("http://{}", proxy.address()));

    let got = answer(&*make(&config).unwrap(), get(nginx.https("/echo?sig=s3cret")));

    assert_eq!(got.line("protocol"), "HTTP/2.0");
    let head = proxy.heads().remove(0);
    assert!(head.starts_with("CONNECT localhost:") && !head.contains("s3cret"), "{head}");
}

pub(crate) fn socks5(make: Make) {
    let (nginx, proxy) = (Nginx::start(), Proxy::start());
    let mut config = trusting(&nginx);
    config.proxy = leverframe::Secret::new(format!("socks5://{}", proxy.address()));
    let transport = make(&config).unwrap();

    // By address: who resolves a name, client or proxy, differs.
    assert_eq!(answer(&*transport, get(nginx.https_by_address("/files/hello"))).body, "hello");

    assert!(proxy.heads()[0].starts_with("SOCKS5 127.0.0.1:"), "{:?}", proxy.heads());
}

pub(crate) fn password_in_the_proxy_url(make: Make) {
    let (nginx, proxy) = (Nginx::start(), Proxy::start_for(AUTHORIZATION));
    let mut config = trusting(&nginx);
    config.proxy = leverframe::Secret::new(format!("http://user:s3cret@{}", proxy.address()));
    let transport = make(&config).unwrap();

    assert_eq!(answer(&*transport, get(nginx.http("/files/hello"))).body, "hello");
    let got = answer(&*transport, get(nginx.https("/echo")));
    assert_eq!((got.status, got.line("authorization").as_str()), (StatusCode::OK, ""));
    assert!(!format!("{transport:?}").contains("s3cret"));
}

/// To a plain request the proxy's refusal is the answer; a tunnel that is refused is an error.
pub(crate) fn refusing_proxy(make: Make) {
    let (nginx, proxy) = (Nginx::start(), Proxy::start_for(AUTHORIZATION));
    let mut config = trusting(&nginx);
    config.proxy = leverframe::Secret::new(format!("http://user:wr0ng-s3cret@{}", proxy.address()));
    let transport = make(&config).unwrap();

    let got = answer(&*transport, get(nginx.http("/files/hello")));
    let error = failure(&*transport, get(nginx.https("/files/hello")));

    assert_eq!(got.status, StatusCode::PROXY_AUTHENTICATION_REQUIRED);
    let shown = format!("{} {error:?} {:?}", error.chain(), error.hint_text());
    assert!(!shown.contains("s3cret"), "{shown}");
    assert!(!nginx.log().contains("hello"), "a request passed by the proxy");
}

pub(crate) fn absent_proxy(make: Make) {
    let nginx = Nginx::start();
    let mut config = trusting(&nginx);
    config.proxy = leverframe::Secret::new(format!("http://user:s3cret@127.0.0.1:{}", free_port()));
    let transport = make(&config).unwrap();

    for uri in [nginx.http("/files/hello"), nginx.https("/files/hello")] {
        let error = exchange(&*transport, get(uri)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", error.chain());
        assert!(!format!("{} {error:?}", error.chain()).contains("s3cret"));
    }
}

/// Run again by the tests of each transport where the environment names a proxy.
pub(crate) fn none_at_all(make: Make) {
    let nginx = Nginx::start();
    let mut config = trusting(&nginx);
    config.proxy = leverframe::Secret::new("none");

    let got = answer(&*make(&config).unwrap(), get(nginx.http("/files/hello")));

    assert_eq!(got.body, "hello");
}
