//! How an entry is changed, by whoever may: checked, sealed, and written where it stands.

use std::{fmt, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use http::StatusCode;
use leverframe::{Error, ErrorKind, Secret};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{
    DataKey, FlagWrite, Settings,
    flags::Flag,
    model::{Change, EntryKind, Kind, SecretForm, ServiceId, Standing, Write, Written, is_key},
    parts::Parts,
    references::Unresolved,
    view::{self, View},
};
use crate::{model::SecretHash, problem::Problem};

/// Bytes of a value. The store takes a little more, since sealing adds to it.
const LARGEST: usize = 1024 * 1024;
/// Bytes of an answer: clients take 8 MiB, and a write must not be what makes it too long for them.
const LARGEST_ANSWER: usize = 7 * 1024 * 1024;
/// Times that a write is tried while others write the same entry.
const ATTEMPTS: usize = 16;

/// What somebody wants done to an entry.
#[derive(Clone)]
pub(crate) enum ChangeRequest {
    /// Writes a config.
    Config(Value),
    /// Writes a flag.
    Flag(FlagWrite),
    /// Writes a version of a secret.
    Secret {
        /// How it is handed out.
        form: SecretForm,
        /// The text.
        value: Secret,
    },
    /// Deletes it, of a secret every version.
    Delete,
    /// Deletes one version of a secret.
    DeleteVersion(u64),
}

/// Says what is asked, and not the value.
impl fmt::Debug for ChangeRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Config(_) => "Config",
            Self::Flag(_) => "Flag",
            Self::Secret { .. } => "Secret",
            Self::Delete => "Delete",
            Self::DeleteVersion(_) => "DeleteVersion",
        })
    }
}

impl From<FlagWrite> for ChangeRequest {
    fn from(flag: FlagWrite) -> Self {
        Self::Flag(flag)
    }
}

/// Under which conditions a write is made.
#[derive(Clone, Debug, Default)]
pub(crate) struct Precondition {
    /// The version that must be current; 0 for none.
    pub(crate) if_version: Option<u64>,
    /// Digest of what tells this request from others of the same caller.
    pub(crate) request: Option<SecretHash>,
}

/// A change that was checked.
pub(super) enum Checked {
    Put(String),
    Secret(SecretForm, Secret),
    Delete,
    DeleteVersion(u64),
}

impl Settings {
    /// Changes an entry of a service; returns the version that was written, or the last one of what was deleted.
    /// Whoever asks may do this: that is checked already.
    ///
    /// # Errors
    /// `bad_request` for a name, a value or a reference that cannot be; `forbidden` for a secret of a frontend service;
    /// `not_found` for what is to be deleted and is not there, and without the service; `version_conflict`;
    /// `referenced` for what a config refers to; `limit_exceeded`; what the store fails with.
    pub(crate) async fn write(
        self: &Arc<Self>,
        id: &ServiceId,
        kind: EntryKind,
        key: &str,
        change: ChangeRequest,
        asked: Precondition,
        by: &str,
    ) -> Result<u64, Problem> {
        let deletes = matches!(change, ChangeRequest::Delete | ChangeRequest::DeleteVersion(_));
        if !is_key(key) {
            return Err(if deletes { absent(kind) } else { bad_key() });
        }
        let view = self.view(id).await?.ok_or_else(|| Problem::not_found("there is no such service"))?;
        if kind == EntryKind::Secret && view.service().kind == Kind::Frontend {
            return Err(secret_of_frontend());
        }
        let change = checked(kind, change)?;
        let request = asked.request.map(|request| distinct(&request, kind, key, deletes));
        let seat = self.seats.get(id);
        // Or of two writes that are right apart both would be made, and be wrong together.
        let turn = seat.writing.lock().await;
        let mut tried = 0;
        let version = loop {
            let expected = self.store.settings_standing(id, kind, key).await?;
            let conflict = asked.if_version.filter(|wanted| *wanted != expected.current.unwrap_or(0));
            let mut write = match conflict {
                None => {
                    let view = self.view_of(&seat).await?;
                    self.check(view, kind, key, &change).await?;
                    let sealed = self.sealed(id, key, &change, expected.last + 1).await?;
                    Write::new(kind, key, sealed, expected)
                }
                // It may be the request that made the version which is current now, sent again.
                Some(_) if request.is_some() => Write::new(kind, key, Change::Delete, nowhere()),
                Some(_) => return Err(Problem::version_conflict(expected.current.unwrap_or(0))),
            };
            write.request = request;
            by.clone_into(&mut write.by);
            let written = self.store.write_settings(id, &write, self.clock.wall()).await;
            match written.map_err(refused)? {
                Written::Done(version) | Written::Before(version) => break version,
                Written::Absent => return Err(absent(kind)),
                Written::Moved if conflict.is_some() => {
                    return Err(Problem::version_conflict(expected.current.unwrap_or(0)));
                }
                Written::Moved if tried < ATTEMPTS => tried += 1,
                Written::Moved => return Err(Problem::busy()),
            }
        };
        // Before the answer, so that whoever wrote reads what they wrote.
        self.doubt(id);
        drop(turn);
        Ok(version)
    }

    /// Checks what the service would have, and of an umbrella service also what those would have that inherit from it.
    async fn check(
        &self,
        view: Arc<View>,
        kind: EntryKind,
        key: &str,
        change: &Checked,
    ) -> Result<(), Problem> {
        let service = view.service();
        let versions = match change {
            Checked::DeleteVersion(_) => self.store.settings_secret_versions(&service.id, key).await?,
            _ => Vec::new(),
        };
        // With the only version goes the secret.
        let change = if versions.len() == 1 { &Checked::Delete } else { change };
        let heirs = if service.kind == Kind::Umbrella { self.heirs(&service.id).await? } else { Vec::new() };
        self.check_one(view, kind, key, change, true).await?;
        for heir in heirs {
            let Some(view) = self.view(&heir).await? else { continue };
            // Where it has its own, the other one's does not count.
            if !view.parts.has_own(kind, key) {
                self.check_one(view, kind, key, change, false).await?;
            }
        }
        Ok(())
    }

    async fn check_one(
        &self,
        view: Arc<View>,
        kind: EntryKind,
        key: &str,
        change: &Checked,
        is_own: bool,
    ) -> Result<(), Problem> {
        let mut parts = view.parts.clone();
        let grows = apply(&mut parts, kind, key, change)?;
        let (length, now) = (view.face(false).body.len(), self.clock.wall());
        let refers = parts.configs.values().any(|config| config.refers);
        if !refers && (grows == 0 || length + grows <= LARGEST_ANSWER) {
            return Ok(());
        }
        let (tagger, key) = (self.tagger().await?, key.to_owned());
        let deletes = matches!(change, Checked::Delete | Checked::DeleteVersion(_));
        let checked = tokio::task::spawn_blocking(move || {
            // What was wrong before, by way of what is inherited, is no fault of this write's.
            let before: Vec<Arc<str>> =
                view::unresolved(&view.parts, now).into_iter().map(|(config, _)| config).collect();
            let is_written = |config: &str| is_own && kind == EntryKind::Config && config == key;
            let mut broken = view::unresolved(&parts, now).into_iter();
            let broken = broken.find(|(config, why)| {
                // What leads to a secret is left out where it is inherited by whoever has none.
                let counts = is_own || *why != Unresolved::Withheld;
                is_written(config) || counts && !before.contains(config)
            });
            match broken {
                Some((config, why)) if deletes => {
                    let message = format!("{}; change that config first", why.refusal(&config).0);
                    Err(Problem::new(StatusCode::CONFLICT, "referenced", message))
                }
                Some((config, why)) => Err(why.refusal(&config).into()),
                None if deletes => Ok(()),
                None => {
                    let would_be = View::of(parts, &tagger, now).face(false).body.len();
                    if would_be > LARGEST_ANSWER && would_be > length { Err(too_much()) } else { Ok(()) }
                }
            }
        });
        checked.await.map_err(|error| {
            tracing::error!(%error, "a check of settings failed");
            Problem::internal()
        })?
    }

    async fn sealed(
        &self,
        id: &ServiceId,
        key: &str,
        change: &Checked,
        version: u64,
    ) -> Result<Change, Problem> {
        Ok(match change {
            Checked::Put(content) => Change::Put { content: content.clone() },
            Checked::Secret(form, value) => {
                if version > u64::from(u32::MAX) {
                    return Err(limit("a secret has 4,294,967,295 versions at most"));
                }
                let service = self.store.settings_service(id).await?;
                let service = service.ok_or_else(|| Problem::not_found("there is no such service"))?;
                let data_key = DataKey::of(&*self.store, self.keyring()?, &service).await?;
                let sealed = data_key.seal(id, key, version, value)?;
                Change::PutSecret { form: *form, sealed }
            }
            Checked::Delete => Change::Delete,
            Checked::DeleteVersion(version) => Change::DeleteVersion(*version),
        })
    }
}

/// Makes of a change what is kept.
pub(super) fn checked(kind: EntryKind, change: ChangeRequest) -> Result<Checked, Problem> {
    let too_large = || Problem::payload_too_large("a value has at most 1 MiB");
    Ok(match (kind, change) {
        (EntryKind::Config, ChangeRequest::Config(value)) => {
            let content = value.to_string();
            if content.len() > LARGEST {
                return Err(too_large());
            }
            Checked::Put(content)
        }
        (EntryKind::Flag, ChangeRequest::Flag(flag)) => Checked::Put(flag.checked()?),
        (EntryKind::Secret, ChangeRequest::Secret { form, value }) => {
            if value.expose().len() > LARGEST {
                return Err(too_large());
            }
            if form == SecretForm::FileBase64 && !is_base64(value.expose()) {
                return Err(Problem::bad_request(
                    "`value` is no base64, with padding and without line breaks",
                ));
            }
            Checked::Secret(form, value)
        }
        (_, ChangeRequest::Delete) => Checked::Delete,
        (EntryKind::Secret, ChangeRequest::DeleteVersion(version)) => Checked::DeleteVersion(version),
        _ => return Err(Problem::bad_request(format!("that is not done to a {}", kind.as_str()))),
    })
}

fn is_base64(text: &str) -> bool {
    STANDARD.decode(text).map(zeroize::Zeroizing::new).is_ok()
}

/// Changes what a service has as the write will; returns by how many bytes its answer grows at most.
pub(super) fn apply(
    parts: &mut Parts,
    kind: EntryKind,
    key: &str,
    change: &Checked,
) -> Result<usize, Problem> {
    /// Of names of fields, and of escapes.
    const AROUND: usize = 128;
    let mut grows = 0;
    match (kind, change) {
        (EntryKind::Config, Checked::Put(json)) => {
            parts.put_config(key, 0, json);
            grows = AROUND + key.len() + json.len();
        }
        (EntryKind::Flag, Checked::Put(json)) => {
            let flag = Flag::parse(json).ok_or_else(|| Problem::bad_request("the flag cannot be read"))?;
            parts.put_flag(key, 0, flag);
            grows = AROUND + key.len();
        }
        (_, Checked::Secret(_, value)) => {
            grows = AROUND + key.len() + escaped_len(value.expose());
            parts.put_secret(key, 0, value.clone());
        }
        (_, Checked::Delete) => parts.remove(kind, key),
        // Another version takes its place, unless it was the last one.
        _ => {}
    }
    Ok(grows)
}

fn escaped_len(text: &str) -> usize {
    text.bytes()
        .map(|byte| match byte {
            b'"' | b'\\' => 2,
            0..b' ' => 6,
            _ => 1,
        })
        .sum()
}

fn too_much() -> Problem {
    limit("all that a service is handed out comes to at most 7 MiB")
}

/// Where no entry stands: nothing is written, but a request that is remembered is recognised.
fn nowhere() -> Standing {
    Standing::new(u64::from(u32::MAX), Some(u64::from(u32::MAX)))
}

/// Tells a request that names itself from one that names itself alike, about something else.
fn distinct(request: &SecretHash, kind: EntryKind, key: &str, deletes: bool) -> SecretHash {
    let mut digest = Sha256::new_with_prefix(request);
    digest.update([u8::from(deletes)]);
    digest.update(kind.as_str());
    digest.update(b" ");
    digest.update(key);
    digest.finalize().into()
}

fn refused(error: Error) -> Problem {
    match error.kind() {
        ErrorKind::NotFound => Problem::not_found("there is no such service"),
        ErrorKind::LimitExceeded => {
            limit("the service has as many entries, or as much in them, as it may have")
        }
        ErrorKind::Invalid => Problem::bad_request("the service cannot have such an entry"),
        _ => error.into(),
    }
}

fn limit(message: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "limit_exceeded", message)
}

fn absent(kind: EntryKind) -> Problem {
    Problem::not_found(format!("there is no such {}", kind.as_str()))
}

pub(super) fn secret_of_frontend() -> Problem {
    Problem::forbidden("a frontend service has no secrets")
}

pub(super) fn bad_key() -> Problem {
    Problem::bad_request(
        "a name begins with a letter, goes on with letters, digits, `_`, `.`, `:` and `-`, ends with a letter or a digit, \
         and has at most 256 characters",
    )
}
