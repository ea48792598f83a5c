//! Collects everything that is wrong with a request, so that a client mends it in one go.

use crate::problem::{FieldError, Problem};
use std::fmt::Display;

/// The fields found wanting so far.
#[derive(Debug, Default)]
pub struct FieldErrors(Vec<FieldError>);

impl FieldErrors {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The value, or `None` and a note that `field` does not hold.
    pub fn check<T>(&mut self, field: impl Into<String>, value: Result<T, impl Display>) -> Option<T> {
        match value {
            Ok(value) => Some(value),
            Err(error) => {
                self.add(field, error.to_string());
                None
            }
        }
    }

    /// Notes that `field` does not hold.
    pub fn add(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.0.push(FieldError {
            field: field.into(),
            message: message.into(),
        });
    }

    /// The problem that names every noted field.
    #[must_use]
    pub fn into_problem(self) -> Problem {
        Problem::invalid(self.0)
    }

    /// The parts, if all of them held.
    ///
    /// # Errors
    /// 422 with every noted field.
    pub fn finish<T>(self, parts: Option<T>) -> Result<T, Problem> {
        match parts {
            Some(parts) if self.0.is_empty() => Ok(parts),
            _ => Err(self.into_problem()),
        }
    }
}
