//! A real server on a port of its own, and a small client for it.
#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, reason = "what a test needs and does not get makes it fail")]

use std::{
    io::Write,
    path::Path,
    sync::{Arc, Mutex, OnceLock},
    time::SystemTime,
};

use leverframe::{backends::clock_system::SystemClock, traits::Clock};
use leverframe_server::{
    Running, ServeOptions, Server,
    admin::Admin,
    model::{LoginMode, NamespaceRecord, Tenant, TokenRecord, TokenType},
    store::{self, Store},
};
use reqwest::{Method, RequestBuilder, StatusCode, header::HeaderMap};
use serde_json::Value;
use tempfile::TempDir;

/// A server with tenants `acme` (namespaces `payments` and `search`) and `rival` (namespace `payments`).
pub(crate) struct TestServer {
    pub(crate) running: Running,
    pub(crate) admin: Admin,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) http: reqwest::Client,
    /// A superadmin's secret.
    pub(crate) root: String,
    data: TempDir,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The code of a refusal; empty for what is none.
    pub(crate) fn code(&self) -> String {
        let json = serde_json::from_str::<Value>(&self.text).unwrap_or_default();
        // Without an envelope, as the settings protocol has it.
        let code = json["error"]["code"].as_str().or(json["error"].as_str());
        code.unwrap_or_default().to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

impl TestServer {
    pub(crate) async fn start() -> Self {
        Self::start_with(Arc::new(SystemClock::new()), |_| {}).await
    }

    /// Starts one with a clock and options of the test's own.
    pub(crate) async fn start_with(clock: Arc<dyn Clock>, change: impl FnOnce(&mut ServeOptions)) -> Self {
        let data = tempfile::tempdir().unwrap();
        let store = store::open(data.path(), None, Arc::clone(&clock)).await.unwrap();
        Self::launch(store, data, clock, change).await.furnished().await
    }

    /// Starts one on an empty store of the test's own.
    pub(crate) async fn start_on(store: Arc<dyn Store>) -> Self {
        let (data, clock) = (tempfile::tempdir().unwrap(), Arc::new(SystemClock::new()));
        Self::launch(store, data, clock, |_| {}).await.furnished().await
    }

    /// Starts another one on the same database, with a store of its own.
    pub(crate) async fn join(&self, store: Arc<dyn Store>) -> Self {
        let (data, clock) = (tempfile::tempdir().unwrap(), Arc::new(SystemClock::new()));
        // With the same master key, as all that share a database have.
        let key = self.data().join("settings.key");
        let share =
            |options: &mut ServeOptions| options.master_key_file = Some(key).filter(|key| key.exists());
        let server = Self::launch(store, data, clock, share).await;
        server.of(self)
    }

    /// As [`join`](Self::join), without any master key.
    pub(crate) async fn join_without_key(&self, store: Arc<dyn Store>) -> Self {
        let (data, clock) = (tempfile::tempdir().unwrap(), Arc::new(SystemClock::new()));
        let nowhere = |options: &mut ServeOptions| options.data = "/nonexistent".into();
        Self::launch(store, data, clock, nowhere).await.of(self)
    }

    /// As [`join`](Self::join), with the data directory of this one as it is now.
    pub(crate) async fn join_in_place(&self, store: Arc<dyn Store>) -> Self {
        let (data, clock) = (tempfile::tempdir().unwrap(), Arc::new(SystemClock::new()));
        let here = self.data().to_owned();
        Self::launch(store, data, clock, |options| options.data = here).await.of(self)
    }

    fn of(mut self, other: &Self) -> Self {
        self.root.clone_from(&other.root);
        self
    }

    async fn launch(
        store: Arc<dyn Store>,
        data: TempDir,
        clock: Arc<dyn Clock>,
        change: impl FnOnce(&mut ServeOptions),
    ) -> Self {
        capture_logs();
        let mut options = ServeOptions::default();
        options.listen = "127.0.0.1:0".to_owned();
        options.data = data.path().to_owned();
        options.clock = Arc::clone(&clock);
        options.store = Some(Arc::clone(&store));
        // Every test comes from one address.
        options.limits.stranger = leverframe_server::limit::Rate::UNLIMITED;
        change(&mut options);
        let running = Server::start(options).await.unwrap();
        let admin = Admin::new(Arc::clone(&store), clock);
        Self { running, admin, store, http: client(), root: String::new(), data }
    }

    async fn furnished(mut self) -> Self {
        let now = self.running.app().clock().wall();
        for tenant in ["acme", "rival"] {
            self.admin.create_tenant(&tenant_of(tenant, now)).await.unwrap();
            self.admin.create_namespace(&NamespaceRecord::new(tenant, "payments", now)).await.unwrap();
        }
        self.admin.create_namespace(&NamespaceRecord::new("acme", "search", now)).await.unwrap();
        self.root = self.admin.bootstrap("root", false).await.unwrap().secret.expose().to_owned();
        self
    }

    /// The data directory.
    pub(crate) fn data(&self) -> &Path {
        self.data.path()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        self.running.url() + path
    }

    pub(crate) fn request(&self, method: Method, path: &str, secret: &str) -> RequestBuilder {
        let request = self.http.request(method, self.url(path));
        if secret.is_empty() { request } else { request.bearer_auth(secret) }
    }

    pub(crate) async fn send(&self, request: RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        // A stream has no end.
        let is_stream = headers.get("content-type").is_some_and(|media| media == "text/event-stream");
        let text = if is_stream { String::new() } else { response.text().await.unwrap() };
        Answer { status, headers, text }
    }

    /// An empty secret is none.
    pub(crate) async fn get(&self, path: &str, secret: &str) -> Answer {
        self.send(self.request(Method::GET, path, secret)).await
    }

    pub(crate) async fn post(&self, path: &str, secret: &str, body: &Value) -> Answer {
        self.send(self.request(Method::POST, path, secret).json(body)).await
    }

    pub(crate) async fn delete(&self, path: &str, secret: &str) -> Answer {
        self.send(self.request(Method::DELETE, path, secret)).await
    }

    /// Issues a token with bindings as in `acme/payments/production`, as many of them as there are.
    pub(crate) async fn mint(&self, kind: TokenType, bindings: &str) -> (TokenRecord, String) {
        self.mint_with(kind, bindings, |_| {}).await
    }

    pub(crate) async fn mint_with(
        &self,
        kind: TokenType,
        bindings: &str,
        change: impl FnOnce(&mut TokenRecord),
    ) -> (TokenRecord, String) {
        let mut parts = bindings.split('/').filter(|part| !part.is_empty()).map(str::to_owned);
        let mut token = self.admin.token(kind);
        (token.tenant, token.namespace, token.environment) = (parts.next(), parts.next(), parts.next());
        change(&mut token);
        let issued = self.admin.mint(token).await.unwrap();
        (issued.token, issued.secret.expose().to_owned())
    }
}

pub(crate) fn tenant_of(slug: &str, now: SystemTime) -> Tenant {
    let mut tenant = Tenant::new(slug, LoginMode::EmailDomain, now);
    tenant.email_domain = Some(format!("{slug}.example"));
    tenant
}

/// A client that asks no proxy, and no time limit but one that a hanging test runs into.
pub(crate) fn client() -> reqwest::Client {
    let builder = reqwest::Client::builder().no_proxy().timeout(std::time::Duration::from_secs(60));
    builder.build().unwrap()
}

/// Everything that this test binary has logged.
pub(crate) fn logs() -> String {
    String::from_utf8_lossy(&LOG.get().unwrap().lock().unwrap()).into_owned()
}

static LOG: OnceLock<Arc<Mutex<Vec<u8>>>> = OnceLock::new();

struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn capture_logs() {
    LOG.get_or_init(|| {
        let log = Arc::<Mutex<Vec<u8>>>::default();
        let writer = Arc::clone(&log);
        tracing_subscriber::fmt()
            .json()
            .with_env_filter("info,leverframe=trace,leverframe_server=trace")
            .with_writer(move || Log(Arc::clone(&writer)))
            .init();
        log
    });
}
