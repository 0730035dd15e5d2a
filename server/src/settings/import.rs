//! Many entries at once: what each would change, and whether it may be.

use std::{collections::HashMap, sync::Arc};

use super::{
    ChangeRequest, Settings,
    flags::Flag,
    model::{EntryKind, Kind, ServiceId, is_key},
    parts::{Parts, Source},
    view,
    write::{Checked, apply, bad_key, checked, secret_of_frontend},
};
use crate::problem::Problem;

/// Configs of one trial of which it is said that what they refer to is not there; the write says it of others.
const MOST_UNRESOLVED: usize = 20;

/// An entry as somebody wants it.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) kind: EntryKind,
    pub(crate) key: String,
    pub(crate) change: ChangeRequest,
}

/// What a write would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Created,
    Changed,
    Unchanged,
}

/// What each of the wanted would do, or why it may not be.
pub(crate) type Trial = (Vec<Wanted>, Vec<Result<Fate, Problem>>);

impl Settings {
    /// Says what each would do, were all of them written. For whoever may not read secrets, each secret that is there
    /// would be changed: else its value could be guessed.
    ///
    /// # Errors
    /// `not_found` without the service; what reading it fails with.
    pub(crate) async fn trial(
        self: &Arc<Self>,
        id: &ServiceId,
        wanted: Vec<Wanted>,
        may_read: bool,
    ) -> Result<Trial, Problem> {
        let view = self.view(id).await?.ok_or_else(|| Problem::not_found("there is no such environment"))?;
        let now = self.clock.wall();
        let tried = tokio::task::spawn_blocking(move || {
            let mut parts = view.parts.clone();
            let mut fates: Vec<_> = wanted.iter().map(|one| prepared(&mut parts, one, may_read)).collect();
            let of_config: HashMap<&str, usize> = wanted
                .iter()
                .enumerate()
                .filter(|(_, one)| one.kind == EntryKind::Config)
                .map(|(at, one)| (&*one.key, at))
                .collect();
            for _ in 0..MOST_UNRESOLVED {
                let Err((key, why)) = view::check(&parts, now) else { break };
                // One that was wrong before is not this import's.
                let Some(at) = of_config.get(&*key) else { break };
                fates[*at] = Err(why.refusal(&key).into());
                parts.remove(EntryKind::Config, &key);
            }
            drop(of_config);
            (wanted, fates)
        });
        tried.await.map_err(|error| {
            tracing::error!(%error, "a trial of settings failed");
            Problem::internal()
        })
    }
}

/// Puts one of the wanted where it would be, and says what was there.
fn prepared(parts: &mut Parts, one: &Wanted, may_read: bool) -> Result<Fate, Problem> {
    if !is_key(&one.key) {
        return Err(bad_key());
    }
    if one.kind == EntryKind::Secret && parts.service.kind == Kind::Frontend {
        return Err(secret_of_frontend());
    }
    let change = checked(one.kind, one.change.clone())?;
    let fate = match same(parts, one, &change, may_read) {
        None => Fate::Created,
        Some(false) => Fate::Changed,
        Some(true) => Fate::Unchanged,
    };
    apply(parts, one.kind, &one.key, &change)?;
    Ok(fate)
}

/// Says whether the service's own entry is what is wanted; `None` if it has none.
fn same(parts: &Parts, one: &Wanted, change: &Checked, may_read: bool) -> Option<bool> {
    let key = &*one.key;
    match (one.kind, change) {
        (EntryKind::Config, Checked::Put(json)) => {
            let held = parts.configs.get(key).filter(|held| held.source == Source::Service)?;
            Some(*held.json == **json)
        }
        (EntryKind::Flag, Checked::Put(json)) => {
            let held = parts.flags.get(key).filter(|held| held.source == Source::Service)?;
            Some(Flag::parse(json).is_some_and(|flag| flag == *held.flag))
        }
        (EntryKind::Secret, Checked::Secret(form, value)) => {
            let held = parts.secrets.get(key).filter(|held| held.source == Source::Service)?;
            Some(may_read && held.form == *form && held.text.as_ref().is_ok_and(|text| text.same_as(value)))
        }
        _ => None,
    }
}
