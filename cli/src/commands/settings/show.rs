//! `leverframe settings get|list`

use leverframe::{durable, encoding::base64, settings::sync_types::SyncSnapshot};
use serde_json::{Value, json};

use super::{Setting, kind_of, missing, reach, shown};
use crate::{
    args::{Format, GetArgs, ListArgs, SettingKind},
    failure::{Failure, exit},
    output::{Cell, DIM, Envelope, GREEN, Out, Table, numbers, styled, words},
};

/// What stands in the place of a value that is not to be seen.
pub(super) const MASK: &str = "***";
/// Characters of a value in a list.
const LONGEST: usize = 60;

pub(super) fn get(args: &GetArgs, out: &mut Out) -> Result<u8, Failure> {
    let (source, builder) = reach(&args.at)?;
    let client = builder.build()?;
    let snapshot = client.snapshot();
    let kind = kind_of(&snapshot, &args.name, args.kind)?;
    let setting = kind
        .and_then(|kind| Setting::find(&snapshot, kind, &args.name))
        .ok_or_else(|| missing(&client, &args.name, kind))?;
    let inputs = json!({ "key": args.name, "kind": args.kind.map(SettingKind::as_str), "reveal": args.reveal,
        "output": args.output });
    if let Some(path) = &args.output {
        durable::replace(path, &bytes(setting)?).map_err(|error| {
            Failure::new(exit::IO, format!("failed to write `{}`: {error}", path.display()))
        })?;
        return match args.format.format {
            Format::Human => {
                out.note(format!(
                    "{}: {}, readable by you only",
                    path.display(),
                    described(&args.name, setting)
                ));
                Ok(exit::OK)
            }
            Format::Json => {
                Envelope::new("settings-get", inputs, &source)
                    .write(out, entry(&args.name, setting, false)?)?;
                Ok(exit::OK)
            }
        };
    }
    match args.format.format {
        Format::Json => {
            Envelope::new("settings-get", inputs, &source)
                .write(out, entry(&args.name, setting, args.reveal)?)?;
        }
        Format::Human if !args.reveal && !matches!(setting, Setting::Flag(_)) => {
            out.line(MASK)?;
            out.note(styled(DIM, format!("{}; `--reveal` shows it", described(&args.name, setting))));
        }
        Format::Human => reveal(&bytes(setting)?, setting.form() == "file", out)?,
    }
    Ok(exit::OK)
}

/// Writes a value to standard output: for programs to the letter, for people so that it does nothing to their terminal.
fn reveal(bytes: &[u8], is_file: bool, out: &mut Out) -> Result<(), Failure> {
    if !out.is_terminal() {
        out.verbatim(bytes)?;
        // A file is what it is; of a text, the line ends.
        return if is_file { Ok(()) } else { out.verbatim(b"\n") };
    }
    let text = std::str::from_utf8(bytes).map_err(|_| {
        Failure::usage("the file is no text, which does not belong on a terminal")
            .with_hint("write it to a file with `-o`")
    })?;
    let harmless = |c: char| !c.is_control() || matches!(c, '\n' | '\t');
    let text: String = text.chars().map(|c| if harmless(c) { c } else { '\u{fffd}' }).collect();
    out.line(text.trim_end_matches('\n'))
}

pub(super) fn list(args: &ListArgs, out: &mut Out) -> Result<u8, Failure> {
    let (source, builder) = reach(&args.at)?;
    let client = builder.build()?;
    let snapshot = client.snapshot();
    match args.format.format {
        Format::Human => human(&snapshot, args, out)?,
        Format::Json => {
            let settings = Setting::all(&snapshot, args.kind)
                .map(|(name, setting)| entry(name, setting, args.reveal))
                .collect::<Result<Vec<Value>, Failure>>()?;
            let inputs = json!({ "kind": args.kind.map(SettingKind::as_str), "reveal": args.reveal });
            let result =
                json!({ "settings": settings, "service_kind": client.kind(), "key_type": client.key_type() });
            Envelope::new("settings-list", inputs, &source).write(out, result)?;
        }
    }
    Ok(exit::OK)
}

fn human(snapshot: &SyncSnapshot, args: &ListArgs, out: &mut Out) -> Result<(), Failure> {
    let columns =
        [words("kind"), words("key"), words("value"), words("type"), numbers("version"), words("source")];
    let mut table = Table::new(&columns);
    for (name, setting) in Setting::all(snapshot, args.kind) {
        let value = match setting {
            Setting::Flag(flag) => {
                Cell::new(if flag.is_active { "on" } else { "off" }).when(flag.is_active, GREEN)
            }
            _ if args.reveal => Cell::new(brief(setting)?),
            _ => Cell::new(MASK).when(true, DIM),
        };
        table.row(vec![
            Cell::new(setting.kind().as_str()),
            Cell::new(shown(name)),
            value,
            Cell::new(setting.form()),
            Cell::new(setting.version().map_or_else(|| "-".to_owned(), |version| version.to_string())),
            Cell::new(shown(setting.source())),
        ]);
    }
    if table.is_empty() {
        out.note("there are no settings");
        return Ok(());
    }
    table.lines().into_iter().try_for_each(|line| out.line(line))
}

/// Returns a value as one short line.
fn brief(setting: Setting<'_>) -> Result<String, Failure> {
    if setting.form() == "file" {
        return Ok(format!("{} bytes", bytes(setting)?.len()));
    }
    let bytes = bytes(setting)?;
    let text = String::from_utf8_lossy(&bytes);
    let mut line: String = text.chars().take(LONGEST).collect::<String>().escape_debug().to_string();
    if text.chars().count() > LONGEST {
        line.push('…');
    }
    // Quotes of JSON are harmless, and people read this.
    Ok(line.replace("\\\"", "\"").replace("\\'", "'"))
}

/// Returns a setting as an object; without its value where that is not to be seen.
fn entry(name: &str, setting: Setting<'_>, reveal: bool) -> Result<Value, Failure> {
    let seen = reveal || matches!(setting, Setting::Flag(_));
    let mut entry = json!({
        "key": name,
        "kind": setting.kind().as_str(),
        "type": setting.form(),
        "source": setting.source(),
        "version": setting.version(),
        "masked": !seen,
        "value": null,
    });
    if seen {
        (entry["value"], entry["encoding"]) = match setting {
            Setting::Config(config) => (config.value.clone(), Value::Null),
            Setting::Flag(flag) => (json!(flag.is_active), Value::Null),
            Setting::Secret(secret) if secret.is_file() => {
                (json!(base64(&secret.content()?)), json!("base64"))
            }
            Setting::Secret(secret) => (json!(secret.value.expose()), Value::Null),
        };
    }
    Ok(entry)
}

/// Returns the value as the bytes that a program is to have.
fn bytes(setting: Setting<'_>) -> Result<Vec<u8>, Failure> {
    Ok(match setting {
        Setting::Config(config) => match &config.value {
            Value::String(text) => text.clone().into_bytes(),
            value => value.to_string().into_bytes(),
        },
        Setting::Flag(flag) => flag.is_active.to_string().into_bytes(),
        Setting::Secret(secret) => secret.content()?.to_vec(),
    })
}

fn described(name: &str, setting: Setting<'_>) -> String {
    let version = setting.version().map(|version| format!(", version {version}")).unwrap_or_default();
    format!("{} `{}` ({}{version})", setting.kind().as_str(), shown(name), setting.form())
}
