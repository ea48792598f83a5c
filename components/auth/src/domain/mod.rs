//! Who a user is: addresses, names and passwords that hold; their sessions; and how guessing is slowed. No I/O, no JSON,
//! no SDK.

mod common_passwords;
mod email;
mod full_name;
mod guessing;
mod password;
mod session;
mod user;

pub use common_passwords::known_prefixes;
pub use email::{Email, InvalidEmail};
pub use full_name::{FullName, InvalidFullName};
pub use guessing::{Claim, Lane, Limit, OF_ACCOUNT, OF_CLIENT};
pub use password::{InvalidPassword, Password};
pub use session::{Exchange, Presented, RefreshToken, Session, TokenHash};
pub use user::{Account, PasswordHash, Role, User, UserChange, UserPatch};
