//! How a fleet is shown to people.

use std::time::SystemTime;

use anstyle::Style;
use leverframe::from_rfc3339;
use serde_json::Value;

use crate::output::{BOLD, Cell, DIM, GREEN, RED, Table, YELLOW, numbers, plural, styled, words};

/// Longer texts of others are cut.
const LONGEST: usize = 120;
/// As many tags of a site as are shown, the busiest first.
const MOST_TAGS: usize = 40;

/// Draws an organisation: what is set, then each site.
pub(super) fn org(status: &Value) -> Vec<String> {
    let now = time(&status["now"]);
    let settings = &status["settings"];
    let mut lines = vec![format!("{}  {}", styled(BOLD, text(&status["org"])), limits(settings))];
    if let Some(set) = changed(settings, now) {
        lines.push(styled(DIM, format!("  {set}")));
    }
    let sites = status["sites"].as_array().map(Vec::as_slice).unwrap_or_default();
    if sites.is_empty() {
        lines.push("  no instance has reported yet".to_owned());
    }
    for of in sites {
        lines.push(String::new());
        site(of, now, &mut lines);
    }
    lines
}

/// Says what is set: `kill off · global 500 · free 10 · lease 300 s · pulse 5 s`.
pub(super) fn limits(settings: &Value) -> String {
    let mut parts = vec![kill(settings["kill_signal"].as_bool())];
    parts.push(format!("global {}", weight(settings["global_max_weight"].as_f64())));
    if let Some(tags) = settings["tag_max_weights"].as_object() {
        parts.extend(tags.iter().map(|(tag, limit)| format!("{} {}", tag_name(tag), weight(limit.as_f64()))));
    }
    if let Some(lease) = settings["lease_duration_seconds"].as_u64() {
        parts.push(format!("lease {lease} s"));
    }
    if let Some(interval) = settings["pulse_interval"].as_u64() {
        parts.push(format!("report every {}", milliseconds(interval)));
    }
    if settings["status"].is_string() {
        parts.push(format!("“{}”", text(&settings["status"])));
    }
    parts.join(" · ")
}

fn kill(signal: Option<bool>) -> String {
    match signal {
        Some(true) => styled(RED, "KILLED: every call is refused"),
        _ => "kill off".to_owned(),
    }
}

fn changed(settings: &Value, now: Option<SystemTime>) -> Option<String> {
    let revision = settings["revision"].as_u64().filter(|revision| *revision > 0)?;
    let by = settings["updated_by"].as_str().filter(|by| !by.is_empty());
    let by = by.map(|_| format!(" by {}", text(&settings["updated_by"]))).unwrap_or_default();
    let when = ago(&settings["updated_at"], now).map(|ago| format!(", set {ago}{by}")).unwrap_or_default();
    Some(format!("revision {revision}{when}"))
}

fn site(site: &Value, now: Option<SystemTime>, lines: &mut Vec<String>) {
    let instances = site["instances"].as_u64().unwrap_or_default();
    let last = ago(&site["last_pulse_at"], now)
        .map_or_else(|| "no report yet".to_owned(), |ago| format!("last report {ago}"));
    let name = styled(BOLD, format!("site {}", text(&site["site"])));
    lines.push(format!("{name}  {} · {last}", plural(instances as usize, "instance")));
    let policy = &site["policy"];
    let in_force = policy["killSignal"].as_bool() == Some(true);
    if !site["settings"].is_null() {
        lines.push(format!("  of its own: {}", limits(&site["settings"])));
    }
    if in_force {
        lines.push(format!("  {}", kill(Some(true))));
    }
    if let Some(global) = policy["globalMaxWeight"].as_f64() {
        lines.push(format!("  calls of more than {} are refused", number(global)));
    }
    let table = tags(site);
    if table.is_empty() {
        lines.push(styled(DIM, "  no calls within the last minute"));
    } else {
        lines.extend(table.lines().into_iter().map(|line| format!("  {line}")));
    }
    let found = site["tags"].as_array().map_or(0, Vec::len);
    if found > MOST_TAGS {
        lines.push(styled(
            DIM,
            format!("  and {} more; --format json has them all", plural(found - MOST_TAGS, "tag")),
        ));
    }
    if let Some(sum) = totals(&site["totals"]) {
        lines.push(styled(DIM, format!("  since ever: {sum}")));
    }
    let rules = site["rules"].as_array().map(Vec::as_slice).unwrap_or_default();
    for rule in rules {
        lines.extend(rule_lines(rule, now));
    }
}

/// What was counted by tag, and the limits of tags that nobody used.
fn tags(site: &Value) -> Table {
    let mut table = Table::new(&[
        words("tag"),
        numbers("calls/s"),
        numbers("denied"),
        numbers("errors"),
        numbers("mean ms"),
        numbers("p50"),
        numbers("p95"),
        numbers("p99"),
        words("limit"),
    ]);
    let seconds = site["window_secs"].as_f64().filter(|seconds| *seconds > 0.0).unwrap_or(60.0);
    let mut counted: Vec<&Value> = site["tags"].as_array().into_iter().flatten().collect();
    counted.sort_by_key(|tag| std::cmp::Reverse(tag["calls"].as_u64().unwrap_or_default()));
    for tag in counted.iter().take(MOST_TAGS) {
        let (calls, denied) = (whole(&tag["calls"]), whole(&tag["denied"]));
        let latency = |name: &str| Cell::new(tag[name].as_f64().map_or_else(|| "–".to_owned(), number));
        table.row(vec![
            Cell::new(tag_name(tag["tag"].as_str().unwrap_or_default())),
            Cell::new(format!("{:.1}", calls / seconds)),
            Cell::new(share(denied, calls)).when(denied > 0.0, YELLOW),
            Cell::new(number(whole(&tag["errors"]))).when(whole(&tag["errors"]) > 0.0, RED),
            latency("latency"),
            latency("p50_latency"),
            latency("p95_latency"),
            latency("p99_latency"),
            limit(tag["max_weight"].as_f64(), tag["throttle"].as_u64()),
        ]);
    }
    let limits = site["policy"]["tagMaxWeights"].as_object().into_iter().flatten();
    for (name, weight) in limits.take(MOST_TAGS) {
        if counted.iter().any(|tag| tag["tag"].as_str() == Some(name)) {
            continue;
        }
        let throttle = site["policy"]["throttle"][name].as_u64();
        let mut row = vec![Cell::new(tag_name(name)), Cell::new("0.0")];
        row.extend((0..6).map(|_| Cell::new("–")));
        row.push(limit(weight.as_f64(), throttle));
        table.row(row);
    }
    table
}

fn limit(weight: Option<f64>, throttle: Option<u64>) -> Cell {
    let blocked = weight.is_some_and(|weight| weight < 0.0);
    let mut parts = Vec::new();
    match weight {
        Some(_) if blocked => parts.push("blocked".to_owned()),
        // Servers say so where a throttled tag has no limit.
        Some(weight) if weight < f64::MAX => parts.push(number(weight)),
        _ => {}
    }
    parts.extend(throttle.map(|percent| format!("{percent} % refused")));
    let text = if parts.is_empty() { "–".to_owned() } else { parts.join(", ") };
    Cell::new(text).when(throttle.is_some(), YELLOW).when(blocked, RED)
}

fn totals(totals: &Value) -> Option<String> {
    let pulses = totals["pulses"].as_u64()?;
    let count = |name: &str| number(whole(&totals[name]));
    Some(format!(
        "{} calls, {} denied, {} errors, in {}",
        count("calls"),
        count("denied"),
        count("errors"),
        plural(pulses as usize, "report")
    ))
}

fn rule_lines(rule: &Value, now: Option<SystemTime>) -> Vec<String> {
    let in_force = rule["in_force"].as_bool() == Some(true);
    let name = format!("{}/{}", text(&rule["namespace"]), text(&rule["name"]));
    let tag = tag_name(rule["tag"].as_str().unwrap_or_default());
    let asks = format!(
        "{tag}: {} {} {} over {} s → {}",
        text(&rule["metric"]),
        text(&rule["operator"]),
        rule["threshold"].as_f64().map_or_else(|| "?".to_owned(), number),
        whole(&rule["window_secs"]),
        action(&rule["action"])
    );
    let value =
        rule["value"].as_f64().map_or_else(|| "no samples".to_owned(), |v| format!("now {}", number(v)));
    let (sign, word, style): (_, _, Style) = match in_force {
        true => ("●", "in force", RED),
        false => ("○", "calm", GREEN),
    };
    let since = span(&rule["since"], now).map(|span| format!(" for {span}")).unwrap_or_default();
    let since = if in_force { since } else { String::new() };
    let mut lines = vec![
        format!(
            "  {} {}  {}{since}  {}",
            styled(style, sign),
            styled(BOLD, name),
            styled(style, word),
            value
        ),
        format!("    {asks}"),
    ];
    if in_force && rule["why"].is_string() {
        lines.push(format!("    why: {}", text(&rule["why"])));
    }
    if let Some(calm) = span(&rule["calm_since"], now).filter(|_| in_force) {
        let after = whole(&rule["recover_after_secs"]);
        lines.push(format!("    calm for {calm}, ends after {after} s of it"));
    }
    lines
}

fn action(action: &Value) -> String {
    match action["kind"].as_str() {
        Some("block") => "block".to_owned(),
        Some("limit_weight") => format!("limit weight to {}", number(whole(&action["limit"]))),
        Some("throttle_percent") => format!("refuse {} %", whole(&action["percent"])),
        _ => "an action that this version does not know".to_owned(),
    }
}

/// Names a tag, and what stands for one.
fn tag_name(tag: &str) -> String {
    match tag {
        "__default__" => "(untagged)".to_owned(),
        "*" => "(all calls)".to_owned(),
        "" => "(unknown)".to_owned(),
        tag => clean(tag),
    }
}

fn weight(limit: Option<f64>) -> String {
    match limit {
        None => "none".to_owned(),
        Some(limit) if limit < 0.0 => "blocked".to_owned(),
        Some(limit) => number(limit),
    }
}

fn whole(value: &Value) -> f64 {
    value.as_f64().unwrap_or_default()
}

/// Three digits at least, and no more decimals than say something.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 || value.fract() == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn share(part: f64, all: f64) -> String {
    match all > 0.0 {
        true => format!("{:.1}%", part / all * 100.0),
        false => "–".to_owned(),
    }
}

fn milliseconds(interval: u64) -> String {
    match interval % 1_000 {
        0 => format!("{} s", interval / 1_000),
        _ => format!("{interval} ms"),
    }
}

fn ago(at: &Value, now: Option<SystemTime>) -> Option<String> {
    let span = span(at, now)?;
    Some(if span == "0 s" { "just now".to_owned() } else { format!("{span} ago") })
}

/// How long it is since something, by the server's own clock.
fn span(at: &Value, now: Option<SystemTime>) -> Option<String> {
    let since = now?.duration_since(time(at)?).unwrap_or_default().as_secs();
    Some(match since {
        0..120 => format!("{since} s"),
        120..7_200 => format!("{} min", since / 60),
        7_200..172_800 => format!("{} h", since / 3_600),
        _ => format!("{} days", since / 86_400),
    })
}

fn time(value: &Value) -> Option<SystemTime> {
    value.as_str().and_then(from_rfc3339)
}

/// A text of the server, fit for a terminal.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| "?".to_owned(), clean)
}

/// Tags and the like are chosen by whoever reports, and a terminal would obey what they hold.
fn clean(text: &str) -> String {
    let plain = |c: char| if c.is_control() || BIDI.contains(&c) { '·' } else { c };
    let mut short: String = text.chars().take(LONGEST).map(plain).collect();
    if text.chars().nth(LONGEST).is_some() {
        short.push('…');
    }
    short
}

/// Characters that turn round what stands beside them.
const BIDI: [char; 9] = [
    '\u{202a}', '\u{202b}', '\u{202c}', '\u{202d}', '\u{202e}', '\u{2066}', '\u{2067}', '\u{2068}',
    '\u{2069}',
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn drawn(status: &Value) -> String {
        let lines = org(status).join("\n");
        anstream::adapter::strip_str(&lines).to_string()
    }

    #[test]
    fn a_fleet_is_shown_with_load_limits_and_rules_in_force_and_why() {
        let shown = drawn(&json!({
            "org": "acme", "now": "2026-04-25T10:00:00Z",
            "settings": {"revision": 3, "global_max_weight": 500, "tag_max_weights": {"free": 10, "old": -1},
                "kill_signal": false, "status": null, "lease_duration_seconds": 300, "pulse_interval": 5000,
                "updated_at": "2026-04-25T09:50:00Z", "updated_by": "tok_1"},
            "sites": [{
                "site": "eu", "settings": null, "instances": 12, "last_pulse_at": "2026-04-25T09:59:58Z", "window_secs": 60,
                "policy": {"killSignal": false, "globalMaxWeight": 500, "tagMaxWeights": {"free": -1, "old": -1}, "throttle": {}},
                "tags": [
                    {"tag": "free", "calls": 1200, "denied": 40, "errors": 3, "latency": 12.5, "p50_latency": 10.0,
                     "p95_latency": 48.2, "p99_latency": 812.4, "max_weight": -1, "throttle": null},
                    {"tag": "__default__", "calls": 6000, "denied": 0, "errors": 0, "latency": null, "p50_latency": null,
                     "p95_latency": null, "p99_latency": null, "max_weight": null, "throttle": 50}],
                "totals": {"calls": 7200, "denied": 40, "errors": 3, "samples": 10, "pulses": 600},
                "rules": [{"namespace": "payments", "name": "shed-free", "tag": "free", "metric": "p95_latency", "operator": ">",
                    "threshold": 500, "window_secs": 30, "action": {"kind": "block"}, "recover_below": 400,
                    "recover_after_secs": 60, "in_force": true, "since": "2026-04-25T09:55:00Z",
                    "calm_since": "2026-04-25T09:59:30Z", "value": 312.0, "why": "p95_latency was 812 over 30 s, above 500"}],
            }],
        }));

        let expected = [
            "acme  kill off · global 500 · free 10 · old blocked · lease 300 s · report every 5 s",
            "  revision 3, set 10 min ago by tok_1",
            "",
            "site eu  12 instances · last report 2 s ago",
            "  calls of more than 500 are refused",
            "  tag         calls/s  denied  errors  mean ms  p50   p95  p99  limit",
            "  (untagged)    100.0    0.0%       0        –    –     –    –  50 % refused",
            "  free           20.0    3.3%       3     12.5   10  48.2  812  blocked",
            "  old             0.0       –       –        –    –     –    –  blocked",
            "  since ever: 7200 calls, 40 denied, 3 errors, in 600 reports",
            "  ● payments/shed-free  in force for 5 min  now 312",
            "    free: p95_latency > 500 over 30 s → block",
            "    why: p95_latency was 812 over 30 s, above 500",
            "    calm for 30 s, ends after 60 s of it",
        ];
        assert_eq!(shown, expected.join("\n"));
    }

    #[test]
    fn what_a_client_reports_does_not_reach_the_terminal_as_commands() {
        let shown = org(&json!({
            "org": "acme", "settings": {"status": "\u{1b}]0;owned\u{7}"},
            "sites": [{"site": "default", "tags": [{"tag": "a\u{1b}[2Jb\n\u{202e}c", "calls": 1}]}],
        }))
        .join("\n");

        assert!(
            !shown.contains("\u{1b}[2J") && !shown.contains("\u{1b}]") && !shown.contains('\u{202e}'),
            "{shown:?}"
        );
        assert!(shown.contains("a·[2Jb··c"), "{shown:?}");
    }

    #[test]
    fn an_answer_without_anything_is_shown_as_such() {
        assert!(drawn(&json!({"org": "acme"})).contains("no instance has reported yet"));
        assert!(drawn(&json!({"org": "acme", "sites": [{}]})).contains("no report yet"));
    }
}
