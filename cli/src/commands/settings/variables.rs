//! Settings as variables of an environment.

use std::collections::BTreeMap;

use leverframe::{
    Secret,
    settings::sync_types::{SecretEntry, SyncSnapshot},
};
use serde_json::Value;

use super::{Setting, shown};
use crate::{
    args::{NamesArgs, SettingKind},
    failure::{Failure, exit},
};

/// A setting under the name of a variable.
#[derive(Clone, Debug)]
pub(in crate::commands) struct Variable {
    pub(in crate::commands) name: String,
    pub(in crate::commands) kind: SettingKind,
    pub(in crate::commands) key: String,
    pub(in crate::commands) content: Content,
}

/// What a variable is to hold.
#[derive(Clone, Debug)]
pub(in crate::commands) enum Content {
    Text(Secret),
    File(SecretEntry),
}

impl Variable {
    fn described(&self) -> String {
        format!("the {} `{}`", self.kind.as_str(), shown(&self.key))
    }

    /// Returns true if a program would not see a difference.
    pub(in crate::commands) fn is_same(&self, other: &Self) -> bool {
        let content = match (&self.content, &other.content) {
            (Content::Text(a), Content::Text(b)) => a.same_as(b),
            (Content::File(a), Content::File(b)) => a.value.same_as(&b.value),
            _ => false,
        };
        content && self.name == other.name && self.key == other.key
    }
}

/// Gives every chosen setting a name, and refuses what cannot be told apart or cannot be had.
pub(in crate::commands) fn variables(
    snapshot: &SyncSnapshot,
    kind: Option<SettingKind>,
    names: &NamesArgs,
) -> Result<Vec<Variable>, Failure> {
    let mut by_name: BTreeMap<String, Variable> = BTreeMap::new();
    for (key, setting) in Setting::all(snapshot, kind) {
        if !names.only.is_empty() && !names.only.iter().any(|only| only == key) {
            continue;
        }
        let Some(content) = content(setting) else { continue };
        let name = name(key, setting.kind(), names)?;
        let variable = Variable { name: name.clone(), kind: setting.kind(), key: key.to_owned(), content };
        if let Content::Text(text) = &variable.content
            && text.expose().contains('\0')
        {
            return Err(Failure::new(
                exit::BAD,
                format!("{} holds a NUL character, which no variable can", variable.described()),
            )
            .with_hint("store it as a secret that is a file"));
        }
        if let Some(other) = by_name.get(&name) {
            return Err(Failure::new(
                exit::BAD,
                format!(
                    "{} and {} would both be the variable {name}",
                    other.described(),
                    variable.described()
                ),
            )
            .with_hint(format!(
                "give one another name with `--rename {}=NAME`, or leave one out with `--only`",
                shown(key)
            )));
        }
        by_name.insert(name, variable);
    }
    let wanted = names.only.iter().chain(names.rename.iter().map(|(key, _)| key));
    for key in wanted {
        if !by_name.values().any(|variable| variable.key == *key) {
            return Err(Failure::new(exit::BAD, format!("there is no setting `{}`", shown(key)))
                .with_hint("`leverframe settings list` shows what there is"));
        }
    }
    Ok(by_name.into_values().collect())
}

/// Returns what a setting is as a variable; `None` where it is nothing.
fn content(setting: Setting<'_>) -> Option<Content> {
    Some(match setting {
        Setting::Config(config) => Content::Text(Secret::new(match &config.value {
            Value::Null => return None,
            Value::String(text) => text.clone(),
            value => value.to_string(),
        })),
        Setting::Flag(flag) => Content::Text(Secret::new(flag.is_active.to_string())),
        Setting::Secret(secret) if secret.is_file() => Content::File(secret.clone()),
        Setting::Secret(secret) => Content::Text(secret.value.clone()),
    })
}

/// Returns the variable's name: `db.url` is DB_URL.
fn name(key: &str, kind: SettingKind, names: &NamesArgs) -> Result<String, Failure> {
    if let Some((_, name)) = names.rename.iter().find(|(renamed, _)| renamed == key) {
        return Ok(name.clone());
    }
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    let prefix = names.env_prefix.as_deref().unwrap_or_default();
    let name = format!("{prefix}{}", key.chars().map(plain).collect::<String>());
    if name.bytes().next().is_none_or(|first| first.is_ascii_digit()) {
        return Err(Failure::new(
            exit::BAD,
            format!("the {} `{}` makes no name of a variable", kind.as_str(), shown(key)),
        )
        .with_hint("give it one with `--rename`, or all of them a beginning with `--env-prefix`"));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use leverframe::settings::sync_types::SyncResponse;

    use super::*;

    fn snapshot(json: &str) -> SyncSnapshot {
        SyncResponse::from_json(format!(r#"{{"synced_at":"t",{json}}}"#).as_bytes()).unwrap().snapshot
    }

    fn texts(snapshot: &SyncSnapshot, names: &NamesArgs) -> Vec<(String, String)> {
        let found = variables(snapshot, None, names).unwrap();
        let text = |content: &Content| match content {
            Content::Text(text) => text.expose().to_owned(),
            Content::File(_) => "a file".to_owned(),
        };
        found.iter().map(|variable| (variable.name.clone(), text(&variable.content))).collect()
    }

    const SERVICE: &str = r#""configs":{
            "db.url":{"value":"postgres://h","source":"service"},
            "db.pool-size":{"value":20,"source":"service"},
            "nothing":{"value":null,"source":"service"},
            "list":{"value":[1,{"a":"b"}],"source":"service"}},
        "flags":{"new-checkout":{"is_active":true,"source":"service"}},
        "secrets":{"TOKEN":{"value":"s3cret","version":1,"source":"service"},
            "cert":{"value":"AA==","version":1,"type":"file","encoding":"base64","source":"service"}}"#;

    #[test]
    fn every_kind_of_setting_has_a_name_and_a_text() {
        let found = texts(&snapshot(SERVICE), &NamesArgs::default());

        let expected = [
            ("CERT", "a file"),
            ("DB_POOL_SIZE", "20"),
            ("DB_URL", "postgres://h"),
            ("LIST", r#"[1,{"a":"b"}]"#),
            ("NEW_CHECKOUT", "true"),
            ("TOKEN", "s3cret"),
        ];
        assert_eq!(found, expected.map(|(name, text)| (name.to_owned(), text.to_owned())));
    }

    #[test]
    fn names_are_chosen_prefixed_and_replaced() {
        let names = NamesArgs {
            env_prefix: Some("APP_".to_owned()),
            only: vec!["db.url".to_owned(), "TOKEN".to_owned()],
            rename: vec![("db.url".to_owned(), "DSN".to_owned())],
        };

        let found = texts(&snapshot(SERVICE), &names);

        let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["APP_TOKEN", "DSN"]);
    }

    #[test]
    fn what_cannot_be_a_variable_is_refused_by_name_and_unseen() {
        let refused = |json: &str, names: &NamesArgs| {
            let failure = variables(&snapshot(json), None, names).unwrap_err();
            let text = format!("{} {}", failure.message(), failure.hint().unwrap_or_default());
            assert!(failure.code() == exit::BAD && !text.contains("canary"), "{text}");
            text
        };
        let only = |key: &str| NamesArgs { only: vec![key.to_owned()], ..NamesArgs::default() };

        let collision = refused(
            r#""configs":{"db.url":{"value":"canary","source":"s"}},
               "secrets":{"DB_URL":{"value":"canary","version":1,"source":"s"}}"#,
            &NamesArgs::default(),
        );
        let nul = refused(r#""configs":{"a":{"value":"canary\u0000","source":"s"}}"#, &NamesArgs::default());
        let digit = refused(r#""configs":{"1a":{"value":"canary","source":"s"}}"#, &NamesArgs::default());
        let gone = refused(SERVICE, &only("nobody"));

        assert!(
            collision.contains("config `db.url`") && collision.contains("secret `DB_URL`"),
            "{collision}"
        );
        assert!(nul.contains("config `a` holds a NUL"), "{nul}");
        assert!(digit.contains("`1a` makes no name"), "{digit}");
        assert!(gone.contains("no setting `nobody`"), "{gone}");
    }
}
