//! Who is trusted, and who the client says it is.

use std::{fs, path::PathBuf};

use http::StatusCode;
use leverframe::{
    Error, ErrorKind,
    backends::http_client::HttpClientConfig,
    traits::{Request, Transport},
};

use crate::{
    ask::{Make, answer, default, exchange, failure, get, get_soon, trusting},
    real::{
        certs::Pki,
        nginx::Nginx,
        ports::free_port,
        rude::{Manner, Rude},
    },
};

/// Fails for good, and says what can be done.
fn is_distrust(error: &Error, hint: &str) {
    let kind = error.kind();
    assert!(matches!(kind, ErrorKind::Unavailable | ErrorKind::PermissionDenied), "{}", error.chain());
    assert!(!error.retry_state().may_retry(), "trying again mends no certificate: {error:?}");
    assert!(error.hint_text().is_some_and(|text| text.contains(hint)), "{:?}", error.hint_text());
}

pub(crate) fn no_authority(make: Make) {
    let nginx = Nginx::start();

    is_distrust(&failure(&*default(make), get(nginx.https("/files/hello"))), "ca_file");

    assert_eq!(nginx.log(), "", "a request was sent to an unknown peer");
}

pub(crate) fn wrong_authority(make: Make) {
    let nginx = Nginx::start();
    let dir = tempfile::tempdir().unwrap();
    let mut config = HttpClientConfig::default();
    config.ca_file = Pki::new(dir.path()).ca_file();

    let transport = make(&config).unwrap();

    is_distrust(&failure(&*transport, get(nginx.https("/files/hello"))), "ca_file");
    assert_eq!(nginx.log(), "", "a request was sent to an unknown peer");
}

pub(crate) fn expired_certificate(make: Make) {
    let nginx = Nginx::start();

    let error = failure(&*make(&trusting(&nginx)).unwrap(), get(nginx.expired("/files/hello")));

    is_distrust(&error, "certificate");
}

pub(crate) fn certificate_for_another_host(make: Make) {
    let nginx = Nginx::start();

    let error = failure(&*make(&trusting(&nginx)).unwrap(), get(nginx.misnamed("/files/hello")));

    is_distrust(&error, "certificate");
}

pub(crate) fn tls_1_2_and_1_3_and_nothing_older(make: Make) {
    let nginx = Nginx::start();
    let transport = make(&trusting(&nginx)).unwrap();

    assert_eq!(answer(&*transport, get(nginx.https("/echo"))).line("tls"), "TLSv1.3");
    assert_eq!(answer(&*transport, get(nginx.tls12("/echo"))).line("tls"), "TLSv1.2");
    let error = failure(&*transport, get(nginx.tls11("/echo")));

    assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", error.chain());
    assert!(!nginx.log().contains("/echo 200\nGET /echo 200\nGET"), "TLS 1.1 was spoken");
}

pub(crate) fn plain_peer_on_a_tls_uri(make: Make) {
    let nginx = Nginx::start();

    let error =
        failure(&*make(&trusting(&nginx)).unwrap(), get(nginx.https_on_the_plain_port("/files/hello")));

    assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", error.chain());
}

/// Settings with a certificate that this authority signed.
fn client(nginx: &Nginx, pki: &Pki) -> HttpClientConfig {
    let mut config = trusting(nginx);
    (config.client_cert_file, config.client_key_file) = pki.client("billing");
    config
}

pub(crate) fn client_certificate(make: Make) {
    let nginx = Nginx::start();

    let got = answer(&*make(&client(&nginx, nginx.pki())).unwrap(), get(nginx.mutual("/echo")));

    assert!(got.line("client").contains("CN=billing"), "{}", got.line("client"));
}

/// nginx completes the handshake and answers 400.
pub(crate) fn no_client_certificate(make: Make) {
    let nginx = Nginx::start();

    let got = answer(&*make(&trusting(&nginx)).unwrap(), get(nginx.mutual("/echo")));

    assert_eq!(got.status, StatusCode::BAD_REQUEST);
}

pub(crate) fn wrong_client_certificate(make: Make) {
    let nginx = Nginx::start();
    let dir = tempfile::tempdir().unwrap();
    let other = Pki::new(dir.path());

    let got = answer(&*make(&client(&nginx, &other)).unwrap(), get(nginx.mutual("/echo")));

    assert_eq!(got.status, StatusCode::BAD_REQUEST);
}

/// Wrong settings are found when the transport is made, or at the latest by its first request.
fn is_config_error(make: Make, change: impl FnOnce(&mut HttpClientConfig, PathBuf)) {
    let nginx = Nginx::start();
    let dir = tempfile::tempdir().unwrap();
    let mut config = trusting(&nginx);
    change(&mut config, dir.path().to_owned());

    let error = make(&config)
        .and_then(|transport| exchange(&*transport, get(nginx.https("/files/hello"))))
        .expect_err("settings that cannot be used were used");

    assert_eq!(error.kind(), ErrorKind::Config, "{}", error.chain());
    assert!(!error.retry_state().may_retry());
}

pub(crate) fn missing_files(make: Make) {
    is_config_error(make, |config, dir| config.ca_file = dir.join("absent.pem"));
    is_config_error(make, |config, dir| {
        config.client_cert_file = dir.join("absent.pem");
        config.client_key_file = dir.join("absent.key");
    });
}

pub(crate) fn useless_files(make: Make) {
    let scribble = |dir: PathBuf, name: &str| {
        let file = dir.join(name);
        fs::write(&file, "-----BEGIN NOTHING-----\ns3cret\n").unwrap();
        file
    };
    is_config_error(make, |config, dir| config.ca_file = scribble(dir, "ca.pem"));
    is_config_error(make, |config, dir| {
        config.client_cert_file = scribble(dir.clone(), "client.pem");
        config.client_key_file = scribble(dir, "client.key");
    });
    is_config_error(make, |config, _| config.proxy = leverframe::Secret::new("not a proxy".to_owned()));
}

pub(crate) fn half_a_client_certificate(make: Make) {
    is_config_error(make, |config, dir| {
        config.client_cert_file = Pki::new(&dir).client("billing").0;
    });
}

/// Every way to fail, with a secret in each place of the request that can hold one.
pub(crate) fn no_secret_in_any_error(make: Make) {
    let (nginx, rude) = (Nginx::start(), Rude::start());
    let transport = make(&trusting(&nginx)).unwrap();
    let host = |uri: String| format!("{}?sig=s3cret", uri.replace("://", "://s3cret:s3cret@"));
    let requests: Vec<Request> = vec![
        get(host(format!("http://127.0.0.1:{}/", free_port()))),
        get(host("https://no-such-host.invalid/".to_owned())),
        get(host(nginx.expired("/"))),
        get(host(nginx.misnamed("/"))),
        get(host(nginx.https_on_the_plain_port("/"))),
        get(host(nginx.https("/redirect/loop"))),
        get(host(nginx.https("/redirect/downgrade"))),
        get(host(nginx.http("/redirect/file"))),
        get(host(nginx.http("/files/hello"))).body_limit(2),
        get(host(rude.arrange(Manner::promising(100, b"half")))),
        get(host(rude.arrange(Manner::SaysAndResets(Vec::new())))),
        get(host(rude.arrange(Manner::whole(302, &[("location", "http://s3cret:s3cret@[")], b"")))),
        get_soon(host(rude.arrange(Manner::silent()))),
        get_soon(host(rude.arrange(Manner::stalled()))),
        get("ftp://s3cret:s3cret@127.0.0.1/?sig=s3cret"),
    ];

    for request in requests {
        let uri = request.uri.to_string();
        let request =
            request.header(http::header::AUTHORIZATION, http::HeaderValue::from_static("Bearer s3cret"));
        let error = failure(&*transport, request);
        let shown = format!("{} {error} {error:?} {:?} {transport:?}", error.chain(), error.hint_text());
        assert!(!shown.contains("s3cret"), "{uri}: {shown}");
    }
    let closed: &dyn Transport = &*transport;
    crate::ask::in_time(closed.close()).unwrap();
    let error = failure(closed, get(host(nginx.https("/"))));
    assert!(!format!("{} {error:?}", error.chain()).contains("s3cret"));
}
