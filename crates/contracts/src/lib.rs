//! What the services must agree on: ids, money, time, and the events that they tell one another, with the queues
//! that each event has to reach. Pure: no I/O and no SDK.

#[cfg(feature = "description")]
mod description;
mod events;
mod ids;
mod money;
mod payment_method;
mod time;

#[cfg(feature = "description")]
pub use events::DescribedEvent;
pub use events::{
    BouquetChanged, ChargeLookUpDue, DeadLetterResolved, DecodeError, DeliveryDue, Event, EventDeadLettered,
    FlowerChanged, OrderCancelled, OrderCompleted, OrderCreated, OrderLine, OrderPaid, PaymentCompleted,
    PaymentDeadlinePassed, PaymentFailed, PaymentRefunded, Received, ShipmentCreated, ShipmentDelivered,
    ShipmentFailed, StockRejected, StockReserved,
};
pub use ids::{
    BouquetId, CategoryId, EventId, FlowerId, InvalidId, OrderId, OrderItemId, PaymentId, ShipmentId, UserId,
};
pub use money::{Currency, InvalidMoney, Money};
pub use payment_method::{PaymentMethod, UnknownPaymentMethod};
#[cfg(feature = "simulation")]
pub use time::simulation;
pub use time::{InvalidTime, Timestamp};
