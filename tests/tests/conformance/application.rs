//! An application that is served: by the embedded host, or by Spin.

use anyhow::{Context, Result};
use shop_tests::environment::{root, variable};
use shop_tests::eventually;
use shop_tests::shop::{connect, free_ports, signal};
use shop_tests::spin;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream};
use tokio::process::{Child, Command};
use url::Url;
use uuid::Uuid;

/// How long it may take to start, components compiled, or to end.
const PATIENCE: Duration = Duration::from_secs(120);

/// Who serves it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Host {
    Embedded,
    Spin,
}

/// A running application; it ends with this value.
pub(crate) struct Application {
    pub(crate) host: Host,
    process: Child,
    /// A database of its own, if it has one.
    database: Option<(Url, String)>,
    /// What stands for `${name}` in expectations, and for the manifest's variables.
    names: Vec<(&'static str, String)>,
    /// Of Spin's own files.
    folder: PathBuf,
    /// Nobody listens on its port, and nobody else can.
    _closed: TcpSocket,
}

impl Application {
    /// Starts the application of a folder, with values for those variables of its manifest that have their names here.
    pub(crate) async fn start(folder: &Path, arguments: &[String]) -> Result<Self> {
        let manifest = folder.join("spin.toml");
        let table: toml::Table = std::fs::read_to_string(&manifest)?.parse()?;
        let declared = |name: &str| table.get("variables").and_then(|names| names.get(name)).is_some();
        let run = Uuid::now_v7().simple().to_string();
        let closed = TcpSocket::new_v4()?;
        closed.bind("127.0.0.1:0".parse()?)?;
        let [port, metrics] = free_ports()?;
        let mut names = vec![
            ("from_command_line", "from the command line".to_owned()),
            ("port", port.to_string()),
            ("closed_port", closed.local_addr()?.port().to_string()),
        ];
        let redis = variable("SHOP_TEST_REDIS")?;
        let (host, server_port) = place(&redis)?;
        names.push(("redis", format!("{host}:{server_port}")));
        names.push(("redis_grant", format!("redis://{host}:{server_port}")));
        names.push(("redis_port", server_port.to_string()));
        names.push(("redis_url", redis));
        let postgres = variable("SHOP_TEST_POSTGRES")?;
        let (host, server_port) = place(&postgres)?;
        names.push(("postgres", format!("{host}:{server_port}")));
        names.push(("postgres_grant", format!("postgres://{host}:{server_port}")));
        names.push(("postgres_port", server_port.to_string()));
        names.push(("postgres_server", postgres.clone()));
        let mut database = None;
        if declared("postgres_url") {
            let name = format!("conformance_{run}");
            let server: Url = postgres.parse()?;
            let mut own = server.clone();
            own.set_path(&name);
            let create = format!("create database {name}");
            connect(&server).await?.batch_execute(&create).await?;
            names.push(("postgres_url", own.into()));
            database = Some((server, name));
        }
        let state = std::env::temp_dir().join(format!("conformance-{run}"));
        names.push(("run", run));

        let listen = format!("127.0.0.1:{port}");
        let (host, mut command) = match spin::program() {
            Some(program) => (Host::Spin, spin::up(&program, &manifest, &state)),
            None => (Host::Embedded, embedded(&manifest, metrics)?),
        };
        command.args(["--listen", &listen]).args(arguments);
        for (name, value) in names.iter().filter(|(name, _)| declared(name)) {
            command.args(["--variable", &format!("{name}={value}")]);
        }
        let process = command.stdin(Stdio::null()).kill_on_drop(true).spawn();
        let mut application = Self {
            host,
            process: process.context("the host does not start")?,
            database,
            names,
            folder: state,
            _closed: closed,
        };
        let process = &mut application.process;
        eventually("the application is served", PATIENCE, async || {
            let ended = process.try_wait()?;
            Ok(match (ended, TcpStream::connect(&listen).await) {
                (Some(status), _) => Some(Err(anyhow::anyhow!("the host has ended: {status}"))),
                (None, Ok(_)) => Some(Ok(())),
                (None, Err(_)) => None,
            })
        })
        .await??;
        Ok(application)
    }

    pub(crate) fn base(&self) -> String {
        self.fill_in("http://127.0.0.1:${port}")
    }

    /// Names in `${}` replaced by their values.
    pub(crate) fn fill_in(&self, text: &str) -> String {
        let names = self.names.iter();
        names.fold(text.to_owned(), |text, (name, value)| {
            text.replace(&format!("${{{name}}}"), value)
        })
    }

    /// Ends it, and takes its database away.
    pub(crate) async fn end(mut self) -> Result<()> {
        signal(&self.process, "TERM").await?;
        let ended = tokio::time::timeout(PATIENCE, self.process.wait()).await;
        ended.context("the host does not end")??;
        if let Some((server, name)) = self.database.take() {
            let drop = format!("drop database {name} with (force)");
            connect(&server).await?.batch_execute(&drop).await?;
        }
        Ok(())
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        spin::kill(&self.process);
        // Of Spin's alone, and not always there.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn embedded(manifest: &Path, metrics: u16) -> Result<Command> {
    let mut command = Command::new(variable("SHOP_TEST_BRIDGE")?);
    command
        .current_dir(root())
        .arg("serve")
        .arg("--manifest")
        .arg(manifest)
        .args(["--metrics-listen", &format!("127.0.0.1:{metrics}")])
        .args(["--cache-dir", "target/wasmtime-cache"]);
    Ok(command)
}

/// Where an address leads: host and port.
fn place(address: &str) -> Result<(String, u16)> {
    let url: Url = address.parse()?;
    let host = url.host_str().context("no host")?;
    Ok((host.to_owned(), url.port().context("no port")?))
}
