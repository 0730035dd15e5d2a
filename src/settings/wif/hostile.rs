//! Metadata services that mean harm, over real sockets and the transport that asks real ones.

use std::{
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::Duration,
};

use http::Method;

use super::{detect::find, *};
use crate::{
    backends::clock_system::SystemClock, live::block_on, settings::identity::direct, testing::ManualClock,
    traits::Clock,
};

/// In what the services say, and in nothing that anybody is shown.
const CANARY: &str = "eyJ.canary-5be0cd19.x";

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// A metadata service whose answers are written by hand.
struct Metadata {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
    /// Says how much of an answer was taken, once the connection is over.
    taken: mpsc::Receiver<usize>,
}

/// What is sent: this text, then so many bytes, and then nothing for as long as somebody listens or the end.
struct Reply {
    head: String,
    filler: usize,
    hangs: bool,
}

impl Reply {
    fn whole(status: &str, headers: &str, body: &str) -> Self {
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status}\r\nMetadata-Flavor: Google\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n{body}"
        );
        Self { head, filler: 0, hangs: false }
    }
}

impl Metadata {
    fn start(reply: Reply) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let (sender, taken) = mpsc::channel();
        thread::spawn({
            let asked = Arc::clone(&asked);
            move || {
                for connection in listener.incoming().flatten() {
                    let Some(line) = read(&connection) else { continue };
                    asked.lock().unwrap().push(line);
                    // The test may be over.
                    let _ = sender.send(send(connection, &reply));
                }
            }
        });
        Self { url, asked, taken }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// A machine whose metadata services are all this one.
    fn around(&self, clock: Arc<dyn Clock>) -> Surroundings {
        let mut around = Surroundings::of_process(direct(&clock).unwrap(), clock);
        around.variables.clear();
        around.kubernetes_token = "/nonexistent".into();
        around.gcp.clone_from(&self.url);
        around.link_local.clone_from(&self.url);
        around
    }
}

fn read(connection: &TcpStream) -> Option<String> {
    let mut reader = BufReader::new(connection);
    let (mut first, mut line) = (String::new(), String::new());
    reader.read_line(&mut first).ok()?;
    while reader.read_line(&mut line).ok()? > 2 {
        line.clear();
    }
    Some(first)
}

/// Returns how much the peer took.
fn send(mut connection: TcpStream, reply: &Reply) -> usize {
    let mut sent = 0;
    if connection.write_all(reply.head.as_bytes()).is_ok() {
        let part = [b'e'; 16_384];
        while sent < reply.filler && connection.write_all(&part).is_ok() {
            sent += part.len();
        }
    }
    if reply.hangs {
        // Until the peer has had enough.
        let _ = std::io::copy(&mut connection, &mut std::io::sink());
    }
    sent
}

fn wishes() -> Wishes {
    Wishes {
        audience: Some("api://app".to_owned()),
        endpoint: "https://shop.example.com".to_owned(),
        ..Wishes::default()
    }
}

/// Has each provider that asks a metadata service ask this one, and returns what each of them fails with.
fn failures(around: &Surroundings) -> Vec<Error> {
    let providers = [
        WifProvider::Gcp,
        WifProvider::Azure,
        #[cfg(feature = "aws-iam")]
        WifProvider::AwsIam,
    ];
    let fails = |provider| {
        block_on(async {
            let super::detect::Proof::Exchange(source) = find(provider, around, &wishes()).await? else {
                panic!("a developer's session")
            };
            source.exchange_payload().await
        })
        .err()
        .unwrap_or_else(|| panic!("{provider} was had"))
    };
    providers.map(fails).into()
}

#[track_caller]
fn shows_nothing(error: &Error) {
    let shown = format!("{} {error:?}", error.chain());
    assert!(!shown.contains("canary"), "{shown}");
}

#[test]
fn a_metadata_service_that_redirects_is_not_followed() {
    for status in ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"] {
        let elsewhere = Metadata::start(Reply::whole("200 OK", "", CANARY));
        let location = format!("Location: {}/{CANARY}\r\n", elsewhere.url);
        let metadata = Metadata::start(Reply::whole(status, &location, CANARY));
        let around = metadata.around(Arc::new(SystemClock::new()));

        for error in failures(&around) {
            shows_nothing(&error);
        }

        assert!(!metadata.asked().is_empty());
        assert_eq!(elsewhere.asked(), Vec::<String>::new(), "{status}");
    }
}

#[test]
fn pages_with_another_status_than_ok_are_no_tokens() {
    for status in ["201 Created", "204 No Content", "400 Bad", "403 No", "404 No", "429 Later", "500 Broken"]
    {
        let metadata = Metadata::start(Reply::whole(status, "", CANARY));
        let around = metadata.around(Arc::new(SystemClock::new()));

        let failed = failures(&around);

        assert_eq!(metadata.asked().len(), failed.len(), "{status}: asked again");
        failed.iter().for_each(shows_nothing);
    }
}

#[test]
fn of_ten_mebibytes_no_more_is_taken_than_a_token_may_have() {
    const BODY: usize = 10 << 20;
    // Declared, and without a length.
    for head in [
        format!("HTTP/1.1 200 OK\r\nContent-Length: {BODY}\r\n\r\n"),
        "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_owned(),
    ] {
        let metadata = Metadata::start(Reply { head, filler: BODY, hangs: false });
        let around = metadata.around(Arc::new(SystemClock::new()));

        for error in failures(&around) {
            assert_eq!(error.kind(), ErrorKind::LimitExceeded, "{}", error.chain());
            let taken = metadata.taken.recv_timeout(PATIENCE).unwrap();
            // 64 KiB, and what sockets hold on both sides before the end is noticed.
            assert!(taken < BODY, "all of it was taken");
        }
    }
}

#[test]
fn a_metadata_service_that_hangs_is_given_up_after_two_seconds() {
    for head in ["", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\neyJ"] {
        let metadata = Metadata::start(Reply { head: head.to_owned(), filler: 0, hangs: true });
        let clock = ManualClock::new();
        let around = metadata.around(Arc::new(clock.clone()));
        let asking = thread::spawn(move || {
            let uri = format!("{}/computeMetadata/v1/", around.gcp);
            block_on(around.fetch(Method::GET, &uri, None)).unwrap_err()
        });
        let time = SystemClock::new();
        let end = time.now() + PATIENCE;
        while metadata.asked().is_empty() || clock.sleepers() == 0 {
            assert!(time.now() < end, "nobody asks");
            thread::yield_now();
        }

        clock.advance(Duration::from_millis(1_999));
        assert!(!asking.is_finished());
        clock.advance(Duration::from_millis(1));

        assert_eq!(asking.join().unwrap().kind(), ErrorKind::Timeout, "{head:?}");
        // The connection is closed, or the service would still listen.
        metadata.taken.recv_timeout(PATIENCE).unwrap();
    }
}

#[test]
fn nothing_at_the_address_is_no_identity_and_takes_no_time() {
    let nobody = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
    let metadata = Metadata::start(Reply::whole("404 No", "", ""));
    let mut around = metadata.around(Arc::new(ManualClock::new()));
    around.gcp = format!("http://{nobody}");
    around.link_local = format!("http://{nobody}");

    let found = block_on(find(WifProvider::Auto, &around, &wishes()));

    assert_eq!(found.unwrap_err().kind(), ErrorKind::NotFound);
}
