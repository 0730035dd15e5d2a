//! What the stream tells of a change with its values, so that the service need not be asked.
//!
//! A patch leads from one named state to another. It is taken over only where exactly the first of them is served; in
//! every other case, and where it cannot be read, the service is asked as ever.

use std::{borrow::Cow, collections::HashMap};

use bytes::Bytes;
use http::HeaderValue;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{NexusError, decode, patches::put, snapshot::Snapshot, source::revision_of};
use crate::document::{Delta, Revision};

/// Patches that wait to be taken over; more of them are not worth it.
const MOST: usize = 16;

/// A patch as the service writes it.
#[derive(Deserialize)]
struct Wire<'j> {
    #[serde(borrow)]
    base: Cow<'j, str>,
    #[serde(borrow)]
    etag: Cow<'j, str>,
    /// How many of the events that follow say the same.
    events: u32,
    #[serde(borrow, default)]
    configs: HashMap<Cow<'j, str>, &'j RawValue>,
    #[serde(borrow, default)]
    flags: HashMap<Cow<'j, str>, &'j RawValue>,
    #[serde(borrow, default)]
    gone: Gone<'j>,
}

#[derive(Default, Deserialize)]
struct Gone<'j> {
    #[serde(borrow, default)]
    configs: Vec<Cow<'j, str>>,
    #[serde(borrow, default)]
    flags: Vec<Cow<'j, str>>,
}

/// What the stream told and nobody has looked at.
#[derive(Debug, Default)]
pub(super) struct Pending {
    patches: Vec<Delta>,
    /// Events that are still to come for what was told.
    events: u32,
    /// Whether there was a reason to look that no patch stands for.
    is_unclear: bool,
}

impl Pending {
    /// Reads a patch; false for what is none, which is as if it had not been told.
    pub(super) fn read(&mut self, data: &str) -> bool {
        let Some((delta, events)) = delta(data) else { return false };
        self.events = events;
        if self.patches.len() == MOST {
            self.is_unclear = true;
        } else {
            self.patches.push(delta);
        }
        true
    }

    /// Notes an event; true if it says something that was not told already.
    pub(super) fn event(&mut self) -> bool {
        if self.events > 0 {
            self.events -= 1;
            return false;
        }
        self.is_unclear = true;
        true
    }

    /// Notes a reason to look that was no event of a change.
    pub(super) fn unclear(&mut self) {
        self.is_unclear = true;
        self.events = 0;
    }

    /// Returns true if everything that was told was told with its values.
    pub(super) fn is_whole(&self) -> bool {
        !self.is_unclear && !self.patches.is_empty()
    }

    /// Takes everything that was told, if it was told whole and leads, without a gap, from that state on; if not, there is
    /// a reason to look that stays until it is looked.
    pub(super) fn take(&mut self, since: Option<&Revision>) -> Option<Delta> {
        let mut patches = std::mem::take(&mut self.patches).into_iter();
        if self.is_unclear {
            return None;
        }
        let first = patches.next()?;
        let start = (Some(first.base()) == since).then_some(first);
        let whole = start.and_then(|first| {
            patches.try_fold(first, |all, next| (next.base() == all.revision()).then(|| all.then(next)))
        });
        self.is_unclear = whole.is_none();
        whole
    }

    /// Notes that whatever was told is looked at.
    pub(super) fn looked_at(&mut self) {
        self.patches.clear();
        self.is_unclear = false;
    }
}

fn delta(data: &str) -> Option<(Delta, u32)> {
    let wire: Wire<'_> = serde_json::from_str(data).ok()?;
    let revision = |etag: &str| revision_of(&HeaderValue::from_str(etag).ok()?);
    let mut delta = Delta::new(revision(&wire.base)?, revision(&wire.etag)?);
    for (kind, put, gone) in
        [(CONFIGS, wire.configs, wire.gone.configs), (FLAGS, wire.flags, wire.gone.flags)]
    {
        for (key, entry) in put {
            delta = delta.changing(format!("{kind}{key}"), Bytes::copy_from_slice(entry.get().as_bytes()));
        }
        for key in gone {
            delta = delta.removing(format!("{kind}{key}"));
        }
    }
    Some((delta, wire.events))
}

const CONFIGS: &str = "configs/";
const FLAGS: &str = "flags/";

/// Makes the state that a patch leads to.
pub(super) fn apply(delta: &Delta, served: &Snapshot) -> Result<Snapshot, NexusError> {
    let mut next = served.clone();
    for path in delta.removed() {
        if let Some(key) = path.strip_prefix(CONFIGS) {
            put(&mut next.configs, key, None);
        } else if let Some(key) = path.strip_prefix(FLAGS) {
            put(&mut next.flags, key, None);
        }
    }
    for (path, entry) in delta.changed() {
        if let Some(key) = path.strip_prefix(CONFIGS) {
            put(&mut next.configs, key, Some(decode::config(entry)?));
        } else if let Some(key) = path.strip_prefix(FLAGS) {
            put(&mut next.flags, key, Some(decode::flag(entry)?));
        }
    }
    Ok(next)
}
