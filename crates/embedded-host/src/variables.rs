//! Variables: where their values come from, and the templates in which the manifest uses them. Values may be
//! secrets, so nothing here prints one.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::error::StartError;
use crate::manifest::Variable;

/// One `--variable`: a value, or a file of values.
#[derive(Clone, PartialEq, Eq)]
pub enum VariableSource {
    /// `name=value`.
    Value {
        /// The variable's name.
        name: String,
        /// Its value.
        value: String,
    },
    /// `name=@path`: the value is what the file holds.
    ValueFile {
        /// The variable's name.
        name: String,
        /// The file.
        path: PathBuf,
    },
    /// `@path.toml`: a table of names and values.
    Toml(PathBuf),
    /// `@path.json`: an object of names and values.
    Json(PathBuf),
}

impl FromStr for VariableSource {
    type Err = String;

    /// Spin's forms. The error never repeats the text, which may hold a secret.
    fn from_str(text: &str) -> Result<VariableSource, String> {
        if let Some(path) = text.strip_prefix('@') {
            let path = PathBuf::from(path);
            return match path.extension().and_then(|extension| extension.to_str()) {
                Some("toml") => Ok(VariableSource::Toml(path)),
                Some("json") => Ok(VariableSource::Json(path)),
                _ => Err("a file of variables must end in .toml or .json".to_owned()),
            };
        }
        match text.split_once('=') {
            Some((name, value)) => Ok(match value.strip_prefix('@') {
                Some(path) => VariableSource::ValueFile {
                    name: name.to_owned(),
                    path: path.into(),
                },
                None => VariableSource::Value {
                    name: name.to_owned(),
                    value: value.to_owned(),
                },
            }),
            None => Err("a variable must be name=value, name=@file, @file.toml or @file.json".to_owned()),
        }
    }
}

impl fmt::Debug for VariableSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            VariableSource::Value { name, .. } => write!(f, "{name}=…"),
            VariableSource::ValueFile { name, path } => write!(f, "{name}=@{}", path.display()),
            VariableSource::Toml(path) | VariableSource::Json(path) => write!(f, "@{}", path.display()),
        }
    }
}

impl VariableSource {
    fn read(&self) -> Result<HashMap<String, String>, StartError> {
        match self {
            VariableSource::Value { name, value } => Ok(HashMap::from([(name.clone(), value.clone())])),
            VariableSource::ValueFile { name, path } => {
                Ok(HashMap::from([(name.clone(), read_to_string(path)?)]))
            }
            VariableSource::Toml(path) => {
                toml::from_str(&read_to_string(path)?).map_err(|_| not_a_map(path, "TOML table"))
            }
            VariableSource::Json(path) => {
                serde_json::from_str(&read_to_string(path)?).map_err(|_| not_a_map(path, "JSON object"))
            }
        }
    }
}

fn read_to_string(path: &Path) -> Result<String, StartError> {
    std::fs::read_to_string(path).map_err(|error| StartError::Unreadable {
        path: path.to_owned(),
        reason: error.to_string(),
    })
}

/// The parser's own words would show the line that it failed at.
fn not_a_map(path: &Path, what: &str) -> StartError {
    StartError::Variable(format!("{} is not a {what} of names and strings", path.display()))
}

/// The application's variables with their values. No `Debug`: they may be secrets.
pub(crate) struct Variables(HashMap<String, String>);

impl Variables {
    /// Values given on the command line (of two for one name the later), then the environment's, then defaults.
    pub(crate) fn resolve<'a>(
        declared: impl IntoIterator<Item = (&'a String, &'a Variable)>,
        given: &[VariableSource],
        environment: &HashMap<String, String>,
    ) -> Result<Variables, StartError> {
        let mut values = HashMap::new();
        for source in given {
            values.extend(source.read()?);
        }
        let mut resolved = HashMap::new();
        for (name, variable) in declared {
            let from_environment = format!("SPIN_VARIABLE_{}", name.to_ascii_uppercase());
            let value = values
                .remove(name)
                .or_else(|| environment.get(&from_environment).cloned())
                .or_else(|| variable.default.clone())
                .ok_or_else(|| {
                    StartError::Variable(format!(
                        "variable \"{name}\" is required and has no value: give it with --variable {name}=… or {from_environment}"
                    ))
                })?;
            resolved.insert(name.clone(), value);
        }
        for name in values.keys() {
            tracing::warn!(
                variable = name,
                "a value was given for a variable that the manifest does not have"
            );
        }
        Ok(Variables(resolved))
    }

    /// The template with its variables filled in.
    pub(crate) fn render(&self, template: &Template) -> Result<String, String> {
        template
            .parts
            .iter()
            .map(|part| match part {
                Part::Literal(text) => Ok(text.as_str()),
                Part::Variable(name) => self
                    .0
                    .get(name)
                    .map(String::as_str)
                    .ok_or_else(|| format!("unknown variable \"{name}\" in a template")),
            })
            .collect()
    }
}

/// A text in which `{{ name }}` stands for a variable's value.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Variable(String),
}

impl Template {
    pub(crate) fn parse(text: &str) -> Result<Template, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((literal, after)) = rest.split_once("{{") {
            let (name, after) = after
                .split_once("}}")
                .ok_or("\"{{\" without \"}}\" in a template")?;
            if !literal.is_empty() {
                parts.push(Part::Literal(literal.to_owned()));
            }
            parts.push(Part::Variable(name.trim().to_owned()));
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Literal(rest.to_owned()));
        }
        Ok(Template { parts })
    }

    /// The names of the variables in it.
    pub(crate) fn variables(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Variable(name) => Some(name.as_str()),
            Part::Literal(_) => None,
        })
    }

    pub(crate) fn is_literal(&self) -> bool {
        self.parts.iter().all(|part| matches!(part, Part::Literal(_)))
    }
}

/// What Spin demands of a variable's name: lower-case words of letters and digits, joined by single underscores,
/// the first character a letter.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let reason = if name.is_empty() {
        "must not be empty"
    } else if !name.chars().all(allowed) {
        "may contain only lower-case letters, digits and underscores"
    } else if !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        "must start with a letter"
    } else if name.ends_with('_') {
        "must end with a letter or digit"
    } else if name.contains("__") {
        "must not contain two underscores in a row"
    } else {
        return Ok(());
    };
    Err(format!("\"{name}\": {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn declared(name: &str, default: Option<&str>) -> HashMap<String, Variable> {
        HashMap::from([(
            name.to_owned(),
            Variable {
                default: default.map(str::to_owned),
            },
        )])
    }

    fn resolve(
        declared: &HashMap<String, Variable>,
        given: &[&str],
        environment: &[(&str, &str)],
    ) -> Result<Variables, StartError> {
        let given: Vec<VariableSource> = given.iter().map(|text| text.parse().unwrap()).collect();
        let environment = environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Variables::resolve(declared, &given, &environment)
    }

    fn value(variables: &Variables, name: &str) -> String {
        variables
            .render(&Template::parse(&format!("{{{{ {name} }}}}")).unwrap())
            .unwrap()
    }

    #[test]
    fn a_value_on_the_command_line_beats_the_environment_which_beats_the_default() {
        let declared = declared("colour", Some("green"));
        let environment = [("SPIN_VARIABLE_COLOUR", "blue")];
        type Case<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], &'a str);
        let cases: [Case; 4] = [
            (&["colour=red"], &environment, "red"),
            (&["colour=red", "colour=white"], &environment, "white"),
            (&[], &environment, "blue"),
            (&[], &[], "green"),
        ];
        for (given, environment, expected) in cases {
            assert_eq!(
                value(&resolve(&declared, given, environment).unwrap(), "colour"),
                expected
            );
        }
    }

    #[test]
    fn a_value_may_hold_equals_signs_and_may_be_empty() {
        assert_eq!(
            value(&resolve(&declared("a", None), &["a=b=c"], &[]).unwrap(), "a"),
            "b=c"
        );
        assert_eq!(
            value(&resolve(&declared("a", None), &["a="], &[]).unwrap(), "a"),
            ""
        );
    }

    #[test]
    fn a_required_variable_without_a_value_is_named() {
        let Err(error) = resolve(&declared("jwt_key", None), &[], &[]) else {
            panic!("it must fail")
        };
        assert!(error.to_string().contains("\"jwt_key\" is required"), "{error}");
        assert!(error.to_string().contains("SPIN_VARIABLE_JWT_KEY"), "{error}");
    }

    #[test]
    fn values_come_from_files_too() {
        let folder = std::env::temp_dir().join(format!("variables-{}", uuid::Uuid::now_v7()));
        std::fs::create_dir(&folder).unwrap();
        let file = |name: &str, content: &str| {
            let path = folder.join(name);
            std::fs::write(&path, content).unwrap();
            path.display().to_string()
        };
        let plain = file("plain", "from a file");
        let table = file("table.toml", "a = \"from toml\"");
        let object = file("object.json", "{\"a\": \"from json\"}");
        let broken = file("broken.toml", "a = \"hush");
        for (given, expected) in [
            (format!("a=@{plain}"), "from a file"),
            (format!("@{table}"), "from toml"),
            (format!("@{object}"), "from json"),
        ] {
            assert_eq!(
                value(&resolve(&declared("a", None), &[&given], &[]).unwrap(), "a"),
                expected
            );
        }
        let Err(error) = resolve(&declared("a", None), &[&format!("@{broken}")], &[]) else {
            panic!("it must fail")
        };
        assert!(!error.to_string().contains("hush"), "a secret is shown: {error}");
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn sources_that_are_none_are_refused_without_repeating_them() {
        for text in ["hush", "@hush.yaml"] {
            let error = text.parse::<VariableSource>().unwrap_err();
            assert!(!error.contains("hush"), "{error}");
        }
        assert_eq!(
            format!("{:?}", "a=hush".parse::<VariableSource>().unwrap()),
            "a=…"
        );
    }

    #[test]
    fn templates_are_literals_and_names_in_double_braces() {
        let variables = resolve(&declared("a", Some("x")), &[], &[]).unwrap();
        for (text, expected) in [
            ("", ""),
            ("plain", "plain"),
            ("{{a}}", "x"),
            ("1{{ a }}2{{a }}3", "1x2x3"),
            ("}} {", "}} {"),
        ] {
            assert_eq!(
                variables.render(&Template::parse(text).unwrap()).unwrap(),
                expected,
                "{text}"
            );
        }
        assert!(Template::parse("{{ a").is_err());
        assert!(
            variables
                .render(&Template::parse("{{ b }}").unwrap())
                .unwrap_err()
                .contains("\"b\"")
        );
    }

    #[test]
    fn names_are_lower_case_words_joined_by_single_underscores() {
        for name in ["a", "a1", "jwt_key", "a_1_b"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in ["", "A", "1a", "_a", "a_", "a__b", "a-b", "ä"] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }

    proptest! {
        #[test]
        fn no_template_does_harm_and_one_without_variables_is_itself(text in prop_oneof![".{0,40}", "[{} a-z_]{0,40}"]) {
            let Ok(template) = Template::parse(&text) else { return Ok(()) };
            if template.is_literal() {
                let variables = resolve(&HashMap::new(), &[], &[]).unwrap();
                prop_assert_eq!(variables.render(&template), Ok(text));
            }
        }

        #[test]
        fn no_source_of_values_does_harm(text in prop_oneof![".{0,40}", "[a-z_]{0,8}=[^@]{0,20}"]) {
            let _ = text.parse::<VariableSource>();
        }
    }
}
