//! Payment's ports on Spin's Postgres, and on the provider that is composed in. Each statement stands in its own
//! file under `sql/`.

mod bounded;
mod composed_provider;
mod postgres;

pub use bounded::Bounded;
pub use composed_provider::ComposedProvider;
pub use postgres::PostgresOrders;
