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
