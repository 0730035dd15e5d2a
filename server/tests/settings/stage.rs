//! A server with a service and its keys, and a small client.

use std::{sync::Arc, time::Duration};

use leverframe::{backends::clock_system::SystemClock, traits::Clock};
use leverframe_server::{
    ServeOptions,
    settings::{
        Keyring, NewSettingsKey, SettingsStore,
        model::{Change, EntryKind, Kind, Service, ServiceId, SettingsKey, Write, Written},
    },
};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::support::{Answer, TestServer};

/// A server with the backend service `acme/payments/prod`, a secret key and a public one.
pub(crate) struct Stage {
    pub(crate) server: TestServer,
    pub(crate) id: ServiceId,
    pub(crate) secret: Key,
    pub(crate) public: Key,
}

/// A key with its secret.
#[derive(Clone)]
pub(crate) struct Key {
    pub(crate) record: SettingsKey,
    pub(crate) text: String,
}

impl Stage {
    pub(crate) async fn new() -> Self {
        Self::with(Arc::new(SystemClock::new()), |_| {}).await
    }

    pub(crate) async fn with(clock: Arc<dyn Clock>, change: impl FnOnce(&mut ServeOptions)) -> Self {
        Self::of(TestServer::start_with(clock, change).await).await
    }

    /// Makes the service and its keys on a server.
    pub(crate) async fn of(server: TestServer) -> Self {
        let id = ServiceId::new("acme", "payments", "prod");
        let secret = key(&server, &id, Kind::Backend, false).await;
        let public = key(&server, &id, Kind::Backend, true).await;
        Self { server, id, secret, public }
    }

    pub(crate) fn store(&self) -> &dyn SettingsStore {
        &*self.server.store
    }

    /// Another service of the same tenant, with a secret key.
    pub(crate) async fn other(&self, name: &str, kind: Kind) -> (ServiceId, Key) {
        let id = ServiceId::new("acme", "payments", name);
        let key = key(&self.server, &id, kind, false).await;
        (id, key)
    }

    /// An umbrella service, which the service inherits from.
    pub(crate) async fn umbrella(&self) -> ServiceId {
        let id = ServiceId::new("acme", "payments", "shared");
        let now = self.server.running.app().clock().wall();
        let keyring = Keyring::in_directory(self.server.data()).unwrap();
        let data_key = keyring.new_data_key(&id).unwrap();
        let umbrella = Service::new(id.clone(), Kind::Umbrella, data_key, now);
        self.store().put_settings_service(&umbrella).await.unwrap().unwrap();
        self.change(&self.id, |service| service.inherits = Some(id.clone())).await;
        id
    }

    /// Changes a service as an operator does, and waits until the server has taken note of it.
    pub(crate) async fn change(&self, id: &ServiceId, change: impl FnOnce(&mut Service)) {
        let mut service = self.store().settings_service(id).await.unwrap().unwrap();
        change(&mut service);
        self.store().put_settings_service(&service).await.unwrap().unwrap();
    }

    /// Writes a config or a flag as another server does, which this one hears of.
    pub(crate) async fn put_behind(&self, id: &ServiceId, kind: EntryKind, key: &str, content: &str) {
        let now = self.server.running.app().clock().wall();
        let standing = self.store().settings_standing(id, kind, key).await.unwrap();
        let write = Write::new(kind, key, Change::Put { content: content.to_owned() }, standing);
        let written = self.store().write_settings(id, &write, now).await.unwrap();
        assert!(matches!(written, Written::Done(_)), "{written:?}");
    }

    pub(crate) fn ask(&self, method: Method, path: &str, key: &Key) -> RequestBuilder {
        self.server.http.request(method, self.server.url(path)).header("x-nexus-api-key", &key.text)
    }

    pub(crate) async fn get(&self, path: &str, key: &Key) -> Answer {
        self.server.send(self.ask(Method::GET, path, key)).await
    }

    pub(crate) async fn sync(&self, key: &Key) -> Value {
        let answer = self.get("/v1/sync", key).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()
    }

    /// Asks again and again for what somebody else's change makes different, which the server hears of in its own time.
    pub(crate) async fn until<T>(
        &self,
        key: &Key,
        path: &str,
        holds: impl Fn(&Answer) -> Option<T> + Sync,
    ) -> T {
        let asking = async {
            loop {
                if let Some(found) = holds(&self.get(path, key).await) {
                    return found;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), asking).await.expect("it does not come to this")
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Answer {
        self.server.send(self.ask(Method::PUT, path, &self.secret).json(body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.server.send(self.ask(Method::DELETE, path, &self.secret)).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.server.send(self.ask(Method::POST, path, &self.secret).json(body)).await
    }

    pub(crate) async fn config(&self, key: &str, value: Value) {
        let answer = self.put(&format!("/v1/configs/{key}"), &json!({"value": value})).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }

    pub(crate) async fn flag(&self, key: &str, flag: Value) {
        let answer = self.put(&format!("/v1/flags/{key}"), &flag).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }

    pub(crate) async fn secret(&self, key: &str, value: &str) {
        let answer = self.post("/v1/secrets", &json!({"key": key, "value": value, "type": "text"})).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
    }

    pub(crate) async fn listen(&self, key: &Key) -> Events {
        let response = self.ask(Method::GET, "/v1/stream", key).send().await.unwrap();
        Events::of(response)
    }
}

/// Makes a key, and the service where there is none.
pub(crate) async fn key(server: &TestServer, id: &ServiceId, kind: Kind, public: bool) -> Key {
    let keyring = Keyring::in_directory(server.data()).unwrap();
    let new = NewSettingsKey::new(id.clone(), public);
    let issued = server.admin.settings_key(&keyring, &new, kind).await.unwrap().issued;
    Key { record: issued.key, text: issued.secret.expose().to_owned() }
}

/// An open stream.
pub(crate) struct Events {
    response: reqwest::Response,
    text: String,
}

impl Events {
    pub(crate) fn of(response: reqwest::Response) -> Self {
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, text: String::new() }
    }

    /// The next block as it came, without the empty line; `None` at the clean end.
    pub(crate) async fn next(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                return Some(block);
            }
            let chunk = tokio::time::timeout(Duration::from_secs(30), self.response.chunk());
            let chunk = chunk.await.expect("nothing came").expect("broken off")?;
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// The next event's name, and the key that it is about, as clients hear it that know no patches.
    pub(crate) async fn event(&mut self) -> String {
        loop {
            let (name, data) = self.named().await;
            if name == "settings.patch" {
                continue;
            }
            let key = data["key"].as_str().map(|key| format!(" {key}")).unwrap_or_default();
            return format!("{name}{key}");
        }
    }

    /// The next event's name and data.
    pub(crate) async fn named(&mut self) -> (String, Value) {
        loop {
            let block = self.next().await.expect("the stream ended");
            if block == ": ping" {
                continue;
            }
            let (name, data) = block.split_once("\ndata: ").expect("one line each");
            let data: Value = serde_json::from_str(data).unwrap();
            return (name.strip_prefix("event: ").unwrap().to_owned(), data);
        }
    }
}
