//! The files of statements, and which of them persist something.

use crate::ground::root;
use std::path::{Path, PathBuf};

/// Persisting statements that are beside no model, and what is instead.
pub(crate) const WITHOUT_A_MODEL: [(&str, &str); 11] = [
    (
        "components/auth/src/infrastructure/sql/admit_attempt.sql",
        "who is let through is decided by the row itself: tests/tests/inside/sign_in.rs races it",
    ),
    (
        "components/auth/src/infrastructure/sql/begin_session.sql",
        "two inserts behind one gate: tests/tests/inside/sign_in.rs",
    ),
    (
        "components/auth/src/infrastructure/sql/insert_user.sql",
        "one insert, of which the unique constraint of addresses decides: black-box tests race it",
    ),
    (
        "components/auth/src/infrastructure/sql/prune_sessions.sql",
        "removes what nobody asks for any more: tests/tests/inside/sign_in.rs",
    ),
    (
        "components/auth/src/infrastructure/sql/revoke_session.sql",
        "one update: black-box tests",
    ),
    (
        "components/auth/src/infrastructure/sql/settle_attempt.sql",
        "the same attempts: tests/tests/inside/sign_in.rs",
    ),
    (
        "components/auth/src/infrastructure/sql/store_exchange.sql",
        "one gate: tests/tests/inside/sign_in.rs races it",
    ),
    (
        "components/auth/src/infrastructure/sql/update_user.sql",
        "the last admin: tests/tests/inside/sign_in.rs races it",
    ),
    (
        "components/auth/src/infrastructure/sql/upgrade_hash.sql",
        "one update: tests/tests/inside/sign_in.rs",
    ),
    (
        "components/payment_provider/src/infrastructure/sql/charge.sql",
        "the simulated provider's own ledger, which is no service's: tests/tests/inside/provider.rs",
    ),
    (
        "components/payment_provider/src/infrastructure/sql/refund.sql",
        "the same",
    ),
];

pub(crate) struct File {
    /// From the root of the checkout.
    pub(crate) name: String,
    pub(crate) text: String,
}

/// All components.
pub(crate) fn components() -> Vec<String> {
    let entries = std::fs::read_dir(root().join("components")).unwrap();
    let name = |entry: std::fs::DirEntry| entry.file_name().into_string().unwrap();
    entries.map(|entry| name(entry.unwrap())).collect()
}

/// The statements of a component that persist something. Where there are idempotency keys, an answer is kept too.
pub(crate) fn persisting(component: &str) -> Vec<File> {
    let mut folders = vec![format!("components/{component}/src/infrastructure/sql")];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for path in files_in(&root().join(&folder)) {
            let text = std::fs::read_to_string(&path).unwrap();
            if text.contains("idempotency_keys") && folder.starts_with("components") && folders.is_empty() {
                folders.push("crates/service/src/sql".to_owned());
            }
            if persists(&text) {
                let name = path.file_name().unwrap().to_str().unwrap();
                found.push(File {
                    name: format!("{folder}/{name}"),
                    text,
                });
            }
        }
    }
    found
}

fn files_in(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .filter(|path| path.extension().is_some_and(|end| end == "sql"))
        .collect()
}

/// Whether it inserts, updates or deletes. `for update` locks, and `do update` comes with an insert.
fn persists(statement: &str) -> bool {
    let lines = statement
        .lines()
        .map(|line| line.split("--").next().unwrap_or_default());
    let text = lines.collect::<Vec<_>>().join(" ");
    let words: Vec<&str> = text
        .split(|letter: char| !letter.is_alphanumeric() && letter != '_')
        .collect();
    let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
    let pairs = words.iter().zip(words.iter().skip(1));
    words
        .first()
        .is_some_and(|first| matches!(*first, "insert" | "update" | "delete"))
        || pairs.into_iter().any(|(before, word)| match *word {
            "insert" | "delete" => true,
            "update" => !matches!(*before, "for" | "key" | "do"),
            _ => false,
        })
}

#[test]
fn what_persists_is_told_from_what_reads() {
    assert!(persists(
        "-- reads\nwith a as (insert into b values (1)) select 1"
    ));
    assert!(persists("update a set b = 1"));
    assert!(persists(
        "with a as (\n    delete from b returning c\n) select c from a"
    ));
    assert!(!persists(
        "-- an insert would be wrong\nselect a from b for no key update"
    ));
    assert!(!persists(
        "select updated_at, inserted from b order by id for update of b"
    ));
}
