//! Why a shipment could not be delivered, in the courier's words.

use std::fmt;

/// 1 to 500 characters after trimming, without U+0000, which Postgres does not store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailureReason(String);

/// A text that is no reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must have 1 to 500 characters, U+0000 not among them")]
pub struct InvalidReason;

impl TryFrom<String> for FailureReason {
    type Error = InvalidReason;

    fn try_from(text: String) -> Result<Self, InvalidReason> {
        let text = text.trim();
        if (1..=500).contains(&text.chars().count()) && !text.contains('\0') {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidReason)
        }
    }
}

impl FailureReason {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FailureReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_trimmed_and_bounded() {
        let reason = |text: &str| FailureReason::try_from(text.to_owned());
        assert_eq!(reason(" nobody at home ").unwrap().as_str(), "nobody at home");
        assert!(reason(&"ж".repeat(500)).is_ok());
        for bad in ["", "  ", "a\0b", &"ж".repeat(501)] {
            assert_eq!(reason(bad), Err(InvalidReason));
        }
    }
}
