//! The environment as a layer, values to the letter.

use figment::value::{Dict, Value};

use crate::backends::http_backend::HttpBackend;

/// Variables that begin so are settings.
const PREFIX: &str = "LEVERFRAME_";
/// The variable of the flag client's public contract; `LEVERFRAME_TRANSPORT__USE` wins over it.
const HTTP_BACKEND: &str = "EXD_HTTP_BACKEND";

/// Returns the variables of the process that are settings; those that are not Unicode are left out.
///
/// The one place that reads the environment. Pass the result to
/// [`ConfigBuilder::environment`](super::ConfigBuilder::environment).
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub fn process_environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(key, _)| key.starts_with(PREFIX) || key == HTTP_BACKEND)
        .collect()
}

/// Sorts variables into the contract's own, which are weaker, and ours.
pub(super) fn split(variables: Vec<(String, String)>) -> (Dict, Dict) {
    let (mut contract, mut ours) = (Dict::new(), Dict::new());
    for (key, value) in variables {
        if let Some(rest) = key.strip_prefix(PREFIX) {
            let path = rest.to_ascii_lowercase();
            // Strings stay strings: a token of digits must not lose its leading zero.
            insert(&mut ours, path.split("__"), list_or_text(&path, value));
        } else if key == HTTP_BACKEND
            && let Some(backend) = HttpBackend::of_contract(&value)
        {
            insert(&mut contract, ["transport", "use"], Value::from(backend.name()));
        }
    }
    (contract, ours)
}

/// Lists are written with commas: they are the one type that a plain string cannot become.
fn list_or_text(path: &str, value: String) -> Value {
    if path == "telemetry__use" {
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
}
