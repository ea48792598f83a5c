//! A private Postgres. It refuses to run as root: then it runs as Debian's user `postgres`, in a folder of
//! that user's. Durable as in production: nobody should see a speed here that they will not get there.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use super::{DATABASE, Entry, OWNER, Servers};
use crate::checkout::{create_folder, remove};
use crate::process::pid_lives;
use crate::programs::{is_root, on_path, versions};
use crate::progress::say;
use crate::secrets::write_secret;

/// Postgres' "fast shutdown": connections are cut, everything is written.
pub(super) const STOP: Signal = Signal::INT;

/// Where the data goes if the user `postgres` cannot reach the checkout, say below `/root`.
const ELSEWHERE: &str = "/var/lib/flower-shop";

pub(super) fn is_installed() -> bool {
    !installations().is_empty()
}

/// The folders with Postgres' programs, newest first.
fn installations() -> Vec<PathBuf> {
    let mut found = versions("/usr/lib/postgresql", "", "bin");
    for homebrew in ["/opt/homebrew/opt", "/usr/local/opt"] {
        found.extend(versions(homebrew, "postgresql@", "bin"));
    }
    let on_path = on_path("postgres").and_then(|program| Some(program.parent()?.to_path_buf()));
    found.extend(on_path);
    found.retain(|folder| {
        ["postgres", "initdb", "pg_isready", "psql"]
            .iter()
            .all(|name| folder.join(name).is_file())
    });
    found
}

/// Who Postgres runs as, if not as us.
fn account() -> Result<Option<(u32, u32)>> {
    if !is_root() {
        return Ok(None);
    }
    let passwd = fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
    let line = passwd.lines().find(|line| line.starts_with("postgres:"));
    let ids = line.and_then(|line| {
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    });
    let hint = "Postgres refuses to run as root, and there is no user `postgres` to run it as";
    ids.map(Some).context(hint)
}

fn as_account(program: &Path, account: Option<(u32, u32)>) -> Command {
    let mut command = Command::new(program);
    // A folder that the account may not enter is no place to start in.
    command.current_dir("/");
    if let Some((user, group)) = account {
        command.uid(user).gid(group);
    }
    for name in [
        "PGDATA",
        "PGHOST",
        "PGPORT",
        "PGUSER",
        "PGDATABASE",
        "PGOPTIONS",
        "PGSERVICE",
    ] {
        command.env_remove(name);
    }
    command
}

/// The folder of the data, ready to be used; decided once and then kept.
fn data_folder(servers: &Servers, account: Option<(u32, u32)>) -> Result<PathBuf> {
    let near = servers.folder().join("postgres");
    let Some(ids) = account else {
        create_private(&near, None)?;
        return Ok(near);
    };
    let far = elsewhere(servers.folder());
    if far.join("PG_VERSION").is_file() {
        return Ok(far);
    }
    create_private(&near, Some(ids))?;
    if reachable(&near, ids) {
        return Ok(near);
    }
    remove(&near)?;
    say(&format!(
        "Postgres keeps its data in {}: its user cannot reach {}",
        far.display(),
        near.display()
    ));
    create_private(&far, Some(ids))?;
    Ok(far)
}

/// A folder outside the checkout that belongs to this checkout's shop alone.
fn elsewhere(folder: &Path) -> PathBuf {
    // FNV-1a: the same for the same path in every version of this program.
    let hash = folder
        .as_os_str()
        .as_encoded_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
    Path::new(ELSEWHERE).join(format!("{hash:016x}"))
}

fn create_private(folder: &Path, owner: Option<(u32, u32)>) -> Result<()> {
    create_folder(folder)?;
    let attempt = || -> std::io::Result<()> {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
        if let Some((user, group)) = owner {
            chown(folder, Some(user), Some(group))?;
        }
        Ok(())
    };
    attempt().with_context(|| format!("cannot prepare {}", folder.display()))
}

fn reachable(folder: &Path, account: (u32, u32)) -> bool {
    let Some(test) = on_path("test") else { return false };
    let status = as_account(&test, Some(account))
        .arg("-w")
        .arg(folder)
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

/// The command that runs the server; makes the cluster first, if there is none.
pub(super) fn command(servers: &Servers, entry: &Entry) -> Result<Command> {
    let account = account()?;
    let data = data_folder(servers, account)?;
    let programs = match fs::read_to_string(data.join("PG_VERSION")) {
        Ok(version) => programs_for(version.trim())?,
        Err(_) => {
            let newest = installations()
                .into_iter()
                .next()
                .context("Postgres is not installed")?;
            initialise(servers, &newest, &data, account)?;
            newest
        }
    };
    write_settings(&data, entry.port, account)?;
    forget_dead_postmaster(&data)?;
    let mut command = as_account(&programs.join("postgres"), account);
    command.arg("-D").arg(&data);
    Ok(command)
}

/// The programs of the version that made the data; no other can read it.
fn programs_for(version: &str) -> Result<PathBuf> {
    let fits = |folder: &PathBuf| {
        let output = Command::new(folder.join("postgres")).arg("--version").output();
        let said = output
            .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
            .unwrap_or_default();
        let number = said
            .split_whitespace()
            .find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
        number.is_some_and(|number| number.split('.').next() == Some(version))
    };
    installations().into_iter().find(fits).with_context(|| {
        format!("the shop's data was made by Postgres {version}, which is not installed: install it again, or start anew with `cargo xtask up --fresh`")
    })
}

fn initialise(servers: &Servers, programs: &Path, data: &Path, account: Option<(u32, u32)>) -> Result<()> {
    // Half a cluster is what an interrupted attempt leaves.
    for entry in fs::read_dir(data)
        .with_context(|| format!("cannot read {}", data.display()))?
        .flatten()
    {
        remove(&entry.path())?;
    }
    let password = data.with_extension("password");
    write_secret(&password, &servers.secrets.postgres)?;
    if let Some((user, group)) = account {
        chown(&password, Some(user), Some(group)).context("cannot hand a file to the user postgres")?;
    }
    // In the C locale proper, ILIKE would be blind to the case of Cyrillic. A Mac has no C.UTF-8.
    let locale = if cfg!(target_os = "macos") {
        "en_US.UTF-8"
    } else {
        "C.UTF-8"
    };
    let output = as_account(&programs.join("initdb"), account)
        .args(["-E", "UTF8", "-A", "scram-sha-256", "-U", OWNER])
        .arg(format!("--locale={locale}"))
        .arg(format!("--pwfile={}", password.display()))
        .arg("-D")
        .arg(data)
        .stdin(Stdio::null())
        .output();
    remove(&password)?;
    let output = output.context("cannot run initdb")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        bail!(
            "Postgres cannot make its database: {}",
            said.trim().replace('\n', "; ")
        );
    }
    let main = data.join("postgresql.conf");
    let text = fs::read_to_string(&main).context("cannot read Postgres' settings")?;
    fs::write(&main, format!("{text}\ninclude = 'shop.conf'\n")).context("cannot write Postgres' settings")
}

fn write_settings(data: &Path, port: u16, account: Option<(u32, u32)>) -> Result<()> {
    let settings = format!(
        "# Written by `cargo xtask` at each start.\n\
         listen_addresses = '127.0.0.1'\n\
         port = {port}\n\
         unix_socket_directories = ''\n\
         max_connections = 400\n\
         fsync = on\n\
         synchronous_commit = on\n\
         full_page_writes = on\n\
         timezone = 'UTC'\n\
         log_timezone = 'UTC'\n"
    );
    let path = data.join("shop.conf");
    fs::write(&path, settings).context("cannot write Postgres' settings")?;
    if let Some((user, group)) = account {
        chown(&path, Some(user), Some(group)).context("cannot hand a file to the user postgres")?;
    }
    Ok(())
}

/// A postmaster that was killed leaves its number behind. Postgres would refuse to start while a process of that
/// number exists, and takes one that only waits to be reaped for one that runs.
fn forget_dead_postmaster(data: &Path) -> Result<()> {
    let file = data.join("postmaster.pid");
    let text = fs::read_to_string(&file).unwrap_or_default();
    let pid = text.lines().next().and_then(|line| line.trim().parse().ok());
    if pid.is_some_and(|pid| !pid_lives(pid)) {
        remove(&file)?;
    }
    Ok(())
}

pub(super) fn is_ready(entry: &Entry) -> bool {
    let Some(programs) = installations().into_iter().next() else {
        return false;
    };
    let status = as_account(&programs.join("pg_isready"), None)
        .args(["-q", "-t", "1", "-h", "127.0.0.1", "-p", &entry.port.to_string()])
        .status();
    status.is_ok_and(|status| status.success())
}

/// Creates the shop's database in a cluster that has none yet, and asserts that what is committed stays.
pub(super) fn create_database(entry: &Entry, password: &str) -> Result<()> {
    let exists = format!("select count(*) from pg_database where datname = '{DATABASE}'");
    if query(entry, password, &exists)? == "0" {
        query(entry, password, &format!("create database {DATABASE}"))?;
    }
    let durable = "select string_agg(name || '=' || setting, ' ' order by name) from pg_settings \
                   where name in ('fsync', 'full_page_writes', 'synchronous_commit')";
    let settings = query(entry, password, durable)?;
    if settings != "fsync=on full_page_writes=on synchronous_commit=on" {
        bail!("Postgres must keep what it commits, but runs with {settings}");
    }
    Ok(())
}

fn query(entry: &Entry, password: &str, sql: &str) -> Result<String> {
    let programs = installations()
        .into_iter()
        .next()
        .context("Postgres is not installed")?;
    let output = as_account(&programs.join("psql"), None)
        .args([
            "-X",
            "-q",
            "-A",
            "-t",
            "-w",
            "-v",
            "ON_ERROR_STOP=1",
            "-h",
            "127.0.0.1",
            "-d",
            "postgres",
        ])
        .args(["-U", OWNER, "-p", &entry.port.to_string(), "-c", sql])
        .env("PGPASSWORD", password)
        .stdin(Stdio::null())
        .output()
        .context("cannot run psql")?;
    if !output.status.success() {
        bail!(
            "Postgres refuses: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Removes the data, wherever it is.
pub(super) fn wipe(folder: &Path) -> Result<()> {
    remove(&folder.join("postgres"))?;
    remove(&elsewhere(folder))
}
