//! `dead-letters`: what waits for an operator, and what is to become of it. What it does is `relay::operator`'s; here it
//! is chosen and told.

use crate::cli::{DeadLetters, Discard, FilterArgs, List, Meant, OutboxArgs, Retry, Show};
use crate::print;
use anyhow::bail;
use relay::Topology;
use relay::operator::{Act, Filter, Item, ItemId, Operator, Tools, Wish};
use serde::Serialize;
use serde_json::{Map, Value};
use std::os::unix::fs::MetadataExt;

/// How much of a reason a table shows.
const LONGEST_REASON: usize = 100;

pub(crate) async fn dead_letters(command: DeadLetters) -> anyhow::Result<()> {
    match command {
        DeadLetters::List(list) => self::list(list).await,
        DeadLetters::Show(show) => self::show(show).await,
        DeadLetters::Retry(Retry {
            meant,
            reason,
            amqp_url,
            outboxes,
        }) => act(meant, Wish::Retry, reason, tools(outboxes, amqp_url)?).await,
        DeadLetters::Discard(Discard {
            meant,
            reason,
            outboxes,
        }) => act(meant, Wish::Discard, Some(reason), tools(outboxes, None)?).await,
    }
}

/// What an operator needs.
pub(crate) fn tools(args: OutboxArgs, amqp_url: Option<String>) -> anyhow::Result<Tools> {
    Ok(Tools {
        topology: Topology::load(&args.topology)?,
        database_url: args.database_url,
        outbox_urls: args.outbox_url.into_iter().collect(),
        amqp_url,
    })
}

/// Who acts, if it is not said: whose process this is.
pub(crate) fn operator(by: Option<String>) -> String {
    let user = || {
        ["USER", "LOGNAME"]
            .into_iter()
            .find_map(|name| std::env::var(name).ok())
    };
    let id = || {
        let process = std::fs::metadata("/proc/self").ok()?;
        Some(format!("uid {}", process.uid()))
    };
    by.or_else(user)
        .filter(|name| !name.is_empty())
        .or_else(id)
        .unwrap_or_else(|| "unknown".to_owned())
}

async fn list(args: List) -> anyhow::Result<()> {
    let operator = Operator::connect(tools(args.outboxes, None)?).await?;
    let items = operator.list(&filter(args.chosen)).await?;
    if args.json {
        return print::json(&items);
    }
    tell(&items);
    Ok(())
}

async fn show(args: Show) -> anyhow::Result<()> {
    let operator = Operator::connect(tools(args.outboxes, None)?).await?;
    let fields = operator.show(&args.id).await?;
    if args.json {
        return print::json(&fields.into_iter().collect::<Map<_, _>>());
    }
    for (name, value) in fields {
        match value {
            Value::Null => {}
            Value::String(text) => print::line(&format!("{name:14} {}", print::short(&text, usize::MAX))),
            Value::Array(values) if values.is_empty() => {}
            value @ (Value::Array(_) | Value::Object(_)) => {
                // JSON escapes control characters itself.
                let text = serde_json::to_string_pretty(&value)?;
                print::line(&format!("{name:14} {}", text.replace('\n', "\n               ")));
            }
            value => print::line(&format!("{name:14} {value}")),
        }
    }
    Ok(())
}

/// What became of one.
#[derive(Serialize)]
struct Outcome {
    id: ItemId,
    outcome: String,
    error: Option<String>,
}

async fn act(meant: Meant, wish: Wish, reason: Option<String>, tools: Tools) -> anyhow::Result<()> {
    let mut operator = Operator::connect(tools).await?;
    let filter = filter(meant.chosen);
    if !meant.all && !is_empty(&filter) {
        bail!("filters choose among all: give --all with them, or ids without");
    }
    let chosen: Vec<ItemId> = if meant.all {
        operator
            .list(&filter)
            .await?
            .into_iter()
            .map(|item| item.id)
            .collect()
    } else {
        meant.ids
    };
    let act = Act {
        by: self::operator(meant.by),
        reason,
    };
    let mut outcomes = Vec::with_capacity(chosen.len());
    for id in chosen {
        let ended = if meant.dry_run {
            // What does not wait is told now as it would be then.
            operator.check_open(&id).await
        } else {
            operator.act(&id, wish, &act).await
        };
        let done = if meant.dry_run {
            format!("would be {}", wish.past())
        } else {
            wish.past().to_owned()
        };
        let (outcome, error) = match ended {
            Ok(()) => (done, None),
            Err(error) => (format!("not {}", wish.past()), Some(error.to_string())),
        };
        if !meant.json {
            let why = error
                .as_ref()
                .map_or_else(String::new, |error| format!(": {error}"));
            print::line(&format!("{id} {outcome}{why}"));
        }
        outcomes.push(Outcome { id, outcome, error });
    }
    if meant.json {
        print::json(&outcomes)?;
    }
    let failed: Vec<&Outcome> = outcomes
        .iter()
        .filter(|outcome| outcome.error.is_some())
        .collect();
    if let Some(Outcome {
        id,
        error: Some(error),
        ..
    }) = failed.first()
    {
        bail!(
            "{} of {} not {}; {id}: {error}",
            failed.len(),
            outcomes.len(),
            wish.past()
        );
    }
    if outcomes.is_empty() && !meant.json {
        print::line("nothing waits");
    }
    Ok(())
}

fn filter(args: FilterArgs) -> Filter {
    Filter {
        services: args.service,
        types: args.event_type,
        older_than: args.older_than,
        about: args.about,
    }
}

fn is_empty(filter: &Filter) -> bool {
    filter.services.is_empty()
        && filter.types.is_empty()
        && filter.older_than.is_none()
        && filter.about.is_none()
}

fn tell(items: &[Item]) {
    if items.is_empty() {
        print::line("nothing waits");
        return;
    }
    let text = |text: &Option<String>| print::short(text.as_deref().unwrap_or("-"), LONGEST_REASON);
    let row = |item: &Item| {
        [
            item.id.to_string(),
            print::short(&item.queue, LONGEST_REASON),
            text(&item.event_type),
            text(&item.about),
            print::ago(item.since),
            item.times.to_string(),
            text(&item.reason),
        ]
    };
    let rows: Vec<[String; 7]> = items.iter().map(row).collect();
    print::table(["ID", "QUEUE", "TYPE", "ABOUT", "AGE", "TIMES", "REASON"], &rows);
}
