//! The catalog's ports on Spin's Postgres and Redis. Each statement stands in its own file under `sql/`, each script
//! for Redis under `lua/`.

mod bouquets;
mod cache;
mod categories;
mod flowers;
mod reservations;

pub use bouquets::PostgresBouquets;
pub use cache::{Commands, RedisCache};
pub use categories::PostgresCategories;
pub use flowers::PostgresFlowers;
pub use reservations::PostgresReservations;
