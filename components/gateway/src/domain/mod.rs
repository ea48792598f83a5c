//! What a gateway decides: where a path leads, and which header fields go along. No I/O, no JSON, no SDK.

mod fields;
mod route;

pub use fields::{Envelope, Field};
pub use route::{OWN, Page, Route, Service, find};
