//! Configs from several places: the service, files, the environment; the later the stronger.

use std::{
    collections::BTreeMap,
    fmt, fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use serde_json::{Map, Value};

use super::{NexusError, model::ConfigEntry};
use crate::text_table::TextTable;

/// More than any file of configs has.
const LARGEST_FILE: u64 = 1024 * 1024;

/// Where the value of a config comes from.
///
/// # Examples
/// ```
/// use leverframe::settings::ConfigSource;
/// assert_eq!(ConfigSource::Environment("APP_DB__PORT".to_owned()).to_string(), "the variable APP_DB__PORT");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigSource {
    /// The service, with its own word for it, such as `service`.
    Service(String),
    /// A file on this machine.
    File(PathBuf),
    /// A variable of the environment, by its name.
    Environment(String),
}

impl fmt::Display for ConfigSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(word) => write!(f, "the service ({word})"),
            Self::File(path) => write!(f, "the file {}", path.display()),
            Self::Environment(variable) => write!(f, "the variable {variable}"),
        }
    }
}

/// What lies over the configs of the service, the strongest last.
#[derive(Debug, Default)]
pub(super) struct Layers(Vec<Layer>);

#[derive(Debug)]
enum Layer {
    File { path: PathBuf, read: Mutex<FileState> },
    Environment(Variables),
}

#[derive(Default)]
struct FileState {
    /// Time and size of what was read; of what could not be read, too.
    seen: Option<(SystemTime, u64)>,
    values: BTreeMap<String, Value>,
}

impl fmt::Debug for FileState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileState").field("keys", &self.values.len()).finish_non_exhaustive()
    }
}

/// Variables by what is left of their names, in the form in which keys are compared.
struct Variables(BTreeMap<String, (String, String)>);

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.values().map(|(name, _)| name)).finish()
    }
}

impl Layers {
    /// Adds a file, which must be there and make sense: TOML if its name ends so, JSON otherwise.
    pub(super) fn add_file(&mut self, path: &Path) -> Result<(), NexusError> {
        let mut state = FileState { seen: signature(path), values: BTreeMap::new() };
        state.values = read_file(path).map_err(NexusError::Config)?;
        self.0.push(Layer::File { path: path.to_owned(), read: Mutex::new(state) });
        Ok(())
    }

    /// Adds those variables whose names begin with `prefix`.
    pub(super) fn add_environment(&mut self, prefix: &str, variables: Vec<(String, String)>) {
        let named = variables.into_iter().filter_map(|(name, value)| {
            let rest = name.strip_prefix(prefix).filter(|rest| !rest.is_empty())?;
            Some((comparable(rest), (name, value)))
        });
        self.0.push(Layer::Environment(Variables(named.collect())));
    }

    /// Reads files again that have changed, and returns true if any did. One that makes no sense counts as unchanged.
    pub(super) fn refresh(&self) -> bool {
        let mut changed = false;
        for layer in &self.0 {
            let Layer::File { path, read } = layer else { continue };
            let mut state = read.lock().unwrap_or_else(PoisonError::into_inner);
            let now = signature(path);
            if now == state.seen {
                continue;
            }
            state.seen = now;
            match read_file(path) {
                Ok(values) => {
                    changed |= values != state.values;
                    state.values = values;
                }
                Err(reason) => tracing::warn!(
                    reason,
                    "a file of configs is not used as it is; its last good state stays"
                ),
            }
        }
        changed
    }

    /// Lays everything over the service's configs.
    pub(super) fn over(&self, service: &Arc<TextTable<ConfigEntry>>) -> Arc<TextTable<ConfigEntry>> {
        if self.0.is_empty() {
            return Arc::clone(service);
        }
        let mut configs = (**service).clone();
        for (at, layer) in self.0.iter().enumerate() {
            match layer {
                Layer::File { read, .. } => {
                    let state = read.lock().unwrap_or_else(PoisonError::into_inner);
                    for (key, value) in &state.values {
                        configs.insert(key, entry(value.clone(), "file", at));
                    }
                }
                Layer::Environment(variables) => lay_variables(&mut configs, variables, at),
            }
        }
        Arc::new(configs)
    }

    /// Says where a config comes from.
    pub(super) fn source_of(&self, key: &str, config: &ConfigEntry) -> ConfigSource {
        let layer = config.layer.checked_sub(1).and_then(|at| self.0.get(at));
        match layer {
            Some(Layer::File { path, .. }) => ConfigSource::File(path.clone()),
            Some(Layer::Environment(variables)) => {
                let variable = variables.0.get(&comparable(key)).map(|(name, _)| name.clone());
                ConfigSource::Environment(variable.unwrap_or_default())
            }
            None => ConfigSource::Service(config.source.clone()),
        }
    }
}

fn entry(value: Value, source: &str, at: usize) -> ConfigEntry {
    ConfigEntry { value, source: source.to_owned(), layer: at + 1 }
}

fn lay_variables(configs: &mut TextTable<ConfigEntry>, variables: &Variables, at: usize) {
    let held: Vec<(String, String)> =
        configs.iter().map(|(key, _)| (comparable(key), key.to_owned())).collect();
    let mut unused = variables.0.clone();
    for (name, key) in held {
        let Some((_, text)) = variables.0.get(&name) else { continue };
        unused.remove(&name);
        // What is a string below stays one, digits or not.
        let is_text = configs.get(&key).is_some_and(|below| below.value.is_string());
        configs.insert(&key, entry(value_of(text, is_text), "environment", at));
    }
    for (rest, (_, text)) in unused {
        let key = rest.to_ascii_lowercase().replace("__", ".");
        configs.insert(&key, entry(value_of(&text, false), "environment", at));
    }
}

/// Reads a variable as JSON where it is JSON, and as a text otherwise.
fn value_of(text: &str, is_text: bool) -> Value {
    let plain = || Value::String(text.to_owned());
    if is_text { plain() } else { serde_json::from_str(text).unwrap_or_else(|_| plain()) }
}

/// Writes a key as the name of a variable has it: `db.host` is `DB__HOST`, and `max-size` is `MAX_SIZE`.
fn comparable(key: &str) -> String {
    let mut name = String::with_capacity(key.len() + 4);
    for c in key.chars() {
        match c {
            '.' => name.push_str("__"),
            c if c.is_ascii_alphanumeric() => name.push(c.to_ascii_uppercase()),
            _ => name.push('_'),
        }
    }
    name
}

fn signature(path: &Path) -> Option<(SystemTime, u64)> {
    let found = fs::metadata(path).ok()?;
    Some((found.modified().ok()?, found.len()))
}

/// Reads a file, or says what is wrong with it without showing any of it.
fn read_file(path: &Path) -> Result<BTreeMap<String, Value>, String> {
    let refuse = |reason: String| format!("the file of configs `{}` {reason}", path.display());
    let size = fs::metadata(path).map_err(|error| refuse(format!("cannot be read: {error}")))?.len();
    if size > LARGEST_FILE {
        return Err(refuse(format!("has more than {LARGEST_FILE} bytes")));
    }
    let text = fs::read_to_string(path).map_err(|error| refuse(format!("cannot be read: {error}")))?;
    let is_toml = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("toml"));
    let root: Map<String, Value> = if is_toml {
        toml::from_str(&text).map_err(|error| {
            let line =
                error.span().map_or(0, |span| text.get(..span.start).unwrap_or_default().lines().count());
            refuse(format!("is no TOML, near line {line}"))
        })?
    } else {
        serde_json::from_str(&text).map_err(|error| {
            refuse(format!("is no JSON object, at line {} column {}", error.line(), error.column()))
        })?
    };
    let mut values = BTreeMap::new();
    for (key, value) in root {
        // Tables of TOML are how it writes keys with dots; objects of JSON are values.
        if is_toml { flatten(key, value, &mut values) } else { drop(values.insert(key, value)) }
    }
    Ok(values)
}

fn flatten(key: String, value: Value, into: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(inner) => {
            inner.into_iter().for_each(|(name, value)| flatten(format!("{key}.{name}"), value, into));
        }
        value => drop(into.insert(key, value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service() -> Arc<TextTable<ConfigEntry>> {
        let mut table = TextTable::default();
        for (key, value) in [
            ("db.host", Value::from("server")),
            ("db.port", Value::from(1)),
            ("API-TOKEN", Value::from("0001")),
            ("only", Value::from("here")),
        ] {
            table.insert(key, ConfigEntry { value, source: "service".to_owned(), layer: 0 });
        }
        Arc::new(table)
    }

    #[test]
    fn a_stronger_layer_wins_and_every_key_knows_where_it_comes_from() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("local.toml");
        fs::write(&path, "[db]\nport = 2\nhost = \"file\"\n[db.pool]\nsize = 3\n").unwrap();
        let mut layers = Layers::default();
        layers.add_file(&path).unwrap();
        let variables = [
            ("APP_DB__PORT", "4"),
            ("APP_API_TOKEN", "0042"),
            ("APP_NEW__KEY", "true"),
            ("OTHER_DB__PORT", "9"),
        ];
        layers.add_environment("APP_", variables.map(|(k, v)| (k.to_owned(), v.to_owned())).to_vec());

        let configs = layers.over(&service());

        let found = |key: &str| {
            let config = configs.get(key).unwrap_or_else(|| panic!("no {key}"));
            (config.value.clone(), layers.source_of(key, config))
        };
        let variable = |name: &str| ConfigSource::Environment(name.to_owned());
        assert_eq!(found("db.port"), (Value::from(4), variable("APP_DB__PORT")));
        assert_eq!(found("db.host"), (Value::from("file"), ConfigSource::File(path.clone())));
        assert_eq!(found("db.pool.size"), (Value::from(3), ConfigSource::File(path)));
        assert_eq!(found("API-TOKEN"), (Value::from("0042"), variable("APP_API_TOKEN")));
        assert_eq!(found("new.key"), (Value::from(true), variable("APP_NEW__KEY")));
        assert_eq!(found("only"), (Value::from("here"), ConfigSource::Service("service".to_owned())));
    }

    #[test]
    fn a_file_that_makes_no_sense_is_refused_unseen_at_first_and_left_alone_later() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("local.json");
        for bad in ["", "[]", "{\"a\": canary}", "\"canary\""] {
            fs::write(&path, bad).unwrap();
            let error = Layers::default().add_file(&path).unwrap_err().to_string();
            assert!(!error.contains("canary"), "{error}");
        }
        fs::write(&path, r#"{"a": {"b": 1}}"#).unwrap();
        let mut layers = Layers::default();
        layers.add_file(&path).unwrap();

        fs::write(&path, "{broken").unwrap();
        let refreshed = layers.refresh();

        assert!(!refreshed);
        assert_eq!(layers.over(&service()).get("a").unwrap().value, serde_json::json!({"b": 1}));
        fs::write(&path, r#"{"a": 12345678}"#).unwrap();
        assert!(layers.refresh());
        assert_eq!(layers.over(&service()).get("a").unwrap().value, 12_345_678);
    }
}
