//! Passwords, as long as they are in the clear.

use std::fmt;

/// A password. It is never shown, logged or kept.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

/// A text that may not be chosen as a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must have 8 to 128 characters")]
pub struct InvalidPassword;

impl Password {
    /// What somebody claims to be their password: anything, for the rules may have been others when it was chosen.
    #[must_use]
    pub fn claimed(text: String) -> Self {
        Self(text)
    }

    /// A new password: 8 to 128 characters, whichever they are.
    ///
    /// # Errors
    /// If it is shorter or longer.
    pub fn chosen(text: String) -> Result<Self, InvalidPassword> {
        if (8..=128).contains(&text.chars().count()) {
            Ok(Self(text))
        } else {
            Err(InvalidPassword)
        }
    }

    /// The password itself, for whoever hashes it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Password(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_password_has_8_to_128_characters_of_any_kind() {
        for text in ["12345678", "\0\0\0\0\0\0\0\0", "пароль!!", &"🌹".repeat(128)] {
            assert!(Password::chosen(text.to_owned()).is_ok(), "{text:?}");
        }
        for text in ["", "1234567", "🌹🌹🌹🌹🌹🌹🌹", &"x".repeat(129)] {
            assert_eq!(
                Password::chosen(text.to_owned()),
                Err(InvalidPassword),
                "{text:?}"
            );
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        let shown = format!("{:?}", Password::claimed("hunter22".to_owned()));
        assert!(!shown.contains("hunter22"));
    }
}
