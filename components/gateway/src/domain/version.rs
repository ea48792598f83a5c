//! Versions of the API that go: what an operator announces, and what every answer under such a prefix says.

use super::Field;
use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use service::request::PREFIXES;
use std::str::FromStr;

/// The prefixes that are being retired.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retiring(Vec<Version>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Version {
    prefix: &'static str,
    fields: Vec<Field>,
    /// When it is answered no more.
    gone_from: Option<DateTime<Utc>>,
}

/// A text that is no list of such prefixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRetiring;

impl Retiring {
    /// How an operator writes it.
    pub const SPELLING: &str = "is no list like `/api/v1 deprecated=2027-01-01 sunset=2027-07-01 \
        link=https://shop.example/v2 gone`, whose parts are separated by `;`";

    /// What every answer under this prefix says.
    #[must_use]
    pub fn fields(&self, prefix: &str) -> &[Field] {
        self.find(prefix).map_or(&[], |version| version.fields.as_slice())
    }

    /// Whether this prefix is answered no more.
    #[must_use]
    pub fn is_gone(&self, prefix: &str, now: DateTime<Utc>) -> bool {
        let gone_from = self.find(prefix).and_then(|version| version.gone_from);
        gone_from.is_some_and(|moment| now >= moment)
    }

    fn find(&self, prefix: &str) -> Option<&Version> {
        self.0.iter().find(|version| version.prefix == prefix)
    }
}

impl FromStr for Retiring {
    type Err = NoRetiring;

    fn from_str(text: &str) -> Result<Self, NoRetiring> {
        let parts = text.split(';').map(str::trim).filter(|part| !part.is_empty());
        let versions: Vec<Version> = parts.map(str::parse).collect::<Result<_, _>>()?;
        let is_named_twice = |(place, version): (usize, &Version)| {
            versions[..place]
                .iter()
                .any(|other| other.prefix == version.prefix)
        };
        if versions.iter().enumerate().any(is_named_twice) {
            return Err(NoRetiring);
        }
        Ok(Self(versions))
    }
}

impl FromStr for Version {
    type Err = NoRetiring;

    fn from_str(text: &str) -> Result<Self, NoRetiring> {
        let mut words = text.split_whitespace();
        let prefix = words.next().ok_or(NoRetiring)?;
        let prefix = PREFIXES
            .into_iter()
            .find(|known| *known == prefix)
            .ok_or(NoRetiring)?;
        let (mut deprecated, mut sunset, mut link, mut gone) = (None, None, None, false);
        for word in words {
            match word.split_once('=') {
                Some(("deprecated", date)) if deprecated.is_none() => deprecated = Some(midnight(date)?),
                Some(("sunset", date)) if sunset.is_none() => sunset = Some(midnight(date)?),
                Some(("link", address)) if link.is_none() && is_address(address) => link = Some(address),
                None if word == "gone" => gone = true,
                _ => return Err(NoRetiring),
            }
        }
        let deprecated = deprecated.ok_or(NoRetiring)?;
        // What is not deprecated yet cannot be gone (RFC 9745, section 4); what has no end, neither.
        if sunset.is_some_and(|sunset| sunset < deprecated) || (gone && sunset.is_none()) {
            return Err(NoRetiring);
        }
        let field = |name: &str, value: String| (name.to_owned(), value.into_bytes());
        let mut fields = vec![field("deprecation", format!("@{}", deprecated.timestamp()))];
        if let Some(sunset) = sunset {
            let date = sunset.format("%a, %d %b %Y %H:%M:%S GMT");
            fields.push(field("sunset", date.to_string()));
        }
        if let Some(address) = link {
            fields.push(field(
                "link",
                format!("<{address}>; rel=\"deprecation\"; type=\"text/html\""),
            ));
        }
        Ok(Self {
            prefix,
            fields,
            gone_from: sunset.filter(|_| gone),
        })
    }
}

/// The beginning of a day in UTC.
fn midnight(date: &str) -> Result<DateTime<Utc>, NoRetiring> {
    let day = NaiveDate::parse_from_str(date, "%Y-%m-%d").map_err(|_| NoRetiring)?;
    Ok(day.and_time(NaiveTime::MIN).and_utc())
}

/// Whether this can stand in a `Link` as it is.
fn is_address(text: &str) -> bool {
    let is_web = text.starts_with("https://") || text.starts_with("http://");
    is_web
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"<>\"".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(retiring: &Retiring, prefix: &str) -> Vec<String> {
        let line = |(name, value): &Field| format!("{name}: {}", String::from_utf8_lossy(value));
        retiring.fields(prefix).iter().map(line).collect()
    }

    #[test]
    fn a_version_says_since_when_it_is_deprecated_and_when_it_ends() {
        let retiring: Retiring =
            "/api/v1 deprecated=2027-01-01 sunset=2027-07-01 link=https://shop.example/v2?a=b"
                .parse()
                .unwrap();
        assert_eq!(
            told(&retiring, "/api/v1"),
            [
                "deprecation: @1798761600",
                "sunset: Thu, 01 Jul 2027 00:00:00 GMT",
                "link: <https://shop.example/v2?a=b>; rel=\"deprecation\"; type=\"text/html\"",
            ]
        );
        assert_eq!(told(&retiring, "/api"), Vec::<String>::new());
        assert_eq!(told(&retiring, ""), Vec::<String>::new());
    }

    #[test]
    fn it_is_gone_after_its_sunset_if_the_operator_says_so() {
        let stays: Retiring = "/api/v1 deprecated=2027-01-01 sunset=2027-07-01".parse().unwrap();
        let goes: Retiring =
            "/api deprecated=2027-01-01;/api/v1 deprecated=2027-01-01 sunset=2027-07-01 gone;"
                .parse()
                .unwrap();
        let (before, after) = (midnight("2027-06-30").unwrap(), midnight("2027-07-01").unwrap());
        assert!(!goes.is_gone("/api/v1", before));
        assert!(goes.is_gone("/api/v1", after));
        assert!(!goes.is_gone("/api", after) && !goes.is_gone("", after));
        assert!(!stays.is_gone("/api/v1", after));
    }

    #[test]
    fn what_cannot_be_announced_is_refused() {
        for text in [
            "/api/v1",
            "/api/v2 deprecated=2027-01-01",
            "v1 deprecated=2027-01-01",
            "/api/v1 sunset=2027-01-01",
            "/api/v1 deprecated=2027-13-01",
            "/api/v1 deprecated=soon",
            "/api/v1 deprecated=2027-07-01 sunset=2027-01-01",
            "/api/v1 deprecated=2027-01-01 gone",
            "/api/v1 deprecated=2027-01-01 deprecated=2027-01-02",
            "/api/v1 deprecated=2027-01-01 link=ftp://x",
            "/api/v1 deprecated=2027-01-01 link=https://x>",
            "/api/v1 deprecated=2027-01-01 later",
            "/api/v1 deprecated=2027-01-01; /api/v1 deprecated=2027-01-02",
        ] {
            assert_eq!(Retiring::from_str(text), Err(NoRetiring), "{text}");
        }
        assert_eq!(Retiring::from_str(""), Ok(Retiring::default()));
    }
}
