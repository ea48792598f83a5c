//! Points in time, to the microsecond: what Postgres keeps is what the API shows.

use chrono::{DateTime, NaiveDateTime, SubsecRound, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A point in time in UTC, written `YYYY-MM-DDThh:mm:ss.ffffffZ`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(DateTime<Utc>);

impl Timestamp {
    /// Now, by this machine's clock.
    #[must_use]
    pub fn now() -> Self {
        #[cfg(feature = "simulation")]
        if let Some(now) = simulation::CLOCK.get() {
            return now;
        }
        Utc::now().into()
    }

    /// The point in time that lies `duration` after this one.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        (self.0 + duration).into()
    }

    /// As Postgres' `timestamp` (without a zone), in UTC.
    #[must_use]
    pub fn naive(self) -> NaiveDateTime {
        self.0.naive_utc()
    }

    /// How many whole seconds lie between `earlier` and this; negative if `earlier` is later.
    #[must_use]
    pub fn seconds_since(self, earlier: Self) -> i64 {
        (self.0 - earlier.0).num_seconds()
    }
}

impl From<DateTime<Utc>> for Timestamp {
    fn from(time: DateTime<Utc>) -> Self {
        Self(time.trunc_subsecs(6))
    }
}

impl From<NaiveDateTime> for Timestamp {
    fn from(time: NaiveDateTime) -> Self {
        time.and_utc().into()
    }
}

/// Time as a simulation has it.
#[cfg(feature = "simulation")]
pub mod simulation {
    use super::Timestamp;
    use std::cell::Cell;

    thread_local! {
        pub(super) static CLOCK: Cell<Option<Timestamp>> = const { Cell::new(None) };
    }

    /// Has [`Timestamp::now`] say this on this thread, or the truth again.
    pub fn set_clock(now: Option<Timestamp>) {
        CLOCK.set(now);
    }
}

/// A text that is no time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a time like 2026-01-31T12:00:00Z (RFC 3339)")]
pub struct InvalidTime;

impl FromStr for Timestamp {
    type Err = InvalidTime;

    /// Takes every RFC 3339 time.
    fn from_str(text: &str) -> Result<Self, InvalidTime> {
        DateTime::parse_from_rfc3339(text)
            .map(|time| time.to_utc().into())
            .map_err(|_| InvalidTime)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0.format("%Y-%m-%dT%H:%M:%S%.6fZ"))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    /// Takes every RFC 3339 time.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let time =
            DateTime::parse_from_rfc3339(&text).map_err(|_| de::Error::custom("not an RFC 3339 time"))?;
        Ok(time.to_utc().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_time_keeps_six_digits_and_is_written_in_utc() {
        let time: Timestamp = serde_json::from_str(r#""2026-01-02T03:04:05.1234567+01:00""#).unwrap();
        assert_eq!(time.to_string(), "2026-01-02T02:04:05.123456Z");
        assert_eq!(Timestamp::from(time.naive()), time);
    }

    proptest! {
        #[test]
        fn no_text_does_harm_as_a_time_and_what_is_one_reads_as_it_was_written(
            text in prop_oneof![
                ".{0,40}",
                // A year that an offset does not make one of other than four digits.
                "[1-8][0-9]{3}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{0,12})?(Z|z|[+-][0-9]{2}:[0-9]{2})",
            ]
        ) {
            if let Ok(time) = text.parse::<Timestamp>() {
                prop_assert_eq!(time.to_string().parse::<Timestamp>(), Ok(time));
            }
        }
    }
}
