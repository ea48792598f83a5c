//! Who uses the shop: clients who place, cancel and pay, and send again what was not answered; admins and couriers.

use crate::component::call;
use crate::plan::Command;
use crate::services::{catalog, delivery, ordering, payment};
use crate::world::{MILLI, Process, Service, Shop, World};
use ::catalog::application::change_flower;
use ::catalog::domain::{FlowerPatch, StockChange};
use ::delivery::application::{create_shipment, end_shipment};
use ::delivery::domain::{Ending, FailureReason};
use ::ordering::application::{CancelOrder, Outcome, PlaceOrder, cancel_order, place_order};
use ::ordering::domain::{Address, Cart, CartLine, Customer, Product, Quantity};
use ::payment::application::{ProcessPayment, Processed, process_payment};
use contracts::{FlowerId, Money, OrderId, PaymentMethod, UserId};
use service::IfMatch;
use service::idempotency::{IdempotencyKey, KeptAnswer, Known};
use service::trace::Traceparent;
use uuid::Uuid;

/// How often a client sends again what was not answered.
const TRIES: usize = 4;

/// What a client hears.
#[derive(Clone, Debug, PartialEq)]
enum Heard {
    /// This order was placed, or this done; what is kept of the answer if the request has a key.
    Done(Option<OrderId>, Option<String>),
    /// No, and asking again is of no use.
    Refused,
    /// Ask again.
    Nothing,
}

/// A keyed request: the key, what stands for its lock, and its number.
#[derive(Clone)]
struct Keyed {
    key: IdempotencyKey,
    lock: Uuid,
    number: usize,
}

impl Keyed {
    fn new(number: usize, scope: &str) -> Self {
        // What is random in a key changes nothing, so none is drawn.
        let user = UserId::from(Uuid::from_u128(1));
        Self {
            key: IdempotencyKey::new(user, scope.to_owned(), number.to_string(), b""),
            lock: Uuid::from_u128(number as u128 + 1000),
            number,
        }
    }
}

/// Begins what is commanded.
pub(crate) fn begin(world: &Shop, command: &Command) {
    world.tell(Process::Clients, |_| command.to_string());
    let twice = matches!(
        command,
        Command::Place { twice: true, .. } | Command::Pay { twice: true, .. }
    );
    for _ in 0..=usize::from(twice) {
        let shop = world.clone();
        let command = command.clone();
        world.spawn(Process::Clients, async move { obey(shop, command).await });
    }
}

async fn obey(world: Shop, command: Command) {
    match command {
        Command::Place {
            number,
            cart,
            method,
            keyed,
            ..
        } => place(&world, number, &cart, method, keyed).await,
        Command::Pay {
            order,
            number,
            method,
            keyed,
            ..
        } => pay(&world, order, number, method, keyed).await,
        Command::Cancel { order } => cancel(&world, order).await,
        Command::Ship { order } => ship(&world, order).await,
        Command::Deliver { order } => end(&world, order, Ending::Delivered).await,
        Command::Fail { order } => {
            if let Ok(reason) = FailureReason::try_from("nobody at home".to_owned()) {
                end(&world, order, Ending::Failed(reason)).await;
            }
        }
        Command::Correct { flower, by } => {
            let stock = by.try_into().ok().map(StockChange::Add);
            let patch = FlowerPatch {
                stock,
                ..FlowerPatch::default()
            };
            change(&world, flower, patch).await;
        }
        Command::Reprice { flower, minor } => {
            let price = Money::rub(minor).ok().and_then(|price| price.try_into().ok());
            let patch = FlowerPatch {
                price,
                ..FlowerPatch::default()
            };
            change(&world, flower, patch).await;
        }
    }
}

/// Where the order of this command is delivered to, which is how it is found again.
pub(crate) fn address(number: usize) -> String {
    format!("{number} Rose Street")
}

fn find(world: &World, number: usize) -> Option<OrderId> {
    let ordering = world.ordering.borrow();
    let address = address(number);
    let mut orders = ordering.orders.iter();
    orders
        .find(|order| order.delivery_address == address)
        .map(|order| order.id)
}

/// The order of this command, if it is placed before long.
async fn await_order(world: &World, number: usize) -> Option<OrderId> {
    for _ in 0..20 {
        if let Some(id) = find(world, number) {
            return Some(id);
        }
        world.sleep(20 * MILLI).await;
    }
    None
}

/// Sends a request until it is answered; one without a key once, if nobody can know whether it was done.
async fn insist(
    world: &Shop,
    key: Option<&Keyed>,
    is_repeatable: bool,
    mut send: impl AsyncFnMut() -> Heard,
) -> Option<OrderId> {
    let tries = if is_repeatable || key.is_some() { TRIES } else { 1 };
    for _ in 0..tries {
        match send().await {
            Heard::Done(id, answer) => {
                if let (Some(key), Some(answer)) = (key, answer) {
                    world.audit.borrow_mut().answered(world, key.number, answer);
                }
                return id;
            }
            Heard::Refused => return None,
            Heard::Nothing => world.sleep(world.below(60 * MILLI)).await,
        }
    }
    None
}

fn kept(body: &impl serde::Serialize) -> KeptAnswer {
    KeptAnswer::of(&service::Response::json(http::StatusCode::OK, body))
}

fn known(known: Known) -> Heard {
    match known {
        Known::Answered(answer) => Heard::Done(None, Some(format!("{answer:?}"))),
        Known::Begun(_) | Known::InFlight => Heard::Nothing,
        Known::OtherBody => Heard::Refused,
    }
}

async fn place(world: &Shop, number: usize, cart: &[(usize, i64)], method: PaymentMethod, is_keyed: bool) {
    let keyed = is_keyed.then(|| Keyed::new(number, "POST /orders"));
    let lines = cart.iter().filter_map(|(product, quantity)| {
        let quantity = Quantity::try_from(*quantity).ok()?;
        let product = product_of(world, *product)?;
        Some(CartLine { product, quantity })
    });
    let lines: Vec<CartLine> = lines.collect();
    let (Ok(cart), Ok(delivery_address)) = (Cart::try_from(lines), Address::try_from(address(number))) else {
        return;
    };
    if is_keyed {
        world.audit.borrow_mut().keyed.push(address(number));
    }
    let customer = Customer {
        user_id: UserId::from(Uuid::from_u128(1)),
        delivery_address,
        payment_method: method,
    };
    let placed = insist(world, keyed.as_ref(), false, async || {
        let (cart, customer, keyed) = (cart.clone(), customer.clone(), keyed.clone());
        let answers = (Heard::Nothing, Heard::Nothing);
        call(
            world,
            Process::Clients,
            Service::Ordering,
            answers,
            move |world| async move {
                let patience = world.terms.patience;
                let port = ordering::Port {
                    world,
                    key_lock: keyed.as_ref().map(|keyed| keyed.lock),
                };
                let command = PlaceOrder {
                    customer,
                    cart,
                    expected_total: None,
                    key: keyed.map(|keyed| keyed.key),
                    trace: Traceparent::random(),
                };
                let answer = |order: &::ordering::domain::Order| kept(&order.id);
                match place_order(&port, command, patience, answer).await {
                    Ok(Outcome::Stored(order) | Outcome::Unchanged(order)) => {
                        let text = format!("{:?}", answer(&order));
                        Heard::Done(Some(order.id), Some(text))
                    }
                    Ok(Outcome::Known(what)) => known(what),
                    Err(::ordering::application::PlaceOrderError::Cart(_)) => Heard::Refused,
                    Err(_) => Heard::Nothing,
                }
            },
        )
        .await
    })
    .await;
    if let Some(id) = placed {
        world.tell(Process::Clients, |world| {
            format!("hear that {} is placed", world.name("order", id.as_uuid()))
        });
        world.audit.borrow_mut().placed(id);
    }
}

fn product_of(world: &World, number: usize) -> Option<Product> {
    let catalog = world.catalog.borrow();
    match catalog.flowers.get(number) {
        Some(flower) => Some(Product::Flower(flower.id)),
        None => catalog
            .bouquets
            .first()
            .map(|bouquet| Product::Bouquet(bouquet.id)),
    }
}

async fn cancel(world: &Shop, number: usize) {
    let Some(order_id) = await_order(world, number).await else {
        return;
    };
    insist(world, None, true, async || {
        let answers = (Heard::Nothing, Heard::Nothing);
        call(
            world,
            Process::Clients,
            Service::Ordering,
            answers,
            move |world| async move {
                let port = ordering::Port {
                    world,
                    key_lock: None,
                };
                let command = CancelOrder {
                    order_id,
                    owner: None,
                    key: None,
                    trace: Traceparent::random(),
                };
                match cancel_order(&port, &command, |order| kept(&order.id)).await {
                    Ok(_) => Heard::Done(None, None),
                    Err(::ordering::application::CancelOrderError::Store(_)) => Heard::Nothing,
                    Err(_) => Heard::Refused,
                }
            },
        )
        .await
    })
    .await;
}

async fn pay(world: &Shop, order: usize, number: usize, method: Option<PaymentMethod>, is_keyed: bool) {
    let keyed = is_keyed.then(|| Keyed::new(100 + number, "POST /payments/process"));
    let Some(order_id) = await_order(world, order).await else {
        return;
    };
    insist(world, keyed.as_ref(), true, async || {
        let keyed = keyed.clone();
        let answers = (Heard::Nothing, Heard::Nothing);
        call(
            world,
            Process::Clients,
            Service::Payment,
            answers,
            move |world| async move {
                let port = payment::Port::new(world, keyed.as_ref().map(|keyed| keyed.lock));
                let command = ProcessPayment {
                    order_id,
                    method,
                    owner: None,
                    key: keyed.map(|keyed| keyed.key),
                    trace: Traceparent::random(),
                };
                let answer = |payment: &::payment::domain::Payment| {
                    kept(&(payment.attempt().number, payment.state().status().as_str()))
                };
                match process_payment(&port, &port, command, answer).await {
                    Ok(Processed::Started(payment)) => {
                        Heard::Done(None, Some(format!("{:?}", answer(&payment))))
                    }
                    Ok(Processed::Found(_)) => Heard::Done(None, None),
                    Ok(Processed::Known(what)) => known(what),
                    Err(::payment::application::ProcessPaymentError::NotPayable(_)) => Heard::Refused,
                    Err(_) => Heard::Nothing,
                }
            },
        )
        .await
    })
    .await;
}

async fn ship(world: &Shop, number: usize) {
    let Some(order_id) = await_order(world, number).await else {
        return;
    };
    insist(world, None, true, async || {
        let answers = (Heard::Nothing, Heard::Nothing);
        call(
            world,
            Process::Clients,
            Service::Delivery,
            answers,
            move |world| async move {
                let arrival = world.terms.delivery.arrival;
                let port = delivery::Port(world);
                match create_shipment(&port, arrival, order_id, &Traceparent::random()).await {
                    Ok(_) => Heard::Done(None, None),
                    Err(::delivery::application::CreateShipmentError::AlreadyShipped(_)) => Heard::Refused,
                    Err(_) => Heard::Nothing,
                }
            },
        )
        .await
    })
    .await;
}

async fn end(world: &Shop, number: usize, ending: Ending) {
    let Some(order_id) = await_order(world, number).await else {
        return;
    };
    for _ in 0..10 {
        let shipment = {
            let delivery = world.delivery.borrow();
            let mut shipments = delivery.shipments.iter();
            shipments.find(|one| one.order_id == order_id).map(|one| one.id)
        };
        let Some(id) = shipment else {
            world.sleep(100 * MILLI).await;
            continue;
        };
        insist(world, None, true, async || {
            let ending = ending.clone();
            let answers = (Heard::Nothing, Heard::Nothing);
            call(
                world,
                Process::Clients,
                Service::Delivery,
                answers,
                move |world| async move {
                    let port = delivery::Port(world);
                    match end_shipment(&port, id, ending, &Traceparent::random()).await {
                        Ok(_) => Heard::Done(None, None),
                        Err(::delivery::application::EndShipmentError::Store(_)) => Heard::Nothing,
                        Err(_) => Heard::Refused,
                    }
                },
            )
            .await
        })
        .await;
        return;
    }
}

async fn change(world: &Shop, number: usize, patch: FlowerPatch) {
    let flower: Option<FlowerId> = world.catalog.borrow().flowers.get(number).map(|flower| flower.id);
    let Some(id) = flower else { return };
    let answers = (Heard::Nothing, Heard::Nothing);
    // A correction that was not answered is not sent again: nobody can know whether it was done.
    call(
        world,
        Process::Clients,
        Service::Catalog,
        answers,
        move |world| async move {
            let port = catalog::Port(world);
            let changed =
                change_flower(&port, &port, id, &IfMatch::Absent, &patch, &Traceparent::random()).await;
            if changed.is_ok() {
                Heard::Done(None, None)
            } else {
                Heard::Refused
            }
        },
    )
    .await;
}
