//! What the manifest says of a component's dependencies: other components that answer its imports, within its
//! instance. How they are put together stands in [`crate::compose`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::Value;

/// What Spin lets a dependency inherit. Of these this host gives components outbound hosts and variables alone.
const CONFIGURATIONS: [&str; 7] = [
    "ai_models",
    "allowed_outbound_hosts",
    "environment",
    "files",
    "key_value_stores",
    "sqlite_databases",
    "variables",
];

/// A component that answers imports of another one.
#[derive(Clone)]
pub(crate) struct Dependency {
    /// Which imports it answers: `package:name`, `/interface` and `@version` if they are to be told apart.
    pub(crate) name: String,
    /// The wasm, absolute or relative to the working directory.
    pub(crate) source: PathBuf,
    pub(crate) inherits: Inherits,
}

/// What a dependency may use of what its component may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Inherits {
    All,
    Only(Vec<String>),
}

impl Inherits {
    pub(crate) fn has(&self, configuration: &str) -> bool {
        match self {
            Inherits::All => true,
            Inherits::Only(configurations) => configurations.iter().any(|known| known == configuration),
        }
    }
}

/// Reads `dependencies` and `dependencies_inherit_configuration` of one component. `folder` is where relative
/// paths start.
pub(crate) fn read(
    tables: BTreeMap<String, Value>,
    inherit_all: Option<bool>,
    folder: &Path,
) -> Result<Vec<Dependency>, String> {
    let mut dependencies = Vec::new();
    for (name, value) in tables {
        let dependency = read_one(&name, value, inherit_all, folder)
            .map_err(|reason| format!("dependency \"{name}\": {reason}"))?;
        dependencies.push(dependency);
    }
    Ok(dependencies)
}

fn read_one(
    name: &str,
    value: Value,
    inherit_all: Option<bool>,
    folder: &Path,
) -> Result<Dependency, String> {
    let Value::Table(table) = value else {
        return Err("a `version` from a registry is not implemented: name a file by `path`".to_owned());
    };
    let (mut path, mut inherits) = (None, None);
    for (key, value) in table {
        match (key.as_str(), value) {
            ("path", Value::String(file)) => path = Some(file),
            ("inherit_configuration", value) => inherits = Some(read_inherits(value)?),
            ("path", _) => return Err("`path` is no string".to_owned()),
            _ => {
                return Err(format!(
                    "the key `{key}` is not implemented: name a file by `path`"
                ));
            }
        }
    }
    if inherit_all.is_some() && inherits.is_some() {
        return Err(
            "`inherit_configuration` and the component's `dependencies_inherit_configuration` exclude one another"
                .to_owned(),
        );
    }
    let for_all = match inherit_all {
        Some(true) => Inherits::All,
        _ => Inherits::Only(Vec::new()),
    };
    Ok(Dependency {
        name: name.to_owned(),
        source: folder.join(path.ok_or("`path` is missing")?),
        inherits: inherits.unwrap_or(for_all),
    })
}

fn read_inherits(value: Value) -> Result<Inherits, String> {
    let wrong = || {
        let known = CONFIGURATIONS.join("`, `");
        format!("`inherit_configuration` is true, false or a list out of `{known}`")
    };
    match value {
        Value::Boolean(true) => Ok(Inherits::All),
        Value::Boolean(false) => Ok(Inherits::Only(Vec::new())),
        Value::Array(values) => values
            .into_iter()
            .map(|value| match value {
                // Spin ignores one that it does not know; whoever misspells one hears of it here.
                Value::String(word) if CONFIGURATIONS.contains(&word.as_str()) => Ok(word),
                _ => Err(wrong()),
            })
            .collect::<Result<_, _>>()
            .map(Inherits::Only),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str, inherit_all: Option<bool>) -> Result<Vec<Dependency>, String> {
        let tables = toml::from_str(text).expect("it is TOML");
        read(tables, inherit_all, Path::new("folder"))
    }

    fn inherits(text: &str, inherit_all: Option<bool>) -> Inherits {
        let mut all = read_text(text, inherit_all).expect("it is a dependency");
        all.remove(0).inherits
    }

    #[test]
    fn a_dependency_is_a_file_that_inherits_what_it_is_given() {
        let text =
            "\"a:b/c@1.0.0\" = { path = \"d.wasm\", inherit_configuration = [\"allowed_outbound_hosts\"] }";
        let [dependency] = &read_text(text, None).unwrap()[..] else {
            panic!("one was given");
        };
        assert_eq!(dependency.name, "a:b/c@1.0.0");
        assert_eq!(dependency.source, Path::new("folder/d.wasm"));
        assert!(dependency.inherits.has("allowed_outbound_hosts"));
        assert!(!dependency.inherits.has("variables"));
    }

    #[test]
    fn nothing_is_inherited_that_is_not_named() {
        let nothing = Inherits::Only(Vec::new());
        assert_eq!(inherits("\"a:b\" = { path = \"x\" }", None), nothing);
        assert_eq!(inherits("\"a:b\" = { path = \"x\" }", Some(false)), nothing);
        assert_eq!(inherits("\"a:b\" = { path = \"x\" }", Some(true)), Inherits::All);
        let table = |value: &str| format!("\"a:b\" = {{ path = \"x\", inherit_configuration = {value} }}");
        assert_eq!(inherits(&table("true"), None), Inherits::All);
        assert_eq!(inherits(&table("false"), None), nothing);
        assert_eq!(inherits(&table("[]"), None), nothing);
    }

    #[test]
    fn what_is_not_implemented_or_wrong_is_named() {
        for (text, inherit_all, expected) in [
            ("\"a:b\" = \">= 0.1.0\"", None, "`version`"),
            ("\"a:b\" = { version = \"0.1.0\" }", None, "`version`"),
            (
                "\"a:b\" = { version = \"1\", registry = \"r\" }",
                None,
                "`registry`",
            ),
            ("\"a:b\" = { path = \"x\", package = \"c:d\" }", None, "`package`"),
            (
                "\"a:b\" = { url = \"http://x\", digest = \"d\" }",
                None,
                "`digest`",
            ),
            ("\"a:b\" = { url = \"http://x\" }", None, "`url`"),
            ("\"a:b\" = { component = \"b\" }", None, "`component`"),
            ("\"a:b\" = { path = \"x\", export = \"c:d/e\" }", None, "`export`"),
            (
                "\"a:b\" = { inherit_configuration = true }",
                None,
                "`path` is missing",
            ),
            ("\"a:b\" = { path = 1 }", None, "`path` is no string"),
            (
                "\"a:b\" = { path = \"x\", inherit_configuration = [\"hosts\"] }",
                None,
                "a list out of",
            ),
            (
                "\"a:b\" = { path = \"x\", inherit_configuration = 1 }",
                None,
                "a list out of",
            ),
            (
                "\"a:b\" = { path = \"x\", inherit_configuration = true }",
                Some(true),
                "exclude one another",
            ),
        ] {
            let Err(reason) = read_text(text, inherit_all) else {
                panic!("it must be refused: {text}");
            };
            assert!(reason.starts_with("dependency \"a:b\": "), "{reason}");
            assert!(reason.contains(expected), "{reason}");
        }
    }
}
