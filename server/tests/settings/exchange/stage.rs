//! A server that believes issuers, and services that trust them.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use leverframe::testing::ManualClock;
use leverframe_server::{
    ServeOptions,
    settings::{
        Keyring,
        model::{Kind, Service, ServiceId, Trust},
    },
};
use serde_json::{Value, json};

use super::issuer::{Key, set};
use crate::support::{Answer, TestServer};

pub(super) const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
pub(super) const SUBJECT: &str = "system:serviceaccount:billing:api";
const NOW: u64 = 1_800_000_000;

/// A server at a time that stands still, with the service `acme/payments/prod`.
pub(super) struct Stage {
    pub(super) server: TestServer,
    pub(super) clock: ManualClock,
    /// Signs for [`ISSUER`].
    pub(super) key: Key,
}

impl Stage {
    /// Its one issuer publishes its keys in a file; `prod` trusts [`SUBJECT`].
    pub(super) async fn new() -> Self {
        let key = Key::p256("one");
        let keys = set(&[&key]);
        let file = "[[issuer]]\nissuer = \"ISSUER\"\nprovider = \"kubernetes\"\njwks_file = \"keys.json\"\n";
        let stage = Self::with(key, &file.replace("ISSUER", ISSUER), &[("keys.json", &keys)], |_| {}).await;
        stage.trusted("prod", Kind::Backend, &[trust()]).await;
        stage
    }

    /// One with this file of issuers, and these beside it.
    pub(super) async fn with(
        key: Key,
        issuers: &str,
        files: &[(&str, &str)],
        change: impl FnOnce(&mut ServeOptions),
    ) -> Self {
        let clock = ManualClock::new();
        clock.set_wall(UNIX_EPOCH + Duration::from_secs(NOW));
        let server = TestServer::start_with(Arc::new(clock.clone()), |options| {
            for (name, content) in files.iter().chain([&("issuers.toml", issuers)]) {
                std::fs::write(options.data.join(name), content).unwrap();
            }
            options.issuers_file = Some(options.data.join("issuers.toml"));
            change(options);
        })
        .await;
        Self { server, clock, key }
    }

    /// Makes a service of `acme/payments` that trusts these.
    pub(super) async fn trusted(&self, environment: &str, kind: Kind, trusts: &[Trust]) -> ServiceId {
        let id = ServiceId::new("acme", "payments", environment);
        let data_key = Keyring::in_directory(self.server.data()).unwrap().new_data_key(&id).unwrap();
        let mut service = Service::new(id.clone(), kind, data_key, self.now());
        service.trusts = trusts.to_vec();
        self.server.store.put_settings_service(&service).await.unwrap().unwrap();
        id
    }

    /// Changes a service as an operator does.
    pub(super) async fn change(&self, id: &ServiceId, change: impl FnOnce(&mut Service)) {
        let mut service = self.server.store.settings_service(id).await.unwrap().unwrap();
        change(&mut service);
        self.server.store.put_settings_service(&service).await.unwrap().unwrap();
    }

    pub(super) fn now(&self) -> SystemTime {
        self.server.running.app().clock().wall()
    }

    /// What a good token says.
    pub(super) fn claims(&self) -> Value {
        let now = self.now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        json!({ "iss": ISSUER, "aud": ["westyx-nexus"], "sub": SUBJECT, "iat": now, "nbf": now, "exp": now + 600 })
    }

    /// A good token, but for one claim.
    pub(super) fn but(&self, claim: &str, value: Value) -> String {
        let mut claims = self.claims();
        claims[claim] = value;
        self.key.token(&claims)
    }

    pub(super) fn token(&self) -> String {
        self.key.token(&self.claims())
    }

    pub(super) async fn exchange(&self, token: &str) -> Answer {
        self.exchange_at("127.0.0.1", &json!({ "oidc_token": token })).await
    }

    pub(super) async fn exchange_at(&self, host: &str, body: &Value) -> Answer {
        let request = self.server.http.post(self.server.url("/v1/auth/token-exchange"));
        self.server.send(request.header("host", host).json(body)).await
    }

    /// The session that a token is good for.
    pub(super) async fn session(&self, token: &str) -> String {
        let answer = self.exchange(token).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()["session_token"].as_str().unwrap().to_owned()
    }
}

/// Whom `prod` trusts.
pub(super) fn trust() -> Trust {
    Trust::new("k8s", ISSUER, "westyx-nexus", "system:serviceaccount:billing:*")
}
