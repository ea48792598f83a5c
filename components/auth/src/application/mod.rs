//! What auth does, and what it needs for that.

mod me;
mod ports;
mod sign_in;

pub use me::me;
pub use ports::{AccessToken, Fault, PasswordHasher, TokenIssuer, Users};
pub use sign_in::{LoginError, Register, RegisterError, SignedIn, login, register};

#[cfg(test)]
mod fakes;
