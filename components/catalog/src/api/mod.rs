//! The catalog over HTTP: routes, shapes, and which problem each refusal is.

mod bouquets;
mod categories;
#[cfg(test)]
mod description;
mod flowers;
mod routes;
mod shapes;

pub use routes::router;
