//! Delivery over HTTP: routes, shapes, and which problem each refusal is.

#[cfg(test)]
mod description;
mod routes;
mod shapes;

pub use routes::router;
