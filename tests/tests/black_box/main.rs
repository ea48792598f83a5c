//! The shop over HTTP alone, wherever it runs: `SHOP_TEST_BASE_URL` says where, and demo data is there.
//! `cargo xtask test` points it at a shop in the embedded host, `cargo xtask test --against URL` at any other.

mod accounts;
mod catalog;
mod compensation;
mod delivery;
mod description;
mod gateway;
mod idempotency;
mod isolation;
mod orders;
mod payments;
mod requests;
mod saga;
mod tour;

use anyhow::Result;
use shop_tests::Actor;
use shop_tests::environment::variable;

/// Somebody at the door of the shop.
fn anybody() -> Result<Actor> {
    Actor::anonymous(&variable("SHOP_TEST_BASE_URL")?)
}
