//! Lists, a page at a time.

use crate::request::Query;
use crate::validation::FieldErrors;
use serde::Serialize;

const DEFAULT_LIMIT: i64 = 20;
const MAX_LIMIT: i64 = 100;
const MAX_SKIP: i64 = 1_000_000;

/// Which part of a list is asked for: `?skip=0&limit=20`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageQuery {
    pub skip: i64,
    pub limit: i64,
}

impl PageQuery {
    /// Reads `skip` and `limit`; what does not hold is noted in `errors`.
    pub fn read(query: &Query, errors: &mut FieldErrors) -> Self {
        let skip = bounded(query, "skip", 0, 0, MAX_SKIP, errors);
        let limit = bounded(query, "limit", DEFAULT_LIMIT, 1, MAX_LIMIT, errors);
        Self { skip, limit }
    }
}

fn bounded(query: &Query, name: &str, default: i64, min: i64, max: i64, errors: &mut FieldErrors) -> i64 {
    let Some(text) = query.text(name, errors) else {
        return default;
    };
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(value) if digits && (min..=max).contains(&value) => value,
        _ => {
            errors.add(name, format!("must be a whole number from {min} to {max}"));
            default
        }
    }
}

/// One page of a list.
#[derive(Clone, Debug, Serialize)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// How many there are in all.
    pub total: i64,
    pub skip: i64,
    pub limit: i64,
}

impl<T> Page<T> {
    #[must_use]
    pub fn new(query: PageQuery, total: i64, items: Vec<T>) -> Self {
        Self {
            items,
            total,
            skip: query.skip,
            limit: query.limit,
        }
    }

    /// The same page of something else.
    #[must_use]
    pub fn map<U>(self, shape: impl FnMut(T) -> U) -> Page<U> {
        let items = self.items.into_iter().map(shape).collect();
        Page {
            items,
            total: self.total,
            skip: self.skip,
            limit: self.limit,
        }
    }
}
