//! A real server with its database in an empty folder, and what is in it.

use std::{
    fs,
    net::SocketAddr,
    ops::{Deref, DerefMut},
    path::Path,
    sync::Arc,
};

use leverframe::{backends::clock_system::SystemClock, document::Tree, manifest::archive, traits::Clock};
use leverframe_server::{
    Running, ServeOptions, Server,
    admin::Admin,
    store::{self, Store},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    browser::Browser,
    ports::free_port,
    wire::{self, Answer},
};

const BOUNDARY: &str = "----one-file-and-nothing-else";

/// A server with the tenant `acme`, and the token of a superadmin.
#[derive(Debug)]
pub(crate) struct Ground {
    pub(crate) server: Running,
    pub(crate) admin: String,
    data: TempDir,
}

/// The same, and a browser.
#[derive(Debug)]
pub(crate) struct House {
    ground: Ground,
    pub(crate) browser: Browser,
}

impl Ground {
    /// Nothing has been uploaded.
    pub(crate) async fn open() -> Self {
        let data = TempDir::new().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let store = store::open(&data.path().join("data"), None, Arc::clone(&clock)).await.unwrap();
        store.migrate().await.unwrap();
        let bootstrapped = Admin::new(Arc::clone(&store), clock).bootstrap("console tests", false).await;
        let secret = bootstrapped.unwrap().secret.expose().to_owned();
        // Nobody else is given its port while it is away.
        let server = serve(store, format!("127.0.0.1:{}", free_port()), data.path()).await;
        let ground = Self { server, admin: secret, data };
        let tenant = json!({"slug": "acme", "display_name": "Acme", "login_mode": "email_domain", "email_domain": "acme.example"});
        ground.must("POST", "tenants", Some(tenant)).await;
        ground
    }

    /// Starts the server again, at the same address and with the same data, after it was stopped.
    pub(crate) async fn start_again(&mut self) {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let store = store::open(&self.data.path().join("data"), None, clock).await.unwrap();
        self.server = serve(store, self.address().to_string(), self.data.path()).await;
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.address()
    }

    pub(crate) async fn call(&self, token: &str, method: &str, path: &str, body: Option<Value>) -> Answer {
        let authorization = format!("Bearer {token}");
        let body = body.map(|body| serde_json::to_vec(&body).unwrap()).unwrap_or_default();
        let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
        wire::send(self.address(), method, &format!("/api/v1/{path}"), &headers, &body).await
    }

    pub(crate) async fn must(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let answer = self.call(&self.admin, method, path, body).await;
        assert!((200..300).contains(&answer.status), "{method} {path}: {} {}", answer.status, answer.json());
        answer.json()
    }

    pub(crate) async fn must_delete(&self, path: &str) {
        let answer = self.call(&self.admin, "DELETE", path, None).await;
        assert!((200..300).contains(&answer.status), "{path}: {} {}", answer.status, answer.json());
    }

    pub(crate) async fn namespace(&self, slug: &str) {
        let body = json!({"slug": slug, "display_name": "Payments platform", "description": "What happens between basket and bank."});
        self.must("POST", "tenants/acme/namespaces", Some(body)).await;
    }

    /// Uploads files, and returns the version.
    pub(crate) async fn upload(&self, namespace: &str, files: &[(String, String)]) -> u64 {
        let archive = archive_of(files);
        let mut body = format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"archive\"; filename=\"a.tar.gz\"\r\nContent-Type: application/gzip\r\n\r\n"
        )
        .into_bytes();
        body.extend_from_slice(&archive);
        body.extend_from_slice(format!("\r\n--{BOUNDARY}--\r\n").as_bytes());
        let authorization = format!("Bearer {}", self.admin);
        let media = format!("multipart/form-data; boundary={BOUNDARY}");
        let headers = [("authorization", authorization.as_str()), ("content-type", media.as_str())];
        let path = format!("/api/v1/tenants/acme/namespaces/{namespace}/manifest");
        let answer = wire::send(self.address(), "PUT", &path, &headers, &body).await;
        assert_eq!(answer.status, 200, "{}", answer.json());
        answer.json()["version"].as_u64().unwrap()
    }

    /// Issues a token for `acme`.
    pub(crate) async fn token(&self, kind: &str, namespace: Option<&str>) -> String {
        let mut body = json!({"type": kind, "tenant": "acme", "name": format!("a {kind}")});
        if let Some(namespace) = namespace {
            body["namespace"] = json!(namespace);
        }
        if kind == "namespace_client" {
            body["environment"] = json!("production");
            // Of pages in browsers, only the console itself.
            body["allowed_origins"] = json!([self.server.url()]);
        }
        self.must("POST", "tokens", Some(body)).await["secret"].as_str().unwrap().to_owned()
    }
}

impl Deref for House {
    type Target = Ground;

    fn deref(&self) -> &Ground {
        &self.ground
    }
}

impl DerefMut for House {
    fn deref_mut(&mut self) -> &mut Ground {
        &mut self.ground
    }
}

impl House {
    /// Opens a house; nothing has been uploaded.
    pub(crate) async fn open() -> Self {
        Self { ground: Ground::open().await, browser: Browser::open().await }
    }

    /// Opens a house in which `acme` has the namespace `payments`, with one of the examples in it.
    pub(crate) async fn with_payments() -> Self {
        let house = Self::open().await;
        house.namespace("payments").await;
        house.upload("payments", &payments()).await;
        house
    }

    /// Opens the console and logs in by typing the token.
    pub(crate) async fn log_in(&self, token: &str) {
        self.browser.visit(&format!("{}/", self.server.url())).await;
        self.enter(token).await;
    }

    /// Logs in where the console is open.
    pub(crate) async fn enter(&self, token: &str) {
        self.browser.fill("#token", token).await;
        self.browser.press(crate::browser::ENTER).await;
        self.browser.wait_for("#logout").await;
    }

    /// Goes to a page of a namespace and waits for its content.
    pub(crate) async fn go(&self, namespace: &str, page: &str) {
        self.browser.go(&format!("#/t/acme/n/{namespace}/{page}")).await;
    }
}

async fn serve(store: Arc<dyn Store>, listen: String, data: &Path) -> Running {
    let mut options = ServeOptions::default();
    options.data = data.join("data");
    options.store = Some(store);
    options.listen = listen;
    Server::start(options).await.unwrap()
}

/// The files of the example `payments`.
pub(crate) fn payments() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/namespaces/payments");
    let mut files = Vec::new();
    for folder in ["", "flags", "segments"] {
        for entry in fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
                files.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    files.sort();
    files
}

/// Returns the files with one of them changed.
pub(crate) fn changed(
    mut files: Vec<(String, String)>,
    path: &str,
    from: &str,
    to: &str,
) -> Vec<(String, String)> {
    let (_, text) = files.iter_mut().find(|(name, _)| name == path).unwrap();
    assert!(text.contains(from), "{text}");
    *text = text.replace(from, to);
    files
}

/// Packs files as an archive.
pub(crate) fn archive_of(files: &[(String, String)]) -> Vec<u8> {
    let tree: Tree = files.iter().map(|(path, text)| (path.as_str(), text.as_bytes().to_vec())).collect();
    archive::pack(&tree).unwrap()
}
