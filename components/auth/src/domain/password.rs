//! Passwords, as long as they are in the clear.

use super::Email;
use super::common_passwords::{folded, is_common, is_made_of};
use std::fmt;

/// A password. It is never shown, logged or kept.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

/// Why a text may not be chosen as a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPassword {
    #[error("must have 8 to 128 characters")]
    Length,
    #[error("must not be one of the passwords that are guessed first")]
    Common,
    #[error("must not be the e-mail address, a part of it, or the shop's name")]
    Personal,
}

impl Password {
    /// What somebody claims to be their password: anything, for the rules may have been others when it was chosen.
    #[must_use]
    pub fn claimed(text: String) -> Self {
        Self(text)
    }

    /// A new password of whoever has this address, if that is one: 8 to 128 characters, whichever they are, but none of
    /// the passwords that are guessed first.
    ///
    /// # Errors
    /// If it is shorter, longer, or easily guessed.
    pub fn chosen(text: String, owner: Option<&Email>) -> Result<Self, InvalidPassword> {
        if !(8..=128).contains(&text.chars().count()) {
            return Err(InvalidPassword::Length);
        }
        if is_common(&text) {
            return Err(InvalidPassword::Common);
        }
        let known = owner.map(|email| [email.as_str(), email.local_part(), email.domain()].map(folded));
        if is_made_of(&text, known.as_ref().map_or(&[][..], |known| &known[..])) {
            return Err(InvalidPassword::Personal);
        }
        Ok(Self(text))
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

    fn chosen(text: &str) -> Result<Password, InvalidPassword> {
        let owner = Email::try_from("Rosengaertner@Example.com".to_owned()).unwrap();
        Password::chosen(text.to_owned(), Some(&owner))
    }

    #[test]
    fn a_new_password_has_8_to_128_characters_of_any_kind() {
        for text in ["73019264", "ro\0se\0\0\0", "пароль!?ж", &"🌹ж🌷я🌻".repeat(25)] {
            assert!(chosen(text).is_ok(), "{text:?}");
        }
        for text in ["", "1234567", "🌹🌹🌹🌹🌹🌹🌹", &"x".repeat(129)] {
            assert_eq!(chosen(text), Err(InvalidPassword::Length), "{text:?}");
        }
    }

    #[test]
    fn a_new_password_is_none_that_is_guessed_first() {
        for text in ["password", "12345678", "ＰＡＳＳＷＯＲＤ１", "iloveyou!"] {
            assert_eq!(chosen(text), Err(InvalidPassword::Common), "{text:?}");
        }
        for text in [
            "rosengaertner",
            "ROSENGAERTNER1",
            "rosengaertner@example.com",
            "example.com",
            "flower shop",
        ] {
            assert_eq!(chosen(text), Err(InvalidPassword::Personal), "{text:?}");
        }
        // Of somebody else it says nothing.
        assert!(Password::chosen("rosengaertner".to_owned(), None).is_ok());
    }

    #[test]
    fn a_password_is_not_shown() {
        let shown = format!("{:?}", Password::claimed("hunter22".to_owned()));
        assert!(!shown.contains("hunter22"));
    }
}
