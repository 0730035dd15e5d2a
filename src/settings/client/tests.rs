use std::{
    sync::{
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    time::Duration,
};

use http::{HeaderMap, StatusCode};
use serde_json::json;

use super::*;
use crate::{
    settings::WriteOptions,
    testing::{Answer, ManualClock, ScriptedTransport},
};

/// Longer than anything here takes, far shorter than a hung test.
const PATIENCE: Duration = Duration::from_secs(30);

fn says(service: &ScriptedTransport, flag: bool) {
    let json = format!(
        r#"{{"synced_at":"t","key_type":"sk","flags":{{"f":{{"is_active":{flag},"source":"service"}}}}}}"#
    );
    service.answer("/v1/sync", Answer::Whole(StatusCode::OK, HeaderMap::new(), json.into()));
}

fn parts(service: &ScriptedTransport, clock: &ManualClock) -> Parts {
    NexusClient::builder()
        .endpoint("https://settings.example.com")
        .api_key("wxs_1")
        .transport(Arc::new(service.clone()))
        .clock(Arc::new(clock.clone()))
        .parts()
        .unwrap()
}

#[test]
fn a_process_that_was_forked_off_closes_what_it_has_inherited_without_its_thread() {
    static PROCESS: AtomicU32 = AtomicU32::new(1);
    let (service, clock) = (ScriptedTransport::new(), ManualClock::new());
    says(&service, true);
    let process = || PROCESS.load(Ordering::Relaxed);
    let client = NexusClient::start(Parts { process, ..parts(&service, &clock) }).unwrap();
    // The client's thread does not end before it is let go: to the child it is as if it were not there.
    let (enter, entered) = mpsc::channel();
    let (let_go, held) = mpsc::channel::<()>();
    let held = Mutex::new(held);
    let _watching = client.on_change(move |_| {
        enter.send(()).unwrap();
        held.lock().unwrap().recv().unwrap();
    });
    says(&service, false);
    while clock.sleepers() == 0 {
        thread::yield_now();
    }
    clock.advance(Duration::from_secs(60));
    entered.recv_timeout(PATIENCE).unwrap();

    PROCESS.store(2, Ordering::Relaxed);
    let (close, closed) = mpsc::channel();
    let closing = thread::spawn({
        let client = client.clone();
        move || {
            client.close();
            close.send(()).unwrap();
        }
    });

    let in_time = closed.recv_timeout(PATIENCE);
    let_go.send(()).unwrap();
    assert!(in_time.is_ok(), "it waits for a thread that is not there");
    closing.join().unwrap();
    // In the process that has the thread it is waited for.
    PROCESS.store(1, Ordering::Relaxed);
    client.close();
    assert!(client.shared.ended.is_stopped());
}

#[test]
fn ten_thousand_writes_of_one_entry_that_nobody_confirms_are_one() {
    let (service, clock) = (ScriptedTransport::new(), ManualClock::new());
    says(&service, true);
    let client = NexusClient::start(parts(&service, &clock)).unwrap();
    let status = |status| Answer::Whole(status, HeaderMap::new(), "".into());
    service.answer("/v1/sync", status(StatusCode::INTERNAL_SERVER_ERROR));
    service.answer("/v1/configs/n", status(StatusCode::OK));

    for n in 0..10_000 {
        client.set_config("n", &json!(n), &WriteOptions::new()).unwrap();
    }

    assert_eq!(client.shared.adopted().patches.len(), 1);
    assert_eq!(client.get_config("n"), Some(json!(9_999)));
    says(&service, false);
    client.sync().unwrap();
    assert_eq!((client.shared.adopted().patches.len(), client.get_config("n")), (0, None));
}
