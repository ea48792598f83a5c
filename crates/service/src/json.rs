//! Reads JSON as strictly as the API promises: an object where an object belongs, no unknown and no duplicate
//! field (the shapes say `deny_unknown_fields`), and a path to what is wrong.

use crate::problem::Problem;
use serde::de::{self, DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::marker::PhantomData;

/// A `T` that was written as a JSON object: serde's derived structs would take an array as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = Object<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(de::value::MapAccessDeserializer::new(map)).map(Object)
    }
}

/// A field of a merge patch (RFC 7396): absent, null, or a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Patch<T> {
    #[default]
    Absent,
    Null,
    Value(T),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Patch<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(deserializer)?.map_or(Self::Null, Self::Value))
    }
}

/// Reads a whole number, however it is written: to JSON Schema `2.0` is an integer like `2`, and so it is here.
///
/// # Errors
/// If it is none, or too large for an `f64` to count by ones.
pub fn whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    Whole::deserialize(deserializer).map(|Whole(number)| number)
}

/// The same in a merge patch; what is left out is the field's default.
///
/// # Errors
/// As [`whole`].
pub fn patched_whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Patch<i64>, D::Error> {
    let number = Option::<Whole>::deserialize(deserializer)?;
    Ok(number.map_or(Patch::Null, |Whole(number)| Patch::Value(number)))
}

struct Whole(i64);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WholeVisitor)
    }
}

struct WholeVisitor;

/// Up to here an `f64` counts by ones.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

impl Visitor<'_> for WholeVisitor {
    type Value = Whole;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a whole number")
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Whole, E> {
        Ok(Whole(number))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Whole, E> {
        let whole = i64::try_from(number).map(Whole);
        whole.map_err(|_| E::invalid_value(de::Unexpected::Unsigned(number), &self))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Whole, E> {
        if number.fract() == 0.0 && number.abs() <= MAX_EXACT {
            Ok(Whole(number as i64))
        } else {
            Err(E::invalid_value(de::Unexpected::Float(number), &self))
        }
    }
}

/// Reads one JSON object that may be left out: nothing reads as `{}`.
///
/// # Errors
/// As [`from_slice`].
pub fn optional_from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    from_slice(if bytes.is_empty() { b"{}" } else { bytes })
}

/// Reads one JSON object.
///
/// # Errors
/// 400 if `bytes` is no JSON, 422 if it is no object or not of `T`'s shape.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let Object(value) = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        shape_problem(
            if path == "." { String::new() } else { path },
            error.inner(),
            bytes,
        )
    })?;
    deserializer
        .end()
        .map_err(|_| Problem::malformed("The body goes on after its JSON value."))?;
    Ok(value)
}

fn shape_problem(field: String, error: &serde_json::Error, bytes: &[u8]) -> Problem {
    // An error of shape ends the reading early: what comes after it may still be no JSON.
    let parsable = error.is_data() && serde_json::from_slice::<de::IgnoredAny>(bytes).is_ok();
    if parsable {
        Problem::invalid_field(field, without_position(&error.to_string()))
    } else {
        Problem::malformed("The body is not valid JSON in UTF-8.")
    }
}

fn without_position(message: &str) -> &str {
    message.rfind(" at line ").map_or(message, |end| &message[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::StatusCode;
    use proptest::prelude::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Line {
        quantity: u32,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Cart {
        lines: Vec<Object<Line>>,
        #[serde(default)]
        note: Patch<String>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Counted {
        #[serde(deserialize_with = "whole")]
        count: i64,
        #[serde(default, deserialize_with = "patched_whole")]
        delta: Patch<i64>,
    }

    #[test]
    fn a_whole_number_is_one_however_it_is_written() {
        let read = |text: &str| from_slice::<Counted>(format!(r#"{{"count": {text}}}"#).as_bytes());
        for (text, number) in [
            ("2", 2),
            ("2.0", 2),
            ("-0.0", 0),
            ("-3", -3),
            ("1e3", 1000),
            ("20E-1", 2),
        ] {
            let read = read(text).unwrap();
            assert_eq!((read.count, read.delta), (number, Patch::Absent), "{text}");
        }
        for text in [
            "2.5",
            "1e30",
            "18446744073709551615",
            "\"2\"",
            "null",
            "true",
            "[2]",
            "{}",
        ] {
            let problem = read(text).unwrap_err();
            assert_eq!(problem.status, StatusCode::UNPROCESSABLE_ENTITY, "{text}");
        }
        let patch =
            |text: &str| from_slice::<Counted>(format!(r#"{{"count": 1, "delta": {text}}}"#).as_bytes());
        assert_eq!(patch("null").unwrap().delta, Patch::Null);
        assert_eq!(patch("-2.0").unwrap().delta, Patch::Value(-2));
        assert!(patch("0.5").is_err());
        assert!(from_slice::<Counted>(b"{}").is_err());
    }

    fn status(body: &str) -> StatusCode {
        from_slice::<Cart>(body.as_bytes()).unwrap_err().status
    }

    #[test]
    fn an_object_of_the_right_shape_is_read() {
        let cart: Cart = from_slice(br#" {"lines": [{"quantity": 1}], "note": null} "#).unwrap();
        assert_eq!(
            cart,
            Cart {
                lines: vec![Object(Line { quantity: 1 })],
                note: Patch::Null
            }
        );
    }

    #[test]
    fn what_is_no_json_is_400() {
        for body in [
            "",
            "{",
            r#"{"lines": []} x"#,
            "{\"lines\": [\"\u{0}\"]}",
            r#"{"role": 1, "lines": [}"#,
        ] {
            assert_eq!(status(body), StatusCode::BAD_REQUEST, "{body}");
        }
        assert_eq!(
            from_slice::<Cart>(b"{\"lines\": \"\xff\"}").unwrap_err().status,
            StatusCode::BAD_REQUEST
        );
    }

    #[test]
    fn json_of_another_shape_is_422_arrays_unknown_and_duplicate_fields_included() {
        let bodies = [
            "[]",
            "[[]]",
            "1",
            "null",
            "{}",
            r#"{"lines": {}}"#,
            r#"{"lines": [[1]]}"#,
            r#"{"lines": [], "role": 1}"#,
            r#"{"lines": [], "lines": []}"#,
            r#"{"lines": [{"quantity": -1}]}"#,
            r#"{"lines": [{"quantity": 1.5}]}"#,
        ];
        for body in bodies {
            assert_eq!(status(body), StatusCode::UNPROCESSABLE_ENTITY, "{body}");
        }
    }

    proptest! {
        #[test]
        fn no_body_does_harm(
            body in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..80),
                "[{}\\[\\]\",: a-z0-9\\\\.-]{0,60}".prop_map(String::into_bytes),
            ]
        ) {
            if let Err(problem) = from_slice::<Cart>(&body) {
                prop_assert!(problem.status.is_client_error());
            }
        }
    }
}
