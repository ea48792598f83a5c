//! Money in integer minor units.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;

/// The currencies that the shop takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Currency {
    Rub,
}

impl Currency {
    /// The ISO 4217 code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Rub => "RUB",
        }
    }

    /// How many decimal digits the minor unit has (ISO 4217).
    #[must_use]
    pub fn minor_digits(self) -> usize {
        match self {
            Self::Rub => 2,
        }
    }
}

/// How many digits an amount may have before its point: such an amount always fits.
const MAX_WHOLE_DIGITS: usize = 16;

/// An amount that is never negative, in the currency's minor unit. In JSON
/// `{"amount": "150.00", "currency": "RUB"}`, with up to 16 digits before the point and exactly the currency's minor
/// digits after it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Money {
    minor: i64,
    currency: Currency,
}

/// An amount that is no money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMoney {
    #[error("must be a decimal string with exactly {0} digits after the point, like \"150.00\"")]
    Format(usize),
    #[error("is too large")]
    TooLarge,
    #[error("must not be negative")]
    Negative,
}

impl Money {
    /// Nothing, in roubles.
    pub const ZERO: Self = Self {
        minor: 0,
        currency: Currency::Rub,
    };

    /// `minor` kopecks.
    ///
    /// # Errors
    /// If `minor` is negative.
    pub fn rub(minor: i64) -> Result<Self, InvalidMoney> {
        if minor < 0 {
            Err(InvalidMoney::Negative)
        } else {
            Ok(Self {
                minor,
                currency: Currency::Rub,
            })
        }
    }

    /// The amount in the minor unit.
    #[must_use]
    pub fn minor(self) -> i64 {
        self.minor
    }

    /// The currency.
    #[must_use]
    pub fn currency(self) -> Currency {
        self.currency
    }

    /// This amount `quantity` times.
    ///
    /// # Errors
    /// If the product does not fit.
    pub fn times(self, quantity: u32) -> Result<Self, InvalidMoney> {
        let minor = self
            .minor
            .checked_mul(i64::from(quantity))
            .ok_or(InvalidMoney::TooLarge)?;
        Ok(Self { minor, ..self })
    }

    /// Both amounts together.
    ///
    /// # Errors
    /// If the sum does not fit.
    pub fn plus(self, other: Self) -> Result<Self, InvalidMoney> {
        let minor = self
            .minor
            .checked_add(other.minor)
            .ok_or(InvalidMoney::TooLarge)?;
        Ok(Self { minor, ..self })
    }

    fn parse(amount: &str, currency: Currency) -> Result<Self, InvalidMoney> {
        let digits = currency.minor_digits();
        let format = InvalidMoney::Format(digits);
        let (whole, fraction) = amount.split_once('.').ok_or(format)?;
        let all_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let leading_zero = whole.len() > 1 && whole.starts_with('0');
        if !all_digits(whole) || !all_digits(fraction) || fraction.len() != digits || leading_zero {
            return Err(format);
        }
        if whole.len() > MAX_WHOLE_DIGITS {
            return Err(InvalidMoney::TooLarge);
        }
        let minor = format!("{whole}{fraction}")
            .parse()
            .map_err(|_| InvalidMoney::TooLarge)?;
        Ok(Self { minor, currency })
    }
}

impl fmt::Display for Money {
    /// The amount alone: `150.00`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.currency.minor_digits();
        let text = format!("{:0width$}", self.minor, width = digits + 1);
        let (whole, fraction) = text.split_at(text.len() - digits);
        write!(formatter, "{whole}.{fraction}")
    }
}

impl fmt::Debug for Money {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{self} {}", self.currency.code())
    }
}

#[derive(Serialize)]
struct WrittenMoney {
    amount: String,
    currency: Currency,
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        WrittenMoney {
            amount: self.to_string(),
            currency: self.currency,
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Money {
    /// Takes a JSON object alone: a derived struct would take an array too.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MoneyVisitor)
    }
}

struct MoneyVisitor;

impl<'de> de::Visitor<'de> for MoneyVisitor {
    type Value = Money;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(r#"money like {"amount": "150.00", "currency": "RUB"}"#)
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Money, A::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct ReadMoney {
            amount: String,
            currency: Currency,
        }
        let read = ReadMoney::deserialize(de::value::MapAccessDeserializer::new(map))?;
        Money::parse(&read.amount, read.currency).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(amount: &str) -> Result<Money, serde_json::Error> {
        serde_json::from_str(&format!(r#"{{"amount": {amount}, "currency": "RUB"}}"#))
    }

    #[test]
    fn money_reads_and_writes_a_decimal_string_with_two_digits() {
        for (text, minor) in [
            ("0.00", 0),
            ("0.05", 5),
            ("150.00", 15_000),
            ("9999999.99", 999_999_999),
            ("9999999999999999.99", 999_999_999_999_999_999),
        ] {
            let money = read(&format!("{text:?}")).unwrap();
            assert_eq!(money.minor(), minor);
            assert_eq!(serde_json::to_value(money).unwrap()["amount"], text);
        }
    }

    #[test]
    fn everything_else_is_refused() {
        let amounts = [
            "150.00",
            r#""150""#,
            r#""150.0""#,
            r#""150.000""#,
            r#""-1.00""#,
            r#""+1.00""#,
            r#"".50""#,
            r#""1.""#,
            r#""1e2""#,
            r#""01.00""#,
            r#""1,00""#,
            r#""٣.00""#,
            r#"" 1.00""#,
            r#""""#,
            "null",
            r#""10000000000000000.00""#,
            r#""99999999999999999999.00""#,
        ];
        for amount in amounts {
            assert!(read(amount).is_err(), "{amount}");
        }
        for json in [
            r#"["1.00", "RUB"]"#,
            r#"{"amount": "1.00", "currency": "USD"}"#,
            r#"{"amount": "1.00"}"#,
        ] {
            assert!(serde_json::from_str::<Money>(json).is_err(), "{json}");
        }
    }

    #[test]
    fn sums_and_products_that_do_not_fit_are_refused() {
        let most = Money::rub(i64::MAX).unwrap();
        assert_eq!(most.plus(Money::rub(1).unwrap()), Err(InvalidMoney::TooLarge));
        assert_eq!(most.times(2), Err(InvalidMoney::TooLarge));
    }

    proptest! {
        #[test]
        fn no_text_does_harm_as_an_amount(amount in prop_oneof![".{0,30}", "[0-9]{0,25}\\.?[0-9]{0,4}"]) {
            if let Ok(money) = Money::parse(&amount, Currency::Rub) {
                prop_assert_eq!(money.to_string(), amount);
            }
        }

        #[test]
        fn every_amount_of_16_digits_reads_as_it_was_written(minor in 0..1_000_000_000_000_000_000_i64) {
            let money = Money::rub(minor).unwrap();
            prop_assert_eq!(Money::parse(&money.to_string(), Currency::Rub), Ok(money));
        }
    }
}
