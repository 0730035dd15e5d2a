//! `gate.toml`: reflex rules.

use std::collections::{HashMap, HashSet};

use toml::de::DeValue;

use super::{
    Span,
    fields::{File, Root, Table, Value, a_type, float, integer, shown},
};
use crate::{
    gate::{
        reflex::{Action, Comparison, DEFAULT_RECOVERY_SECS, Metric, ReflexRule},
        types::LONGEST_TAG,
    },
    manifest::{
        lint::{
            codes::{CodeInfo, E008, E017, E030, E040, E041, E042, E043, E044, E045, E046, W016},
            findings::did_you_mean,
        },
        names,
    },
};

/// Rules of one file: each is looked at for every evaluation of every site.
const MOST_RULES: usize = 200;

/// The longest window, in seconds: counts are kept for so long.
const LONGEST_WINDOW: u32 = 3_600;

/// The window of rules that name none, in seconds.
const DEFAULT_WINDOW: u32 = 60;

/// The longest time to stay calm, in seconds.
const LONGEST_RECOVERY: u32 = 86_400;

/// A rule and where it begins.
#[derive(Clone, Debug)]
pub(crate) struct RuleAt {
    pub(crate) rule: ReflexRule,
    pub(crate) span: Span,
    /// Its place among all of the file, those with errors counted.
    pub(crate) index: usize,
}

/// Reads the rules in the order of the file; those with errors are left out.
pub(crate) fn parse_gate(file: &mut File<'_>, root: &Root<'_>) -> Vec<RuleAt> {
    let root = root.table();
    file.only_known(&root, &["schema_version", "rule"]);
    let Some(value) = root.get("rule") else { return Vec::new() };
    let Some(items) = value.get_ref().as_array() else {
        let message = format!("`rule` must be an array of tables, not {}", a_type(value.get_ref()));
        file.findings.add_help(
            E017,
            root.key_span("rule"),
            message,
            "write each rule under a `[[rule]]` of its own",
        );
        return Vec::new();
    };
    let mut names = Names::default();
    let mut rules = Vec::new();
    for (index, item) in items.iter().enumerate() {
        if index == MOST_RULES {
            let message = format!("the file has {} rules, more than {MOST_RULES}", items.len());
            file.findings.add_help(E008, item.span(), message, "rules of one tag can often be one; see W014");
            break;
        }
        let Some(table) = item.get_ref().as_table() else {
            let message = format!("rule[{index}] must be a table, not {}", a_type(item.get_ref()));
            file.findings.add(E017, item.span(), message);
            continue;
        };
        let table = Table { table, span: item.span(), name: "rule" };
        let mut reader = RuleReader { file, index, table: &table, names: &mut names };
        if let Some(rule) = reader.read() {
            rules.push(RuleAt { rule, span: item.span(), index });
        }
    }
    rules
}

/// The names that rules of the file have.
#[derive(Default)]
struct Names {
    declared: HashSet<String>,
    /// How many rules without a name there are of a tag and metric.
    derived: HashMap<String, usize>,
}

struct RuleReader<'r, 'v, 'f, 't> {
    file: &'r mut File<'f>,
    index: usize,
    table: &'r Table<'v, 't>,
    names: &'r mut Names,
}

impl<'v> RuleReader<'_, 'v, '_, '_> {
    fn read(&mut self) -> Option<ReflexRule> {
        self.file.only_known(
            self.table,
            &[
                "name",
                "tag",
                "site",
                "metric",
                "operator",
                "threshold",
                "window_secs",
                "action",
                "recover_below",
                "recover_above",
                "recover_after_secs",
            ],
        );
        // All of them are read before the first `?`, so that every mistake of a rule is told at once.
        let name = self.name();
        let tag = self.tag();
        let site = self.site();
        let metric = self.metric();
        let operator = self.operator();
        let threshold = self.required("threshold", "the value that the metric is compared with");
        let threshold = threshold.and_then(|()| self.file.number(self.table, "threshold"));
        let window_secs = self.seconds("window_secs", DEFAULT_WINDOW, 1..=LONGEST_WINDOW);
        let action = self.action();
        let recovery = self.recovery(operator, threshold.as_ref().map(|(threshold, _)| *threshold));
        let recover_after_secs =
            self.seconds("recover_after_secs", DEFAULT_RECOVERY_SECS, 0..=LONGEST_RECOVERY);
        let (tag, metric, (threshold, _)) = (tag?, metric?, threshold?);
        let name = match name? {
            Some(name) => name,
            None => self.names.derive(tag, &metric),
        };
        let rule = ReflexRule::new(name, tag, metric, operator?, threshold, window_secs?, action?);
        Some(ReflexRule {
            site: site?,
            recover_below: recovery?.unwrap_or(threshold),
            recover_after_secs: recover_after_secs?,
            ..rule
        })
    }

    /// Returns the declared name, if there is one and it is fit.
    fn name(&mut self) -> Option<Option<String>> {
        const HELP: &str = "a name is `[a-z][a-z0-9_-]*`, at most 63 characters";
        if self.table.get("name").is_none() {
            return Some(None);
        }
        let (name, span) = self.file.string(self.table, "name")?;
        if !names::is_key(name) {
            self.malformed("name", name, span, HELP);
            return None;
        }
        if !self.names.declared.insert(name.to_owned()) {
            let message = format!("rule[{}]: another rule is named `{name}` already", self.index);
            self.report(E046, span, message, "states of rules are kept by their names: give each its own");
            return None;
        }
        Some(Some(name.to_owned()))
    }

    fn tag(&mut self) -> Option<&'v str> {
        const HELP: &str = "a tag has 1 to 128 bytes, none of them a control character; `*` is all traffic, \
                            `__default__` is what has no tag";
        self.required("tag", "the tag that is looked at and acted upon, or `*` for all traffic")?;
        let (tag, span) = self.file.string(self.table, "tag")?;
        if tag.is_empty() || tag.len() > LONGEST_TAG || tag.chars().any(char::is_control) {
            self.malformed("tag", tag, span, HELP);
            return None;
        }
        Some(tag)
    }

    fn site(&mut self) -> Option<Option<String>> {
        const HELP: &str = "a site has 1 to 64 characters out of `A-Z a-z 0-9 . _ -`; without one, the rule holds \
                            for every site";
        if self.table.get("site").is_none() {
            return Some(None);
        }
        let (site, span) = self.file.string(self.table, "site")?;
        let is_fit = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if !(1..=64).contains(&site.len()) || !site.bytes().all(is_fit) {
            self.malformed("site", site, span, HELP);
            return None;
        }
        Some(Some(site.to_owned()))
    }

    fn metric(&mut self) -> Option<Metric> {
        self.required(
            "metric",
            "one of latency, errors, p50_latency, p95_latency, p99_latency, or a custom one",
        )?;
        let (word, span) = self.file.string(self.table, "metric")?;
        let metric = Metric::parse(word);
        let nearest = did_you_mean(word, Metric::BUILT_IN);
        match (&metric, nearest) {
            (None, nearest) => {
                let message = format!("rule[{}]: unknown metric `{}`", self.index, shown(word));
                let help = nearest.unwrap_or_else(|| {
                    format!("one of {}, or a custom one: `[a-z][a-z0-9_]*`", Metric::BUILT_IN.join(", "))
                });
                self.report(E040, span, message, help);
            }
            (Some(Metric::Custom(name)), Some(nearest)) => {
                let message = format!("rule[{}]: `{name}` is a custom metric; {nearest}", self.index);
                self.report(
                    W016,
                    span,
                    message,
                    "mend the name, or give the custom metric a name of its own",
                );
            }
            _ => {}
        }
        metric
    }

    fn operator(&mut self) -> Option<Comparison> {
        const HELP: &str = "one of `>`, `>=`, `<`, `<=`";
        self.required("operator", HELP)?;
        let (sign, span) = self.file.string(self.table, "operator")?;
        let operator = Comparison::parse(sign);
        if operator.is_none() {
            let message = format!("rule[{}]: unknown comparison `{}`", self.index, shown(sign));
            self.report(E041, span, message, HELP);
        }
        operator
    }

    fn action(&mut self) -> Option<Action> {
        self.required("action", ACTIONS)?;
        let value = self.table.get("action")?;
        match value.get_ref() {
            DeValue::String(word) => {
                let action = action_of_word(word);
                if action.is_none() {
                    let message = format!("rule[{}]: unknown action `{}`", self.index, shown(word));
                    let help = did_you_mean(word, ["block"]).unwrap_or_else(|| ACTIONS.to_owned());
                    self.report(E042, value.span(), message, help);
                }
                action
            }
            DeValue::Table(_) => self.action_of_table(value),
            other => {
                let message = format!(
                    "rule[{}]: `action` must be a string or a table, not {}",
                    self.index,
                    a_type(other)
                );
                self.report(E017, value.span(), message, ACTIONS);
                None
            }
        }
    }

    fn action_of_table(&mut self, value: Value<'_, '_>) -> Option<Action> {
        const KNOWN: [&str; 2] = ["limit_weight", "throttle_percent"];
        let table = Table { table: value.get_ref().as_table()?, span: value.span(), name: "action" };
        let entries = table.entries();
        let [(key, span, number)] = entries.as_slice() else {
            let message = format!("rule[{}]: an action is one thing", self.index);
            self.report(E042, value.span(), message, ACTIONS);
            return None;
        };
        let action = match *key {
            "limit_weight" => limit_weight(number.get_ref()),
            "throttle_percent" => throttle_percent(number.get_ref()),
            _ => {
                let message = format!("rule[{}]: unknown action `{}`", self.index, shown(key));
                let help = did_you_mean(key, KNOWN).unwrap_or_else(|| ACTIONS.to_owned());
                self.report(E042, span.clone(), message, help);
                return None;
            }
        };
        if action.is_none() {
            let message = format!("rule[{}]: `{key}` is out of range", self.index);
            self.report(E042, number.span(), message, ACTIONS);
        }
        action
    }

    /// Reads where the metric is calm: `recover_below`, or `recover_above` where small values trip.
    fn recovery(&mut self, operator: Option<Comparison>, threshold: Option<f64>) -> Option<Option<f64>> {
        let is_rising = operator?.is_rising();
        let (key, other) =
            if is_rising { ("recover_below", "recover_above") } else { ("recover_above", "recover_below") };
        if self.table.get(other).is_some() {
            let message = format!("rule[{}]: `{other}` is for comparisons the other way", self.index);
            self.report(E044, self.table.key_span(other), message, format!("write `{key}`"));
            return None;
        }
        if self.table.get(key).is_none() {
            return Some(None);
        }
        let (at, span) = self.file.number(self.table, key)?;
        if threshold.is_some_and(|threshold| if is_rising { at > threshold } else { at < threshold }) {
            let (tripping, side) =
                if is_rising { ("above", "at or below") } else { ("below", "at or above") };
            let message = format!(
                "rule[{}]: `{key}` lies {tripping} the threshold, where the rule comes into force",
                self.index
            );
            self.report(E044, span, message, format!("put it {side} the threshold, or leave it out"));
            return None;
        }
        Some(Some(at))
    }

    fn seconds(&mut self, key: &str, default: u32, range: std::ops::RangeInclusive<u32>) -> Option<u32> {
        if self.table.get(key).is_none() {
            return Some(default);
        }
        let (seconds, span) = self.file.integer(self.table, key)?;
        let fit = u32::try_from(seconds).ok().filter(|seconds| range.contains(seconds));
        if fit.is_none() {
            let message = format!("rule[{}]: `{key}` is out of range", self.index);
            let help = format!("write {} to {} seconds", range.start(), range.end());
            self.report(E043, span, message, help);
        }
        fit
    }

    fn required(&mut self, key: &str, help: &str) -> Option<()> {
        if self.table.get(key).is_none() {
            self.file.missing(E030, self.table, key, help);
            return None;
        }
        Some(())
    }

    fn malformed(&mut self, key: &str, text: &str, span: Span, help: &str) {
        let message = format!("rule[{}]: malformed {key} `{}`", self.index, shown(text));
        self.report(E045, span, message, help);
    }

    fn report(&mut self, code: CodeInfo, span: Span, message: String, help: impl Into<String>) {
        self.file.findings.add_help(code, span, message, help);
    }
}

impl Names {
    /// Makes a name of what a rule looks at. A declared one has no colon, so the two cannot meet.
    fn derive(&mut self, tag: &str, metric: &Metric) -> String {
        let name = format!("{tag}:{metric}");
        let count = self.derived.entry(name.clone()).or_default();
        *count += 1;
        if *count == 1 { name } else { format!("{name}-{count}") }
    }
}

const ACTIONS: &str = "write `\"block\"`, `{ limit_weight = x }` with x from 0 on, or `{ throttle_percent = n }` with n \
                       from 1 to 100";

/// Reads `block`, or what stands in the table, as text: `limit_weight = 5`.
fn action_of_word(word: &str) -> Option<Action> {
    if word == "block" {
        return Some(Action::Block);
    }
    let (key, number) = word.split_once('=')?;
    let number: f64 = number.trim().parse().ok()?;
    match key.trim() {
        "limit_weight" => weight(number),
        "throttle_percent" => percent(number),
        _ => None,
    }
}

fn limit_weight(value: &DeValue<'_>) -> Option<Action> {
    float(value).or_else(|| integer(value).map(|i| i as f64)).and_then(weight)
}

fn throttle_percent(value: &DeValue<'_>) -> Option<Action> {
    integer(value).and_then(|number| percent(number as f64))
}

fn weight(most: f64) -> Option<Action> {
    (most.is_finite() && most >= 0.0).then_some(Action::LimitWeight(most))
}

fn percent(percent: f64) -> Option<Action> {
    let whole = (1.0..=100.0).contains(&percent) && percent.fract() == 0.0;
    whole.then_some(Action::ThrottlePercent(percent as u8))
}
