//! What is said of a change, made once for all who are told.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use leverframe::{
    document::{Entry, Tree},
    flags::events::{EventFile, FlagFilter, INLINE_LIMIT, RESYNC, ResyncEvent, VERSION, VersionEvent},
};
use serde::Serialize;

use super::signing::{Signer, VALID_FOR};
use crate::heads::Head;

/// Whose closure is spoken of.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) tenant: Arc<str>,
    pub(super) namespace: Arc<str>,
    pub(super) filter: FlagFilter,
}

/// One state of a closure, which readers can be sent to fetch.
#[derive(Debug)]
pub(super) struct Point {
    place: Arc<Place>,
    pub(super) version: u64,
    hash: String,
    snapshot: Mutex<Option<Signed>>,
    resync: Mutex<Option<Signed>>,
}

#[derive(Debug)]
struct Signed {
    frame: Frame,
    until: SystemTime,
}

/// An event as it goes over the wire. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    /// With the id of a reader of this one namespace.
    whole: Bytes,
    /// Where that id ends and what all readers share begins.
    id_ends: usize,
}

/// A change of a closure that its readers are told of.
#[derive(Debug)]
pub(super) struct Change {
    /// What it led to.
    pub(super) point: Arc<Point>,
    /// The change itself; `None` if it is too large and has to be fetched.
    pub(super) inline: Option<Frame>,
}

/// The files of a closure and the point they stand at.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) point: Arc<Point>,
    files: Arc<Tree>,
}

/// What a new version means for a closure.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) state: State,
    /// `None` if the closure is what it was.
    pub(super) change: Option<Change>,
}

/// Why a reader is sent to fetch everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whole {
    /// It has nothing yet, or the change was too large to be sent.
    Snapshot,
    /// It did not read what was meant for it.
    SlowReader,
}

impl Step {
    /// Reckons what `head` means for readers who were last told of `before`. Takes time in proportion to the closure.
    pub(super) fn to(head: &Head, place: &Arc<Place>, before: Option<&State>) -> Self {
        let (files, hash) = place.filter.closure(&head.tree, &head.manifest);
        let point = Arc::new(Point {
            place: Arc::clone(place),
            version: head.record.version,
            hash: hash.as_str().to_owned(),
            snapshot: Mutex::default(),
            resync: Mutex::default(),
        });
        let changed = before.is_none_or(|before| before.point.hash != point.hash);
        let change = changed.then(|| Change {
            inline: before.and_then(|before| inline(before, &point, &files)),
            point: Arc::clone(&point),
        });
        Self { state: State { point, files: Arc::new(files) }, change }
    }
}

impl Point {
    /// Returns the event that sends a reader to fetch everything, with a URL that stays valid for a while.
    pub(super) fn announced(&self, whole: Whole, signer: &Signer, now: SystemTime) -> Frame {
        let cell = match whole {
            Whole::Snapshot => &self.snapshot,
            Whole::SlowReader => &self.resync,
        };
        let mut cell = cell.lock().unwrap_or_else(PoisonError::into_inner);
        // Signed again in time, so that nobody is handed a URL that is about to expire; and where the wall clock was
        // set back, so that none is handed out that is valid for longer than it should.
        let good =
            cell.as_ref().filter(|signed| signed.until >= now + RESERVE && signed.until <= now + VALID_FOR);
        if let Some(signed) = good {
            return signed.frame.clone();
        }
        let until = now + VALID_FOR;
        let Place { tenant, namespace, filter } = &*self.place;
        let url = signer.snapshot_url(tenant, namespace, filter, self.version, until);
        let (event, data) = match whole {
            Whole::Snapshot => {
                let event = VersionEvent::snapshot(&**namespace, self.version, self.hash.as_str(), url);
                (VERSION, to_json(&event))
            }
            Whole::SlowReader => {
                let (hash, reason) = (self.hash.as_str(), "slow_reader");
                (RESYNC, to_json(&ResyncEvent::new(&**namespace, self.version, hash, url, reason)))
            }
        };
        let frame = Frame::new(self.version, event, &data);
        *cell = Some(Signed { frame: frame.clone(), until });
        frame
    }
}

impl Frame {
    fn new(version: u64, event: &str, data: &[u8]) -> Self {
        let id = format!("id: {version}\n");
        let mut whole = Vec::with_capacity(id.len() + event.len() + data.len() + 16);
        whole.extend_from_slice(id.as_bytes());
        whole.extend_from_slice(b"event: ");
        whole.extend_from_slice(event.as_bytes());
        whole.extend_from_slice(b"\ndata: ");
        whole.extend_from_slice(data);
        whole.extend_from_slice(b"\n\n");
        Self { whole: whole.into(), id_ends: id.len() }
    }

    /// Returns the event for a reader of one namespace.
    pub(super) fn alone(&self) -> Bytes {
        self.whole.clone()
    }

    /// Returns the event without its id.
    pub(super) fn without_id(&self) -> Bytes {
        self.whole.slice(self.id_ends..)
    }
}

/// Returns the change as an event, if it is small enough to be sent.
fn inline(before: &State, point: &Point, files: &Tree) -> Option<Frame> {
    let mut changed = BTreeMap::new();
    let mut total = 0;
    for (path, entry) in files.iter() {
        let Entry::File(content) = entry else { continue };
        if before.files.file(path) == Some(content) {
            continue;
        }
        // A lower bound of what the event takes, so that a large change is not even written down.
        total += content.len() + path.len();
        if total > INLINE_LIMIT {
            return None;
        }
        changed.insert(path.to_owned(), EventFile::new(std::str::from_utf8(content).ok()?));
    }
    let removed = before.files.iter().map(|(path, _)| path).filter(|path| files.get(path).is_none());
    let event = VersionEvent::inline(
        &*point.place.namespace,
        point.version,
        before.point.hash.as_str(),
        point.hash.as_str(),
        changed,
        removed.map(str::to_owned).collect(),
    );
    let data = to_json(&event);
    (data.len() <= INLINE_LIMIT).then(|| Frame::new(point.version, VERSION, &data))
}

fn to_json(event: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(event).expect("an event has only string keys and nothing that fails to serialise")
}

/// What a URL is good for at least when it is handed out.
const RESERVE: Duration = Duration::from_secs(240);

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use leverframe::manifest::{Fingerprint, LintOptions, lint_tree};
    use proptest::{collection::vec, option, prelude::*};

    use super::*;
    use crate::{events::SigningKey, model::VersionRecord};

    /// What a namespace holds: a flag may be there, with a text and a segment it follows; a segment has a text and may
    /// follow a later one.
    type Content = (Vec<Option<(u8, Option<usize>)>>, Vec<(u8, bool)>);

    const FLAGS: usize = 4;
    const SEGMENTS: usize = 3;

    fn content() -> impl Strategy<Value = Content> {
        let flag = option::of((0..3_u8, option::of(0..SEGMENTS)));
        (vec(flag, FLAGS), vec((0..3_u8, any::<bool>()), SEGMENTS))
    }

    fn filter() -> impl Strategy<Value = FlagFilter> {
        // One more than there are: a flag that never exists.
        option::of(vec(0..=FLAGS, 1..4)).prop_map(|flags| match flags {
            None => FlagFilter::All,
            Some(flags) => FlagFilter::only(flags.iter().map(|number| format!("f{number}"))),
        })
    }

    fn tree((flags, segments): &Content) -> Tree {
        let mut files = vec![(
            "namespace.toml".to_owned(),
            "schema_version = \"0.1\"\n[namespace]\nslug = \"shop\"\n".to_owned(),
        )];
        for (number, flag) in flags.iter().enumerate() {
            let Some((text, segment)) = flag else { continue };
            let rule = segment.map_or_else(String::new, |segment| {
                format!("[[flag.environments._.rules]]\nsegment = \"s{segment}\"\nvariant = \"on\"\n")
            });
            files.push((
                format!("flags/f{number}.toml"),
                format!(
                    "schema_version = \"0.1\"\n[flag]\ntype = \"boolean\"\ndescription = \"{text}\"\n[flag.variants]\n\
                     on = true\n[flag.environments._]\nvariant = \"on\"\n{rule}"
                ),
            ));
        }
        for (number, (text, follows)) in segments.iter().enumerate() {
            let predicate = if *follows && number + 1 < SEGMENTS {
                format!("{{ not = {{ segment = \"s{}\" }} }}", number + 1)
            } else {
                "{ attribute = \"a\", op = \"eq\", value = 1 }".to_owned()
            };
            files.push((
                format!("segments/s{number}.toml"),
                format!(
                    "schema_version = \"0.1\"\n[segment]\ndescription = \"{text}\"\npredicate = {predicate}\n"
                ),
            ));
        }
        files.into_iter().collect()
    }

    fn head(version: u64, tree: Tree) -> Head {
        let manifest = lint_tree(&tree, &LintOptions::new().with_slug("shop")).manifest.unwrap();
        let record = VersionRecord {
            version,
            uploaded_at: SystemTime::UNIX_EPOCH,
            uploaded_by: String::new(),
            flag_count: 0,
            segment_count: 0,
            sha256: String::new(),
            fingerprint: String::new(),
            size: 0,
        };
        Head::assemble(record, Bytes::new(), tree, manifest)
    }

    fn place(filter: FlagFilter) -> Arc<Place> {
        Arc::new(Place { tenant: "acme".into(), namespace: "shop".into(), filter })
    }

    fn event(frame: &Frame) -> VersionEvent {
        let text = String::from_utf8(frame.alone().to_vec()).unwrap();
        let data = text.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
        serde_json::from_str(data).unwrap()
    }

    proptest! {
        #[test]
        fn deltas_applied_to_the_first_snapshot_give_every_version_exactly(
            filter in filter(), history in vec(content(), 2..8)
        ) {
            let place = place(filter);
            let (mut state, mut held): (Option<State>, _) = (None, Tree::new());
            for (index, content) in history.iter().enumerate() {
                let head = head(index as u64 + 1, tree(content));
                let (expected, hash) = place.filter.closure(&head.tree, &head.manifest);
                let step = Step::to(&head, &place, state.as_ref());

                match (&state, step.change) {
                    // The first: a reader fetches what the server says the closure is.
                    (None, change) => {
                        prop_assert!(change.is_some_and(|change| change.inline.is_none()));
                        held = expected.clone();
                    }
                    (Some(_), None) => {}
                    (Some(before), Some(change)) => {
                        let event = event(change.inline.as_ref().expect("small changes are inline"));
                        prop_assert_eq!(event.version, head.record.version);
                        prop_assert_eq!(event.prev_closure_hash.as_deref(), Some(before.point.hash.as_str()));
                        prop_assert_eq!(event.closure_hash.as_str(), hash.as_str());
                        prop_assert!(!event.files.is_empty() || !event.removed.is_empty());
                        for path in &event.removed {
                            prop_assert!(held.remove(path).is_some(), "{} was not there", path);
                        }
                        for (path, file) in event.files {
                            prop_assert!(file.is_intact());
                            held.insert(path, Entry::File(file.content.into()));
                        }
                    }
                }
                prop_assert_eq!(&held, &expected);
                prop_assert_eq!(Fingerprint::of(&held), hash);
                state = Some(step.state);
            }
        }
    }

    #[test]
    fn urls_are_signed_once_for_many_readers_and_again_before_they_expire() {
        let content = (vec![Some((0, None)); FLAGS], vec![(0, false); SEGMENTS]);
        let step = Step::to(&head(1, tree(&content)), &place(FlagFilter::All), None);
        let signer = Signer::new(SigningKey::new([1; 32]));
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000);
        let at = |seconds: u64| {
            let now = start + Duration::from_secs(seconds);
            step.state.point.announced(Whole::Snapshot, &signer, now).alone()
        };

        let first = at(0);
        assert_eq!(first.as_ptr(), at(60).as_ptr(), "the same bytes");
        let later = at(61);
        assert_ne!(first, later);
        assert_ne!(at(0), later, "the clock was set back: no URL is good for longer than five minutes");
    }

    #[test]
    fn what_is_not_text_is_not_sent_inline() {
        let before: Tree = [("flags/a.toml", "x")].into_iter().collect();
        let after: Tree = [("flags/a.toml", &b"\xff"[..])].into_iter().collect();
        let point = |hash: &str| {
            let (snapshot, resync) = Default::default();
            Arc::new(Point {
                place: place(FlagFilter::All),
                version: 1,
                hash: hash.to_owned(),
                snapshot,
                resync,
            })
        };
        let state = State { point: point("1"), files: Arc::new(before) };

        assert!(inline(&state, &point("2"), &after).is_none());
        assert!(inline(&state, &point("2"), &Tree::new()).is_some());
    }
}
