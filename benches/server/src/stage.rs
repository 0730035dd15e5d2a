//! What is measured: a server with a namespace in it, and bare routes.

use std::{net::SocketAddr, sync::Arc};

use axum::{Router, routing};
use leverframe::{backends::clock_system::SystemClock, document::Tree, manifest::archive, traits::Clock};
use leverframe_server::{
    Running, ServeOptions, Server,
    admin::Admin,
    limit::Rate,
    model::{LoginMode, NamespaceRecord, Tenant, TokenType},
    store,
};
use tokio::runtime::Runtime;

use crate::load::{Target, once};

/// A running server and what it takes to talk to it.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) runtime: Runtime,
    running: Running,
    secret: String,
    _data: tempfile::TempDir,
}

/// The flags of the namespace.
pub(crate) const FLAGS: usize = 100;

impl Stage {
    /// Starts a server with a namespace of 100 flags.
    pub(crate) fn start() -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let data = tempfile::tempdir().expect("a folder");
        let (running, secret) = runtime.block_on(async {
            let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
            let store = store::open(data.path(), None, Arc::clone(&clock)).await.expect("a store");
            let admin = Admin::new(Arc::clone(&store), Arc::clone(&clock));
            let mut tenant = Tenant::new("acme", LoginMode::EmailDomain, clock.wall());
            tenant.email_domain = Some("acme.example".to_owned());
            admin.create_tenant(&tenant).await.expect("a tenant");
            let namespace = NamespaceRecord::new("acme", "payments", clock.wall());
            admin.create_namespace(&namespace).await.expect("a namespace");
            let mut token = admin.token(TokenType::NamespaceWrite);
            token.tenant = Some("acme".to_owned());
            token.namespace = Some("payments".to_owned());
            let secret = admin.mint(token).await.expect("a token").secret.expose().to_owned();
            let mut options = ServeOptions::default();
            options.listen = "127.0.0.1:0".to_owned();
            options.data = data.path().to_owned();
            options.store = Some(store);
            options.limits.token = Rate::UNLIMITED;
            (Server::start(options).await.expect("a server"), secret)
        });
        let stage = Self { runtime, running, secret, _data: data };
        let archive = archive::pack(&files()).expect("an archive");
        let target = upload(stage.running.address(), &stage.secret, &archive);
        stage.runtime.block_on(once(&target));
        stage
    }

    /// Makes a request with a JSON body.
    pub(crate) fn post(&self, path: &str, body: &str) -> Target {
        self.target("POST", path, "application/json", body.as_bytes())
    }

    fn target(&self, method: &str, path: &str, content_type: &str, body: &[u8]) -> Target {
        request(self.running.address(), &self.secret, (method, path), content_type, body)
    }

    /// Serves a constant of so many bytes on a bare route, to the same request.
    pub(crate) fn bare(&self, target: &Target, bytes: usize) -> Target {
        let constant: &'static str = "x".repeat(bytes).leak();
        let address: SocketAddr = self.runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let address = listener.local_addr().expect("an address");
            let router = Router::new().fallback(routing::any(move || async move { constant }));
            tokio::spawn(async move { axum::serve(listener, router).await });
            address
        });
        Target { address, request: target.request.clone() }
    }
}

/// Makes an upload to the namespace `acme/payments`.
pub(crate) fn upload(address: SocketAddr, secret: &str, archive: &[u8]) -> Target {
    let mut body = b"--b\r\nContent-Disposition: form-data; name=\"archive\"; filename=\"a\"\r\n\r\n".to_vec();
    body.extend_from_slice(archive);
    body.extend_from_slice(b"\r\n--b--\r\n");
    let path = "/api/v1/tenants/acme/namespaces/payments/manifest";
    request(address, secret, ("PUT", path), "multipart/form-data; boundary=b", &body)
}

pub(crate) fn request(
    address: SocketAddr,
    secret: &str,
    (method, path): (&str, &str),
    content_type: &str,
    body: &[u8],
) -> Target {
    let mut request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {secret}\r\n\
         Content-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    Target { address, request }
}

/// A hundred flags that share ten segments.
pub(crate) fn files() -> Tree {
    let flags = (0..FLAGS).map(|n| {
        let text = format!(
            "schema_version = \"0.1\"\n[flag]\ntype = \"boolean\"\nowner = \"team-{}\"\n[flag.variants]\non = true\noff = false\n\
             [flag.environments._]\nvariant = \"off\"\n[[flag.environments._.rules]]\n\
             predicate = {{ attribute = \"user.country\", op = \"in\", values = [\"DE\", \"FR\", \"US\"] }}\nvariant = \"on\"\n\
             [[flag.environments._.rules]]\nsegment = \"share-{}\"\nvariant = \"on\"\n",
            n % 7,
            n % 10
        );
        (format!("flags/flag-{n:03}.toml"), text)
    });
    let segments = (0..10).map(|n| {
        let text = format!(
            "schema_version = \"0.1\"\n[segment]\n[segment.bucket]\nentity_id_attribute = \"user.id\"\nstart = 0\nend = {}\n",
            n * 1_000 + 999
        );
        (format!("segments/share-{n}.toml"), text)
    });
    flags.chain(segments).collect()
}
