//! The twin for async programs.

use std::{
    collections::HashMap,
    future::Future,
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    task::{Context, Waker},
    thread::{self, ThreadId},
    time::Duration,
};

use http::{HeaderMap, StatusCode};
use leverframe::{
    NexusClient, NexusConfig, NexusError, Result, async_trait,
    live::block_on,
    settings::{AsyncNexusClient, FlagWrite, WriteOptions},
    testing::{Answer, ManualClock, ScriptedTransport},
    traits::{Request, Response, Transport},
};
use serde_json::json;
use tokio::sync::Semaphore;

use super::stage::{Fault, KEY, Stage, eventually, flag, pass};

fn config(stage: &Stage) -> NexusConfig {
    NexusConfig { api_key: KEY.into(), endpoint: stage.url(), ..Default::default() }
}

#[tokio::test]
async fn every_call_can_be_awaited_on_a_runtime() {
    let stage = Stage::filled();
    let client = AsyncNexusClient::create(config(&stage)).await.unwrap();

    client.set_secret("token", "s3cret-2").await.unwrap();
    client.set_config("n", &json!(1), &WriteOptions::new()).await.unwrap();
    client.set_flag("banner", &FlagWrite::new(true), &WriteOptions::new()).await.unwrap();
    client.set_secret_file("cert", b"\xff", &WriteOptions::new()).await.unwrap();
    client.sync().await.unwrap();
    let attributes = HashMap::from([("plan".to_owned(), "pro".to_owned())]);
    let on = client.evaluate_ab(&["checkout"], "ann", &attributes).await.unwrap();

    assert_eq!(client.get_secret("token").unwrap().expose(), "s3cret-2");
    assert_eq!((client.get_config("n"), client.get_flag("banner", false)), (Some(json!(1)), true));
    assert_eq!(std::fs::read(client.get_secret_file_path("cert").unwrap()).unwrap(), b"\xff");
    assert!(on["checkout"]);
    client.delete_secret_version("token", 2).await.unwrap();
    client.delete_secret("cert").await.unwrap();
    client.delete_config("n").await.unwrap();
    client.delete_flag("banner").await.unwrap();
    assert!(matches!(client.delete_flag("banner").await, Err(NexusError::NotFound)));
    client.close().await;
    assert!(client.sync().await.is_err());
}

#[test]
fn no_runtime_is_needed() {
    let stage = Stage::filled();

    let client = block_on(AsyncNexusClient::create(config(&stage))).unwrap();

    block_on(client.sync()).unwrap();
    assert!(client.get_flag("checkout", false));
}

#[test]
fn a_future_that_is_dropped_leaves_the_client_usable_and_its_write_made() {
    let stage = Stage::filled();
    let client = block_on(AsyncNexusClient::create(config(&stage))).unwrap();
    stage.fail("/v1/secrets", Fault::Silence);
    {
        let mut write = pin!(client.set_secret("token", "s3cret-2"));
        assert!(write.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        stage.wait_for("/v1/secrets", 1);
    }

    stage.end_silence();

    eventually("the write is made", || client.get_secret("token").unwrap().expose() == "s3cret-2");
    block_on(client.sync()).unwrap();
}

/// Answers a sync, and to all else nothing for as long as somebody waits.
#[derive(Debug)]
struct Hanging {
    service: ScriptedTransport,
    asked_on: Mutex<Vec<ThreadId>>,
    gone: Arc<AtomicUsize>,
}

/// Counts who gave up waiting.
struct Waiting(Arc<AtomicUsize>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[async_trait]
impl Transport for Hanging {
    fn name(&self) -> &'static str {
        "hanging"
    }

    async fn send(&self, request: Request) -> Result<Response> {
        if request.uri.path() == "/v1/sync" {
            return self.service.send(request).await;
        }
        self.asked_on.lock().unwrap().push(thread::current().id());
        let _waiting = Waiting(Arc::clone(&self.gone));
        std::future::pending().await
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }
}

#[test]
fn an_evaluation_takes_no_thread_and_ends_with_its_future() {
    let (service, gone) = (ScriptedTransport::new(), Arc::new(AtomicUsize::new(0)));
    let empty = Answer::Whole(StatusCode::OK, HeaderMap::new(), r#"{"synced_at":"t"}"#.into());
    service.answer("/v1/sync", empty);
    let transport = Arc::new(Hanging { service, asked_on: Mutex::default(), gone: Arc::clone(&gone) });
    let builder = NexusClient::builder().endpoint("https://settings.example.com").api_key(KEY);
    let own = Arc::clone(&transport) as Arc<dyn Transport>;
    let client = AsyncNexusClient::from(builder.transport(own).build().unwrap());
    let attributes = HashMap::new();

    for _ in 0..100 {
        let mut evaluation = pin!(client.evaluate_ab(&["checkout"], "ann", &attributes));
        assert!(evaluation.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }

    assert_eq!(*transport.asked_on.lock().unwrap(), vec![thread::current().id(); 100]);
    assert_eq!(gone.load(Ordering::Relaxed), 100);
}

/// Answers a sync, and holds all else up until it is let go.
#[derive(Debug)]
struct HeldUp {
    service: ScriptedTransport,
    gate: Semaphore,
    under_way: AtomicUsize,
    most: AtomicUsize,
}

#[async_trait]
impl Transport for HeldUp {
    fn name(&self) -> &'static str {
        "held-up"
    }

    async fn send(&self, request: Request) -> Result<Response> {
        if request.uri.path() != "/v1/sync" {
            let now = 1 + self.under_way.fetch_add(1, Ordering::SeqCst);
            self.most.fetch_max(now, Ordering::SeqCst);
            // Closed is let go.
            let _ = self.gate.acquire().await;
            self.under_way.fetch_sub(1, Ordering::SeqCst);
        }
        self.service.send(request).await
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }
}

#[test]
fn so_many_calls_are_under_way_at_a_time_and_further_ones_wait_for_their_turn() {
    let transport = Arc::new(HeldUp {
        service: ScriptedTransport::new(),
        gate: Semaphore::new(0),
        under_way: AtomicUsize::new(0),
        most: AtomicUsize::new(0),
    });
    let answer = |body: &'static str| Answer::Whole(StatusCode::OK, HeaderMap::new(), body.into());
    transport.service.answer("/v1/sync", answer(r#"{"synced_at":"t"}"#));
    transport.service.answer("/v1/configs/n", answer("{}"));
    let own = Arc::clone(&transport) as Arc<dyn Transport>;
    let builder = NexusClient::builder().endpoint("https://settings.example.com").api_key(KEY);
    let client = AsyncNexusClient::from(builder.transport(own).build().unwrap());

    let mut begun: Vec<_> = (0..100).map(|_| Box::pin(client.delete_config("n"))).collect();
    for call in &mut begun {
        assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    eventually("32 are under way", || transport.under_way.load(Ordering::SeqCst) == 32);
    // Nothing was begun for those that wait: it is over with them.
    begun.truncate(40);
    transport.gate.close();
    for call in begun {
        block_on(call).unwrap();
    }

    let asked = transport.service.requests().iter().filter(|r| r.uri.path() == "/v1/configs/n").count();
    assert_eq!((asked, transport.most.load(Ordering::SeqCst)), (40, 32));
}

#[test]
fn a_clone_that_outlives_the_other_surface_is_kept_current() {
    let stage = Stage::filled();
    let clock = ManualClock::new();
    let client = stage.builder().clock(Arc::new(clock.clone())).build().unwrap();
    let twin = AsyncNexusClient::from(client.clone());
    drop(client);

    stage.publish(|document| document.flags = json!({"checkout": flag(false)}));
    pass(&clock, Duration::from_secs(60));

    eventually("the change is seen", || !twin.get_flag("checkout", true));
}

#[test]
fn a_callback_may_close_either_surface_and_wait_for_that() {
    for twins in [true, false] {
        let stage = Stage::filled();
        let clock = ManualClock::new();
        let client = stage.builder().clock(Arc::new(clock.clone())).build().unwrap();
        let twin = AsyncNexusClient::from(client.clone());
        let (tell, told) = mpsc::channel();
        let _watching = client.on_change(move |_| {
            if twins {
                block_on(twin.close())
            } else {
                twin.as_sync().close()
            }
            tell.send(()).unwrap();
        });

        stage.publish(|document| document.flags = json!({"checkout": flag(false)}));
        pass(&clock, Duration::from_secs(60));

        told.recv_timeout(Duration::from_secs(30)).expect("it waits for itself");
        client.close();
        assert!(client.sync().is_err());
    }
}
