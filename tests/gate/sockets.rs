//! Over sockets: what a redirect gives away, what hangs, and what comes back.

use std::{
    collections::VecDeque,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use leverframe::{
    HttpBackend,
    gate::{GateMode, WaitState, WaitStateBuilder},
    live::block_on,
};

use crate::{
    plane::{SECRET, eventually},
    ports::free_port,
};

const POLICY: &str = r#"{"globalMaxWeight":100,"tagMaxWeights":{"free":10},"leaseDurationSeconds":300}"#;
const TOKEN: &str = r#"{"token":"tok_canary","expiresAt":4000000000000,"orgId":"acme"}"#;

/// A server that answers each request by what a function makes of its path; it ends when it is dropped.
struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
    ended: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Server {
    fn start(answer: impl Fn(&str) -> Option<String> + Send + 'static) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), answer)
    }

    fn on(listener: TcpListener, answer: impl Fn(&str) -> Option<String> + Send + 'static) -> Self {
        let address = listener.local_addr().unwrap();
        let (seen, ended) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let thread = thread::spawn({
            let (seen, ended) = (Arc::clone(&seen), Arc::clone(&ended));
            move || {
                // Connections that get no answer stay open, as those of a hung server do.
                let mut hung = VecDeque::new();
                for stream in listener.incoming() {
                    if ended.load(Ordering::SeqCst) {
                        return;
                    }
                    let mut stream = stream.unwrap();
                    let Some(request) = request(&mut stream) else { continue };
                    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
                    seen.lock().unwrap().push(request);
                    match answer(&path) {
                        // Whoever asked may be gone.
                        Some(answer) => drop(stream.write_all(answer.as_bytes())),
                        None => hung.push_back(stream),
                    }
                }
            }
        });
        Self { address, seen, ended, thread: Some(thread) }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        // Wakes the thread up; it is gone already where this fails.
        let _ = TcpStream::connect(self.address);
        self.thread.take().unwrap().join().unwrap();
    }
}

/// Reads one request with its body.
fn request(stream: &mut TcpStream) -> Option<String> {
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let (mut read, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let text = String::from_utf8_lossy(&read).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().unwrap())
            });
            if body.len() >= length.unwrap_or(0) {
                return Some(text);
            }
        }
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => return None,
            Ok(bytes) => read.extend_from_slice(&piece[..bytes]),
        }
    }
}

fn ok(body: &str) -> Option<String> {
    reply("200 OK", "", body)
}

fn reply(status: &str, headers: &str, body: &str) -> Option<String> {
    let length = body.len();
    Some(format!("HTTP/1.1 {status}\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n{body}"))
}

fn client(url: &str, backend: HttpBackend) -> WaitStateBuilder {
    crate::logs::listen();
    WaitState::builder().publish_key("pk").secret_key(SECRET).base_url(url).http_backend(backend)
}

fn backends() -> Vec<HttpBackend> {
    let mut backends = vec![HttpBackend::Curl];
    #[cfg(feature = "http-in-process")]
    backends.push(HttpBackend::InProcess);
    #[cfg(feature = "transport-curl")]
    backends.push(HttpBackend::Libcurl);
    backends
}

#[test]
fn a_redirect_carries_neither_secret_nor_signature_nor_token() {
    for backend in backends() {
        for status in
            ["301 Moved", "302 Found", "303 See Other", "307 Temporary Redirect", "308 Permanent Redirect"]
        {
            let elsewhere = Server::start(|_| ok(POLICY));
            let to = elsewhere.url();
            let redirect = format!("location: {to}/stolen\r\n");
            let plane = Server::start({
                let (status, redirect) = (status.to_owned(), redirect.clone());
                move |path| match path {
                    "/v1/auth/token" => ok(TOKEN),
                    _ => reply(&status, &redirect, ""),
                }
            });
            let ws = client(&plane.url(), backend).build().unwrap();
            // It may or may not follow where that is harmless; what counts is what it carries.
            let _ = block_on(ws.flush());
            eventually("it was asked", || plane.seen().iter().any(|request| request.contains("/v1/policy/")));
            drop(ws);

            let told = elsewhere.seen().concat().to_lowercase();
            for secret in [SECRET, "tok_canary", "x-waitstate-signature", "usagedelta", "secretkey"] {
                assert!(!told.contains(secret), "{backend:?} {status}: {told}");
            }

            let token = Server::start({
                let (status, redirect) = (status.to_owned(), redirect);
                move |path| match path {
                    "/v1/auth/token" => reply(&status, &redirect, ""),
                    _ => reply("500 Oops", "", ""),
                }
            });
            let ws = client(&token.url(), backend).build().unwrap();
            eventually("a token was asked for", || token.seen().iter().any(|r| r.contains("/v1/auth/token")));
            eventually("the failure shows", || ws.state().last_error.is_some());
            drop(ws);

            let told = elsewhere.seen().concat().to_lowercase();
            assert!(!told.contains(SECRET) && !told.contains("secretkey"), "{backend:?} {status}: {told}");
        }
    }
}

#[test]
fn a_server_that_never_answers_holds_no_call_up_and_is_given_up_at_the_deadline() {
    for backend in backends() {
        let hung = Server::start(|_| None);
        let ws = client(&hung.url(), backend).deadline(Duration::from_millis(200)).build().unwrap();

        // The deadline may be over before a busy machine has sent anything.
        let error = (0..100)
            .map(|_| block_on(ws.flush()).unwrap_err())
            .find(|_| !hung.seen().is_empty())
            .expect("a report that gets there");

        assert!(ws.gate(Some("free"), Some(11.0)).allowed);
        assert!(!error.chain().contains(SECRET), "{}", error.chain());
        assert_eq!(ws.state().mode, GateMode::NeverSynced);
        assert!(hung.seen().iter().any(|request| request.contains("/v1/pulse")));
    }
}

#[test]
fn a_slow_answer_holds_no_call_up_and_counts_once_it_is_there() {
    for backend in backends() {
        let (release, released) = mpsc::channel::<()>();
        let slow = Server::start(move |_| {
            // Nobody releases it any more where the test has failed.
            let _ = released.recv();
            ok(POLICY)
        });
        let ws = client(&slow.url(), backend).build().unwrap();
        eventually("the first report is under way", || !slow.seen().is_empty());

        let open = (0..10_000).filter(|_| ws.gate(Some("free"), Some(11.0)).allowed).count();
        assert_eq!((open, ws.state().mode), (10_000, GateMode::NeverSynced));
        drop(release);

        assert!(block_on(ws.ready(Duration::from_secs(30))));
        assert!(!ws.gate(Some("free"), Some(11.0)).allowed);
    }
}

#[test]
fn a_server_that_is_down_at_the_start_is_reached_once_it_is_up() {
    for backend in backends() {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let ws = client(&format!("http://{address}/"), backend).build().unwrap();
        ws.gate(None, None);
        eventually("the failure shows", || ws.state().last_error.is_some());

        let plane = Server::on(TcpListener::bind(address).unwrap(), |_| ok(POLICY));
        block_on(ws.flush()).unwrap();

        assert_eq!(ws.state().mode, GateMode::InForce);
        assert!(!ws.gate(Some("free"), Some(11.0)).allowed);
        let seen = plane.seen();
        assert!(seen.iter().all(|request| request.starts_with("POST /v1/pulse ")), "{seen:?}");
        assert!(seen.concat().contains("\"usageDelta\":1"));
    }
}

#[test]
fn a_body_without_end_is_given_up_at_its_bound() {
    for backend in backends() {
        let plane = Server::start(|_| {
            let head = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 1000000000\r\n\r\n";
            Some(format!("{head}{}", " ".repeat(1_000_000)))
        });
        let ws = client(&plane.url(), backend).build().unwrap();
        ws.gate(None, None);

        let error = block_on(ws.flush()).unwrap_err();

        assert!(ws.state().last_report_error.is_some(), "{}", error.chain());
        assert_eq!(ws.state().mode, GateMode::NeverSynced);
    }
}

#[test]
fn a_client_works_inside_a_runtime_of_one_thread() {
    let plane = Server::start(|_| ok(POLICY));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();

    runtime.block_on(async {
        let ws =
            WaitState::builder().publish_key("pk").secret_key(SECRET).base_url(plane.url()).build().unwrap();
        assert!(ws.ready(Duration::from_secs(30)).await);
        ws.gate(Some("free"), None);
        ws.flush().await.unwrap();
        ws.close().await.unwrap();
    });

    assert!(plane.seen().concat().contains("\"tag\":\"free\""));
}
