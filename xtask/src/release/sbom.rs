//! What is linked into each program, as CycloneDX 1.6: the crates that `cargo tree` resolves for its target, with
//! versions, licences and the checksums of Cargo.lock. Of one commit it is always the same: no dates, no random numbers.
//!
//! Procedural macros and build scripts work while it is built and are not in it, so they are not listed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::builds;
use crate::checkout::{Checkout, create_folder};
use crate::progress::Step;
use crate::toolchain::{TARGET, cargo};

/// The native program.
pub(super) const PROGRAM: &str = "host-bridge";

/// Where they are, seen from the checkout.
const FOLDER: &str = "target/sbom";

/// The file of a program.
pub(super) fn path(name: &str) -> String {
    format!("{FOLDER}/{name}.cdx.json")
}

/// The programs that have one: the components and the native program.
///
/// # Errors
/// If the components cannot be listed.
pub(super) fn names(checkout: &Checkout) -> Result<Vec<String>> {
    let mut names = components(checkout)?;
    names.push(PROGRAM.to_owned());
    Ok(names)
}

/// The components, without the native program.
///
/// # Errors
/// If they cannot be listed.
pub(super) fn components(checkout: &Checkout) -> Result<Vec<String>> {
    builds::folder_names(checkout, "components")
}

/// Writes all of them.
///
/// # Errors
/// If cargo cannot resolve the workspace, or a file cannot be written.
pub(super) fn write(checkout: &Checkout) -> Result<()> {
    let step = Step::start(format!("writing SBOMs to {FOLDER}"));
    create_folder(&checkout.root().join(FOLDER))?;
    let lock = Lock::read(&checkout.root().join("Cargo.lock"))?;
    // As they are built: all components together, and the native program with the whole workspace, so that features
    // are what they are in the builds.
    let components = components(checkout)?;
    let mut wasm = tree(checkout);
    wasm.args(["--target", TARGET]);
    for name in &components {
        wasm.args(["--package", name]);
    }
    let wasm = Graph::resolve(wasm)?;
    let mut native = tree(checkout);
    native.arg("--workspace");
    let native = Graph::resolve(native)?;
    let linked = components
        .iter()
        .map(|name| (name.as_str(), &wasm))
        .chain([(PROGRAM, &native)]);
    for (name, graph) in linked {
        let text = serde_json::to_string_pretty(&graph.bom(name, &lock)?)?;
        let file = checkout.root().join(path(name));
        fs::write(&file, text + "\n").with_context(|| format!("cannot write {}", file.display()))?;
    }
    step.done();
    Ok(())
}

fn tree(checkout: &Checkout) -> Command {
    let mut command = cargo(checkout);
    command.args(["tree", "--locked", "--edges", "normal,no-proc-macro"]);
    command.args(["--prefix", "depth", "--format", "{p}\t{l}"]);
    command
}

/// A package in one version. There is one registry (deny.toml), so that says all.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Package {
    name: String,
    version: String,
}

/// Who links whom.
#[derive(Debug, Default)]
struct Graph {
    licences: BTreeMap<Package, String>,
    links: BTreeMap<Package, BTreeSet<Package>>,
}

impl Graph {
    fn resolve(mut command: Command) -> Result<Self> {
        let output = command.output().context("cannot run cargo")?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("cargo tree failed: {}", said.lines().next().unwrap_or_default());
        }
        let text = String::from_utf8(output.stdout).context("cargo does not answer in UTF-8")?;
        Self::parse(&text)
    }

    /// Reads lines of depth, package and licence: `2serde v1.0.229 (proc-macro)\tMIT OR Apache-2.0 (*)`.
    fn parse(tree: &str) -> Result<Self> {
        let mut graph = Self::default();
        let mut above: Vec<Package> = Vec::new();
        for line in tree.lines().filter(|line| !line.is_empty()) {
            let (depth, package, licence) =
                parse_line(line).with_context(|| format!("cargo tree says what we cannot read: {line}"))?;
            above.truncate(depth);
            if let Some(parent) = above.last() {
                let links = graph.links.entry(parent.clone()).or_default();
                links.insert(package.clone());
            }
            graph.licences.insert(package.clone(), licence);
            above.push(package);
        }
        Ok(graph)
    }

    /// What `root` is linked from.
    fn bom(&self, root: &str, lock: &Lock) -> Result<Value> {
        let root = self
            .licences
            .keys()
            .find(|package| package.name == root)
            .with_context(|| format!("cargo tree has no {root}"))?;
        let reached = self.reached(root);
        let libraries = reached.iter().filter(|package| *package != root);
        let dependencies = reached.iter().map(|package| {
            let links = self.links.get(package).into_iter().flatten();
            json!({ "ref": lock.reference(package), "dependsOn": links.map(|link| lock.reference(link)).collect::<Vec<_>>() })
        });
        Ok(json!({
            "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "version": 1,
            "metadata": { "component": self.component(root, "application", lock) },
            "components": libraries.map(|package| self.component(package, "library", lock)).collect::<Vec<_>>(),
            "dependencies": dependencies.collect::<Vec<_>>(),
        }))
    }

    fn reached(&self, root: &Package) -> BTreeSet<Package> {
        let mut reached = BTreeSet::from([root.clone()]);
        let mut left = vec![root];
        while let Some(package) = left.pop() {
            for link in self.links.get(package).into_iter().flatten() {
                if reached.insert(link.clone()) {
                    left.push(link);
                }
            }
        }
        reached
    }

    fn component(&self, package: &Package, kind: &str, lock: &Lock) -> Value {
        let reference = lock.reference(package);
        let mut component = json!({
            "type": kind,
            "bom-ref": reference,
            "name": package.name,
            "version": package.version,
        });
        let licence = self.licences.get(package).filter(|licence| !licence.is_empty());
        if let Some(licence) = licence {
            component["licenses"] = json!([{ "expression": licence }]);
        }
        if let Some(checksum) = lock.checksums.get(package) {
            component["purl"] = json!(reference);
            component["hashes"] = json!([{ "alg": "SHA-256", "content": checksum }]);
        }
        component
    }
}

fn parse_line(line: &str) -> Option<(usize, Package, String)> {
    let digits = line.find(|c: char| !c.is_ascii_digit())?;
    let (depth, rest) = line.split_at(digits);
    let (package, licence) = rest.split_once('\t')?;
    let mut words = package.split(' ');
    let package = Package {
        name: words.next()?.to_owned(),
        version: words.next()?.strip_prefix('v')?.to_owned(),
    };
    // A star: what it links was said before. A slash: how licences were once written.
    let licence = licence.trim_end_matches("(*)").trim();
    let licence = licence.replace(" / ", " OR ").replace('/', " OR ");
    Some((depth.parse().ok()?, package, licence))
}

/// Cargo.lock: the checksums of what comes from the registry.
struct Lock {
    checksums: BTreeMap<Package, String>,
}

impl Lock {
    fn read(file: &std::path::Path) -> Result<Self> {
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        Self::parse(&text)
    }

    fn parse(text: &str) -> Result<Self> {
        let lock: toml::Table = text.parse().context("cannot read Cargo.lock")?;
        let packages = lock.get("package").and_then(toml::Value::as_array);
        let packages = packages.context("Cargo.lock has no packages")?;
        let checksums = packages.iter().filter_map(|package| {
            let text = |name: &str| Some(package.get(name)?.as_str()?.to_owned());
            let known = Package {
                name: text("name")?,
                version: text("version")?,
            };
            Some((known, text("checksum")?))
        });
        Ok(Self {
            checksums: checksums.collect(),
        })
    }

    /// A package URL, if it is in the registry; what is ours is not.
    fn reference(&self, package: &Package) -> String {
        let Package { name, version } = package;
        if self.checksums.contains_key(package) {
            format!("pkg:cargo/{name}@{}", version.replace('+', "%2B"))
        } else {
            format!("{name}@{version}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: &str = "\
0auth v0.1.0 (/shop/components/auth)\tApache-2.0
1serde v1.0.1\tMIT OR Apache-2.0
2wasi v0.11.1+wasi-snapshot-preview1\tMIT/Apache-2.0
1ours v0.1.0 (/shop/crates/ours)\tApache-2.0
2serde v1.0.1\tMIT OR Apache-2.0 (*)

0catalog v0.1.0 (/shop/components/catalog)\tApache-2.0
1redis v1.8.1\tBSD-3-Clause
";

    const LOCK: &str = "\
[[package]]
name = \"auth\"
version = \"0.1.0\"

[[package]]
name = \"serde\"
version = \"1.0.1\"
checksum = \"aa\"

[[package]]
name = \"wasi\"
version = \"0.11.1+wasi-snapshot-preview1\"
checksum = \"bb\"
";

    fn bom(root: &str) -> Result<Value> {
        Graph::parse(TREE)?.bom(root, &Lock::parse(LOCK)?)
    }

    #[test]
    fn a_program_has_what_is_linked_into_it_and_nothing_else() {
        let bom = bom("auth").unwrap();
        let components = bom["components"].as_array().unwrap().iter();
        let names: Vec<_> = components
            .map(|component| component["name"].as_str().unwrap())
            .collect();
        assert_eq!(names, ["ours", "serde", "wasi"]);
        assert_eq!(bom["metadata"]["component"]["bom-ref"], "auth@0.1.0");
    }

    #[test]
    fn what_comes_from_the_registry_has_an_address_and_a_checksum_and_what_is_ours_has_no_path() {
        let bom = bom("auth").unwrap();
        assert_eq!(
            bom["components"][2],
            json!({
                "type": "library",
                "bom-ref": "pkg:cargo/wasi@0.11.1%2Bwasi-snapshot-preview1",
                "name": "wasi",
                "version": "0.11.1+wasi-snapshot-preview1",
                "licenses": [{ "expression": "MIT OR Apache-2.0" }],
                "purl": "pkg:cargo/wasi@0.11.1%2Bwasi-snapshot-preview1",
                "hashes": [{ "alg": "SHA-256", "content": "bb" }],
            })
        );
        assert!(!bom.to_string().contains("/shop/"));
    }

    #[test]
    fn links_are_known_though_cargo_says_them_once() {
        let bom = bom("auth").unwrap();
        assert_eq!(
            bom["dependencies"],
            json!([
                { "ref": "auth@0.1.0", "dependsOn": ["ours@0.1.0", "pkg:cargo/serde@1.0.1"] },
                { "ref": "ours@0.1.0", "dependsOn": ["pkg:cargo/serde@1.0.1"] },
                { "ref": "pkg:cargo/serde@1.0.1", "dependsOn": ["pkg:cargo/wasi@0.11.1%2Bwasi-snapshot-preview1"] },
                { "ref": "pkg:cargo/wasi@0.11.1%2Bwasi-snapshot-preview1", "dependsOn": [] },
            ])
        );
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        assert!(Graph::parse("0auth\tMIT\n").is_err());
        assert!(bom("absent").is_err());
    }
}
