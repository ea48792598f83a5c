//! Log lines: one JSON object a line on standard error, which every host collects.

use serde_json::{Map, Value};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Info,
    Warn,
    Error,
}

/// Writes one line. `fields` hold what identifies the thing that happened; never a secret, never a person's data.
pub fn line(level: Level, message: &str, fields: &[(&str, &str)]) {
    let level = match level {
        Level::Info => "INFO",
        Level::Warn => "WARN",
        Level::Error => "ERROR",
    };
    let mut object = Map::new();
    object.insert(
        "timestamp".to_owned(),
        contracts::Timestamp::now().to_string().into(),
    );
    object.insert("level".to_owned(), level.into());
    object.insert("message".to_owned(), message.into());
    for (name, value) in fields {
        object.insert((*name).to_owned(), (*value).into());
    }
    eprintln!("{}", Value::Object(object));
}
