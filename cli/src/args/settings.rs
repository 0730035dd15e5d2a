//! What `settings` takes.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use leverframe::settings::WifProvider;

use super::{FormatArgs, remote::Backend};

#[derive(Debug, Subcommand)]
pub(crate) enum SettingsCommand {
    /// Show one config, secret or flag, or write it to a file
    #[command(after_help = "Examples:
  leverframe settings get db.url --reveal
  leverframe settings get TLS_CERT -o /run/app/tls.pem     # readable by you only
  leverframe settings get new-checkout --kind flag

Values of configs and secrets are shown with --reveal only. Exit code 1: there is none of that name.")]
    Get(GetArgs),
    /// List configs, secrets and flags; values are masked
    #[command(after_help = "Examples:
  leverframe settings list
  leverframe settings list --kind config --reveal
  leverframe settings list --format json")]
    List(ListArgs),
    /// Store a config, a secret or a flag; who follows the service has it at once
    #[command(after_help = "Examples:
  leverframe settings set db.pool.size 20 --kind config
  leverframe settings set new-checkout on --kind flag --rollout-percent 12.5
  leverframe settings set DB_PASSWORD --kind secret               # asks for it, without showing it
  openssl rand -base64 24 | leverframe settings set DB_PASSWORD --kind secret --stdin --if-version 3
  leverframe settings set TLS_CERT --kind secret --type file --file tls.pem

A secret is not taken from the command line, where whoever lists processes sees it. What exists keeps its kind; a new VALUE is \
that of a config. One line break at the end of a text from a file or from standard input is left out; `--type file` takes every \
byte. Exit code 1: something else was stored since the version that --if-version names.")]
    Set(SetArgs),
    /// Delete a config, a secret with all its versions or one of them, or a flag
    #[command(
        after_help = "Examples:
  leverframe settings delete db.pool.size
  leverframe settings delete DB_PASSWORD --kind secret --version 3",
        disable_version_flag = true
    )]
    Delete(DeleteArgs),
    /// Write everything in a form that other programs read
    #[command(after_help = "Examples:
  leverframe settings export --reveal --as dotenv -o .env     # readable by you only
  eval \"$(leverframe settings export --reveal --as shell)\"
  leverframe settings export --kind config --as toml

Names of variables are made as `leverframe run` makes them: `db.url` is DB_URL.")]
    Export(ExportArgs),
    /// Print which settings change, as it happens
    #[command(after_help = "Examples:
  leverframe settings watch
  leverframe settings watch --changes 1 --format json")]
    Watch(SettingsWatchArgs),
}

/// Which settings service, and as whom.
#[derive(Debug, Args)]
pub(crate) struct ServiceArgs {
    /// The service's address, such as https://settings.example.com [env: LEVERFRAME_SETTINGS_ENDPOINT,
    /// WESTYX_SERVICE_ENDPOINT]
    #[arg(long, value_name = "URL")]
    pub(crate) server: Option<String>,
    /// The key [env: LEVERFRAME_SETTINGS_KEY]. Who lists processes sees it here: prefer a file or the environment
    #[arg(long, value_name = "KEY", conflicts_with = "key_file")]
    pub(crate) key: Option<String>,
    /// A file that holds the key and nothing else
    #[arg(long, value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
    /// Prove the workload's identity instead of showing a key: auto, kubernetes, aws, aws_iam, gcp, azure or developer
    #[arg(long, value_name = "PROVIDER", value_parser = provider, conflicts_with_all = ["key", "key_file"])]
    pub(crate) wif: Option<String>,
    /// How requests travel [default: what the environment says, else in-process]
    #[arg(long, value_enum, value_name = "BACKEND")]
    pub(crate) http_backend: Option<Backend>,
}

/// What a setting is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum SettingKind {
    /// A value of any type
    Config,
    /// On or off
    Flag,
    /// A text or a file that nobody is to see
    Secret,
}

#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// The name
    #[arg(value_name = "KEY")]
    pub(crate) name: String,
    /// What it is, where there are several of that name
    #[arg(long, value_enum)]
    pub(crate) kind: Option<SettingKind>,
    /// Show the value
    #[arg(long)]
    pub(crate) reveal: bool,
    /// Write the value to a file that only you may read, and nothing besides
    #[arg(short, long, value_name = "FILE", conflicts_with = "reveal")]
    pub(crate) output: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) at: ServiceArgs,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Only these
    #[arg(long, value_enum)]
    pub(crate) kind: Option<SettingKind>,
    /// Show the values
    #[arg(long)]
    pub(crate) reveal: bool,
    #[command(flatten)]
    pub(crate) at: ServiceArgs,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

#[derive(Debug, Args)]
pub(crate) struct SetArgs {
    /// The name
    #[arg(value_name = "KEY")]
    pub(crate) name: String,
    /// The value, but for a secret's; of a flag `on` or `off`
    #[arg(allow_negative_numbers = true, conflicts_with_all = ["file", "stdin"])]
    pub(crate) value: Option<String>,
    /// Take the value from a file
    #[arg(long, value_name = "FILE", conflicts_with = "stdin")]
    pub(crate) file: Option<PathBuf>,
    /// Take the value from standard input
    #[arg(long)]
    pub(crate) stdin: bool,
    /// What it is [default: what it is already]
    #[arg(long, value_enum)]
    pub(crate) kind: Option<SettingKind>,
    /// What the value is [default: JSON if it reads as JSON, and a text otherwise; what was a text stays one]
    #[arg(long = "type", value_enum, value_name = "TYPE")]
    pub(crate) form: Option<ValueForm>,
    /// Store it only while this version is the stored one; 0 while there is none
    #[arg(long, value_name = "N")]
    pub(crate) if_version: Option<u32>,
    /// Keep a flag off before a time, such as 2026-06-01T08:00:00Z
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) starts_at: Option<String>,
    /// Switch a flag off at a time
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) ends_at: Option<String>,
    /// Have a flag on for so many of a hundred users only, where it is asked for single users
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    pub(crate) rollout_percent: Option<f64>,
    #[command(flatten)]
    pub(crate) at: ServiceArgs,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

/// What a value is read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ValueForm {
    /// Any JSON
    Json,
    /// A text, to the letter
    String,
    /// A number
    Number,
    /// true or false
    Bool,
    /// Of a secret: a file, which is handed over as one, whatever bytes it has
    File,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// The name
    #[arg(value_name = "KEY")]
    pub(crate) name: String,
    /// What it is, where there are several of that name
    #[arg(long, value_enum)]
    pub(crate) kind: Option<SettingKind>,
    /// Only this version of a secret
    #[arg(long, value_name = "N")]
    pub(crate) version: Option<u32>,
    #[command(flatten)]
    pub(crate) at: ServiceArgs,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

/// Which settings become variables, and under which names.
#[derive(Debug, Default, Args)]
pub(crate) struct NamesArgs {
    /// What every name begins with, such as APP_
    #[arg(long, value_name = "PREFIX", value_parser = variable)]
    pub(crate) env_prefix: Option<String>,
    /// Only these settings; may be repeated
    #[arg(long, value_name = "KEY", num_args = 1.., value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// Another name for a setting's variable, as it is; may be repeated
    #[arg(long, value_name = "KEY=NAME", value_parser = rename)]
    pub(crate) rename: Vec<(String, String)>,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// The form
    #[arg(long = "as", value_enum, value_name = "FORM", default_value_t = ExportForm::Dotenv)]
    pub(crate) form: ExportForm,
    /// Only these
    #[arg(long, value_enum)]
    pub(crate) kind: Option<SettingKind>,
    /// Write the values; they are masked otherwise
    #[arg(long)]
    pub(crate) reveal: bool,
    /// Write to a file that only you may read
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) names: NamesArgs,
    #[command(flatten)]
    pub(crate) at: ServiceArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportForm {
    /// NAME=value to the letter, as `docker --env-file` reads it; no value may have several lines
    Env,
    /// NAME='value', as .env files are written
    Dotenv,
    /// export NAME='value', for a POSIX shell
    Shell,
    /// An object for each kind
    Json,
    /// A table for each kind
    Toml,
}

#[derive(Debug, Args)]
pub(crate) struct SettingsWatchArgs {
    /// End after this many changes
    #[arg(long, value_name = "N")]
    pub(crate) changes: Option<u64>,
    #[command(flatten)]
    pub(crate) at: ServiceArgs,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

fn provider(text: &str) -> Result<String, String> {
    match text.parse::<WifProvider>() {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err("it is none of auto, kubernetes, aws, aws_iam, gcp, azure and developer".to_owned()),
    }
}

fn time(text: &str) -> Result<String, String> {
    match leverframe::from_rfc3339(text) {
        Some(_) => Ok(text.to_owned()),
        None => Err("write it as 2026-06-01T08:00:00Z".to_owned()),
    }
}

fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).parse().ok();
    number
        .filter(|percent| (0.0..=100.0).contains(percent))
        .ok_or_else(|| "it is no number from 0 to 100".to_owned())
}

/// Checks what a shell can name.
fn variable(text: &str) -> Result<String, String> {
    let rest = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let good = text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    if good && text.bytes().all(rest) {
        Ok(text.to_owned())
    } else {
        Err("a variable's name has letters, digits and `_`, and begins with no digit".to_owned())
    }
}

fn rename(text: &str) -> Result<(String, String), String> {
    let (key, name) =
        text.rsplit_once('=').filter(|(key, _)| !key.is_empty()).ok_or("write it as db.url=DATABASE_URL")?;
    Ok((key.to_owned(), variable(name)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_a_shell_can_say() {
        for good in ["A", "_", "db_URL2"] {
            assert_eq!(variable(good).as_deref(), Ok(good));
        }
        for bad in ["", "2A", "A-B", "A=B", "Ä", "A B"] {
            assert!(variable(bad).is_err(), "{bad}");
        }
        assert_eq!(rename("db.url=DSN"), Ok(("db.url".to_owned(), "DSN".to_owned())));
        for bad in ["db.url", "=DSN", "db.url=", "db.url=A-B"] {
            assert!(rename(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_and_shares_are_what_they_say() {
        assert!(time("2026-06-01T08:00:00Z").is_ok() && time("tomorrow").is_err());
        assert_eq!((percent("12.5"), percent("100%")), (Ok(12.5), Ok(100.0)));
        for bad in ["", "-1", "100.1", "NaN", "x"] {
            assert!(percent(bad).is_err(), "{bad}");
        }
    }
}
