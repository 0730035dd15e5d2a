//! Forms around archives.

use leverframe::manifest::archive::limits;
use reqwest::{Method, header};

use crate::{
    stage::{PAYMENTS, files, form, packed},
    support::{Answer, TestServer},
};

/// The name of a field, and its content.
type Part<'a> = (&'a str, &'a [u8]);

async fn put(server: &TestServer, content_type: &str, body: Vec<u8>) -> Answer {
    let request = server.request(Method::PUT, &format!("{PAYMENTS}/manifest"), &server.root);
    server.send(request.header(header::CONTENT_TYPE, content_type).body(body)).await
}

#[tokio::test]
async fn a_form_has_one_file_of_the_right_name() {
    let server = TestServer::start().await;
    let archive = packed(&files());
    let cases: [(&[Part<'_>], &str); 4] = [
        (&[], "no field `archive`"),
        (&[("archive", &archive), ("archive", &archive)], "two fields `archive`"),
        (&[("file", &archive)], "a field `file`"),
        (&[("archive", &archive), ("note", b"hello")], "a field `note`"),
    ];

    for (parts, message) in cases {
        let (content_type, body) = form(parts);
        let answer = put(&server, &content_type, body).await;

        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (400, "bad_request"));
        assert!(answer.text.contains(message), "{message}: {}", answer.text);
    }
}

#[tokio::test]
async fn what_is_no_form_is_refused() {
    let server = TestServer::start().await;
    let archive = packed(&files());
    let (content_type, body) = form(&[("archive", &archive)]);

    for (content_type, body) in [
        ("application/gzip", archive.clone()),
        ("application/json", b"{}".to_vec()),
        ("multipart/form-data", body.clone()),
        ("multipart/form-data; boundary=another", body.clone()),
        (&*content_type, body[..body.len() - 40].to_vec()),
        (&*content_type, Vec::new()),
    ] {
        let answer = put(&server, content_type, body).await;

        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (400, "bad_request"), "{content_type}");
    }
}

#[tokio::test]
async fn more_than_the_limit_is_refused_while_it_arrives() {
    let server = TestServer::start().await;
    let limit = vec![b'x'; limits::COMPRESSED];
    let over = vec![b'x'; limits::COMPRESSED + 1];

    let (content_type, at) = form(&[("archive", &limit)]);
    let at = put(&server, &content_type, at).await;
    let (content_type, over) = form(&[("archive", &over)]);
    let over = put(&server, &content_type, over).await;
    // Its length is not told, and it does not end.
    let endless = futures_util::stream::iter((0..).map(|n| {
        let head = b"------frame\r\nContent-Disposition: form-data; name=\"archive\"\r\n\r\n".to_vec();
        Ok::<_, std::io::Error>(if n == 0 { head } else { vec![b'x'; 65_536] })
    }));
    let request = server.request(Method::PUT, &format!("{PAYMENTS}/manifest"), &server.root);
    let endless = request
        .header(header::CONTENT_TYPE, content_type)
        .body(reqwest::Body::wrap_stream(endless))
        .send()
        .await;

    assert_eq!(at.code(), "bad_request", "as large as it may be, and no archive");
    assert_eq!((over.status.as_u16(), over.code().as_str()), (413, "payload_too_large"));
    // The server may have closed the connection while the client was still sending.
    if let Ok(endless) = endless {
        assert_eq!(endless.status(), 413);
    }
}
