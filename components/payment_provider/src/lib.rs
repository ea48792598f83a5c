//! A payment provider that takes no money, as a component of its own: payment imports `shop:payment/provider`, and
//! the manifest's dependencies say that this is who answers. This file wires the layers and does nothing else.
//!
//! A trap here would end every request of the instance that it is composed into, and a dependency has no timer, no
//! variables and no log of its own: whatever goes wrong is an answer, and the caller's patience is the limit.

pub mod api;
pub mod domain;
pub mod infrastructure;
