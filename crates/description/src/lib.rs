//! Describes the shop's HTTP API in OpenAPI 3.1.
//!
//! A description is made when tests run, never by a component: a service's tests make it from the service's routes and
//! shapes and hold it against the file `openapi.json` that the component serves as it is ([`expect_described`]). So it
//! costs a component nothing but those bytes, and none that differs from the code passes the tests.
//!
//! Here is what all services describe alike. What is theirs stands in their own `api/description.rs`. The events are
//! described here, too, in AsyncAPI.

#[cfg(test)]
mod asyncapi;
mod file;
mod merge;
mod operation;
pub mod problems;
mod service;
pub mod values;

pub use file::expect_file;
pub use merge::{Gateway, merge};
pub use operation::{Access, Operation, Taken, by_id, delete, get, patch, post, query};
pub use problems::Problem;
pub use service::{Description, expect_described};
