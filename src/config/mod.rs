//! Configuration in layers: defaults, a file, the environment, code; each key knows where its value came from.
//!
//! | layer | wins over | form |
//! |---|---|---|
//! | default | | what the settings' types say |
//! | file | default | `leverframe.toml` |
//! | environment | file | `LEVERFRAME_CACHE__FILE__DIR=/var/cache/app`: `__` separates tables, values are taken to the letter |
//! | code | environment | [`ConfigBuilder::set`] |
//!
//! Keys that nobody knows are errors, also those of tables for backends that are not there. Messages name the full
//! key, the layer and, in files, the line; they never print a value.

mod check;
mod environment;
mod explain;
mod fields;
mod file;
mod reference;
mod root;

use std::{collections::BTreeMap, fmt, path::PathBuf};

use figment::{
    Figment, Metadata, Profile, Provider,
    value::{Dict, Map, Value},
};
use serde::de::DeserializeOwned;

#[doc(hidden)]
pub use serde as __serde;

pub(crate) use self::environment::environment_with_prefix;
pub use self::{
    environment::{ambient_environment, process_environment},
    explain::{Explained, Layer},
    fields::{Field, FieldKind},
    reference::reference_markdown,
    root::{
        CacheSettings, ClockSettings, FlagsSettings, GateSettings, LimitsSettings, SettingsSettings,
        TelemetrySettings, TransportSettings,
    },
};
use crate::{Error, ErrorKind, Result};

/// Effective settings with their provenance.
///
/// # Examples
/// ```
/// use leverframe::config::Config;
/// let config = Config::builder()
///     .environment([("LEVERFRAME_CACHE__USE", "file"), ("LEVERFRAME_CACHE__FILE__DIR", "/var/cache/0042")])
///     .set("cache.file.dir", "/tmp/cache")
///     .build()?;
/// let dir = config.explain().into_iter().find(|e| e.key == "cache.file.dir").unwrap();
/// assert_eq!((dir.value.as_str(), dir.layer.as_str()), ("\"/tmp/cache\"", "code"));
/// # Ok::<(), leverframe::Error>(())
/// ```
#[derive(Clone)]
pub struct Config {
    figment: Figment,
    /// Where keys of the file stand, for messages.
    lines: BTreeMap<String, usize>,
}

impl Config {
    /// Starts a configuration with no layer but the defaults.
    pub fn builder() -> ConfigBuilder {
        ConfigBuilder::default()
    }

    /// Reads the table at `key`, such as `cache.file`, defaults where nothing is set.
    ///
    /// # Errors
    /// `Config` for an unknown key or a value of the wrong type, with the full key, the layer and the line.
    pub fn read<T: DeserializeOwned>(&self, key: &str) -> Result<T> {
        let outcome = if self.figment.contains(key) {
            // Lossy: strings of the environment become numbers and booleans where those are asked for.
            self.figment.extract_inner_lossy(key)
        } else {
            Figment::new().extract()
        };
        outcome.map_err(|error| self.describe(key, &error))
    }

    /// Reads the single value at `key`, such as `cache.use`; `None` where no layer sets it.
    ///
    /// # Errors
    /// `Config` for a value of the wrong type, with the key, the layer and the line.
    pub fn value<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        if !self.figment.contains(key) {
            return Ok(None);
        }
        self.read(key).map(Some)
    }

    /// Returns true if some layer says something at `key`.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.figment.contains(key)
    }

    /// Returns true if both say the same at `key`, wherever it stands.
    pub(crate) fn says_the_same(&self, other: &Self, key: &str) -> bool {
        let value = |config: &Self| config.figment.extract_inner::<serde_json::Value>(key).ok();
        value(self) == value(other)
    }

    /// Returns the names of the tables inside the table at `key`, in order.
    #[must_use]
    pub fn tables(&self, key: &str) -> Vec<String> {
        let Ok(Value::Dict(_, dict)) = self.figment.find_value(key) else { return Vec::new() };
        dict.into_iter().filter(|(_, value)| matches!(value, Value::Dict(..))).map(|(name, _)| name).collect()
    }

    /// Turns the error of the layering library into ours: its own would print the offending value.
    fn describe(&self, prefix: &str, error: &figment::Error) -> Error {
        use figment::error::Kind;
        // The library appends the path of the table behind the path inside it.
        let path = error.path.join(".");
        let inside = path.strip_suffix(prefix).unwrap_or(&path).trim_end_matches('.');
        let full = if inside.is_empty() { prefix.to_owned() } else { format!("{prefix}.{inside}") };
        let (full, reason, hint) = match &error.kind {
            Kind::UnknownField(field, known) => {
                let key = format!("{full}.{field}");
                let nearest = crate::manifest::lint::findings::did_you_mean(field, known.iter().copied());
                (
                    key,
                    "nobody knows this key".to_owned(),
                    nearest.unwrap_or_else(|| format!("known here: {}", known.join(", "))),
                )
            }
            Kind::MissingField(field) => (
                format!("{full}.{field}"),
                "it is required".to_owned(),
                "set it in the file, the environment or code".to_owned(),
            ),
            Kind::InvalidType(actual, expected) => {
                (full, format!("it must be {expected}, not {}", type_of(actual)), "mend the value".to_owned())
            }
            Kind::InvalidValue(_, expected) => {
                (full, format!("it must be {expected}"), "mend the value".to_owned())
            }
            _ => (
                full,
                "its value cannot be used".to_owned(),
                "see the configuration reference for its form".to_owned(),
            ),
        };
        self.error("read the configuration", &full, reason).hint(hint)
    }

    /// Makes an error about a key, with its layer and line.
    fn error(&self, operation: &'static str, key: &str, reason: impl fmt::Display) -> Error {
        let mut error = Error::new(ErrorKind::Config, operation).with("key", key).with("reason", reason);
        if let Some(metadata) = self.figment.find_metadata(key) {
            error = error.with("layer", &metadata.name);
        }
        match self.lines.get(key) {
            Some(line) => error.with("line", line),
            None => error,
        }
    }
}

impl fmt::Debug for Config {
    /// Prints keys and layers, no values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.explain().into_iter().map(|e| (e.key, e.layer))).finish()
    }
}

/// Collects layers; the order of the calls does not matter, the order of the layers does.
#[derive(Clone, Debug, Default)]
#[must_use = "a builder does nothing until `build`"]
pub struct ConfigBuilder {
    file: Option<PathBuf>,
    environment: Vec<(String, String)>,
    code: Dict,
}

impl ConfigBuilder {
    /// Reads the file at exactly this path.
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.file = Some(path.into());
        self
    }

    /// Takes variables from an environment: those that begin with `LEVERFRAME_`, and those of the flag client's public
    /// contract, `EXD_HTTP_BACKEND`, `EXD_SERVER_URL` and `EXD_API_TOKEN`. For that of the process see
    /// [`process_environment`].
    pub fn environment<K: Into<String>, V: Into<String>>(
        mut self,
        variables: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        self.environment.extend(variables.into_iter().map(|(k, v)| (k.into(), v.into())));
        self
    }

    /// Sets one key from code, such as `cache.file.dir`.
    pub fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        environment::insert(&mut self.code, key.split('.'), value.into());
        self
    }

    /// Puts the layers together and checks that every key is known.
    ///
    /// # Errors
    /// When the file cannot be read or is no TOML, and for keys that nobody knows.
    pub fn build(self) -> Result<Config> {
        let mut figment = Figment::new();
        let mut lines = BTreeMap::new();
        if let Some(path) = &self.file {
            let file = file::read(path)?;
            figment = figment.merge(LayerOf {
                layer: Layer::File,
                source: path.display().to_string(),
                dict: file.dict,
            });
            lines = file.lines;
        }
        let (low, high) = environment::split(self.environment);
        figment = figment.merge(LayerOf { layer: Layer::Environment, source: "EXD_*".to_owned(), dict: low });
        figment = figment.merge(LayerOf {
            layer: Layer::Environment,
            source: "LEVERFRAME_*".to_owned(),
            dict: high,
        });
        figment = figment.merge(LayerOf { layer: Layer::Code, source: String::new(), dict: self.code });
        let config = Config { figment, lines };
        config.check_root()?;
        Ok(config)
    }
}

/// One layer as the layering library takes it.
struct LayerOf {
    layer: Layer,
    source: String,
    dict: Dict,
}

impl Provider for LayerOf {
    fn metadata(&self) -> Metadata {
        let metadata = Metadata::named(self.layer.as_str());
        if self.source.is_empty() {
            metadata
        } else {
            metadata.source(figment::Source::Custom(self.source.clone()))
        }
    }

    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        Ok(Profile::Default.collect(self.dict.clone()))
    }
}

fn type_of(actual: &figment::error::Actual) -> &'static str {
    use figment::error::Actual;
    match actual {
        Actual::Bool(_) => "a boolean",
        Actual::Unsigned(_) | Actual::Signed(_) => "an integer",
        Actual::Float(_) => "a float",
        Actual::Char(_) | Actual::Str(_) => "a string",
        Actual::Seq => "a list",
        Actual::Map => "a table",
        _ => "a value of another type",
    }
}
