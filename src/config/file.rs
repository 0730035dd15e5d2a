//! A TOML file as a layer.

use std::{collections::BTreeMap, fs, io::Read, path::Path};

use figment::value::{Dict, Value};
use toml::de::{DeTable, DeValue};

use crate::{Error, ErrorKind, Result};

/// A configuration is written by hand; anything larger is a mistake.
const LARGEST: u64 = 1024 * 1024;

/// A file's content, and where its keys stand.
pub(super) struct File {
    pub(super) dict: Dict,
    pub(super) lines: BTreeMap<String, usize>,
}

/// Reads exactly the file at `path`: no parent folder is searched.
pub(super) fn read(path: &Path) -> Result<File> {
    let refuse = |error: Error| error.with("path", path.display());
    let failed = |error| refuse(Error::from_io("read the configuration file", error));
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(refuse(
            Error::new(ErrorKind::Config, "read the configuration file")
                .with("reason", "it is not a regular file")
                .hint("name the file itself, such as `leverframe.toml`"),
        ));
    }
    let mut text = String::new();
    // The file may grow while it is read, so the bound is on the reading.
    fs::File::open(path).and_then(|file| file.take(LARGEST + 1).read_to_string(&mut text)).map_err(failed)?;
    if text.len() as u64 > LARGEST {
        return Err(refuse(
            Error::new(ErrorKind::LimitExceeded, "read the configuration file")
                .with("limit", LARGEST)
                .hint("a configuration is written by hand: is it the right file?"),
        ));
    }
    parse(&text).map_err(refuse)
}

fn parse(text: &str) -> Result<File> {
    let root = DeTable::parse(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        // Only the parser's own words: its `Display` would quote the line, and the line may hold a secret.
        Error::new(ErrorKind::Config, "read the configuration file")
            .with("line", line_of(text, at))
            .with("reason", error.message().split_whitespace().collect::<Vec<_>>().join(" "))
    })?;
    let mut lines = BTreeMap::new();
    let dict = table(text, "", root.get_ref(), &mut lines)?;
    Ok(File { dict, lines })
}

fn table(text: &str, prefix: &str, table: &DeTable<'_>, lines: &mut BTreeMap<String, usize>) -> Result<Dict> {
    let mut dict = Dict::new();
    for (key, value) in table.iter() {
        let name = key.get_ref().as_ref();
        let path = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") };
        lines.insert(path.clone(), line_of(text, key.span().start));
        dict.insert(name.to_owned(), self::value(text, &path, value.get_ref(), lines)?);
    }
    Ok(dict)
}

fn value(text: &str, path: &str, value: &DeValue<'_>, lines: &mut BTreeMap<String, usize>) -> Result<Value> {
    let refuse = |reason: &str| {
        Error::new(ErrorKind::Config, "read the configuration file").with("key", path).with("reason", reason)
    };
    Ok(match value {
        DeValue::String(v) => Value::from(v.as_ref()),
        DeValue::Integer(v) => {
            let v = i64::from_str_radix(v.as_str(), v.radix())
                .map_err(|_| refuse("the integer does not fit 64 bits"))?;
            Value::from(v)
        }
        DeValue::Float(v) => {
            let float: f64 = v.as_str().parse().map_err(|_| refuse("the float is malformed"))?;
            // Rust rounds what is too large to infinity, which nobody wrote.
            if float.is_infinite() && !v.as_str().ends_with("inf") {
                return Err(refuse("the float does not fit 64 bits"));
            }
            Value::from(float)
        }
        DeValue::Boolean(v) => Value::from(*v),
        DeValue::Datetime(v) => Value::from(v.to_string()),
        DeValue::Array(items) => {
            let items: Result<Vec<Value>> =
                items.iter().map(|item| self::value(text, path, item.get_ref(), lines)).collect();
            Value::from(items?)
        }
        DeValue::Table(inner) => Value::from(table(text, path, inner, lines)?),
    })
}

fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes()[..at.min(text.len())].iter().filter(|b| **b == b'\n').count() + 1
}
