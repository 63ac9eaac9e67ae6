//! Query strings: numbers in canonical form, and errors that name the field, its value and what was expected.

use axum::{extract::Query, http::Uri};
use ks_protocol::{number::canonical, reading};
use serde::{
    Deserializer,
    de::{
        DeserializeOwned, Error as _, IntoDeserializer, Unexpected, Visitor,
        value::{Error, MapDeserializer},
    },
    forward_to_deserialize_any,
};

/// Reads the query of a URI.
///
/// # Errors
/// A field is unknown, missing or repeated, or its value is not what was expected; in plain words.
pub fn read<T: DeserializeOwned>(uri: &Uri) -> Result<T, String> {
    let pairs = Query::<Vec<(String, String)>>::try_from_uri(uri).map_err(|rejection| rejection.body_text())?;
    let fields = pairs.0.into_iter().map(|(name, given)| (name, FieldText(given)));
    serde_path_to_error::deserialize(MapDeserializer::new(fields)).map_err(|error| {
        let words = reading::plain(&error.inner().to_string());
        match error.path().to_string().as_str() {
            "." => words,
            field => format!("{field}: {words}"),
        }
    })
}

/// The text of a field.
struct FieldText(String);

impl IntoDeserializer<'_, Error> for FieldText {
    type Deserializer = Self;
    fn into_deserializer(self) -> Self {
        self
    }
}

impl FieldText {
    /// The number, if it is in canonical form: no sign but a minus, no leading zeros.
    fn number<T: std::str::FromStr + ToString>(&self) -> Option<T> {
        canonical(&self.0)
    }
}

macro_rules! numbers {
    ($($method:ident => $visit:ident),*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            match self.number() {
                Some(number) => visitor.$visit(number),
                None => Err(Error::invalid_type(Unexpected::Other(&format!("`{}`", self.0)), &visitor)),
            }
        })*
    };
}

impl<'de> Deserializer<'de> for FieldText {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_string(self.0)
    }

    numbers! {
        deserialize_u8 => visit_u64, deserialize_u16 => visit_u64, deserialize_u32 => visit_u64, deserialize_u64 => visit_u64,
        deserialize_i8 => visit_i64, deserialize_i16 => visit_i64, deserialize_i32 => visit_i64, deserialize_i64 => visit_i64,
        deserialize_bool => visit_bool
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        words: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.0.into_deserializer().deserialize_enum(name, words, visitor)
    }

    forward_to_deserialize_any! {
        i128 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, serde::Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "snake_case")]
    struct Fields {
        version: Option<u64>,
        offset: Option<i32>,
        small: Option<u8>,
        is_open: Option<bool>,
        text: Option<String>,
        way: Option<Way>,
    }

    #[derive(Debug, PartialEq, serde::Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Way {
        In,
        Out,
    }

    fn parse(query: &str) -> Result<Fields, String> {
        read(&format!("/x?{query}").parse().unwrap())
    }

    #[test]
    fn fields_are_read_in_canonical_form() {
        let read = parse("version=18446744073709551615&offset=-60&small=0&is_open=true&text=%2B1+a&way=out").unwrap();
        let way = Some(Way::Out);
        let expected = Fields {
            version: Some(u64::MAX),
            offset: Some(-60),
            small: Some(0),
            is_open: Some(true),
            text: Some("+1 a".into()),
            way,
        };
        assert_eq!(read, expected);
        assert_eq!(parse("").unwrap().version, None);
    }

    #[test]
    fn an_unexpected_value_is_in_the_error() {
        for number in ["%2B1", "+1", "01", "-0", "1.0", "1e3", "0x1", "", "one", "18446744073709551616", "%D9%A1"] {
            let error = parse(&format!("version={number}")).unwrap_err();
            assert!(error.starts_with("version: expected a whole number, got `"), "{number}: {error}");
        }
        for (query, expected) in [
            ("version=01", "version: expected a whole number, got `01`"),
            ("offset=--1", "offset: expected a whole number, got `--1`"),
            ("small=300", "small: expected a whole number, got `300`"),
            ("is_open=yes", "is_open: expected true or false, got `yes`"),
            ("way=up", "way: expected `in` or `out`, got `up`"),
            ("version=1&version=1", "duplicate field `version`"),
        ] {
            assert_eq!(parse(query).unwrap_err(), expected);
        }
        assert!(parse("versoin=1").unwrap_err().contains("unknown field `versoin`"));
    }
}
