//! Texts of several JSON values, one after the other, as tools print them that show one object at a time.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// A JSON value with its place.
pub(crate) struct JsonDocument {
    pub(crate) value: Value,
    /// The line on which the value starts, counted from 1.
    pub(crate) line: usize,
}

/// Returns the JSON values of a text. `None` means that it is not JSON, or that a key stands in an object twice.
pub(crate) fn parse(text: &str) -> Option<Vec<JsonDocument>> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<UniqueKeys>();
    let mut documents = Vec::new();
    let (mut line, mut counted) = (1, 0);
    loop {
        let blank = text[values.byte_offset()..].bytes().take_while(u8::is_ascii_whitespace).count();
        let start = values.byte_offset() + blank;
        let Some(value) = values.next() else { return Some(documents) };
        line += text[counted..start].matches('\n').count();
        counted = start;
        documents.push(JsonDocument { value: value.ok()?.0, line });
    }
}

/// A value in whose objects no key stands twice.
struct UniqueKeys(Value);

impl<'de> Deserialize<'de> for UniqueKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UniqueKeysVisitor).map(Self)
    }
}

struct UniqueKeysVisitor;

impl<'de> Visitor<'de> for UniqueKeysVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("want a finite number"))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(UniqueKeys(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some((key, UniqueKeys(value))) = entries.next_entry::<String, _>()? {
            if map.insert(key, value).is_some() {
                return Err(A::Error::custom("a key stands twice"));
            }
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_follow_each_other_and_know_their_line() {
        let documents = parse("{\"a\": [1, -2, 1.5, null, true]}\n\n{\"b\": \"\\ud83d\\ude00\"} [\n3]\n").unwrap();
        let shown: Vec<(usize, Value)> =
            documents.into_iter().map(|document| (document.line, document.value)).collect();
        assert_eq!(shown, [(1, json!({"a": [1, -2, 1.5, null, true]})), (3, json!({"b": "😀"})), (3, json!([3]))]);
    }

    #[test]
    fn what_is_not_json_or_has_a_key_twice_is_not_taken() {
        for text in ["{a: 1}", "{\"a\": 1, \"a\": 2}", "{\"a\": 1} x", "{", "\"\\ud83d\""] {
            assert!(parse(text).is_none(), "{text}");
        }
        assert!(parse(" \n").unwrap().is_empty());
    }
}
