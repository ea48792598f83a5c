//! The texts of the catalog. None holds U+0000, which Postgres does not store; lengths are in characters.

/// A text that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidText {
    #[error("must have {min} to {max} characters")]
    Length { min: usize, max: usize },
    #[error("must not contain U+0000")]
    Null,
    #[error("must be an absolute http or https URL")]
    Url,
}

fn bounded(text: &str, min: usize, max: usize) -> Result<String, InvalidText> {
    if text.contains('\0') {
        return Err(InvalidText::Null);
    }
    if (min..=max).contains(&text.chars().count()) {
        Ok(text.to_owned())
    } else {
        Err(InvalidText::Length { min, max })
    }
}

macro_rules! texts {
    ($($(#[$doc:meta])* $name:ident($check:expr))+) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name(String);

        impl TryFrom<String> for $name {
            type Error = InvalidText;

            fn try_from(text: String) -> Result<Self, InvalidText> {
                let check: fn(&str) -> Result<String, InvalidText> = $check;
                check(&text).map(Self)
            }
        }

        impl From<$name> for String {
            fn from(text: $name) -> Self {
                text.0
            }
        }

        impl $name {
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
    )+};
}

texts! {
    /// What a thing is called: 1 to 200 characters after trimming.
    Name(|text| bounded(text.trim(), 1, 200))
    /// What is said of it: up to 5,000 characters, trimmed after they were counted.
    Description(|text| bounded(text, 0, 5_000).map(|text| text.trim().to_owned()))
    /// Where its picture is: an absolute `http` or `https` URL of up to 2,048 characters.
    ImageUrl(|text| bounded(text, 1, 2_048).and_then(|text| if is_http_url(&text) { Ok(text) } else { Err(InvalidText::Url) }))
    /// What a client looks for: a literal part of a name, blanks included, of up to 100 characters.
    Search(|text| bounded(text, 1, 100))
}

/// Whether `text` is made as RFC 3986 says, with a host and without credentials: a browser is to follow it.
fn is_http_url(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else {
        return false;
    };
    let known = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    known && is_authority(authority) && is_path(path)
}

fn is_authority(authority: &str) -> bool {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let named = !host.is_empty()
        && host
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let numbered = address.is_some_and(is_ipv6);
    (named || numbered) && port.is_none_or(is_port)
}

/// An IPv6 address in hex digits alone: no picture needs an IPv4 address within one.
fn is_ipv6(address: &str) -> bool {
    !address.contains('.') && address.parse::<std::net::Ipv6Addr>().is_ok()
}

/// One to five digits of up to 65,535: `parse` alone would take a sign and any number of zeros.
fn is_port(port: &str) -> bool {
    port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok()
}

/// Visible ASCII without what a URL must encode; `%` begins two hex digits.
fn is_path(path: &str) -> bool {
    let bytes = path.as_bytes();
    let escaped = |start: usize| {
        let digits = bytes.get(start + 1..start + 3);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    bytes.iter().enumerate().all(|(start, byte)| match byte {
        b'%' => escaped(start),
        b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' => false,
        byte => byte.is_ascii_graphic(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Result<String, InvalidText> {
        Name::try_from(text.to_owned()).map(String::from)
    }

    #[test]
    fn a_name_is_trimmed_and_has_1_to_200_characters() {
        assert_eq!(name("  Красная роза \n"), Ok("Красная роза".to_owned()));
        assert!(name(&"ж".repeat(200)).is_ok());
        for text in ["", " \t ", &"ж".repeat(201)] {
            assert!(name(text).is_err(), "{text}");
        }
        assert_eq!(name("Ro\0se"), Err(InvalidText::Null));
    }

    #[test]
    fn a_description_is_counted_as_it_was_sent_and_then_trimmed() {
        let description = |text: String| Description::try_from(text).map(String::from);
        assert_eq!(
            description("  It smells \n".to_owned()),
            Ok("It smells".to_owned())
        );
        assert_eq!(description("  ".to_owned()), Ok(String::new()));
        assert!(description("ж".repeat(5_000)).is_ok());
        assert!(description(" ".repeat(5_001)).is_err());
        assert_eq!(description(" \0".to_owned()), Err(InvalidText::Null));
    }

    #[test]
    fn a_search_keeps_its_blanks_and_has_up_to_100_characters() {
        assert_eq!(Search::try_from(" r".to_owned()).unwrap().as_str(), " r");
        assert!(Search::try_from("ж".repeat(100)).is_ok());
        assert!(Search::try_from("ж".repeat(101)).is_err());
        assert_eq!(Search::try_from("\0".to_owned()), Err(InvalidText::Null));
    }

    #[test]
    fn a_picture_is_at_an_absolute_http_url() {
        for url in [
            "http://example.com",
            "HTTPS://img.example.com:8443/a%20b/rose.png?size=2&x=[1]#top",
            "http://[::1]:80/rose.png",
            "http://[2001:db8:1:2:3:4:5:6]/",
            "https://example.com:65535",
            "https://example.com:00080",
            "https://example.com?rose",
        ] {
            assert!(ImageUrl::try_from(url.to_owned()).is_ok(), "{url}");
        }
        let long = format!("https://example.com/{}", "x".repeat(2_029));
        for url in [
            "",
            "rose.png",
            "//example.com/rose.png",
            "https:/example.com",
            "https://",
            "https:///rose.png",
            "https://:80/",
            "https://example.com:99999/",
            "https://example.com:65536/",
            "https://example.com:+80/",
            "https://example.com:000080/",
            "https://user:secret@example.com/",
            "javascript://example.com/%0aalert(1)",
            "data:image/png;base64,AA==",
            "ftp://example.com/rose.png",
            "https://example.com/a b",
            "https://example.com/<script>",
            "https://example.com/%zz",
            "https://пример.рф/",
            " https://example.com/",
            "https://[x]/",
            "https://[::1.2.3.4]/",
            &long,
        ] {
            assert!(ImageUrl::try_from(url.to_owned()).is_err(), "{url}");
        }
    }
}
