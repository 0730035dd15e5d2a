//! References inside configs: `{{secret:K}}`, `{{config:K}}`, `{{flag:K}}` within texts, at any depth of the JSON.
//!
//! They are resolved when settings are handed out: what a config refers to may change without it. What they stand for is
//! put in as text: that of a text as it is, anything else as JSON.

use serde_json::Value;

use super::{
    model::{EntryKind, LONGEST_KEY},
    parts::Parts,
    wiped::Wiped,
};
use crate::checked::Bad;

/// Configs that refer to configs that refer to configs.
const DEEPEST: usize = 16;
/// Bytes that references may come to, all of one answer.
const MOST_BYTES: usize = 8 * 1024 * 1024;
/// Bytes that each reference counts for besides: those that stand for nothing take time as well.
const EACH: usize = 16;

/// Returns true if there may be a reference in a config's JSON, where braces are never escaped.
pub(super) fn may_refer(json: &str) -> bool {
    json.contains("{{")
}

/// A part of a text.
#[derive(Debug, PartialEq, Eq)]
enum Piece<'t> {
    Plain(&'t str),
    Reference(EntryKind, &'t str),
}

/// Takes a text apart.
fn pieces(mut rest: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut next = None;
    std::iter::from_fn(move || {
        if let Some(piece) = next.take() {
            return Some(piece);
        }
        let mut from = 0;
        while let Some(at) = rest.get(from..)?.find("{{").map(|at| from + at) {
            if let Some((kind, key, end)) = reference(&rest[at..]) {
                let before = &rest[..at];
                rest = &rest[at + end..];
                let reference = Piece::Reference(kind, key);
                if before.is_empty() {
                    return Some(reference);
                }
                next = Some(reference);
                return Some(Piece::Plain(before));
            }
            // One brace on: of three the last two may begin a reference.
            from = at + 1;
        }
        let last = std::mem::take(&mut rest);
        (!last.is_empty()).then_some(Piece::Plain(last))
    })
}

/// Reads a reference that a text begins with; returns where it ends as well.
fn reference(text: &str) -> Option<(EntryKind, &str, usize)> {
    let kinds = [EntryKind::Config, EntryKind::Flag, EntryKind::Secret];
    let inner = text.strip_prefix("{{")?;
    let (kind, key) = kinds
        .into_iter()
        .find_map(|kind| Some((kind, inner.strip_prefix(kind.as_str())?.strip_prefix(':')?)))?;
    // Further on there is no end of one.
    let end = key.bytes().take(LONGEST_KEY + 2).position(|byte| byte == b'}')?;
    let key = key.get(..end)?;
    let whole = 2 + kind.as_str().len() + 1 + end + 2;
    text.get(..whole)?.ends_with("}}").then_some((kind, key, whole))
}

/// Why a config cannot be handed out.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unresolved {
    /// It refers to itself, by way of this one.
    Cycle(String),
    /// Configs refer to configs too deeply.
    Deep,
    /// All together come to too much.
    Long,
    /// There is no such thing.
    Unknown(EntryKind, String),
    /// It refers to a secret, and whoever asks has none.
    Withheld,
    /// It refers to a secret that cannot be opened.
    Unopened(String),
    /// It is no JSON, which nobody could have written.
    Unreadable,
}

impl Unresolved {
    /// Says it to whoever writes.
    pub(super) fn refusal(&self, key: &str) -> Bad {
        Bad(match self {
            Self::Cycle(other) => format!("config `{key}` would refer to itself, by way of `{other}`"),
            Self::Deep => format!(
                "config `{key}` would refer to configs that refer to others more than {DEEPEST} levels deep"
            ),
            Self::Long => format!("what config `{key}` refers to would come to too much"),
            Self::Unknown(kind, target) => {
                let target: String = target.chars().filter(|c| !c.is_control()).take(64).collect();
                format!("config `{key}` would refer to {} `{target}`, which does not exist", kind.as_str())
            }
            Self::Withheld => {
                format!("config `{key}` would refer to a secret, and a frontend service has none")
            }
            Self::Unopened(secret) => {
                format!("config `{key}` refers to secret `{secret}`, which cannot be opened")
            }
            Self::Unreadable => format!("config `{key}` is no JSON"),
        })
    }
}

/// What becomes of references to secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Secrets {
    /// They are put in: whoever asks may have them.
    Given,
    /// They have to be there: what cannot be opened now was right when it was written, and may be mended.
    Named,
    /// Whoever asks has none.
    Withheld,
}

/// Puts in what references stand for.
pub(super) struct Resolver<'p> {
    parts: &'p Parts,
    /// Which flags are on.
    is_on: &'p dyn Fn(&str) -> Option<bool>,
    secrets: Secrets,
    left: usize,
    /// The configs on the way to where it is.
    way: Vec<&'p str>,
}

impl<'p> Resolver<'p> {
    pub(super) fn new(parts: &'p Parts, is_on: &'p dyn Fn(&str) -> Option<bool>, secrets: Secrets) -> Self {
        Self { parts, is_on, secrets, left: MOST_BYTES, way: Vec::new() }
    }

    /// Writes a config's JSON, with everything put in.
    pub(super) fn config(&mut self, key: &'p str, json: &'p str) -> Result<Wiped, Unresolved> {
        self.way.clear();
        self.way.push(key);
        let value: Value = serde_json::from_str(json).map_err(|_| Unresolved::Unreadable)?;
        let mut out = Wiped::with_capacity(json.len() + 64);
        self.value(&value, &mut out)?;
        Ok(out)
    }

    fn value(&mut self, value: &Value, out: &mut Wiped) -> Result<(), Unresolved> {
        match value {
            Value::String(text) => {
                out.push(b"\"");
                let mut inner = Wiped::default();
                self.text(text, &mut inner)?;
                out.escaped(inner.text());
                out.push(b"\"");
            }
            Value::Array(items) => {
                out.push(b"[");
                for (at, item) in items.iter().enumerate() {
                    out.push(if at == 0 { b"" } else { b"," });
                    self.value(item, out)?;
                }
                out.push(b"]");
            }
            Value::Object(fields) => {
                out.push(b"{");
                for (at, (name, field)) in fields.iter().enumerate() {
                    out.push(if at == 0 { b"" } else { b"," });
                    out.string(name);
                    out.push(b":");
                    self.value(field, out)?;
                }
                out.push(b"}");
            }
            scalar => serde_json::to_writer(out, scalar).map_err(|_| Unresolved::Unreadable)?,
        }
        Ok(())
    }

    /// Writes a text, unescaped.
    fn text(&mut self, text: &str, out: &mut Wiped) -> Result<(), Unresolved> {
        for piece in pieces(text) {
            let (kind, key) = match piece {
                Piece::Plain(plain) => {
                    out.push(plain.as_bytes());
                    continue;
                }
                Piece::Reference(kind, key) => (kind, key),
            };
            let before = out.len();
            self.spend(EACH)?;
            let unknown = || Unresolved::Unknown(kind, key.to_owned());
            match kind {
                EntryKind::Secret if self.secrets == Secrets::Withheld => return Err(Unresolved::Withheld),
                EntryKind::Secret => match &self.parts.secrets.get(key).ok_or_else(unknown)?.text {
                    Ok(text) => out.push(text.expose().as_bytes()),
                    Err(_) if self.secrets == Secrets::Named => {}
                    Err(_) => return Err(Unresolved::Unopened(key.to_owned())),
                },
                EntryKind::Flag => {
                    let is_on = (self.is_on)(key).ok_or_else(unknown)?;
                    out.push(if is_on { b"true" } else { b"false" });
                }
                EntryKind::Config => {
                    let (key, config) = self.parts.configs.get_key_value(key).ok_or_else(unknown)?;
                    self.referred(key, &config.json, out)?;
                }
            }
            self.spend(out.len() - before)?;
        }
        Ok(())
    }

    fn referred(&mut self, key: &'p str, json: &'p str, out: &mut Wiped) -> Result<(), Unresolved> {
        if self.way.contains(&key) {
            return Err(Unresolved::Cycle(key.to_owned()));
        }
        if self.way.len() >= DEEPEST {
            return Err(Unresolved::Deep);
        }
        self.way.push(key);
        match serde_json::from_str(json).map_err(|_| Unresolved::Unreadable)? {
            Value::String(text) => self.text(&text, out)?,
            value => self.value(&value, out)?,
        }
        self.way.pop();
        Ok(())
    }

    fn spend(&mut self, bytes: usize) -> Result<(), Unresolved> {
        self.left = self.left.checked_sub(bytes).ok_or(Unresolved::Long)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use leverframe::Secret;
    use proptest::prelude::*;
    use serde_json::json;

    use super::{super::unopened::Unopened, *};

    fn parts(configs: &[(&str, Value)]) -> Parts {
        let mut parts = Parts::for_tests();
        for (key, value) in configs {
            parts.put_config(key, 1, &value.to_string());
        }
        parts.put_secret("PASSWORD", 1, Secret::new("p\"w"));
        parts
    }

    fn resolved(parts: &Parts, key: &str, secrets: Secrets) -> Result<Value, Unresolved> {
        let is_on = |key: &str| (key == "on").then_some(true);
        let (key, config) = parts.configs.get_key_value(key).unwrap();
        let written = Resolver::new(parts, &is_on, secrets).config(key, &config.json)?;
        Ok(serde_json::from_str(written.text()).unwrap())
    }

    #[test]
    fn references_are_put_in_at_any_depth_and_other_braces_stay() {
        let parts = parts(&[
            ("host", json!("db")),
            ("port", json!(5432)),
            ("url", json!("pg://me:{{secret:PASSWORD}}@{{config:host}}:{{config:port}}/{{{config:host}}}")),
            ("deep", json!({"a": [{"b{{config:host}}": "{{config:url}}"}, true, null, 1.5]})),
            ("plain", json!("{{name}} {{ config:host }} {{config:host} {{config:")),
            ("flag", json!("{{flag:on}}")),
            ("whole", json!("{{config:deep}}")),
        ]);
        let url = "pg://me:p\"w@db:5432/{db}";

        assert_eq!(resolved(&parts, "url", Secrets::Given), Ok(json!(url)));
        let deep = json!({"a": [{"b{{config:host}}": url}, true, null, 1.5]});
        assert_eq!(resolved(&parts, "deep", Secrets::Given), Ok(deep.clone()));
        assert_eq!(
            resolved(&parts, "plain", Secrets::Given),
            Ok(json!("{{name}} {{ config:host }} {{config:host} {{config:"))
        );
        assert_eq!(resolved(&parts, "flag", Secrets::Given), Ok(json!("true")));
        assert_eq!(resolved(&parts, "whole", Secrets::Given), Ok(json!(deep.to_string())));
    }

    #[test]
    fn what_leads_to_a_secret_is_withheld_from_whoever_has_none() {
        let parts = parts(&[
            ("a", json!("{{config:b}}")),
            ("b", json!(["{{secret:PASSWORD}}"])),
            ("c", json!("{{flag:on}}")),
        ]);

        assert_eq!(resolved(&parts, "a", Secrets::Withheld), Err(Unresolved::Withheld));
        assert_eq!(resolved(&parts, "b", Secrets::Withheld), Err(Unresolved::Withheld));
        assert!(resolved(&parts, "c", Secrets::Withheld).is_ok());
    }

    #[test]
    fn a_secret_that_cannot_be_opened_is_there_when_it_is_referred_to_and_missing_when_it_is_handed_out() {
        let mut parts = parts(&[
            ("a", json!("{{config:b}}")),
            ("b", json!("x{{secret:LOST}}")),
            ("c", json!("{{secret:LOST}}{{config:c}}")),
        ]);
        parts.put_unopened("LOST", 1, Unopened::Damaged);
        let lost = || Err(Unresolved::Unopened("LOST".into()));

        assert_eq!(
            (resolved(&parts, "a", Secrets::Given), resolved(&parts, "b", Secrets::Given)),
            (lost(), lost())
        );
        assert_eq!(resolved(&parts, "a", Secrets::Withheld), Err(Unresolved::Withheld));
        assert_eq!(resolved(&parts, "a", Secrets::Named), Ok(json!("x")));
        assert_eq!(resolved(&parts, "c", Secrets::Named), Err(Unresolved::Cycle("c".into())));
    }

    #[test]
    fn cycles_unknown_things_and_bombs_are_found() {
        let many = |inner: &str| json!(inner.repeat(1_000));
        let mut configs = vec![
            ("self".to_owned(), json!("{{config:self}}")),
            ("a".to_owned(), json!("{{config:b}}")),
            ("b".to_owned(), json!(["{{config:a}}"])),
            ("none".to_owned(), json!("{{flag:none}}")),
            ("empty".to_owned(), json!("")),
            ("d0".to_owned(), json!("x")),
        ];
        for n in 0..3 {
            let before = if n == 0 { "empty".to_owned() } else { format!("bomb{}", n - 1) };
            configs.push((format!("bomb{n}"), many(&format!("{{{{config:{before}}}}}"))));
        }
        for n in 1..=DEEPEST {
            configs.push((format!("d{n}"), json!(format!("{{{{config:d{}}}}}", n - 1))));
        }
        let configs: Vec<(&str, Value)> = configs.iter().map(|(k, v)| (k.as_str(), v.clone())).collect();
        let parts = parts(&configs);

        assert_eq!(resolved(&parts, "self", Secrets::Given), Err(Unresolved::Cycle("self".into())));
        assert_eq!(resolved(&parts, "a", Secrets::Given), Err(Unresolved::Cycle("a".into())));
        assert_eq!(
            resolved(&parts, "none", Secrets::Given),
            Err(Unresolved::Unknown(EntryKind::Flag, "none".into()))
        );
        assert_eq!(resolved(&parts, "bomb2", Secrets::Given), Err(Unresolved::Long));
        assert_eq!(resolved(&parts, &format!("d{}", DEEPEST - 1), Secrets::Given), Ok(json!("x")));
        assert_eq!(resolved(&parts, &format!("d{DEEPEST}"), Secrets::Given), Err(Unresolved::Deep));
    }

    proptest! {
        #[test]
        fn taking_a_text_apart_loses_nothing(text in "(\\{\\{|\\}\\}|[{}]|config:|flag:|secret:|a|\\PC){0,20}") {
            let back: String = pieces(&text)
                .map(|piece| match piece {
                    Piece::Plain(plain) => plain.to_owned(),
                    Piece::Reference(kind, key) => format!("{{{{{}:{key}}}}}", kind.as_str()),
                })
                .collect();

            prop_assert_eq!(back, text);
        }
    }
}
