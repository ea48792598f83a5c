//! Delivery's port on Spin's Postgres. Each statement stands in its own file under `sql/`.

mod postgres;

pub use postgres::PostgresShipments;
