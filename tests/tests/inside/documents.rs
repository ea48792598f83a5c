//! What the documents say of the code: a test that they name exists.

use anyhow::{Context, Result, ensure};
use shop_tests::environment::root;

/// The documents that promise something and name what shows it.
const PAGES: [&str; 3] = ["docs/security.md", "docs/correctness.md", "docs/spin.md"];

/// What stands between backticks, and what comes before each.
fn quoted(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut parts = text.split('`');
    let mut before = parts.next().unwrap_or_default();
    std::iter::from_fn(move || {
        let word = parts.next()?;
        let found = (before, word);
        before = parts.next().unwrap_or_default();
        Some(found)
    })
}

/// Whether a word is a file of this repository.
fn is_file(word: &str) -> bool {
    word.contains('/') && word.ends_with(".rs")
}

/// Whether a word is the name of a test: sentences are long.
fn is_test(word: &str) -> bool {
    let letters = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_';
    word.chars().all(letters) && word.matches('_').count() >= 3
}

/// Each test that the text names, with the file that it is said to be in: the last one before it, which ends in a colon.
fn named_tests(text: &str) -> Result<Vec<(&str, &str)>> {
    let (mut file, mut tests) = (None, Vec::new());
    for (before, word) in quoted(text) {
        if is_file(word) {
            file = Some(word);
        } else if is_test(word) && matches!(before.trim(), ":" | "," | "and") {
            tests.push((file.with_context(|| format!("{word} is in no file"))?, word));
        }
    }
    Ok(tests)
}

#[test]
fn every_file_and_test_that_a_document_names_is_there() -> Result<()> {
    for page in PAGES {
        let text = std::fs::read_to_string(root().join(page))?;
        for (_, word) in quoted(&text).filter(|(_, word)| is_file(word)) {
            ensure!(root().join(word).is_file(), "{page}: there is no {word}");
        }
        let tests = named_tests(&text)?;
        ensure!(
            tests.len() > 10,
            "{page}: only {} tests: is it read right?",
            tests.len()
        );
        for (file, test) in tests {
            let source = std::fs::read_to_string(root().join(file))?;
            ensure!(
                source.contains(&format!("fn {test}(")),
                "{page}: {file} has no test {test}"
            );
        }
    }
    Ok(())
}

#[test]
fn the_level_1_of_asvs_is_there_as_a_whole() -> Result<()> {
    let text = std::fs::read_to_string(root().join("docs/security.md"))?;
    let (_, level) = text.split_once("### Level 1").context("no level 1")?;
    let (level, _) = level.split_once("### Level 2").context("no level 2")?;
    let mut count = 0;
    for line in level.lines().filter(|line| line.starts_with("| ")) {
        let numbers = line.split('|').nth(1).unwrap_or_default();
        count += match numbers.split_once('–') {
            Some((first, last)) => {
                let end = |number: &str| number.trim().rsplit('.').next().map(str::parse::<usize>);
                let (first, last) = end(first).zip(end(last)).context("no numbers")?;
                last? + 1 - first?
            }
            None => numbers
                .split(',')
                .filter(|number| !number.trim().is_empty())
                .count(),
        };
    }
    ensure!(count == 70, "{count} requirements of 70");
    Ok(())
}
