//! Redirects are followed as far as they are harmless.

use http::{Method, StatusCode, header};
use leverframe::{ErrorKind, traits::Request};

use crate::{
    ask::{Make, Whole, answer, default, failure, get, header, trusting},
    real::nginx::Nginx,
};

pub(crate) fn five_are_followed(make: Make) {
    let nginx = Nginx::start();
    let transport = make(&trusting(&nginx)).unwrap();

    for uri in [nginx.http("/redirect/5"), nginx.https("/redirect/5"), nginx.https("/redirect/other-port")] {
        let got = answer(&*transport, get(uri));
        assert_eq!((got.status, got.line("uri").as_str()), (StatusCode::OK, "/echo/redirected"));
    }
}

pub(crate) fn six_are_not(make: Make) {
    let nginx = Nginx::start();

    let error = failure(&*default(make), get(nginx.http("/redirect/6")));

    assert_eq!(error.kind(), ErrorKind::LimitExceeded, "{}", error.chain());
}

pub(crate) fn loops_end(make: Make) {
    let nginx = Nginx::start();

    let error = failure(&*default(make), get(nginx.http("/redirect/loop?sig=s3cret")));

    assert_eq!(error.kind(), ErrorKind::LimitExceeded, "{}", error.chain());
    assert!(!error.retry_state().may_retry());
    assert!(!format!("{} {error:?}", error.chain()).contains("s3cret"));
    assert!(nginx.log().lines().count() <= 6, "{}", nginx.log());
}

/// Asks with every kind of credential that a redirect could give away.
fn with_credentials(make: Make, nginx: &Nginx, path: &str) -> [Whole; 2] {
    let transport = make(&trusting(nginx)).unwrap();
    let by_header = header(get(nginx.https(path)), header::AUTHORIZATION, "Bearer s3cret");
    let by_user_info = get(nginx.https(path).replace("://", "://reader:s3cret@"));
    [header(by_header, header::COOKIE, "session=s3cret"), by_user_info].map(|r| answer(&*transport, r))
}

pub(crate) fn the_same_origin_keeps_credentials(make: Make) {
    let nginx = Nginx::start();

    let [by_header, by_user_info] = with_credentials(make, &nginx, "/redirect/same");

    assert_eq!(by_header.line("authorization"), "Bearer s3cret");
    assert_eq!(by_header.line("cookie"), "session=s3cret");
    assert!(by_user_info.line("authorization").starts_with("Basic "));
}

pub(crate) fn another_port_loses_credentials(make: Make) {
    let nginx = Nginx::start();

    for got in with_credentials(make, &nginx, "/redirect/other-port") {
        assert_eq!(got.line("uri"), "/echo/redirected");
        assert_eq!((got.line("authorization").as_str(), got.line("cookie").as_str()), ("", ""));
    }
}

pub(crate) fn another_host_loses_credentials(make: Make) {
    let nginx = Nginx::start();

    for got in with_credentials(make, &nginx, "/redirect/other-host") {
        assert!(got.line("host").starts_with("127.0.0.1:"));
        assert_eq!((got.line("authorization").as_str(), got.line("cookie").as_str()), ("", ""));
    }
}

pub(crate) fn never_from_tls_to_plain(make: Make) {
    let nginx = Nginx::start();

    let error = failure(&*make(&trusting(&nginx)).unwrap(), get(nginx.https("/redirect/downgrade")));

    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{}", error.chain());
    assert!(!error.retry_state().may_retry());
    assert!(!nginx.log().contains("/echo/redirected"), "the plain listener was asked");
}

pub(crate) fn never_to_files(make: Make) {
    let nginx = Nginx::start();

    let error = failure(&*default(make), get(nginx.http("/redirect/file")));

    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{}", error.chain());
}

pub(crate) fn posts_are_not_redirected(make: Make) {
    let nginx = Nginx::start();
    let mut request = Request::new(Method::POST, nginx.http("/redirect/same").parse().unwrap());
    request.body = "content".into();

    let got = answer(&*default(make), request);

    assert_eq!(got.status, StatusCode::FOUND);
    assert_eq!(got.headers[header::LOCATION], "/echo/redirected");
    assert_eq!(nginx.log().lines().count(), 1);
}

pub(crate) fn none_is_followed_where_none_is_wanted(make: Make) {
    let nginx = Nginx::start();

    let got = answer(&*default(make), get(nginx.http("/redirect/same")).without_redirects());

    assert_eq!(got.status, StatusCode::FOUND);
    assert_eq!(got.headers[header::LOCATION], "/echo/redirected");
    assert_eq!(nginx.log().lines().count(), 1);
}
