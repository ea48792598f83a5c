//! A private RabbitMQ node, with a port mapper and a home of its own: nothing of the machine's RabbitMQ is
//! read or written.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::{Entry, OWNER, Servers, connect};
use crate::checkout::{create_folder, remove};
use crate::programs::{on_path, versions};
use crate::secrets::write_secret;

/// `sbwt`: idle schedulers sleep instead of spinning. `Q`: the VM would otherwise reserve room for as many
/// ports as the system allows open files, gigabytes where that is unlimited. `inet_dist_use_interface`: nodes
/// are heard on the loopback interface alone. `noinput`: there is no shell.
const ERL_ARGS: &str = "+sbwt none +sbwtdcpu none +sbwtdio none +Q 65536 \
                        -kernel inet_dist_use_interface {127,0,0,1} -noinput";

pub(super) fn is_installed() -> bool {
    program().is_some() && on_path("epmd").is_some()
}

/// The server's own script; Debian's `/usr/sbin/rabbitmq-server` switches user and has fixed paths.
fn program() -> Option<PathBuf> {
    let debian = versions("/usr/lib/rabbitmq/lib", "rabbitmq_server-", "sbin");
    let homebrew = ["/opt/homebrew/opt/rabbitmq/sbin", "/usr/local/opt/rabbitmq/sbin"].map(PathBuf::from);
    let programs = debian
        .into_iter()
        .chain(homebrew)
        .map(|folder| folder.join("rabbitmq-server"));
    programs
        .filter(|program| program.is_file())
        .chain(on_path("rabbitmq-server"))
        .next()
}

/// Started by us, in the foreground: a node that finds none starts one that outlives it.
pub(super) fn port_mapper(entry: &Entry) -> Command {
    let mut command = clean(Path::new("epmd"));
    command
        .args(["-address", "127.0.0.1", "-port", &entry.port.to_string()])
        .current_dir("/");
    command
}

pub(super) fn command(servers: &Servers, entry: &Entry, port_mapper: Option<&Entry>) -> Result<Command> {
    let program = program().context("RabbitMQ is not installed")?;
    let home = servers.folder().join("rabbitmq");
    create_folder(&home.join("conf.d"))?;
    write_cookie(&home, &servers.secrets.erlang_cookie)?;
    write_secret(&home.join("rabbitmq.conf"), &settings(servers, entry))?;
    fs::write(home.join("enabled_plugins"), "[].\n").context("cannot write RabbitMQ's settings")?;
    let port_mapper = port_mapper.context("RabbitMQ's port mapper was not started")?;

    let mut command = clean(&program);
    command
        .current_dir(&home)
        .env("HOME", &home)
        // With this set the script becomes the server, instead of a shell that waits for it.
        .env("RABBITMQ_ALLOW_INPUT", "1")
        .env("RABBITMQ_CONF_ENV_FILE", "/dev/null")
        .env("RABBITMQ_CONFIG_FILE", home.join("rabbitmq.conf"))
        .env("RABBITMQ_CONFIG_FILES", home.join("conf.d"))
        .env("RABBITMQ_ADVANCED_CONFIG_FILE", home.join("advanced.config"))
        .env("RABBITMQ_ENABLED_PLUGINS_FILE", home.join("enabled_plugins"))
        .env("RABBITMQ_NODENAME", "shop@localhost")
        .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
        .env("RABBITMQ_NODE_PORT", entry.port.to_string())
        .env(
            "RABBITMQ_DIST_PORT",
            entry.second_port.unwrap_or_default().to_string(),
        )
        .env("ERL_EPMD_PORT", port_mapper.port.to_string())
        .env("ERL_EPMD_ADDRESS", "127.0.0.1")
        .env("RABBITMQ_MNESIA_BASE", home.join("data"))
        .env("RABBITMQ_MNESIA_DIR", home.join("data/node"))
        .env("RABBITMQ_LOG_BASE", &home)
        .env("RABBITMQ_LOGS", "-")
        .env("RABBITMQ_PID_FILE", home.join("pid"))
        .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", ERL_ARGS);
    Ok(command)
}

/// Nothing of a RabbitMQ or Erlang that the user has set up for something else.
fn clean(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let foreign = |name: &str| name.starts_with("RABBITMQ_") || name.starts_with("ERL_");
        if name.to_str().is_some_and(foreign) {
            command.env_remove(name);
        }
    }
    command
}

fn settings(servers: &Servers, entry: &Entry) -> String {
    // The WAL's default of 512 MB would be kept in memory by a laptop's shop.
    format!(
        "listeners.tcp.1 = 127.0.0.1:{}\n\
         default_user = {OWNER}\n\
         default_pass = {}\n\
         log.console = true\n\
         log.console.level = info\n\
         vm_memory_high_watermark.absolute = 1GB\n\
         raft.wal_max_size_bytes = 67108864\n",
        entry.port, servers.secrets.rabbitmq
    )
}

/// Erlang insists on a cookie that nobody else may read, and cannot read one that we may only write.
fn write_cookie(home: &Path, cookie: &str) -> Result<()> {
    let path = home.join(".erlang.cookie");
    remove(&path)?;
    write_secret(&path, cookie)
}

/// The broker opens its listener last; then it answers AMQP's greeting with a frame.
pub(super) fn is_ready(entry: &Entry) -> bool {
    let Some(mut stream) = connect(entry.port) else {
        return false;
    };
    let mut answer = [0; 1];
    stream.write_all(b"AMQP\x00\x00\x09\x01").is_ok()
        && stream.read_exact(&mut answer).is_ok()
        && answer == [1]
}
