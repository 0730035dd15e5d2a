//! Where each effective value came from.

use std::fmt;

use figment::value::{Num, Value};

use super::{Config, FieldKind, root};
use crate::secret::without_credentials;

/// The layers, weakest first.
///
/// # Examples
/// ```
/// use leverframe::config::Layer;
/// assert!(Layer::File < Layer::Environment);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Layer {
    /// What the settings' types say.
    Default,
    /// The configuration file.
    File,
    /// The environment.
    Environment,
    /// Calls of [`ConfigBuilder::set`](super::ConfigBuilder::set).
    Code,
}

impl Layer {
    /// Returns the word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::File => "file",
            Self::Environment => "environment",
            Self::Code => "code",
        }
    }

    fn parse(word: &str) -> Self {
        [Self::File, Self::Environment, Self::Code]
            .into_iter()
            .find(|l| l.as_str() == word)
            .unwrap_or(Self::Default)
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One effective key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Explained {
    /// The full key.
    pub key: String,
    /// The value as TOML; `***` for secrets.
    pub value: String,
    /// The layer it came from.
    pub layer: Layer,
    /// The file with the line, or the variables, where there is one.
    pub origin: Option<String>,
}

impl Config {
    /// Returns every key that is set, and every default of the framework's own tables, in order of the keys.
    #[must_use]
    pub fn explain(&self) -> Vec<Explained> {
        let mut rows = Vec::new();
        if let Ok(dict) = self.figment.extract::<figment::value::Dict>() {
            for (key, value) in &dict {
                self.explain_value(key.clone(), value, &mut rows);
            }
        }
        for (table, fields) in root::TABLES {
            let places = if root::BY_NAME.contains(table) {
                self.tables(table).into_iter().map(|name| format!("{table}.{name}")).collect()
            } else {
                vec![(*table).to_owned()]
            };
            for (place, field) in
                places.iter().flat_map(|place| fields.iter().map(move |field| (place, field)))
            {
                let key = format!("{place}.{}", field.key());
                if rows.iter().all(|row| row.key != key) {
                    rows.push(Explained {
                        key,
                        value: field.default_text().to_owned(),
                        layer: Layer::Default,
                        origin: None,
                    });
                }
            }
        }
        rows.sort_by(|a, b| a.key.cmp(&b.key));
        rows
    }

    fn explain_value(&self, key: String, value: &Value, rows: &mut Vec<Explained>) {
        if let Value::Dict(_, dict) = value {
            for (name, inner) in dict {
                self.explain_value(format!("{key}.{name}"), inner, rows);
            }
            return;
        }
        let metadata = self.figment.find_metadata(&key);
        let layer = metadata.map_or(Layer::Default, |m| Layer::parse(&m.name));
        let origin =
            metadata.and_then(|m| m.source.as_ref()).map(|source| match (layer, self.lines.get(&key)) {
                (Layer::File, Some(line)) => format!("{source}:{line}"),
                _ => source.to_string(),
            });
        let value = if is_secret(&key) { "***".to_owned() } else { toml_text(value) };
        rows.push(Explained { key, value, layer, origin });
    }
}

/// Secrets are known by their declared kind and, for backends that are not linked in, by their name.
fn is_secret(key: &str) -> bool {
    let name = key.rsplit('.').next().unwrap_or(key);
    let declared = root::TABLES
        .iter()
        .flat_map(|(_, fields)| fields.iter())
        .any(|field| field.name == name && field.kind == FieldKind::Secret);
    declared
        || ["token", "secret", "password", "passphrase", "credential", "private_key", "api_key"]
            .iter()
            .any(|w| name.contains(w))
}

fn toml_text(value: &Value) -> String {
    match value {
        Value::String(_, v) => quoted(v),
        Value::Char(_, v) => quoted(&v.to_string()),
        Value::Bool(_, v) => v.to_string(),
        Value::Num(_, Num::F64(v)) if v.is_nan() => "nan".to_owned(),
        Value::Num(_, Num::F64(v)) => format!("{v:?}"),
        Value::Num(_, v) => match (v.to_i128(), v.to_u128(), v.to_f64()) {
            (Some(v), _, _) => v.to_string(),
            (_, Some(v), _) => v.to_string(),
            (_, _, Some(v)) => v.to_string(),
            _ => String::new(),
        },
        Value::Empty(..) => "\"\"".to_owned(),
        Value::Array(_, items) => format!("[{}]", items.iter().map(toml_text).collect::<Vec<_>>().join(", ")),
        Value::Dict(_, _) => "{…}".to_owned(),
    }
}

/// Writes a text as TOML's basic string, on one line; of a URI without what may be secret in it.
fn quoted(text: &str) -> String {
    let text = if text.contains("://") { without_credentials(text) } else { text.to_owned() };
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
