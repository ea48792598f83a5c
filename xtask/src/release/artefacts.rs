//! What goes to a registry, and the commands that bring it there: pushed by its tag, signed by its digest.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use super::{VERSION, sbom};
use crate::checkout::Checkout;
use crate::progress::Step;
use crate::run::{Ran, Run};

/// Where docker leaves the digests of the images that it pushed, seen from the checkout.
pub(super) const METADATA: &str = "target/images";

/// What stands for a digest that nobody knows yet.
pub(super) const UNKNOWN: &str = "sha256:DIGEST";

/// A service, and the files that are linked into what is pushed for it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Service {
    name: String,
    /// Names of components: its own, and those that it is composed with.
    components: Vec<String>,
}

/// The services of `spin.toml`.
///
/// # Errors
/// If it cannot be read.
pub(super) fn services(root: &Path) -> Result<Vec<Service>> {
    let file = root.join("spin.toml");
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let manifest: toml::Table = text
        .parse()
        .with_context(|| format!("cannot read {}", file.display()))?;
    let components = manifest
        .get("component")
        .and_then(toml::Value::as_table)
        .context("spin.toml has no components")?;
    components
        .iter()
        .map(|(name, component)| {
            let dependencies = component.get("dependencies").and_then(toml::Value::as_table);
            let paths = dependencies
                .into_iter()
                .flatten()
                .map(|(_, dependency)| dependency.get("path"));
            let components = std::iter::once(component.get("source"))
                .chain(paths)
                .map(|file| file.and_then(toml::Value::as_str).and_then(stem))
                .collect::<Option<Vec<String>>>()
                .with_context(|| format!("spin.toml does not say which files {name} is made of"))?;
            Ok(Service {
                name: name.clone(),
                components,
            })
        })
        .collect()
}

fn stem(path: &str) -> Option<String> {
    Some(Path::new(path).file_stem()?.to_str()?.to_owned())
}

/// An image, by the name of its file: `deploy/<name>.Dockerfile`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Image {
    name: String,
    /// Whether the components are in it, beside the native program that every one has.
    has_components: bool,
}

/// The images, in the order of their names: a later one may be made of an earlier.
///
/// # Errors
/// If the files cannot be read.
pub(super) fn images(root: &Path) -> Result<Vec<Image>> {
    let entries = fs::read_dir(root.join("deploy")).context("cannot read deploy/")?;
    let mut images = Vec::new();
    for entry in entries.flatten() {
        let file = entry.file_name().into_string().unwrap_or_default();
        if let Some(name) = file.strip_suffix(".Dockerfile") {
            let text = fs::read_to_string(entry.path()).with_context(|| format!("cannot read {file}"))?;
            images.push(Image {
                name: name.to_owned(),
                has_components: text.contains("cargo xtask components"),
            });
        }
    }
    images.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(images)
}

/// Who signs.
pub(super) struct Signer {
    /// Without a key, cosign asks the forge who we are and has a certificate made out to that.
    pub(super) key: Option<PathBuf>,
}

impl Signer {
    fn cosign(&self, verb: &str) -> Command {
        let mut command = Command::new("cosign");
        command.args([verb, "--yes"]);
        if let Some(key) = &self.key {
            command.arg("--key").arg(key);
        }
        command
    }

    fn sign(&self, reference: &str) -> Command {
        let mut command = self.cosign("sign");
        command.arg(reference);
        command
    }

    /// Says under our signature what is in it.
    fn attest(&self, sbom: &str, reference: &str) -> Command {
        let mut command = self.cosign("attest");
        command.args(["--type", "cyclonedx", "--predicate", sbom, reference]);
        command
    }
}

/// What is pushed.
pub(super) struct Artefact {
    name: String,
    /// Without tag or digest.
    repository: String,
    kind: Kind,
    /// Files, seen from the checkout.
    sboms: Vec<String>,
}

/// An image that was pushed before: `FROM flower-shop-<name>` means this very one.
pub(super) struct Base {
    name: String,
    reference: String,
}

enum Kind {
    /// A Spin application of one component, as SpinKube takes it: the component with its variables and grants.
    Component,
    Image,
}

impl Artefact {
    pub(super) fn component(service: &Service, registry: &str) -> Self {
        Self {
            name: service.name.clone(),
            repository: format!("{registry}/flower-shop-{}", service.name),
            kind: Kind::Component,
            sboms: service.components.iter().map(|name| sbom::path(name)).collect(),
        }
    }

    /// `components` are the names of those that there are.
    pub(super) fn image(image: &Image, components: &[String], registry: &str) -> Self {
        let inside = if image.has_components { components } else { &[] };
        let inside = inside.iter().map(String::as_str).chain([sbom::PROGRAM]);
        Self {
            name: image.name.clone(),
            repository: format!("{registry}/flower-shop-{}", image.name),
            kind: Kind::Image,
            sboms: inside.map(sbom::path).collect(),
        }
    }

    /// Pushes, signs and attests it; it may be made of `bases`. Gives its digest.
    ///
    /// # Errors
    /// If any of that fails, or nobody says what digest it has.
    pub(super) fn release(&self, checkout: &Checkout, signer: &Signer, bases: &[Base]) -> Result<String> {
        let name = &self.name;
        let step = Step::start(format!("pushing {name}"));
        let mut push = self.push(bases);
        push.current_dir(checkout.root());
        let log = checkout.log(&format!("push-{name}"))?;
        let ran = Run::of(&step, log).or_fail(push, &format!("{name} cannot be pushed"))?;
        step.done();
        let digest = self.digest(checkout, &ran)?;
        let step = Step::start(format!("signing {name}"));
        for mut command in self.signatures(signer, &digest) {
            command.current_dir(checkout.root());
            let log = checkout.log(&format!("sign-{name}"))?;
            Run::of(&step, log).or_fail(command, &format!("{name} cannot be signed"))?;
        }
        step.done();
        println!("{}:{VERSION}@{digest}", self.repository);
        Ok(digest)
    }

    /// All that would be run.
    pub(super) fn commands(&self, signer: &Signer, bases: &[Base]) -> Vec<Command> {
        let mut commands = vec![self.push(bases)];
        commands.extend(self.signatures(signer, UNKNOWN));
        commands
    }

    /// What a later image may be made of, when this one has been pushed as `digest`.
    pub(super) fn base(&self, digest: &str) -> Base {
        Base {
            name: self.name.clone(),
            reference: format!("{}@{digest}", self.repository),
        }
    }

    fn push(&self, bases: &[Base]) -> Command {
        let reference = format!("{}:{VERSION}", self.repository);
        match self.kind {
            Kind::Component => {
                let mut spin = Command::new("spin");
                // What is composed is composed here: a host need not know how.
                spin.args(["registry", "push", "--from", &self.manifest(), &reference]);
                spin
            }
            Kind::Image => {
                let mut docker = Command::new("docker");
                docker
                    .args(["buildx", "build", "--push"])
                    .args(["--file", &format!("deploy/{}.Dockerfile", self.name)])
                    // BuildKit's own: the Debian packages, and how the image was built.
                    .args(["--sbom=true", "--provenance=mode=max"])
                    .args(["--metadata-file", &self.metadata()]);
                for Base { name, reference } in bases {
                    let context = format!("flower-shop-{name}=docker-image://{reference}");
                    docker.args(["--build-context", &context]);
                }
                docker.args(["--tag", &reference, "."]);
                docker
            }
        }
    }

    fn signatures(&self, signer: &Signer, digest: &str) -> Vec<Command> {
        let reference = format!("{}@{digest}", self.repository);
        let attestations = self.sboms.iter().map(|sbom| signer.attest(sbom, &reference));
        std::iter::once(signer.sign(&reference))
            .chain(attestations)
            .collect()
    }

    fn manifest(&self) -> String {
        format!("target/manifests/{}.toml", self.name)
    }

    fn metadata(&self) -> String {
        format!("{METADATA}/{}.json", self.name)
    }

    fn digest(&self, checkout: &Checkout, ran: &Ran) -> Result<String> {
        let digest = match self.kind {
            Kind::Component => digest_of_spin(&ran.lines),
            Kind::Image => {
                let file = checkout.root().join(self.metadata());
                let text =
                    fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
                digest_of_docker(&text)
            }
        };
        digest.with_context(|| {
            format!(
                "{} was pushed, but nobody says under which digest: it is not signed",
                self.name
            )
        })
    }
}

/// What `spin registry push` says at its end.
fn digest_of_spin(lines: &[String]) -> Option<String> {
    let digest = lines.iter().find_map(|line| {
        line.split_once("Pushed with digest ")
            .map(|(_, digest)| digest.trim())
    })?;
    is_digest(digest).then(|| digest.to_owned())
}

/// What docker writes of a build.
fn digest_of_docker(metadata: &str) -> Option<String> {
    let metadata: Value = serde_json::from_str(metadata).ok()?;
    let digest = metadata.get("containerimage.digest")?.as_str()?;
    is_digest(digest).then(|| digest.to_owned())
}

fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:")
        .is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::super::spelled;
    use super::*;

    const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn image(name: &str, has_components: bool) -> Image {
        Image {
            name: name.to_owned(),
            has_components,
        }
    }

    fn spelled_all(artefact: &Artefact, key: Option<&str>) -> Vec<String> {
        let signer = Signer {
            key: key.map(PathBuf::from),
        };
        artefact.commands(&signer, &[]).iter().map(spelled).collect()
    }

    #[test]
    fn a_component_is_pushed_by_tag_and_signed_by_digest_with_the_sbom_of_each_file_in_it() {
        let payment = Service {
            name: "payment".to_owned(),
            components: vec!["payment".to_owned(), "payment_provider".to_owned()],
        };
        let commands = spelled_all(&Artefact::component(&payment, "r.example/shop"), None);
        let attest = "cosign attest --yes --type cyclonedx --predicate target/sbom";
        let digest = "r.example/shop/flower-shop-payment@sha256:DIGEST";
        assert_eq!(
            commands,
            [
                format!(
                    "spin registry push --from target/manifests/payment.toml r.example/shop/flower-shop-payment:{VERSION}"
                ),
                format!("cosign sign --yes {digest}"),
                format!("{attest}/payment.cdx.json {digest}"),
                format!("{attest}/payment_provider.cdx.json {digest}"),
            ]
        );
    }

    #[test]
    fn an_image_is_built_and_pushed_in_one_go_and_a_key_signs_it() {
        let image = Artefact::image(&image("bridge", false), &[], "r.example/shop");
        let commands = spelled_all(&image, Some("my key"));
        let digest = "r.example/shop/flower-shop-bridge@sha256:DIGEST";
        assert_eq!(
            commands,
            [
                format!(
                    "docker buildx build --push --file deploy/bridge.Dockerfile --sbom=true --provenance=mode=max \
                     --metadata-file target/images/bridge.json --tag r.example/shop/flower-shop-bridge:{VERSION} ."
                ),
                format!("cosign sign --yes --key 'my key' {digest}"),
                format!(
                    "cosign attest --yes --key 'my key' --type cyclonedx --predicate target/sbom/host-bridge.cdx.json \
                     {digest}"
                ),
            ]
        );
    }

    #[test]
    fn an_image_that_is_made_of_another_is_made_of_the_one_that_was_pushed_and_tells_of_its_components() {
        let components = ["auth".to_owned(), "gateway".to_owned()];
        let bridge = Artefact::image(&image("bridge", false), &components, "r.example/shop");
        let host = Artefact::image(&image("host", true), &components, "r.example/shop");
        let push = spelled(&host.push(&[bridge.base(DIGEST)]));
        let base = format!(
            "--build-context flower-shop-bridge=docker-image://r.example/shop/flower-shop-bridge@{DIGEST} --tag"
        );
        assert!(push.contains(&base), "{push}");
        let sboms = ["auth", "gateway", "host-bridge"].map(sbom::path);
        assert_eq!(host.sboms, sboms);
        assert_eq!(bridge.sboms, [sbom::path("host-bridge")]);
    }

    #[test]
    fn what_is_released_is_what_spin_toml_and_deploy_have() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let services = services(&root).unwrap();
        let names: Vec<&str> = services.iter().map(|service| service.name.as_str()).collect();
        assert_eq!(
            names,
            ["auth", "catalog", "delivery", "gateway", "ordering", "payment"]
        );
        assert_eq!(services[5].components, ["payment", "payment_provider"]);
        let images = images(&root).unwrap();
        assert_eq!(images, [image("bridge", false), image("host", true)]);
    }

    #[test]
    fn a_digest_is_read_from_what_the_programs_say_and_nothing_else_is_taken_for_one() {
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        let said = format!("Pushing app to the Registry...\nPushed with digest {DIGEST}\n");
        assert_eq!(digest_of_spin(&lines(&said)).as_deref(), Some(DIGEST));
        let silent = "Pushed; the registry did not return the digest";
        assert_eq!(digest_of_spin(&lines(silent)), None);
        assert_eq!(digest_of_spin(&lines("Pushed with digest sha256:12")), None);
        let metadata =
            format!(r#"{{"buildx.build.ref": "default/x/y", "containerimage.digest": "{DIGEST}"}}"#);
        assert_eq!(digest_of_docker(&metadata).as_deref(), Some(DIGEST));
        assert_eq!(digest_of_docker(r#"{"containerimage.digest": "latest"}"#), None);
    }
}
