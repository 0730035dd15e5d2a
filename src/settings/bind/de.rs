//! Reads JSON values as types, with errors that name the place and the types and show nothing of the value.

use std::fmt;

use serde::{
    Deserializer,
    de::{
        DeserializeSeed, EnumAccess, Error, Expected, IntoDeserializer, MapAccess, SeqAccess, Unexpected,
        VariantAccess, Visitor, value::BorrowedStrDeserializer,
    },
    forward_to_deserialize_any,
};
use serde_json::{Map, Value};

/// Why a value is not of a type.
#[derive(Debug)]
pub(super) struct Fault {
    /// The innermost part first.
    path: Vec<String>,
    pub(super) reason: String,
}

impl Fault {
    fn because(reason: impl Into<String>) -> Self {
        Self { path: Vec::new(), reason: reason.into() }
    }

    fn within(mut self, part: impl Into<String>) -> Self {
        self.path.push(part.into());
        self
    }

    /// Returns the way to the part that does not fit, such as `pool.size`.
    pub(super) fn path(&self) -> String {
        self.path.iter().rev().map(String::as_str).collect::<Vec<_>>().join(".")
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for Fault {}

impl Error for Fault {
    fn custom<T: fmt::Display>(_: T) -> Self {
        // The text is that of whoever wrote the type, and may well repeat the value.
        Self::because("the type does not accept it")
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::because(format!("it is {}, and has to be {expected}", word(&found)))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::because(format!("it is {} out of range, and has to be {expected}", word(&found)))
    }

    fn invalid_length(length: usize, expected: &dyn Expected) -> Self {
        Self::because(format!("it has {length} elements, and has to be {expected}"))
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        Self::because(format!("it is none of {}", expected.join(", ")))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        let known = if expected.is_empty() { "none".to_owned() } else { expected.join(", ") };
        Self::because(format!("the type does not know it; known are: {known}")).within(field)
    }

    fn missing_field(field: &'static str) -> Self {
        Self::because("it is missing").within(field)
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::because("it is there twice").within(field)
    }
}

fn word(found: &Unexpected<'_>) -> &'static str {
    match found {
        Unexpected::Bool(_) => "a boolean",
        Unexpected::Unsigned(_) | Unexpected::Signed(_) => "an integer",
        Unexpected::Float(_) => "a number with a fraction",
        Unexpected::Char(_) | Unexpected::Str(_) => "a string",
        Unexpected::Unit => "null",
        Unexpected::Option => "nothing",
        Unexpected::Seq => "a list",
        Unexpected::Map => "an object",
        _ => "of another form",
    }
}

/// A value that is read.
#[derive(Clone, Copy)]
pub(super) struct Node<'v>(pub(super) &'v Value);

impl<'de> Deserializer<'de> for Node<'de> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Number(number) => match (number.as_u64(), number.as_i64()) {
                (Some(value), _) => visitor.visit_u64(value),
                (None, Some(value)) => visitor.visit_i64(value),
                (None, None) => visitor.visit_f64(number.as_f64().unwrap_or(f64::NAN)),
            },
            Value::String(value) => visitor.visit_borrowed_str(value),
            Value::Array(values) => visitor.visit_seq(List { values: values.iter(), at: 0 }),
            Value::Object(fields) => visitor.visit_map(Fields::of(fields)),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match self.0 {
            Value::String(name) => visitor.visit_enum(BorrowedStrDeserializer::<Fault>::new(name)),
            Value::Object(fields) => match fields.iter().next() {
                Some((name, value)) if fields.len() == 1 => visitor.visit_enum(Variant { name, value }),
                _ => Err(Fault::because("it has to be an object with one field, which names the variant")),
            },
            _ => Err(Fault::because("it has to be a string or an object, which names the variant")),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}

struct List<'v> {
    values: std::slice::Iter<'v, Value>,
    at: usize,
}

impl<'v> SeqAccess<'v> for List<'v> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'v>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        let Some(value) = self.values.next() else { return Ok(None) };
        let at = self.at;
        self.at += 1;
        seed.deserialize(Node(value)).map(Some).map_err(|fault| fault.within(at.to_string()))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.values.len())
    }
}

struct Fields<'v> {
    fields: serde_json::map::Iter<'v>,
    value: Option<(&'v String, &'v Value)>,
}

impl<'v> Fields<'v> {
    fn of(fields: &'v Map<String, Value>) -> Self {
        Self { fields: fields.iter(), value: None }
    }
}

impl<'v> MapAccess<'v> for Fields<'v> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'v>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        self.value = self.fields.next();
        let Some((name, _)) = self.value else { return Ok(None) };
        seed.deserialize(BorrowedStrDeserializer::<Fault>::new(name)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'v>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let Some((name, value)) = self.value.take() else {
            return Err(Fault::because("the type reads values without keys"));
        };
        seed.deserialize(Node(value)).map_err(|fault| fault.within(name))
    }
}

struct Variant<'v> {
    name: &'v str,
    value: &'v Value,
}

impl<'v> EnumAccess<'v> for Variant<'v> {
    type Error = Fault;
    type Variant = Node<'v>;

    fn variant_seed<V: DeserializeSeed<'v>>(self, seed: V) -> Result<(V::Value, Node<'v>), Fault> {
        let name: serde::de::value::StrDeserializer<'v, Fault> = self.name.into_deserializer();
        Ok((seed.deserialize(name)?, Node(self.value)))
    }
}

impl<'v> VariantAccess<'v> for Node<'v> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        if self.0.is_null() { Ok(()) } else { Err(Fault::because("the variant has no content")) }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'v>>(self, seed: T) -> Result<T::Value, Fault> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'v>>(self, _: usize, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_any(visitor)
    }

    fn struct_variant<V: Visitor<'v>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_any(visitor)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Serialize};
    use serde_json::json;

    use super::*;

    #[derive(Debug, Deserialize, Serialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Whole {
        name: String,
        port: u16,
        ratio: f64,
        maybe: Option<i8>,
        list: Vec<(u8, bool)>,
        mode: Mode,
        modes: Vec<Mode>,
        rest: BTreeMap<String, Value>,
    }

    #[derive(Debug, Deserialize, Serialize, PartialEq)]
    enum Mode {
        Off,
        Level(u8),
        Pair(u8, u8),
        Named { level: u8 },
    }

    fn whole() -> Value {
        json!({
            "name": "n", "port": 80, "ratio": 2, "maybe": -1, "list": [[1, true]], "mode": "Off",
            "modes": [{"Level": 1}, {"Pair": [1, 2]}, {"Named": {"level": 3}}, {"Off": null}],
            "rest": {"a": [null, {"b": 1.5}]},
        })
    }

    #[test]
    fn values_are_read_as_the_json_library_reads_them() {
        let value = whole();

        assert_eq!(Whole::deserialize(Node(&value)).unwrap(), Whole::deserialize(&value).unwrap());
    }

    #[test]
    fn faults_name_the_place_and_the_types_and_show_nothing_of_the_value() {
        let with = |pointer: &str, value: Value| {
            let mut all = whole();
            *all.pointer_mut(pointer).unwrap() = value;
            all
        };
        let canary = || Value::from("canary");
        for (value, path, part) in [
            (with("/port", canary()), "port", "it is a string, and has to be u16"),
            (with("/port", json!(70_123)), "port", "out of range"),
            (with("/name", json!(424_242)), "name", "it is an integer, and has to be a string"),
            (with("/ratio", Value::Null), "ratio", "it is null"),
            (with("/list/0/1", canary()), "list.0.1", "it is a string, and has to be a boolean"),
            (with("/mode", canary()), "mode", "it is none of Off, Level, Pair, Named"),
            (with("/modes/1", json!({"canary": 1})), "modes.1", "it is none of"),
            (with("/modes/2/Named/level", canary()), "modes.2.level", "it is a string, and has to be u8"),
            (json!({"canary": 1}), "canary", "does not know it"),
            (json!({"name": "canary"}), "port", "it is missing"),
            (canary(), "", "it is a string, and has to be struct Whole"),
        ] {
            let fault = Whole::deserialize(Node(&value)).unwrap_err();
            assert_eq!(fault.path(), path);
            assert!(fault.reason.contains(part), "{}", fault.reason);
            assert!(
                !["canary", "424242", "70123"].iter().any(|shown| fault.reason.contains(shown)),
                "{}",
                fault.reason
            );
        }
    }
}
