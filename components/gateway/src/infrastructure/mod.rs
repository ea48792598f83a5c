//! The way to the services: chained calls over `wasi:http`.

mod chain;

pub use chain::{Asking, Call, Chain, Unanswered};
