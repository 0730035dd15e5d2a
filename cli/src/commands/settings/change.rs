//! `leverframe settings set|delete`

use std::{fs::File, io::Read};

use leverframe::{
    NexusError, Secret,
    settings::{FlagWrite, WriteOptions, sync_types::SyncSnapshot},
};
use serde_json::{Value, json};

use super::{Setting, kind_of, missing, prompt, reach, shown};
use crate::{
    args::{DeleteArgs, Format, FormatArgs, SetArgs, SettingKind, ValueForm},
    failure::{Failure, exit},
    output::{BOLD, Envelope, Out, styled},
};

/// A service takes no more.
const LARGEST: u64 = 1024 * 1024;

pub(super) fn set(args: &SetArgs, out: &mut Out) -> Result<u8, Failure> {
    if args.kind == Some(SettingKind::Secret) {
        refuse_secret(args)?;
    }
    let (source, builder) = reach(&args.at)?;
    let client = builder.build()?;
    let snapshot = client.snapshot();
    let kind = kind_to_set(&snapshot, args)?;
    check(args, kind)?;
    let mut options = WriteOptions::new();
    if let Some(version) = args.if_version {
        options = options.if_version(version);
    }
    let name = args.name.as_str();
    match kind {
        SettingKind::Config => client.set_config(name, &config(args, &snapshot)?, &options),
        SettingKind::Flag => client.set_flag(name, &flag(args)?, &options),
        SettingKind::Secret => match args.form {
            Some(ValueForm::File) => client.set_secret_file(name, &content(args)?, &options),
            _ => client.set_secret_with(name, &secret(args)?, &options),
        },
    }
    .map_err(|error| refused(error, name))?;
    drop(snapshot);
    let snapshot = client.snapshot();
    let version = Setting::find(&snapshot, kind, name).and_then(Setting::version);
    let inputs =
        json!({ "key": name, "kind": args.kind.map(SettingKind::as_str), "if_version": args.if_version });
    let result = json!({ "key": name, "kind": kind.as_str(), "version": version });
    let of = version.map(|version| format!(", version {version}")).unwrap_or_default();
    let done = Done {
        query: "settings-set",
        kind,
        name,
        words: format!("is stored{of}"),
        source: &source,
        value: args.value.as_deref(),
    };
    done.tell(inputs, result, &args.format, out)
}

pub(super) fn delete(args: &DeleteArgs, out: &mut Out) -> Result<u8, Failure> {
    let (source, builder) = reach(&args.at)?;
    let client = builder.build()?;
    let name = args.name.as_str();
    let kind = match args.version {
        Some(_) if args.kind.is_none_or(|kind| kind == SettingKind::Secret) => SettingKind::Secret,
        Some(_) => {
            return Err(Failure::usage("only secrets have versions").with_hint("leave `--version` out"));
        }
        None => {
            let kind = kind_of(&client.snapshot(), name, args.kind)?;
            kind.ok_or_else(|| missing(&client, name, None))?
        }
    };
    match (kind, args.version) {
        (SettingKind::Config, _) => client.delete_config(name),
        (SettingKind::Flag, _) => client.delete_flag(name),
        (SettingKind::Secret, None) => client.delete_secret(name),
        (SettingKind::Secret, Some(version)) => client.delete_secret_version(name, version),
    }
    .map_err(|error| match error {
        NexusError::NotFound => missing(&client, name, Some(kind)),
        error => error.into(),
    })?;
    let inputs = json!({ "key": name, "kind": args.kind.map(SettingKind::as_str), "version": args.version });
    let result = json!({ "key": name, "kind": kind.as_str(), "version": args.version });
    let words = match args.version {
        Some(version) => format!("has no version {version} any more"),
        None => "is deleted".to_owned(),
    };
    let done = Done { query: "settings-delete", kind, name, words, source: &source, value: None };
    done.tell(inputs, result, &args.format, out)
}

/// A write that is made.
struct Done<'a> {
    query: &'static str,
    kind: SettingKind,
    name: &'a str,
    words: String,
    source: &'a str,
    /// As it stands on the command line.
    value: Option<&'a str>,
}

impl Done<'_> {
    fn tell(self, inputs: Value, result: Value, format: &FormatArgs, out: &mut Out) -> Result<u8, Failure> {
        match format.format {
            Format::Human => {
                let name = styled(BOLD, shown(self.name));
                out.line(format!("{} {name} {}", self.kind.as_str(), self.words))?;
            }
            Format::Json => {
                Envelope::new(self.query, inputs, self.source).hiding(self.value).write(out, result)?;
            }
        }
        Ok(exit::OK)
    }
}

/// Says what is to be done about a write that was refused.
fn refused(error: NexusError, name: &str) -> Failure {
    let hint = match &error {
        NexusError::Conflict => {
            Some("look at what is stored now with `leverframe settings list`, and set it anew".to_owned())
        }
        NexusError::BadRequest => Some(format!(
            "is `{}` a name? a letter, then letters, digits and `_.:-`, and no sign at the end",
            shown(name)
        )),
        _ => None,
    };
    let failure = Failure::from(error);
    match hint {
        Some(hint) => failure.with_hint(hint),
        None => failure,
    }
}

/// Refuses a secret on the command line before anything else is done.
fn refuse_secret(args: &SetArgs) -> Result<(), Failure> {
    if args.value.is_none() {
        return Ok(());
    }
    Err(Failure::usage("a secret is not taken from the command line, where whoever lists processes sees it")
        .with_hint("leave the value out to be asked for it, or give it with `--stdin` or `--file`"))
}

/// Settles what is stored: what is asked for, what is there, or else a config.
fn kind_to_set(snapshot: &SyncSnapshot, args: &SetArgs) -> Result<SettingKind, Failure> {
    match kind_of(snapshot, &args.name, args.kind)? {
        Some(SettingKind::Secret) => refuse_secret(args).map(|()| SettingKind::Secret),
        Some(kind) => Ok(kind),
        None if args.value.is_some() => Ok(SettingKind::Config),
        // A secret that becomes a config by an oversight is one no longer.
        None => Err(Failure::usage(format!("there is no setting `{}` yet", shown(&args.name)))
            .with_hint("say with `--kind` what it is to be")),
    }
}

/// Refuses arguments that mean nothing to a kind.
fn check(args: &SetArgs, kind: SettingKind) -> Result<(), Failure> {
    let timed = args.starts_at.is_some() || args.ends_at.is_some() || args.rollout_percent.is_some();
    if timed && kind != SettingKind::Flag {
        return Err(Failure::usage(format!("a {} has neither times nor a rollout", kind.as_str()))
            .with_hint("`--starts-at`, `--ends-at` and `--rollout-percent` are for flags"));
    }
    let fits = match args.form {
        None => true,
        Some(ValueForm::File) => kind == SettingKind::Secret,
        Some(ValueForm::String) => kind != SettingKind::Flag,
        Some(ValueForm::Bool) => kind != SettingKind::Secret,
        Some(ValueForm::Json | ValueForm::Number) => kind == SettingKind::Config,
    };
    if fits {
        return Ok(());
    }
    Err(Failure::usage(format!("a {} is not of that type", kind.as_str())).with_hint(match kind {
        SettingKind::Config => "take json, string, number or bool; a file belongs into a secret",
        SettingKind::Flag => "a flag is `on` or `off`; leave `--type` out",
        SettingKind::Secret => "take string or file",
    }))
}

fn flag(args: &SetArgs) -> Result<FlagWrite, Failure> {
    let text = text(args)?;
    let is_active = match text.expose().trim() {
        "on" | "true" => true,
        "off" | "false" => false,
        _ => {
            return Err(Failure::usage("a flag is `on` or `off`").with_hint(
                "when it is on and for whom say `--starts-at`, `--ends-at` and `--rollout-percent`",
            ));
        }
    };
    let mut flag = FlagWrite::new(is_active);
    if let Some(time) = &args.starts_at {
        flag = flag.starts_at(time);
    }
    if let Some(time) = &args.ends_at {
        flag = flag.ends_at(time);
    }
    if let Some(percent) = args.rollout_percent {
        flag = flag.rollout_percent(percent);
    }
    Ok(flag)
}

/// Reads the value of a config as what it is said to be, or else as what it looks like.
fn config(args: &SetArgs, snapshot: &SyncSnapshot) -> Result<Value, Failure> {
    let text = text(args)?;
    let text = text.expose();
    let json = || serde_json::from_str::<Value>(text).ok();
    let refuse = |what: &str| {
        Failure::usage(format!("the value is no {what}"))
            .with_hint("`--type string` takes any text; in a shell, JSON goes between single quotes")
    };
    match args.form {
        Some(ValueForm::Json) => json().ok_or_else(|| refuse("JSON")),
        Some(ValueForm::Number) => json().filter(Value::is_number).ok_or_else(|| refuse("number")),
        Some(ValueForm::Bool) => json().filter(Value::is_boolean).ok_or_else(|| refuse("`true` or `false`")),
        Some(_) => Ok(json!(text)),
        None if snapshot.configs.get(&args.name).is_some_and(|config| config.value.is_string()) => {
            Ok(json!(text))
        }
        None => Ok(json().unwrap_or_else(|| json!(text))),
    }
}

fn secret(args: &SetArgs) -> Result<Secret, Failure> {
    if args.stdin || args.file.is_some() {
        return text(args);
    }
    let typed = prompt::ask(&format!("value of the secret `{}`", shown(&args.name)))?;
    typed.filter(|typed| !typed.expose().is_empty()).ok_or_else(|| {
        Failure::usage("no value is given")
            .with_hint("type it when asked, or give it with `--stdin` or `--file`")
    })
}

/// Returns the value as a text.
fn text(args: &SetArgs) -> Result<Secret, Failure> {
    if let Some(value) = &args.value {
        return Ok(Secret::new(value));
    }
    let text = String::from_utf8(content(args)?).map_err(|_| {
        Failure::usage("the value is no text")
            .with_hint("store it as a secret that is a file: `--kind secret --type file`")
    })?;
    let line = text.strip_suffix('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
    Ok(Secret::new(line.unwrap_or(&text)))
}

/// Returns every byte of what the value is taken from.
fn content(args: &SetArgs) -> Result<Vec<u8>, Failure> {
    let from: Box<dyn Read> = match &args.file {
        Some(path) => Box::new(File::open(path).map_err(|error| {
            Failure::new(exit::IO, format!("failed to read `{}`: {error}", path.display()))
                .with_hint("check the path, and who may read it")
        })?),
        None if args.stdin => Box::new(std::io::stdin().lock()),
        None => {
            return Err(Failure::usage("no value is given")
                .with_hint("write it behind the name, or give it with `--stdin` or `--file`"));
        }
    };
    let mut bytes = Vec::new();
    from.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        return Err(Failure::new(exit::BAD, format!("the value has more than {LARGEST} bytes")));
    }
    Ok(bytes)
}
