//! Services themselves.

use std::collections::BTreeSet;

use async_trait::async_trait;
use leverframe::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use crate::{
    settings::model::{Kind, Quarantine, Service, ServiceId, Trust},
    store::{
        Notice,
        changes::log,
        engine::{Connection, Row, Value, Work, micros, time},
        tables::SETTINGS_SERVICES,
    },
};

/// So much text does a service have at most, besides its entries: some hundred trusts.
const LARGEST: usize = 256 * 1024;
/// No environment and no slug has a longer name, and an index has room for little more.
const LONGEST_NAME: usize = 255;
/// Likewise of an issuer: an index holds it beside the service's names.
const LONGEST_ISSUER: usize = 1_024;

/// What [`service`] reads.
macro_rules! service_columns {
    () => {
        "tenant, namespace, environment, kind, slug, revision, created_at, created_by, updated_at, updated_by, \
         data_key, content"
    };
}
pub(super) use service_columns;

pub(super) const READ: &str = concat!(
    "SELECT ",
    service_columns!(),
    " FROM settings_services WHERE tenant = $1 AND namespace = $2 AND environment = $3"
);
const LOCK: &str = concat!(
    "SELECT ",
    service_columns!(),
    " FROM settings_services WHERE tenant = $1 AND namespace = $2 AND environment = $3 FOR UPDATE"
);
const CHANGE: &str = "UPDATE settings_services SET slug = $4, revision = $5, updated_at = $6, updated_by = $7, \
     content = $8 WHERE tenant = $1 AND namespace = $2 AND environment = $3";

/// Whoever inherits from an umbrella service: what has no column begins with it.
pub(super) const HEIRS: &str = "SELECT tenant, namespace, environment, content_revision FROM settings_services \
     WHERE tenant = $1 AND substr(content, 1, length(CAST($2 AS TEXT))) = $2 ORDER BY namespace, environment";
/// Holds an umbrella service: what it has, and who inherits it, stays as it is until the end.
pub(super) const HOLD_UMBRELLA: &str = "SELECT kind, content_revision FROM settings_services \
     WHERE tenant = $1 AND namespace = $2 AND environment = $3 FOR UPDATE";

/// What has no column of its own. [`HEIRS`] goes by its first field.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Content {
    inherits: Option<[String; 3]>,
    ab_enabled: bool,
    billing_overdue: bool,
    quarantine: Option<Quarantined>,
    trusts: Vec<Trust>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Quarantined {
    reason: String,
    /// In microseconds.
    expires_at: i64,
}

/// Returns the values by which a service is found.
pub(super) fn key(id: &ServiceId) -> [Value; 3] {
    [(&id.tenant).into(), (&id.namespace).into(), (&id.environment).into()]
}

/// Tells of a change of a service.
pub(super) fn notice(id: &ServiceId) -> Notice {
    Notice::Settings {
        tenant: id.tenant.clone(),
        namespace: id.namespace.clone(),
        environment: id.environment.clone(),
    }
}

/// Returns what a service is, if there is one.
pub(super) async fn kind(on: &mut dyn Connection, id: &ServiceId) -> Result<Option<Kind>> {
    let sql = "SELECT kind FROM settings_services WHERE tenant = $1 AND namespace = $2 AND environment = $3";
    let found = on.first(sql, &key(id)).await?;
    found.map(|mut row| parse_kind(&row.text()?)).transpose()
}

pub(super) fn parse_kind(name: &str) -> Result<Kind> {
    let kinds = [Kind::Backend, Kind::Frontend, Kind::Umbrella];
    kinds.into_iter().find(|kind| kind.as_str() == name).ok_or_else(|| {
        Error::new(ErrorKind::Corrupt, "read a stored row").with("column", "kind").with("value", name)
    })
}

/// Returns the values of [`HEIRS`].
pub(super) fn heirs_of(umbrella: &ServiceId) -> Vec<Value> {
    let ServiceId { tenant, namespace, environment } = umbrella;
    let named = serde_json::json!([tenant, namespace, environment]);
    vec![tenant.into(), Value::Text(format!("{{\"inherits\":{named}"))]
}

/// Reads what [`HEIRS`] finds.
pub(super) fn heir(mut row: Row) -> Result<(ServiceId, u64)> {
    Ok((ServiceId::new(row.text()?, row.text()?, row.text()?), row.count()?))
}

/// Reads a service.
pub(super) fn service(mut row: Row) -> Result<Service> {
    let id = ServiceId::new(row.text()?, row.text()?, row.text()?);
    let kind = parse_kind(&row.text()?)?;
    let (slug, revision) = (row.text()?, row.count()?);
    let (created_at, created_by) = (row.time()?, row.text()?);
    let (updated_at, updated_by) = (row.time()?, row.text()?);
    let (data_key, content) = (row.blob()?, row.text()?);
    let content: Content = serde_json::from_str(&content).map_err(|error| {
        Error::new(ErrorKind::Corrupt, "read a service")
            .with("service", &id)
            .source(error)
            .hint("restore a backup")
    })?;
    let quarantine =
        content.quarantine.map(|quarantine| Quarantine::new(quarantine.reason, time(quarantine.expires_at)));
    Ok(Service {
        id,
        kind,
        slug,
        inherits: content
            .inherits
            .map(|[tenant, namespace, environment]| ServiceId::new(tenant, namespace, environment)),
        ab_enabled: content.ab_enabled,
        billing_overdue: content.billing_overdue,
        quarantine,
        trusts: content.trusts,
        data_key,
        revision,
        created_at,
        created_by,
        updated_at,
        updated_by,
    })
}

/// Creates a service, or changes it if its revision is still the one that is expected.
#[derive(Debug)]
pub(super) struct PutService {
    /// As it will be read, if it is created.
    next: Service,
    content: String,
    issuers: BTreeSet<String>,
}

impl PutService {
    /// Prepares what follows the service of that revision; `Invalid` for what cannot be kept.
    pub(super) fn new(service: &Service) -> Result<Self> {
        let mut next = service.clone();
        next.revision = next.revision.saturating_add(1);
        next.created_at = time(micros(next.created_at));
        next.updated_at = time(micros(next.updated_at));
        if let Some(quarantine) = &mut next.quarantine {
            quarantine.expires_at = time(micros(quarantine.expires_at));
        }
        let content = Content {
            inherits: next.inherits.clone().map(|id| [id.tenant, id.namespace, id.environment]),
            ab_enabled: next.ab_enabled,
            billing_overdue: next.billing_overdue,
            quarantine: next.quarantine.as_ref().map(|quarantine| Quarantined {
                reason: quarantine.reason.clone(),
                expires_at: micros(quarantine.expires_at),
            }),
            trusts: next.trusts.clone(),
        };
        let content = serde_json::to_string(&content)
            .map_err(|error| Error::new(ErrorKind::Invalid, "store a service").source(error))?;
        let size = [&content, &next.created_by, &next.updated_by].map(String::len).iter().sum::<usize>();
        if size + next.data_key.len() > LARGEST {
            return Err(refused(&next, "it is larger than 256 KiB"));
        }
        if [&next.id.environment, &next.slug].iter().any(|name| name.is_empty() || name.len() > LONGEST_NAME)
        {
            return Err(refused(&next, "its environment and its slug have 1 to 255 bytes"));
        }
        let issuers: BTreeSet<_> = next.trusts.iter().map(|trust| trust.issuer.clone()).collect();
        if issuers.iter().any(|issuer| issuer.len() > LONGEST_ISSUER) {
            return Err(refused(&next, "an issuer has at most 1,024 bytes"));
        }
        Ok(Self { next, content, issuers })
    }

    async fn create(&self, on: &mut dyn Connection, again: bool) -> Result<Option<Service>> {
        let next = &self.next;
        check_inherits(next, hold_umbrella(on, next).await?)?;
        let [tenant, namespace, environment] = key(&next.id);
        let values = [
            tenant,
            namespace,
            environment,
            next.kind.as_str().into(),
            (&next.slug).into(),
            next.revision.into(),
            Value::Int(0),
            Value::Int(0),
            next.created_at.into(),
            (&next.created_by).into(),
            next.updated_at.into(),
            (&next.updated_by).into(),
            Value::Blob(next.data_key.clone()),
            (&self.content).into(),
        ];
        let added = on.put(&SETTINGS_SERVICES.insert(), &values).await;
        let added = added.map_err(|error| match error.kind() {
            ErrorKind::NotFound => Error::new(ErrorKind::NotFound, "create a service")
                .with("service", &next.id)
                .with("reason", "there is no such namespace"),
            _ => error,
        })?;
        if added == 1 {
            self.finish(on).await?;
            return Ok(Some(next.clone()));
        }
        let current = on.first(READ, &key(&next.id)).await?.map(service).transpose()?;
        match current {
            None => Err(taken(next)),
            Some(current) => Ok(Some(current).filter(|current| again && current == next)),
        }
    }

    async fn change(&self, on: &mut dyn Connection, again: bool) -> Result<Option<Service>> {
        // Before the service itself: see the module.
        let umbrella = hold_umbrella(on, &self.next).await?;
        let Some(row) = on.first(LOCK, &key(&self.next.id)).await? else { return Ok(None) };
        let current = service(row)?;
        let mut next = self.next.clone();
        next.kind = current.kind;
        next.data_key.clone_from(&current.data_key);
        next.created_at = current.created_at;
        next.created_by.clone_from(&current.created_by);
        if again && current == next {
            return Ok(Some(current));
        }
        if current.revision.checked_add(1) != Some(next.revision) {
            return Ok(None);
        }
        check_inherits(&next, umbrella)?;
        let [tenant, namespace, environment] = key(&next.id);
        let values = [
            tenant,
            namespace,
            environment,
            (&next.slug).into(),
            next.revision.into(),
            next.updated_at.into(),
            (&next.updated_by).into(),
            (&self.content).into(),
        ];
        let changed = on.put(CHANGE, &values).await;
        changed.map_err(|error| if error.kind() == ErrorKind::Conflict { taken(&next) } else { error })?;
        self.finish(on).await?;
        Ok(Some(next))
    }

    /// Notes whom it believes, and tells of the change.
    async fn finish(&self, on: &mut dyn Connection) -> Result<()> {
        let [tenant, namespace, environment] = key(&self.next.id);
        on.put(
            "DELETE FROM settings_trusts WHERE tenant = $1 AND namespace = $2 AND environment = $3",
            &[tenant.clone(), namespace.clone(), environment.clone()],
        )
        .await?;
        for issuer in &self.issuers {
            on.put(
                "INSERT INTO settings_trusts (issuer, tenant, namespace, environment) VALUES ($1, $2, $3, $4)",
                &[issuer.into(), tenant.clone(), namespace.clone(), environment.clone()],
            )
            .await?;
        }
        log(on, &notice(&self.next.id)).await
    }
}

#[async_trait]
impl Work for PutService {
    type Output = Option<Service>;

    async fn run(&self, on: &mut dyn Connection, again: bool) -> Result<Option<Service>> {
        if self.next.revision == 1 { self.create(on, again).await } else { self.change(on, again).await }
    }
}

/// Holds the service that another one is to inherit from, so that whoever writes an entry of it knows its heirs; returns
/// what it is.
async fn hold_umbrella(on: &mut dyn Connection, next: &Service) -> Result<Option<Kind>> {
    let ours = |from: &&ServiceId| from.tenant == next.id.tenant && next.kind != Kind::Umbrella;
    let Some(from) = next.inherits.as_ref().filter(ours) else { return Ok(None) };
    // Whatever else is named is not held, or two could wait for each other.
    if kind(on, from).await? != Some(Kind::Umbrella) {
        return Ok(None);
    }
    let held = on.first(HOLD_UMBRELLA, &key(from)).await?;
    held.map(|mut row| parse_kind(&row.text()?)).transpose()
}

/// Refuses to inherit from what is no umbrella. What a service is never changes, and none is deleted: that holds from
/// then on.
fn check_inherits(next: &Service, from: Option<Kind>) -> Result<()> {
    if next.inherits.is_none() {
        return Ok(());
    }
    if next.kind == Kind::Umbrella {
        return Err(refused(next, "an umbrella service inherits from none"));
    }
    if from != Some(Kind::Umbrella) {
        return Err(refused(next, "it inherits from what is no umbrella service of its tenant"));
    }
    Ok(())
}

fn refused(service: &Service, reason: &str) -> Error {
    Error::new(ErrorKind::Invalid, "store a service").with("service", &service.id).with("reason", reason)
}

fn taken(service: &Service) -> Error {
    Error::new(ErrorKind::Conflict, "store a service")
        .with("service", &service.id)
        .with("slug", &service.slug)
        .with("reason", "another service has the slug")
        .hint("give one of them another slug")
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn what_is_kept_of_an_heir_begins_with_its_umbrella() {
        let umbrella = ServiceId::new("acme", "we\"b", "pr\\od_1");
        let mut heir =
            Service::new(ServiceId::new("acme", "web", "eu"), Kind::Backend, bytes::Bytes::new(), UNIX_EPOCH);
        heir.inherits = Some(umbrella.clone());

        let kept = PutService::new(&heir).unwrap().content;

        let [_, Value::Text(begins)] = &heirs_of(&umbrella)[..] else { panic!("two values") };
        assert!(kept.starts_with(&format!("{begins},")), "{kept} {begins}");
    }
}
