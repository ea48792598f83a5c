//! Shows that a long step lives: on a terminal a spinner with the time it has taken, elsewhere (a log, CI)
//! plain lines. All of it goes to stderr; stdout is for results.

use std::cell::Cell;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// How often a step that goes on says so in a log.
const LOG_EVERY: Duration = Duration::from_secs(20);

pub(crate) struct Step {
    text: String,
    started: Instant,
    reported: Cell<Instant>,
    bar: Option<ProgressBar>,
}

impl Step {
    /// Begins a step; `text` reads as something going on: "building the components".
    pub(crate) fn start(text: impl Into<String>) -> Self {
        Self::long(text, "")
    }

    /// Begins a step with a hint at how long it may take.
    pub(crate) fn long(text: impl Into<String>, hint: &str) -> Self {
        let text = text.into();
        let now = Instant::now();
        let bar = on_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner:.green} {prefix} {elapsed} {msg:.dim}")
            {
                bar.set_style(style.tick_chars("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ "));
            }
            bar.set_prefix(text.clone());
            bar.set_message(hint.to_owned());
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        if bar.is_none() {
            let hint = if hint.is_empty() {
                String::new()
            } else {
                format!(" ({hint})")
            };
            eprintln!("-- {text}{hint}");
        }
        Self {
            text,
            started: now,
            reported: Cell::new(now),
            bar,
        }
    }

    /// To be called while waiting; `detail` is how far it is, and may be empty.
    pub(crate) fn goes_on(&self, detail: &str) {
        if let Some(bar) = &self.bar {
            if !detail.is_empty() && bar.message() != detail {
                bar.set_message(detail.to_owned());
            }
        } else if self.reported.get().elapsed() >= LOG_EVERY {
            self.reported.set(Instant::now());
            let detail = if detail.is_empty() {
                String::new()
            } else {
                format!(", {detail}")
            };
            eprintln!(
                "   still {} ({}{detail})",
                self.text,
                spoken(self.started.elapsed())
            );
        }
    }

    pub(crate) fn done(self) {
        let text = format!("{} ({})", self.text, spoken(self.started.elapsed()));
        match &self.bar {
            Some(bar) => {
                bar.finish_and_clear();
                eprintln!("\x1b[32m✓\x1b[0m {text}");
            }
            None => eprintln!("ok {text}"),
        }
    }
}

impl Drop for Step {
    /// A step that failed takes its spinner away; the error speaks for itself.
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// One line beside the steps.
pub(crate) fn say(text: &str) {
    eprintln!("   {text}");
}

/// Whether someone watches; a dumb terminal gets plain lines like a log.
pub(crate) fn on_terminal() -> bool {
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    std::io::stderr().is_terminal() && !dumb
}

fn spoken(time: Duration) -> String {
    match time.as_secs() {
        0..10 => format!("{:.1} s", time.as_secs_f64()),
        seconds @ 10..120 => format!("{seconds} s"),
        seconds => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_spoken_in_the_unit_one_would_use() {
        assert_eq!(spoken(Duration::from_millis(340)), "0.3 s");
        assert_eq!(spoken(Duration::from_secs(42)), "42 s");
        assert_eq!(spoken(Duration::from_secs(605)), "10 min 5 s");
    }
}
