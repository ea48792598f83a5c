//! E-mail addresses: what is taken for one, and when two are the same.

use unicode_normalization::UnicodeNormalization as _;

const MAX_LOCAL_CHARS: usize = 64;
const MAX_CHARS: usize = 254;

/// What separates addresses or wraps them where they are shown or sent: no address of ours needs it.
const RESERVED: &str = "\"(),:;<>[\\]";

/// An e-mail address with one `@`, a local part of at most 64 characters and 254 in all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Email(String);

/// A text that is no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be an e-mail address: one @, at most {MAX_LOCAL_CHARS} characters before it and {MAX_CHARS} in all, \
     no spaces and none of {RESERVED}"
)]
pub struct InvalidEmail;

impl TryFrom<String> for Email {
    type Error = InvalidEmail;

    fn try_from(text: String) -> Result<Self, InvalidEmail> {
        let (local, domain) = text.split_once('@').ok_or(InvalidEmail)?;
        let holds = (1..=MAX_LOCAL_CHARS).contains(&local.chars().count())
            && !domain.is_empty()
            && !domain.contains('@')
            && text.chars().count() <= MAX_CHARS
            && !text
                .chars()
                .any(|char| char.is_whitespace() || char.is_control() || RESERVED.contains(char));
        if holds { Ok(Self(text)) } else { Err(InvalidEmail) }
    }
}

impl Email {
    /// As its owner wrote it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands before the `@`.
    #[must_use]
    pub fn local_part(&self) -> &str {
        self.0.split_once('@').map_or("", |(local, _)| local)
    }

    /// What stands after the `@`.
    #[must_use]
    pub fn domain(&self) -> &str {
        self.0.split_once('@').map_or("", |(_, domain)| domain)
    }

    /// What two spellings of one address share: without case, in every script, and however its accents are encoded.
    ///
    /// By way of upper case, because lower case alone keeps apart what upper case does not (`ς` and `σ`).
    #[must_use]
    pub fn key(&self) -> String {
        self.0
            .nfc()
            .flat_map(char::to_uppercase)
            .flat_map(char::to_lowercase)
            .nfc()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn email(text: &str) -> Result<Email, InvalidEmail> {
        text.to_owned().try_into()
    }

    #[test]
    fn an_address_has_one_at_sign_and_bounds() {
        let longest = format!("{}@{}", "a".repeat(64), "b".repeat(189));
        for text in ["rose@example.com", "r@x", "Zoë.O'Neil+shop@почта.рф", &longest] {
            assert_eq!(email(text).unwrap().as_str(), text);
        }
        let local = format!("{}@b", "a".repeat(65));
        let whole = format!("{longest}b");
        for text in [
            "",
            "@",
            "a@",
            "@b",
            "ab",
            "a@b@c",
            "a b@c",
            " a@b",
            "a@b\n",
            "a@b\0",
            "a@b\u{a0}",
            "<a@b>",
            "a,b@c",
            "\"a\"@b",
            &local,
            &whole,
        ] {
            assert_eq!(email(text), Err(InvalidEmail), "{text:?}");
        }
    }

    #[test]
    fn spellings_that_differ_in_case_or_encoding_are_one_address() {
        for (one, other) in [
            ("Rose@Example.COM", "rose@example.com"),
            ("РОЗА@почта.рф", "роза@ПОЧТА.РФ"),
            ("zoe\u{308}@x", "ZO\u{cb}@x"),
            ("ΟΔΥΣΣΕΥΣ@x", "οδυσσευς@x"),
        ] {
            assert_eq!(email(one).unwrap().key(), email(other).unwrap().key());
        }
        assert_ne!(email("rose@x").unwrap().key(), email("r.ose@x").unwrap().key());
    }
}
