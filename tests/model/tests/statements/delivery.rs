//! Delivery: paid orders, their shipments, and how those end.

use crate::ordering::{batch, pick, uuid};
use crate::scene::{Answer, Side, Tape};
use contracts::{DeliveryDue, Event, EventId, OrderId, OrderPaid, Received, ShipmentId, UserId};
use delivery::application::{
    Arrived, Change, Loaded, LoadedShipments, Shipments, create_shipment, end_shipment, handle_events,
};
use delivery::domain::{Arrival, Ending, FailureReason, Shipment, ShipmentStatus, Shipping, Terms};
use delivery::infrastructure::PostgresShipments;
use fastrand::Rng;
use serde_json::Value;
use service::trace::Traceparent;
use service::{Database, Page, PageQuery, StoreError};
use shop_model::Stage;
use std::time::Duration;
use uuid::Uuid;

pub(crate) struct Delivery;

#[derive(Clone, Debug)]
pub(crate) enum Call {
    Store(Vec<Change>),
    StoreArrived(Vec<Arrived>),
}

async fn make(port: &impl Shipments, call: &Call) -> Answer {
    match call {
        Call::Store(changes) => Answer::of(port.store(changes).await, Answer::sorted),
        Call::StoreArrived(arrived) => Answer::of(port.store_arrived(arrived).await, Answer::sorted),
    }
}

pub(crate) struct Things {
    orders: Vec<OrderId>,
    told: Vec<Received>,
}

#[derive(Clone)]
pub(crate) enum Intent {
    Batch(Vec<Received>, Terms),
    Ship(OrderId, Arrival),
    End(ShipmentId, Ending),
}

/// Shipments that there are on the stage, and their orders.
fn shipments_of(stage: &Stage) -> Vec<(ShipmentId, OrderId)> {
    let tables = stage.tables_of_delivery();
    let shipments = tables["shipments"].as_object().unwrap();
    let pair = |(id, row): (&String, &Value)| {
        (
            id.parse().unwrap(),
            row["order"].as_str().unwrap().parse().unwrap(),
        )
    };
    shipments.iter().map(pair).collect()
}

impl Side for Delivery {
    type Call = Call;
    type Things = Things;
    type Intent = Intent;

    const SCHEMA: &'static str = "delivery";
    const TABLES: &'static str = include_str!("sql/delivery.sql");
    const EMPTIED: &'static [&'static str] = &["shipments", "orders", "inbox", "outbox_messages"];

    fn things(random: &mut Rng) -> Things {
        Things {
            orders: (0..3).map(|_| OrderId::from(uuid(random))).collect(),
            told: Vec::new(),
        }
    }

    fn setup(_: &Things, _: &mut Rng) -> Vec<Call> {
        Vec::new()
    }

    fn intent(things: &mut Things, stage: &Stage, random: &mut Rng) -> Intent {
        let shipments = shipments_of(stage);
        let arrival = if random.bool() {
            Arrival::Told
        } else {
            Arrival::After(Duration::from_secs(60))
        };
        match random.u8(0..100) {
            0..25 => Intent::Ship(*pick(random, &things.orders).unwrap(), arrival),
            25..55 if !shipments.is_empty() => {
                let ending = if random.bool() {
                    Ending::Delivered
                } else {
                    Ending::Failed(FailureReason::try_from("nobody at home".to_owned()).unwrap())
                };
                Intent::End(pick(random, &shipments).unwrap().0, ending)
            }
            _ => {
                let orders = things.orders.clone();
                let new = |random: &mut Rng| -> Option<Event> {
                    match pick(random, &shipments).copied() {
                        Some((shipment_id, order_id)) if random.bool() => Some(
                            DeliveryDue {
                                order_id,
                                shipment_id,
                            }
                            .into(),
                        ),
                        _ => Some(
                            OrderPaid {
                                order_id: *pick(random, &orders)?,
                                user_id: UserId::from(Uuid::from_u128(1)),
                                delivery_address: "1 Rose Street".to_owned(),
                            }
                            .into(),
                        ),
                    }
                };
                let shipping = if random.bool() {
                    Shipping::Automatic
                } else {
                    Shipping::OnRequest
                };
                let terms = Terms { shipping, arrival };
                Intent::Batch(batch(random, &mut things.told, new), terms)
            }
        }
    }

    fn pursue(stage: &Stage, intent: Intent, tape: Tape<Call>, _: &mut Rng) {
        let recorder = Recorder {
            port: stage.delivery(),
            tape,
        };
        let trace = Traceparent::random();
        stage.run(async move {
            match intent {
                Intent::Batch(batch, terms) => drop(handle_events(&recorder, terms, batch).await),
                Intent::Ship(order_id, arrival) => {
                    drop(create_shipment(&recorder, arrival, order_id, &trace).await);
                }
                Intent::End(id, ending) => drop(end_shipment(&recorder, id, ending, &trace).await),
            }
        });
    }

    fn raised(call: &Call) -> Option<Call> {
        Some(match call {
            Call::Store(changes) => {
                let mut changes = changes.clone();
                changes.iter_mut().for_each(|change| change.order.version += 1);
                Call::Store(changes)
            }
            Call::StoreArrived(arrived) => {
                let mut arrived = arrived.clone();
                arrived
                    .iter_mut()
                    .for_each(|arrived| arrived.shipment.version += 1);
                Call::StoreArrived(arrived)
            }
        })
    }

    fn key(_: &Call) -> Option<String> {
        None
    }

    async fn on_postgres(database: &Database, call: &Call) -> Answer {
        make(&PostgresShipments::new(database), call).await
    }

    fn on_model(stage: &Stage, call: Call) -> impl Future<Output = Answer> + 'static {
        let port = stage.delivery();
        async move { make(&port, &call).await }
    }

    fn tables(stage: &Stage) -> Value {
        stage.tables_of_delivery()
    }
}

/// Reads from the model, and has the tape keep what is to be written.
struct Recorder<P> {
    port: P,
    tape: Tape<Call>,
}

impl<P: Shipments> Shipments for Recorder<P> {
    async fn load(&self, orders: &[OrderId], events: &[EventId]) -> Result<Loaded, StoreError> {
        self.port.load(orders, events).await
    }

    async fn store(&self, changes: &[Change]) -> Result<Vec<OrderId>, StoreError> {
        self.tape.keep(Call::Store(changes.to_vec()))?;
        self.port.store(changes).await
    }

    async fn load_shipments(
        &self,
        shipments: &[ShipmentId],
        events: &[EventId],
    ) -> Result<LoadedShipments, StoreError> {
        self.port.load_shipments(shipments, events).await
    }

    async fn store_arrived(&self, arrived: &[Arrived]) -> Result<Vec<ShipmentId>, StoreError> {
        self.tape.keep(Call::StoreArrived(arrived.to_vec()))?;
        self.port.store_arrived(arrived).await
    }

    async fn find(&self, id: ShipmentId, owner: Option<UserId>) -> Result<Option<Shipment>, StoreError> {
        self.port.find(id, owner).await
    }

    async fn find_of_order(
        &self,
        order_id: OrderId,
        owner: Option<UserId>,
    ) -> Result<Option<Shipment>, StoreError> {
        self.port.find_of_order(order_id, owner).await
    }

    async fn list(
        &self,
        status: Option<ShipmentStatus>,
        page: PageQuery,
    ) -> Result<Page<Shipment>, StoreError> {
        self.port.list(status, page).await
    }
}
