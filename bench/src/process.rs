//! What processes use, as the kernel says it under `/proc`.

use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

/// The kernel counts CPU time in these: `USER_HZ`, which is 100 on every machine that this is likely to see.
const TICKS_PER_SECOND: f64 = 100.0;

/// The CPU time that the process `pid` has used so far, in user and kernel, all its threads together.
///
/// # Errors
/// If there is no such process, or no `/proc`.
pub(crate) fn cpu_time(pid: u32) -> Result<Duration> {
    let status = Status::read(pid).with_context(|| format!("process {pid} is gone"))?;
    Ok(ticks(status.own))
}

/// The same of several processes together.
///
/// # Errors
/// If one is gone, or there is no `/proc`.
pub(crate) fn cpu_times(pids: &[u32]) -> Result<Duration> {
    pids.iter().map(|pid| cpu_time(*pid)).sum()
}

/// What a process and all that descend from it use together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// CPU time so far, that of children which have ended included.
    pub(crate) cpu: Duration,
    /// Memory in bytes; pages that several processes share count once.
    pub(crate) memory: u64,
}

/// What the process `root` and its descendants use.
///
/// # Errors
/// If there is no such process.
pub(crate) fn tree(root: u32) -> Result<Usage> {
    let all = table();
    let members = family_in(&all, root)?;
    let spent = |pid: &u32| all.get(pid).map_or(0, |status| status.own + status.reaped);
    Ok(Usage {
        cpu: ticks(members.iter().map(spent).sum()),
        memory: members.iter().map(|pid| memory(*pid)).sum(),
    })
}

/// The process `root` and its descendants.
///
/// # Errors
/// If there is no such process.
pub(crate) fn family(root: u32) -> Result<Vec<u32>> {
    family_in(&table(), root)
}

fn family_in(all: &BTreeMap<u32, Status>, root: u32) -> Result<Vec<u32>> {
    all.get(&root)
        .with_context(|| format!("process {root} is gone"))?;
    let mut members = vec![root];
    let mut next = 0;
    while let Some(parent) = members.get(next).copied() {
        let children = all.iter().filter(|(_, status)| status.parent == parent);
        members.extend(children.map(|(pid, _)| *pid));
        next += 1;
    }
    Ok(members)
}

struct Status {
    parent: u32,
    /// User and kernel time, in ticks.
    own: u64,
    /// The same of children that have ended and were waited for.
    reaped: u64,
}

impl Status {
    fn read(pid: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// Reads `/proc/<pid>/stat` (proc(5)): a name in parentheses, which may hold anything, then numbers.
    fn parse(line: &str) -> Option<Self> {
        let (_, numbers) = line.rsplit_once(") ")?;
        let numbers: Vec<&str> = numbers.split_whitespace().collect();
        let number = |index: usize| numbers.get(index)?.parse::<u64>().ok();
        Some(Self {
            parent: u32::try_from(number(1)?).ok()?,
            own: number(11)? + number(12)?,
            reaped: number(13)? + number(14)?,
        })
    }
}

fn table() -> BTreeMap<u32, Status> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, Status::read(pid)?)))
        .collect()
}

/// The proportional set size where we may read it, else the resident set size.
fn memory(pid: u32) -> u64 {
    let line = |file: &str, name: &str| {
        let text = fs::read_to_string(format!("/proc/{pid}/{file}")).ok()?;
        let value = text.lines().find_map(|line| line.strip_prefix(name))?;
        let kibibytes: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kibibytes * 1024)
    };
    line("smaps_rollup", "Pss:")
        .or_else(|| line("status", "VmRSS:"))
        .unwrap_or_default()
}

fn ticks(count: u64) -> Duration {
    Duration::from_secs_f64(count as f64 / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_does_not_confuse() {
        let line = "7 (a (b) c) S 3 7 7 0 -1 4194560 1 0 0 0 11 22 33 44 20 0 1 0 5";
        let status = Status::parse(line).unwrap();
        assert_eq!((status.parent, status.own, status.reaped), (3, 33, 77));
    }

    #[test]
    fn this_process_uses_memory() {
        assert!(tree(std::process::id()).unwrap().memory > 0);
    }
}
