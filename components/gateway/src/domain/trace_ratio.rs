//! How many of the traces that begin in the gateway are recorded. Where the host traces, none does: the host has begun it
//! and drawn the lot.

use std::str::FromStr;
use uuid::Uuid;

/// A part of all traces, 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TraceRatio(f64);

/// A text that is no part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRatio;

impl TraceRatio {
    /// How an operator writes it.
    pub const SPELLING: &str = "is no number from 0 to 1";

    /// Whether the next one is recorded.
    #[must_use]
    pub fn draw(self) -> bool {
        // The first 32 bits of a version 4 are random (RFC 9562, section 5.4).
        let (random, ..) = Uuid::new_v4().as_fields();
        f64::from(random) < self.0 * (f64::from(u32::MAX) + 1.0)
    }
}

impl FromStr for TraceRatio {
    type Err = NoRatio;

    fn from_str(text: &str) -> Result<Self, NoRatio> {
        let ratio = text.parse().map_err(|_| NoRatio)?;
        match (0.0..=1.0).contains(&ratio) {
            true => Ok(Self(ratio)),
            false => Err(NoRatio),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn about_as_many_are_drawn_as_it_says() {
        let drawn = |ratio: &str| {
            let ratio: TraceRatio = ratio.parse().unwrap();
            (0..10_000).filter(|_| ratio.draw()).count()
        };
        assert_eq!((drawn("0"), drawn("1")), (0, 10_000));
        // Six standard deviations: 300 / sqrt(10,000 * 0.5 * 0.5).
        assert!((4_700..=5_300).contains(&drawn("0.5")));
    }

    #[test]
    fn what_is_no_part_is_refused() {
        for text in ["", "-0.1", "1.1", "NaN", "inf", "10%", "half"] {
            assert_eq!(text.parse::<TraceRatio>(), Err(NoRatio), "{text}");
        }
    }
}
