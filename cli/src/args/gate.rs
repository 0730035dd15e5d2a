//! What `gate` takes.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{FormatArgs, ServerArgs};
use crate::duration::pulse;

#[derive(Debug, Subcommand)]
pub(crate) enum GateCommand {
    /// Show what a fleet does and what it may: load, denials, latencies, policy, rules in force and why
    #[command(after_help = "Examples:
  leverframe gate status --org acme
  leverframe gate status --org acme --watch
  leverframe gate status --format json        # of every organisation that the token sees")]
    Status(GateStatusArgs),
    /// Set limits and intervals of an organisation or of one of its sites; what is not named stays as it is
    #[command(after_help = "Examples:
  leverframe gate set --org acme --global 500 --tag free=10
  leverframe gate set --org acme --tag free=none --tag batch=-1      # -1 refuses calls of any weight
  leverframe gate set --org acme --site eu --lease 300 --pulse-interval 5s --status \"shedding free\"

A limit is the weight of the heaviest call that may pass; `none` takes it away. Exit code 1: something else was set
since the revision that --if-revision names.")]
    Set(GateSetArgs),
    /// Refuse every call of an organisation or of one of its sites, or let them pass again
    #[command(after_help = "Examples:
  leverframe gate kill --org acme on
  leverframe gate kill --org acme off
  leverframe gate kill --org acme on --site eu")]
    Kill(GateKillArgs),
    /// Replay recorded pulses against reflex rules: each decision, why, and the policy that follows
    #[command(after_help = "Examples:
  leverframe gate simulate --rules payments/gate.toml --trace pulses.ndjson
  zcat pulses.ndjson.gz | leverframe gate simulate --rules gate.toml --trace - --format json
  leverframe gate simulate --rules gate.toml --trace pulses.ndjson --policy policy.json --silence 300

A trace has one pulse a line, as clients send it to `POST /v1/pulse`, nearly in the order of `ts`. Rules are looked at
with every second of the trace, also in silence. What a rule would have refused still counts: a trace is not changed by
what is decided. Exit code 1: the rules or a line of the trace are bad.")]
    Simulate(GateSimulateArgs),
}

#[derive(Debug, Args)]
pub(crate) struct GateSimulateArgs {
    /// The rules: a gate.toml
    #[arg(long, value_name = "FILE")]
    pub(crate) rules: PathBuf,
    /// The pulses, one JSON object a line; `-` is standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: String,
    /// The policy that rules make stricter, as JSON [default: no limits]
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,
    /// How long to go on behind the last pulse, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=31_536_000))]
    pub(crate) silence: u64,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

#[derive(Debug, Args)]
pub(crate) struct GateStatusArgs {
    /// The organisation [default: every one that the token sees]
    #[arg(long, value_name = "ORG")]
    pub(crate) org: Option<String>,
    /// Look again and again, until Ctrl-C
    #[arg(long)]
    pub(crate) watch: bool,
    /// The time between two looks, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0, requires = "watch")]
    pub(crate) interval: f64,
    #[command(flatten)]
    pub(crate) at: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct GateSetArgs {
    /// The organisation
    #[arg(long, value_name = "ORG")]
    pub(crate) org: String,
    /// One of its sites [default: all of them]
    #[arg(long, value_name = "SITE")]
    pub(crate) site: Option<String>,
    /// The heaviest call that may pass; 0 refuses everything
    #[arg(long, value_name = "WEIGHT|none", value_parser = limit, allow_negative_numbers = true)]
    pub(crate) global: Option<Limit>,
    /// The heaviest call of a tag that may pass; may be repeated
    #[arg(long = "tag", value_name = "TAG=WEIGHT|none", value_parser = tag_limit)]
    pub(crate) tags: Vec<TagLimit>,
    /// How long a policy holds without being confirmed, in seconds
    #[arg(long, value_name = "SECONDS|none", value_parser = seconds)]
    pub(crate) lease: Option<Whole>,
    /// How often instances are to report, such as 5s or 500ms
    #[arg(long, value_name = "DURATION|none", value_parser = interval)]
    pub(crate) pulse_interval: Option<Whole>,
    /// What to tell clients, for people; an empty text takes it away
    #[arg(long, value_name = "TEXT")]
    pub(crate) status: Option<String>,
    /// Set it only while this revision is the current one; 0 before the first
    #[arg(long, value_name = "N")]
    pub(crate) if_revision: Option<u64>,
    #[command(flatten)]
    pub(crate) at: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct GateKillArgs {
    /// The organisation
    #[arg(long, value_name = "ORG")]
    pub(crate) org: String,
    /// One of its sites [default: all of them]
    #[arg(long, value_name = "SITE")]
    pub(crate) site: Option<String>,
    /// Whether everything is refused
    #[arg(value_enum)]
    pub(crate) switch: Switch,
    #[command(flatten)]
    pub(crate) at: ServerArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    /// Everything is refused
    On,
    /// Limits decide
    Off,
}

/// A limit, or none.
pub(crate) type Limit = Setting<f64>;
/// A number of seconds or milliseconds, or none.
pub(crate) type Whole = Setting<u64>;

/// A value to be set, or to be taken away.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Setting<T> {
    None,
    Some(T),
}

/// A limit of a tag.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TagLimit {
    pub(crate) tag: String,
    pub(crate) limit: Limit,
}

fn or_none<T>(
    text: &str,
    read: impl FnOnce(&str) -> Option<T>,
    else_say: &str,
) -> Result<Setting<T>, String> {
    match text {
        "none" => Ok(Setting::None),
        text => read(text).map(Setting::Some).ok_or_else(|| else_say.to_owned()),
    }
}

fn limit(text: &str) -> Result<Limit, String> {
    let finite = |text: &str| text.parse().ok().filter(|weight: &f64| weight.is_finite());
    or_none(text, finite, "it is neither a number, such as 10 or -1, nor `none`")
}

fn tag_limit(text: &str) -> Result<TagLimit, String> {
    // A tag may hold `=` itself, a weight does not.
    let (tag, weight) =
        text.rsplit_once('=').filter(|(tag, _)| !tag.is_empty()).ok_or("write it as free=10")?;
    Ok(TagLimit { tag: tag.to_owned(), limit: limit(weight)? })
}

fn seconds(text: &str) -> Result<Whole, String> {
    let whole = |text: &str| text.strip_suffix('s').unwrap_or(text).parse().ok();
    or_none(text, whole, "it is neither a number of seconds, such as 300, nor `none`")
}

fn interval(text: &str) -> Result<Whole, String> {
    or_none(text, pulse, "it is neither a time, such as 5s or 500ms, nor `none`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_finite_number_or_none() {
        assert_eq!(limit("10.5"), Ok(Setting::Some(10.5)));
        assert_eq!(limit("-1"), Ok(Setting::Some(-1.0)));
        assert_eq!(limit("none"), Ok(Setting::None));
        for bad in ["", "inf", "NaN", "ten", "None", "1e999"] {
            assert!(limit(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_tag_is_all_but_the_last_part() {
        let named = |tag: &str| TagLimit { tag: tag.to_owned(), limit: Setting::Some(10.0) };

        assert_eq!(tag_limit("free=10"), Ok(named("free")));
        assert_eq!(tag_limit("plan=free=10"), Ok(named("plan=free")));
        assert_eq!(tag_limit("old=none").unwrap().limit, Setting::None);
        for bad in ["free", "=10", "free=", "free=ten"] {
            assert!(tag_limit(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn intervals_have_a_unit() {
        assert_eq!(interval("5s"), Ok(Setting::Some(5_000)));
        assert_eq!(interval("500ms"), Ok(Setting::Some(500)));
        assert_eq!(interval("none"), Ok(Setting::None));
        assert!(interval("5").is_err() && interval("-5s").is_err());
        assert_eq!((seconds("300"), seconds("300s")), (Ok(Setting::Some(300)), Ok(Setting::Some(300))));
    }
}
