//! Auth's ports: accounts on Spin's Postgres (each statement in its own file under `sql/`), bcrypt, and JWTs.

mod bcrypt;
mod jwt;
mod postgres;

pub use bcrypt::Bcrypt;
pub use jwt::Jwt;
pub use postgres::PostgresAccounts;
