//! What the services must agree on: ids, money, time, and the events that they tell one another, with the queues
//! that each event has to reach. Pure: no I/O and no SDK.

mod events;
mod ids;
mod money;
mod payment_method;
mod time;

pub use events::{
    BouquetChanged, DecodeError, Event, FlowerChanged, OrderCancelled, OrderCompleted, OrderCreated,
    OrderLine, OrderPaid, PaymentCompleted, PaymentFailed, PaymentRefunded, Received, ShipmentCreated,
    ShipmentDelivered, StockRejected, StockReserved,
};
pub use ids::{
    BouquetId, CategoryId, EventId, FlowerId, InvalidId, OrderId, OrderItemId, PaymentId, ShipmentId, UserId,
};
pub use money::{Currency, InvalidMoney, Money};
pub use payment_method::{PaymentMethod, UnknownPaymentMethod};
pub use time::{InvalidTime, Timestamp};
