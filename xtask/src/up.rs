//! `up` and `down`: the whole shop of this checkout, from nothing to a screen that says where it is.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use crate::addresses::{self, Addresses};
use crate::builds;
use crate::checkout::{Checkout, create_folder, remove};
use crate::interrupt;
use crate::process::Process;
use crate::progress::{Step, say};
use crate::secrets::write_secret;
use crate::servers::{self, Kind, Servers, port_is_free};
use crate::shop::{DRAIN_LIMIT, METRICS, SERVICES, Shop, close, ports};

#[derive(clap::Args)]
pub(crate) struct Up {
    /// Start with an empty shop: what was ordered, and the secrets, are gone
    #[arg(long)]
    fresh: bool,

    /// Port of the gateway; the services take the five after it, metrics the one 1100 above
    #[arg(long, default_value_t = 8000, value_parser = clap::value_parser!(u16).range(1024..64000))]
    port: u16,
}

/// `up.json`: who runs the shop, for `down` and for the next `up` after a crash.
#[derive(Default, Serialize, Deserialize)]
struct Running {
    xtask: Option<Process>,
    bridge: Option<Process>,
}

/// Starts the shop and keeps it until a signal comes.
pub(crate) fn up(checkout: &Checkout, up: &Up) -> Result<()> {
    let folder = checkout.shop();
    create_folder(&folder)?;
    let _lock = lock(checkout)?;
    if up.fresh && addresses::private().len() < Kind::ALL.len() {
        bail!(
            "--fresh empties private servers only: unset SHOP_ADMIN_DATABASE_URL, SHOP_REDIS_URL and \
             SHOP_AMQP_URL, or empty yours yourself"
        );
    }
    stop_leftovers(checkout)?;
    if up.fresh {
        Servers::wipe(&folder)?;
    }
    if let Some(port) = ports(up.port).find(|port| !port_is_free(*port)) {
        bail!("port {port} is taken by another program: stop that, or choose others with --port");
    }
    servers::install(checkout, &addresses::private())?;
    let servers = Servers::open(folder)?;
    let ended = run(checkout, &servers, up.port);
    let stopped = stop(checkout, &servers);
    match ended {
        Err(error) if error.is::<interrupt::Interrupted>() => stopped,
        ended => ended.and(stopped),
    }
}

fn run(checkout: &Checkout, servers: &Servers, port: u16) -> Result<()> {
    note(checkout, |running| running.xtask = Process::this().ok())?;
    // The servers boot while the compilers work. RabbitMQ takes longest, so it goes first.
    let private = addresses::private();
    servers.keep()?;
    for kind in private.iter().rev() {
        servers.launch(*kind)?;
    }
    builds::components(checkout)?;
    builds::bridge(checkout)?;
    let (broker, stores): (Vec<Kind>, Vec<Kind>) =
        private.into_iter().partition(|kind| *kind == Kind::Rabbitmq);
    servers.await_all(&stores)?;
    let shop = Shop {
        checkout,
        folder: servers.folder(),
        secrets: &servers.secrets,
        addresses: Addresses::given_or_private(servers)?,
        port,
        variables: &[],
    };
    shop.prepare()?;
    // Nobody waits for RabbitMQ, which takes several seconds: what is ordered meanwhile moves on when it is there.
    let bridge = shop.open(|bridge| note(checkout, |running| running.bridge = Some(bridge.clone())))?;
    show(port);
    servers.await_all(&broker)?;
    while bridge.lives() {
        interrupt::pause(Duration::from_secs(60))?;
    }
    bail!("the host-bridge ended: {}", shop.last_words());
}

/// The screen at the end of `up`, on stdout.
fn show(port: u16) {
    let (bold, dim, end) = match std::io::stdout().is_terminal() {
        true => ("\x1b[1m", "\x1b[2m", "\x1b[0m"),
        false => ("", "", ""),
    };
    let services: Vec<String> = (port + 1..)
        .zip(SERVICES)
        .map(|(port, service)| format!("{service} :{port}"))
        .collect();
    let text = format!(
        "
{bold}The flower shop is open{end}

  {bold}Shop{end}       http://localhost:{port}
  {bold}Services{end}   {}
  {bold}Metrics{end}    http://localhost:{}/metrics
  {bold}Logs{end}       .shop/log/   {dim}(passwords of the private servers: .shop/secrets.toml){end}

  {bold}Who can sign in{end}
    admin@example.com     admin123
    courier@example.com   courier123
    user@example.com      user1234

  {bold}Try{end}
    curl -s http://localhost:{port}/api/catalog/flowers

{dim}Ctrl-C, or `cargo xtask down` elsewhere, stops it; your data stays for the next `cargo xtask up`.{end}
",
        services.join("  "),
        port + METRICS,
    );
    // Nobody may read it: a closed stdout is no reason to close the shop.
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// Stops the host-bridge first, for it finishes what it is at only while the servers are there.
fn stop(checkout: &Checkout, servers: &Servers) -> Result<()> {
    let step = Step::start("stopping the shop");
    let bridge = read_running(checkout)
        .bridge
        .map_or(Ok(()), |bridge| close(&bridge));
    let stopped = servers.stop_all();
    bridge.and(stopped)?;
    remove(&running_path(checkout))?;
    step.done();
    Ok(())
}

/// Stops the shop of this checkout, and servers left over from a crash.
pub(crate) fn down(checkout: &Checkout) -> Result<()> {
    let running = read_running(checkout);
    if let Some(xtask) = running.xtask.filter(Process::lives) {
        let step = Step::start("stopping the shop");
        xtask.end(Signal::TERM, DRAIN_LIMIT * 3)?;
        step.done();
        return Ok(());
    }
    let _lock = lock(checkout)?;
    let shop = stop_leftovers(checkout)?;
    let grounds = stop_abandoned_grounds(checkout)?;
    if !shop && !grounds {
        say("nothing is running");
    }
    Ok(())
}

/// Stops what an `up` that was killed left running; true if there was something.
fn stop_leftovers(checkout: &Checkout) -> Result<bool> {
    let bridge = read_running(checkout).bridge.filter(Process::lives);
    let servers = servers_left_over(checkout.shop())?;
    if bridge.is_none() && servers.is_none() {
        return Ok(false);
    }
    let step = Step::start("stopping what an earlier run left behind");
    if let Some(bridge) = bridge {
        close(&bridge)?;
    }
    if let Some(servers) = servers {
        servers.stop_all()?;
    }
    remove(&running_path(checkout))?;
    step.done();
    Ok(true)
}

/// Stops what a killed `test` or `bench` left running; true if there was something.
fn stop_abandoned_grounds(checkout: &Checkout) -> Result<bool> {
    let mut found = false;
    for name in ["test", "bench"] {
        let folder = checkout.shop().join(name);
        let Some(_lock) = try_lock(&folder.with_extension("lock"))? else {
            continue;
        };
        if let Some(servers) = servers_left_over(folder)? {
            let step = Step::start(format!("stopping the servers of `cargo xtask {name}`"));
            servers.stop_all()?;
            step.done();
            found = true;
        }
    }
    Ok(found)
}

/// The servers kept in a folder, if a run that is no more left them running. Those that somebody started by hand,
/// with `server start`, are left alone.
fn servers_left_over(folder: PathBuf) -> Result<Option<Servers>> {
    if !folder.join("servers.json").exists() {
        return Ok(None);
    }
    let servers = Servers::open(folder)?;
    Ok(servers.are_left_over()?.then_some(servers))
}

fn lock(checkout: &Checkout) -> Result<File> {
    let lock = try_lock(&checkout.shop().join("up.lock"))?;
    lock.context("this checkout's shop is up already: use it, or stop it with `cargo xtask down`")
}

/// Takes a lock that ends with the process; none if another process holds it.
pub(crate) fn try_lock(path: &Path) -> Result<Option<File>> {
    if let Some(folder) = path.parent() {
        create_folder(folder)?;
    }
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path);
    let file = file.with_context(|| format!("cannot write {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock {}", path.display()))
        }
    }
}

fn running_path(checkout: &Checkout) -> PathBuf {
    checkout.shop().join("up.json")
}

/// Nobody runs it if there is no such file; one from another version of this program names nobody we could stop.
fn read_running(checkout: &Checkout) -> Running {
    let text = fs::read(running_path(checkout)).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

fn note(checkout: &Checkout, change: impl FnOnce(&mut Running)) -> Result<()> {
    let mut running = read_running(checkout);
    change(&mut running);
    let text = serde_json::to_string_pretty(&running).context("cannot write up.json")?;
    write_secret(&running_path(checkout), &text)
}
