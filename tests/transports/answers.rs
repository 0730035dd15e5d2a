//! What a healthy peer sends arrives.

use http::{Method, StatusCode, header};
use leverframe::traits::Request;

use crate::{
    ask::{Make, answer, default, get, header, trusting},
    real::{
        nginx::{Nginx, PASSWORD, TOKEN, USER},
        rude::{Manner, Rude},
    },
};

pub(crate) fn plain_http(make: Make) {
    let nginx = Nginx::start();

    let got = answer(&*default(make), get(nginx.http("/files/hello")));

    assert_eq!((got.status, &got.body[..]), (StatusCode::OK, &b"hello"[..]));
    assert!(got.headers.contains_key(header::ETAG));
}

pub(crate) fn tls(make: Make) {
    let nginx = Nginx::start();
    let transport = make(&trusting(&nginx)).unwrap();

    for uri in [nginx.https("/files/hello"), nginx.https_by_address("/files/hello")] {
        assert_eq!(answer(&*transport, get(uri)).body, "hello");
    }
}

pub(crate) fn http2_is_negotiated(make: Make) {
    let nginx = Nginx::start();

    let got = answer(&*make(&trusting(&nginx)).unwrap(), get(nginx.https("/echo")));

    assert_eq!(got.line("protocol"), "HTTP/2.0");
}

pub(crate) fn http1_where_http2_is_off(make: Make) {
    let nginx = Nginx::start();
    let mut config = trusting(&nginx);
    config.http2 = false;

    let got = answer(&*make(&config).unwrap(), get(nginx.https("/echo")));

    assert_eq!(got.line("protocol"), "HTTP/1.1");
}

pub(crate) fn every_status_is_a_response(make: Make) {
    let nginx = Nginx::start();
    let transport = make(&trusting(&nginx)).unwrap();

    for status in [401, 403, 404, 408, 429, 500, 502, 503, 504] {
        let got = answer(&*transport, get(nginx.https(&format!("/status/{status}"))));
        assert_eq!((got.status.as_u16(), &got.body[..]), (status, format!("status {status}").as_bytes()));
        assert!(!got.headers.contains_key(header::RETRY_AFTER));
    }
}

pub(crate) fn retry_after_arrives(make: Make) {
    let nginx = Nginx::start();
    let transport = default(make);

    for status in [429, 503] {
        let got = answer(&*transport, get(nginx.http(&format!("/status/{status}/later"))));
        assert_eq!(got.status.as_u16(), status);
        assert_eq!(got.headers[header::RETRY_AFTER], "2");
    }
}

pub(crate) fn unchanged_is_304(make: Make) {
    let nginx = Nginx::start();
    let transport = make(&trusting(&nginx)).unwrap();
    let first = answer(&*transport, get(nginx.https("/files/hello")));
    let tag = first.headers[header::ETAG].to_str().unwrap();

    let second = answer(&*transport, header(get(nginx.https("/files/hello")), header::IF_NONE_MATCH, tag));

    assert_eq!((second.status, second.body.len()), (StatusCode::NOT_MODIFIED, 0));
    assert_eq!(second.headers[header::ETAG], tag);
}

pub(crate) fn large_bodies_arrive_whole(make: Make) {
    let nginx = Nginx::start();
    let content: Vec<u8> = (0..4_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    nginx.put("large", &content);
    let transport = make(&trusting(&nginx)).unwrap();

    for uri in [nginx.http("/files/large"), nginx.https("/files/large"), nginx.https("/gzip/large")] {
        assert!(answer(&*transport, get(&uri)).body == content, "{uri} was altered");
    }
}

pub(crate) fn head_has_no_body(make: Make) {
    let nginx = Nginx::start();
    let transport = make(&trusting(&nginx)).unwrap();

    for uri in [nginx.http("/files/hello"), nginx.https("/files/hello"), nginx.https("/gzip/hello")] {
        let got = answer(&*transport, Request::new(Method::HEAD, uri.parse().unwrap()));
        assert_eq!((got.status, got.body.len()), (StatusCode::OK, 0), "{uri}");
        assert!(got.headers.contains_key(header::ETAG));
    }
}

pub(crate) fn posts_arrive(make: Make) {
    let rude = Rude::start();
    let uri = rude.arrange(Manner::whole(201, &[], b"made"));
    let mut request = Request::new(Method::POST, uri.parse().unwrap());
    request.body = "{\"a\":1}".into();
    let request = header(request, header::CONTENT_TYPE, "application/json");

    let got = answer(&*default(make), request);

    assert_eq!((got.status, &got.body[..]), (StatusCode::CREATED, &b"made"[..]));
    let sent = rude.requests().remove(0);
    assert!(sent.starts_with("POST /0 HTTP/1.1\r\n") && sent.ends_with("\r\n\r\n{\"a\":1}"), "{sent}");
    assert!(sent.to_ascii_lowercase().contains("\r\ncontent-type: application/json\r\n"), "{sent}");
}

pub(crate) fn user_agent_is_sent(make: Make) {
    let nginx = Nginx::start();
    let mut config = trusting(&nginx);
    let ours = answer(&*make(&config).unwrap(), get(nginx.http("/echo"))).line("user-agent");
    config.user_agent = "signal-box/7".to_owned();

    let other = answer(&*make(&config).unwrap(), get(nginx.http("/echo"))).line("user-agent");

    assert!(ours.starts_with("leverframe/"), "{ours}");
    assert_eq!(other, "signal-box/7");
}

pub(crate) fn bearer_token(make: Make) {
    let nginx = Nginx::start();
    let transport = make(&trusting(&nginx)).unwrap();
    let ask = |token: &str| {
        let request = header(get(nginx.https("/bearer")), header::AUTHORIZATION, &format!("Bearer {token}"));
        answer(&*transport, request).status
    };

    assert_eq!(ask(TOKEN), StatusCode::OK);
    assert_eq!(ask("wrong"), StatusCode::UNAUTHORIZED);
}

pub(crate) fn basic_credentials(make: Make) {
    let nginx = Nginx::start();

    let got = answer(&*make(&trusting(&nginx)).unwrap(), get(nginx.https("/basic/hello")));

    assert_eq!(got.status, StatusCode::UNAUTHORIZED);
    assert!(got.headers.contains_key(header::WWW_AUTHENTICATE));
}

pub(crate) fn user_info_becomes_basic_credentials(make: Make) {
    let nginx = Nginx::start();
    let transport = make(&trusting(&nginx)).unwrap();
    let ask = |password: &str| {
        let escaped = password.replace('%', "%25").replace('@', "%40").replace('/', "%2F");
        let uri = nginx.https("/basic/hello").replace("://", &format!("://{USER}:{escaped}@"));
        answer(&*transport, get(uri))
    };

    assert_eq!(ask(PASSWORD).body, "hello");
    assert_eq!(ask("wrong").status, StatusCode::UNAUTHORIZED);
}

pub(crate) fn explicit_credentials_win(make: Make) {
    let nginx = Nginx::start();
    let uri = nginx.http("/echo").replace("://", "://someone:else@");

    let got = answer(&*default(make), header(get(uri), header::AUTHORIZATION, "Bearer mine"));

    assert_eq!(got.line("authorization"), "Bearer mine");
    assert!(!got.line("host").contains('@'));
}

pub(crate) fn gzip_is_asked_for_and_decoded(make: Make) {
    let nginx = Nginx::start();
    let text = "the same line again and again\n".repeat(10_000);
    nginx.put("text", &text);
    let transport = make(&trusting(&nginx)).unwrap();

    let asked = answer(&*transport, get(nginx.https("/echo"))).line("accept-encoding");
    let got = answer(&*transport, get(nginx.https("/gzip/text")));

    assert!(asked.contains("gzip"), "{asked}");
    assert!(got.body == text);
}

pub(crate) fn gzip_can_be_off(make: Make) {
    let nginx = Nginx::start();
    let mut config = trusting(&nginx);
    config.gzip = false;
    let transport = make(&config).unwrap();

    assert_eq!(answer(&*transport, get(nginx.https("/echo"))).line("accept-encoding"), "");
    assert_eq!(answer(&*transport, get(nginx.https("/gzip/hello"))).body, "hello");
}

pub(crate) fn queries_arrive(make: Make) {
    let nginx = Nginx::start();

    let got = answer(&*default(make), get(nginx.http("/echo?env=production&tag=a%20b&sig=x%2Fy")));

    assert_eq!(got.line("uri"), "/echo?env=production&tag=a%20b&sig=x%2Fy");
}
