//! A running shop: its database prepared, its host-bridge started on the servers it is given, and stopped again.
//! Who keeps it running, and for how long, is `up`'s or the tests' business.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use crate::addresses::{Addresses, Cache, Database};
use crate::checkout::Checkout;
use crate::interrupt;
use crate::process::Process;
use crate::progress::Step;
use crate::run::Run;
use crate::secrets::{LOGINS, Secrets, write_secret};
use crate::servers::last_line;

/// In the order of their ports, after the gateway's.
pub(crate) const SERVICES: [&str; 5] = ["auth", "catalog", "ordering", "payment", "delivery"];

/// The metrics' port, counted from the gateway's.
pub(crate) const METRICS: u16 = 1100;

/// How long the shop may take from the host-bridge's start to its first good health: the components are
/// compiled to machine code the first time.
const HEALTH_LIMIT: Duration = Duration::from_secs(180);

/// How long the host-bridge may take to finish what it is at.
pub(crate) const DRAIN_LIMIT: Duration = Duration::from_secs(60);

pub(crate) struct Shop<'a> {
    pub(crate) checkout: &'a Checkout,
    /// Where its files are: `.shop`, or a folder in it.
    pub(crate) folder: &'a Path,
    pub(crate) secrets: &'a Secrets,
    pub(crate) addresses: Addresses,
    /// The gateway's; the services have the next five.
    pub(crate) port: u16,
    /// What it sets beside where things are and what opens them.
    pub(crate) variables: &'a [(&'a str, &'a str)],
}

/// All ports of a shop whose gateway has this one.
pub(crate) fn ports(gateway: u16) -> impl Iterator<Item = u16> {
    (gateway..).take(1 + SERVICES.len()).chain([gateway + METRICS])
}

impl Shop<'_> {
    /// Brings the database to where it should be, with the demo data.
    pub(crate) fn prepare(&self) -> Result<()> {
        self.write_variables()?;
        let step = Step::start("preparing the database");
        let mut migrate = self.bridge();
        migrate
            .args(["migrate", "--migrations", "migrations", "--passwords-file"])
            .arg(self.passwords_file())
            .env("SHOP_ADMIN_DATABASE_URL", &self.addresses.postgres);
        self.run(&step, migrate, "migrate", "the database cannot be prepared")?;
        let mut seed = self.bridge();
        seed.args(["seed", "--folder", "demo"])
            .env("SHOP_ADMIN_DATABASE_URL", &self.addresses.postgres);
        self.run(&step, seed, "seed", "the demo data cannot be loaded")?;
        step.done();
        Ok(())
    }

    fn run(&self, step: &Step, command: Command, name: &str, what: &str) -> Result<()> {
        let log = self.log(name);
        let ran = Run::of(step, log.clone()).to_end(command)?;
        if !ran.status.success() {
            bail!("{what}: {}", spoken_line(&log));
        }
        Ok(())
    }

    /// What the host-bridge passes on to the components, and each login's password.
    fn write_variables(&self) -> Result<()> {
        let database = Database::parse(&self.addresses.postgres)?;
        let cache = Cache::parse(&self.addresses.redis);
        let mut variables = BTreeMap::from([
            ("redis".to_owned(), cache.server),
            ("redis_database".to_owned(), cache.database),
            ("jwt_signing_key".to_owned(), self.secrets.jwt_signing_key.clone()),
            (
                "jwt_verification_keys".to_owned(),
                self.secrets.jwt_signing_key.clone(),
            ),
            ("events_key".to_owned(), self.secrets.events_key.clone()),
        ]);
        for service in SERVICES {
            variables.insert(
                format!("{service}_postgres"),
                format!("postgres://{}", database.server),
            );
            variables.insert(format!("{service}_postgres_database"), database.name.clone());
        }
        for login in LOGINS.into_iter().filter(|login| *login != "bridge") {
            variables.insert(
                format!("{login}_postgres_password"),
                self.secrets.login(login).to_owned(),
            );
        }
        for (name, value) in self.variables {
            variables.insert((*name).to_owned(), (*value).to_owned());
        }
        let variables = toml::to_string(&variables).context("cannot write variables as TOML")?;
        write_secret(&self.variables_file(), &variables)?;
        let passwords = toml::to_string(&self.secrets.logins).context("cannot write passwords as TOML")?;
        write_secret(&self.passwords_file(), &passwords)
    }

    fn variables_file(&self) -> PathBuf {
        self.folder.join("variables.toml")
    }

    fn passwords_file(&self) -> PathBuf {
        self.folder.join("passwords.toml")
    }

    fn log(&self, name: &str) -> PathBuf {
        self.folder.join("log").join(format!("{name}.log"))
    }

    fn bridge(&self) -> Command {
        let mut command = Command::new(self.checkout.bridge());
        // What it prints when it fails is one line for the user.
        command
            .current_dir(self.checkout.root())
            // What it runs is a demonstration: its users are known to everybody, and its servers may be.
            .env("SHOP_DEMO_MODE", "true")
            .env_remove("RUST_BACKTRACE");
        command
    }

    /// Starts the host-bridge, tells `started` of it, and waits until the shop is healthy.
    ///
    /// # Errors
    /// When it ends instead, with what it said last.
    pub(crate) fn open(&self, started: impl FnOnce(&Process) -> Result<()>) -> Result<Process> {
        let step = Step::start("opening the shop");
        let log = self.log("host-bridge");
        let file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .open(&log);
        let file = file.with_context(|| format!("cannot write {}", log.display()))?;
        let stdout = file.try_clone().context("cannot share a log file")?;
        let mut command = self.bridge_up()?;
        command
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(file)
            .process_group(0);
        let child = command.spawn().context("cannot start the host-bridge")?;
        let Ok(bridge) = Process::adopt(child) else {
            bail!(spoken_line(&log))
        };
        started(&bridge)?;
        let begun = Instant::now();
        loop {
            let health = health(self.port);
            if health.as_deref().is_some_and(is_healthy) {
                step.done();
                return Ok(bridge);
            }
            if !bridge.lives() {
                bail!(spoken_line(&log));
            }
            if begun.elapsed() > HEALTH_LIMIT {
                let said = health.unwrap_or_else(|| "no answer".to_owned());
                bail!(
                    "the shop does not get healthy: {said} (its log: {})",
                    log.display()
                );
            }
            step.goes_on("");
            interrupt::pause(Duration::from_millis(50))?;
        }
    }

    fn bridge_up(&self) -> Result<Command> {
        let database = Database::parse(&self.addresses.postgres)?;
        let password = self.secrets.login("bridge");
        let url = format!(
            "postgres://shop_bridge:{password}@{}/{}",
            database.server, database.name
        );
        let mut command = self.bridge();
        command
            .args([
                "up",
                "--manifest",
                "spin.toml",
                "--topology",
                "host-bridge/topology.toml",
            ])
            .args(["--listen", &format!("127.0.0.1:{}", self.port)])
            .args(["--metrics-listen", &format!("127.0.0.1:{}", self.port + METRICS)])
            .arg("--variable")
            .arg(format!("@{}", self.variables_file().display()))
            .arg("--cache-dir")
            .arg(self.checkout.target().join("wasmtime-cache"))
            .env("SHOP_DATABASE_URL", url)
            .env("SHOP_AMQP_URL", &self.addresses.rabbitmq)
            .env("SHOP_EVENTS_KEY", &self.secrets.events_key);
        for (port, service) in (self.port + 1..).zip(SERVICES) {
            command.args(["--service-listen", &format!("{service}=127.0.0.1:{port}")]);
        }
        Ok(command)
    }

    /// What the host-bridge said last.
    pub(crate) fn last_words(&self) -> String {
        spoken_line(&self.log("host-bridge"))
    }
}

/// Lets a host-bridge finish what it is at.
pub(crate) fn close(bridge: &Process) -> Result<()> {
    bridge.end(Signal::TERM, DRAIN_LIMIT)
}

/// The body of the gateway's health, if it answers.
fn health(port: u16) -> Option<String> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_millis(500)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    let request = format!("GET /health HTTP/1.1\r\nhost: localhost:{port}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    Some(answer.split_once("\r\n\r\n")?.1.to_owned())
}

fn is_healthy(body: &str) -> bool {
    // The body may come in chunks, with their sizes around it.
    let json = body
        .find('{')
        .zip(body.rfind('}'))
        .and_then(|(start, end)| body.get(start..=end));
    let health: Option<serde_json::Value> = json.and_then(|json| serde_json::from_str(json).ok());
    health.is_some_and(|health| health.get("status").and_then(|status| status.as_str()) == Some("healthy"))
}

/// The last thing a program said, taken out of its JSON if it logs in JSON.
fn spoken_line(log: &Path) -> String {
    let line = last_line(log);
    let json: Option<serde_json::Value> = serde_json::from_str(&line).ok();
    let message = json
        .as_ref()
        .and_then(|line| line.pointer("/fields/message").or_else(|| line.get("message")));
    message
        .and_then(|message| message.as_str())
        .map_or_else(|| line.clone(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_degraded_shop_is_not_yet_healthy() {
        assert!(is_healthy(r#"{"status": "healthy", "checks": {"auth": "ok"}}"#));
        assert!(is_healthy("2a\r\n{\"status\":\"healthy\"}\r\n0\r\n"));
        assert!(!is_healthy(r#"{"status": "degraded"}"#));
        assert!(!is_healthy(""));
    }
}
