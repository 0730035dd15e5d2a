//! The clauses of [`Source`].

use std::{pin::pin, sync::Arc};

use super::{check_name, poll_once, skipped, within};
use crate::{
    ErrorKind,
    document::{Document, Revision},
    traits::{Load, Source},
};

/// What a fixture can do to the place that its source reads from.
pub trait Place: Send + Sync {
    /// Changes the state.
    fn change(&mut self);

    /// Makes loads fail, if that can be arranged: false where it cannot.
    fn break_it(&mut self) -> bool;

    /// Undoes [`Place::break_it`].
    fn mend(&mut self);

    /// Whether the place tells of changes.
    fn tells(&self) -> bool;

    /// A credential that the source was given, if it takes one.
    fn secret(&self) -> Option<&str> {
        None
    }
}

/// A source with its place.
pub struct Fixture<S> {
    source: Arc<S>,
    place: Box<dyn Place>,
}

impl<S: Source> Fixture<S> {
    /// Takes a source and its place.
    #[must_use]
    pub fn new(source: S, place: impl Place + 'static) -> Self {
        Self { source: Arc::new(source), place: Box::new(place) }
    }
}

/// What a clause works on.
pub struct Case {
    source: Arc<dyn Source>,
    place: Box<dyn Place>,
}

#[doc(hidden)]
pub fn on_the_type<S: Source>(fixture: Fixture<S>) -> Case {
    Case { source: fixture.source, place: fixture.place }
}

#[doc(hidden)]
pub fn through_arc_dyn<S: Source>(fixture: Fixture<S>) -> Case {
    let erased: Arc<dyn Source> = fixture.source;
    Case { source: Arc::new(erased), place: fixture.place }
}

impl Case {
    async fn load(&self, since: Option<&Revision>) -> Load {
        match within("loading", self.source.load(since)).await {
            Ok(load) => load,
            Err(error) => panic!("the load failed: {}", error.chain()),
        }
    }

    async fn whole(&self) -> Document {
        match self.load(None).await {
            Load::Snapshot(document) => document,
            other => panic!("`load(None)` brought {other:?}"),
        }
    }
}

/// S1: `load(None)` brings a whole state.
pub async fn s1_first_load_is_whole(case: Case) {
    case.whole().await;
}

/// S2: the revision of the present state brings `Unchanged`.
pub async fn s2_same_revision_is_unchanged(case: Case) {
    let document = case.whole().await;
    let again = case.load(Some(document.revision())).await;
    assert!(matches!(again, Load::Unchanged), "a load since the present revision brought {again:?}");
}

/// S3: two loads of one state report the same revision and equal content.
pub async fn s3_equal_state_equal_document(case: Case) {
    assert_eq!(case.whole().await, case.whole().await, "two loads of one state differ");
}

/// S4: after a change, the old revision brings the new state, or a change that starts from the old one.
pub async fn s4_change_is_brought(mut case: Case) {
    let old = case.whole().await;
    case.place.change();
    match case.load(Some(old.revision())).await {
        Load::Unchanged => panic!("a change was not brought"),
        Load::Snapshot(new) => {
            assert_ne!(new.revision(), old.revision(), "a new state has the old revision");
            assert_ne!(new.content(), old.content(), "a new revision has the old content");
        }
        Load::Delta(delta) => {
            assert_eq!(delta.base(), old.revision(), "the change starts from another state")
        }
    }
}

/// S5: a failed load is an error without credentials; the next load starts afresh.
pub async fn s5_failure_is_clean_and_passes(mut case: Case) {
    case.whole().await;
    if !case.place.break_it() {
        return skipped("S5", "this place cannot be broken");
    }
    let Err(error) = within("failing", case.source.load(None)).await else {
        panic!("a broken place was loaded")
    };
    if let Some(secret) = case.place.secret() {
        let shown = format!("{error} {error:?} {} {:?}", error.chain(), case.source);
        assert!(!shown.contains(secret), "a credential shows");
    }
    case.place.mend();
    case.whole().await;
}

/// S6: `changed` is ready after a change that follows the last load, and pending for ever where the place cannot tell.
pub async fn s6_change_is_told(mut case: Case) {
    case.whole().await;
    if !case.place.tells() {
        case.place.change();
        assert!(poll_once(pin!(case.source.changed())).is_pending(), "ready, though the place cannot tell");
        return skipped("S6, second half", "this place does not tell of changes");
    }
    case.place.change();
    if let Err(error) = within("being told of a change", case.source.changed()).await {
        panic!("waiting for a change failed: {}", error.chain());
    }
}

/// S7: dropping a future at any point leaves the source usable.
pub async fn s7_dropped_futures_do_no_harm(mut case: Case) {
    let _ = poll_once(pin!(case.source.load(None)));
    let _ = poll_once(pin!(case.source.changed()));
    let old = case.whole().await;
    let _ = poll_once(pin!(case.source.changed()));
    case.place.change();
    let _ = poll_once(pin!(case.source.load(Some(old.revision()))));
    assert_ne!(case.whole().await.content(), old.content(), "a change was lost");
}

/// S8: `close` may be called more than once; a load after it is an error of kind `Cancelled`.
pub async fn s8_close_ends_it(case: Case) {
    for _ in 0..2 {
        if let Err(error) = within("closing", case.source.close()).await {
            panic!("closing failed: {}", error.chain());
        }
    }
    let kind = within("refusing", case.source.load(None)).await.err().map(|e| e.kind());
    assert_eq!(kind, Some(ErrorKind::Cancelled), "a load after `close`");
}

/// S9: `name` is well-formed and the same on every call.
pub async fn s9_name_is_fixed(case: Case) {
    check_name([case.source.name(), case.source.name()]);
}
