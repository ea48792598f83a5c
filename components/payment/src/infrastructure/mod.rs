//! Payment's ports on Spin's Postgres, and the provider that it has. Each statement stands in its own file under
//! `sql/`.

mod bounded;
mod postgres;
mod simulated_provider;

pub use bounded::Bounded;
pub use postgres::PostgresOrders;
pub use simulated_provider::SimulatedProvider;
