//! A private Redis: a cache, so it keeps nothing on disk.

use std::io::{Read, Write};
use std::process::Command;

use anyhow::{Context, Result};

use super::{Entry, Servers, connect};
use crate::checkout::create_folder;
use crate::programs::on_path;

pub(super) fn is_installed() -> bool {
    on_path("redis-server").is_some()
}

pub(super) fn command(servers: &Servers, entry: &Entry) -> Result<Command> {
    let program = on_path("redis-server").context("Redis is not installed")?;
    let folder = servers.folder().join("redis");
    create_folder(&folder)?;
    let mut command = Command::new(program);
    command
        .current_dir(&folder)
        .args(["--port", &entry.port.to_string(), "--bind", "127.0.0.1"])
        .args(["--save", "", "--appendonly", "no"])
        .args(["--maxmemory", "256mb", "--maxmemory-policy", "allkeys-lru"]);
    Ok(command)
}

pub(super) fn is_ready(entry: &Entry) -> bool {
    let Some(mut stream) = connect(entry.port) else {
        return false;
    };
    let mut answer = [0; 5];
    stream.write_all(b"PING\r\n").is_ok() && stream.read_exact(&mut answer).is_ok() && &answer == b"+PONG"
}
