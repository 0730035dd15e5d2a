//! Configuration: the file and the environment.

use std::{fs, sync::LazyLock};

use leverframe::{
    Result,
    config::{Config, FlagsSettings, Layer},
    registry::Registry,
};
use toml::{Table, Value};

use super::cache::scratch;

/// Not a text that a configuration holds by chance.
const SECRET: &str = "HUNTER2~HUNTER2";

/// A file is read or refused, the same way twice, without a word of its values; what is read is explained key by key.
pub fn config_file(data: &[u8]) {
    let path = scratch("leverframe.toml");
    fs::write(&path, data).expect("a temporary file can be written");
    if let Some(config) = twice(|| Config::builder().file(&path).build()) {
        let text = String::from_utf8_lossy(data);
        let table: Table = toml::from_str(&text).expect("what was read is TOML");
        let mut keys = Vec::new();
        leaves("", &table, &mut keys);
        let rows = config.explain();
        for key in &keys {
            let row =
                rows.iter().find(|row| row.key == *key).unwrap_or_else(|| panic!("`{key}` is not told"));
            assert_eq!(row.layer, Layer::File, "{key}");
        }
        check(&config);
    }
    // The same with a secret for every text.
    let Ok(mut table) = toml::from_str::<Table>(&String::from_utf8_lossy(data)) else { return };
    plant(&mut table);
    fs::write(&path, table.to_string()).expect("a temporary file can be written");
    let told = match Config::builder().file(&path).build() {
        Err(error) => format!("{} {error:?}", error.chain()),
        Ok(config) => format!("{config:?} {}", refusals(&config)),
    };
    assert!(!told.contains(SECRET), "{told}");
}

/// Variables, one a line: taken or refused, the same way twice, without a word of their values; what is taken is taken
/// to the letter.
pub fn config_environment(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let variables: Vec<(&str, &str)> = text.lines().filter_map(|line| line.split_once('=')).collect();
    if let Some(config) = twice(|| Config::builder().environment(variables.iter().copied()).build()) {
        check(&config);
    }
    for (name, value) in variables {
        let secret = format!("{value}{SECRET}");
        let told = match Config::builder().environment([(name, &secret)]).build() {
            Err(error) => format!("{} {error:?}", error.chain()),
            Ok(config) => format!("{config:?} {}", refusals(&config)),
        };
        assert!(!told.contains(SECRET), "{told}");

        let Some(key) = name.strip_prefix("LEVERFRAME_") else { continue };
        let Ok(config) = Config::builder().environment([(name, value)]).build() else { continue };
        // Beyond so many levels the rest is one name.
        let key = key.to_ascii_lowercase().splitn(16, "__").collect::<Vec<_>>().join(".");
        let row = config.explain().into_iter().find(|row| row.key == key);
        let row = row.unwrap_or_else(|| panic!("`{name}` was taken, and `{key}` is not told"));
        assert_eq!(row.layer, Layer::Environment, "{name}");
        if key != "telemetry.use" && row.value != "***" && !value.contains("://") {
            assert_eq!(parsed(&row.value).as_str(), Some(value), "{name}");
        }
    }
}

static REGISTRY: LazyLock<Registry> = LazyLock::new(|| Registry::discover().expect("the built-in backends"));

/// Every value that is told is TOML, and settings are read or refused.
fn check(config: &Config) {
    for row in config.explain() {
        let name = row.key.rsplit('.').next().unwrap_or_default();
        if ["token", "secret", "password"].iter().any(|word| name.contains(word)) {
            let unset = row.layer == Layer::Default && row.value == "\"\"";
            assert!(unset || row.value == "***", "{}", row.key);
        } else if !row.value.contains("{…}") && row.value != "***" {
            parsed(&row.value);
        }
    }
    refusals(config);
}

/// What is said of the configuration beyond its own check.
fn refusals(config: &Config) -> String {
    let mut told = String::new();
    if let Err(error) = config.check(&REGISTRY) {
        told += &format!("{} {error:?}", error.chain());
    }
    for name in config.tables("flags") {
        if let Err(error) = config.read::<FlagsSettings>(&format!("flags.{name}")) {
            told += &format!("{} {error:?}", error.chain());
        }
    }
    told
}

fn parsed(value: &str) -> Value {
    let text = format!("x = {value}");
    let table: Table = toml::from_str(&text).unwrap_or_else(|e| panic!("`{value}` is not TOML: {e}"));
    table["x"].clone()
}

/// Builds twice and compares what came of it.
fn twice(build: impl Fn() -> Result<Config>) -> Option<Config> {
    match (build(), build()) {
        (Ok(first), Ok(second)) => {
            assert_eq!(first.explain(), second.explain());
            Some(first)
        }
        (Err(first), Err(second)) => {
            assert_eq!(first.chain(), second.chain());
            None
        }
        _ => panic!("the same configuration is once taken and once refused"),
    }
}

fn leaves(prefix: &str, table: &Table, keys: &mut Vec<String>) {
    for (name, value) in table {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match value {
            Value::Table(inner) => leaves(&key, inner, keys),
            _ => keys.push(key),
        }
    }
}

fn plant(table: &mut Table) {
    for (_, value) in table.iter_mut() {
        match value {
            Value::Table(inner) => plant(inner),
            Value::String(text) => *text = SECRET.to_owned(),
            Value::Array(items) => items.iter_mut().for_each(|item| match item {
                Value::Table(inner) => plant(inner),
                Value::String(text) => *text = SECRET.to_owned(),
                _ => {}
            }),
            _ => {}
        }
    }
}
