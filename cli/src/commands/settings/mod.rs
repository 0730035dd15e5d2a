//! `leverframe settings`: what a settings service holds.

mod change;
mod export;
mod prompt;
mod quoting;
mod reach;
mod show;
mod variables;
mod watch;

use leverframe::{
    NexusClient,
    settings::sync_types::{ConfigEntry, FlagEntry, SecretEntry, SyncSnapshot},
};
use serde_json::Value;

pub(super) use self::{
    reach::{KEY, reach},
    variables::{Content, Variable, variables},
};
use crate::{
    args::{SettingKind, SettingsCommand},
    failure::{Failure, exit},
    output::Out,
};

pub(super) fn run(command: &SettingsCommand, out: &mut Out) -> Result<u8, Failure> {
    match command {
        SettingsCommand::Get(args) => show::get(args, out),
        SettingsCommand::List(args) => show::list(args, out),
        SettingsCommand::Set(args) => change::set(args, out),
        SettingsCommand::Delete(args) => change::delete(args, out),
        SettingsCommand::Export(args) => export::run(args, out),
        SettingsCommand::Watch(args) => watch::run(args, out),
    }
}

impl SettingKind {
    pub(super) const ALL: [Self; 3] = [Self::Config, Self::Flag, Self::Secret];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Flag => "flag",
            Self::Secret => "secret",
        }
    }
}

/// One thing that a service holds.
#[derive(Clone, Copy)]
pub(super) enum Setting<'s> {
    Config(&'s ConfigEntry),
    Flag(&'s FlagEntry),
    Secret(&'s SecretEntry),
}

impl<'s> Setting<'s> {
    pub(super) fn kind(self) -> SettingKind {
        match self {
            Self::Config(_) => SettingKind::Config,
            Self::Flag(_) => SettingKind::Flag,
            Self::Secret(_) => SettingKind::Secret,
        }
    }

    /// Returns the setting of a kind and name.
    pub(super) fn find(snapshot: &'s SyncSnapshot, kind: SettingKind, name: &str) -> Option<Self> {
        match kind {
            SettingKind::Config => snapshot.configs.get(name).map(Self::Config),
            SettingKind::Flag => snapshot.flags.get(name).map(Self::Flag),
            SettingKind::Secret => snapshot.secrets.get(name).map(Self::Secret),
        }
    }

    /// Returns every setting of a kind, or of any, by kind and name.
    pub(super) fn all(
        snapshot: &'s SyncSnapshot,
        kind: Option<SettingKind>,
    ) -> impl Iterator<Item = (&'s str, Self)> {
        let configs = snapshot.configs.iter().map(|(name, config)| (name.as_str(), Self::Config(config)));
        let flags = snapshot.flags.iter().map(|(name, flag)| (name.as_str(), Self::Flag(flag)));
        let secrets = snapshot.secrets.iter().map(|(name, secret)| (name.as_str(), Self::Secret(secret)));
        configs
            .chain(flags)
            .chain(secrets)
            .filter(move |(_, setting)| kind.is_none_or(|kind| setting.kind() == kind))
    }

    pub(super) fn source(self) -> &'s str {
        match self {
            Self::Config(config) => &config.source,
            Self::Flag(flag) => &flag.source,
            Self::Secret(secret) => &secret.source,
        }
    }

    pub(super) fn version(self) -> Option<u32> {
        match self {
            Self::Secret(secret) => Some(secret.version),
            _ => None,
        }
    }

    /// Returns the type of the value.
    pub(super) fn form(self) -> &'static str {
        match self {
            Self::Config(config) => match config.value {
                Value::Null => "null",
                Value::Bool(_) => "bool",
                Value::Number(_) => "number",
                Value::String(_) => "string",
                _ => "json",
            },
            Self::Flag(_) => "bool",
            Self::Secret(secret) if secret.is_file() => "file",
            Self::Secret(_) => "text",
        }
    }
}

/// Writes a name that comes from elsewhere so that it is one word of one line.
fn shown(name: &str) -> String {
    name.escape_debug().to_string()
}

/// Finds out which kind of setting is meant: the one that is named, or else the only one of that name.
fn kind_of(
    snapshot: &SyncSnapshot,
    name: &str,
    named: Option<SettingKind>,
) -> Result<Option<SettingKind>, Failure> {
    if named.is_some() {
        return Ok(named);
    }
    let found: Vec<SettingKind> =
        SettingKind::ALL.into_iter().filter(|kind| Setting::find(snapshot, *kind, name).is_some()).collect();
    match found[..] {
        [] => Ok(None),
        [kind] => Ok(Some(kind)),
        _ => {
            let words: Vec<&str> = found.iter().map(|kind| kind.as_str()).collect();
            Err(Failure::usage(format!("`{}` is a {}", shown(name), words.join(" and a ")))
                .with_hint("say which one with `--kind`"))
        }
    }
}

/// Says that there is none of that name, or why nobody can tell.
fn missing(client: &NexusClient, name: &str, kind: Option<SettingKind>) -> Failure {
    if kind == Some(SettingKind::Secret)
        && let Err(error) = client.get_secret(name)
    {
        match error {
            leverframe::NexusError::SecretNotFound(_) => {}
            error => return error.into(),
        }
    }
    let what = kind.map_or("setting", SettingKind::as_str);
    let failure = Failure::new(exit::BAD, format!("there is no {what} `{}`", shown(name)));
    match client.key_type() {
        "pk" => failure
            .with_hint("a public key sees configs and flags only; `leverframe settings list` shows them"),
        _ => failure.with_hint("`leverframe settings list` shows what there is"),
    }
}
