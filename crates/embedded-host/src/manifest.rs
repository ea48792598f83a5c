//! The manifest, `spin.toml` version 2, read as Spin reads it, or refused: a key that this host does not
//! implement is an error, never ignored, for ignoring one could allow what Spin forbids.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::dependencies::{self, Dependency};
use crate::error::StartError;
use crate::routes::Route;
use crate::variables::{self, Template};

/// What the host needs of a manifest, its templates parsed but not filled in.
pub(crate) struct Manifest {
    pub(crate) variables: BTreeMap<String, Variable>,
    pub(crate) components: BTreeMap<String, ComponentEntry>,
    /// The public routes. A component whose routes are all private is reached by chaining only.
    pub(crate) routes: Vec<Route>,
}

/// A variable of the application. Without a default it is required.
pub(crate) struct Variable {
    pub(crate) default: Option<String>,
}

/// A component of the application.
pub(crate) struct ComponentEntry {
    /// The wasm, absolute or relative to the working directory.
    pub(crate) source: PathBuf,
    pub(crate) allowed_outbound_hosts: Vec<Template>,
    pub(crate) variables: BTreeMap<String, Template>,
    /// What is composed into it.
    pub(crate) dependencies: Vec<Dependency>,
}

impl ComponentEntry {
    /// How many components an instance is made of: this one, and what is composed into it.
    pub(crate) fn parts(&self) -> u32 {
        u32::try_from(self.dependencies.len())
            .unwrap_or(u32::MAX)
            .saturating_add(1)
    }
}

impl Manifest {
    pub(crate) fn read(path: &Path) -> Result<Manifest, StartError> {
        let text = std::fs::read_to_string(path).map_err(|error| StartError::Unreadable {
            path: path.to_owned(),
            reason: error.to_string(),
        })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        Manifest::parse(&text, folder).map_err(|reason| StartError::Manifest {
            path: path.to_owned(),
            reason,
        })
    }

    /// `folder` is where relative sources start. The error is one line.
    fn parse(text: &str, folder: &Path) -> Result<Manifest, String> {
        let document: Document = toml::from_str(text).map_err(|error| one_line(text, &error))?;
        if document.spin_manifest_version != 2 {
            return Err(format!(
                "spin_manifest_version is {}, not 2",
                document.spin_manifest_version
            ));
        }
        let mut manifest = Manifest {
            variables: BTreeMap::new(),
            components: BTreeMap::new(),
            routes: Vec::new(),
        };
        for (name, entry) in document.variables {
            manifest.variables.insert(name.clone(), entry.check(&name)?);
        }
        for (name, entry) in document.component {
            let component = entry
                .check(&manifest, folder)
                .map_err(|reason| format!("component \"{name}\": {reason}"))?;
            check_id(&name)?;
            manifest.components.insert(name, component);
        }
        for trigger in document.trigger.http {
            manifest.add_route(trigger)?;
        }
        Ok(manifest)
    }

    fn add_route(&mut self, trigger: HttpTrigger) -> Result<(), String> {
        if !self.components.contains_key(&trigger.component) {
            return Err(format!(
                "a route names the component \"{}\", which is none",
                trigger.component
            ));
        }
        let pattern = match trigger.route {
            RouteEntry::Pattern(pattern) => pattern,
            RouteEntry::Private { private: true } => return Ok(()),
            RouteEntry::Private { private: false } => {
                return Err(format!(
                    "component \"{}\": `private = false` is no route",
                    trigger.component
                ));
            }
        };
        let route = Route::parse(&pattern, &trigger.component)?;
        if let Some(other) = self.routes.iter().find(|other| other.is_same_path(&route)) {
            return Err(format!(
                "route \"{pattern}\" is given twice, to \"{}\" and \"{}\"",
                other.component(),
                route.component()
            ));
        }
        self.routes.push(route);
        Ok(())
    }
}

/// toml's own message spans lines and shows the source, which may hold a secret.
fn one_line(text: &str, error: &toml::de::Error) -> String {
    let message = error.message().replace('\n', " ");
    match error.span() {
        Some(span) => {
            let line = text
                .get(..span.start)
                .map_or(1, |before| before.matches('\n').count() + 1);
            format!("line {line}: {message}")
        }
        None => message,
    }
}

/// Kebab case, as a name of a component must be: it becomes a host name when it is called.
fn check_id(id: &str) -> Result<(), String> {
    let word = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_alphabetic())
            && word.chars().all(|c| c.is_ascii_alphanumeric())
            && (!word.contains(|c: char| c.is_ascii_lowercase())
                || !word.contains(|c: char| c.is_ascii_uppercase()))
    };
    if id.split('-').all(word) {
        Ok(())
    } else {
        Err(format!("\"{id}\" is not a component's name in kebab-case"))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    spin_manifest_version: i64,
    #[serde(rename = "application")]
    _application: Application,
    #[serde(default)]
    variables: BTreeMap<String, VariableEntry>,
    trigger: Triggers,
    #[serde(default)]
    component: BTreeMap<String, ComponentTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Application {
    #[serde(rename = "name")]
    _name: String,
    #[serde(rename = "version", default)]
    _version: String,
    #[serde(rename = "description", default)]
    _description: String,
    #[serde(rename = "authors", default)]
    _authors: Vec<String>,
    #[serde(rename = "tool", default)]
    _tool: IgnoredAny,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VariableEntry {
    #[serde(rename = "description")]
    _description: Option<String>,
    #[serde(default)]
    required: bool,
    default: Option<String>,
    /// Every value is treated as a secret here.
    #[serde(rename = "secret", default)]
    _secret: bool,
}

impl VariableEntry {
    fn check(self, name: &str) -> Result<Variable, String> {
        variables::check_name(name).map_err(|reason| format!("variable {reason}"))?;
        if self.required == self.default.is_some() {
            return Err(format!(
                "variable \"{name}\" must be required or have a default, and not both"
            ));
        }
        Ok(Variable {
            default: self.default,
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Triggers {
    #[serde(default)]
    http: Vec<HttpTrigger>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HttpTrigger {
    #[serde(rename = "id")]
    _id: Option<String>,
    component: String,
    route: RouteEntry,
}

#[derive(Deserialize)]
#[serde(
    untagged,
    deny_unknown_fields,
    expecting = "a route is a string or { private = true }"
)]
enum RouteEntry {
    Pattern(String),
    Private { private: bool },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ComponentTable {
    source: String,
    #[serde(rename = "description", default)]
    _description: String,
    #[serde(default)]
    allowed_outbound_hosts: Vec<String>,
    #[serde(default)]
    variables: BTreeMap<String, String>,
    #[serde(default)]
    dependencies: BTreeMap<String, toml::Value>,
    dependencies_inherit_configuration: Option<bool>,
    /// How `spin build` builds it; nothing that a host looks at.
    #[serde(rename = "build", default)]
    _build: IgnoredAny,
    #[serde(rename = "tool", default)]
    _tool: IgnoredAny,
}

impl ComponentTable {
    fn check(self, manifest: &Manifest, folder: &Path) -> Result<ComponentEntry, String> {
        let template = |text: &str| -> Result<Template, String> {
            let template = Template::parse(text)?;
            if let Some(name) = template
                .variables()
                .find(|name| !manifest.variables.contains_key(*name))
            {
                return Err(format!("unknown variable \"{name}\" in a template"));
            }
            Ok(template)
        };
        let allowed_outbound_hosts = self
            .allowed_outbound_hosts
            .iter()
            .map(|host| template(host))
            .collect::<Result<_, _>>()?;
        let mut variables = BTreeMap::new();
        for (name, value) in &self.variables {
            variables::check_name(name).map_err(|reason| format!("variable {reason}"))?;
            variables.insert(name.clone(), template(value)?);
        }
        Ok(ComponentEntry {
            source: folder.join(self.source),
            allowed_outbound_hosts,
            variables,
            dependencies: dependencies::read(
                self.dependencies,
                self.dependencies_inherit_configuration,
                folder,
            )?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEAD: &str = "spin_manifest_version = 2\n[application]\nname = \"test\"\n";
    const BODY: &str =
        "[[trigger.http]]\nroute = \"/...\"\ncomponent = \"a\"\n[component.a]\nsource = \"a.wasm\"\n";

    fn parse(text: &str) -> Result<Manifest, String> {
        Manifest::parse(text, Path::new("folder"))
    }

    fn refusal(text: &str) -> String {
        match parse(text) {
            Err(reason) => {
                assert!(!reason.contains('\n'), "more than one line: {reason}");
                reason
            }
            Ok(_) => panic!("it must be refused:\n{text}"),
        }
    }

    #[test]
    fn the_parts_that_a_host_needs_are_read() {
        let manifest = parse(&format!(
            "{HEAD}{BODY}allowed_outbound_hosts = [\"http://{{{{ host }}}}\"]\n\
             [component.a.variables]\nurl = \"http://{{{{ host }}}}/x\"\n\
             [component.a.build]\ncommand = \"make\"\n\
             [component.a.dependencies]\n\"b:c/d\" = {{ path = \"d.wasm\" }}\n\
             [variables]\nhost = {{ default = \"h\" }}\nkey = {{ required = true, secret = true }}\n"
        ))
        .unwrap();
        let component = &manifest.components["a"];
        assert_eq!(component.source, Path::new("folder/a.wasm"));
        assert_eq!(component.allowed_outbound_hosts.len(), 1);
        assert!(component.variables.contains_key("url"));
        assert_eq!(component.dependencies.len(), 1);
        assert_eq!(manifest.variables["host"].default.as_deref(), Some("h"));
        assert_eq!(manifest.variables["key"].default, None);
        assert_eq!(manifest.routes.len(), 1);
    }

    #[test]
    fn a_private_route_is_no_route() {
        let manifest = parse(&format!(
            "{HEAD}[[trigger.http]]\nroute = {{ private = true }}\ncomponent = \"a\"\n[component.a]\nsource = \"a\"\n"
        ))
        .unwrap();
        assert!(manifest.routes.is_empty());
    }

    #[test]
    fn what_is_not_implemented_is_named_with_its_line() {
        for (text, name, line) in [
            (format!("{HEAD}{BODY}files = [\"*\"]\n"), "files", "line 9"),
            (
                format!("{HEAD}{BODY}key_value_stores = [\"default\"]\n"),
                "key_value_stores",
                "line 9",
            ),
            (
                format!("{HEAD}{BODY}environment = {{ A = \"b\" }}\n"),
                "environment",
                "line 9",
            ),
            (
                format!("{HEAD}[application.trigger.http]\nbase = \"/x\"\n{BODY}"),
                "trigger",
                "line 4",
            ),
            (
                format!("{HEAD}{BODY}[[trigger.redis]]\nchannel = \"x\"\n"),
                "redis",
                "line 9",
            ),
            (
                format!(
                    "{HEAD}[[trigger.http]]\nexecutor = {{ type = \"wagi\" }}\n{}",
                    &BODY[17..]
                ),
                "executor",
                "line 5",
            ),
            (format!("{HEAD}surprise = 1\n{BODY}"), "surprise", "line 4"),
        ] {
            let reason = refusal(&text);
            assert!(reason.contains(&format!("`{name}`")), "{reason}");
            assert!(reason.starts_with(line), "{reason}");
        }
    }

    #[test]
    fn what_spin_refuses_is_refused() {
        for (text, expected) in [
            (
                "spin_manifest_version = 1\n[application]\nname = \"a\"\n[trigger]\n".to_owned(),
                "is 1, not 2",
            ),
            ("spin_manifest_version = ".to_owned(), "line 1"),
            (
                format!("{HEAD}{BODY}[variables]\na = {{}}\n"),
                "\"a\" must be required or have a default",
            ),
            (
                format!("{HEAD}{BODY}[variables]\na = {{ required = true, default = \"x\" }}\n"),
                "\"a\" must be required or have a default",
            ),
            (
                format!("{HEAD}{BODY}[variables]\nA = {{ default = \"x\" }}\n"),
                "\"A\"",
            ),
            (
                format!("{HEAD}{BODY}[component.a.variables]\nx = \"{{{{ y }}}}\"\n"),
                "unknown variable \"y\"",
            ),
            (
                format!("{HEAD}{BODY}allowed_outbound_hosts = [\"{{{{ y }}}}\"]\n"),
                "unknown variable \"y\"",
            ),
            (
                format!("{HEAD}{BODY}[component.a.variables]\nx = \"{{{{ y\"\n"),
                "without",
            ),
            (
                format!(
                    "{HEAD}{BODY}{}",
                    BODY.split("[component.a]").next().unwrap_or_default()
                ),
                "given twice, to \"a\" and \"a\"",
            ),
            (
                format!("{HEAD}{BODY}[component.b_c]\nsource = \"x\"\n"),
                "\"b_c\" is not a component's name",
            ),
            (
                format!("{HEAD}[[trigger.http]]\nroute = \"/\"\ncomponent = \"z\"\n"),
                "\"z\", which is none",
            ),
            (
                format!("{HEAD}{}", BODY.replace("\"/...\"", "{ private = false }")),
                "`private = false`",
            ),
            (
                format!("{HEAD}{}", BODY.replace("\"/...\"", "7")),
                "a route is a string or",
            ),
        ] {
            let reason = refusal(&text);
            assert!(reason.contains(expected), "{reason}");
        }
    }

    proptest! {
        #[test]
        fn no_manifest_does_harm_and_what_is_wrong_is_told_in_one_line(
            text in prop_oneof![
                ".{0,200}",
                // Something that is nearly one.
                ("[a-z_.\\[\\]\"={} \n]{0,30}", any::<proptest::sample::Index>()).prop_map(|(garbage, place)| {
                    let mut text = NEARLY.to_owned();
                    let place = place.index(text.len());
                    text.insert_str(place, &garbage);
                    text
                }),
            ]
        ) {
            if let Err(reason) = Manifest::parse(&text, Path::new("")) {
                prop_assert!(!reason.contains('\n'), "{reason}");
            }
        }
    }

    const NEARLY: &str = r#"spin_manifest_version = 2
[application]
name = "a"
[variables]
key = { required = true, secret = true }
[[trigger.http]]
route = "/..."
component = "a"
[component.a]
source = "a.wasm"
allowed_outbound_hosts = ["http://{{ key }}:80"]
[component.a.variables]
key = "{{ key }}"
"#;
}
