//! A process that is killed at any moment loses nothing that it was told is stored.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use leverframe::{Secret, backends::clock_system::SystemClock, config::ambient_environment};
use leverframe_server::{
    model::{PageRequest, archive_address},
    store::{self, Store},
};

use crate::{
    conformance::on_every_engine,
    place::{Place, accepted, at, namespace, tenant, version},
};

on_every_engine!(no_acknowledged_version_is_lost_and_none_is_half_there_after_kill_9);

const NAMESPACES: [&str; 3] = ["a", "b", "c"];
const ROUNDS: usize = 12;

async fn no_acknowledged_version_is_lost_and_none_is_half_there_after_kill_9(place: Place) {
    if let Some((_, data)) = ambient_environment(&["LEVERFRAME_TEST_DATA"]).pop() {
        // Nobody cleans up after a process that is killed.
        drop(place);
        let url = ambient_environment(&["LEVERFRAME_TEST_DATABASE"]).pop().map(|(_, url)| url);
        return write_until_killed(Path::new(data.expose()), url.as_ref()).await;
    }
    let store = place.open().await;
    store.create_tenant(&tenant("acme")).await.unwrap();
    for slug in NAMESPACES {
        store.create_namespace(&namespace("acme", slug)).await.unwrap();
    }
    store.close().await;
    let mut acknowledged = BTreeMap::new();

    for round in 0..ROUNDS {
        // Another moment each time: right after an acknowledgement, when the next writes are under way.
        acknowledged.extend(kill_after(&place, 1 + round * 3));

        let store = place.open().await;
        for slug in NAMESPACES {
            let head = store.namespace("acme", slug).await.unwrap().unwrap().version;
            let mut expected = head;
            let mut page = PageRequest::first(500);
            loop {
                let part = store.versions("acme", slug, &page).await.unwrap();
                for record in part.items {
                    assert_eq!(record.version, expected, "a version is missing");
                    let archive = store.archive(&record.sha256).await.unwrap().expect("its archive");
                    assert_eq!(archive_address(&archive), record.sha256);
                    assert_eq!(archive.len() as u64, record.size);
                    if let Some(address) = acknowledged.get(&(slug.to_owned(), record.version)) {
                        assert_eq!(&record.sha256, address, "another content than was acknowledged");
                    }
                    expected -= 1;
                }
                let Some(next) = part.next else { break };
                page = PageRequest::after(500, next);
            }
            assert_eq!(expected, 0);
            let last = acknowledged.keys().filter(|(name, _)| name == slug).map(|(_, number)| *number).max();
            assert!(last.unwrap_or(0) <= head, "{last:?} was acknowledged, and {head} is there");
        }
        store.close().await;
    }
    assert!(acknowledged.len() >= ROUNDS, "{}", acknowledged.len());
}

/// Has another process write, and kills it after so many acknowledgements; returns all that it gave.
fn kill_after(place: &Place, count: usize) -> BTreeMap<(String, u64), String> {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "--nocapture"])
        .arg("killed::on_sqlite::no_acknowledged_version_is_lost_and_none_is_half_there_after_kill_9")
        .env("LEVERFRAME_TEST_DATA", place.data())
        .stdout(Stdio::piped());
    if let Some(url) = place.url() {
        command.env("LEVERFRAME_TEST_DATABASE", url.expose());
    }
    let mut writer = command.spawn().unwrap();
    let mut lines = BufReader::new(writer.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut given = BTreeMap::new();
    let mut take = |line: String| {
        let Some(line) = line.strip_prefix("ack ") else { return };
        let mut parts = line.split(' ').map(str::to_owned);
        let (slug, number) = (parts.next().unwrap(), parts.next().unwrap().parse().unwrap());
        given.insert((slug, number), parts.next().unwrap());
    };
    let mut seen = 0;
    while seen < count {
        let line = lines.next().expect("the writer ended by itself");
        seen += usize::from(line.starts_with("ack "));
        take(line);
    }
    writer.kill().unwrap();
    // What it had said before it was killed counts as well; a line that was cut does not.
    lines.filter(|line| line.len() > 64 + "ack a 1 ".len()).for_each(take);
    writer.wait().unwrap();
    given
}

async fn write_until_killed(data: &Path, url: Option<&Secret>) {
    let store: Arc<dyn Store> = store::open(data, url, Arc::new(SystemClock::new())).await.unwrap();
    let writers: Vec<_> = NAMESPACES
        .into_iter()
        .map(|slug| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                // Of some pages, so that a write takes more than one step; another in each process.
                let filler = "x".repeat(40_000);
                for number in 0.. {
                    let new = version(&format!("{slug} {number} {} {filler}", std::process::id()), None);
                    let record = accepted(store.put_version("acme", slug, &new, at(number)).await.unwrap());
                    let line = format!("ack {slug} {} {}\n", record.version, record.sha256);
                    io::stdout().write_all(line.as_bytes()).unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
}
