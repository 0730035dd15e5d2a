//! A feed whose source brings changes: what it serves, what it asks for, and what it keeps.

use std::sync::{Arc, Mutex};

use leverframe::{
    Error, EvalContext, EvalOptions, LoadOptions, Namespace, async_trait,
    document::{Content, Delta, Document, Revision, Tree},
    live::Keep,
    manifest::Fingerprint,
    traits::{Load, Source},
};

/// Brings the state as a change where it knows the state that is asked about.
#[derive(Debug, Default)]
pub(crate) struct Versions {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    trees: Vec<Tree>,
    wholes: usize,
    deltas: usize,
    /// What the next change promises instead of the truth.
    lie: Option<String>,
}

impl Versions {
    pub(crate) fn of(tree: Tree) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State { trees: vec![tree], ..State::default() }) })
    }

    fn push(&self, path: &str, content: Option<String>) {
        let mut state = self.state.lock().unwrap();
        let mut tree = state.trees.last().unwrap().clone();
        match content {
            Some(content) => tree.insert(path, leverframe::document::Entry::File(content.into())),
            None => drop(tree.remove(path)),
        }
        state.trees.push(tree);
    }

    pub(crate) fn set(&self, tree: Tree) {
        self.state.lock().unwrap().trees.push(tree);
    }

    fn lie_once(&self) {
        self.state.lock().unwrap().lie = Some(format!("sha256:{}", "0".repeat(64)));
    }

    /// How often the whole and how often a change was brought.
    fn brought(&self) -> (usize, usize) {
        let state = self.state.lock().unwrap();
        (state.wholes, state.deltas)
    }
}

#[async_trait]
impl Source for Versions {
    fn name(&self) -> &'static str {
        "versions"
    }

    async fn load<'a>(&self, since: Option<&'a Revision>) -> Result<Load, Error> {
        let mut state = self.state.lock().unwrap();
        let last = state.trees.len() - 1;
        let revision = Revision::new(last.to_string());
        let known =
            since.and_then(|since| since.as_str().parse::<usize>().ok()).filter(|known| *known <= last);
        let tree = state.trees[last].clone();
        match known {
            Some(known) if known == last => Ok(Load::Unchanged),
            Some(known) => {
                state.deltas += 1;
                let old = &state.trees[known];
                let mut delta = Delta::new(Revision::new(known.to_string()), revision);
                for (path, _) in old.iter().filter(|(path, _)| tree.get(path).is_none()) {
                    delta = delta.removing(path);
                }
                for (path, _) in tree.iter().filter(|(path, entry)| old.get(path) != Some(*entry)) {
                    delta = delta.changing(path, tree.file(path).unwrap().clone());
                }
                let digest = state.lie.take().unwrap_or_else(|| Fingerprint::of(&tree).to_string());
                Ok(Load::Delta(delta.promising(digest)))
            }
            None => {
                state.wholes += 1;
                Ok(Load::Snapshot(Document::new(revision, Content::Tree(tree)).named("shop")))
            }
        }
    }

    async fn changed(&self) -> Result<(), Error> {
        std::future::pending().await
    }

    async fn close(&self) -> Result<(), Error> {
        Ok(())
    }
}

fn flag(on: bool) -> String {
    format!(
        "schema_version = \"0.1\"\n[flag]\ntype = \"boolean\"\n[flag.variants]\non = true\noff = false\n\
         [flag.environments._]\nvariant = \"{}\"\n",
        if on { "on" } else { "off" }
    )
}

fn value(namespace: &Namespace, key: &str) -> Option<bool> {
    let loaded = namespace.snapshot();
    let program = &loaded.snapshot.program;
    program
        .evaluate(key, "production", &EvalContext::new(), &EvalOptions::new())
        .ok()
        .and_then(|hit| hit.value.as_bool())
}

pub(crate) fn options() -> LoadOptions {
    LoadOptions::new().with_changes_applied()
}

pub(crate) fn open(source: &Arc<Versions>, options: &LoadOptions) -> Namespace {
    let source: Arc<Versions> = Arc::clone(source);
    Namespace::from_source(source, options).unwrap()
}

fn shop() -> Arc<Versions> {
    Versions::of([("flags/a.toml", flag(false))].into_iter().collect())
}

#[test]
fn changes_are_applied_without_asking_for_the_whole_again() {
    let source = shop();
    let namespace = open(&source, &options());

    source.push("flags/a.toml", Some(flag(true)));
    namespace.poll().unwrap();
    source.push("flags/b.toml", Some(flag(true)));
    namespace.poll().unwrap();
    source.push("flags/a.toml", None);
    namespace.poll().unwrap();

    assert_eq!((value(&namespace, "a"), value(&namespace, "b")), (None, Some(true)));
    assert_eq!(source.brought(), (1, 3));
}

#[test]
fn a_namespace_that_keeps_no_files_asks_for_the_whole() {
    let source = shop();
    let namespace = open(&source, &LoadOptions::new());

    source.push("flags/a.toml", Some(flag(true)));
    namespace.poll().unwrap();

    assert_eq!(value(&namespace, "a"), Some(true));
    assert_eq!(source.brought(), (2, 1));
}

#[test]
fn a_change_with_another_outcome_than_promised_is_not_served_and_the_whole_is_loaded() {
    let source = shop();
    let namespace = open(&source, &options());

    source.push("flags/a.toml", Some(flag(true)));
    source.lie_once();
    namespace.poll().unwrap();

    assert_eq!(value(&namespace, "a"), Some(true));
    assert_eq!(source.brought(), (2, 1));
}

#[test]
fn a_change_that_breaks_the_namespace_leaves_what_is_served_and_its_mending_arrives() {
    let source = shop();
    let namespace = open(&source, &options());

    source.push("flags/a.toml", Some("schema_version = ".to_owned()));
    let refused = namespace.poll();
    let meanwhile = value(&namespace, "a");
    source.push("flags/a.toml", Some(flag(true)));
    namespace.poll().unwrap();

    assert!(matches!(refused, Err(leverframe::LoadError::Lint(_))), "{refused:?}");
    assert_eq!(meanwhile, Some(false));
    assert_eq!(value(&namespace, "a"), Some(true));
}

#[test]
fn what_is_kept_after_a_change_is_the_whole() {
    let directory = tempfile::tempdir().unwrap();
    let archive = directory.path().join("shop.tar.gz");
    let source = shop();
    let options = options().with_keep(Keep::in_file(&archive).named("shop"));
    let namespace = open(&source, &options);

    source.push("flags/b.toml", Some(flag(true)));
    namespace.poll().unwrap();

    let kept = Namespace::from_archive(&archive).unwrap();
    assert_eq!((value(&kept, "a"), value(&kept, "b")), (Some(false), Some(true)));
}
