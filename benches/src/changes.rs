//! A namespace that changes by one flag at a time: in memory alone, and as a client of a server's event stream applies it.

mod client;

use std::{
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use leverframe::{
    Error, LoadOptions, Namespace, async_trait,
    document::{Content, Delta, Document, Entry, Revision, Tree},
    manifest::{LintOptions, Workspace},
    traits::{Load, Source},
};

use crate::{
    load,
    measure::alternate,
    options::{Options, progress},
    report::{Report, Row, Target},
};

/// How many flags change in turn, spread over the namespace: what a change costs depends on where it is.
const CHANGED: usize = 64;

const SMALL: &str = "leverframe, 100 flags";
/// The most that a change among 10,000 flags may cost, as a multiple of what it costs among 100.
const LIMIT: Target = Target { ratio: Some(3.0), ns: None };

/// Measures what a change of one flag costs from its arrival until it is applied, by the size of the namespace.
pub fn measure(options: &Options, report: &mut Report) {
    client::measure(options, report);
    measure_in_memory(options, report);
}

/// A change that is parsed already, until it is served; nothing is written.
fn measure_in_memory(options: &Options, report: &mut Report) {
    const NAME: &str = "apply a one-flag delta in memory alone, 10,000 flags against 100";
    if !options.wants(NAME, SMALL) {
        return;
    }
    progress(NAME);
    let (large, small) = (Changing::of(10_000), Changing::of(100));
    let (large_ns, small_ns) = alternate(options.effort, &mut |n| large.apply(n), &mut |n| small.apply(n));
    report.rows.push(Row::pair(NAME, large_ns, (SMALL, small_ns), LIMIT));
}

/// A namespace and its source, in memory.
#[derive(Debug)]
pub struct Changing {
    namespace: Namespace,
    source: Arc<Steps>,
}

impl Changing {
    /// Generates a namespace of that many flags and loads it.
    ///
    /// # Panics
    /// When the generated namespace does not pass lint.
    #[must_use]
    pub fn of(flags: usize) -> Self {
        let tree = load::tree(flags);
        let deltas = deltas(&tree);
        let source = Arc::new(Steps { tree, deltas, at: AtomicUsize::new(0) });
        let shared: Arc<Steps> = Arc::clone(&source);
        let options = LoadOptions::new().with_changes_applied();
        let namespace = Namespace::from_source(shared, &options).expect("generated namespaces lint clean");
        Self { namespace, source }
    }

    /// Times that many changes, each parsed, linted, digested, compiled and served.
    ///
    /// # Panics
    /// When a change is not served as a change.
    pub fn apply(&self, times: u64) -> Duration {
        let version = self.namespace.flag_version();
        let start = Instant::now();
        for _ in 0..times {
            self.source.at.fetch_add(1, Ordering::Relaxed);
            black_box(self.namespace.poll()).expect("each change is sound");
        }
        let took = start.elapsed();
        assert_eq!(self.namespace.flag_version(), version + times, "each change was served");
        took
    }
}

/// Gives each of some flags another description, then each its own again, promising the digests in between.
fn deltas(tree: &Tree) -> Vec<Delta> {
    let flags: Vec<(&str, &[u8])> = tree
        .iter()
        .filter_map(|(path, entry)| match entry {
            Entry::File(content) if path.starts_with("flags/") => Some((path, &content[..])),
            _ => None,
        })
        .collect();
    let changed = (0..CHANGED).map(|at| flags[at * flags.len() / CHANGED]);
    let there = changed.clone().map(|(path, content)| {
        let text =
            String::from_utf8_lossy(content).replacen("description = \"", "description = \"Changed. ", 1);
        (path, text.into_bytes())
    });
    let back = changed.map(|(path, content)| (path, content.to_vec()));
    let edits: Vec<(&str, Vec<u8>)> = there.chain(back).collect();
    let steps = edits.len();
    let options = LintOptions::new();
    let mut state = Workspace::new(tree.clone(), &options).expect("generated namespaces lint clean");
    let mut deltas = Vec::with_capacity(steps);
    for (at, (path, content)) in edits.into_iter().enumerate() {
        let delta = Delta::new(revision(at), revision((at + 1) % steps)).changing(path, content);
        state = state.apply(&delta).expect("a description breaks nothing");
        deltas.push(delta.promising(state.fingerprint().as_str()));
    }
    deltas
}

fn revision(at: usize) -> Revision {
    Revision::new(at.to_string())
}

/// Brings the change that leads from the state before to the present one.
#[derive(Debug)]
struct Steps {
    tree: Tree,
    deltas: Vec<Delta>,
    at: AtomicUsize,
}

#[async_trait]
impl Source for Steps {
    fn name(&self) -> &'static str {
        "steps"
    }

    async fn load<'a>(&self, since: Option<&'a Revision>) -> Result<Load, Error> {
        let at = self.at.load(Ordering::Relaxed);
        Ok(match since {
            Some(_) => Load::Delta(self.deltas[(at - 1) % self.deltas.len()].clone()),
            None => Load::Snapshot(Document::new(revision(at), Content::Tree(self.tree.clone()))),
        })
    }

    async fn changed(&self) -> Result<(), Error> {
        std::future::pending().await
    }

    async fn close(&self) -> Result<(), Error> {
        Ok(())
    }
}
