//! What auth does, and what it needs for that.

mod manage_users;
mod me;
mod ports;
mod refresh;
mod sign_in;

pub use manage_users::{ChangeUserError, change_user};
pub use me::me;
pub use ports::{
    AccessToken, Admission, Attempt, Fault, FoundSession, Guesses, NewSession, Outcome, PasswordHasher,
    Sessions, Stored, TokenIssuer, UserFilter, Users,
};
pub use refresh::{RefreshError, log_out, refresh};
pub use sign_in::{Login, LoginError, Register, RegisterError, SignedIn, login, register};

/// How often a change that came too late is decided again before it is given up (R1).
const ATTEMPTS: usize = 3;

#[cfg(test)]
mod fakes;
