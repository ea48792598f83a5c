//! `release`: what a release of this version is made of. Each part is a command by itself; the forge's workflow runs
//! them side by side, and with `--dry-run` they only say what they would run. docs/release.md tells the whole.

mod artefacts;
mod changelog;
mod sbom;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::builds;
use crate::checkout::{Checkout, create_folder};
use crate::manifests;
use crate::programs::on_path;
use crate::progress::{Step, say};
use crate::run::Run;

use artefacts::{Artefact, Signer, UNKNOWN};

/// Of the whole workspace.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Where the notes are for the forge, seen from the checkout.
const NOTES: &str = "target/release-notes.md";

#[derive(clap::Args)]
pub(crate) struct Release {
    /// The tag that is released; refused unless it is `v` and the version in Cargo.toml
    #[arg(long, env = "SHOP_RELEASE_TAG", global = true)]
    tag: Option<String>,

    #[command(subcommand)]
    part: Part,
}

#[derive(clap::Subcommand)]
enum Part {
    /// Write what is linked into each program, as CycloneDX, to target/sbom
    Sbom,
    /// Build each service's component, push it to a registry and sign it, with its SBOM
    Components(Push),
    /// Build the images of `deploy/*.Dockerfile`, push them to a registry and sign them, with their SBOMs
    Images(Push),
    /// Print what CHANGELOG.md says of this version
    Notes(Notes),
    /// Make the tag a release of the forge, with its notes and the SBOMs
    Publish(Publish),
}

#[derive(clap::Args)]
struct Push {
    /// Where to: the artefacts become `<REGISTRY>/<name>:<version>`
    #[arg(long, env = "SHOP_REGISTRY")]
    registry: Option<String>,

    /// Sign with this key of cosign's (its password: COSIGN_PASSWORD); otherwise as whom the forge says that we are
    #[arg(long, value_name = "FILE", env = "SHOP_COSIGN_KEY")]
    key: Option<PathBuf>,

    /// Build and push nothing: print the commands that would do it
    #[arg(long)]
    dry_run: bool,
}

#[derive(clap::Args)]
struct Notes {
    /// What the next version will say
    #[arg(long)]
    unreleased: bool,
}

#[derive(clap::Args)]
struct Publish {
    /// Publish nothing: print the command that would do it
    #[arg(long)]
    dry_run: bool,
}

/// Does one part of a release.
pub(crate) fn release(checkout: &Checkout, release: &Release) -> Result<()> {
    if let Some(tag) = &release.tag {
        check_tag(tag)?;
        // Said before anything is pushed, not after.
        notes_of(checkout, VERSION)?;
    }
    match &release.part {
        Part::Sbom => sbom::write(checkout),
        Part::Components(push) => components(checkout, push),
        Part::Images(push) => images(checkout, push),
        Part::Notes(notes) => {
            let title = if notes.unreleased { "Unreleased" } else { VERSION };
            println!("{}", notes_of(checkout, title)?);
            Ok(())
        }
        Part::Publish(Publish { dry_run }) => publish(checkout, *dry_run),
    }
}

fn check_tag(tag: &str) -> Result<()> {
    if tag != format!("v{VERSION}") {
        bail!("the tag {tag} is not of this version: Cargo.toml says {VERSION}");
    }
    Ok(())
}

fn components(checkout: &Checkout, push: &Push) -> Result<()> {
    let registry = push.registry()?;
    let services = artefacts::services(checkout.root())?;
    if !push.dry_run {
        require("spin", "https://spinframework.dev")?;
        require("cosign", "https://docs.sigstore.dev")?;
        builds::components(checkout)?;
        manifests::write(checkout)?;
        sbom::write(checkout)?;
    }
    let artefacts = services
        .iter()
        .map(|service| Artefact::component(service, &registry));
    push.all(checkout, artefacts)
}

fn images(checkout: &Checkout, push: &Push) -> Result<()> {
    let registry = push.registry()?;
    let images = artefacts::images(checkout.root())?;
    let components = sbom::components(checkout)?;
    if !push.dry_run {
        require("docker", "https://docs.docker.com")?;
        require("cosign", "https://docs.sigstore.dev")?;
        sbom::write(checkout)?;
        create_folder(&checkout.root().join(artefacts::METADATA))?;
    }
    let artefacts = images
        .iter()
        .map(|image| Artefact::image(image, &components, &registry));
    push.all(checkout, artefacts)
}

impl Push {
    /// References have no capital letters, though names on a forge may.
    fn registry(&self) -> Result<String> {
        let registry = self.registry.as_deref().map(str::to_lowercase);
        registry.context("say where to push to: --registry <REGISTRY>, or SHOP_REGISTRY")
    }

    fn all(&self, checkout: &Checkout, artefacts: impl Iterator<Item = Artefact>) -> Result<()> {
        let signer = Signer {
            key: self.key.clone(),
        };
        let mut bases = Vec::new();
        for artefact in artefacts {
            if self.dry_run {
                artefact.commands(&signer, &bases).iter().for_each(print);
                bases.push(artefact.base(UNKNOWN));
            } else {
                let digest = artefact.release(checkout, &signer, &bases)?;
                bases.push(artefact.base(&digest));
            }
        }
        Ok(())
    }
}

/// The notes as a file beside the SBOMs, and both handed to the forge.
fn publish(checkout: &Checkout, dry_run: bool) -> Result<()> {
    let notes = notes_of(checkout, VERSION);
    let mut command = publication(&sbom::names(checkout)?);
    command.current_dir(checkout.root());
    if dry_run {
        if let Err(error) = notes {
            say(&format!("as it is, it would fail: {error:#}"));
        }
        print(&command);
        return Ok(());
    }
    require("gh", "https://cli.github.com")?;
    sbom::write(checkout)?;
    fs::write(checkout.root().join(NOTES), notes?).with_context(|| format!("cannot write {NOTES}"))?;
    let step = Step::start(format!("publishing v{VERSION}"));
    Run::of(&step, checkout.log("publish")?).or_fail(command, "the forge does not take the release")?;
    step.done();
    Ok(())
}

fn publication(sboms: &[String]) -> Command {
    let mut command = Command::new("gh");
    command
        .args(["release", "create", &format!("v{VERSION}"), "--verify-tag"])
        .args(["--title", &format!("Flower shop {VERSION}")])
        .args(["--notes-file", NOTES])
        .args(sboms.iter().map(|name| sbom::path(name)));
    command
}

fn notes_of(checkout: &Checkout, title: &str) -> Result<String> {
    let file = checkout.root().join("CHANGELOG.md");
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    changelog::section(&text, title)
        .map(str::to_owned)
        .with_context(|| {
            format!("CHANGELOG.md says nothing of this under `## {title}`: write there what changed")
        })
}

/// A program that is not installed by us: those who release have reasons of their own for its version.
fn require(program: &str, home: &str) -> Result<()> {
    if on_path(program).is_none() {
        bail!("{program} is not installed: see {home}");
    }
    Ok(())
}

/// A command as one would type it.
fn print(command: &Command) {
    println!("{}", spelled(command));
}

fn spelled(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let quoted = words.map(|word| {
        let word = word.to_string_lossy();
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@,".contains(c);
        if !word.is_empty() && word.chars().all(plain) {
            word.into_owned()
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn only_the_tag_of_this_version_is_released() {
        assert!(check_tag(&format!("v{VERSION}")).is_ok());
        assert!(check_tag(VERSION).is_err());
        assert!(check_tag("v99.0.0").is_err());
    }

    #[test]
    fn spin_toml_has_the_version_of_the_workspace() {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../spin.toml");
        let manifest: toml::Table = fs::read_to_string(manifest).unwrap().parse().unwrap();
        assert_eq!(manifest["application"]["version"].as_str(), Some(VERSION));
    }

    #[test]
    fn a_release_of_the_forge_has_notes_and_sboms() {
        let command = publication(&["auth".to_owned(), "host-bridge".to_owned()]);
        assert_eq!(
            spelled(&command),
            format!(
                "gh release create v{VERSION} --verify-tag --title 'Flower shop {VERSION}' --notes-file \
                 target/release-notes.md target/sbom/auth.cdx.json target/sbom/host-bridge.cdx.json"
            )
        );
    }

    #[test]
    fn what_a_shell_would_take_apart_is_quoted() {
        let mut command = Command::new("echo");
        command.args(["a b", "", "it's", "$HOME", "plain/word:1"]);
        assert_eq!(spelled(&command), r"echo 'a b' '' 'it'\''s' '$HOME' plain/word:1");
    }
}
