//! Spin variables, read once per instance.

use spin_sdk::variables;

/// A variable that is absent or of no use. Its value is never repeated: it may be a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the variable {name} {reason}")]
pub struct ConfigError {
    pub name: &'static str,
    pub reason: &'static str,
}

/// The value of `name`.
///
/// # Errors
/// If it is not set, or its provider does not answer.
pub async fn variable(name: &'static str) -> Result<String, ConfigError> {
    variables::get(name).await.map_err(|error| {
        let reason = match error {
            variables::Error::Undefined(_) | variables::Error::InvalidName(_) => "is not set",
            variables::Error::Provider(_) | variables::Error::Other(_) => "could not be read",
        };
        ConfigError { name, reason }
    })
}

/// The value of `name`, read as a `T`.
///
/// # Errors
/// If it is not set, or is no `T`.
pub async fn parsed_variable<T: std::str::FromStr>(name: &'static str) -> Result<T, ConfigError> {
    variable(name).await?.trim().parse().map_err(|_| ConfigError {
        name,
        reason: "cannot be read",
    })
}
