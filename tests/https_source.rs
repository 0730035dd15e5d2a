//! The https source over each transport: against nginx, and against a peer with bad manners.
#![cfg(feature = "testing")]
#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

#[path = "support/real/mod.rs"]
mod real;
#[path = "support/shop.rs"]
mod shop;

use std::sync::Arc;

use leverframe::{
    Error, ErrorKind, LoadError, LoadOptions, Namespace, Secret, UriAuth,
    backends::{http_client::HttpClientConfig, layers, transport_curl_cli::CurlCliTransport},
    live::{Outcome, block_on},
    sources::https::{HttpsConfig, HttpsSource},
    testing::ManualClock,
    traits::{Clock, Load, Source, Transport},
};
use real::{
    nginx::{Nginx, PASSWORD, TOKEN, USER},
    ports::free_port,
    rude::{Manner, Rude},
};
use shop::{files, packed, served};

type Make = fn(&HttpClientConfig) -> Arc<dyn Transport>;

fn trusting(make: Make, nginx: &Nginx) -> Arc<dyn Transport> {
    let mut config = HttpClientConfig::default();
    config.ca_file = nginx.ca_file();
    make(&config)
}

fn plain(make: Make) -> Arc<dyn Transport> {
    make(&HttpClientConfig::default())
}

/// Longer than anything takes that is to go well.
const PATIENT: u64 = 20_000;

fn open(uri: &str, auth: Option<UriAuth>, transport: Arc<dyn Transport>) -> Result<Namespace, LoadError> {
    open_within(PATIENT, uri, auth, transport)
}

fn open_within(
    timeout_ms: u64,
    uri: &str,
    auth: Option<UriAuth>,
    transport: Arc<dyn Transport>,
) -> Result<Namespace, LoadError> {
    let mut config = HttpsConfig::default();
    config.timeout_ms = timeout_ms;
    let source = HttpsSource::open(config, uri, auth.as_ref(), transport).map_err(LoadError::Fetch)?;
    Namespace::from_source(Arc::new(source), &LoadOptions::new())
}

/// How often nginx answered a path with a status.
fn answered(nginx: &Nginx, path: &str, status: u16) -> usize {
    nginx.log().lines().filter(|line| line.contains(path) && line.ends_with(&format!(" {status}"))).count()
}

fn an_unchanged_archive_costs_an_answer_without_a_body(make: Make) {
    let nginx = Nginx::start();
    nginx.put("shop.tar.gz", packed(1));
    let namespace = open(&nginx.https("/files/shop.tar.gz"), None, trusting(make, &nginx)).unwrap();

    for _ in 0..3 {
        assert_eq!(namespace.poll().unwrap(), Outcome::Unchanged);
    }
    assert_eq!(answered(&nginx, "/files/shop.tar.gz", 304), 3);
    assert_eq!(answered(&nginx, "/files/shop.tar.gz", 200), 1);

    nginx.put("shop.tar.gz", packed(2_000));
    assert_eq!(namespace.poll().unwrap(), Outcome::Swapped(2));
    assert_eq!(served(&namespace), 2_000);
}

fn credentials_of_each_form_are_accepted_and_wrong_ones_are_named_without_being_shown(make: Make) {
    let nginx = Nginx::start();
    nginx.put("shop.tar.gz", packed(1));
    let uri = nginx.https("/basic/shop.tar.gz");
    let basic = |pass: &str| Some(UriAuth::Basic { user: USER.to_owned(), pass: pass.to_owned() });

    assert_eq!(served(&open(&uri, basic(PASSWORD), trusting(make, &nginx)).unwrap()), 1);
    let in_uri = uri.replace("https://", &format!("https://{USER}:p%40ss%2Fw%25rd@"));
    assert_eq!(served(&open(&in_uri, None, trusting(make, &nginx)).unwrap()), 1);
    let mut config = HttpsConfig::default();
    (config.user, config.password) = (USER.to_owned(), Secret::new(PASSWORD));
    let source = HttpsSource::open(config, &uri, None, trusting(make, &nginx)).unwrap();
    assert!(matches!(block_on(source.load(None)).unwrap(), Load::Snapshot(_)));

    for auth in [None, basic("s3cret-wrong"), Some(UriAuth::Bearer("s3cret-wrong".to_owned()))] {
        let error = open(&uri, auth, trusting(make, &nginx)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated);
        assert!(error.hint().unwrap().contains("token"), "{error:?}");
        assert!(!format!("{error:?} {error}").contains("s3cret"), "{error:?}");
    }
    let bearer = Some(UriAuth::Bearer(TOKEN.to_owned()));
    let error = open(&nginx.https("/bearer"), bearer, trusting(make, &nginx)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "the token is right, and the answer is no archive: {error}");
}

fn a_server_that_nobody_vouches_for_is_refused_with_the_setting_that_helps(make: Make) {
    let nginx = Nginx::start();
    nginx.put("shop.tar.gz", packed(1));

    let error = open(&nginx.https("/files/shop.tar.gz"), None, plain(make)).unwrap_err();
    assert!(error.hint().unwrap().contains("ca_file"), "{error:?}");
    for uri in [nginx.expired("/files/shop.tar.gz"), nginx.misnamed("/files/shop.tar.gz")] {
        let error = open(&uri, None, trusting(make, &nginx)).unwrap_err();
        assert!(error.hint().is_some(), "{error:?}");
    }
}

/// A peer that serves state 1 at first, and is then told otherwise.
struct Turned {
    rude: Rude,
    namespace: Namespace,
}

const PATH: &str = "/shop.tar.gz";
const TRIES: usize = 50;

impl Turned {
    fn new(make: Make) -> Self {
        Self::within(PATIENT, make)
    }

    /// One whose loads take so long at most; those that go well may need several tries, then.
    fn within(timeout_ms: u64, make: Make) -> Self {
        let rude = Rude::start();
        rude.arrange_at(PATH, Manner::whole(200, &[("etag", "\"1\"")], &packed(1)));
        let uri = rude.uri(PATH).replace("http://", "http://ann:s3cret@");
        let namespace = (0..TRIES).find_map(|_| open_within(timeout_ms, &uri, None, plain(make)).ok());
        Self { rude, namespace: namespace.expect("a first state") }
    }

    /// The peer turns bad: the old state serves, the error says what and what to do, and a good answer heals.
    fn meets(&self, manner: Manner) -> Error {
        let before = (served(&self.namespace), self.namespace.flag_version());
        self.rude.arrange_at(PATH, manner);
        let error = self.namespace.poll().unwrap_err();
        assert_eq!((served(&self.namespace), self.namespace.flag_version()), before);
        assert!(self.namespace.last_refresh_error().is_some());
        let shown = format!("{error:?} {error} {:?}", self.namespace.last_refresh_error());
        assert!(!shown.contains("s3cret"), "{shown}");
        assert!(error.hint().is_some(), "no next step: {error:?}");

        let state = before.0 + 1;
        self.rude.arrange_at(PATH, Manner::whole(200, &[], &packed(state)));
        assert!((0..TRIES).any(|_| self.namespace.poll().is_ok()));
        assert_eq!((served(&self.namespace), self.namespace.last_refresh_error()), (state, None));
        match error {
            LoadError::Fetch(error) | LoadError::Io(error) => error,
            other => panic!("{other}"),
        }
    }
}

fn statuses_are_told_apart(make: Make) {
    let turned = Turned::new(make);
    for (status, kind) in [
        (401, ErrorKind::Unauthenticated),
        (403, ErrorKind::PermissionDenied),
        (404, ErrorKind::NotFound),
        (410, ErrorKind::NotFound),
        (418, ErrorKind::Invalid),
        (429, ErrorKind::Unavailable),
        (500, ErrorKind::Unavailable),
        (503, ErrorKind::Unavailable),
    ] {
        assert_eq!(turned.meets(Manner::whole(status, &[], b"")).kind(), kind, "{status}");
    }
    for status in [429, 503] {
        let error = turned.meets(Manner::whole(status, &[("retry-after", "7")], b""));
        let pause = leverframe::Retry::After(std::time::Duration::from_secs(7));
        assert_eq!(error.retry_state(), pause, "{status}");
    }
}

fn a_body_that_is_cut_at_any_tenth_is_no_state(make: Make) {
    let turned = Turned::new(make);
    let whole = packed(9);
    for tenth in 0..10 {
        turned.meets(Manner::promising(whole.len() as u64, &whole[..whole.len() * tenth / 10]));
    }
}

fn answers_that_end_too_early_or_never_are_bounded(make: Make) {
    let turned = Turned::new(make);
    assert_eq!(turned.meets(Manner::endless()).kind(), ErrorKind::LimitExceeded);
    let hurried = Turned::within(1_000, make);
    for silent in [Manner::stalled(), Manner::silent(), Manner::Drips] {
        assert_eq!(hurried.meets(silent).kind(), ErrorKind::Timeout);
    }
    turned.meets(Manner::SaysAndResets(Vec::new()));
    turned.meets(Manner::whole(200, &[], b"no archive"));
    turned.meets(Manner::whole(200, &[], b""));
    turned.meets(Manner::whole(200, &[], &packed(9)[..40]));
    let to_itself = [("location", PATH)];
    turned.meets(Manner::whole(302, &to_itself, b""));
}

fn a_peer_that_is_gone_is_unavailable(make: Make) {
    let uri = format!("http://127.0.0.1:{}{PATH}", free_port());

    let error = open(&uri, None, plain(make)).unwrap_err();

    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(matches!(error, LoadError::Fetch(_)));
}

fn a_time_in_place_of_a_tag_is_asked_with(make: Make) {
    let rude = Rude::start();
    let when = "Sat, 21 Nov 2026 07:00:00 GMT";
    rude.arrange_at(PATH, Manner::whole(200, &[("last-modified", when)], &packed(1)));
    let namespace = open(&rude.uri(PATH), None, plain(make)).unwrap();

    rude.arrange_at(PATH, Manner::whole(304, &[], b""));
    assert_eq!(namespace.poll().unwrap(), Outcome::Unchanged);

    let asked = rude.requests().pop().unwrap().to_lowercase();
    assert!(asked.contains(&format!("if-modified-since: {}", when.to_lowercase())), "{asked}");
}

fn a_server_without_validators_is_compared_by_content(make: Make) {
    let rude = Rude::start();
    rude.arrange_at(PATH, Manner::whole(200, &[], &packed(1)));
    let namespace = open(&rude.uri(PATH), None, plain(make)).unwrap();

    assert_eq!(namespace.poll().unwrap(), Outcome::Unchanged);
    assert!(!rude.requests().pop().unwrap().to_lowercase().contains("if-"));
}

/// What serves an archive with a folder around it makes it for each request, so its tag is not trusted.
fn a_wrapped_archive_is_asked_for_in_full_and_not_swapped_for_its_equal(make: Make) {
    let wrapped = |number| {
        let mut tree = leverframe::document::Tree::new();
        for (path, entry) in files(number).iter() {
            tree.insert(format!("shop-main/{path}"), entry.clone());
        }
        shop::tarball(&tree)
    };
    let rude = Rude::start();
    rude.arrange_at(PATH, Manner::whole(200, &[("etag", "\"1\"")], &wrapped(1)));
    let namespace = open(&rude.uri(PATH), None, plain(make)).unwrap();

    assert_eq!(namespace.poll().unwrap(), Outcome::Unchanged);
    assert!(!rude.requests().pop().unwrap().to_lowercase().contains("if-none-match"));
    rude.arrange_at(PATH, Manner::whole(200, &[("etag", "\"1\"")], &wrapped(2)));
    assert_eq!(namespace.poll().unwrap(), Outcome::Swapped(2));
}

fn an_archive_that_git_made_is_read(make: Make) {
    let rude = Rude::start();
    rude.arrange_at("/shop-main.tar.gz", Manner::whole(200, &[], &shop::git_archive(1)));

    assert_eq!(served(&open(&rude.uri("/shop-main.tar.gz"), None, plain(make)).unwrap()), 1);
}

fn layers_try_again_what_may_heal(make: Make) {
    let nginx = Nginx::start();
    let clock = Arc::new(ManualClock::new());
    let transport = layers::standard(trusting(make, &nginx), Arc::clone(&clock) as _);
    let mover = {
        let clock = Arc::clone(&clock);
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            while stopped.recv_timeout(std::time::Duration::from_millis(1)).is_err() {
                // To the end of pauses between attempts, and to no deadline of a request: those are far longer.
                let next = clock.deadlines().first().map(|next| *next - clock.now());
                if let Some(pause) = next.filter(|next| *next < std::time::Duration::from_secs(10)) {
                    clock.advance(pause);
                }
            }
        });
        (stop, thread)
    };

    let error = open(&nginx.https("/status/503"), None, transport).unwrap_err();

    mover.0.send(()).unwrap();
    mover.1.join().unwrap();
    assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout), "{error}");
    assert!(answered(&nginx, "/status/503", 503) > 1);
}

macro_rules! over {
    ($name:ident, $make:expr) => {
        mod $name {
            use super::*;

            const MAKE: Make = $make;

            over!(@tests
                an_unchanged_archive_costs_an_answer_without_a_body
                credentials_of_each_form_are_accepted_and_wrong_ones_are_named_without_being_shown
                a_server_that_nobody_vouches_for_is_refused_with_the_setting_that_helps
                statuses_are_told_apart
                a_body_that_is_cut_at_any_tenth_is_no_state
                answers_that_end_too_early_or_never_are_bounded
                a_peer_that_is_gone_is_unavailable
                a_time_in_place_of_a_tag_is_asked_with
                a_server_without_validators_is_compared_by_content
                a_wrapped_archive_is_asked_for_in_full_and_not_swapped_for_its_equal
                an_archive_that_git_made_is_read
                layers_try_again_what_may_heal
            );
        }
    };
    (@tests $($test:ident)+) => {
        $(
            #[test]
            fn $test() {
                super::$test(MAKE);
            }
        )+
    };
}

over!(curl_cli, |config| Arc::new(CurlCliTransport::open(config).unwrap()));
#[cfg(feature = "transport-curl")]
over!(curl, |config| Arc::new(leverframe::backends::transport_curl::CurlTransport::open(config).unwrap()));
#[cfg(feature = "http-in-process")]
over!(reqwest, |config| Arc::new(
    leverframe::backends::transport_reqwest::ReqwestTransport::open(config).unwrap()
));
