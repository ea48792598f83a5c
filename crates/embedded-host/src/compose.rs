//! Puts a component and its dependencies together into one, as Spin does and with the library that Spin uses.
//!
//! Where Spin lays an adapter under a dependency that denies it what it does not inherit, this host refuses to start:
//! a dependency that asks for more than it may have was not meant for this manifest.

use std::path::Path;

use wac_graph::types::{ItemKind, Package, SubtypeChecker, Types, WorldId};
use wac_graph::{CompositionGraph, EncodeOptions, NodeId};

use crate::dependencies::{Dependency, Inherits};

/// What a dependency imports by inheritance alone, and of which configuration.
const INHERITABLE: [(&str, &str); 4] = [
    ("spin:postgres/postgres", "allowed_outbound_hosts"),
    ("spin:redis/redis", "allowed_outbound_hosts"),
    ("spin:variables/variables", "variables"),
    ("wasi:http/client", "allowed_outbound_hosts"),
];

/// What any component imports: in this host nobody has an environment, files or sockets behind these.
const HARMLESS: [&str; 7] = [
    "wasi:cli/",
    "wasi:clocks/",
    "wasi:filesystem/",
    "wasi:http/types",
    "wasi:io/",
    "wasi:random/",
    "wasi:sockets/",
];

/// A component among those to be put together.
#[derive(Clone, Copy)]
struct Part {
    world: WorldId,
    instance: NodeId,
}

/// The component `name`, its imports answered by its dependencies. The same files give the same bytes.
pub(crate) fn compose(name: &str, wasm: Vec<u8>, dependencies: &[Dependency]) -> Result<Vec<u8>, String> {
    if dependencies.is_empty() {
        return Ok(wasm);
    }
    let mut graph = CompositionGraph::new();
    let root = add(&mut graph, name, wasm)?;
    for dependency in dependencies {
        join(&mut graph, root, dependency)
            .map_err(|reason| format!("dependency \"{}\": {reason}", dependency.name))?;
    }
    let exports: Vec<String> = graph.types()[root.world].exports.keys().cloned().collect();
    for export in exports {
        let node = graph
            .alias_instance_export(root.instance, &export)
            .map_err(one_line)?;
        graph.export(node, &export).map_err(one_line)?;
    }
    graph.encode(EncodeOptions::default()).map_err(one_line)
}

/// Answers every import of the root that the dependency's name fits.
fn join(graph: &mut CompositionGraph, root: Part, dependency: &Dependency) -> Result<(), String> {
    let imports: Vec<String> = graph.types()[root.world]
        .imports
        .keys()
        .filter(|import| fits(&dependency.name, import))
        .cloned()
        .collect();
    if imports.is_empty() {
        return Err("the component imports nothing of that name".to_owned());
    }
    let part = add(graph, package(&dependency.name), read(&dependency.source)?)?;
    check_imports(graph.types(), part.world, &dependency.inherits)?;
    for import in imports {
        check_interface(graph.types(), root.world, part.world, &import)?;
        let node = graph
            .alias_instance_export(part.instance, &import)
            .map_err(one_line)?;
        graph
            .set_instantiation_argument(root.instance, &import, node)
            .map_err(one_line)?;
    }
    Ok(())
}

fn read(source: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(source).map_err(|error| format!("cannot read {}: {error}", source.display()))
}

fn add(graph: &mut CompositionGraph, name: &str, wasm: Vec<u8>) -> Result<Part, String> {
    let package = Package::from_bytes(name, None, wasm, graph.types_mut()).map_err(one_line)?;
    let world = package.ty();
    let package = graph.register_package(package).map_err(one_line)?;
    Ok(Part {
        world,
        instance: graph.instantiate(package),
    })
}

/// Whether a dependency of this name answers this import: `package:name/interface@version`, of which the dependency
/// may leave out the interface, the version or both.
fn fits(dependency: &str, import: &str) -> bool {
    let (name, version) = split_version(dependency);
    let (import_name, import_version) = split_version(import);
    let is_meant = name == import_name || (!name.contains('/') && name == package(import_name));
    is_meant && (version.is_none() || version == import_version)
}

fn split_version(name: &str) -> (&str, Option<&str>) {
    match name.split_once('@') {
        Some((name, version)) => (name, Some(version)),
        None => (name, None),
    }
}

/// The package of an interface, which is how Spin tells dependencies apart.
fn package(name: &str) -> &str {
    let (name, _) = split_version(name);
    name.split_once('/').map_or(name, |(package, _)| package)
}

/// Whatever is not known to be harmless must be inherited.
fn check_imports(types: &Types, world: WorldId, inherits: &Inherits) -> Result<(), String> {
    for import in types[world].imports.keys() {
        let (name, _) = split_version(import);
        if HARMLESS.iter().any(|harmless| name.starts_with(harmless)) {
            continue;
        }
        match INHERITABLE.iter().find(|(known, _)| *known == name) {
            Some((_, configuration)) if inherits.has(configuration) => {}
            Some((_, configuration)) => {
                return Err(format!(
                    "it imports {import} and does not inherit `{configuration}`"
                ));
            }
            None => return Err(format!("it imports {import}, which no dependency may have here")),
        }
    }
    Ok(())
}

/// Whether the dependency exports what the root imports.
fn check_interface(types: &Types, root: WorldId, part: WorldId, import: &str) -> Result<(), String> {
    let (Some(wanted), Some(offered)) = (types[root].imports.get(import), types[part].exports.get(import))
    else {
        return Err(format!("it does not export {import}"));
    };
    let mut cache = Default::default();
    SubtypeChecker::new(&mut cache)
        .is_subtype(*offered, types, *wanted, types)
        .map_err(|error| format!("it exports another {import}: {}", one_line(error)))?;
    match functions(types, *wanted).find(|function| !function.is_async) {
        Some(function) if can_wait(types, part) => Err(format!(
            "{import} has a function that is not async (\"{}\"), and what it imports can wait: that would trap",
            function.name
        )),
        _ => Ok(()),
    }
}

/// Whether a component imports something that is waited for.
fn can_wait(types: &Types, world: WorldId) -> bool {
    types[world]
        .imports
        .values()
        .any(|import| functions(types, *import).any(|function| function.is_async))
}

struct Function<'a> {
    name: &'a str,
    is_async: bool,
}

/// The functions of an interface.
fn functions(types: &Types, item: ItemKind) -> impl Iterator<Item = Function<'_>> {
    let interface = match item {
        ItemKind::Instance(id) => Some(&types[id]),
        _ => None,
    };
    let exports = interface.into_iter().flat_map(|interface| &interface.exports);
    exports.filter_map(|(name, item)| match item {
        ItemKind::Func(id) => Some(Function {
            name,
            is_async: types[*id].is_async,
        }),
        _ => None,
    })
}

fn one_line(error: impl std::fmt::Display) -> String {
    format!("{error:#}").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dependency_answers_the_imports_that_its_name_fits() {
        for (dependency, import) in [
            ("foo:bar/baz@0.1.0", "foo:bar/baz@0.1.0"),
            ("foo:bar/baz", "foo:bar/baz@0.1.0"),
            ("foo:bar/baz", "foo:bar/baz"),
            ("foo:bar", "foo:bar/baz@0.1.0"),
            ("foo:bar", "foo:bar/baz"),
            ("foo:bar@0.1.0", "foo:bar/baz@0.1.0"),
            ("foo-bar", "foo-bar"),
        ] {
            assert!(fits(dependency, import), "{dependency} fits {import}");
        }
        for (dependency, import) in [
            ("foo:bar/baz@0.1.0", "foo:bar/baz"),
            ("foo:bar/baz", "foo:bar/bub@0.1.0"),
            ("foo:bar", "foo:bub/bib"),
            ("foo:bar@0.1.0", "foo:bar/baz"),
            ("foo:bar@0.1.0", "foo:bar/baz@0.1.1"),
            ("foo:bar/baz", "foo:bar/baz-bub"),
            ("foo:bar/baz", "foo-bar"),
        ] {
            assert!(!fits(dependency, import), "{dependency} does not fit {import}");
        }
    }
}
