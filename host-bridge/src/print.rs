//! What a command says on stdout: tables for people, JSON for programs.

use chrono::{DateTime, Utc};
use serde::Serialize;
use std::io::Write;

/// Lines on stdout. Whoever reads them may have gone: that is no failure.
pub(crate) fn line(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// A value on one line of JSON.
pub(crate) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    line(&serde_json::to_string(value)?);
    Ok(())
}

/// Columns as wide as what stands in them; the last one is not padded.
pub(crate) fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) {
    let mut widths = head.map(|title| title.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let write = |cells: [&str; N]| {
        let padded = cells.iter().zip(widths);
        let text: Vec<String> = padded.map(|(cell, width)| format!("{cell:width$}")).collect();
        line(text.join("  ").trim_end());
    };
    write(head);
    for row in rows {
        write(row.each_ref().map(String::as_str));
    }
}

/// A text from outside, fit for a terminal: no control characters, and at most `most` letters of it.
pub(crate) fn short(text: &str, most: usize) -> String {
    let mut clean: String = text
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect();
    if clean.chars().count() > most {
        clean = clean.chars().take(most.saturating_sub(1)).collect();
        clean.push('…');
    }
    clean
}

/// How long ago something was: `45s`, `12m`, `3h`, `9d`.
pub(crate) fn ago(moment: DateTime<Utc>) -> String {
    age((Utc::now() - moment).num_seconds().max(0).unsigned_abs())
}

/// A number of seconds likewise.
pub(crate) fn age(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_outside_cannot_steer_a_terminal() {
        assert_eq!(short("a\u{1b}[31mb\nc", 20), "a [31mb c");
        assert_eq!(short("abcdef", 4), "abc…");
    }
}
