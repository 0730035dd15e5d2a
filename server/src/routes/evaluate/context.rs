//! Evaluation contexts as they come in requests: read straight into attributes, without a tree in between.

use std::{borrow::Cow, fmt, mem};

use leverframe::{AttrValue, EvalContext, EvalContextBuilder};
use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor},
};

/// Text that borrows from the body where it has no escapes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Text<'b>(pub(crate) Cow<'b, str>);

impl<'de: 'b, 'b> Deserialize<'de> for Text<'b> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(TextVisitor)
    }
}

/// A context whose values are scalars and lists of strings, and nothing deeper.
#[derive(Debug, Default)]
pub(crate) struct Flat(pub(crate) EvalContext);

impl<'de> Deserialize<'de> for Flat {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read(deserializer, Nested::Refused).map(Self)
    }
}

/// A context whose objects are flattened to dotted keys, and whose nulls count as absent.
#[derive(Debug, Default)]
pub(crate) struct Flattened(pub(crate) EvalContext);

impl<'de> Deserialize<'de> for Flattened {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read(deserializer, Nested::Flattened).map(Self)
    }
}

/// What becomes of objects inside the context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nested {
    Flattened,
    Refused,
}

/// Bytes of a key. No manifest reads longer ones, and flattening would let a small body grow without bound.
const LONGEST_KEY: usize = 1024;

fn read<'de, D: Deserializer<'de>>(deserializer: D, nested: Nested) -> Result<EvalContext, D::Error> {
    let mut builder = EvalContext::builder();
    deserializer.deserialize_map(Entries { builder: &mut builder, nested, prefix: "" })?;
    Ok(builder.build())
}

struct Entries<'c> {
    builder: &'c mut EvalContextBuilder,
    nested: Nested,
    prefix: &'c str,
}

impl<'de> Visitor<'de> for Entries<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of attributes")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Text(key)) = map.next_key()? {
            let key = if self.prefix.is_empty() { key } else { format!("{}.{key}", self.prefix).into() };
            if key.len() > LONGEST_KEY {
                return Err(A::Error::custom(format!("a key has more than {LONGEST_KEY} bytes")));
            }
            map.next_value_seed(Value { builder: &mut *self.builder, nested: self.nested, key: &key })?;
        }
        Ok(())
    }
}

struct Value<'c> {
    builder: &'c mut EvalContextBuilder,
    nested: Nested,
    key: &'c str,
}

impl Value<'_> {
    fn put(self, value: AttrValue) {
        *self.builder = mem::replace(self.builder, EvalContext::builder()).attr(self.key, value);
    }
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a string, boolean, number or list of strings as `{}`", self.key)
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.put(AttrValue::Boolean(value));
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.put(AttrValue::Int(value));
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        // As the library reads JSON: what no signed integer holds is a float.
        self.put(i64::try_from(value).map_or(AttrValue::Float(value as f64), AttrValue::Int));
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.put(AttrValue::Float(value));
        Ok(())
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        self.put(AttrValue::String(value.to_owned()));
        Ok(())
    }

    fn visit_string<E>(self, value: String) -> Result<(), E> {
        self.put(AttrValue::String(value));
        Ok(())
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        match self.nested {
            Nested::Flattened => Ok(()),
            Nested::Refused => {
                Err(E::custom(format!("`{}` is null; leave an absent attribute out", self.key)))
            }
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(Item { key: self.key })? {
            items.push(item);
        }
        self.put(AttrValue::StrList(items));
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        match self.nested {
            Nested::Flattened => {
                Entries { builder: self.builder, nested: self.nested, prefix: self.key }.visit_map(map)
            }
            Nested::Refused => Err(A::Error::custom(format!(
                "`{key}` is an object, and a context is flat: send its parts under keys such as `{key}.name`",
                key = self.key
            ))),
        }
    }
}

/// An item of a list of strings.
struct Item<'c> {
    key: &'c str,
}

impl<'de> DeserializeSeed<'de> for Item<'_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Item<'_> {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "only strings in the list `{}`", self.key)
    }

    fn visit_str<E>(self, value: &str) -> Result<String, E> {
        Ok(value.to_owned())
    }

    fn visit_string<E>(self, value: String) -> Result<String, E> {
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value as Json, json};

    use super::*;

    fn flat(text: &str) -> Result<EvalContext, String> {
        serde_json::from_str::<Flat>(text).map(|Flat(context)| context).map_err(|error| error.to_string())
    }

    #[test]
    fn scalars_and_lists_of_strings_are_read_and_the_last_of_equal_keys_holds() {
        let context =
            flat(r#"{"s":"a\nb","b":true,"i":-3,"u":9223372036854775808,"f":1.5,"l":["x","\u00e4"],"i":4}"#);
        let context = context.unwrap();

        assert_eq!(context.get("s"), Some(&"a\nb".into()));
        assert_eq!(context.get("b"), Some(&true.into()));
        assert_eq!(context.get("i"), Some(&4.into()));
        assert_eq!(context.get("u"), Some(&9_223_372_036_854_775_808.0.into()));
        assert_eq!(context.get("f"), Some(&1.5.into()));
        assert_eq!(context.get("l"), Some(&vec!["x".to_owned(), "ä".to_owned()].into()));
        assert_eq!(context.len(), 6);
    }

    #[test]
    fn what_is_no_attribute_is_refused_by_name() {
        for (text, part) in [
            (r#"{"user":{"id":1}}"#, "`user` is an object"),
            (r#"{"user.id":null}"#, "`user.id` is null"),
            (r#"{"tags":["a",1]}"#, "only strings in the list `tags`"),
            (r#"{"tags":[["a"]]}"#, "only strings in the list `tags`"),
            ("[]", "an object of attributes"),
            ("3", "an object of attributes"),
        ] {
            let error = flat(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
        assert!(flat(&format!(r#"{{"{}":1}}"#, "k".repeat(LONGEST_KEY + 1))).is_err());
    }

    #[test]
    fn objects_flatten_to_dotted_keys_and_nulls_are_absent() {
        let text = r#"{"user":{"plan":"pro","org":{"id":7,"tags":["a"]}},"gone":null,"empty":{}}"#;
        let Flattened(context) = serde_json::from_str(text).unwrap();

        assert_eq!(context.get("user.plan"), Some(&"pro".into()));
        assert_eq!(context.get("user.org.id"), Some(&7.into()));
        assert_eq!(context.get("user.org.tags"), Some(&vec!["a".to_owned()].into()));
        assert_eq!(context.len(), 3);
    }

    #[test]
    fn flattening_does_not_let_a_small_body_grow() {
        let long = "k".repeat(600);
        let text = format!(r#"{{"{long}":{{"{long}":{{"a":1}}}}}}"#);

        assert!(serde_json::from_str::<Flattened>(&text).is_err());
    }

    proptest! {
        #[test]
        fn reads_what_the_library_reads(entries in prop::collection::btree_map("[a-z.]{0,6}", value(), 0..6)) {
            let text = Json::Object(entries.clone().into_iter().collect()).to_string();
            let read = flat(&text);
            let attributes: Option<Vec<(String, AttrValue)>> =
                entries.iter().map(|(k, v)| AttrValue::from_json(v).map(|v| (k.clone(), v))).collect();
            match attributes {
                Some(attributes) => {
                    let built = attributes.into_iter().fold(EvalContext::builder(), |b, (k, v)| b.attr(k, v)).build();
                    prop_assert_eq!(read.unwrap(), built);
                }
                None => prop_assert!(read.is_err()),
            }
        }
    }

    fn value() -> impl Strategy<Value = Json> {
        prop_oneof![
            any::<bool>().prop_map(Json::from),
            any::<i64>().prop_map(Json::from),
            any::<u64>().prop_map(Json::from),
            (-1e9..1e9).prop_map(Json::from),
            any::<String>().prop_map(Json::from),
            prop::collection::vec(any::<String>(), 0..3).prop_map(Json::from),
            Just(Json::Null),
            Just(json!({"a": 1})),
            Just(json!([1])),
            any::<f64>().prop_filter("finite", |v| v.is_finite()).prop_map(Json::from),
        ]
    }
}
