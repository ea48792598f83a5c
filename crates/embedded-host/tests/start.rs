//! What keeps the host from starting, each told in one line. Guests are tried where they are built: the black-box
//! suite runs the real components.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use embedded_host::{Config, Host};

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// An empty component: it exports nothing.
const EMPTY_COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

/// A folder of its own for each test, gone when the test is over.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        let path = std::env::temp_dir().join(format!("embedded-host-{}", uuid::Uuid::now_v7()));
        std::fs::create_dir(&path).unwrap();
        Folder(path)
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

fn manifest(rest: &str) -> String {
    format!("spin_manifest_version = 2\n[application]\nname = \"test\"\n{rest}")
}

const ONE_COMPONENT: &str =
    "[[trigger.http]]\nroute = \"/...\"\ncomponent = \"a\"\n[component.a]\nsource = \"a.wasm\"\n";

fn config(manifest: &Path) -> Config {
    let mut config = Config::new(manifest, ANY_PORT);
    config.environment.clear();
    config
}

async fn refusal(config: Config) -> String {
    let error = match Host::start(config).await {
        Ok(_) => panic!("it must not start"),
        Err(error) => error.to_string(),
    };
    assert!(!error.contains('\n'), "more than one line: {error}");
    error
}

#[tokio::test]
async fn a_manifest_that_is_not_there_is_named() {
    let error = refusal(config(Path::new("nowhere/spin.toml"))).await;
    assert!(error.contains("cannot read nowhere/spin.toml"), "{error}");
}

#[tokio::test]
async fn a_key_that_is_not_implemented_is_named() {
    let folder = Folder::new();
    let path = folder.file(
        "spin.toml",
        manifest(&format!("{ONE_COMPONENT}sqlite_databases = [\"default\"]\n")),
    );
    let error = refusal(config(&path)).await;
    assert!(
        error.contains("line 9: unknown field `sqlite_databases`"),
        "{error}"
    );
}

#[tokio::test]
async fn a_missing_secret_is_named() {
    let folder = Folder::new();
    let variables = "[variables]\nkey = { required = true, secret = true }\n";
    let path = folder.file("spin.toml", manifest(&format!("{ONE_COMPONENT}{variables}")));
    let error = refusal(config(&path)).await;
    assert!(error.contains("\"key\" is required and has no value"), "{error}");
}

#[tokio::test]
async fn a_grant_that_is_none_is_named_and_a_secret_in_it_is_not_shown() {
    let folder = Folder::new();
    let grant = |grant: &str| {
        let variables = "[variables]\nhost = { required = true }\n";
        manifest(&format!(
            "{ONE_COMPONENT}allowed_outbound_hosts = [\"{grant}\"]\n{variables}"
        ))
    };
    let path = folder.file("spin.toml", grant("http://a.test/path"));
    let mut literal = config(&path);
    literal.variables = vec!["host=x".parse().unwrap()];
    let error = refusal(literal).await;
    assert!(
        error.contains("component \"a\"") && error.contains("http://a.test/path"),
        "{error}"
    );

    let path = folder.file("spin.toml", grant("http://{{ host }}"));
    let mut templated = config(&path);
    templated.variables = vec!["host=hush/path".parse().unwrap()];
    let error = refusal(templated).await;
    assert!(
        error.contains("may not have a path") && !error.contains("hush"),
        "{error}"
    );
}

#[tokio::test]
async fn a_component_that_was_not_built_is_named() {
    let folder = Folder::new();
    let path = folder.file("spin.toml", manifest(ONE_COMPONENT));
    let error = refusal(config(&path)).await;
    assert!(
        error.contains("component \"a\": cannot read") && error.contains("a.wasm"),
        "{error}"
    );
}

#[tokio::test]
async fn a_component_that_is_none_or_serves_no_http_is_refused() {
    let folder = Folder::new();
    let path = folder.file("spin.toml", manifest(ONE_COMPONENT));
    for content in [b"not wasm".as_slice(), EMPTY_COMPONENT] {
        folder.file("a.wasm", content);
        let error = refusal(config(&path)).await;
        assert!(error.starts_with("component \"a\""), "{error}");
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let folder = Folder::new();
    let path = folder.file("spin.toml", manifest("[trigger]\n"));
    let taken = TcpListener::bind(ANY_PORT).unwrap();
    let mut config = config(&path);
    config.listen = taken.local_addr().unwrap();
    let error = refusal(config).await;
    assert!(
        error.contains(&format!("cannot listen on {}", taken.local_addr().unwrap())),
        "{error}"
    );
}

#[tokio::test]
async fn an_address_for_a_component_that_does_not_exist_is_refused() {
    let folder = Folder::new();
    let path = folder.file("spin.toml", manifest("[trigger]\n"));
    let mut config = config(&path);
    config.service_addresses = vec![("nobody".to_owned(), ANY_PORT)];
    let error = refusal(config).await;
    assert!(error.contains("service address for \"nobody\""), "{error}");
}
