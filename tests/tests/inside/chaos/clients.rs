//! Those who use the shop in the storm. Each request is sent until its answer says what became of it, under one
//! idempotency key where there are keys, as a good client would; some give up before.

use super::ledger::{Ledger, Placed, Told};
use anyhow::{Context, Result};
use rand::Rng as _;
use rand::rngs::StdRng;
use reqwest::Method;
use serde_json::{Value, json};
use shop_tests::{Actor, Answer};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

/// Before a request is sent again.
const PAUSE: Duration = Duration::from_millis(250);
/// How long a client waits for one answer.
const ANSWER: Duration = Duration::from_secs(15);

pub(super) struct Client {
    actor: Actor,
    random: StdRng,
    ledger: Arc<Ledger>,
    stop: Arc<AtomicBool>,
}

/// What an answer says of the request.
fn judge(answer: &Answer) -> Told<Value> {
    let status = answer.status.as_u16();
    let in_flight = answer.json()["type"] == "/problems/request-in-flight";
    match status {
        200..=299 => Told::Done(answer.json()),
        // Too early, too much, or not now.
        408 | 429 | 500.. => Told::Unknown,
        409 if in_flight => Told::Unknown,
        _ => Told::Refused(status),
    }
}

impl Client {
    pub(super) fn new(actor: Actor, random: StdRng, ledger: Arc<Ledger>, stop: Arc<AtomicBool>) -> Self {
        Self {
            actor,
            random,
            ledger,
            stop,
        }
    }

    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    /// Sends a POST up to `tries` times under one key, until an answer says what became of it.
    async fn post(&self, path: &str, body: &Value, tries: u32) -> Told<Value> {
        let key = Uuid::now_v7().to_string();
        for attempt in 0..tries {
            {
                let mut tally = self.ledger.tally();
                tally.requests += 1;
                tally.repeated += u64::from(attempt > 0);
            }
            let request = self.actor.request(Method::POST, path);
            let request = request.header("idempotency-key", &key).json(body);
            if let Ok(Ok(answer)) = timeout(ANSWER, self.actor.send(request)).await {
                let told = judge(&answer);
                if told != Told::Unknown {
                    return told;
                }
            }
            sleep(PAUSE).await;
        }
        Told::Unknown
    }

    /// Places orders, and cancels or pays some again, until it is time to stop.
    pub(super) async fn shop(mut self, flowers: Vec<String>) -> Result<()> {
        while self.goes_on() {
            let flower = &flowers[usize::from(self.random.random_bool(0.3))];
            self.place(flower).await?;
            sleep(Duration::from_millis(self.random.random_range(50..300))).await;
        }
        Ok(())
    }

    async fn place(&mut self, flower_id: &str) -> Result<()> {
        let quantity = self.random.random_range(1..=3_i64);
        let method = match self.random.random_range(0..100) {
            0..60 => "pm_card_visa",
            60..75 => "pm_card_flaky",
            75..85 => "pm_card_slow",
            _ => "pm_card_chargeDeclined",
        };
        let body = json!({
            "items": [{"flower_id": flower_id, "quantity": quantity}],
            "delivery_address": "1 Storm Street",
            "payment_method": method,
        });
        // One in twenty gives up at once if it hears nothing.
        let tries = if self.random.random_bool(0.05) { 1 } else { 400 };
        let order = match self.post("/api/orders", &body, tries).await {
            Told::Done(order) => order,
            Told::Refused(status) => anyhow::bail!("an order that is in order was refused with {status}"),
            Told::Unknown => {
                self.ledger.tally().unknown_orders += 1;
                return Ok(());
            }
        };
        let id = order["id"].as_str().context("an order without id")?.to_owned();
        let total = order["total_amount"]["amount"].as_str().context("no total")?;
        let placed = Placed {
            flower_id: flower_id.to_owned(),
            quantity,
            total: total.to_owned(),
        };
        self.ledger.note(&id, |known| known.placed = Some(placed));
        match self.random.random_range(0..100) {
            0..20 => self.cancel(&id).await,
            20..40 if method == "pm_card_chargeDeclined" => self.pay_again(&id).await,
            _ => {}
        }
        Ok(())
    }

    async fn cancel(&mut self, id: &str) {
        sleep(Duration::from_millis(self.random.random_range(0..200))).await;
        let told = self
            .post(&format!("/api/orders/{id}/cancel"), &json!({}), 400)
            .await;
        let cancelled = match told {
            Told::Done(_) => Some(true),
            Told::Refused(_) => Some(false),
            Told::Unknown => None,
        };
        self.ledger.note(id, |known| known.cancelled = cancelled);
    }

    /// What comes of it is seen in the money: payment may not have heard of the order yet.
    async fn pay_again(&mut self, id: &str) {
        sleep(Duration::from_millis(self.random.random_range(0..500))).await;
        let body = json!({"order_id": id, "payment_method": "pm_card_visa"});
        self.post("/api/payments/process", &body, 400).await;
    }

    /// Delivers what is shipped, or fails at it, until it is time to stop.
    pub(super) async fn deliver(mut self) -> Result<()> {
        while self.goes_on() {
            let list = timeout(ANSWER, self.actor.get("/api/delivery?status=shipped&limit=100")).await;
            let shipments = match list {
                Ok(Ok(answer)) if answer.status == 200 => answer.json()["items"].clone(),
                _ => Value::Null,
            };
            for shipment in shipments.as_array().into_iter().flatten().take(20) {
                self.hand_over(shipment).await?;
            }
            sleep(Duration::from_millis(300)).await;
        }
        Ok(())
    }

    async fn hand_over(&mut self, shipment: &Value) -> Result<()> {
        let text = |name: &str| shipment[name].as_str().context("a shipment with a gap");
        let (id, order_id) = (text("id")?, text("order_id")?);
        let (delivered, path, body) = match self.random.random_range(0..100) {
            0..75 => (true, format!("/api/delivery/{id}/deliver"), json!({})),
            75..90 => (
                false,
                format!("/api/delivery/{id}/fail"),
                json!({"reason": "the storm"}),
            ),
            _ => return Ok(()),
        };
        match self.post(&path, &body, 400).await {
            Told::Done(_) => self
                .ledger
                .note(order_id, |known| known.delivered = Some(delivered)),
            Told::Refused(status) => anyhow::bail!("the only courier was refused with {status}"),
            Told::Unknown => {}
        }
        Ok(())
    }
}
