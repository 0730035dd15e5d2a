//! What a poll costs when nothing changed.

use std::time::Instant;

use leverframe::{
    LoadOptions, Namespace,
    live::Outcome,
    manifest::archive,
    sources::ftps::{FtpsConfig, FtpsSource},
};
use leverframe_benches::{measure::median, report::Row};
use leverframe_counting::{Count, LARGE};

use crate::{
    places::{self, Archive, GitOverHttps, GitOverSsh},
    real::vsftpd::{Options, Vsftpd, write_old},
};

/// The most allocations of more than 4 KiB that a poll may make, on all threads together.
const MOST_LARGE: u64 = 2;

/// How many polls the figures are of, after some to warm up.
const POLLS: usize = 50;
const WARM_UP: usize = 10;

pub(crate) fn https(_: bool) -> Vec<Row> {
    let place = Archive::new();
    let options = LoadOptions::new().with_transport(place.transport());
    let namespace = Namespace::from_uri_with_options(place.uri(), &options).expect("the server serves it");
    let (before, polls) = (1 + WARM_UP, polled(&namespace));
    let log = place.server.sizes(before + POLLS);
    let news = &log[before..];
    assert!(news.iter().all(|line| line.starts_with("GET /files/m.tar.gz 304 ")), "{news:?}");
    let bodies: f64 = news.iter().filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum();
    polls.rows("https", "request", news.len(), "GET, answered by 304", Some(bodies))
}

pub(crate) fn git_https(_: bool) -> Vec<Row> {
    let place = GitOverHttps::new();
    let namespace = place.namespace();
    // The first load greets, asks for the branch and fetches.
    let (before, polls) = (3 + WARM_UP, polled(&namespace));
    let log = place.server.requests(before + POLLS);
    let news = &log[before..];
    assert!(news.iter().all(|line| line.starts_with("POST /open/flags/git-upload-pack 200 ")), "{news:?}");
    let most = place.server.sizes()[before..].iter().max().copied().unwrap_or_default();
    let note = format!("POST, answered by the one ref in {most} B");
    polls.rows("git+https", "request", news.len(), &note, None)
}

pub(crate) fn git_ssh(_: bool) -> Vec<Row> {
    let place = GitOverSsh::new();
    let namespace = place.namespace();
    let before = place.server.sessions() + WARM_UP;
    let polls = polled(&namespace);
    let sessions = place.server.sessions() - before;
    polls.rows("git+ssh", "session", sessions, "a connection each; libssh2's own memory is not counted", None)
}

pub(crate) fn ftps(_: bool) -> Vec<Row> {
    let server = Vsftpd::start(Options::default());
    let [state, _] = places::states();
    let archive = archive::pack(&state).expect("generated namespaces are small");
    write_old(&server.files().join("m.tar.gz"), &archive, 1);
    let mut config = FtpsConfig::default();
    config.ca_file = server.ca_file();
    let source = FtpsSource::open(&server.uri("m.tar.gz"), None, config).expect("the URI is one");
    let namespace = places::namespace(source);
    let polls = polled(&namespace);
    let commands = server.commands();
    let news = &commands[commands.len() - POLLS * 2..];
    assert!(news.chunks(2).all(|pair| pair == ["MDTM", "SIZE"]), "{news:?}");
    let transfers = commands.iter().filter(|command| *command == "RETR").count();
    assert_eq!(transfers, 1, "only the first load transfers");
    polls.rows("ftps", "command", news.len(), "MDTM and SIZE, over the connection that is kept", None)
}

/// What the polls of one source came to.
struct Polls {
    times: Vec<f64>,
    large: Vec<u64>,
    all: Vec<f64>,
}

/// Polls until warm, and then [`POLLS`] times under measurement.
fn polled(namespace: &Namespace) -> Polls {
    let mut polls = Polls {
        times: Vec::with_capacity(POLLS),
        large: Vec::with_capacity(POLLS),
        all: Vec::with_capacity(POLLS),
    };
    for round in 0..WARM_UP + POLLS {
        let (start, before) = (Instant::now(), Count::now());
        let outcome = namespace.poll().expect("the server answers");
        let (count, took) = (Count::now().since(before), start.elapsed());
        assert_eq!(outcome, Outcome::Unchanged);
        if round >= WARM_UP {
            polls.times.push(took.as_nanos() as f64);
            polls.large.push(count.large);
            polls.all.push(count.all as f64);
        }
    }
    polls
}

impl Polls {
    fn rows(self, source: &str, unit: &str, sent: usize, how: &str, bodies: Option<f64>) -> Vec<Row> {
        let name = |what: &str| format!("unchanged {source}: {what}");
        let mut large = self.large;
        large.sort_unstable();
        let [least, middle, most] = [large[0], large[POLLS / 2], large[POLLS - 1]];
        let mut rows = vec![
            // Rounded up, so that one too many in all polls together shows.
            Row::count(&name(&format!("{unit}s a poll")), sent.div_ceil(POLLS) as u64, limit(unit))
                .noting(how),
        ];
        rows.extend(bodies.map(|bytes| Row::bytes(&name("bytes of bodies"), bytes / POLLS as f64, 0.0)));
        rows.push(
            Row::count(&name(&format!("allocations over {LARGE} B a poll")), middle, Some(MOST_LARGE))
                .noting(format!("median; fewest {least}, most {most}; {:.0} of any size", median(self.all))),
        );
        rows.push(Row::time(&name("time of a poll"), median(self.times), Default::default()));
        rows
    }
}

/// The most that a poll may send: one request, or FTP's two questions.
fn limit(unit: &str) -> Option<u64> {
    Some(if unit == "command" { 2 } else { 1 })
}
