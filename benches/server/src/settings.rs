//! Settings: from a write until the last of five hundred streaming clients serves what was written.
//!
//! The clients are the library's own, in ten processes, since five hundred services share no memory; the server is a process
//! of its own, too. All share the machine's processors. A time goes from when the write is sent, so that it holds the
//! commit as well, until a client's reader finds the value.

use std::{
    env,
    io::{self, BufRead, BufReader, Read, Write},
    net::SocketAddr,
    path::Path,
    process::{self, Stdio},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, UNIX_EPOCH},
};

use leverframe::{NexusClient, Secret, backends::clock_system::SystemClock, traits::Clock};
use leverframe_server::{
    admin::Admin,
    settings::{Keyring, NewSettingsKey, model::{Kind, ServiceId}},
    store,
};

use crate::{
    child::Child,
    load::once,
    options::Options,
    report::Report,
    stage::{Stage, request},
    streams::rows,
};

/// The first argument of a process of clients; the server's address follows, and the key comes over its input.
pub(crate) const TASK: &str = "settings-clients";

const PROCESSES: usize = 10;
const CLIENTS: usize = 50 * PROCESSES;
/// The time from one change to the next. Clients that are told without a pause look less and less often, which keeps a
/// burst of changes from becoming a storm; people change settings now and then.
const PAUSE: Duration = Duration::from_millis(250);
/// Longest time until 99 of 100 clients serve a change, in milliseconds.
const MOST_MS: f64 = 50.0;
const NAME: &str = "settings: write to served by 500";

pub(crate) fn measure(stage: &Stage, options: &Options, report: &mut Report) {
    if !options.wants(NAME) {
        return;
    }
    eprintln!("measuring {NAME}");
    let data = tempfile::tempdir().expect("a folder");
    let secret = stage.runtime.block_on(furnish(data.path()));
    let key = secret.expose();
    let server = Child::start(data.path(), None);
    let put = |name: &str, number: usize| {
        let body = format!("{{\"value\":{number}}}");
        let line = ("PUT", &*format!("/v1/configs/{name}"));
        let target = request(server.address, key, line, "application/json", body.as_bytes());
        stage.runtime.block_on(once(&target));
    };
    // A service of some size: fifty configs beside the one that changes.
    for number in 0..50 {
        put(&format!("pool.size-{number}"), number);
    }
    put("changing", 0);

    let (tell, told) = mpsc::channel();
    let mut clients: Vec<_> = (0..PROCESSES).map(|_| Clients::start(server.address, key, &tell)).collect();
    for _ in 0..CLIENTS {
        told.recv_timeout(Duration::from_secs(30)).expect("a client that has begun");
    }
    let mut times = Vec::new();
    for number in 1..=options.uploads() {
        thread::sleep(PAUSE);
        let started = since_1970();
        put("changing", number);
        let mut reached = 0;
        while reached < CLIENTS {
            let (value, at) = told.recv_timeout(Duration::from_secs(30)).expect("a client that is told");
            if value == number {
                reached += 1;
                // The first few connect streams and fill caches.
                if number > 5 {
                    times.push(at.saturating_sub(started) as f64 / 1e3);
                }
            }
        }
    }
    clients.iter_mut().for_each(Clients::end);
    rows(report, NAME, &times, MOST_MS);
}

/// Runs clients that tell of each change, until the input ends.
pub(crate) fn clients(mut arguments: impl Iterator<Item = String>) {
    let address = arguments.next().expect("an address");
    let mut key = String::new();
    io::stdin().read_line(&mut key).expect("a key");
    let held: Vec<_> = (0..CLIENTS / PROCESSES)
        .map(|_| {
            let client = NexusClient::builder()
                .endpoint(format!("http://{address}"))
                .api_key(key.trim())
                // What comes, comes by the stream.
                .ttl(Duration::from_secs(3_600))
                .stream(true)
                .build()
                .expect("a client");
            let reader = client.clone();
            let tell = move || {
                if let Some(value) = reader.get_config("changing") {
                    let line = format!("{value} {}\n", since_1970());
                    // Nobody listens any more where the measurement is over.
                    let _ = io::stdout().write_all(line.as_bytes());
                }
            };
            tell();
            let watching = client.on_change(move |_| tell());
            (client, watching)
        })
        .collect();
    // Whatever comes, the end is what is waited for.
    let _ = io::stdin().read(&mut [0]);
    for (client, watching) in held {
        drop(watching);
        client.close();
    }
}

/// A process of clients.
struct Clients(process::Child);

impl Clients {
    fn start(address: SocketAddr, key: &str, tell: &mpsc::Sender<(usize, u64)>) -> Self {
        let mut command = process::Command::new(env::current_exe().expect("this program"));
        command.args([TASK, &address.to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().expect("a process");
        let input = process.stdin.as_mut().expect("an input that was asked for");
        writeln!(input, "{key}").expect("a process that reads");
        let output = BufReader::new(process.stdout.take().expect("an output that was asked for"));
        let tell = tell.clone();
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let (value, at) = line.split_once(' ').expect("a value and a time");
                // Nobody listens any more where the measurement is over.
                let _ = tell.send((value.parse().expect("a number"), at.parse().expect("a time")));
            }
        });
        Self(process)
    }

    fn end(&mut self) {
        // It ends with its input.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// The microseconds since 1970, which processes agree upon.
fn since_1970() -> u64 {
    u64::try_from(UNIX_EPOCH.elapsed().expect("a clock that was set").as_micros()).expect("a time of this age")
}

/// Makes a service and its secret key.
async fn furnish(data: &Path) -> Secret {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let store = store::open(data, None, Arc::clone(&clock)).await.expect("a store");
    let keyring = Keyring::in_directory(data).expect("a master key");
    let new = NewSettingsKey::new(ServiceId::new("acme", "payments", "production"), false);
    let made = Admin::new(Arc::clone(&store), clock).settings_key(&keyring, &new, Kind::Backend).await;
    store.close().await;
    made.expect("a key").issued.secret
}
