//! Auth over HTTP: routes, shapes, and which problem each refusal is.

mod routes;
mod shapes;

pub use routes::router;
