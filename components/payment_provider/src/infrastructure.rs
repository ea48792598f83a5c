//! The provider's own ledger, in a schema and under a login of its own, as a real one would have it: what it took is
//! its word, not payment's. Each statement stands in its own file under `sql/`.

use crate::domain::{Charge, Recorded, Refund, Terms, Verdict};
use service::StoreError;
use service::database::{Database, Row};
use spin_sdk::pg::ParameterValue;
use std::time::Duration;

/// The ledger's words for why nothing was taken.
const DECLINED: &str = "card_declined";
const WITHDRAWN: &str = "order_cancelled";

/// The ledger at one address. Each call is one statement on a connection of its own, given back before the answer.
pub struct Ledger(Database);

impl Ledger {
    /// `address` is Postgres'. Nothing is opened before the first call.
    #[must_use]
    pub fn at(address: String) -> Self {
        Self(Database::new(address))
    }

    /// Records the charge on these terms, or finds the one that was made under its key before. `None` if another
    /// call is recording it this very moment.
    ///
    /// # Errors
    /// As [`StoreError`] says; it may have been recorded all the same.
    pub async fn record(&self, charge: Charge, terms: &Terms) -> Result<Option<Recorded>, StoreError> {
        let (outcome, transaction_id, failure_reason) = match &terms.verdict {
            Verdict::Taken(transaction) => ("succeeded", Some(transaction.clone()), None),
            Verdict::Declined => ("declined", None, Some(DECLINED.to_owned())),
            Verdict::Withdrawn => ("declined", None, Some(WITHDRAWN.to_owned())),
        };
        let settles_after_ms = i64::try_from(terms.settles_after.as_millis()).unwrap_or(i64::MAX);
        let parameters = vec![
            charge.key.into(),
            charge.amount_minor.into(),
            charge.currency.into(),
            charge.method.into(),
            outcome.to_owned().into(),
            transaction_id.into(),
            failure_reason.into(),
            settles_after_ms.into(),
        ];
        let row = self
            .query_one(include_str!("infrastructure/sql/charge.sql"), parameters)
            .await?;
        row.as_ref().map(recorded).transpose()
    }

    /// The charge of this key.
    ///
    /// # Errors
    /// As [`StoreError`] says.
    pub async fn find(&self, key: String) -> Result<Option<Recorded>, StoreError> {
        let row = self
            .query_one(include_str!("infrastructure/sql/look_up.sql"), vec![key.into()])
            .await?;
        row.as_ref().map(recorded).transpose()
    }

    /// Gives back; `false` if there is nothing to give back or another call is doing it this very moment.
    ///
    /// # Errors
    /// As [`StoreError`] says; it may have been given back all the same.
    pub async fn refund(&self, refund: Refund) -> Result<bool, StoreError> {
        let parameters = vec![
            refund.key.into(),
            refund.charge.into(),
            refund.amount_minor.into(),
            refund.currency.into(),
        ];
        let row = self
            .query_one(include_str!("infrastructure/sql/refund.sql"), parameters)
            .await?;
        Ok(row.is_some())
    }

    /// Whether the refund of this key was made.
    ///
    /// # Errors
    /// As [`StoreError`] says.
    pub async fn is_refunded(&self, key: String) -> Result<bool, StoreError> {
        let row = self
            .query_one(
                include_str!("infrastructure/sql/look_up_refund.sql"),
                vec![key.into()],
            )
            .await?;
        Ok(row.is_some())
    }

    async fn query_one(
        &self,
        statement: &str,
        parameters: Vec<ParameterValue>,
    ) -> Result<Option<Row>, StoreError> {
        self.0.session().query_one(statement, parameters).await
    }
}

fn recorded(row: &Row) -> Result<Recorded, StoreError> {
    let transaction: Option<String> = row.get("transaction_id")?;
    let verdict = match transaction {
        Some(transaction) => Verdict::Taken(transaction),
        None => match row.get::<String>("failure_reason")?.as_str() {
            DECLINED => Verdict::Declined,
            WITHDRAWN => Verdict::Withdrawn,
            word => {
                let mistake = format!("column failure_reason: {word:?} is no word of ours");
                return Err(StoreError::Mistake(mistake));
            }
        },
    };
    let settles_in_ms: i64 = row.get("settles_in_ms")?;
    Ok(Recorded {
        verdict,
        is_first: row.get("is_first")?,
        settles_in: Duration::from_millis(u64::try_from(settles_in_ms).unwrap_or_default()),
    })
}
