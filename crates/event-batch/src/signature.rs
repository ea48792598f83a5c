//! The signature of Standard Webhooks 1.0 (symmetric, `v1`): HMAC-SHA256 over `id.timestamp.body`.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::fmt;
use subtle::ConstantTimeEq;

/// How far a signature's time may lie from the verifier's clock, in seconds.
pub const TOLERANCE_SECONDS: u64 = 300;

const PREFIX: &str = "whsec_";
const SHORTEST_KEY: usize = 24;

/// The names of the three headers that carry a signature.
pub struct SignatureHeaders;

impl SignatureHeaders {
    pub const ID: &'static str = "webhook-id";
    pub const TIMESTAMP: &'static str = "webhook-timestamp";
    pub const SIGNATURE: &'static str = "webhook-signature";
}

/// A shared key, ready to sign with. Its `Debug` shows nothing of it.
#[derive(Clone)]
pub struct SigningKey(Hmac<Sha256>);

/// A text that is no signing key. The text itself is not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a signing key is `whsec_` and the base64 of at least {SHORTEST_KEY} bytes")]
pub struct InvalidKey;

/// Why a signature does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    #[error("the timestamp is no number of seconds")]
    Timestamp,
    #[error("the timestamp lies more than {TOLERANCE_SECONDS} s away")]
    Stale,
    #[error("no signature matches")]
    Mismatch,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SigningKey(…)")
    }
}

impl SigningKey {
    /// Reads `whsec_<base64>`.
    ///
    /// # Errors
    /// If the prefix is missing, the rest is not base64, or it is shorter than 24 bytes.
    pub fn parse(text: &str) -> Result<Self, InvalidKey> {
        let encoded = text.trim().strip_prefix(PREFIX).ok_or(InvalidKey)?;
        let key = STANDARD.decode(encoded).map_err(|_| InvalidKey)?;
        if key.len() < SHORTEST_KEY {
            return Err(InvalidKey);
        }
        Hmac::new_from_slice(&key).map(Self).map_err(|_| InvalidKey)
    }

    /// The value of `webhook-signature` for this message, sent at `unix_seconds`.
    #[must_use]
    pub fn sign(&self, message_id: &str, unix_seconds: u64, body: &[u8]) -> String {
        let mac = self.mac(message_id, &unix_seconds.to_string(), body);
        format!("v1,{}", STANDARD.encode(mac))
    }

    /// Checks the three headers of a message against its body. `signatures` may hold several, separated by spaces.
    ///
    /// # Errors
    /// If the time is unreadable or too far from `now`, or no `v1` signature matches.
    pub fn verify(
        &self,
        message_id: &str,
        timestamp: &str,
        signatures: &str,
        body: &[u8],
        now_unix_seconds: u64,
    ) -> Result<(), SignatureError> {
        let sent: u64 = timestamp.parse().map_err(|_| SignatureError::Timestamp)?;
        if sent.abs_diff(now_unix_seconds) > TOLERANCE_SECONDS {
            return Err(SignatureError::Stale);
        }
        let expected = self.mac(message_id, timestamp, body);
        let matches = signatures
            .split(' ')
            .filter_map(|signature| signature.strip_prefix("v1,"))
            .filter_map(|encoded| STANDARD.decode(encoded).ok())
            .any(|signature| bool::from(signature.as_slice().ct_eq(&expected)));
        if matches {
            Ok(())
        } else {
            Err(SignatureError::Mismatch)
        }
    }

    fn mac(&self, message_id: &str, timestamp: &str, body: &[u8]) -> Vec<u8> {
        let mut mac = self.0.clone();
        for part in [message_id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
            mac.update(part);
        }
        mac.finalize().into_bytes().to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    #[test]
    fn the_signature_is_the_one_that_the_specification_gives_as_its_example() {
        let key = SigningKey::parse(KEY).unwrap();
        let signature = key.sign(
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_signature_holds_for_its_own_message_within_five_minutes() {
        let key = SigningKey::parse(KEY).unwrap();
        let signature = key.sign("a", 1000, b"body");
        let verify = |id, at: u64, body: &[u8], now| key.verify(id, &at.to_string(), &signature, body, now);
        assert_eq!(verify("a", 1000, b"body", 1300), Ok(()));
        assert_eq!(verify("a", 1000, b"body", 1301), Err(SignatureError::Stale));
        assert_eq!(verify("b", 1000, b"body", 1000), Err(SignatureError::Mismatch));
        assert_eq!(verify("a", 1001, b"body", 1000), Err(SignatureError::Mismatch));
        assert_eq!(verify("a", 1000, b"bodY", 1000), Err(SignatureError::Mismatch));
    }

    #[test]
    fn one_of_several_signatures_is_enough_while_a_key_is_rotated() {
        let key = SigningKey::parse(KEY).unwrap();
        let signatures = format!("v1,AAAA v1a,x {}", key.sign("a", 1, b""));
        assert_eq!(key.verify("a", "1", &signatures, b"", 1), Ok(()));
    }

    #[test]
    fn a_key_without_prefix_of_other_letters_or_too_short_is_refused() {
        for text in ["", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_!!!", "whsec_AAAA"] {
            assert!(SigningKey::parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_header_does_harm_or_opens_anything(
            id in ".{0,40}",
            timestamp in prop_oneof![".{0,20}", "1000"],
            signatures in prop_oneof![".{0,80}", "(v1,[A-Za-z0-9+/=]{0,60} ?){0,3}"],
            body in proptest::collection::vec(any::<u8>(), 0..50),
        ) {
            let key = SigningKey::parse(KEY).unwrap();
            prop_assert!(key.verify(&id, &timestamp, &signatures, &body, 1000).is_err());
        }

        #[test]
        fn what_was_signed_holds_and_nothing_else_does(
            id in "[ -~]{0,40}",
            at in 0..u64::MAX / 2,
            body in proptest::collection::vec(any::<u8>(), 0..50),
            changed in any::<proptest::sample::Index>(),
        ) {
            let key = SigningKey::parse(KEY).unwrap();
            let signature = key.sign(&id, at, &body);
            prop_assert_eq!(key.verify(&id, &at.to_string(), &signature, &body, at), Ok(()));
            let mut other = body.clone();
            other.push(0);
            let changed = changed.index(other.len());
            other[changed] ^= 1;
            let verdict = key.verify(&id, &at.to_string(), &signature, &other, at);
            prop_assert_eq!(verdict, Err(SignatureError::Mismatch));
        }

        #[test]
        fn no_text_does_harm_as_a_key(text in prop_oneof![".{0,60}", "whsec_[A-Za-z0-9+/=]{0,60}"]) {
            let _ = SigningKey::parse(&text);
        }
    }
}
