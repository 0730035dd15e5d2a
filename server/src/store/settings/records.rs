//! What settings ask of the store, on top of a database.

use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use leverframe::Result;

use super::{
    data_keys::ReplaceDataKeys,
    held::{self, ReadHeld},
    keys::{self, CreateKey, RevokeKey, key_columns},
    services::{self, PutService, key, service_columns},
    write::{self, WriteEntry},
};
use crate::{
    model::{Page, PageRequest, SecretHash},
    settings::{
        SettingsStore,
        model::{EntryKind, Held, SecretVersion, Service, ServiceId, SettingsKey, Standing, Write, Written},
    },
    store::{
        cursor::{List, rows},
        engine::{Engine, Value},
        records::{Records, random},
        tables::{Insert, SETTINGS_KEYS},
    },
};

/// Lists services that meet a condition.
macro_rules! services_where {
    ($condition:literal) => {
        concat!(
            "SELECT ",
            service_columns!(),
            " FROM settings_services WHERE ",
            $condition,
            " ORDER BY tenant, namespace, environment LIMIT $4"
        )
    };
}

#[async_trait]
impl<E: Engine> SettingsStore for Records<E> {
    async fn settings_services(
        &self,
        tenant: Option<&str>,
        namespace: Option<&str>,
        page: &PageRequest,
    ) -> Result<Page<Service>> {
        let after = List::SettingsServices.start_triple(page)?.unwrap_or_default();
        let [_, after_namespace, after_environment] = after.each_ref().map(Value::from);
        // Said apart, so that each is found by the table's key.
        let (sql, values) = match (tenant, namespace) {
            (Some(tenant), Some(namespace)) => (
                services_where!("tenant = $1 AND namespace = $2 AND environment > $3"),
                vec![tenant.into(), namespace.into(), after_environment],
            ),
            (Some(tenant), None) => (
                services_where!("tenant = $1 AND (namespace, environment) > ($2, $3)"),
                vec![tenant.into(), after_namespace, after_environment],
            ),
            (None, None) => (
                services_where!("(tenant, namespace, environment) > ($1, $2, $3)"),
                after.each_ref().map(Value::from).to_vec(),
            ),
            // Of no tenant.
            (None, Some(_)) => return Ok(Page { items: Vec::new(), next: None }),
        };
        let values = [values, vec![rows(page).into()]].concat();
        let found = self.find(sql, values, services::service).await?;
        Ok(List::SettingsServices.page(page, found, |service| service.id.to_string()))
    }

    async fn settings_service(&self, id: &ServiceId) -> Result<Option<Service>> {
        self.one(services::READ, key(id).to_vec(), services::service).await
    }

    async fn settings_service_by_slug(&self, slug: &str) -> Result<Option<Service>> {
        let sql = concat!("SELECT ", service_columns!(), " FROM settings_services WHERE slug = $1");
        self.one(sql, vec![slug.into()], services::service).await
    }

    async fn settings_services_trusting(&self, issuer: &str, page: &PageRequest) -> Result<Page<Service>> {
        let list = List::SettingsTrusting;
        let after = list.start_triple(page)?.unwrap_or_default();
        let [tenant, namespace, environment] = after.each_ref().map(Value::from);
        let sql = concat!(
            "SELECT ",
            service_columns!(),
            " FROM settings_services WHERE (tenant, namespace, environment) IN \
             (SELECT tenant, namespace, environment FROM settings_trusts \
             WHERE issuer = $1 AND (tenant, namespace, environment) > ($2, $3, $4) \
             ORDER BY tenant, namespace, environment LIMIT $5) ORDER BY tenant, namespace, environment"
        );
        let values = vec![issuer.into(), tenant, namespace, environment, rows(page).into()];
        let found = self.find(sql, values, services::service).await?;
        Ok(list.page(page, found, |service| service.id.to_string()))
    }

    async fn put_settings_service(&self, service: &Service) -> Result<Option<Service>> {
        self.write(PutService::new(service)?).await
    }

    async fn create_settings_key(&self, key: &SettingsKey, secret: &SecretHash) -> Result<()> {
        let [tenant, namespace, environment] = services::key(&key.service);
        let values = vec![
            (&key.id).into(),
            Value::Blob(Bytes::copy_from_slice(secret)),
            tenant,
            namespace,
            environment,
            Value::Int(key.public.into()),
            (&key.name).into(),
            key.created_at.into(),
            (&key.created_by).into(),
            Value::maybe_time(key.revoked_at),
        ];
        let (subject, service) = (key.id.clone(), key.service.clone());
        let insert =
            Insert { operation: "create a key of a service", table: &SETTINGS_KEYS, subject, values };
        self.write(CreateKey { service, insert }).await
    }

    async fn settings_key_by_secret(&self, secret: &SecretHash) -> Result<Option<SettingsKey>> {
        let sql = concat!("SELECT ", key_columns!(), " FROM settings_keys WHERE secret = $1");
        self.one(sql, vec![Value::Blob(Bytes::copy_from_slice(secret))], keys::settings_key).await
    }

    async fn settings_keys(&self, service: &ServiceId, page: &PageRequest) -> Result<Page<SettingsKey>> {
        let after = List::SettingsKeys.start(page)?.unwrap_or_default();
        let sql = concat!(
            "SELECT ",
            key_columns!(),
            " FROM settings_keys WHERE tenant = $1 AND namespace = $2 AND environment = $3 AND id > $4 \
             ORDER BY id LIMIT $5"
        );
        let values = key(service).into_iter().chain([(&after).into(), rows(page).into()]).collect();
        let found = self.find(sql, values, keys::settings_key).await?;
        Ok(List::SettingsKeys.page(page, found, |key| key.id.clone()))
    }

    async fn revoke_settings_key(&self, service: &ServiceId, id: &str, now: SystemTime) -> Result<bool> {
        self.write(RevokeKey { service: service.clone(), id: id.to_owned(), now }).await
    }

    async fn settings_held(&self, id: &ServiceId) -> Result<Option<Held>> {
        self.snapshot(ReadHeld(id.clone())).await
    }

    async fn settings_standing(&self, id: &ServiceId, kind: EntryKind, name: &str) -> Result<Standing> {
        let values = key(id).into_iter().chain([kind.as_str().into(), name.into()]).collect();
        let found = self.one(write::STANDING, values, write::standing).await?;
        Ok(found.map(|(standing, _)| standing).unwrap_or_default())
    }

    async fn settings_secret_versions(&self, id: &ServiceId, name: &str) -> Result<Vec<SecretVersion>> {
        let sql = "SELECT name, version, form, sealed, created_at, created_by FROM settings_secret_versions \
                   WHERE tenant = $1 AND namespace = $2 AND environment = $3 AND name = $4 ORDER BY version DESC";
        self.find(sql, key(id).into_iter().chain([name.into()]).collect(), held::secret).await
    }

    async fn write_settings(&self, id: &ServiceId, write: &Write, now: SystemTime) -> Result<Written> {
        let (service, write) = (id.clone(), write.clone());
        self.write(WriteEntry { service, write, attempt: random()?, now }).await
    }

    async fn settings_data_keys(&self) -> Result<Vec<(ServiceId, Bytes)>> {
        let sql = "SELECT tenant, namespace, environment, data_key FROM settings_services \
                   ORDER BY tenant, namespace, environment";
        self.find(sql, Vec::new(), |mut row| {
            Ok((ServiceId::new(row.text()?, row.text()?, row.text()?), row.blob()?))
        })
        .await
    }

    async fn replace_settings_data_keys(&self, keys: &[(ServiceId, Bytes, Bytes)]) -> Result<bool> {
        self.quiet_write(ReplaceDataKeys::new(keys)).await
    }
}
