//! `manifests`: a Spin manifest for each service alone, made from `spin.toml`, for those who run each as a process of its
//! own: with `spin up`, in the embedded host, or on SpinKube.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use toml::{Table, Value};

use crate::checkout::{Checkout, create_folder, remove};
use crate::shop::SERVICES;

/// The port of the first service; the others have those after it.
const FIRST_PORT: u16 = 8001;
/// What a service has to be told once the gateway is no longer next to it: there is no default that is right everywhere.
const TO_BE_TOLD: [&str; 1] = ["gateway_only"];

/// Writes `target/manifests/<component>.toml` for each component.
pub(crate) fn write(checkout: &Checkout) -> Result<()> {
    let path = checkout.root().join("spin.toml");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let whole: Table = text.parse().context("spin.toml cannot be read")?;
    let folder = checkout.target().join("manifests");
    // One of a component that there is no more would be taken for one that there is.
    remove(&folder)?;
    create_folder(&folder)?;
    for component in table(&whole, "component")?.keys() {
        let manifest = alone(&whole, component).with_context(|| component.clone())?;
        let text = format!("# Of spin.toml, by `cargo xtask manifests`.\n{manifest}");
        let file = folder.join(format!("{component}.toml"));
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

/// The manifest of one component: all paths lead to it, and only the variables that it uses are there.
fn alone(whole: &Table, component: &str) -> Result<Table> {
    let mut entry = table(table(whole, "component")?, component)?.clone();
    // It is built with the others.
    entry.remove("build");
    from_the_manifests_folder(&mut entry)?;
    let mut variables = Table::new();
    let declared = table(whole, "variables")?;
    for name in variables_of(&Value::Table(entry.clone())) {
        let variable = declared
            .get(&name)
            .with_context(|| format!("no variable {name}"))?;
        variables.insert(name.clone(), apart(&name, variable));
    }
    let mut application = table(whole, "application")?.clone();
    application.insert("name".to_owned(), format!("flower-shop-{component}").into());
    application.remove("description");
    let route = Table::from_iter([
        ("route".to_owned(), Value::from("/...")),
        ("component".to_owned(), Value::from(component)),
    ]);
    let http = Table::from_iter([("http".to_owned(), Value::from(vec![Value::from(route)]))]);
    let components = Table::from_iter([(component.to_owned(), Value::from(entry))]);
    Ok(Table::from_iter([
        ("spin_manifest_version".to_owned(), Value::from(2)),
        ("application".to_owned(), Value::from(application)),
        ("variables".to_owned(), Value::from(variables)),
        ("trigger".to_owned(), Value::from(http)),
        ("component".to_owned(), Value::from(components)),
    ]))
}

/// A variable as it is when the others are elsewhere.
fn apart(name: &str, variable: &Value) -> Value {
    let ports = (FIRST_PORT..).zip(SERVICES);
    let urls: BTreeMap<String, u16> = ports
        .map(|(port, service)| (format!("{service}_url"), port))
        .collect();
    match urls.get(name) {
        Some(port) => default(format!("http://127.0.0.1:{port}")),
        None if TO_BE_TOLD.contains(&name) => {
            Value::from(Table::from_iter([("required".to_owned(), true.into())]))
        }
        None => variable.clone(),
    }
}

fn default(value: String) -> Value {
    Value::from(Table::from_iter([("default".to_owned(), value.into())]))
}

/// Paths in a manifest are seen from where it stands.
fn from_the_manifests_folder(entry: &mut Table) -> Result<()> {
    let moved = |path: &mut Value| -> Result<()> {
        let text = path.as_str().context("a path that is none")?;
        let below_target = Path::new(text).strip_prefix("target");
        let below_target = below_target.ok().and_then(Path::to_str);
        *path = Value::from(format!(
            "../{}",
            below_target.context("a source that is not in target/")?
        ));
        Ok(())
    };
    moved(entry.get_mut("source").context("no source")?)?;
    let dependencies = entry.get_mut("dependencies").and_then(Value::as_table_mut);
    for (_, dependency) in dependencies.into_iter().flatten() {
        match dependency.get_mut("path") {
            Some(path) => moved(path)?,
            None => bail!("a dependency without a path"),
        }
    }
    Ok(())
}

/// The variables that stand in the templates of a value: `{{ name }}`.
fn variables_of(value: &Value) -> Vec<String> {
    let mut names: Vec<String> = match value {
        Value::String(text) => text
            .split("{{")
            .skip(1)
            .filter_map(|rest| rest.split_once("}}"))
            .map(|(name, _)| name.trim().to_owned())
            .collect(),
        Value::Array(values) => values.iter().flat_map(variables_of).collect(),
        Value::Table(values) => values.iter().flat_map(|(_, value)| variables_of(value)).collect(),
        _ => Vec::new(),
    };
    names.sort();
    names.dedup();
    names
}

fn table<'a>(of: &'a Table, name: &str) -> Result<&'a Table> {
    let found = of.get(name).and_then(Value::as_table);
    found.with_context(|| format!("no table [{name}]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole() -> Table {
        include_str!("../../spin.toml").parse().unwrap()
    }

    #[test]
    fn each_service_is_told_what_it_uses_and_nothing_else() {
        let ordering = alone(&whole(), "ordering").unwrap();
        let told: Vec<&str> = ordering["variables"]
            .as_table()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(
            told,
            [
                "events_key",
                "jwt_verification_keys",
                "ordering_postgres",
                "ordering_postgres_database",
                "ordering_postgres_password",
                "payment_deadline_seconds",
                "postgres_options",
            ]
        );
        assert_eq!(ordering["trigger"]["http"][0]["route"].as_str(), Some("/..."));
        assert_eq!(
            ordering["component"]["ordering"]["source"].as_str(),
            Some("../components/ordering.wasm")
        );
        let payment = alone(&whole(), "payment").unwrap();
        let provider = &payment["component"]["payment"]["dependencies"]["shop:payment/provider"]["path"];
        assert_eq!(provider.as_str(), Some("../components/payment_provider.wasm"));
    }

    #[test]
    fn the_gateway_looks_for_the_others_at_their_ports() {
        let gateway = alone(&whole(), "gateway").unwrap();
        let url = |service: &str| {
            gateway["variables"][&format!("{service}_url")]["default"]
                .as_str()
                .unwrap()
        };
        assert_eq!(url("auth"), "http://127.0.0.1:8001");
        assert_eq!(url("delivery"), "http://127.0.0.1:8005");
        let text = gateway.to_string();
        assert!(!text.contains("spin.internal"), "{text}");
    }

    #[test]
    fn whether_auth_believes_its_callers_is_for_whoever_runs_it_to_say() {
        let auth = alone(&whole(), "auth").unwrap();
        let variable = auth["variables"]["gateway_only"].as_table().unwrap();
        assert_eq!(variable.get("required").and_then(Value::as_bool), Some(true));
        assert!(!variable.contains_key("default"));
    }
}
