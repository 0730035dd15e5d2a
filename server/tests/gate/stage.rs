//! A server with a gate key, and what instances send.

use std::{
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use leverframe::{
    document::Tree, gate::signing::sign_pulse, manifest::archive, testing::ManualClock, traits::Clock,
};
use leverframe_server::{
    ServeOptions, Server,
    gate::{
        GateStore,
        model::{SiteId, Totals},
    },
};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::support::{Answer, TestServer};

/// A pair of keys.
#[derive(Clone)]
pub(crate) struct Key {
    pub(crate) publish: String,
    pub(crate) secret: String,
}

/// A server whose time the test makes, with a key of `acme`.
pub(crate) struct Stage {
    pub(crate) server: TestServer,
    pub(crate) clock: ManualClock,
    pub(crate) key: Key,
}

impl Stage {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut ServeOptions)) -> Self {
        let clock = ManualClock::new();
        let mut server = TestServer::start_with(Arc::new(clock.clone()), change).await;
        // A connection that was opened in vain is closed when the clock is moved on, and must not be used then.
        server.http = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(60))
            .pool_max_idle_per_host(0)
            .build()
            .unwrap();
        let key = key(&server, "acme", None).await;
        Self { server, clock, key }
    }

    /// Ends the server without a word and starts another one on what it kept.
    pub(crate) async fn restart(&mut self) {
        self.server.running = reopened(&self.server, Arc::new(self.clock.clone())).await;
    }

    pub(crate) fn now_ms(&self) -> u64 {
        millis(&self.clock)
    }

    /// Sends a pulse as other clients do.
    pub(crate) async fn pulse(&self, pulse: &Value) -> Answer {
        self.server.send(self.signed(pulse)).await
    }

    /// Sends a pulse as our client does.
    pub(crate) async fn our_pulse(&self, pulse: &Value) -> Answer {
        self.server.send(self.signed(pulse).header("x-leverframe-gate", "1")).await
    }

    /// Signs a pulse, now.
    pub(crate) fn signed(&self, pulse: &Value) -> RequestBuilder {
        signed(&self.server, &self.key, "/v1/pulse", pulse.to_string().as_bytes(), self.now_ms())
    }

    /// A pulse of an instance that called `free` so many times.
    pub(crate) fn calls(&self, instance: &str, calls: u64) -> Value {
        calls_of(instance, calls, self.now_ms())
    }

    pub(crate) async fn status(&self) -> Value {
        let answer = self.server.get("/api/v1/gate/acme", &self.server.root).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()
    }

    /// Sets limits of `acme`.
    pub(crate) async fn set(&self, changes: Value) -> Value {
        let answer = change(&self.server, "acme", &changes).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()["settings"].clone()
    }

    pub(crate) async fn totals(&self) -> Totals {
        totals(&self.server, "default").await
    }

    /// Waits for something of the status, second by second.
    pub(crate) async fn seconds_until(&self, most: u32, holds: impl Fn(&Value) -> bool + Sync) -> u32 {
        for second in 0..=most {
            if holds(&self.status().await) {
                return second;
            }
            self.clock.advance(Duration::from_secs(1));
            // The server looks at its rules each second, beside the requests, and then waits for the next one.
            let next = self.clock.now() + Duration::from_secs(1);
            let looked = async {
                while !self.clock.deadlines().contains(&next) {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(Duration::from_secs(20), looked).await.expect("it looks each second");
        }
        panic!("not within {most} seconds: {:#}", self.status().await);
    }
}

pub(crate) fn millis(clock: &dyn Clock) -> u64 {
    clock.wall().duration_since(UNIX_EPOCH).unwrap().as_millis().try_into().unwrap()
}

/// Starts another server on what one has kept.
pub(crate) async fn reopened(server: &TestServer, clock: Arc<dyn Clock>) -> leverframe_server::Running {
    let mut options = ServeOptions::default();
    options.listen = "127.0.0.1:0".to_owned();
    options.data = server.data().to_owned();
    options.clock = clock;
    options.limits.stranger = leverframe_server::limit::Rate::UNLIMITED;
    Server::start(options).await.unwrap()
}

pub(crate) async fn key(server: &TestServer, org: &str, site: Option<&str>) -> Key {
    let body = json!({"site": site, "name": "of a test"});
    let answer = server.post(&format!("/api/v1/gate/{org}/keys"), &server.root, &body).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let made = answer.json();
    Key { publish: text(&made["key"]["publish_key"]), secret: text(&made["secret_key"]) }
}

pub(crate) fn calls_of(instance: &str, calls: u64, ts: u64) -> Value {
    json!({
        "instanceId": instance, "usageDelta": calls, "bouncedUnits": 0,
        "metrics": {"latency": 0.0, "errors": 0.0}, "ts": ts,
        "tagMetrics": [{"tag": "free", "latency": 0.0, "count": calls}],
    })
}

/// Signs a body with a key, at a time.
pub(crate) fn signed(server: &TestServer, key: &Key, path: &str, body: &[u8], at_ms: u64) -> RequestBuilder {
    let timestamp = at_ms.to_string();
    let signature = sign_pulse(body, &timestamp, &key.secret);
    server
        .http
        .post(server.url(path))
        .header("x-waitstate-id", &key.publish)
        .header("x-waitstate-signature", signature)
        .header("x-waitstate-timestamp", timestamp)
        .header("content-type", "application/json")
        .body(body.to_vec())
}

pub(crate) async fn change(server: &TestServer, org: &str, changes: &Value) -> Answer {
    let request = server.request(Method::PATCH, &format!("/api/v1/gate/{org}"), &server.root);
    server.send(request.json(changes)).await
}

pub(crate) async fn totals(server: &TestServer, site: &str) -> Totals {
    let store: &dyn GateStore = &*server.store;
    store.gate_totals(&SiteId::new("acme", site)).await.unwrap()
}

/// Uploads rules as those of `acme/payments`.
pub(crate) async fn upload_rules(server: &TestServer, gate: &str) {
    let files = [
        ("namespace.toml", "schema_version = \"0.1\"\n[namespace]\nslug = \"payments\"\n"),
        ("gate.toml", gate),
    ];
    let tree: Tree = files.map(|(path, text)| (path.to_owned(), text.to_owned())).into_iter().collect();
    let mut body =
        b"--b\r\ncontent-disposition: form-data; name=\"archive\"; filename=\"a.tar.gz\"\r\n\r\n".to_vec();
    body.extend(archive::pack(&tree).unwrap());
    body.extend_from_slice(b"\r\n--b--\r\n");
    let put = server.request(Method::PUT, "/api/v1/tenants/acme/namespaces/payments/manifest", &server.root);
    let put = put.header("content-type", "multipart/form-data; boundary=b").body(body);
    let answer = server.send(put).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}
