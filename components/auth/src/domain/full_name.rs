//! What a user wants to be called.

const MAX_CHARS: usize = 200;

/// A name of 1 to 200 characters after trimming, on one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FullName(String);

/// A text that is no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must have 1 to {MAX_CHARS} characters, none of them a control character")]
pub struct InvalidFullName;

impl TryFrom<String> for FullName {
    type Error = InvalidFullName;

    fn try_from(text: String) -> Result<Self, InvalidFullName> {
        let trimmed = text.trim();
        let holds = (1..=MAX_CHARS).contains(&trimmed.chars().count()) && !trimmed.contains(char::is_control);
        if holds {
            Ok(Self(trimmed.to_owned()))
        } else {
            Err(InvalidFullName)
        }
    }
}

impl From<FullName> for String {
    fn from(name: FullName) -> Self {
        name.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_trimmed_and_has_bounds() {
        let name = |text: &str| FullName::try_from(text.to_owned()).map(String::from);
        assert_eq!(name("  Роза Люксембург "), Ok("Роза Люксембург".to_owned()));
        assert!(name(&"ж".repeat(200)).is_ok());
        for text in ["", "  ", "a\0b", "a\nb", &"x".repeat(201)] {
            assert_eq!(name(text), Err(InvalidFullName), "{text:?}");
        }
    }
}
