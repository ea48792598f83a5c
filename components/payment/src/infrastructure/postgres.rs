//! Orders and their payments in Postgres.

use crate::application::{Change, Opened, Orders, Outgoing, Standing, UsedKey};
use crate::domain::{Attempt, FailureReason, Order, OrderState, Payment, PaymentState, PlacedOrder};
use contracts::{EventId, Money, OrderId, PaymentId, PaymentMethod, Timestamp, UserId};
use serde::{Deserialize, Serialize};
use service::database::{Database, Row, Session, jsonb, uuids};
use service::idempotency::{self, IdempotencyKey, KeptAnswer, KeptAnswers, Verdict};
use service::outbox::OutboxRow;
use service::{Page, PageQuery, StoreError};
use std::time::Duration;
use uuid::Uuid;

/// One request's view of payment's schema.
pub struct PostgresOrders<'a> {
    session: Session<'a>,
}

impl<'a> PostgresOrders<'a> {
    #[must_use]
    pub fn new(database: &'a Database) -> Self {
        Self {
            session: database.session(),
        }
    }

    /// Stores one change of a request, and says what became of its key.
    async fn store_one(
        &self,
        change: &Change,
        key: Option<(&IdempotencyKey, Option<&KeptAnswer>)>,
    ) -> Result<Verdict, StoreError> {
        let Some((key, answer)) = key else {
            let stored = self.store(std::slice::from_ref(change)).await?;
            return if stored.is_empty() {
                Err(StoreError::Contention)
            } else {
                Ok(Verdict::Stored)
            };
        };
        let Some(payment) = change.order.payments().last() else {
            return Err(mistake("a request that changes no payment"));
        };
        let parameters = vec![
            change.order.id().as_uuid().into(),
            change.order.version.into(),
            jsonb(&WrittenPayment::new(payment))?,
            jsonb(&outbox(change)?)?,
            idempotency::parameter(Some(key), answer)?,
        ];
        let statement = include_str!("sql/store_keyed_change.sql");
        let row = self.session.query_one(statement, parameters).await?;
        let is_changed = row.as_ref().map(|row| row.get("is_changed")).transpose()?;
        match verdict(row)? {
            // An answer is set only where the change is stored.
            Verdict::Known(_) if answer.is_some() && is_changed == Some(false) => Err(StoreError::Contention),
            verdict => Ok(verdict),
        }
    }
}

/// What a change tells, as rows.
fn outbox(change: &Change) -> Result<Vec<OutboxRow>, StoreError> {
    let row = |outgoing: &Outgoing| {
        let (event, at, trace) = (&outgoing.event, change.at, &outgoing.trace);
        match outgoing.due_at {
            Some(due_at) => OutboxRow::timer(event, at, due_at, trace),
            None => OutboxRow::new(event, at, trace),
        }
    };
    change.outgoing.iter().map(row).collect()
}

/// The one row of a statement about a key.
fn verdict(row: Option<Row>) -> Result<Verdict, StoreError> {
    let row = row.ok_or_else(|| mistake("a keyed statement without an answer"))?;
    Verdict::read(&row)
}

impl KeptAnswers for PostgresOrders<'_> {
    async fn keep(&self, key: &IdempotencyKey, answer: &KeptAnswer) -> Result<Verdict, StoreError> {
        idempotency::keep(&self.session, key, answer).await
    }
}

impl Orders for PostgresOrders<'_> {
    async fn open(
        &self,
        firsts: &[Order],
        others: &[OrderId],
        events: &[EventId],
    ) -> Result<Opened, StoreError> {
        let told: Vec<_> = firsts.iter().map(WrittenFirst::new).collect();
        let parameters = vec![
            jsonb(&told)?,
            uuids(others.iter().map(|id| id.as_uuid())),
            uuids(events.iter().map(|id| id.as_uuid())),
        ];
        let rows = self
            .session
            .query(include_str!("sql/open_orders.sql"), parameters)
            .await?;
        let mut opened = Opened::default();
        for row in &rows {
            match row.get::<Option<Uuid>>("handled")? {
                Some(id) => opened.handled.push(id.into()),
                None => opened.orders.extend(standing(row, firsts)?),
            }
        }
        Ok(opened)
    }

    async fn load(&self, id: OrderId, owner: Option<UserId>) -> Result<Option<Order>, StoreError> {
        let parameters = vec![id.as_uuid().into(), owner.map(UserId::as_uuid).into()];
        let row = self
            .session
            .query_one(include_str!("sql/load_order.sql"), parameters)
            .await?;
        row.as_ref().map(order).transpose()
    }

    async fn store(&self, changes: &[Change]) -> Result<Vec<OrderId>, StoreError> {
        let states: Vec<_> = changes.iter().map(WrittenChange::new).collect();
        let payments: Vec<_> = changes
            .iter()
            .filter_map(|change| change.order.payments().last())
            .map(WrittenPayment::new)
            .collect();
        let mut handled = Vec::new();
        let mut told = Vec::new();
        for change in changes {
            handled.extend(change.handled.iter().map(|event_id| WrittenHandled {
                order_id: change.order.id(),
                event_id: *event_id,
            }));
            told.extend(outbox(change)?);
        }
        let parameters = vec![
            jsonb(&states)?,
            jsonb(&payments)?,
            jsonb(&handled)?,
            jsonb(&told)?,
        ];
        let rows = self
            .session
            .query(include_str!("sql/store_changes.sql"), parameters)
            .await?;
        rows.iter().map(|row| Ok(row.get::<Uuid>("id")?.into())).collect()
    }

    async fn begin(&self, change: &Change, key: Option<&IdempotencyKey>) -> Result<Verdict, StoreError> {
        self.store_one(change, key.map(|key| (key, None))).await
    }

    async fn settle(
        &self,
        change: &Change,
        keyed: Option<(&IdempotencyKey, &KeptAnswer)>,
    ) -> Result<Verdict, StoreError> {
        let key = keyed.map(|(key, answer)| (key, Some(answer)));
        self.store_one(change, key).await
    }

    async fn answer(
        &self,
        key: &IdempotencyKey,
        payment_id: PaymentId,
        answer: &KeptAnswer,
    ) -> Result<Verdict, StoreError> {
        let parameters = vec![
            idempotency::parameter(Some(key), Some(answer))?,
            payment_id.as_uuid().into(),
        ];
        let statement = include_str!("sql/answer_key.sql");
        verdict(self.session.query_one(statement, parameters).await?)
    }

    async fn find_key(&self, key: &IdempotencyKey) -> Result<Option<UsedKey>, StoreError> {
        let parameters = vec![idempotency::parameter(Some(key), None)?];
        let row = self
            .session
            .query_one(include_str!("sql/find_key.sql"), parameters)
            .await?;
        let Some(row) = row else {
            return Ok(None);
        };
        let Verdict::Known(known) = Verdict::read(&row)? else {
            return Err(mistake("a key that a look-up stored"));
        };
        let begun = row.get::<Option<Uuid>>("id")?;
        let age_ms: i64 = row.get("age_ms")?;
        Ok(Some(UsedKey {
            known,
            payment: begun.map(|_| payment(&row)).transpose()?,
            age: Duration::from_millis(u64::try_from(age_ms).unwrap_or_default()),
        }))
    }

    async fn find(&self, id: PaymentId, owner: Option<UserId>) -> Result<Option<Payment>, StoreError> {
        let parameters = vec![id.as_uuid().into(), owner.map(UserId::as_uuid).into()];
        let row = self
            .session
            .query_one(include_str!("sql/find_payment.sql"), parameters)
            .await?;
        row.as_ref().map(payment).transpose()
    }

    async fn list(
        &self,
        order_id: OrderId,
        owner: Option<UserId>,
        page: PageQuery,
    ) -> Result<Option<Page<Payment>>, StoreError> {
        let parameters = vec![
            order_id.as_uuid().into(),
            owner.map(UserId::as_uuid).into(),
            page.skip.into(),
            page.limit.into(),
        ];
        let rows = self
            .session
            .query(include_str!("sql/list_payments.sql"), parameters)
            .await?;
        let Some(first) = rows.first() else {
            return Ok(None);
        };
        let total = first.get("total")?;
        let mut payments = Vec::with_capacity(rows.len());
        for row in &rows {
            if row.get::<Option<Uuid>>("id")?.is_some() {
                payments.push(payment(row)?);
            }
        }
        Ok(Some(Page::new(page, total, payments)))
    }
}

/// An order as it stands: one that this statement stored is as it was handed over.
fn standing(row: &Row, handed_over: &[Order]) -> Result<Option<Standing>, StoreError> {
    let id: OrderId = row.get::<Uuid>("id")?.into();
    if row.get("is_new")? {
        let order = handed_over.iter().find(|order| order.id() == id).cloned();
        return Ok(order.map(|order| Standing { order, is_new: true }));
    }
    let order = order(row)?;
    Ok(Some(Standing { order, is_new: false }))
}

fn order(row: &Row) -> Result<Order, StoreError> {
    let user_id: Option<Uuid> = row.get("user_id")?;
    // Of a tombstone none of this is known; a constraint of the table sees to it that it is all or nothing.
    let placed = match user_id {
        Some(user_id) => Some(PlacedOrder {
            user_id: user_id.into(),
            amount: money(row.get("amount_minor")?)?,
            method: row.word("payment_method")?,
            payment_due_at: row
                .get::<Option<chrono::NaiveDateTime>>("payment_due_at")?
                .map(Timestamp::from),
        }),
        None => None,
    };
    let state = match (row.get("is_cancelled")?, placed) {
        (true, placed) => OrderState::Cancelled(placed),
        (false, Some(placed)) => OrderState::Placed(placed),
        (false, None) => return Err(mistake("an order that stands, of which nothing is known")),
    };
    let payments: Vec<ReadPayment> = row.json("payments")?;
    let payments = payments.into_iter().map(ReadPayment::into_payment);
    let id = row.get::<Uuid>("id")?.into();
    Ok(Order::restore(
        id,
        state,
        row.get("version")?,
        payments.collect::<Result<_, _>>()?,
    ))
}

fn payment(row: &Row) -> Result<Payment, StoreError> {
    let read = ReadPayment {
        id: row.get::<Uuid>("id")?.into(),
        order_id: row.get::<Uuid>("order_id")?.into(),
        attempt: row.get("attempt")?,
        user_id: row.get::<Uuid>("user_id")?.into(),
        amount_minor: row.get("amount_minor")?,
        status: row.get("status")?,
        payment_method: row.word("payment_method")?,
        transaction_id: row.get("transaction_id")?,
        failure_reason: row.get("failure_reason")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    };
    read.into_payment()
}

fn money(minor: i64) -> Result<Money, StoreError> {
    Money::rub(minor).map_err(mistake)
}

fn mistake(error: impl std::fmt::Display) -> StoreError {
    StoreError::Mistake(error.to_string())
}

#[derive(Deserialize)]
struct ReadPayment {
    id: PaymentId,
    order_id: OrderId,
    attempt: i32,
    user_id: UserId,
    amount_minor: i64,
    status: String,
    payment_method: PaymentMethod,
    transaction_id: Option<String>,
    failure_reason: Option<String>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl ReadPayment {
    fn into_payment(self) -> Result<Payment, StoreError> {
        let attempt = Attempt {
            payment_id: self.id,
            order_id: self.order_id,
            number: u32::try_from(self.attempt).map_err(mistake)?,
            user_id: self.user_id,
            amount: money(self.amount_minor)?,
            method: self.payment_method,
        };
        let reason = self.failure_reason.as_deref();
        let state = PaymentState::from_words(&self.status, self.transaction_id, reason).map_err(mistake)?;
        Ok(Payment::restore(attempt, state, self.created_at, self.updated_at))
    }
}

/// What was placed, if that is known.
#[derive(Serialize)]
struct WrittenPlaced {
    user_id: Option<UserId>,
    amount_minor: Option<i64>,
    currency: Option<&'static str>,
    payment_method: Option<PaymentMethod>,
    payment_due_at: Option<Timestamp>,
    is_cancelled: bool,
}

impl WrittenPlaced {
    fn new(order: &Order) -> Self {
        let placed = order.placed();
        Self {
            user_id: placed.map(|placed| placed.user_id),
            amount_minor: placed.map(|placed| placed.amount.minor()),
            currency: placed.map(|placed| placed.amount.currency().code()),
            payment_method: placed.map(|placed| placed.method),
            payment_due_at: placed.and_then(|placed| placed.payment_due_at),
            is_cancelled: order.is_cancelled(),
        }
    }
}

/// An order that is heard of first. Its first attempt, if it has one, comes with it.
#[derive(Serialize)]
struct WrittenFirst {
    order_id: OrderId,
    #[serde(flatten)]
    placed: WrittenPlaced,
    payment_id: Option<PaymentId>,
    attempt: Option<u32>,
    status: Option<&'static str>,
    at: Timestamp,
}

impl WrittenFirst {
    fn new(order: &Order) -> Self {
        let payment = order.payments().first();
        Self {
            order_id: order.id(),
            placed: WrittenPlaced::new(order),
            payment_id: payment.map(|payment| payment.attempt().payment_id),
            attempt: payment.map(|payment| payment.attempt().number),
            status: payment.map(|payment| payment.state().status().as_str()),
            at: payment.map_or_else(Timestamp::now, Payment::created_at),
        }
    }
}

#[derive(Serialize)]
struct WrittenChange {
    order_id: OrderId,
    version: i64,
    #[serde(flatten)]
    placed: WrittenPlaced,
    at: Timestamp,
}

impl WrittenChange {
    fn new(change: &Change) -> Self {
        Self {
            order_id: change.order.id(),
            version: change.order.version,
            placed: WrittenPlaced::new(&change.order),
            at: change.at,
        }
    }
}

#[derive(Serialize)]
struct WrittenPayment {
    id: PaymentId,
    order_id: OrderId,
    attempt: u32,
    user_id: UserId,
    amount_minor: i64,
    currency: &'static str,
    status: &'static str,
    payment_method: PaymentMethod,
    transaction_id: Option<String>,
    failure_reason: Option<&'static str>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl WrittenPayment {
    fn new(payment: &Payment) -> Self {
        let (attempt, state) = (payment.attempt(), payment.state());
        Self {
            id: attempt.payment_id,
            order_id: attempt.order_id,
            attempt: attempt.number,
            user_id: attempt.user_id,
            amount_minor: attempt.amount.minor(),
            currency: attempt.amount.currency().code(),
            status: state.status().as_str(),
            payment_method: attempt.method,
            transaction_id: state.transaction_id().map(ToString::to_string),
            failure_reason: state.failure_reason().map(FailureReason::as_str),
            created_at: payment.created_at(),
            updated_at: payment.updated_at(),
        }
    }
}

#[derive(Serialize)]
struct WrittenHandled {
    order_id: OrderId,
    event_id: EventId,
}
