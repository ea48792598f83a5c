//! A shop of a test's own: a database, names at the broker and processes that no other test shares, so that it may
//! be starved, killed and looked into. The servers below are shared, and so is whoever stops one of them.

use crate::environment::{root, variable};
use crate::proxy::{Links, Proxy};
use crate::spin;
use crate::topology::Topology;
use crate::{Actor, eventually};
use anyhow::{Context, Result, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use event_batch::SigningKey;
use rand::Rng as _;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
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
    topology: Topology,
    hosts: Vec<Host>,
    relays: Vec<Child>,
    relay_metrics: Vec<u16>,
    links: Option<Links>,
}

/// An embedded host of a shop, whether it runs or not.
struct Host {
    /// `host`, or the component that it serves; its log has this name.
    name: String,
    /// The application's, if it is none of its own.
    manifest: Option<PathBuf>,
    port: u16,
    metrics: u16,
    process: Option<Child>,
}

impl Host {
    fn base(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn runs(&mut self) -> bool {
        let process = self.process.as_mut();
        process.is_some_and(|process| matches!(process.try_wait(), Ok(None)))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(process) = &self.process {
            spin::kill(process);
        }
    }
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
        Self::prepare_in(Topology::of_environment()?).await
    }

    /// The same, in this topology, whatever the environment says.
    ///
    /// # Errors
    /// If the database cannot be made.
    pub async fn prepare_in(topology: Topology) -> Result<Self> {
        Self::prepare_with(topology, None).await
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
        Self::prepare_with(Topology::of_environment()?, Some(links)).await
    }

    async fn prepare_with(topology: Topology, links: Option<Links>) -> Result<Self> {
        let name = format!("t{}", Uuid::now_v7().simple());
        let folder = std::env::temp_dir().join(format!("flower-shop-{name}"));
        std::fs::create_dir_all(&folder)?;
        let mut database: Url = variable("SHOP_TEST_POSTGRES")?.parse()?;
        database.set_path(&name);
        let key: [u8; 32] = rand::rng().random();
        let events_key = format!("whsec_{}", STANDARD.encode(key));
        let hosts = hosts(topology)?;
        let base = hosts.first().context("a topology without a host")?.base();
        let shop = Self {
            base,
            name,
            folder,
            database,
            events_key,
            topology,
            hosts,
            relays: Vec::new(),
            relay_metrics: Vec::new(),
            links,
        };
        shop.create_databases().await?;
        shop.write_files(empty_cache().await?)?;
        shop.run(
            shop.bridge()?
                .args(["migrate", "--migrations", "migrations"])
                .args(passwords()),
        )
        .await?;
        shop.run(shop.bridge()?.args(["seed", "--folder", "demo"]))
            .await?;
        if topology == Topology::Split {
            shop.show_all_in_one().await?;
        }
        Ok(shop)
    }

    async fn create_databases(&self) -> Result<()> {
        let server: Url = variable("SHOP_TEST_POSTGRES")?.parse()?;
        for name in self.database_names() {
            execute(&server, &format!("create database {name}")).await?;
        }
        Ok(())
    }

    /// Removes the shop's databases, whoever is connected.
    ///
    /// # Errors
    /// If one cannot be removed.
    pub async fn drop_databases(&self) -> Result<()> {
        let server: Url = variable("SHOP_TEST_POSTGRES")?.parse()?;
        for name in self.database_names() {
            execute(&server, &format!("drop database {name} with (force)")).await?;
        }
        Ok(())
    }

    fn database_names(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::from([self.name.clone()]);
        names.extend(SERVICES.map(|service| self.database_name(service)));
        names
    }

    /// The name of the database that has a service's tables.
    fn database_name(&self, service: &str) -> String {
        // The provider that comes with the shop has its ledger next to payment.
        let service = if service == "payment_provider" {
            "payment"
        } else {
            service
        };
        match self.topology {
            Topology::Split if SERVICES.contains(&service) => format!("{}_{service}", self.name),
            _ => self.name.clone(),
        }
    }

    /// Where services have databases of their own, as `host-bridge` is told: `ordering=postgres://… payment=…`.
    fn own_databases(&self, services: &[&str], login: impl Fn(Url) -> Url) -> String {
        let moved = services
            .iter()
            .filter(|service| self.database_name(service) != self.name);
        let urls = moved.map(|service| {
            let mut url = self.database.clone();
            url.set_path(&self.database_name(service));
            format!("{service}={}", login(url))
        });
        urls.collect::<Vec<_>>().join(" ")
    }

    /// Has tests find the tables of all services in the shop's database, wherever they are.
    async fn show_all_in_one(&self) -> Result<()> {
        let client = self.database().await?;
        let url = &self.database;
        let (host, port) = (url.host_str().context("no host")?, url.port().unwrap_or(5432));
        let (user, password) = (url.username(), url.password().unwrap_or_default());
        client.batch_execute("create extension postgres_fdw").await?;
        for schema in SERVICES.into_iter().chain(["payment_provider"]) {
            let database = self.database_name(schema);
            let statements = format!(
                "create server {schema} foreign data wrapper postgres_fdw
                    options (host '{host}', port '{port}', dbname '{database}');
                create user mapping for current_user server {schema} options (user '{user}', password '{password}');
                create schema {schema};
                import foreign schema {schema} from server {schema} into {schema};"
            );
            client.batch_execute(&statements).await?;
        }
        Ok(())
    }

    fn write_files(&self, redis_database: u8) -> Result<()> {
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
            (
                "redis".to_owned(),
                redis.as_str().trim_end_matches('/').to_owned(),
            ),
            ("redis_database".to_owned(), redis_database.to_string()),
            ("jwt_signing_key".to_owned(), JWT_KEY.to_owned()),
            ("jwt_verification_keys".to_owned(), JWT_KEY.to_owned()),
            ("events_key".to_owned(), self.events_key.clone()),
            ("bcrypt_cost".to_owned(), "4".to_owned()),
        ]);
        // Many tests do in a minute what nobody in the world does; those of the limits set their own.
        variables.extend(LIMITS.map(|limit| (format!("limit_{limit}"), "off".to_owned())));
        for service in SERVICES {
            variables.insert(format!("{service}_postgres"), address.clone());
            variables.insert(
                format!("{service}_postgres_database"),
                self.database_name(service),
            );
        }
        if self.topology == Topology::Split {
            let urls = self.hosts.iter().skip(1);
            variables.extend(urls.map(|host| (format!("{}_url", host.name), host.base())));
            variables.insert("gateway_only".to_owned(), "true".to_owned());
        }
        variables.extend(LOGINS.map(|login| (format!("{login}_postgres_password"), password(login))));
        variables.remove("bridge_postgres_password");
        std::fs::write(self.variables_file(), toml::to_string(&variables)?)?;
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
        self.launch_host(&[])?;
        let anybody = self.anonymous()?;
        eventually("the host answers", PATIENCE, async || {
            Ok(anybody.get("/health/live").await.is_ok().then_some(()))
        })
        .await
        .with_context(|| self.log("host"))
    }

    /// Starts the embedded hosts that do not run, with these additional arguments, and waits for nothing.
    ///
    /// # Errors
    /// If one cannot be spawned.
    pub fn launch_host(&mut self, arguments: &[String]) -> Result<()> {
        let names: Vec<String> = self.hosts.iter().map(|host| host.name.clone()).collect();
        names.iter().try_for_each(|name| self.launch_one(name, arguments))
    }

    /// The same for one of several hosts: `host`, `host-2`, or the component that it serves.
    ///
    /// # Errors
    /// If there is none of that name, or it cannot be spawned.
    pub fn launch_one(&mut self, name: &str, arguments: &[String]) -> Result<()> {
        let index = self.hosts.iter().position(|host| host.name == name);
        let index = index.with_context(|| format!("no host {name}"))?;
        if self.hosts.get_mut(index).is_some_and(Host::runs) {
            return Ok(());
        }
        let mut command = match spin::program() {
            Some(program) => self.spin_up(&program, index)?,
            None => {
                let mut command = self.bridge()?;
                command.arg("serve");
                self.serve_with(&mut command, index)?;
                command
            }
        };
        // Of two values for a variable the later counts.
        command.args(arguments);
        self.spawn_host(command, index)
    }

    fn spawn_host(&mut self, command: Command, index: usize) -> Result<()> {
        let name = self.hosts.get(index).map(|host| host.name.clone());
        let child = self.spawn(command, &name.context("no such host")?)?;
        if let Some(host) = self.hosts.get_mut(index) {
            host.process = Some(child);
        }
        Ok(())
    }

    /// Starts the embedded host and a relay in one process, as the shop runs, with these additional arguments, and
    /// waits until every service is healthy.
    ///
    /// # Errors
    /// If it does not become healthy.
    pub async fn start_up(&mut self, arguments: &[String]) -> Result<()> {
        ensure!(
            self.topology == Topology::Together && spin::program().is_none(),
            "`up` is one process, with the embedded host in it"
        );
        let mut command = self.bridge()?;
        command.arg("up");
        self.serve_with(&mut command, 0)?;
        self.relay_with(&mut command)?;
        command.args(arguments);
        self.spawn_host(command, 0)?;
        self.await_healthy().await
    }

    /// Starts the embedded host and a relay in one process that is to be killed at a crash point of its own, and waits
    /// for nothing.
    ///
    /// # Errors
    /// If it cannot be spawned.
    pub fn start_doomed(&mut self, point: &str) -> Result<()> {
        ensure!(
            self.topology == Topology::Together && spin::program().is_none(),
            "`up` is one process, with the embedded host in it"
        );
        let mut command = self.bridge()?;
        command.args(["--crash-at", point, "up", "--prune-interval", "1"]);
        self.serve_with(&mut command, 0)?;
        self.relay_with(&mut command)?;
        self.spawn_host(command, 0)
    }

    /// Spin in the place of an embedded host of this shop.
    fn spin_up(&self, program: &Path, index: usize) -> Result<Command> {
        let host = self.hosts.get(index).context("no such host")?;
        let application = || root().join("spin.toml");
        let manifest = host.manifest.clone().unwrap_or_else(application);
        let state = self.folder.join(format!("{}.state", host.name));
        let mut command = spin::up(program, &manifest, &state);
        command.args(["--listen", &format!("127.0.0.1:{}", host.port)]);
        command.args(["--variable", &format!("@{}", self.variables_file().display())]);
        Ok(command)
    }

    /// What an embedded host of this shop is told.
    fn serve_with(&self, command: &mut Command, index: usize) -> Result<()> {
        let host = self.hosts.get(index).context("no such host")?;
        let variables = format!("@{}", self.variables_file().display());
        let listen = format!("127.0.0.1:{}", host.port);
        let metrics = format!("127.0.0.1:{}", host.metrics);
        if let Some(manifest) = &host.manifest {
            command.arg("--manifest").arg(manifest);
        }
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

    /// Waits until every service is healthy, at each place where clients come.
    ///
    /// # Errors
    /// If one does not become so.
    pub async fn await_healthy(&self) -> Result<()> {
        for base in self.bases() {
            let anybody = Actor::anonymous(&base)?;
            eventually("the host is healthy", PATIENCE, async || {
                Ok((anybody.get("/health").await?.json()["status"] == "healthy").then_some(()))
            })
            .await
            .with_context(|| self.logs())?;
        }
        Ok(())
    }

    /// Where one of the hosts answers: `host`, or the component that it serves.
    #[must_use]
    pub fn base_of(&self, host: &str) -> Option<String> {
        let mut hosts = self.hosts.iter();
        hosts.find(|known| known.name == host).map(Host::base)
    }

    /// Where services answer that have a host of their own, by their names.
    #[must_use]
    pub fn services(&self) -> Vec<(String, String)> {
        let own = |host: &&Host| SERVICES.contains(&host.name.as_str());
        let hosts = self.hosts.iter().filter(own);
        hosts.map(|host| (host.name.clone(), host.base())).collect()
    }

    /// Where clients come: every place at which the gateway is.
    #[must_use]
    pub fn bases(&self) -> Vec<String> {
        match self.topology {
            Topology::Doubled => self.hosts.iter().map(Host::base).collect(),
            Topology::Together | Topology::Split => vec![self.base.clone()],
        }
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
        // Each relay goes to a host of its own, if there are several.
        let bases = self.bases();
        let number = self.relay_metrics.len();
        let events = bases.get(number % bases.len().max(1)).context("no host")?;
        command.args(["relay", "--events-url", events, "--metrics-listen", &metrics]);
        if self.topology == Topology::Split {
            for host in self
                .hosts
                .iter()
                .filter(|host| host.name != "gateway" && host.name != "auth")
            {
                command.arg(format!("--service-url={}={}", host.name, host.base()));
            }
        }
        self.relay_with(&mut command)?;
        command.envs(environment.iter().copied());
        let name = format!("relay-{}", self.relays.len());
        let child = self.spawn(command, &name)?;
        self.relays.push(child);
        Ok(())
    }

    /// A port that none of this shop's processes has, whether it runs or not.
    ///
    /// # Errors
    /// If there is none.
    pub fn another_port(&self) -> Result<u16> {
        loop {
            let port = free_port()?;
            let mut hosts = self.hosts.iter().flat_map(|host| [host.port, host.metrics]);
            let is_ours = hosts.any(|taken| taken == port) || self.relay_metrics.contains(&port);
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
        let outboxes = self.own_databases(&SERVICES[1..], |mut url| {
            // Only an address that cannot have a user or a port refuses one.
            let _ = url.set_username(database.username());
            let _ = url.set_password(database.password());
            let _ = url.set_port(database.port());
            url
        });
        if !outboxes.is_empty() {
            command.env("SHOP_OUTBOX_URL", outboxes);
        }
        command.env("SHOP_AMQP_URL", broker.as_str());
        command.env("SHOP_EVENTS_KEY", &self.events_key);
        Ok(())
    }

    /// Where Prometheus finds the metrics of each host, or of `up`, and of each relay that was started.
    #[must_use]
    pub fn metrics(&self) -> Vec<String> {
        let hosts = self.hosts.iter().map(|host| &host.metrics);
        let ports = hosts.chain(&self.relay_metrics);
        ports.map(|port| format!("127.0.0.1:{port}")).collect()
    }

    /// The relays, oldest first.
    pub fn relays(&mut self) -> &mut Vec<Child> {
        &mut self.relays
    }

    /// The process of the embedded host, of several the one where clients come first.
    pub fn host(&mut self) -> Option<&mut Child> {
        self.hosts().into_iter().next()
    }

    /// The id of the process that [`Self::host`] gives.
    #[must_use]
    pub fn host_id(&self) -> Option<u32> {
        self.hosts.first()?.process.as_ref()?.id()
    }

    /// Sends a signal to the process that [`Self::host`] gives.
    ///
    /// # Errors
    /// If it has ended.
    pub async fn signal_host(&self, name: &str) -> Result<()> {
        let process = self.hosts.first().and_then(|host| host.process.as_ref());
        signal(process.context("no host")?, name).await
    }

    /// The processes of all embedded hosts.
    pub fn hosts(&mut self) -> Vec<&mut Child> {
        let hosts = self.hosts.iter_mut();
        hosts.filter_map(|host| host.process.as_mut()).collect()
    }

    /// The embedded host's process, which this shop has no longer.
    pub fn take_host(&mut self) -> Option<Child> {
        self.hosts.first_mut()?.process.take()
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

    /// Ends the embedded hosts, and the relay in its process if one has one, with SIGTERM and waits for them.
    ///
    /// # Errors
    /// If one does not drain.
    pub async fn stop_host(&mut self) -> Result<()> {
        for host in &mut self.hosts {
            if let Some(process) = host.process.take() {
                end(process).await.with_context(|| host.name.clone())?;
            }
        }
        Ok(())
    }

    /// The file that says what the components of this shop are configured with.
    #[must_use]
    pub fn variables_file(&self) -> PathBuf {
        self.folder.join("variables.toml")
    }

    /// What the components of this shop are configured with.
    ///
    /// # Errors
    /// If the file of it is gone.
    pub fn variables(&self) -> Result<toml::Table> {
        Ok(std::fs::read_to_string(self.variables_file())?.parse()?)
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
        std::fs::write(self.variables_file(), toml::to_string(&variables)?)?;
        Ok(())
    }

    /// Has the gateway limit as it does where nobody says otherwise, from the next start of its host on.
    ///
    /// # Errors
    /// If the file of it is gone.
    pub fn limit_as_usual(&self) -> Result<()> {
        let mut variables = self.variables()?;
        for limit in LIMITS {
            variables.remove(&format!("limit_{limit}"));
        }
        std::fs::write(self.variables_file(), toml::to_string(&variables)?)?;
        Ok(())
    }

    fn bridge(&self) -> Result<Command> {
        let mut command = Command::new(variable("SHOP_TEST_BRIDGE")?);
        command
            .current_dir(root())
            .env("SHOP_ADMIN_DATABASE_URL", self.database.as_str());
        let services = [
            "auth",
            "catalog",
            "ordering",
            "payment",
            "payment_provider",
            "delivery",
        ];
        let own = self.own_databases(&services, |url| url);
        if !own.is_empty() {
            command.env("SHOP_SERVICE_DATABASE_URL", own);
        }
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

    /// The database that has a service's tables, for its owner.
    #[must_use]
    pub fn database_url_of(&self, service: &str) -> Url {
        let mut url = self.database.clone();
        url.set_path(&self.database_name(service));
        url
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

    /// The ends of all hosts' logs.
    fn logs(&self) -> String {
        let hosts = self.hosts.iter();
        let logs = hosts.map(|host| format!("{}: {}", host.name, self.log(&host.name)));
        logs.collect::<Vec<_>>().join("\n")
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
        Actor::anonymous(&self.bases().join(" "))
    }

    /// Somebody who speaks to a service where its bridge does.
    ///
    /// # Errors
    /// If there is no client.
    pub fn anonymous_at(&self, service: &str) -> Result<Actor> {
        match self.base_of(service) {
            Some(base) => Actor::anonymous(&base),
            None => self.anonymous(),
        }
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
        url.set_path(&self.database_name(login));
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

    /// The database that has a service's tables themselves, for its owner.
    ///
    /// # Errors
    /// If it cannot be reached.
    pub async fn database_of(&self, service: &str) -> Result<tokio_postgres::Client> {
        connect(&self.database_url_of(service)).await
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

/// Draws one of Redis' databases and empties it: another shop may have counted there what a limit by the hour would hold
/// against this one's clients.
async fn empty_cache() -> Result<u8> {
    let database = rand::rng().random_range(1..16);
    let mut url: Url = variable("SHOP_TEST_REDIS")?.parse()?;
    url.set_path(&database.to_string());
    let mut redis = redis::Client::open(url)?
        .get_multiplexed_async_connection()
        .await?;
    redis::cmd("FLUSHDB").exec_async(&mut redis).await?;
    Ok(database)
}

/// The hosts of a topology, each with ports of its own.
fn hosts(topology: Topology) -> Result<Vec<Host>> {
    let hosts = topology.hosts();
    let mut ports = draw(2 * hosts.len())?.into_iter();
    let mut port = || ports.next().context("too few ports");
    let hosts = hosts.into_iter().map(|(name, manifest)| {
        Ok(Host {
            name,
            manifest,
            port: port()?,
            metrics: port()?,
            process: None,
        })
    });
    hosts.collect()
}

impl Drop for Shop {
    fn drop(&mut self) {
        // A test that failed leaves its logs behind.
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

/// Sends a signal to a process of ours, and to all below it if it leads a group.
///
/// # Errors
/// If it is gone.
pub async fn signal(child: &Child, name: &str) -> Result<()> {
    let id = child.id().context("the process has ended")?;
    let whom = match spin::group(child) {
        Some(_) => format!("-{id}"),
        None => id.to_string(),
    };
    let status = Command::new("kill")
        .args(["-s", name, "--", &whom])
        .status()
        .await?;
    ensure!(status.success(), "kill -s {name} {whom}: {status}");
    Ok(())
}

/// Has a process of ours end in order, and waits for it.
async fn end(mut child: Child) -> Result<()> {
    signal(&child, "TERM").await?;
    let status = tokio::time::timeout(PATIENCE, child.wait())
        .await
        .context("does not drain")??;
    // Spin drains nothing.
    ensure!(
        status.success() || spin::program().is_some(),
        "ended with {status}"
    );
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
    draw(N)?.try_into().ok().context("too few ports")
}

fn draw(count: usize) -> Result<Vec<u16>> {
    let mut held = Vec::new();
    for _ in 0..count {
        held.push(TcpListener::bind("127.0.0.1:0")?);
    }
    let ports = held.iter().map(|listener| Ok(listener.local_addr()?.port()));
    ports.collect()
}
