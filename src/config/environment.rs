//! The environment as a layer, values to the letter.

use figment::value::{Dict, Value};

use crate::{Secret, backends::http_backend::HttpBackend};

/// Deeper than any table that somebody knows: what is left of a longer name stays in one piece, and is refused as a
/// key that nobody knows. Tables in tables are walked by recursion, which one long name must not exhaust.
const LEVELS: usize = 16;
/// Variables that begin so are settings.
const PREFIX: &str = "LEVERFRAME_";
/// The variables of the flag client's public contract; ours win over them.
const HTTP_BACKEND: &str = "EXD_HTTP_BACKEND";
const SERVER_URL: &str = "EXD_SERVER_URL";
const API_TOKEN: &str = "EXD_API_TOKEN";
/// Short names of ours for the two settings that every command which talks to a server needs.
const SHORT: [(&str, [&str; 3]); 2] = [
    ("LEVERFRAME_SERVER_URL", ["source", "server", "url"]),
    ("LEVERFRAME_API_TOKEN", ["source", "server", "api_token"]),
];
/// What commands and servers take besides; no settings of a client, and no mistakes either.
const OF_COMMANDS: [&str; 5] = [
    "LEVERFRAME_DATABASE_URL",
    "LEVERFRAME_LOG",
    "LEVERFRAME_MASTER_",
    "LEVERFRAME_SERVER_",
    "LEVERFRAME_SETTINGS_",
];
const OF_CONTRACT: [&str; 3] = [HTTP_BACKEND, SERVER_URL, API_TOKEN];

/// Returns the variables of the process that are settings; those that are not Unicode are left out.
///
/// Pass the result to [`ConfigBuilder::environment`](super::ConfigBuilder::environment).
#[must_use]
pub fn process_environment() -> Vec<(String, String)> {
    variables(|key| key.starts_with(PREFIX) || OF_CONTRACT.contains(&key)).collect()
}

/// Returns those of the named variables of the process that are set, for backends whose platform hands credentials
/// over in the environment; those that are not Unicode are left out.
///
/// # Examples
/// ```
/// use leverframe::config::ambient_environment;
/// assert!(ambient_environment(&["A_VARIABLE_THAT_NOBODY_SETS"]).is_empty());
/// ```
#[must_use]
pub fn ambient_environment(names: &[&str]) -> Vec<(String, Secret)> {
    variables(|key| names.contains(&key)).map(|(key, value)| (key, Secret::new(value))).collect()
}

/// Returns the variables of the process whose names begin with `prefix`; those that are not Unicode are left out.
pub(crate) fn environment_with_prefix(prefix: &str) -> Vec<(String, String)> {
    variables(|key| key.starts_with(prefix)).collect()
}

/// The one place that reads the environment.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
fn variables(wanted: impl Fn(&str) -> bool) -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(move |(key, value)| {
        let key = key.into_string().ok().filter(|key| wanted(key))?;
        Some((key, value.into_string().ok()?))
    })
}

/// Sorts variables into the contract's own, which are weaker, and ours.
pub(super) fn split(variables: Vec<(String, String)>) -> (Dict, Dict) {
    let (mut contract, mut ours) = (Dict::new(), Dict::new());
    // First, so that the long names win.
    for (short, path) in SHORT {
        if let Some((_, value)) = variables.iter().find(|(key, _)| key == short) {
            insert(&mut ours, path, Value::from(value.clone()));
        }
    }
    for (key, value) in variables {
        if is_of_commands(&key) {
            continue;
        }
        if let Some(rest) = key.strip_prefix(PREFIX) {
            let path = rest.to_ascii_lowercase();
            // Strings stay strings: a token of digits must not lose its leading zero.
            insert(&mut ours, path.splitn(LEVELS, "__"), list_or_text(&path, value));
        } else if key == HTTP_BACKEND
            && let Some(backend) = HttpBackend::of_contract(&value)
        {
            insert(&mut contract, ["transport", "use"], Value::from(backend.name()));
        } else if key == SERVER_URL {
            insert(&mut contract, ["source", "server", "url"], Value::from(value));
        } else if key == API_TOKEN {
            insert(&mut contract, ["source", "server", "api_token"], Value::from(value));
        }
    }
    (contract, ours)
}

fn is_of_commands(key: &str) -> bool {
    // What a table's name begins with ends in two underscores.
    let other = |prefix: &str| key.strip_prefix(prefix).is_some_and(|rest| !rest.starts_with('_'));
    SHORT.iter().any(|(short, _)| *short == key) || OF_COMMANDS.iter().any(|prefix| other(prefix))
}

/// Lists are written with commas: they are the one type that a plain string cannot become.
fn list_or_text(path: &str, value: String) -> Value {
    let is_list = path == "telemetry__use"
        || path.starts_with("flags__")
            && (path.ends_with("__trusted_keys") || path.ends_with("__event_stream_flags"))
        || path.starts_with("source__") && path.ends_with("__folders");
    if is_list {
        let names: Vec<Value> =
            value.split(',').map(str::trim).filter(|n| !n.is_empty()).map(Value::from).collect();
        return Value::from(names);
    }
    Value::from(value)
}

/// Puts a value at a path of tables; what stood in the way gives way.
pub(super) fn insert<'p>(dict: &mut Dict, path: impl IntoIterator<Item = &'p str>, value: Value) {
    let mut path = path.into_iter();
    let Some(first) = path.next() else { return };
    let rest: Vec<&str> = path.collect();
    if rest.is_empty() {
        dict.insert(first.to_owned(), value);
        return;
    }
    let mut inner = match dict.remove(first) {
        Some(Value::Dict(_, inner)) => inner,
        _ => Dict::new(),
    };
    insert(&mut inner, rest, value);
    dict.insert(first.to_owned(), Value::from(inner));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_thousands_of_levels_is_read() {
        let name = format!("LEVERFRAME_CACHE{}", "__A".repeat(20_000));
        let (_, ours) = split(vec![(name, "x".into())]);

        assert!(ours.contains_key("cache"));
    }

    #[test]
    fn values_keep_every_character() {
        let (_, ours) = split(vec![("LEVERFRAME_A__B".into(), "0012345".into())]);

        let Some(Value::Dict(_, inner)) = ours.get("a") else { panic!("no table") };
        assert_eq!(inner.get("b").and_then(Value::as_str), Some("0012345"));
    }

    #[test]
    fn the_contract_variable_takes_its_own_words_and_ignores_others() {
        let name = |value: &str| {
            let (contract, _) = split(vec![(HTTP_BACKEND.into(), value.into())]);
            contract
                .get("transport")
                .and_then(|t| t.find_ref("use"))
                .and_then(Value::as_str)
                .map(str::to_owned)
        };

        assert_eq!(name("curl").as_deref(), Some("curl_cli"));
        assert_eq!(name("inprocess").as_deref(), Some("reqwest"));
        assert_eq!(name("wget"), None);
    }

    #[test]
    fn short_names_are_below_long_ones_and_variables_of_servers_are_no_settings() {
        let variables = [
            ("LEVERFRAME_SOURCE__SERVER__URL", "https://long"),
            ("LEVERFRAME_SERVER_URL", "https://short"),
            ("LEVERFRAME_API_TOKEN", "0042"),
            ("LEVERFRAME_SERVER_LISTEN", "127.0.0.1:80"),
            ("LEVERFRAME_DATABASE_URL", "postgres://h/d"),
            ("LEVERFRAME_LOG", "debug"),
            ("LEVERFRAME_MASTER_KEY_FILE", "/k"),
            ("LEVERFRAME_SETTINGS_ENDPOINT", "https://h"),
            ("LEVERFRAME_SETTINGS_KEY", "wxs_1"),
            ("LEVERFRAME_SETTINGS__API_KEY", "wxs_2"),
        ];
        let (_, ours) = split(variables.map(|(key, value)| (key.into(), value.into())).into());

        assert_eq!(ours.keys().collect::<Vec<_>>(), ["settings", "source"]);
        let Some(Value::Dict(_, settings)) = ours.get("settings") else { panic!("no table") };
        assert_eq!(settings.keys().collect::<Vec<_>>(), ["api_key"]);
        let server = ours.get("source").and_then(|s| s.find_ref("server"));
        let value = |key: &str| server.and_then(|s| s.find_ref(key)).and_then(Value::as_str);
        assert_eq!((value("url"), value("api_token")), (Some("https://long"), Some("0042")));
    }

    #[test]
    fn the_server_of_the_contract_is_that_of_the_source() {
        let (contract, _) =
            split(vec![(SERVER_URL.into(), "https://h".into()), (API_TOKEN.into(), "0042".into())]);

        let value = |key: &str| {
            contract.get("source").and_then(|s| s.find_ref("server")?.find_ref(key)).and_then(Value::as_str)
        };
        assert_eq!((value("url"), value("api_token")), (Some("https://h"), Some("0042")));
    }
}
