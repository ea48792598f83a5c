//! Private servers: Postgres, Redis and RabbitMQ of one shop, on free ports of the loopback interface, with all
//! they keep under one folder. `servers.json` in that folder says what runs where, so that a later xtask, or a
//! test that wants to stop one of them, finds it again.

mod postgres;
mod rabbitmq;
mod redis;

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use crate::checkout::{Checkout, create_folder, remove};
use crate::interrupt;
use crate::process::Process;
use crate::programs::{self, Need, on_path};
use crate::progress::Step;
use crate::secrets::{Secrets, random_below, write_secret};

/// The shop's database, wherever its Postgres is.
pub(crate) const DATABASE: &str = "flower_shop_db";
/// The database's owner.
pub(crate) const OWNER: &str = "flower_shop";

/// How long a server may take to start, a slow and busy machine included.
const START_LIMIT: Duration = Duration::from_secs(120);
/// How long it may take to stop in order.
const STOP_LIMIT: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Postgres,
    Redis,
    Rabbitmq,
    /// Erlang's port mapper: RabbitMQ would start one that outlives it.
    #[value(skip)]
    Epmd,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Postgres, Self::Redis, Self::Rabbitmq];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Redis => "redis",
            Self::Rabbitmq => "rabbitmq",
            Self::Epmd => "epmd",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Postgres => "Postgres",
            Self::Redis => "Redis",
            Self::Rabbitmq => "RabbitMQ",
            Self::Epmd => "RabbitMQ's port mapper",
        }
    }

    fn need(self) -> Need {
        let (debian, homebrew, present): (_, _, fn() -> bool) = match self {
            Self::Postgres => ("postgresql", "postgresql@17", postgres::is_installed),
            Self::Redis => ("redis-server", "redis", redis::is_installed),
            Self::Rabbitmq | Self::Epmd => ("rabbitmq-server", "rabbitmq", rabbitmq::is_installed),
        };
        Need {
            title: self.title(),
            debian,
            homebrew,
            present,
        }
    }
}

/// What `servers.json` holds of one server.
#[derive(Clone, Serialize, Deserialize)]
struct Entry {
    host: String,
    port: u16,
    /// A second port of RabbitMQ, where nodes would talk to one another.
    #[serde(skip_serializing_if = "Option::is_none")]
    second_port: Option<u16>,
    url: String,
    log: PathBuf,
    #[serde(flatten)]
    process: Option<Process>,
}

type Entries = BTreeMap<Kind, Entry>;

#[derive(Default, Serialize, Deserialize)]
struct Book {
    servers: Entries,
    /// The run that will stop them when it ends; servers without one were started by hand and stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    keeper: Option<Process>,
}

/// The servers of one shop.
pub(crate) struct Servers {
    folder: PathBuf,
    pub(crate) secrets: Secrets,
}

impl Servers {
    /// The servers kept in `folder`, none of them started.
    pub(crate) fn open(folder: PathBuf) -> Result<Self> {
        create_folder(&folder.join("log"))?;
        let secrets = Secrets::load_or_draw(&folder)?;
        Ok(Self { folder, secrets })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn book_path(&self) -> PathBuf {
        self.folder.join("servers.json")
    }

    /// The URL by which the owner, or superuser, reaches a server.
    pub(crate) fn url(&self, kind: Kind) -> Result<String> {
        let entry = self.read()?.servers.remove(&kind);
        Ok(entry
            .with_context(|| format!("{} was never started", kind.title()))?
            .url)
    }

    /// Notes that this xtask will stop them.
    pub(crate) fn keep(&self) -> Result<()> {
        let _lock = self.lock()?;
        let mut book = self.read()?;
        book.keeper = Some(Process::this()?);
        self.write(&book)
    }

    /// Whether some of them run that were to be stopped by a run which is no more.
    pub(crate) fn are_left_over(&self) -> Result<bool> {
        let book = self.read()?;
        let run = book
            .servers
            .values()
            .any(|entry| entry.process.as_ref().is_some_and(Process::lives));
        Ok(run && book.keeper.is_some_and(|keeper| !keeper.lives()))
    }

    /// Starts a server, without waiting until it takes connections.
    pub(crate) fn launch(&self, kind: Kind) -> Result<()> {
        let _lock = self.lock()?;
        if kind == Kind::Rabbitmq {
            self.launch_locked(Kind::Epmd)?;
        }
        self.launch_locked(kind)
    }

    fn launch_locked(&self, kind: Kind) -> Result<()> {
        let mut book = self.read()?;
        let mut entry = match book.servers.remove(&kind) {
            Some(entry) if entry.process.as_ref().is_some_and(Process::lives) => return Ok(()),
            Some(entry) if port_is_free(entry.port) && entry.second_port.is_none_or(port_is_free) => entry,
            _ => self.new_entry(kind)?,
        };
        book.servers.insert(kind, entry.clone());
        let command = match kind {
            Kind::Postgres => postgres::command(self, &entry)?,
            Kind::Redis => redis::command(self, &entry)?,
            Kind::Rabbitmq => rabbitmq::command(self, &entry, book.servers.get(&Kind::Epmd))?,
            Kind::Epmd => rabbitmq::port_mapper(&entry),
        };
        entry.process = Some(spawn(command, kind, &entry.log)?);
        book.servers.insert(kind, entry);
        self.write(&book)
    }

    fn new_entry(&self, kind: Kind) -> Result<Entry> {
        let port = free_port()?;
        let url = match kind {
            Kind::Postgres => format!(
                "postgres://{OWNER}:{}@127.0.0.1:{port}/{DATABASE}",
                self.secrets.postgres
            ),
            Kind::Redis => format!("redis://127.0.0.1:{port}"),
            Kind::Rabbitmq => format!("amqp://{OWNER}:{}@127.0.0.1:{port}/%2f", self.secrets.rabbitmq),
            Kind::Epmd => String::new(),
        };
        Ok(Entry {
            host: "127.0.0.1".to_owned(),
            port,
            second_port: (kind == Kind::Rabbitmq).then(free_port).transpose()?,
            url,
            log: self.folder.join("log").join(format!("{}.log", kind.name())),
            process: None,
        })
    }

    /// Waits until a server that was launched takes connections.
    ///
    /// # Errors
    /// When it ends instead, with the last line of its log.
    fn await_ready(&self, kind: Kind, step: &Step) -> Result<()> {
        let started = Instant::now();
        let entry = self
            .read()?
            .servers
            .remove(&kind)
            .context("the server was never started")?;
        let process = entry.process.clone().context("the server was never started")?;
        while !self.is_ready(kind, &entry) {
            if !process.lives() {
                bail!("{} ended at once: {}", kind.title(), last_line(&entry.log));
            }
            if started.elapsed() > START_LIMIT {
                bail!("{} does not start: {}", kind.title(), last_line(&entry.log));
            }
            step.goes_on(kind.title());
            interrupt::pause(Duration::from_millis(50))?;
        }
        if kind == Kind::Postgres {
            postgres::create_database(&entry, &self.secrets.postgres)?;
        }
        Ok(())
    }

    /// Waits until all of these take connections, as one step.
    pub(crate) fn await_all(&self, kinds: &[Kind]) -> Result<()> {
        if kinds.is_empty() {
            return Ok(());
        }
        let titles: Vec<&str> = kinds.iter().map(|kind| kind.title()).collect();
        let step = Step::start(format!("starting {}", titles.join(", ")));
        for kind in kinds {
            self.await_ready(*kind, &step)?;
        }
        step.done();
        Ok(())
    }

    fn is_ready(&self, kind: Kind, entry: &Entry) -> bool {
        match kind {
            Kind::Postgres => postgres::is_ready(entry),
            Kind::Redis => redis::is_ready(entry),
            Kind::Rabbitmq => rabbitmq::is_ready(entry),
            Kind::Epmd => connect(entry.port).is_some(),
        }
    }

    /// Stops a server in order, if it runs.
    pub(crate) fn stop(&self, kind: Kind) -> Result<()> {
        self.end(
            kind,
            if kind == Kind::Postgres {
                postgres::STOP
            } else {
                Signal::TERM
            },
        )
    }

    /// Ends a server as a power cut would.
    pub(crate) fn kill(&self, kind: Kind) -> Result<()> {
        self.end(kind, Signal::KILL)
    }

    fn end(&self, kind: Kind, signal: Signal) -> Result<()> {
        let _lock = self.lock()?;
        self.end_locked(kind, signal)?;
        if kind == Kind::Rabbitmq {
            self.end_locked(Kind::Epmd, signal)?;
        }
        Ok(())
    }

    fn end_locked(&self, kind: Kind, signal: Signal) -> Result<()> {
        let mut book = self.read()?;
        let Some(entry) = book.servers.get_mut(&kind) else {
            return Ok(());
        };
        if let Some(process) = entry.process.take() {
            match signal {
                Signal::KILL => process.kill()?,
                _ => process.end(signal, STOP_LIMIT)?,
            }
        }
        self.write(&book)
    }

    /// Stops all, the broker first: whoever feeds the database goes before it.
    pub(crate) fn stop_all(&self) -> Result<()> {
        for kind in [Kind::Rabbitmq, Kind::Redis, Kind::Postgres] {
            self.stop(kind)?;
        }
        let _lock = self.lock()?;
        let mut book = self.read()?;
        book.keeper = None;
        self.write(&book)
    }

    /// Holds a server still (`Signal::STOP`) or lets it go on (`Signal::CONT`).
    pub(crate) fn signal(&self, kind: Kind, signal: Signal) -> Result<()> {
        let book = self.read()?;
        let process = book.servers.get(&kind).and_then(|entry| entry.process.as_ref());
        process
            .with_context(|| format!("{} does not run", kind.title()))?
            .signal_tree(signal)
    }

    /// Removes everything the servers keep, and the secrets; the servers must be stopped.
    pub(crate) fn wipe(folder: &Path) -> Result<()> {
        postgres::wipe(folder)?;
        for name in [
            "redis",
            "rabbitmq",
            "log",
            "servers.json",
            "secrets.toml",
            "variables.toml",
            "passwords.toml",
        ] {
            remove(&folder.join(name))?;
        }
        Ok(())
    }

    /// One at a time: a test may stop a server while another starts one.
    fn lock(&self) -> Result<File> {
        let path = self.folder.join("servers.lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path);
        let file = file.with_context(|| format!("cannot write {}", path.display()))?;
        file.lock()
            .with_context(|| format!("cannot lock {}", path.display()))?;
        Ok(file)
    }

    fn read(&self) -> Result<Book> {
        let path = self.book_path();
        match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).with_context(|| {
                format!(
                    "{} is broken: remove {}, with all that its servers keep, to start anew",
                    path.display(),
                    self.folder.display()
                )
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Book::default()),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    fn write(&self, book: &Book) -> Result<()> {
        let text = serde_json::to_string_pretty(book).context("cannot write servers as JSON")?;
        write_secret(&self.book_path(), &text)
    }
}

/// Installs what the private servers and the tour need and is not there.
pub(crate) fn install(checkout: &Checkout, kinds: &[Kind]) -> Result<()> {
    let needs = kinds.iter().map(|kind| kind.need()).chain([CURL]);
    programs::ensure(checkout, &needs.collect::<Vec<_>>())
}

/// What the README's tour speaks to the shop with.
const CURL: Need = Need {
    title: "curl",
    debian: "curl",
    homebrew: "curl",
    present: || on_path("curl").is_some(),
};

/// Starts a server in a process group of its own, so that a Ctrl-C at the terminal does not reach it before
/// its turn to stop has come.
fn spawn(mut command: Command, kind: Kind, log: &Path) -> Result<Process> {
    let file = OpenOptions::new().create(true).append(true).open(log);
    let file = file.with_context(|| format!("cannot write {}", log.display()))?;
    let stderr = file.try_clone().context("cannot share a log file")?;
    command
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(stderr)
        .process_group(0);
    let child = command
        .spawn()
        .with_context(|| format!("cannot start {}", kind.title()))?;
    Process::adopt(child).with_context(|| format!("{} did not start: {}", kind.title(), last_line(log)))
}

/// The last line of a log that says something.
pub(crate) fn last_line(log: &Path) -> String {
    let bytes = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty());
    line.map_or_else(|| format!("see {}", log.display()), str::to_owned)
}

/// A port nobody listens on, below the range that the system gives to outgoing connections: there a client
/// that tries to reach a stopped server could be given the server's port, and connect to itself.
fn free_port() -> Result<u16> {
    free_ports(|port| [port])
}

/// The first of several ports that nobody listens on; `all` says which ones go with the first.
pub(crate) fn free_ports<Ports: IntoIterator<Item = u16>>(all: impl Fn(u16) -> Ports) -> Result<u16> {
    for _ in 0..200 {
        let first = 17_000 + random_below(13_000)?;
        if all(first).into_iter().all(port_is_free) {
            return Ok(first);
        }
    }
    bail!("no free port between 17000 and 30000")
}

pub(crate) fn port_is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}

fn connect(port: u16) -> Option<TcpStream> {
    let limit = Duration::from_secs(1);
    let stream = TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)), limit).ok()?;
    stream.set_read_timeout(Some(limit)).ok()?;
    stream.set_write_timeout(Some(limit)).ok()?;
    Some(stream)
}
