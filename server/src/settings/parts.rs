//! What a service has, of its own and inherited, opened.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use leverframe::{Error, ErrorKind, Result, Secret};

use super::{
    Keyring,
    flags::Flag,
    model::{EntryKind, Held, SecretForm, Service},
    references::may_refer,
};

/// Where an entry comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Service,
    Umbrella,
}

impl Source {
    /// Returns the name on the wire.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Umbrella => "umbrella",
        }
    }
}

/// A config.
#[derive(Clone, Debug)]
pub(super) struct Config {
    pub(super) version: u64,
    pub(super) source: Source,
    pub(super) json: Arc<str>,
    /// Whether it may refer to something.
    pub(super) refers: bool,
}

/// A flag.
#[derive(Clone, Debug)]
pub(super) struct FlagPart {
    pub(super) version: u64,
    pub(super) source: Source,
    pub(super) flag: Arc<Flag>,
}

/// A secret.
#[derive(Clone, Debug)]
pub(super) struct SecretPart {
    pub(super) version: u64,
    pub(super) source: Source,
    pub(super) form: SecretForm,
    pub(super) text: Arc<Secret>,
}

/// What changes when anything of a service does, or of the umbrella that it inherits from.
pub(crate) type Revisions = (u64, u64, u64);

/// Everything of a service at one moment.
#[derive(Clone)]
pub(super) struct Parts {
    pub(super) service: Service,
    /// Of what it is, which says who its umbrella is; of its entries; and of the umbrella's.
    pub(super) revisions: Revisions,
    pub(super) configs: BTreeMap<Arc<str>, Config>,
    pub(super) flags: BTreeMap<Arc<str>, FlagPart>,
    pub(super) secrets: BTreeMap<Arc<str>, SecretPart>,
    /// What the umbrella has as well, and the service's own stands before.
    hidden: BTreeSet<(EntryKind, Arc<str>)>,
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").field("service", &self.service).finish_non_exhaustive()
    }
}

impl Parts {
    /// Puts together what a service has; where both have an entry, its own wins.
    ///
    /// # Errors
    /// `Config` for secrets without a master key, or with another one; `Corrupt` for secrets that do not open.
    pub(super) fn of(keyring: Option<&Keyring>, own: Held, umbrella: Option<Held>) -> Result<Self> {
        let inherited_revision = umbrella.as_ref().map_or(0, |held| held.revision);
        let mut parts = Self {
            service: own.service.clone(),
            revisions: (own.service.revision, own.revision, inherited_revision),
            configs: BTreeMap::new(),
            flags: BTreeMap::new(),
            secrets: BTreeMap::new(),
            hidden: BTreeSet::new(),
        };
        if let Some(umbrella) = umbrella {
            parts.add(keyring, umbrella, Source::Umbrella)?;
        }
        parts.add(keyring, own, Source::Service)?;
        Ok(parts)
    }

    fn add(&mut self, keyring: Option<&Keyring>, held: Held, source: Source) -> Result<()> {
        let Held { service, configs, flags, secrets, .. } = held;
        for entry in configs {
            if self.put(&entry.key, entry.version, &entry.content, source) {
                self.hidden.insert((EntryKind::Config, Arc::from(entry.key)));
            }
        }
        for entry in flags {
            let key: Arc<str> = Arc::from(entry.key);
            let Some(flag) = Flag::parse(&entry.content) else {
                // They were checked when they were written.
                tracing::warn!(service = %service.id, flag = %key, "a flag does not read any more, it is left out");
                continue;
            };
            let part = FlagPart { version: entry.version, source, flag: Arc::new(flag) };
            if self.flags.insert(Arc::clone(&key), part).is_some() {
                self.hidden.insert((EntryKind::Flag, key));
            }
        }
        if secrets.is_empty() || !self.service.kind.has_secrets() {
            return Ok(());
        }
        let keyring = keyring.ok_or_else(|| {
            Error::new(ErrorKind::Config, "open secrets")
                .with("service", service.id.to_string())
                .hint("start the server with the master key that they were sealed under")
        })?;
        let data_key = keyring.open_data_key(&service.id, &service.data_key)?;
        for secret in secrets {
            let text = data_key.open(&service.id, &secret.key, secret.version, &secret.sealed)?;
            let key: Arc<str> = Arc::from(secret.key);
            let part =
                SecretPart { version: secret.version, source, form: secret.form, text: Arc::new(text) };
            if self.secrets.insert(Arc::clone(&key), part).is_some() {
                self.hidden.insert((EntryKind::Secret, key));
            }
        }
        Ok(())
    }

    /// Returns true if there was one.
    fn put(&mut self, key: &str, version: u64, json: &str, source: Source) -> bool {
        let config = Config { version, source, json: Arc::from(json), refers: may_refer(json) };
        self.configs.insert(Arc::from(key), config).is_some()
    }

    /// Puts in a config of the service's own.
    pub(super) fn put_config(&mut self, key: &str, version: u64, json: &str) {
        self.put(key, version, json, Source::Service);
    }

    /// Puts in a flag of the service's own.
    pub(super) fn put_flag(&mut self, key: &str, version: u64, flag: Flag) {
        let part = FlagPart { version, source: Source::Service, flag: Arc::new(flag) };
        self.flags.insert(Arc::from(key), part);
    }

    /// Puts in a text of the service's own.
    pub(super) fn put_secret(&mut self, key: &str, version: u64, text: Secret) {
        let (source, form) = (Source::Service, SecretForm::Text);
        self.secrets.insert(Arc::from(key), SecretPart { version, source, form, text: Arc::new(text) });
    }

    /// Returns true for an entry of the service's own.
    pub(super) fn has_own(&self, kind: EntryKind, key: &str) -> bool {
        let source = match kind {
            EntryKind::Config => self.configs.get(key).map(|config| config.source),
            EntryKind::Flag => self.flags.get(key).map(|flag| flag.source),
            EntryKind::Secret => self.secrets.get(key).map(|secret| secret.source),
        };
        source == Some(Source::Service)
    }

    /// Takes out an entry of the service's own, unless the umbrella has one that is there then.
    pub(super) fn remove(&mut self, kind: EntryKind, key: &str) {
        if self.hidden.contains(&(kind, Arc::from(key))) {
            return;
        }
        match kind {
            EntryKind::Config => drop(self.configs.remove(key)),
            EntryKind::Flag => drop(self.flags.remove(key)),
            EntryKind::Secret => drop(self.secrets.remove(key)),
        }
    }

    #[cfg(test)]
    pub(super) fn for_tests() -> Self {
        use super::model::{Kind, ServiceId};

        let id = ServiceId::new("acme", "web", "prod");
        let at = std::time::SystemTime::UNIX_EPOCH;
        let service = Service::new(id, Kind::Backend, bytes::Bytes::new(), at);
        Self {
            service,
            revisions: (1, 1, 0),
            configs: BTreeMap::new(),
            flags: BTreeMap::new(),
            secrets: BTreeMap::new(),
            hidden: BTreeSet::new(),
        }
    }
}
