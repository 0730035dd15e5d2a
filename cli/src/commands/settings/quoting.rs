//! Values as other programs read them back, whatever characters they have.

use serde_json::{Map, Value};

/// Writes a text as one word of a POSIX shell.
pub(super) fn shell(text: &str) -> String {
    // Nothing is special between single quotes but the single quote.
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Writes a text as the value of a line of a `.env` file.
pub(super) fn dotenv(text: &str) -> String {
    // Between single quotes nothing is special, and a quote cannot be said.
    if !text.contains(['\'', '\n', '\r']) {
        return format!("'{text}'");
    }
    let mut quoted = String::with_capacity(text.len() + 8);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '\n' => quoted.push_str(r"\n"),
            '\r' => quoted.push_str(r"\r"),
            '"' | '\\' | '$' | '`' => quoted.extend(['\\', c]),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Writes an object as a TOML table of that name; the key whose value TOML has no form for is the error.
pub(super) fn toml(name: &str, table: &Map<String, Value>) -> Result<String, String> {
    let mut text = format!("[{name}]\n");
    for (key, value) in table {
        let value = toml_value(value).ok_or_else(|| key.clone())?;
        text.push_str(&format!("{} = {value}\n", toml_text(key)));
    }
    Ok(text)
}

/// There is no null, and no integer of more than 64 bits with a sign.
fn toml_value(value: &Value) -> Option<String> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(value) => value.to_string(),
        Value::Number(number) if number.is_u64() && !number.is_i64() => return None,
        Value::Number(number) => number.to_string(),
        Value::String(text) => toml_text(text),
        Value::Array(items) => {
            let items: Option<Vec<String>> = items.iter().map(toml_value).collect();
            format!("[{}]", items?.join(", "))
        }
        Value::Object(fields) => {
            let field = |(key, value): (&String, &Value)| {
                Some(format!("{} = {}", toml_text(key), toml_value(value)?))
            };
            let fields: Option<Vec<String>> = fields.iter().map(field).collect();
            format!("{{ {} }}", fields?.join(", "))
        }
    })
}

fn toml_text(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str(r"\n"),
            '\t' => quoted.push_str(r"\t"),
            c if c.is_ascii_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads what `dotenv` writes, by the rule that the documentation gives.
    fn read_dotenv(line: &str) -> String {
        if let Some(text) = line.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')) {
            return text.to_owned();
        }
        let mut inner = line.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap().chars();
        let mut text = String::new();
        while let Some(c) = inner.next() {
            assert!(!['"', '$', '`', '\n'].contains(&c));
            text.push(match c {
                '\\' => match inner.next().unwrap() {
                    'n' => '\n',
                    'r' => '\r',
                    c => c,
                },
                c => c,
            });
        }
        text
    }

    #[test]
    fn plain_texts_stay_readable() {
        assert_eq!(shell("a b$c"), "'a b$c'");
        assert_eq!(shell("it's"), r"'it'\''s'");
        assert_eq!(dotenv("a \"b\" $c \\"), "'a \"b\" $c \\'");
        assert_eq!(dotenv("it's\n$5"), r#""it's\n\$5""#);
    }

    #[test]
    fn toml_has_every_value_but_null_and_what_is_too_large() {
        let table = |text: &str| serde_json::from_str::<Map<String, Value>>(text).unwrap();
        let written =
            toml("configs", &table(r#"{"a.b":"x\"\\\n\u0000","c":[1,2.5,true],"d":{"e f":"g"},"h":{}}"#));

        assert_eq!(
            written.unwrap(),
            "[configs]\n\"a.b\" = \"x\\\"\\\\\\n\\u0000\"\n\"c\" = [1, 2.5, true]\n\"d\" = { \"e f\" = \"g\" }\n\"h\" = {  }\n"
        );
        for bad in [r#"{"k":null}"#, r#"{"k":[{"x":null}]}"#, r#"{"k":18446744073709551615}"#] {
            assert_eq!(toml("configs", &table(bad)), Err("k".to_owned()), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn toml_comes_back(key in "[^\\x00]{1,8}", text in any::<String>(), number in any::<i64>(), float in -1e300..1e300) {
            let fields = serde_json::json!({ "text": text, "list": [number, float, true, { "a": [] }] });
            let table = Map::from_iter([(key, fields.clone()), ("x".to_owned(), serde_json::json!(text))]);

            let read: Value = toml::from_str(&toml("configs", &table).unwrap()).unwrap();

            prop_assert_eq!(read, serde_json::json!({ "configs": table }));
        }

        #[test]
        fn dotenv_comes_back(text in "[^\\x00]{0,40}|[\"'$`\\\\\n\r a]{0,12}") {
            prop_assert_eq!(read_dotenv(&dotenv(&text)), text);
        }
    }
}
