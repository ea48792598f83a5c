//! Who a user is: addresses, names and passwords that hold. No I/O, no JSON, no SDK.

mod email;
mod full_name;
mod password;
mod user;

pub use email::{Email, InvalidEmail};
pub use full_name::{FullName, InvalidFullName};
pub use password::{InvalidPassword, Password};
pub use user::{Account, PasswordHash, Role, User};
