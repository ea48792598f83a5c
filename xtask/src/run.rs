//! Runs another program as one step: its output goes to a log file, its progress to the step, and what it
//! says when it fails to the user. A signal ends it first.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::interrupt;
use crate::progress::Step;

/// What to do with the program when a signal comes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnSignal {
    End,
    /// Half an installation is worse than a late Ctrl-C.
    LetFinish,
}

/// A program that ran to its end.
pub(crate) struct Ran {
    pub(crate) status: ExitStatus,
    pub(crate) lines: Vec<String>,
}

impl Ran {
    /// What it complained about: its last line that begins with `error`, or else its last one.
    pub(crate) fn last_line(&self) -> &str {
        let error = self
            .lines
            .iter()
            .rev()
            .find(|line| line.starts_with("error") || line.starts_with("E: "));
        if let Some(error) = error {
            return error.trim_start_matches("error: ").trim_start_matches("E: ");
        }
        self.lines
            .iter()
            .rev()
            .map(|line| line.trim())
            .find(|line| !line.is_empty())
            .unwrap_or("(no output)")
    }
}

pub(crate) struct Run<'a> {
    pub(crate) step: &'a Step,
    pub(crate) log: PathBuf,
    pub(crate) limit: Option<Duration>,
    pub(crate) on_signal: OnSignal,
}

impl<'a> Run<'a> {
    pub(crate) fn of(step: &'a Step, log: PathBuf) -> Self {
        Self {
            step,
            log,
            limit: None,
            on_signal: OnSignal::End,
        }
    }

    /// Runs `command` to its end, whatever that is.
    ///
    /// # Errors
    /// When it cannot be started, takes longer than the limit, or a signal ends it.
    pub(crate) fn to_end(&self, mut command: Command) -> Result<Ran> {
        let name = command.get_program().to_string_lossy().into_owned();
        let mut log = open_log(&self.log)?;
        let (reader, writer) = io::pipe().context("cannot open a pipe")?;
        let stderr = writer.try_clone().context("cannot open a pipe")?;
        command
            .stdin(Stdio::null())
            .stdout(writer)
            .stderr(stderr)
            .process_group(0);
        let mut child = command.spawn().with_context(|| format!("cannot run {name}"))?;
        // The command keeps its ends of the pipe, which would never close.
        drop(command);

        let lines = lines_of(reader);
        let started = Instant::now();
        let mut said = Vec::new();
        let mut detail = Detail::default();
        let status = loop {
            take_lines(&lines, &mut log, &mut said, &mut detail)?;
            self.step.goes_on(detail.text());
            if let Some(status) = child.try_wait().context("cannot wait for a program")? {
                break status;
            }
            let signal = interrupt::check();
            if signal.is_err() && (self.on_signal == OnSignal::End || interrupt::insists()) {
                end_group(&mut child)?;
                signal?;
            }
            if self.limit.is_some_and(|limit| started.elapsed() > limit) {
                end_group(&mut child)?;
                bail!("{name} took longer than {} s", started.elapsed().as_secs());
            }
        };
        take_lines(&lines, &mut log, &mut said, &mut detail)?;
        interrupt::check()?;
        Ok(Ran { status, lines: said })
    }

    /// Runs `command`; when it fails, the error is `what` and its last line.
    pub(crate) fn or_fail(&self, command: Command, what: &str) -> Result<Ran> {
        let ran = self.to_end(command)?;
        if !ran.status.success() {
            bail!("{what}: {} (all of it: {})", ran.last_line(), self.log.display());
        }
        Ok(ran)
    }
}

fn open_log(path: &Path) -> Result<File> {
    let file = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .open(path);
    file.with_context(|| format!("cannot write {}", path.display()))
}

/// What a program said.
enum Said {
    Line(String),
    /// A line that it will draw over: how far it is.
    Redrawn(String),
}

/// How far a program is: its count, or else its latest line.
#[derive(Default)]
struct Detail {
    count: String,
    line: String,
}

impl Detail {
    fn text(&self) -> &str {
        if self.count.is_empty() {
            &self.line
        } else {
            &self.count
        }
    }
}

fn lines_of(mut reader: io::PipeReader) -> Receiver<Said> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut chunk = [0; 8192];
        let mut line = Vec::new();
        while let Ok(count @ 1..) = reader.read(&mut chunk) {
            for byte in chunk.iter().take(count) {
                let said = match byte {
                    b'\n' => Said::Line(text_of(&mut line)),
                    b'\r' => Said::Redrawn(text_of(&mut line)),
                    _ => {
                        line.push(*byte);
                        continue;
                    }
                };
                if sender.send(said).is_err() {
                    return;
                }
            }
        }
        if !line.is_empty() {
            // Nobody may listen any more.
            let _ = sender.send(Said::Line(text_of(&mut line)));
        }
    });
    receiver
}

/// Takes the line out of its buffer, without the sequence that clears a terminal's line.
fn text_of(line: &mut Vec<u8>) -> String {
    let text = String::from_utf8_lossy(line).trim_end().replace("\x1b[K", "");
    line.clear();
    text
}

/// Takes what is said within a tenth of a second.
fn take_lines(
    lines: &Receiver<Said>,
    log: &mut File,
    said: &mut Vec<String>,
    detail: &mut Detail,
) -> Result<()> {
    let until = Instant::now() + Duration::from_millis(100);
    loop {
        let left = until.saturating_duration_since(Instant::now());
        match lines.recv_timeout(left) {
            Ok(Said::Line(line)) => {
                writeln!(log, "{line}").context("cannot write a log")?;
                detail.line = shorten(line.trim());
                said.push(line);
            }
            Ok(Said::Redrawn(line)) => {
                // Of cargo's `Building [===>   ] 120/411: wasmtime` the numbers say what the bar says.
                let count = line.split_once("] ").map_or(line.as_str(), |(_, count)| count);
                let count = count.split(':').next().unwrap_or_default();
                if !count.trim().is_empty() {
                    detail.count = shorten(count.trim());
                }
            }
            Err(RecvTimeoutError::Timeout) => return Ok(()),
            Err(RecvTimeoutError::Disconnected) => {
                // Everything was said; what is left is to wait for its end.
                thread::sleep(left.min(Duration::from_millis(10)));
                return Ok(());
            }
        }
    }
}

fn shorten(line: &str) -> String {
    match line.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

/// Ends the program and whatever it started.
pub(crate) fn end_group(child: &mut Child) -> Result<()> {
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    for (signal, limit) in [(Signal::TERM, 10), (Signal::KILL, 10)] {
        if let Some(group) = group {
            // Fails only when the group has gone by itself.
            let _ = kill_process_group(group, signal);
        }
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(limit) {
            if child.try_wait().context("cannot wait for a program")?.is_some() {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
    bail!("process {} does not end", child.id())
}

/// Runs a program that talks to the user itself; a signal ends it.
pub(crate) fn in_foreground(mut command: Command) -> Result<ExitStatus> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null()).process_group(0);
    let mut child = command.spawn().with_context(|| format!("cannot run {name}"))?;
    loop {
        if let Some(status) = child.try_wait().context("cannot wait for a program")? {
            interrupt::check()?;
            return Ok(status);
        }
        if let Err(signal) = interrupt::pause(Duration::from_millis(100)) {
            end_group(&mut child)?;
            return Err(signal);
        }
    }
}
