//! Reads what a service answers, secrets straight into memory that is wiped.
//!
//! A value of a secret is never in a buffer of the JSON library: that one keeps what it unescapes in memory which nobody
//! wipes. Errors tell where a document is wrong, not what stands there.

use std::{borrow::Cow, fmt, marker::PhantomData, sync::Arc};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, Visitor},
};
use serde_json::{Value, value::RawValue};
use zeroize::Zeroizing;

use super::{
    NexusError,
    model::{ConfigEntry, FlagEntry, Form, KeyType, SecretEntry},
    snapshot::Snapshot,
};
use crate::{Secret, text_table::TextTable};

/// Reads a whole answer.
pub(super) fn snapshot(json: &[u8]) -> Result<Snapshot, NexusError> {
    let body: Body<'_> = serde_json::from_slice(json)
        .map_err(|error| NexusError::malformed("the service's answer", &error))?;
    Ok(Snapshot {
        configs: Arc::new(body.configs.0),
        secrets: Arc::new(body.secrets.0),
        flags: Arc::new(body.flags.0),
        key_type: KeyType::of_word(&body.key_type),
        kind: body.service_kind.into(),
        synced_at: body.synced_at.into(),
    })
}

/// Reads one config.
pub(super) fn config(json: &[u8]) -> Result<ConfigEntry, NexusError> {
    entry::<_, WireConfig>(json)
}

/// Reads one flag.
pub(super) fn flag(json: &[u8]) -> Result<FlagEntry, NexusError> {
    entry::<_, WireFlag>(json)
}

fn entry<'j, V, W: Deserialize<'j> + TryInto<V, Error = &'static str>>(
    json: &'j [u8],
) -> Result<V, NexusError> {
    let read =
        serde_json::from_slice::<W>(json).and_then(|wire| wire.try_into().map_err(serde_json::Error::custom));
    read.map_err(|error| NexusError::malformed("an entry that the stream told", &error))
}

#[derive(Deserialize)]
struct Body<'j> {
    #[serde(borrow)]
    synced_at: Cow<'j, str>,
    #[serde(borrow, default)]
    key_type: Cow<'j, str>,
    #[serde(borrow, default)]
    service_kind: Cow<'j, str>,
    #[serde(default)]
    configs: Entries<ConfigEntry, WireConfig>,
    #[serde(default)]
    secrets: Entries<SecretEntry, WireSecret<'j>>,
    #[serde(default)]
    flags: Entries<FlagEntry, WireFlag>,
}

/// Entries by key; a key that comes twice makes no table, for nobody could say which of the two is meant.
struct Entries<V, W>(TextTable<V>, PhantomData<W>);

impl<V, W> Default for Entries<V, W> {
    fn default() -> Self {
        Self(TextTable::default(), PhantomData)
    }
}

impl<'de, V, W: Deserialize<'de> + TryInto<V, Error = &'static str>> Deserialize<'de> for Entries<V, W> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor(PhantomData))
    }
}

struct EntriesVisitor<V, W>(PhantomData<(V, W)>);

impl<'de, V, W: Deserialize<'de> + TryInto<V, Error = &'static str>> Visitor<'de> for EntriesVisitor<V, W> {
    type Value = Entries<V, W>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of entries by key")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut table = TextTable::default();
        while let Some((key, wire)) = map.next_entry::<Key<'de>, W>()? {
            let value = wire.try_into().map_err(A::Error::custom)?;
            if table.insert(&key.0, value).is_some() {
                return Err(A::Error::custom("a key comes twice"));
            }
        }
        Ok(Entries(table, PhantomData))
    }
}

#[derive(Deserialize)]
struct Key<'j>(#[serde(borrow)] Cow<'j, str>);

#[derive(Deserialize)]
struct WireConfig {
    #[serde(deserialize_with = "Value::deserialize")]
    value: Value,
    source: String,
}

impl TryFrom<WireConfig> for ConfigEntry {
    type Error = &'static str;

    fn try_from(wire: WireConfig) -> Result<Self, Self::Error> {
        Ok(Self { value: wire.value, source: wire.source, layer: 0 })
    }
}

#[derive(Deserialize)]
struct WireFlag {
    is_active: bool,
    source: String,
}

impl TryFrom<WireFlag> for FlagEntry {
    type Error = &'static str;

    fn try_from(wire: WireFlag) -> Result<Self, Self::Error> {
        Ok(Self { is_active: wire.is_active, source: wire.source })
    }
}

#[derive(Deserialize)]
struct WireSecret<'j> {
    #[serde(borrow)]
    value: &'j RawValue,
    version: u32,
    #[serde(borrow, default, rename = "type")]
    form: Option<Cow<'j, str>>,
    #[serde(borrow, default)]
    encoding: Option<Cow<'j, str>>,
    source: String,
}

impl TryFrom<WireSecret<'_>> for SecretEntry {
    type Error = &'static str;

    fn try_from(wire: WireSecret<'_>) -> Result<Self, Self::Error> {
        let form = match (wire.form.as_deref(), wire.encoding.as_deref()) {
            (Some("file"), None | Some("" | "utf8")) => Form::File,
            (Some("file"), Some("base64")) => Form::FileInBase64,
            (Some("file"), Some(_)) => Form::Unknown,
            _ => Form::Text,
        };
        let value = unescaped(wire.value.get()).ok_or("the value of a secret is no string")?;
        Ok(Self { value, version: wire.version, source: wire.source, form })
    }
}

/// Reads a JSON string, quotes included, into memory that is wiped.
fn unescaped(literal: &str) -> Option<Secret> {
    let inner = literal.strip_prefix('"')?.strip_suffix('"')?;
    // Never longer than what it is written as, so that it does not move and leave a copy behind.
    let mut text = Zeroizing::new(String::with_capacity(inner.len()));
    let mut rest = inner;
    while let Some(at) = rest.find('\\') {
        text.push_str(rest.get(..at)?);
        let mut escape = rest.get(at + 1..)?.chars();
        let plain = match escape.next()? {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'b' => '\u{8}',
            'f' => '\u{c}',
            same @ ('"' | '\\' | '/') => same,
            'u' => code_point(&mut escape)?,
            _ => return None,
        };
        text.push(plain);
        rest = escape.as_str();
    }
    text.push_str(rest);
    Some(Secret::new(std::mem::take(&mut *text)))
}

/// Reads what follows `\u`: four digits, and a second escape where they are the first half of a pair.
fn code_point(text: &mut std::str::Chars<'_>) -> Option<char> {
    let mut unit =
        || -> Option<u32> { (0..4).try_fold(0, |unit, _| Some(unit << 4 | text.next()?.to_digit(16)?)) };
    let first = unit()?;
    if !(0xD800..0xDC00).contains(&first) {
        return char::from_u32(first);
    }
    (text.next()? == '\\' && text.next()? == 'u').then_some(())?;
    let mut unit =
        || -> Option<u32> { (0..4).try_fold(0, |unit, _| Some(unit << 4 | text.next()?.to_digit(16)?)) };
    let second = unit()?;
    let low = (0xDC00..0xE000).contains(&second).then(|| second - 0xDC00)?;
    char::from_u32(0x1_0000 + ((first - 0xD800) << 10) + low)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CANARY: &str = "canary-8c1f";

    fn with_secrets(secrets: &str) -> String {
        format!(r#"{{"synced_at":"t","secrets":{{{secrets}}}}}"#)
    }

    #[test]
    fn a_whole_answer_is_read_and_what_nobody_knows_is_left_out() {
        let json = r#"{"synced_at":"2026-06-01T10:00:00Z","key_type":"sk","service_kind":"backend","more":[1],
            "configs":{"port":{"value":8080,"source":"service"},"none":{"value":null,"source":"umbrella","x":1}},
            "secrets":{"a":{"value":"x","version":3,"type":"","source":"service"},
                       "b":{"value":"eA==","version":4294967295,"type":"file","encoding":"base64","source":"service"},
                       "c":{"value":"y","version":1,"type":"later","source":"service"}},
            "flags":{"on":{"is_active":true,"source":"service"}}}"#;

        let read = snapshot(json.as_bytes()).unwrap();

        assert_eq!(read.configs.get("port").unwrap().value, 8080);
        assert_eq!(read.configs.get("none").unwrap().value, Value::Null);
        assert!(read.flags.get("on").unwrap().is_active);
        let form = |key| read.secrets.get(key).unwrap().form;
        assert_eq!((form("a"), form("b"), form("c")), (Form::Text, Form::FileInBase64, Form::Text));
        assert_eq!(read.secrets.get("b").unwrap().version, u32::MAX);
        assert_eq!((read.key_type, &*read.kind), (Some(KeyType::Secret), "backend"));
    }

    #[test]
    fn what_is_no_answer_is_refused_without_being_shown() {
        let entry = |fields: &str| with_secrets(&format!(r#""k":{{{fields}}}"#));
        for bad in [
            String::new(),
            "null".to_owned(),
            "[]".to_owned(),
            format!("\"{CANARY}\""),
            r#"{"key_type":"sk"}"#.to_owned(),
            r#"{"synced_at":null}"#.to_owned(),
            r#"{"synced_at":"t","flags":null}"#.to_owned(),
            r#"{"synced_at":"t","flags":{"f":{"is_active":"yes","source":"s"}}}"#.to_owned(),
            r#"{"synced_at":"t","configs":{"c":{"source":"s"}}}"#.to_owned(),
            r#"{"synced_at":"t","configs":{"c":{"value":1}}}"#.to_owned(),
            r#"{"synced_at":"t","synced_at":"t"}"#.to_owned(),
            r#"{"synced_at":"t","flags":{"f":{"is_active":true,"source":"s"},"f":{"is_active":false,"source":"s"}}}"#
                .to_owned(),
            entry(&format!(r#""value":"{CANARY}","version":-1,"source":"s""#)),
            entry(&format!(r#""value":"{CANARY}","version":"{CANARY}","source":"s""#)),
            entry(&format!(r#""value":["{CANARY}"],"version":1,"source":"s""#)),
            entry(&format!(r#""value":"{CANARY}\ud800","version":1,"source":"s""#)),
            entry(&format!(r#""value":"{CANARY}","version":4294967296,"source":"s""#)),
            with_secrets(&format!(r#""k":"{CANARY}""#)),
            format!(r#"{{"synced_at":"t","configs":{{"c":{{"value":{}"#, "[".repeat(100_000)),
        ] {
            let error = snapshot(bad.as_bytes()).err().unwrap_or_else(|| panic!("read: {bad}"));
            let shown = format!("{error} {error:?} {}", crate::error::chain(&error));
            assert!(matches!(error, NexusError::Json(_)) && !shown.contains(CANARY), "{shown}");
        }
    }

    proptest! {
        #[test]
        fn secrets_are_read_as_the_json_library_reads_them(value in "(\\PC|[\"\\\\/\u{0}-\u{1f}\u{10000}-\u{10ffff}]){0,20}", ascii: bool) {
            let mut literal = serde_json::to_string(&value).unwrap();
            if ascii {
                // The other spelling of everything beyond ASCII: escapes, in pairs where one is too short.
                literal = literal
                    .chars()
                    .map(|c| match c {
                        ' '..='~' => c.to_string(),
                        _ => c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04X}")).collect(),
                    })
                    .collect();
            }
            let json = with_secrets(&format!(r#""k":{{"value":{literal},"version":1,"source":"s"}}"#));

            let read = snapshot(json.as_bytes()).unwrap();

            prop_assert_eq!(read.secrets.get("k").unwrap().value.expose(), value);
        }

        #[test]
        fn no_bytes_make_the_reader_fail(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = snapshot(&bytes);
        }

        #[test]
        fn no_literal_makes_the_reader_of_strings_fail(text in "[\"\\\\u0-9a-fA-FD8é]{0,30}") {
            let _ = unescaped(&text);
        }
    }
}
