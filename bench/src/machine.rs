//! Where the figures were made: the machine, the versions, the command.

use anyhow::{Context as _, Result};
use serde_json::Value;
use shop_tests::environment::{root, variable};
use std::fs;
use tokio_postgres::NoTls;

/// One of the servers that `cargo xtask bench` started.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) name: &'static str,
    pub(crate) pid: u32,
}

/// The servers whose processes we can see; none if they run elsewhere.
pub(crate) fn servers() -> Vec<Server> {
    let entries = book();
    let pid = |name| u32::try_from(entries[name]["pid"].as_u64()?).ok();
    ["postgres", "redis", "rabbitmq"]
        .into_iter()
        .filter_map(|name| {
            Some(Server {
                name,
                pid: pid(name)?,
            })
        })
        .collect()
}

fn book() -> Value {
    let text = variable("SHOP_TEST_SERVERS").and_then(|path| Ok(fs::read_to_string(path)?));
    let book: Option<Value> = text.ok().and_then(|text| serde_json::from_str(&text).ok());
    book.map_or(Value::Null, |mut book| book["servers"].take())
}

/// A paragraph about the machine and a table of versions, as Markdown.
///
/// # Errors
/// If a server cannot be asked for its version.
pub(crate) async fn describe() -> Result<String> {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let command = if arguments.is_empty() {
        "cargo xtask bench".to_owned()
    } else {
        format!("cargo xtask bench -- {}", arguments.join(" "))
    };
    Ok(format!(
        "Made on {} by `{command}`, with everything (shop, servers, load generator) on one machine:\n\n\
         | | |\n| --- | --- |\n\
         | cores | {cores} × {} |\n\
         | memory | {} GiB |\n\
         | kernel | {} |\n\
         | Postgres | {} |\n\
         | Redis | {} |\n\
         | RabbitMQ | {} |\n\
         | wasmtime | {} |\n\
         | Rust | {} |\n",
        chrono::Utc::now().format("%Y-%m-%d"),
        cpu_model(),
        memory_gibibytes(),
        fs::read_to_string("/proc/sys/kernel/osrelease")
            .unwrap_or_default()
            .trim(),
        postgres_version().await?,
        redis_version().await?,
        rabbitmq_version(),
        locked_version("wasmtime"),
        rust_version().await,
    ))
}

/// The value of the first line `<name> : <value>` of a file under `/proc`.
fn proc_value(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn cpu_model() -> String {
    proc_value("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".to_owned())
}

fn memory_gibibytes() -> u64 {
    let total = proc_value("/proc/meminfo", "MemTotal");
    let kibibytes = total.and_then(|text| text.strip_suffix(" kB")?.parse::<u64>().ok());
    kibibytes.unwrap_or_default().div_ceil(1024 * 1024)
}

async fn postgres_version() -> Result<String> {
    let (client, connection) = tokio_postgres::connect(&variable("SHOP_TEST_POSTGRES")?, NoTls).await?;
    tokio::spawn(connection);
    let version: String = client.query_one("show server_version", &[]).await?.try_get(0)?;
    Ok(version)
}

async fn redis_version() -> Result<String> {
    let client = redis::Client::open(variable("SHOP_TEST_REDIS")?)?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    let info: String = redis::cmd("INFO")
        .arg("server")
        .query_async(&mut connection)
        .await?;
    let version = info.lines().find_map(|line| line.strip_prefix("redis_version:"));
    version
        .map(str::to_owned)
        .context("Redis does not tell its version")
}

/// What the server's log says when it starts.
fn rabbitmq_version() -> String {
    let log = book()["rabbitmq"]["log"].as_str().map(fs::read_to_string);
    let log = log.and_then(Result::ok).unwrap_or_default();
    let version = log
        .split_once("Starting RabbitMQ ")
        .and_then(|(_, rest)| rest.lines().next());
    version.map_or_else(|| "unknown".to_owned(), |version| version.trim().to_owned())
}

/// The version of a crate in `Cargo.lock`.
fn locked_version(name: &str) -> String {
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap_or_default();
    let lock: toml::Table = lock.parse().unwrap_or_default();
    let packages = lock.get("package").and_then(toml::Value::as_array);
    let package = packages
        .into_iter()
        .flatten()
        .find(|package| package.get("name").and_then(toml::Value::as_str) == Some(name));
    let version = package
        .and_then(|package| package.get("version"))
        .and_then(toml::Value::as_str);
    version.unwrap_or("unknown").to_owned()
}

async fn rust_version() -> String {
    let output = tokio::process::Command::new("rustc")
        .arg("--version")
        .current_dir(root())
        .output()
        .await;
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.unwrap_or_else(|_| "unknown".to_owned())
}
