//! The figures as Markdown.

use crate::parts::Part;
use crate::ratios::Ratio;
use anyhow::{Context as _, Result};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// Under this heading the tables stand in a document; what comes before it is somebody's prose.
const HEADING: &str = "## Results";

/// What one part found.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    /// How it was measured, and what the columns mean.
    pub(crate) text: String,
    pub(crate) tables: Vec<Table>,
    /// What of it may be compared with another run.
    pub(crate) ratios: Vec<Ratio>,
}

/// One table.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(head: &[&'static str]) -> Self {
        Self {
            head: head.to_vec(),
            rows: Vec::new(),
        }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    pub(crate) fn render(&self) -> String {
        let line = |cells: &[&str]| format!("| {} |\n", cells.join(" | "));
        let mut text = line(&self.head);
        text.push_str(&line(&vec!["---"; self.head.len()]));
        for row in &self.rows {
            text.push_str(&line(&row.iter().map(String::as_str).collect::<Vec<_>>()));
        }
        text
    }
}

/// Whether a measured value keeps to what is asked of it.
pub(crate) fn verdict(kept: bool) -> &'static str {
    if kept { "yes" } else { "**no**" }
}

/// The lowest and the highest of `shares`.
pub(crate) fn bounds(shares: &[f64]) -> String {
    let (lowest, highest) = shares.iter().fold((f64::MAX, 0.0_f64), |(low, high), share| {
        (low.min(*share), high.max(*share))
    });
    format!("{lowest:.2} to {highest:.2}")
}

/// The whole report. `machine` says where it was made.
pub(crate) fn render(machine: &str, results: &[(Part, Result<Section>)]) -> String {
    let mut text = format!("{HEADING}\n\n{machine}");
    for (part, result) in results {
        // A String takes whatever is written to it.
        let _ = write!(text, "\n### {}\n\n", part.title());
        match result {
            Ok(section) => {
                let _ = writeln!(text, "{}", section.text);
                for table in &section.tables {
                    let _ = write!(text, "\n{}", table.render());
                }
            }
            Err(error) => {
                let _ = writeln!(text, "Not measured: {error:#}");
            }
        }
    }
    text
}

/// Puts `report` into `file`, in place of an earlier one; what stands before it is kept.
///
/// # Errors
/// If the file cannot be read or written.
pub(crate) fn write(file: &Path, report: &str) -> Result<()> {
    let before = match fs::read_to_string(file) {
        Ok(text) => prose(&text).to_owned(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => "# Benchmarks\n\n".to_owned(),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", file.display())),
    };
    fs::write(file, format!("{before}{report}")).with_context(|| format!("cannot write {}", file.display()))
}

fn prose(document: &str) -> &str {
    let start = document.find(&format!("{HEADING}\n")).unwrap_or(document.len());
    document.get(..start).unwrap_or(document)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_markdown() {
        let mut table = Table::new(&["what", "ms"]);
        table.row(["hello".to_owned(), "0.5".to_owned()]);
        assert_eq!(table.render(), "| what | ms |\n| --- | --- |\n| hello | 0.5 |\n");
    }

    #[test]
    fn what_stands_before_the_results_is_kept() {
        assert_eq!(prose("# A\n\nprose\n\n## Results\n\nold\n"), "# A\n\nprose\n\n");
        assert_eq!(prose("# A\n"), "# A\n");
    }
}
