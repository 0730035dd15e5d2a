//! What a service has, all of one moment.

use async_trait::async_trait;
use leverframe::{Error, ErrorKind, Result};

use super::services::{self, key, service_columns};
use crate::{
    settings::model::{Entry, EntryKind, Held, KeptVersion, SecretForm, SecretVersion, ServiceId},
    store::engine::{Connection, Row, Statement, Work},
};

const SERVICE: &str = concat!(
    "SELECT content_revision, ",
    service_columns!(),
    " FROM settings_services WHERE tenant = $1 AND namespace = $2 AND environment = $3"
);
const ENTRIES: &str = "SELECT kind, name, live_version, content, updated_at, updated_by FROM settings_entries \
     WHERE tenant = $1 AND namespace = $2 AND environment = $3 AND kind IN ('config', 'flag') \
     AND live_version IS NOT NULL ORDER BY name";
/// A secret without its version is damage that is told, and not a secret that is not there.
const SECRETS: &str = "SELECT e.name, e.live_version, v.form, v.sealed, v.created_at, v.created_by \
     FROM settings_entries e LEFT JOIN settings_secret_versions v ON v.tenant = e.tenant \
     AND v.namespace = e.namespace AND v.environment = e.environment AND v.name = e.name \
     AND v.version = e.live_version \
     WHERE e.tenant = $1 AND e.namespace = $2 AND e.environment = $3 AND e.kind = 'secret' \
     AND e.live_version IS NOT NULL ORDER BY e.name";

/// Reads a service and its entries.
#[derive(Debug)]
pub(super) struct ReadHeld(pub(super) ServiceId);

#[async_trait]
impl Work for ReadHeld {
    type Output = Option<Held>;

    async fn run(&self, on: &mut dyn Connection, _again: bool) -> Result<Option<Held>> {
        let id = key(&self.0);
        let Some(mut row) = on.first(SERVICE, &id).await? else { return Ok(None) };
        let (revision, service) = (row.count()?, services::service(row)?);
        let ask = |sql: &str| Statement { sql: sql.to_owned(), values: id.to_vec() };
        let mut found = on.query_all(&[ask(ENTRIES), ask(SECRETS)]).await?.into_iter();
        let (mut configs, mut flags) = (Vec::new(), Vec::new());
        for row in found.next().unwrap_or_default() {
            let (kind, entry) = entry(row)?;
            if kind == EntryKind::Flag.as_str() { &mut flags } else { &mut configs }.push(entry);
        }
        let secrets = found.next().unwrap_or_default().into_iter().map(secret);
        let secrets = secrets.collect::<Result<_>>()?;
        Ok(Some(Held::new(service, revision, configs, flags, secrets)))
    }
}

fn entry(mut row: Row) -> Result<(String, Entry)> {
    let kind = row.text()?;
    let entry = Entry {
        key: row.text()?,
        version: row.count()?,
        content: row.text()?,
        updated_at: row.time()?,
        updated_by: row.text()?,
    };
    Ok((kind, entry))
}

/// Reads a version of a secret: name, version, form, what is sealed, when and by whom it was made.
pub(super) fn secret(mut row: Row) -> Result<SecretVersion> {
    Ok(SecretVersion {
        key: row.text()?,
        version: row.count()?,
        form: form(&row.text()?)?,
        sealed: row.blob()?,
        created_at: row.time()?,
        created_by: row.text()?,
    })
}

/// Reads what is known of a version of a secret: version, form, when and by whom it was made.
pub(super) fn kept_version(mut row: Row) -> Result<KeptVersion> {
    Ok(KeptVersion {
        version: row.count()?,
        form: form(&row.text()?)?,
        created_at: row.time()?,
        created_by: row.text()?,
    })
}

fn form(name: &str) -> Result<SecretForm> {
    let forms = [SecretForm::Text, SecretForm::File, SecretForm::FileBase64];
    forms.into_iter().find(|form| form.as_str() == name).ok_or_else(|| {
        Error::new(ErrorKind::Corrupt, "read a stored row").with("column", "form").with("value", name)
    })
}
