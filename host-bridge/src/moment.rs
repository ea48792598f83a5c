//! Times and lengths of time, as an operator types them.

use chrono::{DateTime, Utc};
use std::str::FromStr;
use std::time::Duration;

/// A moment, or how long ago it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Since {
    At(DateTime<Utc>),
    Ago(Duration),
}

impl Since {
    /// The moment that is meant, now.
    pub(crate) fn moment(self) -> DateTime<Utc> {
        match self {
            Self::At(moment) => moment,
            Self::Ago(age) => Utc::now() - age,
        }
    }
}

impl FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(moment) = DateTime::parse_from_rfc3339(text) {
            return Ok(Self::At(moment.to_utc()));
        }
        age(text)
            .map(Self::Ago)
            .map_err(|_| "it is a time as 2026-01-31T12:00:00Z, or an age as 90s, 30m, 2h, 7d".to_owned())
    }
}

/// `90s`, `30m`, `2h` or `7d`.
pub(crate) fn age(text: &str) -> Result<Duration, String> {
    let wrong = || "it has the form 90s, 30m, 2h or 7d".to_owned();
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 60 * 60,
        'd' => 24 * 60 * 60,
        _ => return Err(wrong()),
    };
    let count: u32 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    Ok(Duration::from_secs(u64::from(count) * seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_has_a_unit() {
        assert_eq!(age("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(age("2h"), Ok(Duration::from_secs(7_200)));
        assert_eq!(age("7d"), Ok(Duration::from_secs(604_800)));
        for wrong in ["", "h", "90", "-1h", "1.5h", "2 h", "ß", "5000000000d"] {
            assert!(age(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_moment_is_a_time_or_an_age() {
        let at: Since = "2026-01-31T12:00:00+03:00".parse().unwrap();
        assert_eq!(at.moment().to_rfc3339(), "2026-01-31T09:00:00+00:00");
        assert_eq!("30m".parse(), Ok(Since::Ago(Duration::from_secs(1_800))));
        assert!("yesterday".parse::<Since>().is_err());
    }
}
