use std::{sync::Arc, time::Duration};

use leverframe::{backends::clock_system::SystemClock, testing::ManualClock, traits::Clock};
use leverframe_server::{ServeOptions, TlsFiles, admin::Admin, model::TokenType, store};
use reqwest::{Certificate, StatusCode, Version};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    ports::free_port,
    support::{TestServer, client},
};

fn system() -> Arc<dyn Clock> {
    Arc::new(SystemClock::new())
}

/// Nobody else is given it once the server is gone.
fn at_a_port_of_its_own(options: &mut ServeOptions) {
    options.listen = format!("127.0.0.1:{}", free_port());
}

async fn connect(server: &TestServer) -> TcpStream {
    TcpStream::connect(server.running.address()).await.unwrap()
}

/// Reads until the server closes.
async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A connection that is cut may be reset, which ends it as well.
    let _ = stream.read_to_end(&mut bytes).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A request whose body the server still waits for.
async fn half_a_request(server: &TestServer) -> TcpStream {
    let mut stream = connect(server).await;
    let head = format!(
        "POST /api/v1/tenants HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\ncontent-length: 60\r\nexpect: 100-continue\r\n\r\n",
        server.root
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // Sent when somebody reads the body: the request is running now.
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).await.unwrap();
    assert!(go_on.starts_with(b"HTTP/1.1 100"));
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_server_lets_running_requests_end_and_takes_no_more() {
    let server = TestServer::start_with(system(), at_a_port_of_its_own).await;
    let mut running = half_a_request(&server).await;
    let mut idle = connect(&server).await;
    idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut answer = [0; 15];
    idle.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");

    let stopping = server.running.stop(Some(Duration::from_secs(60)));
    let going_on = async {
        let mut draining = server.running.app().draining();
        draining.begun().await;
        // Closed at once: there was nothing to wait for.
        rest(&mut idle).await;
        let body = r#"{"slug":"late","login_mode":"sso","sso_provider":"okta"}"#;
        running.write_all(format!("{body:60}").as_bytes()).await.unwrap();
        rest(&mut running).await
    };
    let (cut, answer) = tokio::join!(stopping, going_on);

    assert_eq!(cut, 0);
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    assert!(TcpStream::connect(server.running.address()).await.is_err());
    server.running.wait().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_does_not_end_is_cut_at_the_deadline() {
    let clock = ManualClock::new();
    let server = TestServer::start_with(Arc::new(clock.clone()), |_| {}).await;
    let mut running = half_a_request(&server).await;

    let moving = async {
        server.running.app().draining().begun().await;
        // By then it is known when the deadline is. The time limit of the request is longer, so that nothing else ends it.
        while tokio::net::TcpStream::connect(server.running.address()).await.is_ok() {
            tokio::task::yield_now().await;
        }
        clock.advance(Duration::from_secs(31));
    };
    let (cut, ()) = tokio::join!(server.running.stop(None), moving);

    assert_eq!((cut, rest(&mut running).await.as_str()), (1, ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_dropped_is_gone() {
    let server = TestServer::start_with(system(), at_a_port_of_its_own).await;
    let address = server.running.address();
    let mut open = half_a_request(&server).await;

    drop(server);

    assert_eq!(rest(&mut open).await, "");
    // Connections and listener go one after the other.
    let going = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), going).await.expect("nobody accepts any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_does_not_arrive_is_given_up() {
    let clock = ManualClock::new();
    let server = TestServer::start_with(Arc::new(clock.clone()), |options| {
        options.limits.answer_within = Duration::from_secs(10);
    })
    .await;
    let mut slow = half_a_request(&server).await;

    // The alarm is set by now or within moments, so that the time goes on until it has rung.
    let mut head = [0; 12];
    let mut answer = std::pin::pin!(slow.read_exact(&mut head));
    loop {
        tokio::select! {
            biased;
            read = &mut answer => {
                read.unwrap();
                break;
            }
            () = tokio::task::yield_now() => clock.advance(Duration::from_secs(1)),
        }
    }
    assert_eq!(&head, b"HTTP/1.1 408");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_on_which_nothing_arrives_is_closed() {
    let clock = ManualClock::new();
    let server = TestServer::start_with(Arc::new(clock.clone()), |_| {}).await;
    let mut silent = connect(&server).await;

    // The server takes note of the connection at a moment of its own, and its patience begins then.
    for _ in 0..300 {
        clock.advance(Duration::from_secs(31));
        if let Ok(told) = tokio::time::timeout(Duration::from_millis(100), rest(&mut silent)).await {
            assert_eq!(told, "");
            return;
        }
    }
    panic!("it is still open");
}

#[tokio::test(flavor = "multi_thread")]
async fn further_connections_wait_until_there_is_room() {
    let server = TestServer::start_with(system(), |options| options.max_connections = 1).await;
    let mut first = connect(&server).await;
    first.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut answer = [0; 15];
    first.read_exact(&mut answer).await.unwrap();

    let mut second = connect(&server).await;
    second.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    assert_eq!(server.running.app().metrics().connections_accepted.value(), 1);
    drop(first);

    assert!(rest(&mut second).await.starts_with("HTTP/1.1 200 OK"));
    assert_eq!(server.running.app().metrics().connections_accepted.value(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_without_end_are_refused() {
    let server = TestServer::start().await;

    for head in [
        format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(40_000)),
        format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(101)),
        format!("GET / HTTP/1.1\r\nhost: x\r\na: {}\r\n\r\n", "b".repeat(40_000)),
        "no http at all\r\n\r\n".to_owned(),
    ] {
        let mut stream = connect(&server).await;
        // The server may close before everything was sent.
        let _ = stream.write_all(head.as_bytes()).await;
        let answer = rest(&mut stream).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    assert_eq!(server.get("/readyz", "").await.status, StatusCode::OK);
}

struct Identity {
    folder: tempfile::TempDir,
    root: Certificate,
}

impl Identity {
    /// Writes a certificate for the loopback address, signed by itself.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut identity = Self { folder, root: Certificate::from_pem(fresh("x").0.as_bytes()).unwrap() };
        identity.renew();
        identity
    }

    fn renew(&mut self) {
        let (certificate, key) = fresh("127.0.0.1");
        std::fs::write(self.folder.path().join("cert.pem"), &certificate).unwrap();
        std::fs::write(self.folder.path().join("key.pem"), key).unwrap();
        self.root = Certificate::from_pem(certificate.as_bytes()).unwrap();
    }

    fn files(&self) -> TlsFiles {
        TlsFiles::new(self.folder.path().join("cert.pem"), self.folder.path().join("key.pem"))
    }

    fn client(&self) -> reqwest::Client {
        let builder = reqwest::Client::builder().no_proxy().tls_certs_only([self.root.clone()]);
        builder.timeout(Duration::from_secs(60)).build().unwrap()
    }
}

fn fresh(name: &str) -> (String, String) {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

#[tokio::test(flavor = "multi_thread")]
async fn https_speaks_http_2_and_takes_a_renewed_certificate() {
    let mut identity = Identity::new();
    let server = TestServer::start_with(system(), |options| options.tls = Some(identity.files())).await;
    let url = server.url("/healthz");
    assert!(url.starts_with("https://127.0.0.1:"));

    let old = identity.client();
    let answer = old.get(&url).send().await.unwrap();
    assert_eq!((answer.status(), answer.version()), (StatusCode::OK, Version::HTTP_2));

    identity.renew();
    let new = identity.client();
    assert!(new.get(&url).send().await.is_err(), "the server has not read it yet");
    server.running.reload_tls().unwrap();
    assert_eq!(new.get(&url).send().await.unwrap().status(), StatusCode::OK);

    std::fs::write(identity.folder.path().join("key.pem"), "no key").unwrap();
    let error = server.running.reload_tls().unwrap_err();
    assert!(error.hint_text().unwrap().contains("private key"), "{}", error.chain());
    assert_eq!(identity.client().get(&url).send().await.unwrap().status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_at_a_tls_port_is_closed_without_harm() {
    let identity = Identity::new();
    let server = TestServer::start_with(system(), |options| options.tls = Some(identity.files())).await;
    let mut plain = connect(&server).await;

    plain.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();

    assert!(!rest(&mut plain).await.contains("HTTP/1.1"));
    let answer = identity.client().get(server.url("/healthz")).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn http_2_without_tls_works_for_who_knows() {
    let server = TestServer::start().await;
    let http = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();

    let answer = http.get(server.url("/healthz")).send().await.unwrap();

    assert_eq!((answer.status(), answer.version()), (StatusCode::OK, Version::HTTP_2));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_in_use_is_told_with_the_next_step() {
    let server = TestServer::start().await;
    let mut options = leverframe_server::ServeOptions::default();
    options.listen = server.running.address().to_string();
    options.store = Some(Arc::clone(&server.store));

    let error = leverframe_server::Server::start(options).await.unwrap_err();

    assert!(error.chain().contains(&server.running.address().to_string()), "{}", error.chain());
    assert!(error.hint_text().is_some());
    assert!(client().get(server.url("/healthz")).send().await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_revoked_by_another_process_on_the_same_data_is_refused_soon() {
    let server = TestServer::start().await;
    let (token, secret) = server.mint(TokenType::NamespaceRead, "acme/payments").await;
    assert_eq!(server.get("/api/v1/tokens/self", &secret).await.status, StatusCode::OK);
    let clock = system();
    let other = store::open(server.data(), None, Arc::clone(&clock)).await.unwrap();

    Admin::new(other, Arc::clone(&clock)).revoke(&token.id).await.unwrap();

    let began = clock.now();
    // Within five seconds, and some more for a machine that has other things to do.
    while server.get("/api/v1/tokens/self", &secret).await.code() != "unauthenticated" {
        assert!(clock.now() - began < Duration::from_secs(15), "it is still believed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_known_token_goes_on_while_the_database_is_away_but_not_for_ever() {
    let clock = ManualClock::new();
    let mut server = TestServer::start_with(Arc::new(clock.clone()), |_| {}).await;
    // A connection that was opened in vain is closed when the clock is moved on, and must not be used then.
    server.http = reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(60))
        .pool_max_idle_per_host(0)
        .build()
        .unwrap();
    let (_, unknown) = server.mint(TokenType::NamespaceRead, "acme/payments").await;
    assert_eq!(server.get("/api/v1/tokens/self", &server.root).await.status, StatusCode::OK);

    server.store.close().await;

    clock.advance(Duration::from_secs(40));
    assert_eq!(server.get("/api/v1/tokens/self", &server.root).await.status, StatusCode::OK);
    let refused = server.get("/api/v1/tokens/self", &unknown).await;
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (503, "unavailable"));
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(server.get("/readyz", "").await.status.as_u16(), 503);
    assert_eq!(server.get("/healthz", "").await.status, StatusCode::OK);
    clock.advance(Duration::from_secs(600));
    assert_eq!(server.get("/api/v1/tokens/self", &server.root).await.code(), "unavailable");
}
