//! What must agree with what: the topology with the contracts, the components with Spin's world, the manifest with
//! both.

use anyhow::{Context, Result, ensure};
use contracts::Event;
use shop_tests::environment::{root, variable};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use wasmparser::{ComponentExternalKind, Parser, Payload};

const COMPONENTS: [&str; 6] = ["auth", "catalog", "ordering", "payment", "delivery", "gateway"];

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
        for import in &imports {
            ensure!(
                spin_has(import),
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
