//! `leverframe watch`

use std::{fs, sync::Arc, thread, time::Duration};

use leverframe::{
    Error, ErrorKind, LoadError, LoadOptions, UriAuth,
    backends::clock_system::SystemClock,
    document::Document,
    live::{Feed, Product, Schedule, Stop, block_on},
    manifest::{Diff, Fingerprint, Manifest, lint_tree},
    sources::file::{FileConfig, FileSource},
    traits::{Clock, Source},
};
use serde_json::json;

use crate::{
    args::{Format, WatchArgs},
    failure::{Failure, exit},
    output::{BOLD, DIM, Envelope, GREEN, Out, YELLOW, plural, styled},
    place::unpacked,
};

/// Documents become manifests, to be compared.
#[derive(Debug)]
struct Manifests;

#[derive(Debug)]
struct Watched {
    manifest: Manifest,
    fingerprint: Fingerprint,
}

impl Product for Manifests {
    type Snapshot = Watched;
    type Error = LoadError;
    const NAME: &'static str = "watch";

    fn build(&self, document: Document, _: Option<&Watched>) -> Result<Watched, LoadError> {
        let (tree, options) = unpacked(document)?;
        let linted = lint_tree(&tree, &options);
        let manifest = linted.manifest.ok_or(LoadError::Lint(linted.report))?;
        Ok(Watched { manifest, fingerprint: Fingerprint::of(&tree) })
    }

    fn kind(error: &LoadError) -> ErrorKind {
        error.kind()
    }

    fn is_same(&self, served: &Watched, new: &Watched) -> bool {
        served.fingerprint == new.fingerprint
    }
}

pub(super) fn run(args: &WatchArgs, out: &mut Out) -> Result<u8, Failure> {
    if !(args.interval.is_finite() && args.interval >= 0.01) {
        return Err(Failure::usage(format!("`--interval {}` is no time to wait", args.interval))
            .with_hint("give seconds, such as 10 or 0.5"));
    }
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let feed = block_on(Feed::open(Manifests, source(args)?, clock))?;
    let mut served = feed.load_full();
    let flags = plural(served.snapshot.manifest.flags.len(), "flag");
    out.note(format!(
        "{}: {flags}; a look every {} s, and at once where the source tells of changes; Ctrl-C ends",
        styled(BOLD, served.snapshot.fingerprint.short(&served.snapshot.manifest.slug)),
        args.interval
    ));
    let stop = Stop::new();
    let runner = {
        let (feed, stop) = (feed.clone(), stop.clone());
        let schedule = Schedule::every(Duration::from_secs_f64(args.interval));
        thread::spawn(move || block_on(feed.run(schedule, &stop, |feed| async move { feed.poll().await })))
    };
    let (mut seen, mut changes, mut said) = (0, 0, None);
    while args.changes.is_none_or(|most| changes < most) {
        seen = block_on(feed.settled_beyond(seen));
        let now = feed.load_full();
        let error = feed.status().last_error;
        if error != said {
            match &error {
                Some(error) => out.note(format!("{}: {error}", styled(YELLOW, "not refreshed"))),
                None => out.note(styled(GREEN, "refreshed again")),
            }
            said = error;
        }
        if now.version != served.version {
            changes += 1;
            print(args, &served.snapshot, &now.snapshot, now.version, out)?;
            served = now;
        }
    }
    stop.stop();
    // The thread ends at the signal; if it panicked, its message is on standard error already.
    let _ = runner.join();
    Ok(exit::OK)
}

fn print(args: &WatchArgs, old: &Watched, new: &Watched, version: u64, out: &mut Out) -> Result<(), Failure> {
    let diff = Diff::between(&old.manifest, &new.manifest);
    match args.format.format {
        Format::Human => {
            let short = |watched: &Watched| watched.fingerprint.short(&watched.manifest.slug);
            out.line(format!(
                "{} {} → {}",
                styled(DIM, format!("change {}", version - 1)),
                short(old),
                short(new)
            ))?;
            out.text(diff.to_string())
        }
        Format::Json => {
            let inputs = json!({ "from": old.fingerprint.as_str(), "to": new.fingerprint.as_str() });
            Envelope::new("watch", inputs, &new.manifest.slug).version(version).write(out, diff.to_json())
        }
    }
}

fn source(args: &WatchArgs) -> Result<Arc<dyn Source>, Failure> {
    if !args.place.contains("://") {
        return Ok(Arc::new(FileSource::open(FileConfig::at(&args.place))));
    }
    let mut options = LoadOptions::new();
    if let Some(path) = &args.token_file {
        let token = fs::read_to_string(path)
            .map_err(|error| Error::from_io("read the token", error).with("path", path.display()))?;
        options = options.with_auth(UriAuth::Bearer(token.trim().to_owned()));
    }
    Ok(options.source_of(&args.place)?)
}
