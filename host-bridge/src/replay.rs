//! `replay`: what was published since a moment is published again.

use crate::cli::Replay;
use crate::dead_letters::{operator, tools};
use crate::print;
use relay::operator::{Act, Operator};

pub(crate) async fn replay(args: Replay) -> anyhow::Result<()> {
    let mut at_work = Operator::connect(tools(args.outboxes, None)?).await?;
    let replay = relay::operator::Replay {
        since: args.since.moment(),
        services: args.service,
        types: args.event_type,
    };
    let act = Act {
        by: operator(args.by),
        reason: Some(format!("since {}", replay.since.to_rfc3339())),
    };
    let replayed = at_work.replay(&replay, (!args.dry_run).then_some(&act)).await?;
    if args.json {
        return print::json(&replayed);
    }
    let what = if args.dry_run {
        "would be published again"
    } else {
        "will be published again"
    };
    for outbox in replayed {
        print::line(&format!("{}: {} rows {what}", outbox.service, outbox.rows));
    }
    Ok(())
}
