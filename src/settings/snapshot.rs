//! What reads look into: one table a kind, never changed once it is there.

use std::sync::Arc;

use super::model::{ConfigEntry, FlagEntry, KeyType, SecretEntry, SyncSnapshot};
use crate::text_table::TextTable;

/// One state of a service, as reads need it. Clones share the tables.
#[derive(Clone, Debug, Default)]
pub(super) struct Snapshot {
    pub(super) configs: Arc<TextTable<ConfigEntry>>,
    pub(super) secrets: Arc<TextTable<SecretEntry>>,
    pub(super) flags: Arc<TextTable<FlagEntry>>,
    pub(super) key_type: Option<KeyType>,
    /// `backend`, `frontend`, or empty.
    pub(super) kind: Arc<str>,
    pub(super) synced_at: Arc<str>,
}

impl Snapshot {
    pub(super) fn is_frontend(&self) -> bool {
        &*self.kind == "frontend"
    }

    /// Returns true if there is anything that does not come from the service itself, but from one that it inherits from.
    pub(super) fn inherits(&self) -> bool {
        let is_other = |source: &str| source != "service";
        self.configs.iter().any(|(_, config)| is_other(&config.source))
            || self.secrets.iter().any(|(_, secret)| is_other(&secret.source))
            || self.flags.iter().any(|(_, flag)| is_other(&flag.source))
    }

    pub(super) fn to_maps(&self) -> SyncSnapshot {
        fn map<V: Clone>(table: &TextTable<V>) -> std::collections::BTreeMap<String, V> {
            table.iter().map(|(key, value)| (key.to_owned(), value.clone())).collect()
        }
        SyncSnapshot { configs: map(&self.configs), secrets: map(&self.secrets), flags: map(&self.flags) }
    }
}
