//! Processes that outlive the xtask that started them. A pid alone says little after a crash, for the system
//! gives it out again, so a process is known by its pid and its birth.

use std::collections::HashSet;
use std::fs;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use crate::interrupt;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    /// Boot and start time on Linux, start time elsewhere: opaque, compared only.
    birth: String,
}

/// One line of the process table.
struct Entry {
    parent: u32,
    zombie: bool,
    birth: String,
}

impl Process {
    /// This xtask itself.
    pub(crate) fn this() -> Result<Self> {
        Self::of(std::process::id())
    }

    /// A child just started. Reaps it when it ends, and rings the bell for whoever waits in `interrupt::pause`.
    pub(crate) fn adopt(mut child: Child) -> Result<Self> {
        let process = Self::of(child.id());
        thread::spawn(move || {
            // What became of it is asked of the process table; a failed wait changes nothing.
            let _ = child.wait();
            interrupt::ring();
        });
        process
    }

    fn of(pid: u32) -> Result<Self> {
        let entry = look_up(pid).with_context(|| format!("process {pid} ended at once"))?;
        Ok(Self {
            pid,
            birth: entry.birth,
        })
    }

    /// Whether this very process still runs; a zombie does not.
    pub(crate) fn lives(&self) -> bool {
        look_up(self.pid).is_some_and(|entry| !entry.zombie && entry.birth == self.birth)
    }

    /// Sends a signal, if the process still lives.
    ///
    /// # Errors
    /// When the process belongs to someone else.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        if !self.lives() {
            return Ok(());
        }
        send(self.pid, signal)
    }

    /// Signals the process and all that descend from it: Postgres' backends have process groups of their own.
    pub(crate) fn signal_tree(&self, signal: Signal) -> Result<()> {
        if !self.lives() {
            return Ok(());
        }
        for pid in descendants(self.pid) {
            send(pid, signal)?;
        }
        send(self.pid, signal)
    }

    /// Ends the process and all that descend from it at once, as a power cut would.
    pub(crate) fn kill(&self) -> Result<()> {
        if !self.lives() {
            return Ok(());
        }
        let family: Vec<Self> = descendants(self.pid)
            .into_iter()
            .filter_map(|pid| Self::of(pid).ok())
            .collect();
        self.signal_tree(Signal::KILL)?;
        for process in family.iter().chain([self]) {
            process.signal(Signal::KILL)?;
            if !process.gone_within(Duration::from_secs(10)) {
                bail!("process {} does not end", process.pid);
            }
        }
        Ok(())
    }

    /// Ends the process: `signal`, and by force when it has not gone after `limit` or the user insists.
    pub(crate) fn end(&self, signal: Signal, limit: Duration) -> Result<()> {
        self.signal(signal)?;
        // A paused process would take the signal only when it is resumed.
        self.signal_tree(Signal::CONT)?;
        if self.gone_within(limit) {
            return Ok(());
        }
        self.kill()
    }

    /// Another program's end cannot be awaited, only looked for; `adopt` rings earlier where it is a child.
    fn gone_within(&self, limit: Duration) -> bool {
        let started = Instant::now();
        while self.lives() {
            if started.elapsed() > limit || (interrupt::insists() && limit > Duration::from_secs(10)) {
                return false;
            }
            thread::sleep(Duration::from_millis(20));
        }
        true
    }
}

/// Whether a process of this number runs, whoever it is.
pub(crate) fn pid_lives(pid: u32) -> bool {
    look_up(pid).is_some_and(|entry| !entry.zombie)
}

fn send(pid: u32, signal: Signal) -> Result<()> {
    let Some(target) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return Ok(());
    };
    match kill_process(target, signal) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot signal process {pid}")),
    }
}

fn look_up(pid: u32) -> Option<Entry> {
    if cfg!(target_os = "linux") {
        from_proc(pid)
    } else {
        from_ps(pid)
    }
}

fn from_proc(pid: u32) -> Option<Entry> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    parse_stat(&stat, boot.trim())
}

/// `pid (name) state parent … start …`; the name may hold anything, so count from its closing bracket.
fn parse_stat(stat: &str, boot: &str) -> Option<Entry> {
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let start = fields.get(19)?;
    Some(Entry {
        parent: fields.get(1)?.parse().ok()?,
        zombie: matches!(*fields.first()?, "Z" | "X"),
        birth: format!("{boot}:{start}"),
    })
}

fn from_ps(pid: u32) -> Option<Entry> {
    let output = Command::new("ps")
        .args(["-o", "ppid=,state=,lstart=", "-p", &pid.to_string()])
        .env("LC_ALL", "C")
        .output()
        .ok()?;
    let line = String::from_utf8(output.stdout).ok()?;
    let mut words = line.split_whitespace();
    let parent = words.next()?.parse().ok()?;
    let zombie = words.next()?.starts_with('Z');
    Some(Entry {
        parent,
        zombie,
        birth: words.collect::<Vec<_>>().join(" "),
    })
}

fn descendants(of: u32) -> Vec<u32> {
    let family: Vec<(u32, u32)> = pids()
        .into_iter()
        .filter_map(|pid| Some((pid, look_up(pid)?.parent)))
        .collect();
    let mut found = HashSet::from([of]);
    loop {
        let more: Vec<u32> = family
            .iter()
            .filter(|(pid, parent)| found.contains(parent) && !found.contains(pid))
            .map(|(pid, _)| *pid)
            .collect();
        if more.is_empty() {
            break;
        }
        found.extend(more);
    }
    found.remove(&of);
    found.into_iter().collect()
}

fn pids() -> Vec<u32> {
    if cfg!(target_os = "linux") {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        entries
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .collect()
    } else {
        let output = Command::new("ps").args(["-axo", "pid="]).output();
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        text.unwrap_or_default()
            .split_whitespace()
            .filter_map(|pid| pid.parse().ok())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_birth_and_not_by_its_pid_alone() {
        let this = Process::this().unwrap();
        assert!(this.lives());
        let earlier = Process {
            birth: "another boot:1".to_owned(),
            ..this
        };
        assert!(!earlier.lives());
    }

    #[test]
    fn a_name_with_brackets_and_spaces_does_not_shift_the_fields() {
        let stat = "7 (a (b) c) Z 3 7 7 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4711 0 0";
        let entry = parse_stat(stat, "boot").unwrap();
        assert_eq!(
            (entry.parent, entry.zombie, entry.birth.as_str()),
            (3, true, "boot:4711")
        );
    }
}
