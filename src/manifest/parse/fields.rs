//! Reading fields of tables: required or not, of the right type, and none that nobody knows.

use std::borrow::Cow;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    Span,
    nesting::{LEVELS, too_deep},
};
use crate::manifest::lint::{
    SCHEMA_MAJOR,
    codes::{CodeInfo, E001, E008, E016, E017, E030, W010},
    findings::{Findings, did_you_mean},
};

/// The minor of the schema that this library implements; the major is [`SCHEMA_MAJOR`].
const MINOR: u64 = 1;

const VERSION_HELP: &str = "write `schema_version = \"0.1\"` at the top of the file";

/// A file being read.
#[derive(Debug)]
pub(crate) struct File<'t> {
    pub(crate) findings: Findings<'t>,
    /// Unknown fields of a newer minor are not errors (M14).
    newer_minor: bool,
}

/// Parses the text and checks `schema_version`; the root table is there if both are good enough to go on.
pub(crate) fn open<'t>(path: &'t str, text: &'t str, major: Option<u64>) -> (File<'t>, Option<Root<'t>>) {
    let (mut file, root) = open_any_version(path, text, major);
    if let Some(Root(root)) = &root
        && root.get_ref().get("schema_version").is_none()
    {
        file.findings.add_help(E001, 0..0, "`schema_version` is missing", VERSION_HELP);
    }
    (file, root)
}

/// As [`open`], for a file that need not say its version.
pub(crate) fn open_any_version<'t>(
    path: &'t str,
    text: &'t str,
    major: Option<u64>,
) -> (File<'t>, Option<Root<'t>>) {
    let mut file = File { findings: Findings::new(path, text), newer_minor: false };
    if let Some(span) = too_deep(text) {
        let message = format!("tables and arrays nest deeper than {LEVELS} levels");
        file.findings.add_help(E008, span, message, "flatten the value, or put it into the flag as a string");
        return (file, None);
    }
    let (root, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        if file.findings.leaves_out(E001) {
            continue;
        }
        let span = error.span().unwrap_or(0..0);
        file.findings.add(E001, span, format!("the file is not valid TOML: {}", one_line(error.message())));
    }
    if !errors.is_empty() {
        return (file, None);
    }
    file.check_schema(root.get_ref(), major);
    (file, Some(Root(root)))
}

/// The root table of a file.
#[derive(Debug)]
pub(crate) struct Root<'t>(Spanned<DeTable<'t>>);

impl<'t> Root<'t> {
    pub(crate) fn table(&self) -> Table<'_, 't> {
        Table { table: self.0.get_ref(), span: 0..0, name: "" }
    }
}

/// A table with where it stands and what it is called in messages.
#[derive(Clone, Debug)]
pub(crate) struct Table<'v, 't> {
    pub(crate) table: &'v DeTable<'t>,
    pub(crate) span: Span,
    pub(crate) name: &'v str,
}

pub(crate) type Value<'v, 't> = &'v Spanned<DeValue<'t>>;

impl<'v, 't> Table<'v, 't> {
    pub(crate) fn get(&self, key: &str) -> Option<Value<'v, 't>> {
        self.table.get(key)
    }

    /// Returns where the key stands, or the table where it does not.
    pub(crate) fn key_span(&self, key: &str) -> Span {
        self.table.get_key_value(key).map_or_else(|| self.span.clone(), |(key, _)| key.span())
    }

    /// Returns the entries in the order they are written.
    pub(crate) fn entries(&self) -> Vec<(&'v str, Span, Value<'v, 't>)> {
        let mut entries: Vec<_> =
            self.table.iter().map(|(key, value)| (key.get_ref().as_ref(), key.span(), value)).collect();
        entries.sort_by_key(|(_, span, _)| span.start);
        entries
    }

    fn path(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }
}

impl File<'_> {
    fn check_schema(&mut self, root: &DeTable<'_>, wanted: Option<u64>) {
        let Some((key, value)) = root.get_key_value("schema_version") else { return };
        let version = value.get_ref().as_str().and_then(schema_version);
        match version {
            None => self.findings.add_help(
                E001,
                value.span(),
                "`schema_version` is not a string of the form `<major>.<minor>`",
                VERSION_HELP,
            ),
            Some((major, _)) if wanted.is_some_and(|wanted| wanted != major) => self.findings.add_help(
                E001,
                key.span().start..value.span().end,
                format!("`schema_version` has major {major}, not {}", wanted.unwrap_or(SCHEMA_MAJOR)),
                "migrate the file, or lint without `--schema-major`",
            ),
            Some((major, minor)) => self.newer_minor = major == SCHEMA_MAJOR && minor > MINOR,
        }
    }

    /// Reports every key that is not known.
    pub(crate) fn only_known(&mut self, table: &Table<'_, '_>, known: &[&str]) {
        for (key, span, _) in table.entries() {
            if known.contains(&key) {
                continue;
            }
            let (code, suffix) =
                if self.newer_minor { (W010, ", ignored: the file is of a newer minor") } else { (E016, "") };
            if self.findings.leaves_out(code) {
                continue;
            }
            let message = format!("unknown field `{}`{suffix}", table.path(&shown(key)));
            let help = did_you_mean(key, known.iter().copied())
                .unwrap_or_else(|| format!("known fields here: {}", known.join(", ")));
            self.findings.add_help(code, span, message, help);
        }
    }

    /// Reports a value of the wrong TOML type.
    pub(crate) fn wrong_type(
        &mut self,
        table: &Table<'_, '_>,
        key: &str,
        value: Value<'_, '_>,
        wanted: &str,
    ) {
        let message =
            format!("`{}` must be {wanted}, not {}", table.path(&shown(key)), a_type(value.get_ref()));
        self.findings.add(E017, value.span(), message);
    }

    /// Reports a missing field or table.
    pub(crate) fn missing(&mut self, code: CodeInfo, table: &Table<'_, '_>, key: &str, help: &str) {
        self.findings.add_help(code, table.span.clone(), format!("`{}` is missing", table.path(key)), help);
    }

    /// Reads a sub-table; reports one of the wrong type, and a missing one if it is required.
    pub(crate) fn table<'v, 't>(
        &mut self,
        table: &Table<'v, 't>,
        key: &'v str,
        required: bool,
    ) -> Option<Table<'v, 't>> {
        match table.get(key) {
            None if required => {
                self.missing(E030, table, key, &format!("add a `[{}]` table", table.path(key)));
                None
            }
            None => None,
            Some(value) => match value.get_ref().as_table() {
                Some(inner) => Some(Table { table: inner, span: table.key_span(key), name: key }),
                None => {
                    self.wrong_type(table, key, value, "a table");
                    None
                }
            },
        }
    }

    /// Reads an optional string.
    pub(crate) fn string<'v>(&mut self, table: &Table<'v, '_>, key: &str) -> Option<(&'v str, Span)> {
        let value = table.get(key)?;
        let text = value.get_ref().as_str();
        if text.is_none() {
            self.wrong_type(table, key, value, "a string");
        }
        text.map(|text| (text, value.span()))
    }

    /// Reads an optional boolean.
    pub(crate) fn boolean(&mut self, table: &Table<'_, '_>, key: &str) -> Option<(bool, Span)> {
        let value = table.get(key)?;
        let flag = value.get_ref().as_bool();
        if flag.is_none() {
            self.wrong_type(table, key, value, "true or false");
        }
        flag.map(|flag| (flag, value.span()))
    }

    /// Reads an optional number that is finite; an integer literal is one as well.
    pub(crate) fn number(&mut self, table: &Table<'_, '_>, key: &str) -> Option<(f64, Span)> {
        let value = table.get(key)?;
        let raw = value.get_ref();
        let number = float(raw).or_else(|| integer(raw).map(|i| i as f64));
        if number.is_none() {
            self.wrong_type(table, key, value, "a finite number");
        }
        number.map(|number| (number, value.span()))
    }

    /// Reads an optional integer.
    pub(crate) fn integer(&mut self, table: &Table<'_, '_>, key: &str) -> Option<(i64, Span)> {
        let value = table.get(key)?;
        let number = integer(value.get_ref());
        if number.is_none() {
            self.wrong_type(table, key, value, "an integer of 64 bits");
        }
        number.map(|number| (number, value.span()))
    }

    /// Reads an optional list of strings; empty where it is missing or wrong.
    pub(crate) fn strings(&mut self, table: &Table<'_, '_>, key: &str) -> Vec<String> {
        let Some(value) = table.get(key) else { return Vec::new() };
        let texts = value
            .get_ref()
            .as_array()
            .and_then(|items| items.iter().map(|item| item.get_ref().as_str().map(str::to_owned)).collect());
        texts.unwrap_or_else(|| {
            self.wrong_type(table, key, value, "a list of strings");
            Vec::new()
        })
    }
}

/// Reads an integer literal of TOML; `None` for what is none, or does not fit 64 bits.
pub(crate) fn integer(value: &DeValue<'_>) -> Option<i64> {
    let integer = value.as_integer()?;
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

/// Reads a finite float literal of TOML.
pub(crate) fn float(value: &DeValue<'_>) -> Option<f64> {
    value.as_float()?.as_str().parse().ok().filter(|v: &f64| v.is_finite())
}

/// The TOML type with its article.
pub(crate) fn a_type(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date-time",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

/// Keys come from outside: control characters are escaped and long ones cut before they enter a message.
pub(crate) fn shown(key: &str) -> Cow<'_, str> {
    const LONGEST: usize = 80;
    if key.len() <= LONGEST && !key.chars().any(char::is_control) {
        return Cow::Borrowed(key);
    }
    let mut text: String = key.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    if key.chars().count() > LONGEST {
        text.push('…');
    }
    Cow::Owned(text)
}

fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// `<major>.<minor>`: two runs of digits and exactly one dot.
fn schema_version(text: &str) -> Option<(u64, u64)> {
    let digits = |part: &str| {
        let plain = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        plain.then(|| part.parse().ok()).flatten()
    };
    let (major, minor) = text.split_once('.')?;
    Some((digits(major)?, digits(minor)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schema_versions_are_two_numbers_and_one_dot() {
        assert_eq!(schema_version("0.1"), Some((0, 1)));
        assert_eq!(schema_version("99.0"), Some((99, 0)));
        for bad in ["1.0.1", "v1.0", "1.0+abc", "1.x", "abc", "", ".", "1.", ".1", "-1.0", "1,0"] {
            assert_eq!(schema_version(bad), None, "{bad:?}");
        }
    }
}
