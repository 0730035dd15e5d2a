//! The event stream of OFREP.

use std::sync::Arc;

use leverframe::testing::ManualClock;
use leverframe_server::model::TokenType;
use reqwest::{Method, Response, header};
use serde_json::{Value, json};

use crate::{
    stage::{LIMITS, NAMESPACE, files_with},
    support::TestServer,
};

const BULK: &str = "/ofrep/v1/evaluate/flags";

/// The path and query that a bulk evaluation tells of.
async fn stream_of(server: &TestServer, secret: &str) -> String {
    let answer = server.post(BULK, secret, &json!({"context": {"targetingKey": "u1"}})).await.json();
    assert_eq!(answer["eventStreams"][0]["type"], "sse");
    assert_eq!(answer["eventStreams"][0]["inactivityDelaySec"], 120);
    answer["eventStreams"][0]["endpoint"]["requestUri"].as_str().unwrap().to_owned()
}

async fn open(server: &TestServer, path: &str, last: Option<u64>) -> Response {
    let request = server.request(Method::GET, path, "");
    let request = last.into_iter().fold(request, |request, last| request.header("last-event-id", last));
    request.send().await.unwrap()
}

/// Reads on to the next event; `None` at the end of the stream.
async fn next(stream: &mut Response, read: &mut String) -> Option<Event> {
    loop {
        while let Some((block, rest)) = read.split_once("\n\n") {
            let event = Event::parse(block);
            *read = rest.to_owned();
            if event.is_some() {
                return event;
            }
        }
        read.push_str(std::str::from_utf8(&stream.chunk().await.unwrap()?).unwrap());
    }
}

#[derive(Debug)]
struct Event {
    id: String,
    name: String,
    data: Value,
}

impl Event {
    fn parse(block: &str) -> Option<Self> {
        let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
        let data = serde_json::from_str(&field("data: ")?).unwrap();
        Some(Self { id: field("id: ")?, name: field("event: ")?, data })
    }
}

#[tokio::test]
async fn a_change_is_told_with_the_tag_to_ask_with() {
    // An address is good for half a day, which does not end between two calls.
    let clock = Arc::new(ManualClock::new());
    let (server, _) = TestServer::start_with(clock, |_| {}).await.stock().await;
    let (_, client) = server.mint(TokenType::NamespaceClient, "acme/payments/production").await;
    let path = stream_of(&server, &client).await;

    let mut stream = open(&server, &path, None).await;
    let mut read = String::new();
    assert_eq!(stream.headers()[header::CONTENT_TYPE], "text/event-stream");
    let first = next(&mut stream, &mut read).await.unwrap();
    server.push(&server.root, &files_with("flags/more.toml", LIMITS)).await;
    let second = next(&mut stream, &mut read).await.unwrap();

    assert_eq!((first.id.as_str(), &first.data["etag"]), ("1", &json!("v1")));
    assert_eq!((second.id.as_str(), second.name.as_str()), ("2", "message"));
    assert_eq!(second.data["type"], "refetchEvaluation");
    assert!(second.data["lastModified"].as_u64().unwrap() > 1_700_000_000);
    let tag = second.data["etag"].as_str().unwrap();
    let body = json!({"context": {"targetingKey": "u1"}});
    let fresh = server.post(&format!("{BULK}?flagConfigEtag={tag}"), &client, &body).await;
    assert_eq!(fresh.json()["metadata"]["version"], 2);
    assert_eq!(stream_of(&server, &client).await, path, "clients need not connect anew");
}

#[tokio::test]
async fn what_was_seen_before_is_not_told_again() {
    let (server, _) = TestServer::stocked().await;
    let (_, client) = server.mint(TokenType::NamespaceClient, "acme/payments/production").await;
    let path = stream_of(&server, &client).await;

    let mut stream = open(&server, &path, Some(1)).await;
    server.push(&server.root, &files_with("flags/more.toml", LIMITS)).await;

    assert_eq!(next(&mut stream, &mut String::new()).await.unwrap().id, "2");
}

#[tokio::test]
async fn a_stream_ends_with_its_token() {
    let (server, _) = TestServer::stocked().await;
    let (token, client) = server.mint(TokenType::NamespaceClient, "acme/payments/production").await;
    let path = stream_of(&server, &client).await;
    let mut stream = open(&server, &path, None).await;
    let mut read = String::new();
    next(&mut stream, &mut read).await.unwrap();

    server.delete(&format!("/api/v1/tokens/{}", token.id), &server.root).await;

    assert!(next(&mut stream, &mut read).await.is_none());
    assert_eq!(open(&server, &path, None).await.status(), 401);
}

#[tokio::test]
async fn a_stream_is_for_those_who_may_evaluate() {
    let (server, read) = TestServer::stocked().await;
    let (_, client) = server.mint(TokenType::NamespaceClient, "acme/payments/production").await;
    let (_, other) = server.mint(TokenType::NamespaceRead, "acme/search").await;
    let path = stream_of(&server, &client).await;
    let at = "/ofrep/v1/events?namespace=payments";

    for (path, secret, status) in [
        (at, &*read, 200),
        (at, &*client, 200),
        (at, &*other, 403),
        (at, "", 401),
        (&*path.replace("payments", "search"), "", 401),
        (&*path.replace("sig=", "sig=A"), "", 401),
        (&*path.replace("exp=", "exp=9"), "", 401),
    ] {
        let response = server.request(Method::GET, path, secret).send().await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{path}");
    }
    let closed = NAMESPACE.replace("public_evaluate = true", "public_evaluate = false");
    server.push(&server.root, &files_with("namespace.toml", &closed)).await;
    assert_eq!(open(&server, &path, None).await.status(), 403);
}

#[tokio::test]
async fn pages_read_the_stream_from_origins_that_the_token_allows() {
    let (server, _) = TestServer::stocked().await;
    let (_, client) = server
        .mint_with(TokenType::NamespaceClient, "acme/payments/production", |token| {
            token.allowed_origins = vec!["https://shop.example".into()];
        })
        .await;
    let path = stream_of(&server, &client).await;

    for (origin, status) in [("https://shop.example", 200), ("https://evil.example", 403)] {
        let request = server.request(Method::GET, &path, "").header(header::ORIGIN, origin);
        let response = request.send().await.unwrap();

        assert_eq!(response.status().as_u16(), status);
        assert_eq!(response.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN], origin);
    }
}
