//! The twin for async programs.

use std::{
    collections::HashMap,
    future::Future,
    pin::pin,
    sync::{Arc, mpsc},
    task::{Context, Waker},
    time::Duration,
};

use leverframe::{
    NexusConfig, NexusError,
    live::block_on,
    settings::{AsyncNexusClient, FlagWrite, WriteOptions},
    testing::ManualClock,
};
use serde_json::json;

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
