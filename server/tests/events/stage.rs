//! What the tests upload.

use std::time::Duration;

use leverframe::{
    document::Tree,
    flags::events::FlagFilter,
    manifest::{LintOptions, archive, lint_tree},
};
use leverframe_server::model::TokenType;
use reqwest::{Method, header};

use crate::{
    sse::{Reader, Request},
    support::{Answer, TestServer},
};

/// A flag that says who it is, and follows segments.
pub(crate) fn flag(text: &str, segments: &[&str]) -> String {
    let mut toml = format!(
        "schema_version = \"0.1\"\n[flag]\ntype = \"boolean\"\ndescription = {text:?}\n[flag.variants]\non = true\n\
         off = false\n[flag.environments._]\nvariant = \"off\"\n"
    );
    for segment in segments {
        toml += &format!("[[flag.environments._.rules]]\nsegment = {segment:?}\nvariant = \"on\"\n");
    }
    toml
}

/// A segment that says who it is, and follows another.
pub(crate) fn segment(text: &str, other: Option<&str>) -> String {
    let predicate = match other {
        Some(other) => format!("{{ not = {{ segment = {other:?} }} }}"),
        None => "{ attribute = \"user.plan\", op = \"eq\", value = \"pro\" }".to_owned(),
    };
    format!("schema_version = \"0.1\"\n[segment]\ndescription = {text:?}\npredicate = {predicate}\n")
}

pub(crate) fn namespace(slug: &str) -> String {
    format!("schema_version = \"0.1\"\n[namespace]\nslug = {slug:?}\n")
}

/// The files of a namespace.
pub(crate) fn tree<'a>(slug: &str, files: impl IntoIterator<Item = (&'a str, String)>) -> Tree {
    let mut tree: Tree = files.into_iter().collect();
    tree.insert("namespace.toml", leverframe::document::Entry::File(namespace(slug).into()));
    tree
}

/// Two flags, of which `pay` follows a segment.
pub(crate) fn start(slug: &str) -> Tree {
    tree(
        slug,
        [
            ("flags/pay.toml", flag("pay", &["pro"])),
            ("flags/ship.toml", flag("ship", &[])),
            ("segments/pro.toml", segment("pro", None)),
        ],
    )
}

/// The same with a file replaced or added.
pub(crate) fn with(tree: &Tree, path: &str, text: String) -> Tree {
    let mut tree = tree.clone();
    tree.insert(path, leverframe::document::Entry::File(text.into()));
    tree
}

/// What the library says of the closure of a tree.
pub(crate) fn closure_of(slug: &str, tree: &Tree, filter: &FlagFilter) -> (Tree, String) {
    let linted = lint_tree(tree, &LintOptions::new().with_slug(slug));
    let (files, hash) = filter.closure(tree, &linted.manifest.unwrap());
    (files, hash.as_str().to_owned())
}

/// A server, and a token of `acme` that may do everything there.
pub(crate) struct Stage {
    pub(crate) server: TestServer,
    pub(crate) token: String,
    pub(crate) token_id: String,
}

impl Stage {
    pub(crate) async fn new() -> Self {
        Self::of(TestServer::start().await).await
    }

    pub(crate) async fn of(server: TestServer) -> Self {
        let (record, token) = server.mint(TokenType::TenantAdmin, "acme").await;
        Self { server, token, token_id: record.id }
    }

    /// Uploads to a namespace of `acme`; returns the version.
    pub(crate) async fn upload(&self, slug: &str, tree: &Tree) -> u64 {
        let answer = self.try_upload(slug, tree).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()["version"].as_u64().unwrap()
    }

    pub(crate) async fn try_upload(&self, slug: &str, tree: &Tree) -> Answer {
        let mut body =
            b"--b\r\nContent-Disposition: form-data; name=\"archive\"; filename=\"a.tar.gz\"\r\n\r\n"
                .to_vec();
        body.extend(archive::pack(tree).unwrap());
        body.extend_from_slice(b"\r\n--b--\r\n");
        let path = format!("/api/v1/tenants/acme/namespaces/{slug}/manifest");
        let request = self.server.request(Method::PUT, &path, &self.token);
        let request = request.header(header::CONTENT_TYPE, "multipart/form-data; boundary=b").body(body);
        self.server.send(request).await
    }

    /// Opens a stream with this query, which has to succeed.
    pub(crate) async fn read(&self, query: &str) -> Reader {
        self.read_as(query, &self.token).await
    }

    pub(crate) async fn read_as(&self, query: &str, token: &str) -> Reader {
        let reader = self.try_read(query, token).await;
        assert_eq!(reader.status, 200, "{}", reader.head);
        reader
    }

    pub(crate) async fn try_read(&self, query: &str, token: &str) -> Reader {
        let path = format!("/api/v1/events?{query}");
        Request::new(&path, token).open(self.server.running.address()).await
    }
}

/// Waits for what comes within a time that no machine needs.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what).await.expect("it does not come")
}

/// Waits until something holds, looking again whenever others had a turn.
pub(crate) async fn until(mut holds: impl FnMut() -> bool) {
    soon(async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
