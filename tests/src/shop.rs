//! A shop of a test's own: a database, names at the broker and processes that no other test shares, so that it may
//! be starved, killed and looked into. The servers below are shared, and so is whoever stops one of them.

use crate::environment::{root, variable};
use crate::proxy::{Links, Proxy};
use crate::{Actor, eventually};
use anyhow::{Context, Result, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use event_batch::SigningKey;
use rand::Rng as _;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio_postgres::NoTls;
use url::Url;
use uuid::Uuid;

const SERVICES: [&str; 5] = ["auth", "catalog", "ordering", "payment", "delivery"];
const LOGINS: [&str; 7] = [
    "auth",
    "catalog",
    "ordering",
    "payment",
    "payment_provider",
    "delivery",
    "bridge",
];

/// What the gateway limits.
const LIMITS: [&str; 5] = [
    "address_requests",
    "address_logins",
    "address_registrations",
    "user_requests",
    "user_orders",
];

/// How long a process of ours may take to start or to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// The HS256 key of every test shop, which signs and verifies.
pub const JWT_KEY: &str = "the-test-shops-key-which-opens-nothing-else";

/// A running shop; it ends with this value.
pub struct Shop {
    pub base: String,
    pub name: String,
    folder: PathBuf,
    database: Url,
    events_key: String,
    host: Option<Child>,
    relays: Vec<Child>,
    port: u16,
    metrics: u16,
    relay_metrics: Vec<u16>,
    links: Option<Links>,
}

impl Shop {
    /// A shop with a host and one relay, each a process of its own.
    ///
    /// # Errors
    /// If it does not become healthy.
    pub async fn start() -> Result<Self> {
        let mut shop = Self::prepare().await?;
        shop.start_host().await?;
        shop.start_relay(&[]).await?;
        Ok(shop)
    }

    /// A shop whose database is ready and of which nothing runs.
    ///
    /// # Errors
    /// If the database cannot be made.
    pub async fn prepare() -> Result<Self> {
        Self::prepare_with(None).await
    }

    /// The same, with a proxy between its processes and each server.
    ///
    /// # Errors
    /// If the database or a proxy cannot be made.
    pub async fn prepare_linked() -> Result<Self> {
        let proxy = async |name: &str| {
            let url: Url = variable(name)?.parse()?;
            let (host, port) = (url.host_str().context("no host")?, url.port().context("no port")?);
            Proxy::to(format!("{host}:{port}")).await
        };
        let links = Links {
            postgres: proxy("SHOP_TEST_POSTGRES").await?,
            redis: proxy("SHOP_TEST_REDIS").await?,
            rabbitmq: proxy("SHOP_TEST_AMQP").await?,
        };
        Self::prepare_with(Some(links)).await
    }

    async fn prepare_with(links: Option<Links>) -> Result<Self> {
        let name = format!("t{}", Uuid::now_v7().simple());
        let folder = std::env::temp_dir().join(format!("flower-shop-{name}"));
        std::fs::create_dir_all(&folder)?;
        let server: Url = variable("SHOP_TEST_POSTGRES")?.parse()?;
        execute(&server, &format!("create database {name}")).await?;
        let mut database = server;
        database.set_path(&name);
        let key: [u8; 32] = rand::rng().random();
        let events_key = format!("whsec_{}", STANDARD.encode(key));
        let [port, metrics] = free_ports()?;
        let base = format!("http://127.0.0.1:{port}");
        let (host, relays, relay_metrics) = (None, Vec::new(), Vec::new());
        let shop = Self {
            base,
            name,
            folder,
            database,
            events_key,
            host,
            relays,
            port,
            metrics,
            relay_metrics,
            links,
        };
        shop.write_files()?;
        shop.run(
            shop.bridge()?
                .args(["migrate", "--migrations", "migrations"])
                .args(passwords()),
        )
        .await?;
        shop.run(shop.bridge()?.args(["seed", "--folder", "demo"]))
            .await?;
        Ok(shop)
    }

    fn write_files(&self) -> Result<()> {
        let mut topology: toml::Table =
            std::fs::read_to_string(root().join("host-bridge/topology.toml"))?.parse()?;
        let rename = |value: &mut toml::Value| {
            if let toml::Value::String(name) = value {
                *name = self.at_broker(name);
            }
        };
        for key in ["exchange", "dead_letters"] {
            topology.get_mut(key).map(rename);
        }
        for queue in topology
            .get_mut("queue")
            .and_then(toml::Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            queue.get_mut("name").map(rename);
        }
        std::fs::write(self.topology(), topology.to_string())?;

        let postgres = self.linked(&self.database, |links| &links.postgres)?;
        let host = postgres.host_str().context("no Postgres host")?;
        let address = format!("postgres://{host}:{}", postgres.port().unwrap_or(5432));
        let redis = self.linked(&variable("SHOP_TEST_REDIS")?.parse()?, |links| &links.redis)?;
        let mut variables: BTreeMap<String, String> = BTreeMap::from([
            ("postgres_database".to_owned(), self.name.clone()),
            (
                "redis".to_owned(),
                redis.as_str().trim_end_matches('/').to_owned(),
            ),
            (
                "redis_database".to_owned(),
                rand::rng().random_range(1..16).to_string(),
            ),
            ("jwt_signing_key".to_owned(), JWT_KEY.to_owned()),
            ("jwt_verification_keys".to_owned(), JWT_KEY.to_owned()),
            ("events_key".to_owned(), self.events_key.clone()),
            ("bcrypt_cost".to_owned(), "4".to_owned()),
        ]);
        // Many tests do in a minute what nobody in the world does; those of the limits set their own.
        variables.extend(LIMITS.map(|limit| (format!("limit_{limit}"), "off".to_owned())));
        variables.extend(SERVICES.map(|service| (format!("{service}_postgres"), address.clone())));
        variables.extend(LOGINS.map(|login| (format!("{login}_postgres_password"), password(login))));
        variables.remove("bridge_postgres_password");
        std::fs::write(self.folder.join("variables.toml"), toml::to_string(&variables)?)?;
        Ok(())
    }

    /// The proxies between this shop's processes and its servers, if it has some.
    #[must_use]
    pub fn links(&self) -> Option<&Links> {
        self.links.as_ref()
    }

    /// Where this shop's processes are to look for a server: at the proxy to it, if there is one.
    fn linked(&self, url: &Url, proxy: impl Fn(&Links) -> &Proxy) -> Result<Url> {
        let mut url = url.clone();
        if let Some(links) = &self.links {
            let address = proxy(links).address;
            url.set_ip_host(address.ip())
                .ok()
                .context("an address without a host")?;
            url.set_port(Some(address.port()))
                .ok()
                .context("an address without a port")?;
        }
        Ok(url)
    }

    /// What something of the topology is called at the broker in this shop.
    #[must_use]
    pub fn at_broker(&self, name: &str) -> String {
        format!("{}.{name}", self.name)
    }

    fn topology(&self) -> PathBuf {
        self.folder.join("topology.toml")
    }

    /// Starts the embedded host and waits until every service is healthy.
    ///
    /// # Errors
    /// If it does not become healthy.
    pub async fn start_host(&mut self) -> Result<()> {
        self.start_host_with(&[]).await
    }

    /// Starts the embedded host with these additional arguments and waits until every service is healthy.
    ///
    /// # Errors
    /// If it does not become healthy.
    pub async fn start_host_with(&mut self, arguments: &[String]) -> Result<()> {
        self.launch_host(arguments)?;
        self.await_healthy().await
    }

    /// Starts the embedded host and waits until it answers, healthy or not.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn start_host_unchecked(&mut self) -> Result<()> {
        let mut command = self.bridge()?;
        command.arg("serve");
        self.serve_with(&mut command)?;
        self.host = Some(self.spawn(command, "host")?);
        let anybody = self.anonymous()?;
        eventually("the host answers", PATIENCE, async || {
            Ok(anybody.get("/health/live").await.is_ok().then_some(()))
        })
        .await
        .with_context(|| self.log("host"))
    }

    /// Starts the embedded host with these additional arguments and waits for nothing.
    ///
    /// # Errors
    /// If it cannot be spawned.
    pub fn launch_host(&mut self, arguments: &[String]) -> Result<()> {
        let mut command = self.bridge()?;
        command.arg("serve");
        self.serve_with(&mut command)?;
        // Of two values for a variable the later counts.
        command.args(arguments);
        self.host = Some(self.spawn(command, "host")?);
        Ok(())
    }

    /// Starts the embedded host and a relay in one process, as the shop runs, with these additional arguments, and
    /// waits until every service is healthy.
    ///
    /// # Errors
    /// If it does not become healthy.
    pub async fn start_up(&mut self, arguments: &[String]) -> Result<()> {
        let mut command = self.bridge()?;
        command.arg("up");
        self.serve_with(&mut command)?;
        self.relay_with(&mut command)?;
        command.args(arguments);
        self.host = Some(self.spawn(command, "host")?);
        self.await_healthy().await
    }

    /// Starts the embedded host and a relay in one process that is to be killed at a crash point of its own, and waits
    /// for nothing.
    ///
    /// # Errors
    /// If it cannot be spawned.
    pub fn start_doomed(&mut self, point: &str) -> Result<()> {
        let mut command = self.bridge()?;
        command.args(["--crash-at", point, "up", "--prune-interval", "1"]);
        self.serve_with(&mut command)?;
        self.relay_with(&mut command)?;
        self.host = Some(self.spawn(command, "host")?);
        Ok(())
    }

    /// What an embedded host of this shop is told.
    fn serve_with(&self, command: &mut Command) -> Result<()> {
        let variables = format!("@{}", self.folder.join("variables.toml").display());
        let listen = format!("127.0.0.1:{}", self.port);
        let metrics = format!("127.0.0.1:{}", self.metrics);
        command.args([
            "--variable",
            &variables,
            "--listen",
            &listen,
            "--metrics-listen",
            &metrics,
        ]);
        command
            .arg("--cache-dir")
            .arg(root().join("target/wasmtime-cache"))
            // Tests hand over more batches of events at once than a bridge does, which sends one of a queue at a time.
            .env("SHOP_RESERVED_PER_COMPONENT", "64");
        Ok(())
    }

    /// Waits until every service is healthy.
    ///
    /// # Errors
    /// If one does not become so.
    pub async fn await_healthy(&self) -> Result<()> {
        let anybody = self.anonymous()?;
        eventually("the host is healthy", PATIENCE, async || {
            Ok((anybody.get("/health").await?.json()["status"] == "healthy").then_some(()))
        })
        .await
        .with_context(|| self.log("host"))
    }

    /// Starts one more relay, with these additional environment variables.
    ///
    /// # Errors
    /// If it cannot be spawned.
    pub async fn start_relay(&mut self, environment: &[(&str, &str)]) -> Result<()> {
        let port = self.another_port()?;
        self.relay_metrics.push(port);
        let metrics = format!("127.0.0.1:{port}");
        let mut command = self.bridge()?;
        command.args(["relay", "--events-url", &self.base, "--metrics-listen", &metrics]);
        self.relay_with(&mut command)?;
        command.envs(environment.iter().copied());
        let name = format!("relay-{}", self.relays.len());
        let child = self.spawn(command, &name)?;
        self.relays.push(child);
        Ok(())
    }

    /// A port that none of this shop's processes has, whether it runs or not.
    fn another_port(&self) -> Result<u16> {
        loop {
            let port = free_port()?;
            let is_ours = port == self.port || port == self.metrics || self.relay_metrics.contains(&port);
            if !is_ours {
                return Ok(port);
            }
        }
    }

    /// What a relay of this shop is told.
    fn relay_with(&self, command: &mut Command) -> Result<()> {
        command.arg("--topology").arg(self.topology());
        let database = self.linked(&self.login_url("bridge"), |links| &links.postgres)?;
        let broker = self.linked(&variable("SHOP_TEST_AMQP")?.parse()?, |links| &links.rabbitmq)?;
        command.env("SHOP_DATABASE_URL", database.as_str());
        command.env("SHOP_AMQP_URL", broker.as_str());
        command.env("SHOP_EVENTS_KEY", &self.events_key);
        Ok(())
    }

    /// Where Prometheus finds the metrics of the host, or of `up`, and of each relay that was started.
    #[must_use]
    pub fn metrics(&self) -> Vec<String> {
        let ports = std::iter::once(&self.metrics).chain(&self.relay_metrics);
        ports.map(|port| format!("127.0.0.1:{port}")).collect()
    }

    /// The relays, oldest first.
    pub fn relays(&mut self) -> &mut Vec<Child> {
        &mut self.relays
    }

    /// The embedded host's process.
    pub fn host(&mut self) -> Option<&mut Child> {
        self.host.as_mut()
    }

    /// The embedded host's process, which this shop has no longer.
    pub fn take_host(&mut self) -> Option<Child> {
        self.host.take()
    }

    /// Ends every relay with SIGTERM and waits for it.
    ///
    /// # Errors
    /// If one does not drain.
    pub async fn stop_relays(&mut self) -> Result<()> {
        for relay in self.relays.drain(..) {
            end(relay).await.context("a relay")?;
        }
        Ok(())
    }

    /// Ends the embedded host, and the relay in its process if it has one, with SIGTERM and waits for it.
    ///
    /// # Errors
    /// If it does not drain.
    pub async fn stop_host(&mut self) -> Result<()> {
        match self.host.take() {
            Some(host) => end(host).await.context("the host"),
            None => Ok(()),
        }
    }

    /// What the components of this shop are configured with.
    ///
    /// # Errors
    /// If the file of it is gone.
    pub fn variables(&self) -> Result<toml::Table> {
        Ok(std::fs::read_to_string(self.folder.join("variables.toml"))?.parse()?)
    }

    /// Configures the components of this shop otherwise, from the next start of its host on.
    ///
    /// # Errors
    /// If the file of it is gone.
    pub fn set_variables(&self, changes: &[(&str, &str)]) -> Result<()> {
        let mut variables = self.variables()?;
        for (name, value) in changes {
            variables.insert((*name).to_owned(), (*value).into());
        }
        std::fs::write(self.folder.join("variables.toml"), toml::to_string(&variables)?)?;
        Ok(())
    }

    fn bridge(&self) -> Result<Command> {
        let mut command = Command::new(variable("SHOP_TEST_BRIDGE")?);
        command
            .current_dir(root())
            .env("SHOP_ADMIN_DATABASE_URL", self.database.as_str());
        Ok(command)
    }

    /// What an operator's command of the bridge comes to, run on this shop.
    ///
    /// # Errors
    /// If it cannot be run.
    pub async fn operate(&self, arguments: &[&str]) -> Result<Output> {
        self.operate_with(arguments, &[]).await
    }

    /// The same, with these additional environment variables.
    ///
    /// # Errors
    /// If it cannot be run.
    pub async fn operate_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Result<Output> {
        let mut command = self.bridge()?;
        command.envs(environment.iter().copied());
        command.args(["--log-level", "warn"]).args(arguments);
        self.relay_with(&mut command)?;
        Ok(command.output().await?)
    }

    /// What `host-bridge audit` says of a database, by default of the shop's own: the checks that found violations, and
    /// its whole answer. Nothing counts as under way that nobody touched for a second.
    ///
    /// # Errors
    /// If it cannot be run.
    pub async fn audit(&self, database: Option<&Url>) -> Result<(Vec<String>, Value)> {
        let mut command = self.bridge()?;
        if let Some(database) = database {
            command.env("SHOP_ADMIN_DATABASE_URL", database.as_str());
        }
        command.args([
            "--log-level",
            "warn",
            "audit",
            "--json",
            "--grace",
            "1s",
            "--recheck",
            "1",
        ]);
        let output = command.output().await?;
        let said = String::from_utf8_lossy(&output.stderr);
        let answer: Value = serde_json::from_slice(&output.stdout).with_context(|| said.to_string())?;
        let checks = answer["checks"].as_array().context("no checks")?;
        let violated: Vec<String> = checks
            .iter()
            .filter(|check| check["found"] != json!([]))
            .filter_map(|check| check["name"].as_str().map(str::to_owned))
            .collect();
        ensure!(
            output.status.success() == violated.is_empty(),
            "{}: {said}",
            output.status
        );
        Ok((violated, answer))
    }

    /// Checks that nothing is wrong with the shop, once what is under way has come to rest.
    ///
    /// # Errors
    /// If something still is after a while; the error says what.
    pub async fn expect_clean_audit(&self) -> Result<Value> {
        eventually("the audit finds nothing", PATIENCE, async || {
            let (violated, answer) = self.audit(None).await?;
            ensure!(violated.is_empty(), "{answer}");
            Ok(Some(answer))
        })
        .await
    }

    /// The shop's database, for its owner.
    #[must_use]
    pub fn database_url(&self) -> &Url {
        &self.database
    }

    async fn run(&self, command: &mut Command) -> Result<()> {
        let output = command.output().await?;
        ensure!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    fn spawn(&self, mut command: Command, name: &str) -> Result<Child> {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log_path(name))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;
        Ok(child)
    }

    fn log_path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.log"))
    }

    /// All that a process has logged.
    ///
    /// # Errors
    /// If it was never started.
    pub fn whole_log(&self, name: &str) -> Result<String> {
        Ok(std::fs::read_to_string(self.log_path(name))?)
    }

    /// The end of a process' log.
    #[must_use]
    pub fn log(&self, name: &str) -> String {
        let text = std::fs::read_to_string(self.log_path(name)).unwrap_or_default();
        let start = text.len().saturating_sub(4000);
        text.get(start..).unwrap_or(&text).to_owned()
    }

    /// The folder that holds the shop's files and logs.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Somebody who is not signed in.
    ///
    /// # Errors
    /// If no client can be made.
    pub fn anonymous(&self) -> Result<Actor> {
        Actor::anonymous(&self.base)
    }

    /// The key that the shop's bridge signs with.
    ///
    /// # Errors
    /// Never: the key is one of ours.
    pub fn events_key(&self) -> Result<SigningKey> {
        Ok(SigningKey::parse(&self.events_key)?)
    }

    /// The address of the shop's database for the login `shop_<login>`.
    #[must_use]
    pub fn login_url(&self, login: &str) -> Url {
        let mut url = self.database.clone();
        // Only an address that cannot have a user refuses one.
        let _ = url.set_username(&format!("shop_{login}"));
        let _ = url.set_password(Some(&password(login)));
        url
    }

    /// A connection to the shop's database as its owner.
    ///
    /// # Errors
    /// If there is none.
    pub async fn database(&self) -> Result<tokio_postgres::Client> {
        connect(&self.database).await
    }

    /// One number that a query gives.
    ///
    /// # Errors
    /// If the query fails or gives no `int8`.
    pub async fn count(&self, query: &str) -> Result<i64> {
        Ok(self.database().await?.query_one(query, &[]).await?.try_get(0)?)
    }

    /// Ends the embedded host, and gives how often two of its sessions waited for each other: a session reports what it
    /// met with when it ends, at the latest.
    ///
    /// # Errors
    /// If the host does not drain, or its sessions do not end.
    pub async fn deadlocks(&mut self) -> Result<i64> {
        self.stop_host().await?;
        let sessions = "select count(*) from pg_stat_activity
            where datname = current_database() and usename like 'shop\\_%'";
        eventually("the host's sessions have ended", PATIENCE, async || {
            Ok((self.count(sessions).await? == 0).then_some(()))
        })
        .await?;
        self.count("select deadlocks from pg_stat_database where datname = current_database()")
            .await
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        // A test that failed leaves its logs behind.
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

/// Sends a signal to a process of ours.
///
/// # Errors
/// If it is gone.
pub async fn signal(child: &Child, name: &str) -> Result<()> {
    let id = child.id().context("the process has ended")?.to_string();
    let status = Command::new("kill").args(["-s", name, &id]).status().await?;
    ensure!(status.success(), "kill -s {name} {id}: {status}");
    Ok(())
}

/// Has a process of ours end in order, and waits for it.
async fn end(mut child: Child) -> Result<()> {
    signal(&child, "TERM").await?;
    let status = tokio::time::timeout(PATIENCE, child.wait())
        .await
        .context("does not drain")??;
    ensure!(status.success(), "ended with {status}");
    Ok(())
}

/// Opens a connection and keeps it alive in the background.
///
/// # Errors
/// If there is none.
pub async fn connect(url: &Url) -> Result<tokio_postgres::Client> {
    let (client, connection) = tokio_postgres::connect(url.as_str(), NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

async fn execute(url: &Url, statement: &str) -> Result<()> {
    connect(url).await?.batch_execute(statement).await?;
    Ok(())
}

fn password(login: &str) -> String {
    format!("test-shops-password-of-{login}")
}

fn passwords() -> Vec<String> {
    let one = |login| ["--password".to_owned(), format!("{login}={}", password(login))];
    LOGINS.into_iter().flat_map(one).collect()
}

/// A port that was free a moment ago.
///
/// # Errors
/// If there is none.
pub fn free_port() -> Result<u16> {
    let [port] = free_ports()?;
    Ok(port)
}

/// Ports that were free a moment ago, no two the same: each is held until all are drawn.
///
/// # Errors
/// If there are not so many.
pub fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let mut held = Vec::new();
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
}
