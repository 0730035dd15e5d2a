//! Size and time are bounded, whatever the peer does.

use std::time::Duration;

use leverframe::{
    ErrorKind, Retry,
    backends::{clock_system::SystemClock, http_client::HttpClientConfig},
    traits::Clock,
};

use crate::{
    ask::{Make, answer, default, failure, get, get_soon, trusting},
    real::{
        nginx::Nginx,
        rude::{Manner, Rude},
    },
};

pub(crate) fn the_limit_itself_is_allowed(make: Make) {
    let nginx = Nginx::start();
    nginx.put("exact", vec![b'x'; 100_000]);
    let transport = make(&trusting(&nginx)).unwrap();

    for uri in [nginx.http("/files/exact"), nginx.https("/gzip/exact")] {
        assert_eq!(answer(&*transport, get(uri).body_limit(100_000)).body.len(), 100_000);
    }
}

pub(crate) fn one_byte_more_is_not(make: Make) {
    let nginx = Nginx::start();
    nginx.put("more", vec![b'x'; 100_001]);
    let transport = make(&trusting(&nginx)).unwrap();

    for uri in [nginx.http("/files/more"), nginx.https("/gzip/more")] {
        let error = failure(&*transport, get(uri).body_limit(100_000));
        assert_eq!(error.kind(), ErrorKind::LimitExceeded, "{}", error.chain());
        assert_eq!(error.retry_state(), Retry::Never);
    }
}

pub(crate) fn gzip_bomb(make: Make) {
    let nginx = Nginx::start();
    nginx.put_zeros("bomb", 300_000_000);

    let error =
        failure(&*make(&trusting(&nginx)).unwrap(), get(nginx.https("/gzip/bomb")).body_limit(1_000_000));

    assert_eq!(error.kind(), ErrorKind::LimitExceeded, "{}", error.chain());
}

pub(crate) fn endless_body(make: Make) {
    let rude = Rude::start();
    let uri = rude.arrange(Manner::endless());

    let error = failure(&*default(make), get(uri).body_limit(10_000_000));

    assert_eq!(error.kind(), ErrorKind::LimitExceeded, "{}", error.chain());
    assert!(rude.sees_clients_go(1), "the connection stays open");
}

pub(crate) fn quick_but_endless_body_meets_the_deadline(make: Make) {
    let rude = Rude::start();
    let uri = rude.arrange(Manner::endless());
    let transport = default(make);

    let error = crate::ask::in_time(async {
        let mut body = transport.send(get_soon(uri).body_limit(u64::MAX)).await?.body;
        // Read without keeping, so that only the deadline can end it.
        while body.next().await?.is_some() {}
        Ok::<_, leverframe::Error>(())
    })
    .unwrap_err();

    assert_eq!(error.kind(), ErrorKind::Timeout, "{}", error.chain());
}

pub(crate) fn slow_body(make: Make) {
    let nginx = Nginx::start();
    nginx.put("slow", vec![b'x'; 100_000]);

    let error = failure(&*make(&trusting(&nginx)).unwrap(), get_soon(nginx.https("/slow/slow")));

    is_timeout(&error);
}

pub(crate) fn slow_head(make: Make) {
    let rude = Rude::start();
    let uri = rude.arrange(Manner::Drips);

    is_timeout(&failure(&*default(make), get_soon(uri)));

    assert!(rude.sees_clients_go(rude.connections()), "the connection stays open");
}

pub(crate) fn silent_peer(make: Make) {
    let rude = Rude::start();
    let uri = rude.arrange(Manner::silent());

    is_timeout(&failure(&*default(make), get_soon(uri)));

    assert!(rude.sees_clients_go(rude.connections()), "the connection stays open");
}

/// The peer accepts, and never shakes hands: the time for connecting ends it long before the deadline.
pub(crate) fn silent_tls_peer(make: Make) {
    let rude = Rude::start();
    let uri = rude.uri("/").replace("http:", "https:");
    let mut config = HttpClientConfig::default();
    config.connect_timeout_ms = 300;
    let clock = SystemClock::new();
    let before = clock.now();

    let error = failure(&*make(&config).unwrap(), get(uri));

    is_timeout(&error);
    let waited = clock.now() - before;
    assert!(waited < Duration::from_secs(10), "waited {waited:?} for a handshake");
}

pub(crate) fn endless_head(make: Make) {
    let rude = Rude::start();
    let uri = rude.arrange(Manner::Babbles);

    let error = failure(&*default(make), get(uri));

    assert_ne!(error.kind(), ErrorKind::Timeout, "only time ended it: {}", error.chain());
    assert!(rude.sees_clients_go(1), "the connection stays open");
}

pub(crate) fn a_passed_deadline_is_a_timeout(make: Make) {
    let nginx = Nginx::start();

    is_timeout(&failure(&*default(make), get(nginx.http("/files/hello")).deadline(Duration::ZERO)));
}

fn is_timeout(error: &leverframe::Error) {
    assert_eq!(error.kind(), ErrorKind::Timeout, "{}", error.chain());
    assert!(error.retry_state().may_retry(), "trying again is ruled out: {error:?}");
}
