//! The number under which a recipient follows a shipment.

use std::fmt;
use uuid::Uuid;

/// Crockford's base 32: no letter is taken for a digit, in print or by telephone.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

const DIGITS: u32 = 12;

/// `FS` and 12 characters of base 32, drawn at random: nobody guesses a neighbour's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackingNumber(String);

impl TrackingNumber {
    /// A new number: 60 random bits. The schema keeps two shipments from sharing one.
    #[must_use]
    pub fn random() -> Self {
        // The version and the variant of a UUIDv4 lie above its lowest 62 bits.
        Self::of_bits(Uuid::new_v4().as_u128())
    }

    fn of_bits(bits: u128) -> Self {
        let digit = |position: u32| {
            let index = (bits >> (5 * position)) & 31;
            usize::try_from(index).map_or('0', |index| char::from(ALPHABET[index]))
        };
        Self(["FS".to_owned(), (0..DIGITS).map(digit).collect()].concat())
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for TrackingNumber {
    /// A number as it was stored.
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Display for TrackingNumber {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tracking_number_is_fs_and_twelve_characters_of_base_32() {
        for bits in [0, u128::MAX, 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef] {
            let number = TrackingNumber::of_bits(bits);
            let digits = number.as_str().strip_prefix("FS").unwrap();
            assert_eq!(digits.len(), 12);
            assert!(digits.bytes().all(|digit| ALPHABET.contains(&digit)), "{number}");
        }
    }

    #[test]
    fn every_character_of_a_tracking_number_is_random() {
        let numbers: Vec<_> = (0..1000).map(|_| TrackingNumber::random()).collect();
        for position in 2..14 {
            let mut seen: Vec<_> = numbers
                .iter()
                .map(|number| number.as_str().as_bytes()[position])
                .collect();
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen.len(), 32, "at {position}");
        }
    }
}
