//! Writing entries.

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use leverframe::{Error, ErrorKind, Result};

use super::services::{HEIRS, HOLD_UMBRELLA, heir, heirs_of, key, notice, parse_kind};
use crate::{
    settings::model::{
        Change, EntryKind, Kind, MOST_BYTES, MOST_ENTRIES, MOST_SECRET_VERSIONS, REMEMBERED_FOR, Seen,
        ServiceId, Standing, Write, Written, is_key,
    },
    store::{
        changes::log,
        engine::{Connection, Row, Statement, Value, Work, micros},
        tables::{SETTINGS_ENTRIES, SETTINGS_SECRET_VERSIONS},
    },
};

/// Text of a config or a flag.
const LARGEST: usize = 1024 * 1024;
/// What sealing adds to a secret at most.
const ENVELOPE: usize = 1024;
/// How many names of a kind a service ever had: each keeps a row, so that no version is given twice.
const MOST_NAMES: u64 = 10 * MOST_ENTRIES;
/// How long a write is recognised that is not sent again: much longer than work is tried.
const ATTEMPT: Duration = Duration::from_secs(10 * 60);

/// What [`standing`] reads.
pub(super) const STANDING: &str = "SELECT last_version, live_version, size FROM settings_entries \
     WHERE tenant = $1 AND namespace = $2 AND environment = $3 AND kind = $4 AND name = $5";
const LOCK: &str = "SELECT kind, size, revision, content_revision FROM settings_services \
     WHERE tenant = $1 AND namespace = $2 AND environment = $3 FOR UPDATE";
const REMEMBERED: &str = "SELECT attempt, version FROM settings_requests \
     WHERE tenant = $1 AND namespace = $2 AND environment = $3 AND request = $4 AND expires_at > $5";
const COUNT: &str = "SELECT count(live_version), count(*) FROM settings_entries \
     WHERE tenant = $1 AND namespace = $2 AND environment = $3 AND kind = $4";
const VERSION: &str = "SELECT 1 FROM settings_secret_versions \
     WHERE tenant = $1 AND namespace = $2 AND environment = $3 AND name = $4 AND version = $5";
const NEWEST_BUT: &str = "SELECT version, length(sealed) FROM settings_secret_versions \
     WHERE tenant = $1 AND namespace = $2 AND environment = $3 AND name = $4 AND version <> $5 \
     ORDER BY version DESC LIMIT 1";
const FORGET_VERSION: &str = "DELETE FROM settings_secret_versions \
     WHERE tenant = $1 AND namespace = $2 AND environment = $3 AND name = $4 AND version = $5";
const FORGET_VERSIONS: &str = "DELETE FROM settings_secret_versions \
     WHERE tenant = $1 AND namespace = $2 AND environment = $3 AND name = $4";
const FORGET_OLDEST: &str = "DELETE FROM settings_secret_versions \
     WHERE tenant = $1 AND namespace = $2 AND environment = $3 AND name = $4 AND version <= \
     (SELECT version FROM settings_secret_versions \
      WHERE tenant = $1 AND namespace = $2 AND environment = $3 AND name = $4 \
      ORDER BY version DESC LIMIT 1 OFFSET $5)";
const FORGET_REQUESTS: &str = "DELETE FROM settings_requests \
     WHERE tenant = $1 AND namespace = $2 AND environment = $3 AND expires_at <= $4";
const REMEMBER: &str = "INSERT INTO settings_requests \
     (tenant, namespace, environment, request, attempt, version, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7)";
const ADVANCE: &str = "UPDATE settings_services SET content_revision = content_revision + 1, size = size + $4 \
     WHERE tenant = $1 AND namespace = $2 AND environment = $3";

/// Reads where an entry stands, and its size.
pub(super) fn standing(mut row: Row) -> Result<(Standing, i64)> {
    let (last, live) = (row.count()?, row.maybe_int()?);
    Ok((Standing::new(last, live.and_then(|live| u64::try_from(live).ok())), row.int()?))
}

/// Changes an entry, if it stands where it is expected to.
#[derive(Debug)]
pub(super) struct WriteEntry {
    pub(super) service: ServiceId,
    pub(super) write: Write,
    /// Drawn for this call: what tells it from one that was sent before.
    pub(super) attempt: [u8; 32],
    pub(super) now: SystemTime,
}

/// What a change comes to.
#[derive(Debug)]
struct Outcome {
    /// What the caller is told.
    version: u64,
    standing: Standing,
    /// In bytes, as of the entry that is live then.
    size: i64,
    /// Of a config or a flag that is live then.
    content: Option<String>,
    /// About the versions of a secret.
    statements: Vec<Statement>,
}

#[async_trait]
impl Work for WriteEntry {
    type Output = Written;

    async fn run(&self, on: &mut dyn Connection, _again: bool) -> Result<Written> {
        // Before the service itself: see the module.
        let umbrella = self.umbrella(on).await?;
        let Some(mut service) = on.first(LOCK, &key(&self.service)).await? else {
            return Err(self.refused(ErrorKind::NotFound, "there is no such service"));
        };
        let (kind, held) = (parse_kind(&service.text()?)?, service.int()?);
        let (revision, entries) = (service.count()?, service.count()?);
        let asked = self.with([self.request(), micros(self.now).into()]);
        if let Some(mut remembered) = on.first(REMEMBERED, &asked).await? {
            let (attempt, version) = (remembered.blob()?, remembered.count()?);
            // Of this very call, whose answer was lost.
            let ours = attempt[..] == self.attempt;
            return Ok(if ours { Written::Done(version) } else { Written::Before(version) });
        }
        self.check(kind)?;
        let found = on.first(STANDING, &self.entry()).await?.map(standing).transpose()?;
        let (found, size) = found.unwrap_or_default();
        if found != self.write.expected {
            return Ok(Written::Moved);
        }
        if let Some(seen) = &self.write.seen {
            let heirs = match kind {
                Kind::Umbrella => self.heirs(on).await?,
                _ => Vec::new(),
            };
            if *seen != (Seen { service: revision, entries, umbrella, heirs }) {
                return Ok(Written::Moved);
            }
        }
        let outcome = match &self.write.change {
            Change::Put { content } => Some(self.put(content, found)),
            Change::PutSecret { form, sealed } => Some(self.put_secret(form.as_str(), sealed, found)),
            Change::Delete => self.delete(found),
            Change::DeleteVersion(version) => self.delete_version(on, *version, found, size).await?,
        };
        let Some(outcome) = outcome else { return Ok(Written::Absent) };
        let grows = outcome.size - size;
        // What is deleted may leave a larger version behind, and is never refused.
        if outcome.version > found.last {
            if found.current.is_none() {
                self.check_room(on, found.last == 0).await?;
            }
            if grows > 0 && held.saturating_add(grows) > i64::try_from(MOST_BYTES).unwrap_or(i64::MAX) {
                return Err(self.refused(ErrorKind::LimitExceeded, "a service has at most 8 MiB of values"));
            }
        }
        let version = outcome.version;
        on.put_all(&self.statements(outcome, grows)).await?;
        log(on, &notice(&self.service)).await?;
        Ok(Written::Done(version))
    }
}

impl WriteEntry {
    /// Holds the umbrella service that was seen; returns it with the revision of its entries.
    async fn umbrella(&self, on: &mut dyn Connection) -> Result<Option<(ServiceId, u64)>> {
        let seen = self.write.seen.as_ref().and_then(|seen| seen.umbrella.as_ref());
        let Some((umbrella, _)) = seen else { return Ok(None) };
        let Some(mut row) = on.first(HOLD_UMBRELLA, &key(umbrella)).await? else { return Ok(None) };
        let (_, entries) = (row.text()?, row.count()?);
        Ok(Some((umbrella.clone(), entries)))
    }

    /// Returns who inherits from the service, which is held: nobody else comes, and those who depend on it wait.
    async fn heirs(&self, on: &mut dyn Connection) -> Result<Vec<(ServiceId, u64)>> {
        on.find(HEIRS, &heirs_of(&self.service)).await?.into_iter().map(heir).collect()
    }

    /// Refuses what this service cannot have.
    fn check(&self, service: Kind) -> Result<()> {
        let write = &self.write;
        let invalid = |reason| Err(self.refused(ErrorKind::Invalid, reason));
        if !is_key(&write.key) {
            return invalid("its name is none");
        }
        let is_secret = write.kind == EntryKind::Secret;
        if is_secret && service == Kind::Frontend {
            return invalid("a frontend service has no secrets");
        }
        let (fits, size, most) = match &write.change {
            Change::Put { content } => (!is_secret, content.len(), LARGEST),
            Change::PutSecret { sealed, .. } => (is_secret, sealed.len(), LARGEST + ENVELOPE),
            Change::Delete => (true, 0, LARGEST),
            Change::DeleteVersion(_) => (is_secret, 0, LARGEST),
        };
        if !fits {
            return invalid("the change is not one of this kind of entry");
        }
        if size > most {
            return invalid("it is larger than 1 MiB");
        }
        Ok(())
    }

    /// Refuses one more entry, or one more name, where there are as many as there may be.
    async fn check_room(&self, on: &mut dyn Connection, is_new_name: bool) -> Result<()> {
        let counted = on.first(COUNT, &self.with([self.write.kind.as_str().into()])).await?;
        let Some(mut counted) = counted else { return Ok(()) };
        if counted.count()? >= MOST_ENTRIES {
            return Err(
                self.refused(ErrorKind::LimitExceeded, "a service has at most 10,000 entries of a kind")
            );
        }
        if counted.count()? >= MOST_NAMES && is_new_name {
            return Err(self.refused(
                ErrorKind::LimitExceeded,
                "a service has at most 100,000 names of a kind, those that were deleted included",
            ));
        }
        Ok(())
    }

    fn put(&self, content: &str, found: Standing) -> Outcome {
        let version = found.last + 1;
        Outcome {
            version,
            standing: Standing::new(version, Some(version)),
            size: self.size(content.len()),
            content: Some(content.to_owned()),
            statements: Vec::new(),
        }
    }

    fn put_secret(&self, form: &str, sealed: &Bytes, found: Standing) -> Outcome {
        let version = found.last + 1;
        let row = self.with([
            self.name(),
            version.into(),
            form.into(),
            self.now.into(),
            (&self.write.by).into(),
            Value::Blob(sealed.clone()),
        ]);
        let add = statement(&SETTINGS_SECRET_VERSIONS.insert(), row);
        let forget = statement(FORGET_OLDEST, self.with([self.name(), MOST_SECRET_VERSIONS.into()]));
        Outcome {
            version,
            standing: Standing::new(version, Some(version)),
            size: self.size(sealed.len()),
            content: None,
            statements: vec![add, forget],
        }
    }

    fn delete(&self, found: Standing) -> Option<Outcome> {
        let version = found.current?;
        let all = (self.write.kind == EntryKind::Secret)
            .then(|| statement(FORGET_VERSIONS, self.with([self.name()])));
        Some(Outcome {
            version,
            standing: Standing::new(found.last, None),
            size: 0,
            content: None,
            statements: all.into_iter().collect(),
        })
    }

    async fn delete_version(
        &self,
        on: &mut dyn Connection,
        version: u64,
        found: Standing,
        size: i64,
    ) -> Result<Option<Outcome>> {
        let this = self.with([self.name(), version.into()]);
        if on.first(VERSION, &this).await?.is_none() {
            return Ok(None);
        }
        let newest = on.first(NEWEST_BUT, &this).await?;
        let newest = newest.map(|mut row| Ok::<_, Error>((row.count()?, row.count()?))).transpose()?;
        let size = match newest {
            None => 0,
            Some((newest, _)) if found.current == Some(newest) => size,
            Some((_, length)) => self.size(usize::try_from(length).unwrap_or(usize::MAX)),
        };
        Ok(Some(Outcome {
            version,
            standing: Standing::new(found.last, newest.map(|(newest, _)| newest)),
            size,
            content: None,
            statements: vec![statement(FORGET_VERSION, this)],
        }))
    }

    /// Everything that is written but the notice.
    fn statements(&self, outcome: Outcome, grows: i64) -> Vec<Statement> {
        let entry = [
            outcome.standing.last.into(),
            outcome.standing.current.map_or(Value::Null, Value::from),
            outcome.size.into(),
            self.now.into(),
            (&self.write.by).into(),
            Value::maybe(outcome.content.as_deref()),
        ];
        let replace = format!(
            "{} (tenant, namespace, environment, kind, name) DO UPDATE SET last_version = excluded.last_version, \
             live_version = excluded.live_version, size = excluded.size, updated_at = excluded.updated_at, \
             updated_by = excluded.updated_by, content = excluded.content",
            SETTINGS_ENTRIES.insert().trim_end_matches(" DO NOTHING")
        );
        let lasts = if self.write.request.is_some() { REMEMBERED_FOR } else { ATTEMPT };
        let lasts = i64::try_from(lasts.as_micros()).unwrap_or(i64::MAX);
        let remember = self.with([
            self.request(),
            Value::Blob(Bytes::copy_from_slice(&self.attempt)),
            outcome.version.into(),
            micros(self.now).saturating_add(lasts).into(),
        ]);
        let mut statements = outcome.statements;
        statements.extend([
            statement(&replace, self.entry().into_iter().chain(entry).collect()),
            statement(FORGET_REQUESTS, self.with([self.now.into()])),
            statement(REMEMBER, remember),
            statement(ADVANCE, self.with([grows.into()])),
        ]);
        statements
    }

    /// Returns the values of a statement about the service.
    fn with<const N: usize>(&self, more: [Value; N]) -> Vec<Value> {
        key(&self.service).into_iter().chain(more).collect()
    }

    fn entry(&self) -> Vec<Value> {
        self.with([self.write.kind.as_str().into(), self.name()])
    }

    fn name(&self) -> Value {
        (&self.write.key).into()
    }

    /// What the write is remembered by.
    fn request(&self) -> Value {
        Value::Blob(Bytes::copy_from_slice(self.write.request.as_ref().unwrap_or(&self.attempt)))
    }

    /// Names count as well: they are handed out.
    fn size(&self, content: usize) -> i64 {
        i64::try_from(self.write.key.len().saturating_add(content)).unwrap_or(i64::MAX)
    }

    fn refused(&self, of: ErrorKind, reason: &str) -> Error {
        Error::new(of, "write an entry of a service")
            .with("service", &self.service)
            .with("kind", self.write.kind.as_str())
            .with("reason", reason)
    }
}

fn statement(sql: &str, values: Vec<Value>) -> Statement {
    Statement { sql: sql.to_owned(), values }
}
