//! `audit`: checks on a live application what must always be true of it. What that is stands in a folder of SQL:
//! `facts/<service>/<name>.sql` is asked of each service's database, read only and as that service; the rows of all of
//! them are put into temporary tables `<service>_<name>` of one session, in which `checks/<name>.sql` find violations,
//! and `reports/<name>.sql` what is worth knowing: each a subject and what is the matter with it.
//!
//! Services are read one after another while they work, so what looks wrong may only have been read at two moments: a
//! violation counts if it is still there in a second reading.

use crate::cli::Audit;
use crate::database::{Databases, connect, explained, run_generated};
use crate::migrate::login;
use crate::print;
use anyhow::{Context, bail, ensure};
use futures::{SinkExt, TryStreamExt};
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;
use tokio_postgres::Client;
use tracing::warn;

pub(crate) async fn audit(args: Audit) -> anyhow::Result<()> {
    let questions = Questions::read(&args.folder)?;
    let databases = Databases::new(args.databases);
    for service in databases.moved() {
        // `migrate` is told the same databases, and not every service has something to be asked.
        if !questions.services.iter().any(|(known, _)| known == service) {
            let facts = args.folder.join("facts");
            warn!(service, folder = %facts.display(), "nothing is asked of it: it has no folder there");
        }
    }
    let auditor = Auditor::open(&databases, &questions, args.grace).await?;
    let mut reading = auditor.read().await?;
    if reading.checks.iter().any(|check| !check.found.is_empty()) {
        tokio::time::sleep(args.recheck).await;
        let first = std::mem::replace(&mut reading, auditor.read().await?);
        reading.keep_what_was_in(&first);
    }
    if args.json {
        print::json(&reading)?;
    } else {
        reading.tell();
    }
    let violated = reading
        .checks
        .iter()
        .filter(|check| !check.found.is_empty())
        .count();
    if violated > 0 {
        bail!("{violated} of {} checks found violations", reading.checks.len());
    }
    Ok(())
}

/// A file of SQL, by its name.
struct Question {
    name: String,
    sql: String,
}

/// What the folder asks.
struct Questions {
    /// The facts of each service.
    services: Vec<(String, Vec<Question>)>,
    views: String,
    checks: Vec<Question>,
    reports: Vec<Question>,
}

impl Questions {
    fn read(folder: &Path) -> anyhow::Result<Self> {
        let mut services = Vec::new();
        for path in entries(&folder.join("facts"))? {
            let service = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            services.push((service.to_owned(), questions(&path)?));
        }
        let checks = questions(&folder.join("checks"))?;
        ensure!(!checks.is_empty(), "{}: there are no checks", folder.display());
        let views = folder.join("views.sql");
        Ok(Self {
            services,
            views: std::fs::read_to_string(&views).with_context(|| views.display().to_string())?,
            checks,
            reports: questions(&folder.join("reports"))?,
        })
    }
}

/// What is in a folder, in alphabetical order.
fn entries(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let read = || format!("audit {}", folder.display());
    let entries = std::fs::read_dir(folder).with_context(read)?;
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<_>>()
        .with_context(read)?;
    paths.sort();
    Ok(paths)
}

fn questions(folder: &Path) -> anyhow::Result<Vec<Question>> {
    let mut questions = Vec::new();
    for path in entries(folder)? {
        let name = path
            .file_stem()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        if path.extension().is_some_and(|extension| extension == "sql") {
            let sql = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            questions.push(Question {
                name: name.to_owned(),
                sql,
            });
        }
    }
    Ok(questions)
}

/// Something that a check or a report found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Finding {
    subject: String,
    what: String,
}

/// What became of a check or a report.
#[derive(Debug, Serialize)]
struct Answer {
    name: String,
    found: Vec<Finding>,
}

/// All facts at one time, and what follows from them.
#[derive(Debug, Serialize)]
struct Reading {
    checks: Vec<Answer>,
    reports: Vec<Answer>,
}

impl Reading {
    /// Forgets violations of which `first` did not know.
    fn keep_what_was_in(&mut self, first: &Self) {
        for (check, before) in self.checks.iter_mut().zip(&first.checks) {
            let known: BTreeSet<&str> = before.found.iter().map(|found| found.subject.as_str()).collect();
            check.found.retain(|found| known.contains(found.subject.as_str()));
        }
    }

    fn tell(&self) {
        let tell = |answer: &Answer, none: &str, some: &str| {
            let count = answer.found.len();
            match count {
                0 => print::line(&format!("{none:9} {}", answer.name)),
                _ => print::line(&format!("{some:9} {}: {count}", answer.name)),
            }
            for Finding { subject, what } in &answer.found {
                let text = print::short(&format!("{subject}: {what}"), 300);
                print::line(&format!("          {text}"));
            }
        };
        self.checks.iter().for_each(|check| tell(check, "ok", "VIOLATED"));
        self.reports
            .iter()
            .for_each(|report| tell(report, "none", "note"));
    }
}

/// The sessions that an audit needs.
struct Auditor<'a> {
    questions: &'a Questions,
    /// Where the facts come together.
    desk: Client,
    /// Of each service, acting as it.
    services: Vec<Client>,
    grace: Duration,
}

impl<'a> Auditor<'a> {
    async fn open(databases: &Databases, questions: &'a Questions, grace: Duration) -> anyhow::Result<Self> {
        let mut services = Vec::with_capacity(questions.services.len());
        for (service, _) in &questions.services {
            let client = connect(databases.of(service)).await?;
            run_generated(
                &client,
                include_str!("sql/act_as.sql"),
                &[&login(service), service],
            )
            .await
            .map_err(explained)
            .with_context(|| format!("facts of {service}"))?;
            services.push(client);
        }
        Ok(Self {
            questions,
            desk: connect(databases.common()).await?,
            services,
            grace,
        })
    }

    async fn read(&self) -> anyhow::Result<Reading> {
        self.desk.batch_execute("discard temp").await.map_err(explained)?;
        let grace = format!("set audit.grace = '{} seconds'", self.grace.as_secs());
        self.desk.batch_execute(&grace).await.map_err(explained)?;
        for (client, (service, facts)) in self.services.iter().zip(&self.questions.services) {
            self.gather(client, service, facts)
                .await
                .with_context(|| format!("facts of {service}"))?;
        }
        self.desk
            .batch_execute(&self.questions.views)
            .await
            .map_err(explained)
            .context("views.sql")?;
        Ok(Reading {
            checks: self.answers(&self.questions.checks).await?,
            reports: self.answers(&self.questions.reports).await?,
        })
    }

    /// All facts of one service at one moment.
    async fn gather(&self, client: &Client, service: &str, facts: &[Question]) -> anyhow::Result<()> {
        let begin = "begin isolation level repeatable read read only";
        client.batch_execute(begin).await.map_err(explained)?;
        for fact in facts {
            let table = format!("\"{service}_{}\"", fact.name);
            self.copy(client, &table, &fact.sql)
                .await
                .with_context(|| fact.name.clone())?;
        }
        client.batch_execute("commit").await.map_err(explained)
    }

    /// The rows of a query, in a temporary table of their own.
    async fn copy(&self, client: &Client, table: &str, sql: &str) -> anyhow::Result<()> {
        let sql = sql.trim().trim_end_matches(';');
        let query = client.prepare(sql).await.map_err(explained)?;
        let columns = query.columns().iter();
        let columns: Vec<String> = columns
            .map(|column| format!("\"{}\" \"{}\"", column.name(), column.type_().name()))
            .collect();
        let create = format!("create temporary table {table} ({})", columns.join(", "));
        self.desk.batch_execute(&create).await.map_err(explained)?;
        let take = format!("copy (\n{sql}\n) to stdout (format binary)");
        let mut out = pin!(client.copy_out(&take).await.map_err(explained)?);
        let put = format!("copy {table} from stdin (format binary)");
        let mut sink = pin!(self.desk.copy_in(&put).await.map_err(explained)?);
        while let Some(chunk) = out.try_next().await.map_err(explained)? {
            sink.send(chunk).await.map_err(explained)?;
        }
        sink.finish().await.map_err(explained)?;
        let analyze = format!("analyze {table}");
        self.desk.batch_execute(&analyze).await.map_err(explained)
    }

    async fn answers(&self, questions: &[Question]) -> anyhow::Result<Vec<Answer>> {
        let mut answers = Vec::with_capacity(questions.len());
        for Question { name, sql } in questions {
            let rows = self
                .desk
                .query(sql, &[])
                .await
                .map_err(explained)
                .with_context(|| name.clone())?;
            let mut found = Vec::with_capacity(rows.len());
            for row in rows {
                found.push(Finding {
                    subject: row.try_get("subject")?,
                    what: row.try_get("what")?,
                });
            }
            found.sort();
            let name = name.clone();
            answers.push(Answer { name, found });
        }
        Ok(answers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(subjects: &[&str]) -> Reading {
        let found = subjects.iter().map(|subject| Finding {
            subject: (*subject).to_owned(),
            what: "is wrong".to_owned(),
        });
        let check = Answer {
            name: "check".to_owned(),
            found: found.collect(),
        };
        Reading {
            checks: vec![check],
            reports: Vec::new(),
        }
    }

    #[test]
    fn only_what_both_readings_found_is_a_violation() {
        let mut second = reading(&["b", "c"]);
        second.keep_what_was_in(&reading(&["a", "b"]));
        assert_eq!(second.checks[0].found, reading(&["b"]).checks[0].found);
    }
}
