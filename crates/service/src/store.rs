//! What can go wrong between a use case and whatever keeps its state: the error that every port speaks.

use crate::log::{self, Level};
use crate::problem::Problem;

/// Why state could not be read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The store is down, too busy or too slow. A write that ends so may have happened all the same.
    #[error("the store does not answer: {0}")]
    Unavailable(String),
    /// Another transaction was in the way: decide again.
    #[error("another transaction was in the way")]
    Contention,
    /// A named constraint of the schema refused the write.
    #[error("the constraint {0} refused the write")]
    Constraint(String),
    /// A mistake of ours: a statement or a type that does not fit.
    #[error("a statement failed: {0}")]
    Mistake(String),
}

impl From<StoreError> for Problem {
    /// Logs what a client is not told.
    fn from(error: StoreError) -> Self {
        let text = error.to_string();
        match error {
            StoreError::Unavailable(_) | StoreError::Contention => {
                log::line(Level::Warn, "store unavailable", &[("error", &text)]);
                Self::unavailable()
            }
            StoreError::Constraint(_) | StoreError::Mistake(_) => {
                log::line(Level::Error, "store mistake", &[("error", &text)]);
                Self::internal()
            }
        }
    }
}
