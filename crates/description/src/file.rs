//! The files that descriptions are held against.

use serde::Serialize as _;
use serde_json::Value;
use serde_json::ser::{PrettyFormatter, Serializer};
use std::path::Path;

/// Set by `cargo xtask describe`: files are written instead of compared.
const WRITE: &str = "SHOP_WRITE_DESCRIPTIONS";

/// Holds the file at `path` against `document`, or writes it if `cargo xtask describe` asks for that.
///
/// # Panics
/// If the file says anything else.
pub fn expect_file(path: &Path, document: &Value) {
    if std::env::var_os(WRITE).is_some() {
        let written = std::fs::write(path, text(document));
        assert!(written.is_ok(), "cannot write {}: {written:?}", path.display());
        return;
    }
    let kept = std::fs::read(path).unwrap_or_default();
    let kept: Value = serde_json::from_slice(&kept).unwrap_or_default();
    let place = difference("", &kept, document);
    assert!(
        place.is_none(),
        "{} is not what the code says, first at {}: run `cargo xtask describe`",
        path.display(),
        place.unwrap_or_default()
    );
}

/// The file's text: a line for each value, so that a change of it can be read, and no wide margins.
fn text(document: &Value) -> Vec<u8> {
    let mut text = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut text, PrettyFormatter::with_indent(b" "));
    // What is JSON already can always be written.
    let written = sorted(document).serialize(&mut serializer);
    assert!(written.is_ok(), "{written:?}");
    text.push(b'\n');
    text
}

/// The same with the members of every object in alphabetical order, whichever order serde_json was built to keep.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut names: Vec<&String> = members.keys().collect();
            names.sort();
            let members = names
                .into_iter()
                .map(|name| (name.clone(), sorted(&members[name])));
            Value::Object(members.collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        value => value.clone(),
    }
}

/// The JSON pointer to the first place where two documents differ.
fn difference(place: &str, one: &Value, other: &Value) -> Option<String> {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            let names = one.keys().chain(other.keys());
            let null = Value::Null;
            names
                .map(|name| {
                    (
                        name,
                        one.get(name).unwrap_or(&null),
                        other.get(name).unwrap_or(&null),
                    )
                })
                .find_map(|(name, one, other)| difference(&format!("{place}/{name}"), one, other))
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => one
            .iter()
            .zip(other)
            .enumerate()
            .find_map(|(index, (one, other))| difference(&format!("{place}/{index}"), one, other)),
        _ => (one != other).then(|| format!("{place}: {} is to be {}", short(one), short(other))),
    }
}

/// A value as a line of a message.
fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(100) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_difference_is_found_where_it_is() {
        let one = json!({"a": [1, {"b": 2}], "c": null});
        assert_eq!(difference("", &one, &one), None);
        let other = json!({"a": [1, {"b": 3}], "c": null});
        assert_eq!(
            difference("", &one, &other).as_deref(),
            Some("/a/1/b: 2 is to be 3")
        );
        for other in [json!({"a": [1]}), json!({"a": [1, {"b": 2}], "d": 1}), json!([])] {
            assert!(difference("", &one, &other).is_some(), "{other}");
        }
    }

    #[test]
    fn a_file_reads_back_as_the_document_it_was_made_of() {
        let document = json!({"b": {"d": [], "c": "ж"}, "a": 1.5});
        let text = text(&document);
        assert_eq!(serde_json::from_slice::<Value>(&text).unwrap(), document);
        assert!(text.starts_with(b"{\n \"a\""));
    }
}
