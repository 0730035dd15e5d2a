//! What the tests push, and how.

use leverframe::{
    document::Tree,
    manifest::{LintOptions, Manifest, archive, lint_tree},
};
use leverframe_server::model::TokenType;
use reqwest::{Method, RequestBuilder, header};
use serde_json::{Value, json};

use crate::support::{Answer, TestServer};

pub(crate) const PAYMENTS: &str = "/api/v1/tenants/acme/namespaces/payments";

pub(crate) const NAMESPACE: &str = r#"
schema_version = "0.1"
[namespace]
slug = "payments"
[namespace.environments]
production = { public_evaluate = true }
staging = {}
"#;

/// Everybody of plan `pro`, then a tenth of the users.
pub(crate) const CHECKOUT: &str = r#"
schema_version = "0.1"
[flag]
type = "boolean"
[flag.variants]
on = true
off = false
[flag.environments._]
variant = "off"
[[flag.environments._.rules]]
predicate = { attribute = "user.plan", op = "eq", value = "pro" }
variant = "on"
[[flag.environments._.rules]]
segment = "tenth"
variant = "on"
[flag.environments.staging]
variant = "off"
testing = true
[[flag.environments.staging.rules]]
predicate = { attribute = "user.age", op = "gte", value = 18 }
variant = "on"
"#;

pub(crate) const LIMITS: &str = r#"
schema_version = "0.1"
[flag]
type = "json"
[flag.variants]
small = { most = 10, "a \"quoted\" key" = [1.5, "ä\n"] }
[flag.environments._]
variant = "small"
"#;

pub(crate) const TENTH: &str = r#"
schema_version = "0.1"
[segment]
[segment.bucket]
entity_id_attribute = "user.id"
start = 0
end = 999
"#;

pub(crate) fn files() -> Vec<(String, String)> {
    [
        ("namespace.toml", NAMESPACE),
        ("flags/checkout.toml", CHECKOUT),
        ("flags/limits.toml", LIMITS),
        ("segments/tenth.toml", TENTH),
    ]
    .map(|(path, text)| (path.to_owned(), text.to_owned()))
    .into()
}

/// The files with one more or one replaced.
pub(crate) fn files_with(path: &str, text: &str) -> Vec<(String, String)> {
    let mut files = files();
    files.retain(|(name, _)| name != path);
    files.push((path.to_owned(), text.to_owned()));
    files
}

pub(crate) fn tree(files: &[(String, String)]) -> Tree {
    files.iter().cloned().collect()
}

pub(crate) fn packed(files: &[(String, String)]) -> Vec<u8> {
    archive::pack(&tree(files)).unwrap()
}

pub(crate) fn manifest(files: &[(String, String)]) -> Manifest {
    lint_tree(&tree(files), &LintOptions::new().with_slug("payments")).manifest.unwrap()
}

const BOUNDARY: &str = "----frame";

/// A multipart form of named files.
pub(crate) fn form(parts: &[(&str, &[u8])]) -> (String, Vec<u8>) {
    let mut body = Vec::new();
    for (name, content) in parts {
        body.extend_from_slice(format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"a.tar.gz\"\r\nContent-Type: application/gzip\r\n\r\n").as_bytes());
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    (format!("multipart/form-data; boundary={BOUNDARY}"), body)
}

impl TestServer {
    pub(crate) fn upload(&self, method: Method, path: &str, secret: &str, archive: &[u8]) -> RequestBuilder {
        let (content_type, body) = form(&[("archive", archive)]);
        self.request(method, path, secret).header(header::CONTENT_TYPE, content_type).body(body)
    }

    /// Pushes to `acme/payments`.
    pub(crate) async fn push(&self, secret: &str, files: &[(String, String)]) -> Answer {
        self.push_archive(secret, &packed(files), None).await
    }

    pub(crate) async fn push_archive(&self, secret: &str, archive: &[u8], if_version: Option<u64>) -> Answer {
        let mut request = self.upload(Method::PUT, &format!("{PAYMENTS}/manifest"), secret, archive);
        if let Some(version) = if_version {
            request = request.header("if-version", version);
        }
        self.send(request).await
    }

    /// A server with the files pushed, and a token that reads them.
    pub(crate) async fn stocked() -> (Self, String) {
        Self::start().await.stock().await
    }

    pub(crate) async fn stock(self) -> (Self, String) {
        let pushed = self.push(&self.root, &files()).await;
        assert_eq!(pushed.status, 200, "{}", pushed.text);
        let (_, read) = self.mint(TokenType::NamespaceRead, "acme/payments").await;
        (self, read)
    }

    pub(crate) async fn bytes(
        &self,
        request: RequestBuilder,
    ) -> (reqwest::StatusCode, header::HeaderMap, Vec<u8>) {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        (status, headers, response.bytes().await.unwrap().to_vec())
    }
}

/// A request to evaluate in production.
pub(crate) fn ask(flags: &[&str], context: Value) -> Value {
    json!({"environment": "production", "flags": flags, "context": context})
}
