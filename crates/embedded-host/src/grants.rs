//! Grants: what `allowed_outbound_hosts` lets a component reach. The grammar is Spin's,
//! `<scheme>://<host>[:<port>]`, with `*` for each, `*.domain`, a CIDR block for the host and `start..end` for the
//! port (the end not included). A grant to `self` is not implemented and refused.

use std::net::IpAddr;
use std::ops::Range;

use url::Host;

use crate::variables::{Template, Variables};

/// Everything that one component may reach.
#[derive(Debug, Default)]
pub(crate) struct Grants(Vec<Grant>);

impl Grants {
    /// Fills in the templates. A templated grant that comes out empty (or as `http://`) is none: the endpoint is
    /// optional.
    pub(crate) fn resolve(templates: &[Template], variables: &Variables) -> Result<Grants, String> {
        let mut grants = Vec::new();
        for template in templates {
            let text = variables.render(template)?;
            if !template.is_literal() && matches!(text.as_str(), "" | "http://" | "https://") {
                continue;
            }
            // The text may have come out of a variable, so it is not repeated unless the manifest shows it.
            grants.push(Grant::parse(&text).map_err(|reason| match template.is_literal() {
                true => format!("allowed_outbound_hosts: \"{text}\": {reason}"),
                false => format!("allowed_outbound_hosts: a template comes out as no grant: {reason}"),
            })?);
        }
        Ok(Grants(grants))
    }

    /// Whether the component may connect there. `host` is a domain or an address (IPv6 in brackets); without a
    /// port it is the scheme's own.
    pub(crate) fn allow(&self, scheme: &str, host: &str, port: Option<u16>) -> bool {
        let Ok(host) = Host::parse(host) else { return false };
        let Some(port) = port.or_else(|| default_port(scheme)) else {
            return false;
        };
        self.0.iter().any(|grant| grant.allows(scheme, &host, port))
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Grant {
    /// `None` is any.
    scheme: Option<String>,
    host: HostRule,
    /// `None` is any.
    ports: Option<Range<u32>>,
}

#[derive(Debug, PartialEq, Eq)]
enum HostRule {
    Any,
    /// With its leading dot.
    Below(String),
    Exactly(Host),
    Block {
        address: IpAddr,
        prefix_bits: u8,
    },
}

impl Grant {
    fn parse(text: &str) -> Result<Grant, String> {
        let (scheme, rest) = text
            .trim()
            .split_once("://")
            .ok_or("it has no scheme, as in http://host")?;
        let (host, port) = split_port(rest);
        let port = match port.split_once('/') {
            Some((port, "")) => port,
            Some(_) => return Err("a grant may not have a path".to_owned()),
            None => port,
        };
        Ok(Grant {
            scheme: parse_scheme(scheme)?,
            host: HostRule::parse(host)?,
            ports: parse_ports(port, scheme)?,
        })
    }

    fn allows(&self, scheme: &str, host: &Host<String>, port: u16) -> bool {
        self.scheme.as_deref().is_none_or(|granted| granted == scheme)
            && self.host.allows(host)
            && self
                .ports
                .as_ref()
                .is_none_or(|ports| ports.contains(&u32::from(port)))
    }
}

/// The last colon begins a port, unless it stands inside an IPv6 address's brackets.
fn split_port(rest: &str) -> (&str, &str) {
    match rest.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port),
        _ => (rest, ""),
    }
}

fn parse_scheme(scheme: &str) -> Result<Option<String>, String> {
    if scheme == "*" {
        return Ok(None);
    }
    if scheme.is_empty() || !scheme.chars().all(char::is_alphabetic) {
        return Err("its scheme must be letters or *".to_owned());
    }
    Ok(Some(scheme.to_owned()))
}

fn parse_ports(port: &str, scheme: &str) -> Result<Option<Range<u32>>, String> {
    let number = |text: &str| {
        text.parse::<u16>()
            .map(u32::from)
            .map_err(|_| "its port is no number".to_owned())
    };
    match port {
        "*" => Ok(None),
        "" => {
            let port = default_port(scheme).ok_or("it needs a port: its scheme has none of its own")?;
            Ok(Some(u32::from(port)..u32::from(port) + 1))
        }
        _ => Ok(Some(match port.split_once("..") {
            Some((start, end)) => number(start)?..number(end)?,
            None => number(port)?..number(port)? + 1,
        })),
    }
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        "postgres" => Some(5432),
        "redis" => Some(6379),
        "mysql" => Some(3306),
        "mqtt" => Some(1883),
        _ => None,
    }
}

impl HostRule {
    fn parse(host: &str) -> Result<HostRule, String> {
        match host {
            "*" => return Ok(HostRule::Any),
            "self" | "self.alt" => return Err("a grant to self is not implemented".to_owned()),
            _ => {}
        }
        if let Some(block) = parse_block(host) {
            return Ok(block);
        }
        let host = host.strip_suffix('/').unwrap_or(host);
        if host.contains('/') {
            return Err("a grant may not have a path".to_owned());
        }
        let parse = |host: &str| Host::parse(host).map_err(|error| error.to_string());
        match host.strip_prefix("*.") {
            Some(domain) if domain.contains('*') => Err("* may only stand first in a host".to_owned()),
            Some(domain) => match parse(domain)? {
                Host::Domain(domain) => Ok(HostRule::Below(format!(".{domain}"))),
                _ => Err("*. may only stand before a domain".to_owned()),
            },
            None if host.contains('*') => Err("* may only stand for a host or as *.domain".to_owned()),
            None => Ok(HostRule::Exactly(parse(host)?)),
        }
    }

    fn allows(&self, host: &Host<String>) -> bool {
        match (self, host) {
            (HostRule::Any, _) => true,
            (HostRule::Below(suffix), Host::Domain(domain)) => domain.ends_with(suffix.as_str()),
            (HostRule::Exactly(granted), host) => granted == host,
            (HostRule::Block { address, prefix_bits }, Host::Ipv4(ip)) => {
                is_in_block(IpAddr::V4(*ip), *address, *prefix_bits)
            }
            (HostRule::Block { address, prefix_bits }, Host::Ipv6(ip)) => {
                is_in_block(IpAddr::V6(*ip), *address, *prefix_bits)
            }
            _ => false,
        }
    }
}

/// `10.0.0.0/8`.
fn parse_block(host: &str) -> Option<HostRule> {
    let (address, bits) = host.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let prefix_bits: u8 = bits.parse().ok()?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    (prefix_bits <= longest).then_some(HostRule::Block { address, prefix_bits })
}

fn is_in_block(ip: IpAddr, block: IpAddr, prefix_bits: u8) -> bool {
    match (ip, block) {
        (IpAddr::V4(ip), IpAddr::V4(block)) => {
            let differing = ip.to_bits() ^ block.to_bits();
            differing.leading_zeros() >= u32::from(prefix_bits)
        }
        (IpAddr::V6(ip), IpAddr::V6(block)) => {
            let differing = ip.to_bits() ^ block.to_bits();
            differing.leading_zeros() >= u32::from(prefix_bits)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::collections::HashMap;

    use super::*;
    use crate::manifest::Variable;

    fn grants(texts: &[&str]) -> Grants {
        Grants(texts.iter().map(|text| Grant::parse(text).unwrap()).collect())
    }

    #[test]
    fn a_grant_allows_exactly_its_scheme_host_and_port() {
        for (grant, scheme, host, port, allowed) in [
            ("http://a.test", "http", "a.test", None, true),
            ("http://a.test", "http", "A.TEST", Some(80), true),
            ("http://a.test", "http", "a.test", Some(81), false),
            ("http://a.test", "https", "a.test", None, false),
            ("http://a.test", "http", "b.a.test", None, false),
            ("http://a.test/", "http", "a.test", None, true),
            ("http://a.test:8080/", "http", "a.test", Some(8080), true),
            ("http://a.test:*", "http", "a.test", Some(9), true),
            ("http://a.test:80..82", "http", "a.test", Some(81), true),
            ("http://a.test:80..82", "http", "a.test", Some(82), false),
            ("*://a.test:80", "ftp", "a.test", Some(80), true),
            ("*://*:*", "redis", "anything", Some(1), true),
            ("http://*.a.test", "http", "b.a.test", None, true),
            ("http://*.a.test", "http", "a.test", None, false),
            ("http://*.a.test", "http", "ba.test", None, false),
            ("postgres://127.0.0.1", "postgres", "127.0.0.1", None, true),
            ("postgres://127.0.0.1:5432", "postgres", "127.0.0.1", None, true),
            ("postgres://127.0.0.1:5432", "postgres", "localhost", None, false),
            (
                "postgres://127.0.0.1:5432",
                "postgres",
                "127.0.0.1",
                Some(5433),
                false,
            ),
            ("redis://10.0.0.0/8:6379", "redis", "10.1.2.3", None, true),
            ("redis://[::1]:6379", "redis", "[::1]", None, true),
            ("redis://[::1]", "redis", "[::1]", None, true),
        ] {
            let parsed = Grant::parse(grant);
            let Ok(parsed) = parsed else {
                assert!(!allowed, "{grant} must parse");
                continue;
            };
            assert_eq!(
                Grants(vec![parsed]).allow(scheme, host, port),
                allowed,
                "{grant} {scheme}://{host} {port:?}"
            );
        }
    }

    #[test]
    fn a_block_of_addresses_allows_what_is_in_it() {
        let grants = grants(&["http://10.0.0.0/8"]);
        assert!(grants.allow("http", "10.200.3.4", None));
        assert!(!grants.allow("http", "11.0.0.1", None));
        assert!(!grants.allow("http", "ten.test", None));
    }

    #[test]
    fn no_grant_allows_nothing() {
        assert!(!Grants::default().allow("http", "a.test", None));
        assert!(!grants(&["http://a.test"]).allow("http", "a .test", None));
    }

    #[test]
    fn what_is_no_grant_is_refused() {
        for (text, reason) in [
            ("a.test", "no scheme"),
            ("http://a.test/path", "path"),
            ("http://a.test:80/path", "path"),
            ("postgres://u:p@a.test", ""),
            ("http://a.test:x", "port"),
            ("http://a.test:99999", "port"),
            ("foo://a.test", "needs a port"),
            ("*://a.test", "needs a port"),
            ("h-p://a.test:1", "scheme"),
            ("http://a.*.test", "*"),
            ("http://*.*.test", "*"),
            ("http://*.127.0.0.1", "domain"),
            ("http://self", "self"),
            ("http://", ""),
            ("*", "no scheme"),
            ("{http,https}://a.test", "scheme"),
        ] {
            let refusal = Grant::parse(text).expect_err(text);
            assert!(refusal.contains(reason), "{text}: {refusal}");
        }
    }

    #[test]
    fn a_template_may_come_out_empty_and_a_literal_may_not() {
        let declared = HashMap::from([(
            "url".to_owned(),
            Variable {
                default: Some(String::new()),
                secret: false,
            },
        )]);
        let variables = Variables::resolve(&declared, &[], &HashMap::new()).unwrap();
        let resolve = |text| Grants::resolve(&[Template::parse(text).unwrap()], &variables);
        assert!(resolve("{{ url }}").unwrap().0.is_empty());
        assert!(resolve("http://{{ url }}").unwrap().0.is_empty());
        assert!(resolve("").is_err());
    }

    proptest! {
        #[test]
        fn no_grant_does_harm(text in prop_oneof![".{0,40}", "[a-z*]{0,6}://[a-z0-9.*:/\\[\\]@-]{0,30}"]) {
            let _ = Grant::parse(&text);
        }

        #[test]
        fn a_grant_for_a_host_admits_that_host_alone(
            granted in "[a-z]{1,8}\\.test", asked in "[a-z]{1,8}\\.test", port in 1..u16::MAX, other in 1..u16::MAX,
        ) {
            let grant = Grant::parse(&format!("http://{granted}:{port}")).unwrap();
            let allowed = grant.allows("http", &Host::parse(&asked).unwrap(), other);
            prop_assert_eq!(allowed, granted == asked && port == other);
        }
    }
}
