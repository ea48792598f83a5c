//! W3C Trace Context, level 1: the trace that a request belongs to.

use contracts::Received;
use std::fmt;
use uuid::Uuid;

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

    /// The trace that an event came in, or a new one if it names none that holds.
    #[must_use]
    pub fn of(received: &Received) -> Self {
        let named = received.traceparent.as_deref().and_then(Self::parse);
        named.unwrap_or_else(Self::random)
    }

    /// A new trace, sampled.
    #[must_use]
    pub fn random() -> Self {
        let trace = Uuid::new_v4().simple();
        let span = Uuid::new_v4().simple().to_string();
        Self(format!("00-{trace}-{}-01", &span[..16]))
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

    #[test]
    fn a_new_trace_holds() {
        let trace = Traceparent::random();
        assert_eq!(Traceparent::parse(trace.as_str()), Some(trace));
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
