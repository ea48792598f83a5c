//! Prints the hash that auth keeps of a password, for data that is written by hand:
//! `cargo run --release -p auth --example password_hash -- 12 admin123`.

use auth::application::PasswordHasher as _;
use auth::domain::Password;
use auth::infrastructure::Bcrypt;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let cost = arguments.next().and_then(|cost| cost.parse().ok());
    let (Some(cost), Some(password)) = (cost, arguments.next()) else {
        eprintln!("usage: password_hash <cost> <password>");
        return ExitCode::FAILURE;
    };
    let hashed = Bcrypt::new(cost)
        .map_err(|error| error.to_string())
        .and_then(|hasher| {
            hasher
                .hash(&Password::claimed(password))
                .map_err(|fault| fault.to_string())
        });
    match hashed {
        Ok(hash) => {
            println!("{}", hash.as_str());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
