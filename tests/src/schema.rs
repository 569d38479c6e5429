//! The fields and the words of an API, as its types have them: what a type asks for while it is read.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde::de::value::{Error, StrDeserializer};
use serde::de::{DeserializeSeed, Deserializer, Error as _, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// What is known of the types that documents reach: `TYPE.FIELD` for each field, and `TYPE: WORD` for each word of an
/// enumeration.
#[derive(Debug, Default)]
pub struct Schema {
    /// Those that the types have.
    pub known: BTreeSet<String>,
    /// Those that documents have.
    pub used: BTreeSet<String>,
}

/// A value that notes what is asked of it.
#[derive(Clone, Copy)]
pub struct Noted<'a> {
    value: &'a Value,
    schema: &'a RefCell<Schema>,
}

impl<'a> Noted<'a> {
    /// Returns the value of a document.
    pub fn new(value: &'a Value, schema: &'a RefCell<Schema>) -> Self {
        Self { value, schema }
    }

    fn at(self, value: &'a Value) -> Self {
        Self { value, schema: self.schema }
    }
}

impl<'de> Deserializer<'de> for Noted<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(number), _, _) => visitor.visit_u64(number),
                (None, Some(number), _) => visitor.visit_i64(number),
                (None, None, number) => visitor.visit_f64(number.unwrap_or_default()),
            },
            Value::String(text) => visitor.visit_borrowed_str(text),
            Value::Array(items) => visitor.visit_seq(Items { items: items.iter(), of: self }),
            Value::Object(fields) => visitor.visit_map(Fields { fields, at: 0, of: self }),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.value.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let mut schema = self.schema.borrow_mut();
        let given = self.value.as_object().into_iter().flat_map(Map::keys);
        schema.used.extend(given.map(|field| format!("{name}.{field}")));
        schema.known.extend(fields.iter().map(|field| format!("{name}.{field}")));
        drop(schema);
        self.deserialize_any(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let Some(word) = self.value.as_str() else { return Err(Error::custom(format!("{name}: want a word"))) };
        let mut schema = self.schema.borrow_mut();
        schema.known.extend(variants.iter().map(|variant| format!("{name}: {variant}")));
        schema.used.insert(format!("{name}: {word}"));
        drop(schema);
        let word: StrDeserializer<'_, Error> = word.into_deserializer();
        visitor.visit_enum(word)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier ignored_any
    }
}

struct Items<'a> {
    items: std::slice::Iter<'a, Value>,
    of: Noted<'a>,
}

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        let Some(item) = self.items.next() else { return Ok(None) };
        seed.deserialize(self.of.at(item)).map(Some)
    }
}

struct Fields<'a> {
    fields: &'a Map<String, Value>,
    at: usize,
    of: Noted<'a>,
}

impl<'de> MapAccess<'de> for Fields<'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some(name) = self.fields.keys().nth(self.at) else { return Ok(None) };
        let name: StrDeserializer<'_, Error> = name.as_str().into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let Some(value) = self.fields.values().nth(self.at) else { return Err(Error::custom("a value")) };
        self.at += 1;
        seed.deserialize(self.of.at(value))
    }
}
