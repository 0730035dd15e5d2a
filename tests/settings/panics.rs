//! What belongs to the client's user and panics, or blocks: types, credential sources, transports.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc::channel,
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use leverframe::{
    NexusClient, Result, Secret, async_trait,
    settings::CredentialSource,
    testing::{Answer, ManualClock, ScriptedTransport},
    traits::{Request, Response, Transport},
};
use serde::{Deserialize, Deserializer};
use serde_json::json;

use super::stage::{PATIENCE, Stage, config, eventually, flag, pass, settled, soon};

const TTL: Duration = Duration::from_secs(60);

/// Cannot be read from one text.
#[derive(Debug, PartialEq)]
struct Touchy(String);

impl<'de> Deserialize<'de> for Touchy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        assert_ne!(text, "boom", "a type of this test panics");
        Ok(Self(text))
    }
}

#[test]
fn a_type_that_panics_keeps_its_value_and_ends_nothing() {
    let stage = Stage::filled();
    let (client, clock) = stage.client();
    let touchy = client.bind::<Touchy>("greeting").unwrap();
    let limits = client.bind::<BTreeMap<String, u32>>("limits").unwrap();
    let serve = |greeting: &str, rps: u32| {
        stage.publish(|document| {
            document.configs = json!({"greeting": config(greeting), "limits": config(json!({ "rps": rps }))});
        });
        pass(&clock, TTL);
    };

    serve("boom", 11);
    eventually("the other follows", || limits.load()["rps"] == 11);
    assert_eq!(touchy.get().0, "hello");
    assert!(touchy.last_error().is_some_and(|error| error.contains("`greeting`")));

    serve("good", 12);
    eventually("both follow", || touchy.get().0 == "good" && limits.load()["rps"] == 12);
    assert_eq!((touchy.last_error(), client.status().failures), (None, 0));
}

/// Panics where the second token is asked for.
#[derive(Debug, Default)]
struct Panicking(AtomicUsize);

#[async_trait]
impl CredentialSource for Panicking {
    async fn token(&self) -> Result<Secret> {
        assert_ne!(self.0.fetch_add(1, Ordering::Relaxed), 1, "a credential source of this test panics");
        Ok(Secret::new("eyJ.platform.x"))
    }
}

#[test]
fn a_source_of_credentials_that_panics_has_failed_and_is_asked_again() {
    let stage = Stage::filled();
    let clock = ManualClock::new();
    let builder = stage.builder().api_key("").credential_source(Arc::new(Panicking::default()));
    let client = builder.clock(Arc::new(clock.clone())).build().unwrap();
    stage.end_sessions();
    stage.publish(|document| document.flags = json!({"checkout": flag(false)}));

    pass(&clock, TTL);
    settled(&client, 1);

    let status = client.status();
    assert!(status.last_error.is_some_and(|error| error.contains("panicked")));
    stage.while_time_passes(&clock, "it goes on", || !client.get_flag("checkout", true));
}

/// A service in memory, before which something happens with each request.
struct Before {
    service: ScriptedTransport,
    act: Box<dyn Fn(&str) + Send + Sync>,
}

impl fmt::Debug for Before {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Before")
    }
}

#[async_trait]
impl Transport for Before {
    fn name(&self) -> &'static str {
        "before"
    }

    async fn send(&self, request: Request) -> Result<Response> {
        (self.act)(request.uri.path());
        self.service.send(request).await
    }

    async fn close(&self) -> Result<()> {
        self.service.close().await
    }
}

fn says(service: &ScriptedTransport, checkout: bool) {
    let body = json!({"synced_at": "t", "flags": {"checkout": flag(checkout)}}).to_string();
    service.answer("/v1/sync", Answer::Whole(StatusCode::OK, HeaderMap::new(), Bytes::from(body)));
}

fn client(
    service: &ScriptedTransport,
    act: impl Fn(&str) + Send + Sync + 'static,
) -> (NexusClient, ManualClock) {
    says(service, true);
    let mut events = HeaderMap::new();
    events.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    let greeting = Bytes::from_static(b"event: resync\ndata: {}\n\n");
    service.answer("/v1/stream", Answer::Whole(StatusCode::OK, events, greeting));
    let (clock, transport) = (ManualClock::new(), Before { service: service.clone(), act: Box::new(act) });
    let builder = NexusClient::builder().endpoint("https://settings.example.com").api_key("wxs_1");
    let client = builder.transport(Arc::new(transport)).clock(Arc::new(clock.clone())).build().unwrap();
    (client, clock)
}

/// Waits until something is so, while time passes.
#[track_caller]
fn in_time(clock: &ManualClock, what: &str, is_so: impl Fn() -> bool) {
    eventually(what, || {
        clock.advance(Duration::from_millis(50));
        is_so()
    });
}

#[test]
fn a_transport_that_panics_during_a_refresh_shows_and_the_client_goes_on() {
    let (service, syncs) = (ScriptedTransport::new(), AtomicUsize::new(0));
    let (client, clock) = client(&service, move |path| {
        let is_second = path == "/v1/sync" && syncs.fetch_add(1, Ordering::Relaxed) == 1;
        assert!(!is_second, "a transport of this test panics");
    });
    says(&service, false);

    pass(&clock, TTL);
    settled(&client, 1);

    let status = client.status();
    assert_eq!((status.failures, status.consecutive_failures), (1, 1));
    assert!(status.last_error.is_some_and(|error| error.contains("panicked")));
    assert!(client.get_flag("checkout", false));
    in_time(&clock, "it goes on", || !client.get_flag("checkout", true));
    assert_eq!(client.status().consecutive_failures, 0);
    client.close();
}

#[test]
fn a_transport_that_panics_over_the_stream_has_it_opened_anew() {
    let (service, streams) = (ScriptedTransport::new(), AtomicUsize::new(0));
    let (client, clock) = client(&service, move |path| {
        let is_first = path == "/v1/stream" && streams.fetch_add(1, Ordering::Relaxed) == 0;
        assert!(!is_first, "a transport of this test panics");
    });
    says(&service, false);

    client.run_stream();

    settled(&client, 1);
    let stream = client.status().stream.unwrap();
    assert!(stream.last_error.is_some_and(|error| error.contains("panicked")));
    in_time(&clock, "it is opened, and looked at", || {
        client.status().stream.unwrap().connections > 0 && !client.get_flag("checkout", true)
    });
    client.stop_stream();
    assert_eq!(client.status().stream, None);
}

#[test]
fn a_transport_that_blocks_while_the_stream_is_opened_holds_up_no_status_and_no_switch() {
    let (entered, entering) = channel();
    let (go, going) = channel::<()>();
    let (entered, going) = (Mutex::new(entered), Mutex::new(going));
    let service = ScriptedTransport::new();
    let (client, _clock) = client(&service, move |path| {
        if path == "/v1/stream" {
            entered.lock().unwrap().send(()).unwrap();
            // The test may be over.
            let _ = going.lock().unwrap().recv();
        }
    });
    client.run_stream();
    entering.recv_timeout(PATIENCE).unwrap();

    let asking = client.clone();
    assert!(soon(move || asking.status()).stream.is_some());
    let switching = client.clone();
    soon(move || {
        switching.stop_stream();
        assert_eq!(switching.status().stream, None);
        switching.run_stream();
        switching.sync().unwrap();
    });

    // What was switched off meanwhile is not taken up again; what was switched on is.
    go.send(()).unwrap();
    entering.recv_timeout(PATIENCE).unwrap();
    drop(go);
    eventually("it is open", || client.status().stream.unwrap().connections > 0);
}
