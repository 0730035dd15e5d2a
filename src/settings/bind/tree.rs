//! Configs with dots in their keys as one nested value.

use serde_json::{Map, Value};

use super::super::model::ConfigEntry;
use crate::text_table::TextTable;

/// More levels than any type has; what is left of a longer key stays in one piece.
const LEVELS: usize = 16;

/// Returns the value at `prefix`, with the configs `prefix.…` laid over it; everything for an empty prefix.
pub(super) fn under(prefix: &str, configs: &TextTable<ConfigEntry>) -> Value {
    let mut below: Vec<(&str, &Value)> = configs
        .iter()
        .filter_map(|(key, config)| {
            let rest = if prefix.is_empty() { key } else { key.strip_prefix(prefix)?.strip_prefix('.')? };
            Some((rest, &config.value))
        })
        .collect();
    let whole = configs.get(prefix).map(|config| config.value.clone());
    if below.is_empty() {
        return whole.unwrap_or_else(|| Value::Object(Map::new()));
    }
    // Whatever order the service sends them in: the shorter key first, so that the longer one lies over it.
    below.sort_unstable_by_key(|(key, _)| *key);
    let mut root = match whole {
        Some(Value::Object(root)) => root,
        _ => Map::new(),
    };
    for (key, value) in below {
        let mut at = &mut root;
        let mut parts = key.splitn(LEVELS, '.').peekable();
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                at.insert(part.to_owned(), value.clone());
                break;
            }
            let inner = at.entry(part).or_insert(Value::Null);
            if !inner.is_object() {
                *inner = Value::Object(Map::new());
            }
            let Value::Object(inner) = inner else { break };
            at = inner;
        }
    }
    Value::Object(root)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn configs(all: &[(&str, Value)]) -> TextTable<ConfigEntry> {
        let mut table = TextTable::default();
        for (key, value) in all {
            table.insert(key, ConfigEntry { value: value.clone(), source: "service".to_owned(), layer: 0 });
        }
        table
    }

    #[test]
    fn dots_nest_and_longer_keys_lie_over_shorter_ones() {
        let configs = configs(&[
            ("db.pool.size", json!(4)),
            ("db", json!({"host": "h", "pool": {"size": 1, "wait": 2}})),
            ("db.port", json!(1)),
            ("dbx", json!(0)),
            ("a", json!(1)),
            ("a.b", json!(2)),
        ]);

        assert_eq!(under("db", &configs), json!({"host": "h", "pool": {"size": 4, "wait": 2}, "port": 1}));
        assert_eq!(under("db.port", &configs), json!(1));
        assert_eq!(under("a", &configs), json!({"b": 2}));
        assert_eq!(under("none", &configs), json!({}));
        assert_eq!(under("", &configs)["db"]["pool"], json!({"size": 4, "wait": 2}));
    }
}
