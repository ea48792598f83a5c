//! Which header fields go along: all but those of one connection (RFC 9110, section 7.6.1), the host's own, and
//! the shop's private ones, which only the gateway sets.

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

/// The trace for the services: a host that traces by itself writes over the other (docs/spin.md).
const PRIVATE_TRACEPARENT: &str = "x-shop-traceparent";

/// The client's address for the services, who believe it on a chained call alone.
const CLIENT_ADDRESS: &str = "x-shop-client-addr";

/// What names a request on its way, and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The client's own, if it is a sane one.
    pub request_id: String,
    pub trace: Traceparent,
    pub client: Option<IpAddr>,
}

impl Envelope {
    /// Takes the envelope out of a request's `fields`, with all that ends here.
    #[must_use]
    pub fn open(fields: &mut Vec<Field>) -> Self {
        let named = lower_names(fields);
        let (mut request_id, mut trace, mut client) = (None, None, None);
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
                Traceparent::random()
            }),
            client: client.and_then(text).and_then(|text| address(&text)),
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
        fields.retain(|(name, _)| !ends_here(name) && !named.contains(name));
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
        .or_else(|| text.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&str, &str)]) -> Vec<Field> {
        let field = |(name, value): &(&str, &str)| ((*name).to_owned(), value.as_bytes().to_vec());
        pairs.iter().map(field).collect()
    }

    /// What a service gets of a request that came with these fields.
    fn forwarded(pairs: &[(&str, &str)], prefix: &str) -> Vec<Field> {
        let mut fields = fields(pairs);
        let envelope = Envelope::open(&mut fields);
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
        let envelope = Envelope::open(&mut fields);
        assert!(Uuid::parse_str(&envelope.request_id).is_ok());
        assert_eq!(envelope.client, None);
        assert_eq!(fields, [("x-mine".to_owned(), vec![0xff])]);
    }

    #[test]
    fn an_answer_that_holds_nothing_of_the_hop_is_left_alone() {
        let envelope = Envelope::open(&mut fields(&[("x-request-id", "my-id")]));
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
}
