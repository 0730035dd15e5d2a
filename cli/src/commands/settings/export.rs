//! `leverframe settings export`

use leverframe::{durable, encoding::base64, settings::sync_types::SyncSnapshot};
use serde_json::{Map, Value, json};

use super::{Content, Setting, Variable, quoting, reach, show::MASK, shown, variables};
use crate::{
    args::{ExportArgs, ExportForm, SettingKind},
    failure::{Failure, exit},
    output::{DIM, Out, styled},
};

pub(super) fn run(args: &ExportArgs, out: &mut Out) -> Result<u8, Failure> {
    let (_, builder) = reach(&args.at)?;
    let client = builder.build()?;
    let snapshot = client.snapshot();
    // As a check of names also where the names are not written.
    let chosen = variables(&snapshot, args.kind, &args.names)?;
    let text = match args.form {
        ExportForm::Json => {
            let tables = tables(&snapshot, &chosen, args)?;
            format!("{:#}\n", Value::Object(tables))
        }
        ExportForm::Toml => toml(tables(&snapshot, &chosen, args)?)?,
        form => lines(&chosen, form, args.reveal, out)?,
    };
    match &args.output {
        Some(path) => durable::replace(path, text.as_bytes()).map_err(|error| {
            Failure::new(exit::IO, format!("failed to write `{}`: {error}", path.display()))
        })?,
        None => out.verbatim(text.as_bytes())?,
    }
    if !args.reveal {
        out.note(styled(DIM, "values are masked; `--reveal` writes them"));
    }
    Ok(exit::OK)
}

/// Writes a line for each variable.
fn lines(chosen: &[Variable], form: ExportForm, reveal: bool, out: &mut Out) -> Result<String, Failure> {
    let mut text = String::new();
    for Variable { name, kind, key, content } in chosen {
        let value = match content {
            Content::Text(_) if !reveal && *kind != SettingKind::Flag => MASK,
            Content::Text(value) => value.expose(),
            Content::File(_) => {
                out.note(format!(
                    "left out: `{0}` is a file; `leverframe settings get {0} -o FILE` writes it",
                    shown(key)
                ));
                continue;
            }
        };
        text.push_str(&match form {
            ExportForm::Shell => format!("export {name}={}\n", quoting::shell(value)),
            ExportForm::Dotenv => format!("{name}={}\n", quoting::dotenv(value)),
            _ if value.contains(['\n', '\r']) => {
                return Err(Failure::new(
                    exit::BAD,
                    format!(
                        "the {} `{}` has several lines, which `--as env` cannot write",
                        kind.as_str(),
                        shown(key)
                    ),
                )
                .with_hint("take `--as dotenv`, `shell` or `json`, or leave it out with `--only`"));
            }
            _ => format!("{name}={value}\n"),
        });
    }
    Ok(text)
}

/// Puts the settings into a table for each kind, by their own names.
fn tables(
    snapshot: &SyncSnapshot,
    chosen: &[Variable],
    args: &ExportArgs,
) -> Result<Map<String, Value>, Failure> {
    let mut tables = Map::new();
    for kind in SettingKind::ALL.into_iter().filter(|kind| args.kind.is_none_or(|only| only == *kind)) {
        let mut table = Map::new();
        for (name, setting) in Setting::all(snapshot, Some(kind)) {
            let is_null = matches!(setting, Setting::Config(config) if config.value.is_null());
            let is_chosen = chosen.iter().any(|variable| variable.kind == kind && variable.key == name);
            if is_chosen || is_null && args.names.only.is_empty() {
                table.insert(name.to_owned(), value(setting, args.reveal)?);
            }
        }
        tables.insert(format!("{}s", kind.as_str()), Value::Object(table));
    }
    Ok(tables)
}

fn value(setting: Setting<'_>, reveal: bool) -> Result<Value, Failure> {
    Ok(match setting {
        Setting::Flag(flag) => json!(flag.is_active),
        _ if !reveal => json!(MASK),
        Setting::Config(config) => config.value.clone(),
        Setting::Secret(secret) if secret.is_file() => {
            json!({ "type": "file", "encoding": "base64", "value": base64(&secret.content()?) })
        }
        Setting::Secret(secret) => json!(secret.value.expose()),
    })
}

fn toml(tables: Map<String, Value>) -> Result<String, Failure> {
    let mut text = String::new();
    for (name, table) in &tables {
        let Value::Object(table) = table else { continue };
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&quoting::toml(name, table).map_err(|key| {
            Failure::new(exit::BAD, format!("`{}` is null or a larger number than TOML has", shown(&key)))
                .with_hint("take `--as json`, or leave it out with `--only`")
        })?);
    }
    Ok(text)
}
