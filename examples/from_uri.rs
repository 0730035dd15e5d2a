//! Follows a namespace on a web server: what did not change costs a request without a body, and what did is served.
//!
//! ```sh
//! cargo run --example from_uri
//! ```
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::{
    collections::hash_map::DefaultHasher,
    error::Error,
    hash::{Hash, Hasher},
    io::{self, BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use leverframe::{
    EvalContext, ExdClient, UriAuth,
    document::Tree,
    manifest::archive,
    sources::file::{ReadLimits, read_tree},
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // What a release pipeline uploads: `leverframe manifest pack payments`.
    let payments = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/namespaces/payments");
    let tree = read_tree(&payments, &ReadLimits::default())?;
    let server = Server::start(archive::pack(&tree)?)?;

    let kept = tempfile::tempdir()?;
    let client = ExdClient::builder()
        .namespace_uri(format!("http://{}/payments.tar.gz", server.address))
        .uri_auth(UriAuth::Bearer("s3cret".to_owned()))
        .manifest_cache_path(kept.path().join("payments.tar.gz"))
        .poll_interval(Duration::from_millis(50))
        .environment("production")
        .build()
        .await?;
    let ctx = EvalContext::builder().str("user.country", "US").str("app.version", "4.2.0").build();
    println!("version {}: {}", client.flag_version(), client.bool_flag("new-checkout", &ctx, false).await);

    // Polls go on in the background. Each sends the `ETag` that it was given.
    wait_until(&client, || server.unchanged() >= 3).await;
    println!("polls answered `304 Not Modified`: at least 3; archives sent: {}", server.sent());

    // A release: one more country.
    let flag = "flags/new-checkout.toml";
    let text = String::from_utf8(tree.file(flag).ok_or("the flag is gone")?.to_vec())?;
    let mut next: Tree = tree.clone();
    next.insert(
        flag,
        leverframe::document::Entry::File(text.replace(r#"["DE", "FR"]"#, r#"["DE", "FR", "US"]"#).into()),
    );
    server.release(archive::pack(&next)?);
    wait_until(&client, || client.flag_version() == 2).await;
    println!("version {}: {}", client.flag_version(), client.bool_flag("new-checkout", &ctx, false).await);
    println!("archives sent: {}", server.sent());

    // The server refuses everybody: what was served goes on, and the status says why.
    server.lock_out();
    wait_until(&client, || client.status().last_error.is_some()).await;
    let status = client.status();
    println!("refused: {}", status.last_error_kind.map_or_else(String::new, |kind| kind.to_string()));
    println!("version {} still: {}", status.version, client.bool_flag("new-checkout", &ctx, false).await);

    client.close().await?;

    // A start without the server, from what was kept.
    let offline = ExdClient::builder()
        .namespace_uri("http://127.0.0.1:1/payments.tar.gz")
        .manifest_cache_path(kept.path().join("payments.tar.gz"))
        .environment("production")
        .build()
        .await?;
    println!(
        "offline: {} from `{}`",
        offline.bool_flag("new-checkout", &ctx, false).await,
        offline.status().origin.as_str()
    );
    offline.close().await?;
    Ok(())
}

/// Waits without sleeping: each refresh, good or bad, wakes the waiter.
async fn wait_until(client: &ExdClient, done: impl Fn() -> bool) {
    let mut seen = 0;
    while !done() {
        seen = client.wait_for_refresh(seen).await;
    }
}

/// A web server of one file, as small as it can be. A service has nginx, a bucket, or a release page.
struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// The archive; `None` where nobody gets it.
    archive: Mutex<Option<Vec<u8>>>,
    sent: AtomicU64,
    unchanged: AtomicU64,
}

impl Server {
    fn start(archive: Vec<u8>) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared { archive: Mutex::new(Some(archive)), ..Shared::default() });
        let served = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A caller that goes away in the middle is no matter.
                let _ = served.answer(&stream);
            }
        });
        Ok(Self { address, shared })
    }

    fn release(&self, archive: Vec<u8>) {
        *self.shared.archive.lock().unwrap_or_else(PoisonError::into_inner) = Some(archive);
    }

    fn lock_out(&self) {
        *self.shared.archive.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }

    fn unchanged(&self) -> u64 {
        self.shared.unchanged.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn answer(&self, mut stream: &TcpStream) -> io::Result<()> {
        let (mut known, mut allowed) = (String::new(), false);
        for line in BufReader::new(stream).lines() {
            let line = line?;
            match line.split_once(": ") {
                Some((name, value)) if name.eq_ignore_ascii_case("if-none-match") => {
                    value.clone_into(&mut known)
                }
                Some((name, value)) if name.eq_ignore_ascii_case("authorization") => {
                    allowed = value == "Bearer s3cret"
                }
                _ if line.is_empty() => break,
                _ => {}
            }
        }
        let archive = self.archive.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(archive) = archive.filter(|_| allowed) else {
            return stream
                .write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        };
        let mut hasher = DefaultHasher::new();
        archive.hash(&mut hasher);
        let etag = format!("\"{:x}\"", hasher.finish());
        if known == etag {
            self.unchanged.fetch_add(1, Ordering::Relaxed);
            return write!(stream, "HTTP/1.1 304 Not Modified\r\nETag: {etag}\r\nConnection: close\r\n\r\n");
        }
        self.sent.fetch_add(1, Ordering::Relaxed);
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nETag: {etag}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            archive.len()
        )?;
        stream.write_all(&archive)
    }
}
