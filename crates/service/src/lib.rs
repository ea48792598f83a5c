//! What every component needs and none should write twice: configuration, requests and answers, problem details,
//! the bearer check, Postgres and Redis through Spin, the outbox row, the events endpoint,
//! idempotency keys and health.
//!
//! Nothing here knows what a flower is. `spin_sdk` is used by this crate and by the composition roots alone.

pub mod bearer;
pub mod conditional;
pub mod config;
pub mod database;
pub mod encoding;
pub mod events;
pub mod fixed;
pub mod health;
pub mod idempotency;
pub mod json;
pub mod keys;
pub mod log;
pub mod outbox;
pub mod page;
pub mod problem;
pub mod redis;
pub mod request;
pub mod response;
pub mod router;
pub mod security;
pub mod store;
pub mod token;
pub mod trace;
pub mod validation;

pub use bearer::{Bearer, Caller, Role};
pub use conditional::IfMatch;
pub use database::Database;
pub use fixed::Fixed;
pub use idempotency::IdempotencyKey;
pub use page::{Page, PageQuery};
pub use problem::Problem;
pub use request::Request;
pub use response::Response;
pub use router::Router;
pub use store::StoreError;
pub use validation::FieldErrors;
