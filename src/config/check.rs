//! Whether every key is known.

use figment::value::{Dict, Value};

use super::{Config, FlagsSettings, GateSettings, LimitsSettings, SettingsSettings, root};
use crate::{
    Result,
    manifest::lint::findings::did_you_mean,
    registry::{Kind, Registry},
    traits::{CacheStore, Clock, Source, TelemetrySink, Transport},
};

impl Config {
    /// Checks the names of the root tables and the namespaces' settings, which need no registry.
    pub(super) fn check_root(&self) -> Result<()> {
        let Ok(dict) = self.figment.extract::<Dict>() else { return Ok(()) };
        self.check_names("", &dict)?;
        let known: Vec<&str> = root::TABLES.iter().map(|(name, _)| *name).chain(["source"]).collect();
        for key in dict.keys() {
            if !known.contains(&key.as_str()) {
                return Err(self.unknown(key, known.iter().copied()));
            }
        }
        for name in self.tables("flags") {
            self.read::<FlagsSettings>(&format!("flags.{name}"))?;
        }
        self.read::<GateSettings>("gate")?;
        self.read::<SettingsSettings>("settings")?;
        for name in self.tables("limits") {
            self.read::<LimitsSettings>(&format!("limits.{name}"))?;
        }
        Ok(())
    }

    /// Refuses names that a key with dots cannot lead to: their tables would be neither checked nor read.
    fn check_names(&self, prefix: &str, dict: &Dict) -> Result<()> {
        for (name, value) in dict {
            let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
            if name.is_empty() || name.contains('.') {
                let error = self.error("read the configuration", &key, "a name is empty or has a dot");
                return Err(error.hint("name it with letters, digits, `_` and `-`"));
            }
            if let Value::Dict(_, inner) = value {
                self.check_names(&key, inner)?;
            }
        }
        Ok(())
    }

    /// Checks that every backend's table belongs to a backend that is registered, and holds what that one knows.
    ///
    /// # Errors
    /// `Config` for the first key that nobody knows, with the nearest that somebody does.
    pub fn check(&self, registry: &Registry) -> Result<()> {
        self.check_kind::<dyn Transport>(registry, true)?;
        self.check_kind::<dyn CacheStore>(registry, true)?;
        self.check_kind::<dyn Clock>(registry, true)?;
        self.check_kind::<dyn TelemetrySink>(registry, true)?;
        self.check_kind::<dyn Source>(registry, false)
    }

    fn check_kind<T: Kind + ?Sized>(&self, registry: &Registry, selected: bool) -> Result<()> {
        let Ok(Value::Dict(_, table)) = self.figment.find_value(T::WORD) else {
            return Ok(());
        };
        for (name, inner) in &table {
            if selected && name == "use" {
                continue;
            }
            let key = format!("{}.{name}", T::WORD);
            let Some(plugin) = registry.of::<T>().find(|plugin| plugin.name() == name) else {
                let names = registry.of::<T>().map(|plugin| plugin.name());
                return Err(self.unknown(&key, names.chain(selected.then_some("use"))));
            };
            let Value::Dict(_, inner) = inner else {
                return Err(self.error("read the configuration", &key, "it must be a table"));
            };
            for field in inner.keys() {
                if plugin.fields().iter().all(|known| known.name != field) {
                    return Err(
                        self.unknown(&format!("{key}.{field}"), plugin.fields().iter().map(|f| f.name))
                    );
                }
            }
        }
        Ok(())
    }

    fn unknown<'k>(&self, key: &str, known: impl Iterator<Item = &'k str>) -> crate::Error {
        let known: Vec<&str> = known.collect();
        let last = key.rsplit('.').next().unwrap_or(key);
        let hint = did_you_mean(last, known.iter().copied())
            .unwrap_or_else(|| format!("known here: {}", known.join(", ")));
        self.error("read the configuration", key, "nobody knows this key").hint(hint)
    }
}
