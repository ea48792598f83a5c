//! What an order is: carts that hold, the state machine, and the decisions of the saga. No I/O, no JSON, no SDK.

mod cart;
mod order;
mod saga;

pub use cart::{
    Address, Cart, CartError, CartLine, CatalogItem, Customer, InvalidAddress, InvalidQuantity, Product,
    Quantity,
};
pub use order::{Order, OrderItem, OrderStatus, StatusReason, UnknownStatus};
pub use saga::{Decision, Fact, Note, Transition, decide};
