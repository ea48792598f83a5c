//! `kubernetes`: renders every overlay of `deploy/kubernetes` and checks what comes out. Its shape: against Kubernetes'
//! own schemas, and against `shapes` for what operators bring. Its sense: `checks` and `arrows`, which know what schemas
//! do not see. And the checks themselves: `mutations` breaks a rendering in many ways, each of which must be noticed.

mod arrows;
mod checks;
mod mutations;
mod rendering;
mod shapes;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use self::checks::Facts;
use self::mutations::Tried;
use self::rendering::Rendering;
use crate::checkout::{Checkout, create_folder};
use crate::manifests;
use crate::progress::Step;
use crate::python::Tools;
use crate::run::Run;

const TOOLS: Tools = Tools {
    title: "kubectl and Kubernetes' schemas",
    folder: "kubernetes",
    pins: "deploy/kubernetes/requirements.txt",
};

/// What validates against Kubernetes' schemas says so of a kind that it does not know, and goes on.
const NO_SCHEMA: &str = "Couldn't find schema";

/// Renders and checks all overlays.
///
/// # Errors
/// One line for each thing that is amiss.
pub(crate) fn check(checkout: &Checkout) -> Result<()> {
    manifests::write(checkout)?;
    let programs = TOOLS.find_or_install(checkout)?;
    let folder = checkout.root().join("deploy/kubernetes");
    let step = Step::start("checking what Kubernetes is told");
    let made = output(
        &mut Command::new(folder.join("make-secrets")),
        "make-secrets cannot be run",
    )?;
    let facts = Facts::read(checkout, rendering::documents(&made)?)?;
    let rendered = checkout.target().join("kubernetes");
    create_folder(&rendered)?;
    let mut findings = Vec::new();
    let mut tried = Tried::default();
    for overlay in overlays(&folder.join("overlays"))? {
        let name = overlay
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let mut kustomize = Command::new(programs.join("kubectl"));
        kustomize.arg("kustomize").arg(&overlay);
        let text = output(&mut kustomize, &format!("{name} cannot be rendered"))?;
        let documents = rendering::documents(&text).with_context(|| format!("rendering of {name}"))?;
        let validated = rendered.join(format!("{name}.yaml"));
        validate(checkout, &step, &programs, &validated, &documents, &facts)?;
        let rendering = Rendering::new(documents);
        let found = checks::all(&rendering, &facts);
        if found.is_empty() {
            tried
                .are_noticed(&rendering, &facts)
                .with_context(|| name.clone())?;
        }
        findings.extend(found.into_iter().map(|finding| format!("{name}: {finding}")));
    }
    ensure!(
        findings.is_empty(),
        "deploy/kubernetes is not right:\n{}",
        findings.join("\n")
    );
    tried.are_all()?;
    step.done();
    Ok(())
}

/// Kubernetes' own kinds, those that `make-secrets` prints among them, against Kubernetes' schemas; the others against
/// ours.
fn validate(
    checkout: &Checkout,
    step: &Step,
    programs: &Path,
    file: &Path,
    documents: &[Value],
    facts: &Facts,
) -> Result<()> {
    let mut native = String::new();
    for document in documents.iter().chain(&facts.secrets) {
        if !shapes::check(document)? {
            // JSON is YAML.
            native.push_str("---\n");
            native.push_str(&document.to_string());
            native.push('\n');
        }
    }
    fs::write(file, native).with_context(|| format!("cannot write {}", file.display()))?;
    let mut validator = Command::new(programs.join("kubernetes-validate"));
    validator.args(["--strict", "--quiet"]).arg(file);
    let ran = Run::of(step, checkout.log("kubernetes-validate")?).to_end(validator)?;
    if !ran.status.success() || ran.lines.iter().any(|line| line.contains(NO_SCHEMA)) {
        bail!("Kubernetes would refuse this:\n{}", ran.lines.join("\n"));
    }
    Ok(())
}

fn overlays(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut overlays: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.join("kustomization.yaml").is_file())
        .collect();
    overlays.sort();
    ensure!(!overlays.is_empty(), "{} has no overlay", folder.display());
    Ok(overlays)
}

/// What a program prints.
fn output(command: &mut Command, what: &str) -> Result<String> {
    let output = command.output().with_context(|| what.to_owned())?;
    if !output.status.success() {
        bail!("{what}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    String::from_utf8(output.stdout).with_context(|| what.to_owned())
}
