//! Which dependencies keep the host from starting, each told in one line. Whether one works is tried where the
//! components are built: payment has one.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use embedded_host::{Config, Host};

const MANIFEST: &str = r#"spin_manifest_version = 2
application = { name = "test" }
trigger = {}
[component.a]
source = "a.wasm"
[component.a.dependencies]
"#;

/// The component, which greets by somebody else.
const GREETED: &str = r#"(component
    (import "shop:greeting/greeter@0.1.0" (instance (export "greet" (func async))))
)"#;

/// A folder of its own for each test, gone when the test is over.
struct Folder(PathBuf);

impl Folder {
    /// With the component in it.
    fn new() -> Folder {
        let path = std::env::temp_dir().join(format!("embedded-host-{}", uuid::Uuid::now_v7()));
        std::fs::create_dir(&path).unwrap();
        let folder = Folder(path);
        folder.wasm("a.wasm", GREETED);
        folder
    }

    fn wasm(&self, name: &str, text: &str) {
        std::fs::write(self.0.join(name), wat::parse_str(text).unwrap()).unwrap();
    }

    /// What the host says of these dependencies.
    async fn refusal(&self, dependencies: &str) -> String {
        let manifest = self.0.join("spin.toml");
        std::fs::write(&manifest, format!("{MANIFEST}{dependencies}")).unwrap();
        let any_port = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
        let mut config = Config::new(&manifest, any_port);
        config.environment.clear();
        let error = match Host::start(config).await {
            Ok(_) => panic!("it must not start"),
            Err(error) => error.to_string(),
        };
        assert!(!error.contains('\n'), "more than one line: {error}");
        error
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

/// A dependency that hands on what it imports itself, and imports something else besides.
fn greeter(function: &str, besides: &str) -> String {
    format!(
        r#"(component
            (import "wasi:cli/greeter@0.2.6" (instance $greeter (export "greet" ({function}))))
            {besides}
            (export "shop:greeting/greeter@0.1.0" (instance $greeter))
        )"#
    )
}

/// A dependency with an import besides its own, and what it inherits.
async fn refusal_of(function: &str, besides: &str, inherits: &str) -> String {
    let folder = Folder::new();
    folder.wasm("b.wasm", &greeter(function, besides));
    let dependency =
        format!("\"shop:greeting/greeter\" = {{ path = \"b.wasm\", inherit_configuration = {inherits} }}");
    folder.refusal(&dependency).await
}

const VARIABLES: &str = r#"(import "spin:variables/variables@3.0.0" (instance (export "get" (func async))))"#;
const POSTGRES: &str = r#"(import "spin:postgres/postgres@4.2.0" (instance (export "open" (func async))))"#;
const HTTP: &str = r#"(import "wasi:http/client@0.3.0" (instance (export "send" (func async))))"#;
const KEY_VALUE: &str =
    r#"(import "spin:key-value/key-value@3.0.0" (instance (export "open" (func async))))"#;

#[tokio::test]
async fn a_dependency_that_imports_what_it_does_not_inherit_is_refused() {
    for (import, name, inherits, missing) in [
        (
            VARIABLES,
            "spin:variables/variables@3.0.0",
            r#"["allowed_outbound_hosts"]"#,
            "variables",
        ),
        (VARIABLES, "spin:variables/variables@3.0.0", "false", "variables"),
        (
            POSTGRES,
            "spin:postgres/postgres@4.2.0",
            "false",
            "allowed_outbound_hosts",
        ),
        (
            POSTGRES,
            "spin:postgres/postgres@4.2.0",
            r#"["variables"]"#,
            "allowed_outbound_hosts",
        ),
        (HTTP, "wasi:http/client@0.3.0", "[]", "allowed_outbound_hosts"),
    ] {
        let error = refusal_of("func async", import, inherits).await;
        let expected = format!(
            "component \"a\": dependency \"shop:greeting/greeter\": it imports {name} and does not inherit `{missing}`"
        );
        assert_eq!(error, expected);
    }
}

#[tokio::test]
async fn a_dependency_that_imports_what_nobody_has_is_refused_whatever_it_inherits() {
    let error = refusal_of("func async", KEY_VALUE, "true").await;
    assert!(
        error.contains("it imports spin:key-value/key-value@3.0.0, which no dependency may have here"),
        "{error}"
    );
}

#[tokio::test]
async fn what_a_dependency_inherits_is_no_reason_to_refuse_it() {
    for inherits in ["true", r#"["allowed_outbound_hosts", "variables"]"#] {
        let besides = format!("{VARIABLES}{POSTGRES}{HTTP}");
        // It is composed, and found to import the made-up interface that it hands on.
        let error = refusal_of("func async", &besides, inherits).await;
        assert!(
            !error.contains("dependency") && error.contains("wasi:cli/greeter@0.2.6"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_dependency_that_does_not_export_the_interface_is_refused() {
    let folder = Folder::new();
    folder.wasm("b.wasm", "(component)");
    let error = folder.refusal("\"shop:greeting\" = { path = \"b.wasm\" }").await;
    assert_eq!(
        error,
        "component \"a\": dependency \"shop:greeting\": it does not export shop:greeting/greeter@0.1.0"
    );
}

#[tokio::test]
async fn a_dependency_that_exports_another_form_of_the_interface_is_refused() {
    for function in ["func", "func async (result u32)"] {
        let error = refusal_of(function, "", "false").await;
        assert!(
            error.contains("it exports another shop:greeting/greeter@0.1.0"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn an_interface_that_is_not_async_is_refused_if_the_dependency_can_wait() {
    let folder = Folder::new();
    folder.wasm("a.wasm", &GREETED.replace(" async", ""));
    folder.wasm("b.wasm", &greeter("func", POSTGRES));
    let error = folder
        .refusal("\"shop:greeting\" = { path = \"b.wasm\", inherit_configuration = true }")
        .await;
    assert!(
        error.contains("has a function that is not async (\"greet\")") && error.contains("would trap"),
        "{error}"
    );

    folder.wasm("b.wasm", &greeter("func", ""));
    let error = folder.refusal("\"shop:greeting\" = { path = \"b.wasm\" }").await;
    assert!(!error.contains("dependency"), "{error}");
}

#[tokio::test]
async fn a_dependency_that_nothing_asks_for_is_refused() {
    let folder = Folder::new();
    folder.wasm("b.wasm", &greeter("func async", ""));
    for name in ["shop:parting", "shop:greeting/other", "shop:greeting@0.2.0"] {
        let error = folder
            .refusal(&format!("\"{name}\" = {{ path = \"b.wasm\" }}"))
            .await;
        assert_eq!(
            error,
            format!("component \"a\": dependency \"{name}\": the component imports nothing of that name")
        );
    }
}

#[tokio::test]
async fn two_dependencies_for_one_import_are_refused() {
    let folder = Folder::new();
    folder.wasm("b.wasm", &greeter("func async", ""));
    let error = folder
        .refusal(
            "\"shop:greeting\" = { path = \"b.wasm\" }\n\"shop:greeting/greeter\" = { path = \"b.wasm\" }",
        )
        .await;
    assert!(
        error.starts_with("component \"a\": dependency \"shop:greeting/greeter\""),
        "{error}"
    );
}

#[tokio::test]
async fn a_dependency_that_is_missing_or_broken_is_named() {
    let folder = Folder::new();
    let dependency = "\"shop:greeting\" = { path = \"b.wasm\" }";
    let error = folder.refusal(dependency).await;
    assert!(
        error.starts_with("component \"a\": dependency \"shop:greeting\": cannot read"),
        "{error}"
    );
    assert!(error.contains("b.wasm"), "{error}");

    for content in [b"not wasm".as_slice(), b"\0asm\x01\0\0\0"] {
        std::fs::write(folder.0.join("b.wasm"), content).unwrap();
        let error = folder.refusal(dependency).await;
        assert!(
            error.starts_with("component \"a\": dependency \"shop:greeting\": "),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_form_of_dependency_that_is_not_implemented_is_named() {
    let folder = Folder::new();
    for (dependency, key) in [
        ("\">= 0.1.0\"", "version"),
        ("{ version = \"0.1.0\", registry = \"r.test\" }", "registry"),
        ("{ url = \"http://r.test/b.wasm\", digest = \"1\" }", "digest"),
        ("{ component = \"b\" }", "component"),
        (
            "{ path = \"b.wasm\", export = \"shop:greeting/other\" }",
            "export",
        ),
    ] {
        let error = folder.refusal(&format!("\"shop:greeting\" = {dependency}")).await;
        assert!(
            error.contains("component \"a\": dependency \"shop:greeting\"")
                && error.contains(&format!("`{key}`"))
                && error.contains("not implemented"),
            "{error}"
        );
    }
}
