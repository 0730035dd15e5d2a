//! Contexts from the command line.

use std::{fs, path::Path};

use leverframe::{AttrValue, EvalContext, EvalOptions, eval::EvalContextBuilder};
use serde_json::Value;

use crate::{
    args::ContextArgs,
    failure::{Failure, exit},
};

/// A context file is small; anything larger is a mistake.
const LARGEST: u64 = 1024 * 1024;

impl ContextArgs {
    /// Builds the context: the file first, then each `--ctx`.
    pub(crate) fn context(&self) -> Result<EvalContext, Failure> {
        let mut builder = EvalContext::builder();
        if let Some(path) = &self.ctx_file {
            builder = from_file(builder, path)?;
        }
        for text in &self.ctx {
            let (key, value) = parse(text)?;
            builder = builder.attr(key, value);
        }
        Ok(builder.build())
    }

    pub(crate) fn options(&self) -> EvalOptions {
        EvalOptions::new().with_include_testing(self.include_testing)
    }

    pub(crate) fn is_given(&self) -> bool {
        self.ctx_file.is_some() || !self.ctx.is_empty()
    }
}

fn from_file(builder: EvalContextBuilder, path: &Path) -> Result<EvalContextBuilder, Failure> {
    let io = |error: std::io::Error| {
        Failure::new(exit::IO, format!("failed to read `{}`: {error}", path.display()))
    };
    if fs::metadata(path).map_err(io)?.len() > LARGEST {
        return Err(Failure::usage(format!("`{}` is larger than {LARGEST} bytes", path.display())));
    }
    let text = fs::read_to_string(path).map_err(io)?;
    let refuse = |reason: String| {
        Failure::usage(format!("`{}` holds no context: {reason}", path.display())).with_hint(
            "write a flat JSON object: {\"user.id\": \"u-1\", \"user.age\": 28, \"user.roles\": [\"admin\"]}",
        )
    };
    let value: Value = serde_json::from_str(&text).map_err(|e| refuse(e.to_string()))?;
    let Value::Object(attributes) = value else { return Err(refuse("it is no object".to_owned())) };
    attributes.into_iter().try_fold(builder, |builder, (key, value)| {
        let value = AttrValue::from_json(&value)
            .ok_or_else(|| refuse(format!("`{key}` is neither a scalar nor a list of strings")))?;
        Ok(builder.attr(key, value))
    })
}

/// Reads `key=value` or `key:=json`.
fn parse(text: &str) -> Result<(&str, AttrValue), Failure> {
    let refuse = |reason: &str| {
        Failure::usage(format!("`--ctx {text}`: {reason}"))
            .with_hint("write `--ctx user.country=DE`, or `--ctx 'user.age:=28'` for JSON")
    };
    let (key, value) = text.split_once('=').ok_or_else(|| refuse("there is no `=`"))?;
    let (key, value) = match key.strip_suffix(':') {
        Some(key) => {
            let json: Value = serde_json::from_str(value).map_err(|e| refuse(&format!("not JSON: {e}")))?;
            (
                key,
                AttrValue::from_json(&json)
                    .ok_or_else(|| refuse("neither a scalar nor a list of strings"))?,
            )
        }
        None => (key, typed(value)),
    };
    if key.is_empty() {
        return Err(refuse("the key is empty"));
    }
    Ok((key, value))
}

/// Guesses the type from the form; quotes force a string.
fn typed(text: &str) -> AttrValue {
    if let Some(inner) = text.strip_prefix('"').and_then(|t| t.strip_suffix('"')) {
        return AttrValue::from(inner);
    }
    if let Some(inner) = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
        let items = inner
            .split(',')
            .map(|item| item.trim().trim_matches('"').to_owned())
            .filter(|item| !item.is_empty());
        return AttrValue::StrList(items.collect());
    }
    match text {
        "true" => return AttrValue::Boolean(true),
        "false" => return AttrValue::Boolean(false),
        _ => {}
    }
    let digits = text.strip_prefix('-').unwrap_or(text);
    let all_digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
    if all_digits(digits)
        && let Ok(int) = text.parse()
    {
        return AttrValue::Int(int);
    }
    if let Some((whole, fraction)) = digits.split_once('.')
        && all_digits(whole)
        && all_digits(fraction)
        && let Ok(float) = text.parse()
    {
        return AttrValue::Float(float);
    }
    AttrValue::from(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value(text: &str) -> AttrValue {
        parse(text).unwrap().1
    }

    #[test]
    fn the_form_decides_the_type() {
        assert_eq!(value("k=true"), AttrValue::Boolean(true));
        assert_eq!(value("k=-12"), AttrValue::Int(-12));
        assert_eq!(value("k=4.20"), AttrValue::Float(4.2));
        assert_eq!(value("k=[a, b]"), AttrValue::StrList(vec!["a".into(), "b".into()]));
        assert_eq!(value("k=\"7\""), AttrValue::from("7"));
        assert_eq!(value("k=1.2.3"), AttrValue::from("1.2.3"));
        assert_eq!(value("k=a=b"), AttrValue::from("a=b"));
        assert_eq!(value("k="), AttrValue::from(""));
        assert_eq!(value("k:=[\"x\"]"), AttrValue::StrList(vec!["x".into()]));
        assert_eq!(value("k:=7"), AttrValue::Int(7));
    }

    #[test]
    fn what_is_no_attribute_is_refused() {
        for bad in ["k", "=v", "k:={}", "k:=[1]", "k:=null", "k:=x"] {
            assert_eq!(parse(bad).unwrap_err().code(), exit::USAGE, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".*") {
            let _ = parse(&text);
        }

        #[test]
        fn quotes_force_a_string(text in "[^\"]*") {
            prop_assert_eq!(value(&format!("k=\"{text}\"")), AttrValue::from(text));
        }

        #[test]
        fn integers_are_integers(int in any::<i64>()) {
            prop_assert_eq!(value(&format!("k={int}")), AttrValue::Int(int));
        }
    }
}
