//! What a request that may have been sent before comes to.

use crate::domain::Order;
use service::idempotency::Known;

/// What a request came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It was done, and the answer to it is kept if it has a key.
    Stored(Order),
    /// There was nothing to do. No answer is kept.
    Unchanged(Order),
    /// Its key was used before.
    Known(Known),
}
