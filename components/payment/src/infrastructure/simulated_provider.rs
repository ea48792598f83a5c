//! A payment provider that takes no money. It keeps a ledger of its own, in a schema and under a login of its own,
//! as a real one would: what it took is its word, not payment's.
//!
//! Its cards behave like the test cards of real providers: one pays, one is declined, one is slow, and one makes the
//! charge but loses its answer. Refunds are reliable whatever the card.

use crate::application::{LookedUp, NoAnswer, Provider};
use crate::domain::{Charge, ChargeKey, Refund, RefundKey, TransactionId, Verdict};
use contracts::PaymentMethod;
use futures::lock::Mutex;
use service::StoreError;
use service::database::{Database, Row, Session};
use service::log::{self, Level};
use spin_sdk::pg::ParameterValue;
use std::cell::Cell;
use std::time::Duration;
use uuid::Uuid;

/// How many statements it runs side by side: a batch of calls must not take the host's whole pool. Calls that wait for
/// a slow card hold none.
const LANES: usize = 8;

/// How it treats a card.
struct Terms {
    verdict: Verdict,
    settles_after: Duration,
    /// Whether the call that makes the charge hears of it.
    answers: bool,
}

impl Terms {
    fn of(method: PaymentMethod) -> Self {
        let succeeded =
            || Verdict::Succeeded(TransactionId::from(format!("txn_{}", Uuid::now_v7().simple())));
        let (verdict, settles_after, answers) = match method {
            PaymentMethod::Visa => (succeeded(), Duration::ZERO, true),
            PaymentMethod::ChargeDeclined => (Verdict::Declined, Duration::ZERO, true),
            PaymentMethod::Slow => (succeeded(), Duration::from_secs(2), true),
            PaymentMethod::Flaky => (succeeded(), Duration::ZERO, false),
        };
        Self {
            verdict,
            settles_after,
            answers,
        }
    }
}

/// A charge as the ledger has it.
struct Recorded {
    verdict: Verdict,
    /// Whether this call made it.
    is_first: bool,
    /// Zero once it has settled.
    settles_in: Duration,
}

/// One request's view of the provider.
pub struct SimulatedProvider<'a> {
    lanes: [Mutex<Session<'a>>; LANES],
    next: Cell<usize>,
}

impl<'a> SimulatedProvider<'a> {
    /// `ledger` is the provider's own database. Nothing is opened before the first call.
    #[must_use]
    pub fn new(ledger: &'a Database) -> Self {
        Self {
            lanes: std::array::from_fn(|_| Mutex::new(ledger.session())),
            next: Cell::new(0),
        }
    }

    /// Runs one statement on the lane whose turn it is.
    async fn query_one(
        &self,
        statement: &str,
        parameters: Vec<ParameterValue>,
    ) -> Result<Option<Row>, NoAnswer> {
        let turn = self.next.get();
        self.next.set((turn + 1) % LANES);
        let Some(lane) = self.lanes.get(turn) else {
            return Err(NoAnswer);
        };
        let answer = lane.lock().await.query_one(statement, parameters).await;
        answer.map_err(unanswered)
    }

    /// Records the charge, or finds the one that was made under its key before.
    async fn record(
        &self,
        charge: &Charge,
        verdict: &Verdict,
        settles_after: Duration,
    ) -> Result<Recorded, NoAnswer> {
        let (outcome, transaction_id, failure_reason) = match verdict {
            Verdict::Succeeded(id) => ("succeeded", Some(id.to_string()), None),
            Verdict::Declined => ("declined", None, Some("card_declined".to_owned())),
            Verdict::Withdrawn => ("declined", None, Some("order_cancelled".to_owned())),
        };
        let settles_after_ms = i64::try_from(settles_after.as_millis()).unwrap_or(i64::MAX);
        let parameters = vec![
            charge.key.as_str().to_owned().into(),
            charge.amount.minor().into(),
            charge.amount.currency().code().to_owned().into(),
            charge.method.as_str().to_owned().into(),
            outcome.to_owned().into(),
            transaction_id.into(),
            failure_reason.into(),
            settles_after_ms.into(),
        ];
        let row = self
            .query_one(include_str!("sql/provider_charge.sql"), parameters)
            .await?;
        // No row: another call of the same key was recording it that very moment. A look-up finds it.
        recorded(&row.ok_or(NoAnswer)?).map_err(unanswered)
    }
}

impl Provider for SimulatedProvider<'_> {
    async fn charge(&self, charge: &Charge) -> Result<Verdict, NoAnswer> {
        let terms = Terms::of(charge.method);
        let charged = self.record(charge, &terms.verdict, terms.settles_after).await?;
        if charged.is_first && !terms.answers {
            return Err(NoAnswer);
        }
        if !charged.settles_in.is_zero() {
            spin_sdk::time::sleep(charged.settles_in).await;
        }
        Ok(charged.verdict)
    }

    async fn look_up(&self, key: &ChargeKey) -> Result<LookedUp, NoAnswer> {
        let parameters = vec![key.as_str().to_owned().into()];
        let row = self
            .query_one(include_str!("sql/provider_look_up.sql"), parameters)
            .await?;
        let Some(row) = row else {
            return Ok(LookedUp::Unknown);
        };
        let Recorded {
            verdict, settles_in, ..
        } = recorded(&row).map_err(unanswered)?;
        if settles_in.is_zero() {
            Ok(LookedUp::Settled(verdict))
        } else {
            Ok(LookedUp::Pending)
        }
    }

    async fn withdraw(&self, charge: &Charge) -> Result<Verdict, NoAnswer> {
        let Recorded {
            verdict, settles_in, ..
        } = self.record(charge, &Verdict::Withdrawn, Duration::ZERO).await?;
        if settles_in.is_zero() {
            Ok(verdict)
        } else {
            Err(NoAnswer)
        }
    }

    async fn refund(&self, refund: &Refund) -> Result<(), NoAnswer> {
        let parameters = vec![
            refund.key.as_str().to_owned().into(),
            refund.charge.as_str().to_owned().into(),
            refund.amount.minor().into(),
            refund.amount.currency().code().to_owned().into(),
        ];
        let row = self
            .query_one(include_str!("sql/provider_refund.sql"), parameters)
            .await?;
        // No row: another call of the same key was recording it that very moment, or there is nothing to give back.
        row.map(|_| ()).ok_or(NoAnswer)
    }

    async fn is_refunded(&self, key: &RefundKey) -> Result<bool, NoAnswer> {
        let parameters = vec![key.as_str().to_owned().into()];
        let row = self
            .query_one(include_str!("sql/provider_look_up_refund.sql"), parameters)
            .await?;
        Ok(row.is_some())
    }
}

fn recorded(row: &Row) -> Result<Recorded, StoreError> {
    let transaction_id: Option<String> = row.get("transaction_id")?;
    let verdict = match transaction_id {
        Some(id) => Verdict::Succeeded(id.into()),
        None if row.get::<String>("failure_reason")? == "card_declined" => Verdict::Declined,
        None => Verdict::Withdrawn,
    };
    let settles_in_ms: i64 = row.get("settles_in_ms")?;
    Ok(Recorded {
        verdict,
        is_first: row.get("is_first")?,
        settles_in: Duration::from_millis(u64::try_from(settles_in_ms).unwrap_or_default()),
    })
}

/// A provider that fails says nothing: whether it made the charge is looked up later.
fn unanswered(error: StoreError) -> NoAnswer {
    log::line(
        Level::Warn,
        "provider unavailable",
        &[("error", &error.to_string())],
    );
    NoAnswer
}
