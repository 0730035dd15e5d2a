//! Sessions that cannot be had: who waits for them, who does not, and what the service says of being left alone.

use std::{
    fmt,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::Duration,
};

use leverframe::{
    NexusClient, NexusError, Result, Secret, async_trait, rfc3339,
    settings::CredentialSource,
    testing::ManualClock,
    traits::{Clock, Tick},
};
use serde_json::json;

use super::stage::{Fault, PATIENCE, Stage, eventually, flag, pass, settled, soon};

const TTL: Duration = Duration::from_secs(60);
const EXCHANGE: &str = "/v1/auth";

/// A platform whose second token, and each after it, is had by calling a function.
struct Platform {
    asked: AtomicUsize,
    later: Box<dyn Fn() + Send + Sync>,
}

impl Platform {
    fn new(later: impl Fn() + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { asked: AtomicUsize::new(0), later: Box::new(later) })
    }
}

impl fmt::Debug for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Platform")
    }
}

#[async_trait]
impl CredentialSource for Platform {
    async fn token(&self) -> Result<Secret> {
        if self.asked.fetch_add(1, Ordering::Relaxed) > 0 {
            (self.later)();
        }
        Ok(Secret::new("eyJ.platform.x"))
    }
}

fn client_of(stage: &Stage, platform: Arc<Platform>) -> (NexusClient, ManualClock) {
    let clock = ManualClock::new();
    let builder = stage.builder().api_key("").credential_source(platform);
    (builder.clock(Arc::new(clock.clone())).build().unwrap(), clock)
}

fn client(stage: &Stage) -> (NexusClient, ManualClock) {
    client_of(stage, Platform::new(|| {}))
}

fn exchanges(stage: &Stage) -> usize {
    stage.asked(EXCHANGE).len()
}

fn evaluate(client: &NexusClient) -> std::result::Result<bool, NexusError> {
    client.evaluate_ab(&["checkout"], "ann", &Default::default()).map(|on| on["checkout"])
}

#[test]
fn all_who_wait_for_an_exchange_that_hangs_are_told_when_it_is_given_up() {
    let stage = Stage::filled();
    let (client, clock) = client(&stage);
    stage.end_sessions();
    stage.fail_always(EXCHANGE, Fault::Silence);
    let (tell, told) = channel();
    for _ in 0..8 {
        let (client, tell) = (client.clone(), tell.clone());
        thread::spawn(move || tell.send(evaluate(&client)).unwrap());
    }
    stage.wait_for(EXCHANGE, 2);
    // Each who waits has a bound of its own, beyond that of the exchange and before the next refresh.
    let waits = |deadline: &Tick| (11..50).contains(&(*deadline - clock.now()).as_secs());
    eventually("all wait", || clock.deadlines().iter().filter(|deadline| waits(deadline)).count() == 8);

    pass(&clock, Duration::from_secs(10));

    for _ in 0..8 {
        let outcome = told.recv_timeout(PATIENCE).unwrap();
        assert!(matches!(outcome, Err(NexusError::WifTokenExchangeFailed(_))), "{outcome:?}");
    }
    assert_eq!(exchanges(&stage), 2);
    // Somebody who calls for it by hand is not kept waiting for the end of a pause.
    stage.recover();
    client.sync().unwrap();
    assert!(evaluate(&client).unwrap());
    assert_eq!(exchanges(&stage), 3);
}

#[test]
fn whoever_has_a_session_does_not_wait_for_the_exchange_of_the_next() {
    let stage = Stage::filled();
    let (client, clock) = client(&stage);
    stage.fail_always(EXCHANGE, Fault::Silence);

    // The refresh is the first to find that it is time for another.
    pass(&clock, Duration::from_secs(2_700));
    stage.wait_for(EXCHANGE, 2);

    let calling = client.clone();
    assert!(soon(move || evaluate(&calling)).unwrap());
    assert_eq!(exchanges(&stage), 2);
    stage.end_silence();
}

#[test]
fn a_quarantine_of_the_exchange_holds_everything_back_until_its_end() {
    let stage = Stage::filled();
    let (client, clock) = client(&stage);
    let hour = Duration::from_secs(3_600);
    let end = rfc3339(clock.wall() + hour);
    stage.fail_always(EXCHANGE, Fault::quarantine(&end));
    stage.end_sessions();

    let refused = client.sync();

    assert!(
        matches!(&refused, Err(NexusError::Quarantined { expires_at, .. }) if *expires_at == end),
        "{refused:?}"
    );
    assert_eq!(client.held_for(), Some(hour));
    let refreshes = client.status().refreshes;
    for n in 1..=10 {
        pass(&clock, TTL);
        settled(&client, refreshes + n);
    }
    client.run_stream();
    eventually("the stream is refused", || client.status().stream.unwrap().last_error.is_some());
    // Without a session there is nothing that a write could be sent with.
    assert!(matches!(client.delete_flag("checkout"), Err(NexusError::Quarantined { .. })));
    assert_eq!((exchanges(&stage), client.held_for()), (2, Some(hour - TTL * 10)));
    stage.recover();
    stage.publish(|document| document.flags = json!({"checkout": flag(false)}));
    pass(&clock, hour - TTL * 10);
    stage.while_time_passes(&clock, "it works again", || !client.get_flag("checkout", true));
    assert_eq!(exchanges(&stage), 3);
}

#[test]
fn a_client_that_cannot_start_says_what_the_service_has_against_it() {
    let stage = Stage::filled();
    type Expected = fn(&NexusError) -> bool;
    let later = rfc3339(ManualClock::new().wall() + TTL);
    let asks = |status| Fault::Answer(status, "Retry-After: 90\r\n".to_owned(), Vec::new());
    for (fault, is_expected) in [
        (Fault::status(402), (|e| matches!(e, NexusError::Billing)) as Expected),
        (Fault::quarantine(&later), |e| matches!(e, NexusError::Quarantined { .. })),
        (asks(429), |e| matches!(e, NexusError::RateLimited)),
        (asks(503), |e| (e.status(), e.retry_after()) == (Some(503), Some(Duration::from_secs(90)))),
        (Fault::status(404), |e| matches!(e, NexusError::WifTokenExchangeFailed(_))),
    ] {
        stage.fail(EXCHANGE, fault.clone());
        let builder = stage.builder().api_key("").credential_source(Platform::new(|| {}));

        let error = builder.clock(Arc::new(ManualClock::new())).build().unwrap_err();

        assert!(is_expected(&error), "{fault:?}: {error:?}");
    }
    assert_eq!(stage.syncs(), 0);
}

#[test]
fn debts_that_the_exchange_tells_of_show_until_something_succeeds() {
    let stage = Stage::filled();
    let (client, _clock) = client(&stage);
    stage.end_sessions();
    stage.fail(EXCHANGE, Fault::status(402));

    assert!(matches!(client.sync(), Err(NexusError::Billing)));

    assert!(client.billing_overdue());
    assert_eq!(client.held_for(), Some(Duration::from_secs(300)));
    client.sync().unwrap();
    assert_eq!((client.billing_overdue(), client.held_for()), (false, None));
}

#[test]
fn a_call_that_gets_no_answer_leaves_the_service_alone_as_it_asked() {
    let stage = Stage::filled();
    let (client, clock) = stage.client();
    stage.fail("/v1/sync", Fault::Answer(503, "Retry-After: 150\r\n".to_owned(), Vec::new()));
    assert_eq!(client.sync().unwrap_err().status(), Some(503));
    stage.fail("/v1/sync", Fault::Reset);

    assert!(matches!(client.sync(), Err(NexusError::Transport(_))));

    assert_eq!(client.held_for(), Some(Duration::from_secs(150)));
    pass(&clock, TTL);
    settled(&client, 3);
    assert_eq!(stage.syncs(), 3);
}

/// A client whose next token is waited for until the test lets it come.
fn blocked(stage: &Stage) -> (NexusClient, Receiver<()>, Sender<()>) {
    let (entered, entering) = channel();
    let (go, going) = channel::<()>();
    let (entered, going) = (Mutex::new(entered), Mutex::new(going));
    let platform = Platform::new(move || {
        entered.lock().unwrap().send(()).unwrap();
        // The test may be over.
        let _ = going.lock().unwrap().recv();
    });
    let (client, _clock) = client_of(stage, platform);
    stage.end_sessions();
    (client, entering, go)
}

#[test]
fn a_source_of_credentials_that_blocks_holds_up_neither_the_status_nor_the_end() {
    let stage = Stage::filled();
    let (client, entering, go) = blocked(&stage);
    client.run_stream();
    entering.recv_timeout(PATIENCE).unwrap();

    let asking = client.clone();
    let status = soon(move || asking.status());
    assert_eq!(status.stream.unwrap().connections, 0);
    let closing = client.clone();
    soon(move || closing.close());

    assert!(client.get_flag("checkout", false));
    drop(go);
}

#[test]
fn a_stream_opens_once_a_source_of_credentials_comes_to_an_end() {
    let stage = Stage::filled();
    let (client, entering, go) = blocked(&stage);
    client.run_stream();
    entering.recv_timeout(PATIENCE).unwrap();

    go.send(()).unwrap();

    stage.wait_for_streams(1);
    eventually("it is known to be open", || client.status().stream.unwrap().connections == 1);
}

#[test]
fn a_source_of_credentials_may_look_at_its_own_client() {
    let stage = Stage::filled();
    let own = Arc::new(OnceLock::<NexusClient>::new());
    let looked = Arc::new(AtomicUsize::new(0));
    let platform = Platform::new({
        let (own, looked) = (Arc::clone(&own), Arc::clone(&looked));
        move || {
            let client = own.get().unwrap();
            assert!(client.status().stream.is_some() && client.get_flag("checkout", false));
            looked.fetch_add(1, Ordering::Relaxed);
        }
    });
    let (client, _clock) = client_of(&stage, platform);
    own.set(client.clone()).unwrap();
    stage.end_sessions();

    client.run_stream();

    stage.wait_for_streams(1);
    assert_eq!(looked.load(Ordering::Relaxed), 1);
    client.close();
}
