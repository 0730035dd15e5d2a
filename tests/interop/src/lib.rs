//! What the tests of published clients need: our server in this process, an operator's way to it, and what is logged.

pub mod settings;

use std::{
    fs, io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use leverframe::{document::Tree, manifest::archive};
use leverframe_server::{Running, ServeOptions, Server, admin::Admin, limit::Rate, store};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use settings::{ISSUER, Issuer};
use tempfile::TempDir;
use tracing::{Level, subscriber::DefaultGuard};
use tracing_subscriber::fmt::MakeWriter;

/// A server of the test's own, on a port that is free.
#[derive(Debug)]
pub struct Plane {
    running: Running,
    /// A superadmin's token.
    root: String,
    http: Client,
    _data: TempDir,
}

/// What a client of the gate is given.
#[derive(Clone, Debug)]
pub struct Keys {
    /// Names the client.
    pub publish: String,
    /// Signs for it.
    pub secret: String,
}

impl Plane {
    /// Starts a server on an empty store.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start() -> Self {
        Self::start_with(None).await
    }

    /// Starts a server that believes this issuer's tokens, on an empty store.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start_trusting(issuer: &Issuer) -> Self {
        Self::start_with(Some(issuer)).await
    }

    async fn start_with(issuer: Option<&Issuer>) -> Self {
        let data = tempfile::tempdir().expect("there is room for a folder");
        let mut options = ServeOptions::default();
        options.listen = "127.0.0.1:0".to_owned();
        options.data = data.path().to_owned();
        // Every client comes from one address.
        options.limits.stranger = Rate::UNLIMITED;
        if let Some(issuer) = issuer {
            let keys = data.path().join("jwks.json");
            fs::write(&keys, issuer.jwks()).expect("there is room for a file");
            let issuers = data.path().join("issuers.toml");
            let text =
                format!("[[issuer]]\nissuer = {ISSUER:?}\nprovider = \"kubernetes\"\njwks_file = {keys:?}\n");
            fs::write(&issuers, text).expect("there is room for a file");
            options.issuers_file = Some(issuers);
        }
        let clock = Arc::clone(&options.clock);
        let store = store::open(data.path(), None, Arc::clone(&clock)).await.expect("the store opens");
        options.store = Some(Arc::clone(&store));
        let running = Server::start(options).await.expect("the server starts");
        let issued =
            Admin::new(store, clock).bootstrap("root", false).await.expect("the first token is issued");
        let root = issued.secret.expose().to_owned();
        Self { running, root, http: Client::new(), _data: data }
    }

    /// Returns the server's address, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        self.running.url()
    }

    /// Asks the server for something as its operator, and returns what it answers.
    ///
    /// # Panics
    /// When it refuses.
    pub async fn ask(&self, method: Method, path: &str, body: &Value) -> Value {
        let mut request = self.http.request(method, self.url() + path).bearer_auth(&self.root);
        if !body.is_null() {
            request = request.json(body);
        }
        let response = request.send().await.expect("the server answers");
        let status = response.status();
        let text = response.text().await.expect("the answer is whole");
        assert!(status.is_success(), "{path}: {status}: {text}");
        if status == StatusCode::NO_CONTENT {
            Value::Null
        } else {
            serde_json::from_str(&text).expect("it is JSON")
        }
    }

    /// Sets what an org's clients may do.
    pub async fn set(&self, org: &str, settings: Value) {
        self.ask(Method::PATCH, &format!("/api/v1/gate/{org}"), &settings).await;
    }

    /// Issues keys for an org.
    ///
    /// # Panics
    /// When the answer has none.
    pub async fn keys(&self, org: &str) -> Keys {
        let issued =
            self.ask(Method::POST, &format!("/api/v1/gate/{org}/keys"), &json!({ "name": "interop" })).await;
        let text = |value: &Value| value.as_str().expect("keys are text").to_owned();
        Keys { publish: text(&issued["key"]["publish_key"]), secret: text(&issued["secret_key"]) }
    }

    /// Makes a namespace of an org, with these rules of the gate.
    ///
    /// # Panics
    /// When they are refused.
    pub async fn rule(&self, org: &str, rules: &str) {
        self.ask(
            Method::POST,
            "/api/v1/tenants",
            &json!({ "slug": org, "login_mode": "sso", "sso_provider": "okta" }),
        )
        .await;
        let namespaces = format!("/api/v1/tenants/{org}/namespaces");
        self.ask(Method::POST, &namespaces, &json!({ "slug": "gates" })).await;
        let namespace = "schema_version = \"0.1\"\n[namespace]\nslug = \"gates\"\n";
        let files = [("namespace.toml", namespace), ("gate.toml", rules)];
        let tree: Tree = files.map(|(path, text)| (path.to_owned(), text.to_owned())).into_iter().collect();
        let mut form =
            b"--b\r\ncontent-disposition: form-data; name=\"archive\"; filename=\"a.tar.gz\"\r\n\r\n"
                .to_vec();
        form.extend(archive::pack(&tree).expect("two files fit"));
        form.extend_from_slice(b"\r\n--b--\r\n");
        let request =
            self.http.put(format!("{}{namespaces}/gates/manifest", self.url())).bearer_auth(&self.root);
        let request = request.header("content-type", "multipart/form-data; boundary=b").body(form);
        let response = request.send().await.expect("the server answers");
        let status = response.status();
        assert!(status.is_success(), "{status}: {}", response.text().await.unwrap_or_default());
    }

    /// Returns how an org's site stands; null as long as it has not reported.
    pub async fn site(&self, org: &str, site: &str) -> Value {
        let status = self.ask(Method::GET, &format!("/api/v1/gate/{org}"), &Value::Null).await;
        let sites = status["sites"].as_array().cloned().unwrap_or_default();
        sites.into_iter().find(|held| held["site"] == site).unwrap_or_default()
    }
}

/// Waits until something holds, while everything else goes on.
///
/// # Panics
/// When it does not within half a minute.
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let mut again = tokio::time::interval(Duration::from_millis(20));
    for _ in 0..1_500 {
        if holds().await {
            return;
        }
        again.tick().await;
    }
    panic!("{what}, which did not happen");
}

/// What is logged on this thread, as long as the guard lives.
#[derive(Clone, Debug, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Begins to listen.
    #[must_use]
    pub fn listen() -> (Self, DefaultGuard) {
        let log = Self::default();
        let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).with_ansi(false).finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    /// Begins to listen to everything that this process logs on whichever thread, and never ends.
    ///
    /// # Panics
    /// When somebody else listens already.
    #[must_use]
    pub fn everything() -> Self {
        let log = Self::default();
        let subscriber = tracing_subscriber::fmt().with_max_level(Level::TRACE).with_writer(log.clone());
        let set = tracing::subscriber::set_global_default(subscriber.with_ansi(false).finish());
        set.expect("nobody else listens");
        log
    }

    /// Returns what was logged so far.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
