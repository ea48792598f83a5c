//! The ways out: to the services, as chained calls over `wasi:http`, and to what all instances share, in Redis.

mod chain;
mod shared;

pub use chain::{Asking, Call, Chain, Unanswered, outcome_of};
pub use shared::SharedInRedis;
