//! What must agree with what: the topology with the contracts, the components with Spin's world, the manifest with
//! both.

use anyhow::{Context, Result, ensure};
use contracts::{DeadLetterResolved, Event, EventDeadLettered, EventId, OrderCompleted, OrderId};
use event_batch::CloudEvent;
use relay::notices::{self, About};
use shop_tests::environment::{root, variable};
use shop_tests::events::cloud_event;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use wasmparser::{ComponentExternalKind, Parser, Payload};

const COMPONENTS: [&str; 6] = ["auth", "catalog", "ordering", "payment", "delivery", "gateway"];

/// What payment imports and the component `payment_provider` exports: the manifest composes one into the other.
const PROVIDER: &str = "shop:payment/provider@0.1.0";

/// What a component may import of Spin 4.1: interfaces of WASI 0.2 and 0.3.0, and Spin's own in these versions.
fn spin_has(import: &str) -> bool {
    let exact = [
        "spin:postgres/postgres@4.2.0",
        "spin:redis/redis@3.0.0",
        "spin:variables/variables@3.0.0",
    ];
    let (name, version) = import.rsplit_once('@').unwrap_or((import, ""));
    let wasi = [
        "wasi:cli/",
        "wasi:clocks/",
        "wasi:filesystem/",
        "wasi:http/",
        "wasi:io/",
        "wasi:random/",
        "wasi:sockets/",
    ];
    let wasi_version = version == "0.3.0" || version.starts_with("0.2.");
    exact.contains(&import) || (wasi_version && wasi.iter().any(|prefix| name.starts_with(prefix)))
}

/// The names that the outermost component imports and exports.
fn imports_and_exports(path: &Path) -> Result<(Vec<String>, Vec<String>)> {
    let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    let (mut imports, mut exports, mut depth) = (Vec::new(), Vec::new(), 0_usize);
    for payload in Parser::new(0).parse_all(&bytes) {
        match payload? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    imports.push(import?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    let export = export?;
                    if export.kind == ComponentExternalKind::Instance {
                        exports.push(export.name.name.to_owned());
                    }
                }
            }
            _ => {}
        }
    }
    Ok((imports, exports))
}

#[test]
fn every_component_needs_only_what_spin_has_and_offers_what_spin_calls() -> Result<()> {
    let folder = variable("SHOP_TEST_COMPONENTS")?;
    for component in COMPONENTS {
        let (imports, exports) = imports_and_exports(&Path::new(&folder).join(format!("{component}.wasm")))?;
        ensure!(
            !imports.is_empty(),
            "{component} imports nothing: was it read right?"
        );
        let is_composed = |import: &str| component == "payment" && import == PROVIDER;
        for import in &imports {
            ensure!(
                spin_has(import) || is_composed(import),
                "{component} imports {import}, which Spin 4.1 does not have"
            );
        }
        ensure!(
            exports == ["wasi:http/handler@0.3.0"],
            "{component} exports {exports:?}"
        );
    }
    Ok(())
}

#[test]
fn the_provider_that_is_composed_into_payment_needs_postgres_alone() -> Result<()> {
    let manifest: toml::Table = std::fs::read_to_string(root().join("spin.toml"))?.parse()?;
    let dependencies = manifest["component"]["payment"]["dependencies"]
        .as_table()
        .context("payment has no dependencies")?;
    ensure!(
        dependencies.len() == 1,
        "payment has other dependencies: {dependencies:?}"
    );
    let provider = &dependencies["shop:payment/provider"];
    assert_eq!(
        provider["inherit_configuration"],
        toml::Value::from(vec!["allowed_outbound_hosts"])
    );
    let file = Path::new(provider["path"].as_str().unwrap_or_default())
        .file_name()
        .context("the provider has no file")?;

    let folder = variable("SHOP_TEST_COMPONENTS")?;
    let (imports, exports) = imports_and_exports(&Path::new(&folder).join(file))?;
    assert_eq!(exports, [PROVIDER]);
    let beyond_wasi: Vec<&String> = imports.iter().filter(|name| !name.starts_with("wasi:")).collect();
    assert_eq!(beyond_wasi, ["spin:postgres/postgres@4.2.0"]);
    ensure!(
        imports.iter().all(|import| spin_has(import)),
        "Spin 4.1 does not have all of {imports:?}"
    );
    ensure!(
        !imports.iter().any(|import| import.starts_with("wasi:http/")),
        "the provider calls somebody over HTTP: {imports:?}"
    );
    let (imports, _) = imports_and_exports(&Path::new(&folder).join("payment.wasm"))?;
    ensure!(
        imports.iter().any(|import| import == PROVIDER),
        "payment does not import it"
    );
    Ok(())
}

#[test]
fn every_variable_is_required_or_has_a_default_and_what_opens_something_is_a_secret() -> Result<()> {
    let manifest: toml::Table = std::fs::read_to_string(root().join("spin.toml"))?.parse()?;
    let variables = manifest["variables"].as_table().context("no variables")?;
    let mut secrets = 0;
    for (name, variable) in variables {
        let is = |key: &str| variable.get(key).and_then(toml::Value::as_bool) == Some(true);
        let default = variable.get("default").and_then(toml::Value::as_str);
        ensure!(
            is("required") != default.is_some(),
            "{name} must be required or have a default, and not both"
        );
        let opens = |word: &str| ["password", "key", "keys", "credentials"].contains(&word);
        if name.split('_').any(opens) {
            ensure!(is("secret"), "{name} is no secret");
            ensure!(
                default.unwrap_or_default().is_empty(),
                "everybody can read {name}"
            );
            secrets += 1;
        }
    }
    ensure!(secrets > 8, "only {secrets} secrets: is it read right?");
    Ok(())
}

#[test]
fn spin_watch_sees_every_file_that_goes_into_a_component() -> Result<()> {
    let manifest: toml::Table = std::fs::read_to_string(root().join("spin.toml"))?.parse()?;
    let watched = manifest["component"]["gateway"]["build"]["watch"]
        .as_array()
        .context("nothing is watched")?;
    let watched: Vec<&str> = watched.iter().filter_map(toml::Value::as_str).collect();
    for one in &watched {
        // A folder with all that is in it, or a file: no other pattern has to be understood here.
        let path = one.strip_suffix("/**").unwrap_or(one);
        ensure!(root().join(path).exists(), "{one} is nothing that is there");
    }
    let is_watched = |file: &str| {
        watched.iter().any(|one| match one.strip_suffix("**") {
            Some(folder) => file.starts_with(folder),
            None => file == *one,
        })
    };
    // What cargo wrote down when it built them.
    let folder = root().join("target/wasm32-wasip2/wasm");
    let here = format!(" {}/", root().display().to_string().replace(' ', "\\ "));
    for component in COMPONENTS.into_iter().chain(["payment_provider"]) {
        let path = folder.join(format!("{component}.d"));
        let read = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let files: Vec<&str> = read.split(&here).skip(1).map(str::trim).collect();
        ensure!(
            files.len() > 5,
            "{component} is made of {files:?}: is it read right?"
        );
        for file in files {
            ensure!(
                !file.contains(' '),
                "{component}: something from elsewhere in {file}"
            );
            ensure!(is_watched(file), "{component}: nobody watches {file}");
        }
    }
    for file in ["Cargo.toml", "Cargo.lock", "rust-toolchain.toml"] {
        ensure!(is_watched(file), "nobody watches {file}");
    }
    Ok(())
}

#[test]
fn the_topology_brings_every_event_to_the_queues_that_its_contract_names() -> Result<()> {
    let topology: toml::Table = std::fs::read_to_string(root().join("host-bridge/topology.toml"))?.parse()?;
    let words = |value: &toml::Value| -> BTreeSet<String> {
        value
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(toml::Value::as_str)
            .map(str::to_owned)
            .collect()
    };
    let mut wanted: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut unconsumed = BTreeSet::new();
    for (_, key, queues) in Event::ALL {
        for queue in *queues {
            wanted
                .entry((*queue).to_owned())
                .or_default()
                .insert((*key).to_owned());
        }
        if queues.is_empty() {
            unconsumed.insert((*key).to_owned());
        }
    }
    let queues = topology["queue"].as_array().context("no queues")?;
    let bound: BTreeMap<String, BTreeSet<String>> = queues
        .iter()
        .map(|queue| {
            (
                queue["name"].as_str().unwrap_or_default().to_owned(),
                words(&queue["bindings"]),
            )
        })
        .collect();
    assert_eq!(bound, wanted);
    assert_eq!(words(&topology["unconsumed"]), unconsumed);
    for queue in queues {
        let (name, service) = (
            queue["name"].as_str().unwrap_or_default(),
            queue["service"].as_str().unwrap_or_default(),
        );
        ensure!(name.starts_with(service), "{name} feeds {service}");
    }
    Ok(())
}

#[test]
fn what_the_bridge_tells_of_dead_letters_is_what_the_contracts_say() -> Result<()> {
    let topology = relay::Topology::load(&root().join("host-bridge/topology.toml"))?;
    let field = topology.correlate_by.as_deref().context("no correlate_by")?;
    let order_id = OrderId::new();
    let dead = cloud_event(EventId::new(), &OrderCompleted { order_id }.into())?;
    let about = About::of(&dead, field).context("an order's event is about nothing")?;
    let queue = "catalog_order_events";
    let event_type = Some("OrderCompleted".to_owned());
    let died = EventDeadLettered {
        order_id,
        event_type: event_type.clone(),
        queue: queue.to_owned(),
    };
    let resolved = DeadLetterResolved {
        order_id,
        event_type: event_type.clone(),
        queue: queue.to_owned(),
        resolution: "retried".to_owned(),
    };
    let event_type = event_type.as_deref();
    for (kind, notice, expected) in [
        (
            notices::DEAD_LETTERED,
            notices::dead_lettered(&about, event_type, queue),
            Event::from(died),
        ),
        (
            notices::RESOLVED,
            notices::resolved(&about, event_type, queue, "retried"),
            resolved.into(),
        ),
    ] {
        assert_eq!(kind.event_type, expected.event_type());
        assert_eq!(kind.routing_key, expected.routing_key());
        let told = CloudEvent::from_value(notice.event)?;
        assert_eq!(told.event_type, expected.event_type());
        assert_eq!(told.source, expected.source());
        assert_eq!(told.subject, Some(order_id.to_string()));
        assert_eq!(told.data, expected.to_data()?);
        told.time.context("no time")?.parse::<contracts::Timestamp>()?;
    }
    Ok(())
}
