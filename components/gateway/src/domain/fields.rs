//! Which header fields go along: all but those of one connection (RFC 9110, section 7.6.1), the host's own, and
//! the shop's private ones, which only the gateway sets. And what they say of the client.

use service::request::is_sane_request_id;
use service::trace::Traceparent;
use std::mem::take;
use std::net::{IpAddr, SocketAddr};
use uuid::Uuid;

/// Name and value of one field.
pub type Field = (String, Vec<u8>);

const REQUEST_ID: &str = "x-request-id";
const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";
const PREFIX: &str = "x-forwarded-prefix";
const CONNECTION: &str = "connection";

/// What the host tells of the client: `10.0.0.1:51234`.
const HOST_CLIENT_ADDRESS: &str = "spin-client-addr";

/// What the host tells of the address that the client wrote: `https://shop.example/orders`.
const HOST_FULL_URL: &str = "spin-full-url";

/// What proxies tell of the client, each at the end of what it got: addresses, and the scheme that it wrote.
const FORWARDED_FOR: &str = "x-forwarded-for";
const FORWARDED_PROTO: &str = "x-forwarded-proto";

/// The most bytes that the fields of a request may have, names and values together.
const MAX_FIELD_BYTES: usize = 32 * 1024;

/// Of these, two would contradict each other.
const SINGLE: [&str; 3] = ["authorization", "content-type", "idempotency-key"];

/// What is wrong with the fields of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    TooLarge,
    /// This field is there twice.
    Doubled(&'static str),
}

/// Checks what a client sent, before anybody makes something of it.
///
/// # Errors
/// If it is too large, or says two things where it may say one.
pub fn inspect(fields: &[Field]) -> Result<(), Flaw> {
    let bytes: usize = fields.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > MAX_FIELD_BYTES {
        return Err(Flaw::TooLarge);
    }
    let count = |single: &str| {
        let found = fields
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case(single));
        found.count()
    };
    let doubled = SINGLE.into_iter().find(|single| count(single) > 1);
    doubled.map_or(Ok(()), |single| Err(Flaw::Doubled(single)))
}

/// The first field of this name, which is written in lower case.
#[must_use]
pub fn value<'a>(fields: &'a [Field], name: &str) -> Option<&'a [u8]> {
    let mut values = fields.iter().filter(|(other, _)| other == name);
    values.next().map(|(_, value)| value.as_slice())
}

/// The trace for the services: a host that traces by itself writes over the other (docs/spin.md).
const PRIVATE_TRACEPARENT: &str = "x-shop-traceparent";

/// By this a host asks which route answers, and is told: by the service, whose word goes on to the gateway's own host,
/// which strips it.
pub const ROUTE: &str = "x-shop-route";

/// By this the host is told how a service's breaker stands; it strips it, too.
pub const CIRCUIT: &str = "x-shop-circuit";

/// The client's address for the services, who believe it on a chained call alone.
const CLIENT_ADDRESS: &str = "x-shop-client-addr";

/// What names a request on its way, and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The client's own, if it is a sane one.
    pub request_id: String,
    pub trace: Traceparent,
    /// The client's, as far as it is known: of `trusted_proxies` each tells from whom it got the request.
    pub client: Option<IpAddr>,
    /// Whether the client came by https.
    pub https: bool,
}

impl Envelope {
    /// Takes the envelope out of a request's `fields`, with all that ends here. Whether a trace that begins here is
    /// recorded, `is_recorded` draws.
    #[must_use]
    pub fn open(fields: &mut Vec<Field>, trusted_proxies: usize, is_recorded: impl FnOnce() -> bool) -> Self {
        let named = lower_names(fields);
        let (mut request_id, mut trace, mut client, mut url) = (None, None, None, None);
        fields.retain_mut(|(name, value)| match name.as_str() {
            REQUEST_ID => {
                request_id.get_or_insert_with(|| take(value));
                false
            }
            TRACEPARENT => {
                trace.get_or_insert_with(|| take(value));
                false
            }
            HOST_CLIENT_ADDRESS => {
                // The host's own stands behind all that the client made up.
                client = Some(take(value));
                false
            }
            HOST_FULL_URL => {
                url = Some(take(value));
                false
            }
            name => !ends_here(name) && !named.iter().any(|other| other == name),
        });
        let trace = trace.and_then(text).and_then(|text| Traceparent::parse(&text));
        Self {
            request_id: request_id
                .and_then(text)
                .filter(|id| is_sane_request_id(id))
                .unwrap_or_else(|| Uuid::now_v7().to_string()),
            trace: trace.unwrap_or_else(|| {
                // It belongs to the traceparent that does not hold.
                fields.retain(|(name, _)| name != TRACESTATE);
                Traceparent::begin(is_recorded())
            }),
            client: trusted_proxies
                .checked_sub(1)
                .and_then(|place| entries(fields, FORWARDED_FOR).nth(place))
                .and_then(address)
                .or_else(|| client.and_then(text).and_then(|text| address(&text))),
            https: url.is_some_and(|url| url.starts_with(b"https:"))
                || entries(fields, FORWARDED_PROTO)
                    .take(trusted_proxies)
                    .last()
                    .is_some_and(|scheme| scheme.eq_ignore_ascii_case("https")),
        }
    }

    /// Adds to `fields` what a service is told of the request; `prefix` is what its path lost.
    pub fn seal(&self, fields: &mut Vec<Field>, prefix: &str) {
        let mut set = |name: &str, value: &str| fields.push((name.to_owned(), value.as_bytes().to_vec()));
        set(REQUEST_ID, &self.request_id);
        set(TRACEPARENT, self.trace.as_str());
        set(PRIVATE_TRACEPARENT, self.trace.as_str());
        if !prefix.is_empty() {
            set(PREFIX, prefix);
        }
        if let Some(client) = self.client {
            set(CLIENT_ADDRESS, &client.to_string());
        }
    }

    /// Makes the fields of a service's answer those of the client's; `false` if they were already.
    #[must_use]
    pub fn readdress(&self, fields: &mut Vec<Field>) -> bool {
        let named = lower_names(fields);
        let arrived = fields.len();
        fields.retain(|(name, _)| name == ROUTE || (!ends_here(name) && !named.contains(name)));
        if !fields.iter().any(|(name, _)| name == REQUEST_ID) {
            fields.push((REQUEST_ID.to_owned(), self.request_id.as_bytes().to_vec()));
            return true;
        }
        fields.len() != arrived
    }
}

/// Makes all names lower case; gives those that `Connection` names.
fn lower_names(fields: &mut [Field]) -> Vec<String> {
    let mut named = Vec::new();
    for (name, value) in fields {
        name.make_ascii_lowercase();
        if name == CONNECTION {
            let value = String::from_utf8_lossy(value);
            named.extend(value.split(',').map(|name| name.trim().to_ascii_lowercase()));
        }
    }
    named
}

/// Whether a field belongs to one connection, to the host, or to the gateway alone.
fn ends_here(name: &str) -> bool {
    matches!(
        name,
        "connection"
            // What it asks for has happened: the body is on its way.
            | "expect"
            | "host"
            | "http2-settings"
            | "keep-alive"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | PREFIX
    ) || ["proxy-", "spin-", "x-shop-"]
        .iter()
        .any(|family| name.starts_with(family))
}

fn text(value: Vec<u8>) -> Option<String> {
    String::from_utf8(value).ok()
}

fn address(text: &str) -> Option<IpAddr> {
    let with_port: Option<SocketAddr> = text.parse().ok();
    with_port
        .map(|address| address.ip())
        .or_else(|| text.trim_start_matches('[').trim_end_matches(']').parse().ok())
}

/// What proxies put into a list, each at its end: from the last one on. The address of a client is the entry of the
/// outermost of those that are trusted: who passed fewer of them has nothing there that could be believed. A scheme may
/// be set anew by each of them instead: then there is one entry, and it is the innermost's.
fn entries<'a>(fields: &'a [Field], name: &str) -> impl Iterator<Item = &'a str> {
    let lines = fields.iter().rev().filter(move |(other, _)| other == name);
    let entries = lines.flat_map(|(_, line)| line.rsplit(|byte| *byte == b','));
    // What is no text is nobody's address or scheme.
    entries.map(|entry| std::str::from_utf8(entry).unwrap_or_default().trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fields(pairs: &[(&str, &str)]) -> Vec<Field> {
        let field = |(name, value): &(&str, &str)| ((*name).to_owned(), value.as_bytes().to_vec());
        pairs.iter().map(field).collect()
    }

    /// What a service gets of a request that came with these fields.
    fn forwarded(pairs: &[(&str, &str)], prefix: &str) -> Vec<Field> {
        let mut fields = fields(pairs);
        let envelope = Envelope::open(&mut fields, 0, || true);
        envelope.seal(&mut fields, prefix);
        fields
    }

    fn value<'a>(fields: &'a [Field], name: &str) -> Option<&'a str> {
        let mut values = fields.iter().filter(|(other, _)| other == name);
        let value = values
            .next()
            .map(|(_, value)| std::str::from_utf8(value).unwrap());
        assert!(values.next().is_none(), "{name} is there twice");
        value
    }

    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn what_the_client_says_to_the_service_goes_along() {
        let sent = [
            ("authorization", "Bearer x"),
            ("content-type", "application/json"),
            ("content-length", "2"),
            ("accept", "a"),
            ("accept", "b"),
            ("cookie", "\u{e9}"),
            ("x-request-id", "my-id"),
            ("traceparent", TRACE),
            ("tracestate", "a=b"),
        ];
        let mut expected = fields(&sent);
        expected.extend(fields(&[("x-shop-traceparent", TRACE)]));
        let mut got = forwarded(&sent, "");
        expected.sort();
        got.sort();
        assert_eq!(got, expected);
    }

    #[test]
    fn what_belongs_to_one_connection_ends_at_the_gateway() {
        let got = forwarded(
            &[
                ("Connection", "close, X-Mine"),
                ("x-mine", "1"),
                ("Keep-Alive", "timeout=5"),
                ("Proxy-Authorization", "Basic x"),
                ("proxy-connection", "keep-alive"),
                ("TE", "trailers"),
                ("Trailer", "x-sum"),
                ("Transfer-Encoding", "chunked"),
                ("Upgrade", "websocket"),
                ("Host", "shop.example"),
                ("Expect", "100-continue"),
                ("accept", "a"),
            ],
            "",
        );
        let names: Vec<_> = got.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            ["accept", "x-request-id", "traceparent", "x-shop-traceparent"]
        );
    }

    #[test]
    fn no_client_speaks_for_the_gateway_or_the_host() {
        let got = forwarded(
            &[
                ("X-Forwarded-Prefix", "/evil"),
                ("x-shop-client-addr", "6.6.6.6"),
                (
                    "x-shop-traceparent",
                    "00-66666666666666666666666666666666-6666666666666666-01",
                ),
                ("traceparent", TRACE),
                ("X-Shop-Anything", "1"),
                ("spin-full-url", "http://evil/"),
                ("spin-client-addr", "6.6.6.6:6"),
                ("Spin-Client-Addr", "10.0.0.1:51234"),
            ],
            "/api/v1",
        );
        assert_eq!(value(&got, "x-forwarded-prefix"), Some("/api/v1"));
        assert_eq!(value(&got, "x-shop-client-addr"), Some("10.0.0.1"));
        assert_eq!(value(&got, "x-shop-traceparent"), Some(TRACE));
        assert!(!got.iter().any(|(name, _)| name.starts_with("spin-")));
        assert_eq!(value(&got, "x-shop-anything"), None);
    }

    #[test]
    fn an_address_is_passed_on_in_one_spelling_or_not_at_all() {
        let client = |text: &str| {
            let got = forwarded(&[("spin-client-addr", text)], "");
            value(&got, "x-shop-client-addr").map(str::to_owned)
        };
        assert_eq!(client("[2001:db8::1]:80").as_deref(), Some("2001:db8::1"));
        assert_eq!(client("127.0.0.1").as_deref(), Some("127.0.0.1"));
        assert_eq!(client("unix:"), None);
    }

    fn client_behind(proxies: usize, lines: &[&str]) -> Option<String> {
        let mut sent = fields(&[("spin-client-addr", "10.0.0.9:1")]);
        for line in lines {
            sent.push(("X-Forwarded-For".to_owned(), line.as_bytes().to_vec()));
        }
        let client = Envelope::open(&mut sent, proxies, || true).client;
        client.map(|client| client.to_string())
    }

    #[test]
    fn what_proxies_tell_of_the_client_is_believed_of_so_many_as_the_operator_trusts() {
        let lines = ["6.6.6.6, 1.1.1.1", "2.2.2.2,3.3.3.3"];
        for (proxies, expected) in [
            (0, "10.0.0.9"),
            (1, "3.3.3.3"),
            (2, "2.2.2.2"),
            (3, "1.1.1.1"),
            (4, "6.6.6.6"),
            (5, "10.0.0.9"),
        ] {
            assert_eq!(
                client_behind(proxies, &lines).as_deref(),
                Some(expected),
                "{proxies}"
            );
        }
    }

    #[test]
    fn what_is_no_address_there_leaves_the_connections() {
        for line in ["", "unknown", "1.1.1.1,", "_hidden", "1.1.1.1 2.2.2.2", "\u{e9}"] {
            assert_eq!(client_behind(1, &[line]).as_deref(), Some("10.0.0.9"), "{line}");
        }
        for (line, expected) in [
            ("1.1.1.1:80", "1.1.1.1"),
            ("[2001:db8::1]:80", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("2001:db8::1", "2001:db8::1"),
        ] {
            assert_eq!(client_behind(1, &[line]).as_deref(), Some(expected));
        }
    }

    #[test]
    fn the_host_or_a_trusted_proxy_tells_whether_the_client_came_by_https() {
        let https =
            |proxies, pairs: &[(&str, &str)]| Envelope::open(&mut fields(pairs), proxies, || true).https;
        assert!(https(0, &[("spin-full-url", "https://shop.example/")]));
        assert!(!https(0, &[("spin-full-url", "http://shop.example/")]));
        let made_up = [
            ("spin-full-url", "https://made.up/"),
            ("spin-full-url", "http://shop.example/"),
            ("x-forwarded-proto", "https"),
        ];
        assert!(!https(0, &made_up));
        assert!(https(1, &made_up));
        assert!(!https(1, &[("x-forwarded-proto", "https, http")]));
        assert!(https(2, &[("x-forwarded-proto", "HTTPS, http")]));
        // Set anew by each of them.
        assert!(https(2, &[("x-forwarded-proto", "https")]));
        assert!(!https(2, &[("x-forwarded-proto", "https, http, http")]));
    }

    #[test]
    fn fields_that_are_too_large_or_contradict_each_other_are_flawed() {
        let (name, value) = ("x-large", "x".repeat(MAX_FIELD_BYTES - "x-large".len()));
        assert_eq!(inspect(&fields(&[(name, &value)])), Ok(()));
        assert_eq!(
            inspect(&fields(&[(name, &value), ("a", "")])),
            Err(Flaw::TooLarge)
        );
        for (one, other, single) in [
            ("authorization", "Authorization", "authorization"),
            ("content-type", "content-type", "content-type"),
            ("Idempotency-Key", "idempotency-key", "idempotency-key"),
        ] {
            let twice = fields(&[(one, "a"), (other, "a")]);
            assert_eq!(inspect(&twice), Err(Flaw::Doubled(single)));
        }
        assert_eq!(inspect(&fields(&[("accept", "a"), ("accept", "b")])), Ok(()));
    }

    #[test]
    fn ids_that_do_not_hold_are_replaced() {
        for (id, trace) in [
            ("", ""),
            ("a b", "00-0-0-0"),
            (&*"x".repeat(129), "01-a"),
            ("é", "é"),
        ] {
            let got = forwarded(
                &[
                    ("x-request-id", id),
                    ("traceparent", trace),
                    ("tracestate", "a=b"),
                ],
                "",
            );
            assert!(Uuid::parse_str(value(&got, "x-request-id").unwrap()).is_ok());
            assert!(Traceparent::parse(value(&got, "traceparent").unwrap()).is_some());
            assert_eq!(value(&got, "tracestate"), None);
        }
    }

    #[test]
    fn bytes_that_are_no_text_do_no_harm() {
        let mut fields = vec![
            ("x-request-id".to_owned(), vec![0xff]),
            ("traceparent".to_owned(), vec![0xff]),
            ("spin-client-addr".to_owned(), vec![0xff]),
            ("connection".to_owned(), vec![0xff, b',']),
            ("x-mine".to_owned(), vec![0xff]),
        ];
        let envelope = Envelope::open(&mut fields, 0, || true);
        assert!(Uuid::parse_str(&envelope.request_id).is_ok());
        assert_eq!(envelope.client, None);
        assert_eq!(fields, [("x-mine".to_owned(), vec![0xff])]);
    }

    #[test]
    fn an_answer_that_holds_nothing_of_the_hop_is_left_alone() {
        let envelope = Envelope::open(&mut fields(&[("x-request-id", "my-id")]), 0, || true);
        let good = fields(&[
            ("content-type", "a/b"),
            ("content-length", "2"),
            ("x-request-id", "my-id"),
        ]);
        let mut answer = good.clone();
        assert!(!envelope.readdress(&mut answer));
        assert_eq!(answer, good);

        let mut answer = fields(&[
            ("Content-Type", "a/b"),
            ("connection", "x-mine"),
            ("x-mine", "1"),
            ("keep-alive", "1"),
            ("x-shop-secret", "1"),
            ("spin-path-info", "/"),
        ]);
        assert!(envelope.readdress(&mut answer));
        assert_eq!(
            answer,
            fields(&[("content-type", "a/b"), ("x-request-id", "my-id")])
        );
    }

    proptest! {
        #[test]
        fn no_fields_do_harm_and_what_ends_here_never_goes_on(
            sent in proptest::collection::vec(
                (
                    prop_oneof![
                        "[A-Za-z-]{1,12}",
                        "connection|Connection|x-request-id|traceparent|spin-client-addr|x-shop-client-addr|host|te|x-mine",
                        "x-forwarded-for|x-forwarded-proto|x-shop-traceparent|spin-full-url",
                    ],
                    prop_oneof![
                        proptest::collection::vec(any::<u8>(), 0..30),
                        "x-mine|[0-9.]{1,15}:[0-9]{1,5}|00-[0-9a-f]{32}-[0-9a-f]{16}-01".prop_map(String::into_bytes),
                    ],
                ),
                0..8,
            ),
            trusted_proxies in 0_usize..4,
        ) {
            let mut fields = sent;
            let envelope = Envelope::open(&mut fields, trusted_proxies, || true);
            prop_assert!(is_sane_request_id(&envelope.request_id));
            for (name, _) in &fields {
                prop_assert!(!ends_here(name) && *name == name.to_ascii_lowercase(), "{name}");
            }
            envelope.seal(&mut fields, "/api");
            prop_assert_eq!(fields.iter().filter(|(name, _)| name == REQUEST_ID).count(), 1);
            prop_assert!(fields.iter().filter(|(name, _)| name == CLIENT_ADDRESS).count() <= 1);
        }
    }
}
