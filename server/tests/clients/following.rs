//! A client that follows a namespace of the real server through the proxy, by a clock that the test moves.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use leverframe::{
    EvalContext, ExdClient, ExdClientBuilder,
    backends::clock_system::SystemClock,
    document::Tree,
    manifest::archive,
    sse::{StreamState, StreamStatus},
    testing::ManualClock,
    traits::Clock,
};
use leverframe_server::model::TokenType;
use reqwest::{Method, header};

use crate::{proxy::Proxy, support::TestServer};

const PATIENCE: Duration = Duration::from_secs(30);
/// For so long a feed holds still that was told for nothing.
const LULL: Duration = Duration::from_millis(20);

pub(crate) struct Following {
    pub(crate) server: TestServer,
    pub(crate) proxy: Proxy,
    pub(crate) clock: ManualClock,
    pub(crate) client: ExdClient,
    pub(crate) token: String,
    pub(crate) token_id: String,
}

/// State `number` of a namespace: a flag that tells the number, and one that never changes.
pub(crate) fn files(slug: &str, number: i64) -> Tree {
    let flag = |value: i64| {
        format!(
            "schema_version = \"0.1\"\n[flag]\ntype = \"integer\"\n[flag.variants]\nused = {value}\n\
             [flag.environments._]\nvariant = \"used\"\n"
        )
    };
    [
        ("namespace.toml", format!("schema_version = \"0.1\"\n[namespace]\nslug = {slug:?}\n")),
        ("flags/limit.toml", flag(number)),
        ("flags/other.toml", flag(7)),
    ]
    .into_iter()
    .collect()
}

/// Uploads to a namespace of `acme`.
pub(crate) async fn upload(server: &TestServer, slug: &str, tree: &Tree) {
    let mut body =
        b"--b\r\nContent-Disposition: form-data; name=\"archive\"; filename=\"a.tar.gz\"\r\n\r\n".to_vec();
    body.extend(archive::pack(tree).unwrap());
    body.extend_from_slice(b"\r\n--b--\r\n");
    let path = format!("/api/v1/tenants/acme/namespaces/{slug}/manifest");
    let request = server.request(Method::PUT, &path, &server.root);
    let request = request.header(header::CONTENT_TYPE, "multipart/form-data; boundary=b").body(body);
    let answer = server.send(request).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}

pub(crate) fn address(server: &TestServer) -> SocketAddr {
    server.url("").trim_start_matches("http://").parse().unwrap()
}

impl Following {
    pub(crate) async fn start() -> Self {
        Self::start_as(|builder| builder).await
    }

    pub(crate) async fn start_as(change: impl FnOnce(ExdClientBuilder) -> ExdClientBuilder) -> Self {
        let server = TestServer::start().await;
        upload(&server, "payments", &files("payments", 1)).await;
        let (record, token) = server.mint(TokenType::NamespaceRead, "acme/payments").await;
        let proxy = Proxy::before(address(&server)).await;
        let clock = ManualClock::new();
        let client = change(builder(&proxy, &clock, &token)).build().await.unwrap();
        let following = Self { server, proxy, clock, client, token, token_id: record.id };
        following.until("the stream to be steady", |f| f.stream().state == StreamState::Steady).await;
        following
    }

    pub(crate) fn stream(&self) -> StreamStatus {
        self.client.status().stream.unwrap()
    }

    pub(crate) fn limit(&self) -> i64 {
        self.client.int_flag_sync("limit", &EvalContext::new(), -1)
    }

    pub(crate) fn error(&self) -> String {
        self.client.last_refresh_error().unwrap_or_default()
    }

    pub(crate) async fn uploads(&self, number: i64) {
        upload(&self.server, "payments", &files("payments", number)).await;
    }

    /// Uploads state `number` and waits until it is served.
    pub(crate) async fn publishes(&self, number: i64) {
        self.uploads(number).await;
        self.until(&format!("state {number}"), |f| f.limit() == number).await;
    }

    /// How many closures were asked for, and whether the last was signed.
    pub(crate) fn closures(&self) -> (usize, bool) {
        let asked = self.proxy.asked("/closure");
        (asked.len(), asked.last().is_some_and(|head| head.contains("sig=")))
    }

    pub(crate) async fn until(&self, what: &str, reached: impl Fn(&Self) -> bool) {
        let system = SystemClock::new();
        let end = system.now() + PATIENCE;
        while !reached(self) {
            assert!(
                system.now() < end,
                "no {what}: {:#?}, asked {:#?}",
                self.client.status(),
                self.proxy.asked("")
            );
            if self.clock.deadlines().contains(&(self.clock.now() + LULL)) {
                self.clock.advance(LULL);
            }
            tokio::task::yield_now().await;
        }
    }

    /// Tells whether somebody sleeps for `pause`; what of it the feed held still for may be over.
    pub(crate) fn is_asleep_for(&self, pause: Duration) -> bool {
        let end = self.clock.now() + pause;
        self.clock.deadlines().into_iter().any(|deadline| deadline <= end && end - deadline <= LULL)
    }

    /// Lets the pause before the next connection pass.
    pub(crate) async fn reconnects(&self) {
        let before = self.stream();
        self.until("loss of the stream", |f| f.stream().connected_since.is_none()).await;
        self.clock.advance(Duration::from_secs(2));
        self.until("first event", |f| f.stream().events > before.events).await;
        self.until("the stream to be steady", |f| f.stream().state == StreamState::Steady).await;
    }
}

pub(crate) fn builder(proxy: &Proxy, clock: &ManualClock, token: &str) -> ExdClientBuilder {
    ExdClient::builder()
        .server(proxy.url())
        .namespace("payments")
        .environment("production")
        .api_token(token)
        .event_stream(true)
        .clock(Arc::new(clock.clone()))
}
