//! W3C Trace Context, level 1: the trace that a request belongs to.

use crate::request::is_chained;
use contracts::Received;
use http::{HeaderMap, HeaderName};
use std::fmt;
use uuid::Uuid;

/// W3C Trace Context.
pub const TRACEPARENT_HEADER: HeaderName = HeaderName::from_static("traceparent");

/// The same between the gateway and the services alone: a host that traces by itself writes over the other, and its
/// spans may be nobody's (docs/spin.md). The gateway takes it from no client.
pub const PRIVATE_TRACEPARENT_HEADER: HeaderName = HeaderName::from_static("x-shop-traceparent");

/// The `traceparent` of a request, or a new one where the client sent none that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traceparent(String);

impl Traceparent {
    /// Takes version 00 with ids that are not all zeros (W3C Trace Context, section 3.2).
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split('-').collect();
        let [version, trace_id, parent_id, flags] = parts.as_slice() else {
            return None;
        };
        let hex = |part: &str, length| {
            part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        let some = |part: &str| part.bytes().any(|byte| byte != b'0');
        let holds = *version == "00" && hex(trace_id, 32) && hex(parent_id, 16) && hex(flags, 2);
        (holds && some(trace_id) && some(parent_id)).then(|| Self(text.to_owned()))
    }

    /// The trace of a request with these headers: the private one's on a chained call, else `traceparent`'s, else a new
    /// one.
    #[must_use]
    pub fn of_request(headers: &HeaderMap) -> Self {
        let read = |name: HeaderName| headers.get(name)?.to_str().ok().and_then(Self::parse);
        let private = is_chained(headers)
            .then(|| read(PRIVATE_TRACEPARENT_HEADER))
            .flatten();
        private
            .or_else(|| read(TRACEPARENT_HEADER))
            .unwrap_or_else(Self::random)
    }

    /// Where to go on with the work that `traceparent` asks for: here, if that is of this trace.
    #[must_use]
    pub fn continues(&self, traceparent: Option<String>) -> Option<String> {
        let asked = traceparent.as_deref().and_then(Self::parse);
        match asked {
            Some(asked) if asked.trace_id() == self.trace_id() => Some(self.to_string()),
            _ => traceparent,
        }
    }

    /// The trace that an event came in, or a new one if it names none that holds.
    #[must_use]
    pub fn of(received: &Received) -> Self {
        let named = received.traceparent.as_deref().and_then(Self::parse);
        named.unwrap_or_else(Self::random)
    }

    /// A new trace, which nobody records: whoever does had begun it.
    #[must_use]
    pub fn random() -> Self {
        Self::begin(false)
    }

    /// A new trace, to be recorded or not.
    #[must_use]
    pub fn begin(is_recorded: bool) -> Self {
        let trace = Uuid::new_v4().simple();
        let span = Uuid::new_v4().simple().to_string();
        Self(format!(
            "00-{trace}-{}-{:02x}",
            &span[..16],
            u8::from(is_recorded)
        ))
    }

    /// The whole header.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The 32 hex digits that all spans of the trace share.
    #[must_use]
    pub fn trace_id(&self) -> &str {
        &self.0[3..35]
    }
}

impl fmt::Display for Traceparent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_traceparent_of_the_specification_is_taken_and_others_are_not() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(
            Traceparent::parse(good).unwrap().trace_id(),
            "4bf92f3577b34da6a3ce929d0e0e4736"
        );
        let bad = [
            "",
            "00",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
        ];
        for text in bad {
            assert_eq!(Traceparent::parse(text), None, "{text}");
        }
    }

    fn headers(client: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(TRACEPARENT_HEADER, OPEN.parse().unwrap());
        headers.insert(PRIVATE_TRACEPARENT_HEADER, PRIVATE.parse().unwrap());
        for client in client {
            headers.append("spin-client-addr", client.parse().unwrap());
        }
        headers
    }

    const OPEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const PRIVATE: &str = "00-11111111111111111111111111111111-1111111111111111-01";

    #[test]
    fn the_private_header_counts_on_a_chained_call_alone() {
        let of = |client: &[&'static str]| Traceparent::of_request(&headers(client)).to_string();
        assert_eq!(of(&["6.6.6.6:6", "0.0.0.0:0"]), PRIVATE);
        assert_eq!(of(&["0.0.0.0:0", "6.6.6.6:6"]), OPEN, "the client made it up");
        assert_eq!(of(&[]), OPEN);
        let mut broken = headers(&["0.0.0.0:0"]);
        broken.insert(PRIVATE_TRACEPARENT_HEADER, "x".parse().unwrap());
        assert_eq!(Traceparent::of_request(&broken).to_string(), OPEN);
    }

    #[test]
    fn an_event_of_the_requests_own_trace_is_gone_on_with_where_the_request_is() {
        let here = Traceparent::parse(OPEN).unwrap();
        let published = OPEN.replace("00f067aa0ba902b7", "aaaaaaaaaaaaaaaa");
        assert_eq!(here.continues(Some(published)).as_deref(), Some(OPEN));
        assert_eq!(here.continues(Some(PRIVATE.to_owned())).as_deref(), Some(PRIVATE));
        assert_eq!(here.continues(None), None);
    }

    #[test]
    fn a_new_trace_holds() {
        for (trace, flags) in [
            (Traceparent::random(), "-00"),
            (Traceparent::begin(false), "-00"),
            (Traceparent::begin(true), "-01"),
        ] {
            assert!(trace.as_str().ends_with(flags), "{trace}");
            assert_eq!(Traceparent::parse(trace.as_str()), Some(trace));
        }
    }

    proptest! {
        #[test]
        fn no_text_does_harm_and_what_is_taken_is_kept_as_it_is(
            text in prop_oneof![".{0,80}", "0[0-9a-f]-[0-9a-fA-F]{31,33}-[0-9a-f]{15,17}-[0-9a-f]{1,3}(-.{0,3})?"]
        ) {
            if let Some(trace) = Traceparent::parse(&text) {
                prop_assert_eq!(trace.as_str(), &text);
                prop_assert_eq!(trace.trace_id().len(), 32);
            }
        }
    }
}
