//! The keys of access tokens. A key's spelling says what it is, so that nothing else has to:
//!
//! - `ed25519:` and the base64 of 32 bytes is EdDSA (RFC 8037): the seed for whoever signs, the public key for whoever
//!   verifies;
//! - `hs256:` and at least 32 bytes is the secret of HS256, the same for both. The prefix may be left out of a text that
//!   could be nothing else.
//!
//! A key's id follows from the key, so that no id is configured and none can be mistaken.

use crate::config::ConfigError;
use crate::token::{self, AUDIENCE, Claims, ISSUER};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use sha2::{Digest as _, Sha256};

/// What the spelling of an Ed25519 key begins with.
const ED25519: &str = "ed25519:";

/// What the spelling of a secret of HS256 may begin with.
const HS256: &str = "hs256:";

/// What gives a key away that is spelled otherwise, in lower case: a prefix in another case, or the name in OpenSSH's
/// and JWK's form of a key; and in base64 the algorithm's id in DER (SPKI, PKCS #8), and OpenSSH's name of it.
const MARKS: [&str; 4] = ["ed25519", HS256, "bqydk2vw", "c3nzac1lzdi1nte5"];

/// How long the base64 of 32 bytes is.
const BASE64_CHARS: usize = 44;

/// The shortest key that HS256 may have, in bytes (RFC 7518, section 3.2).
const MIN_HS256_BYTES: usize = 32;

/// How much of a thumbprint names a key: 96 bits.
const ID_CHARS: usize = 16;

/// What signs access tokens. It is never shown.
pub struct SigningKey {
    id: String,
    algorithm: Algorithm,
    key: EncodingKey,
    verification: String,
}

impl SigningKey {
    /// Reads the variable `jwt_signing_key`.
    ///
    /// # Errors
    /// If it is no key, or a secret that could not stand among others.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let refused = |reason| ConfigError {
            name: "jwt_signing_key",
            reason,
        };
        token::install_cryptography();
        let text = text.trim();
        if text.contains(char::is_whitespace) {
            return Err(refused("holds white space"));
        }
        let Some(seed) = text.strip_prefix(ED25519) else {
            let secret = secret(text).map_err(refused)?;
            return Ok(Self {
                id: hs256_id(secret),
                algorithm: Algorithm::HS256,
                key: EncodingKey::from_secret(secret.as_bytes()),
                verification: text.to_owned(),
            });
        };
        let seed = bytes(seed).ok_or_else(|| refused("is not ed25519: and the base64 of 32 bytes"))?;
        let public = ed25519_dalek::SigningKey::from_bytes(&seed)
            .verifying_key()
            .to_bytes();
        Ok(Self {
            id: ed25519_id(&public),
            algorithm: Algorithm::EdDSA,
            // Not DER, in spite of the name: the cryptography below it is ours, and takes the seed.
            key: EncodingKey::from_ed_der(&seed),
            verification: format!("{ED25519}{}", STANDARD.encode(public)),
        })
    }

    /// The key that verifies what this one signs, as it is spelled: with HS256 a secret like this one.
    #[must_use]
    pub fn verification(&self) -> &str {
        &self.verification
    }

    /// A token that claims this, and names this key.
    ///
    /// # Errors
    /// If the claims cannot be written: a mistake of ours.
    pub fn sign(&self, claims: &Claims) -> Result<String, jsonwebtoken::errors::Error> {
        let header = Header {
            kid: Some(self.id.clone()),
            ..Header::new(self.algorithm)
        };
        jsonwebtoken::encode(&header, claims, &self.key)
    }
}

/// What verifies access tokens: one key or several, each for the tokens that name it.
pub struct VerificationKeys(Vec<VerificationKey>);

struct VerificationKey {
    id: String,
    key: DecodingKey,
    /// Takes this key's own algorithm and no other, whatever a token says.
    validation: Validation,
}

impl VerificationKeys {
    /// Reads the variable `jwt_verification_keys`: keys that are separated by white space.
    ///
    /// # Errors
    /// If there is none, or one of them is no key.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        token::install_cryptography();
        let keys = text.split_whitespace().map(VerificationKey::parse);
        let keys = keys.collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() {
            return Err(refused("is empty"));
        }
        Ok(Self(keys))
    }

    /// Whether what `key` signs is believed.
    #[must_use]
    pub fn include(&self, key: &SigningKey) -> bool {
        self.0.iter().any(|known| known.id == key.id)
    }

    /// What `token` claims, if it holds: it is checked with the key that it names alone.
    #[must_use]
    pub fn claims(&self, token: &str) -> Option<Claims> {
        let named = jsonwebtoken::decode_header(token).ok()?.kid?;
        let key = self.0.iter().find(|key| key.id == named)?;
        let decoded = jsonwebtoken::decode::<Claims>(token, &key.key, &key.validation).ok()?;
        Some(decoded.claims)
    }
}

impl VerificationKey {
    fn parse(text: &str) -> Result<Self, ConfigError> {
        let Some(public) = text.strip_prefix(ED25519) else {
            let secret = secret(text).map_err(refused)?;
            return Ok(Self {
                id: hs256_id(secret),
                key: DecodingKey::from_secret(secret.as_bytes()),
                validation: validation(Algorithm::HS256),
            });
        };
        let public = bytes(public).filter(is_sound);
        let public = public.ok_or_else(|| refused("holds an ed25519: key that is no public key"))?;
        Ok(Self {
            id: ed25519_id(&public),
            // Not DER either.
            key: DecodingKey::from_ed_der(&public),
            validation: validation(Algorithm::EdDSA),
        })
    }
}

fn refused(reason: &'static str) -> ConfigError {
    ConfigError {
        name: "jwt_verification_keys",
        reason,
    }
}

/// The secret of HS256 that a text spells, or why it spells none.
fn secret(text: &str) -> Result<&str, &'static str> {
    let secret = match text.strip_prefix(HS256) {
        Some(secret) => secret,
        None if needs_prefix(text) => {
            return Err(
                "holds what may be an Ed25519 key: ed25519: has to stand before it, or hs256: if it is a secret",
            );
        }
        None => text,
    };
    if secret.len() < MIN_HS256_BYTES {
        return Err("holds a secret of less than 32 bytes");
    }
    Ok(secret)
}

/// Whether a text may be an Ed25519 key that is spelled in another way than ours. A public one everybody may know: taken
/// for a secret it would let anybody sign.
fn needs_prefix(text: &str) -> bool {
    let is_base64 = text.len() == BASE64_CHARS && text.ends_with('=');
    // What is drawn in hex may have such a mark in it by chance.
    let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let lower = text.to_ascii_lowercase();
    is_base64 || (!is_hex && MARKS.iter().any(|mark| lower.contains(mark)))
}

fn validation(algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.leeway = 0;
    validation.set_issuer(&[ISSUER]);
    validation.set_audience(&[AUDIENCE]);
    validation.set_required_spec_claims(&["sub", "iss", "aud", "exp"]);
    validation
}

fn bytes(base64: &str) -> Option<[u8; 32]> {
    STANDARD.decode(base64).ok()?.try_into().ok()
}

/// Whether these bytes are a point of the curve, and none of the few with which a signature fits every message.
fn is_sound(public: &[u8; 32]) -> bool {
    ed25519_dalek::VerifyingKey::from_bytes(public).is_ok_and(|key| !key.is_weak())
}

fn hs256_id(secret: &str) -> String {
    let secret = URL_SAFE_NO_PAD.encode(secret);
    thumbprint(&format!(r#"{{"k":"{secret}","kty":"oct"}}"#))
}

fn ed25519_id(public: &[u8; 32]) -> String {
    let public = URL_SAFE_NO_PAD.encode(public);
    thumbprint(&format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{public}"}}"#))
}

/// The beginning of a JWK's thumbprint (RFC 7638). Of a secret it tells no more than each token that it signs: enough
/// to try a guess, which nobody can make who draws it at random.
fn thumbprint(jwk: &str) -> String {
    let mut id = URL_SAFE_NO_PAD.encode(Sha256::digest(jwk));
    id.truncate(ID_CHARS);
    id
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::somebodys_claims as claims;

    const SECRET: &str = "a-key-of-at-least-thirty-two-bytes";
    const OTHER: &str = "another-key-of-more-than-thirty-two-bytes";

    fn ed25519(byte: u8) -> SigningKey {
        SigningKey::parse(&format!("{ED25519}{}", STANDARD.encode([byte; 32]))).unwrap()
    }

    /// A token whose header somebody made up.
    fn forged(algorithm: Algorithm, kid: Option<&str>, key: &EncodingKey) -> String {
        token::install_cryptography();
        let header = Header {
            kid: kid.map(str::to_owned),
            ..Header::new(algorithm)
        };
        jsonwebtoken::encode(&header, &claims(), key).unwrap()
    }

    #[test]
    fn what_either_kind_of_key_signs_is_verified_by_its_counterpart_alone() {
        let secret = SigningKey::parse(SECRET).unwrap();
        let (one, another) = (ed25519(1), ed25519(2));
        let claims = claims();
        for (signer, others) in [
            (&secret, [one.verification(), OTHER]),
            (&one, [another.verification(), SECRET]),
        ] {
            let token = signer.sign(&claims).unwrap();
            let keys = VerificationKeys::parse(signer.verification()).unwrap();
            assert!(keys.include(signer));
            assert_eq!(keys.claims(&token).as_ref(), Some(&claims));
            for other in others {
                let keys = VerificationKeys::parse(other).unwrap();
                assert!(!keys.include(signer));
                assert_eq!(keys.claims(&token), None);
            }
        }
    }

    #[test]
    fn of_several_keys_each_verifies_the_tokens_that_name_it() {
        let signers = [SigningKey::parse(SECRET).unwrap(), ed25519(1), ed25519(2)];
        let all: Vec<&str> = signers.iter().map(SigningKey::verification).collect();
        let keys = VerificationKeys::parse(&format!(" {}\n", all.join("\n  "))).unwrap();
        for signer in &signers {
            assert!(keys.claims(&signer.sign(&claims()).unwrap()).is_some());
        }
    }

    #[test]
    fn a_token_without_a_key_id_or_with_that_of_another_key_is_refused() {
        let keys = VerificationKeys::parse(&format!("{SECRET} {OTHER}")).unwrap();
        let signer = SigningKey::parse(SECRET).unwrap();
        let secret = EncodingKey::from_secret(SECRET.as_bytes());
        let other = SigningKey::parse(OTHER).unwrap().id;
        assert!(
            keys.claims(&forged(Algorithm::HS256, Some(&signer.id), &secret))
                .is_some()
        );
        for kid in [None, Some(""), Some("nobody's"), Some(&*other)] {
            assert_eq!(
                keys.claims(&forged(Algorithm::HS256, kid, &secret)),
                None,
                "{kid:?}"
            );
        }
    }

    #[test]
    fn a_public_key_is_no_secret_of_another_algorithm() {
        // The classic confusion: what everybody may know, used as a secret that only the shop has.
        let signer = ed25519(1);
        let keys = VerificationKeys::parse(signer.verification()).unwrap();
        let public = bytes(signer.verification().strip_prefix(ED25519).unwrap()).unwrap();
        for secret in [&public[..], signer.verification().as_bytes()] {
            let token = forged(
                Algorithm::HS256,
                Some(&signer.id),
                &EncodingKey::from_secret(secret),
            );
            assert_eq!(keys.claims(&token), None);
        }
    }

    #[test]
    fn a_token_of_another_algorithm_is_refused_even_if_it_names_the_key() {
        let keys = VerificationKeys::parse(SECRET).unwrap();
        let id = SigningKey::parse(SECRET).unwrap().id;
        let seed = EncodingKey::from_ed_der(&[1; 32]);
        assert_eq!(keys.claims(&forged(Algorithm::EdDSA, Some(&id), &seed)), None);
    }

    #[test]
    fn an_ed25519_key_that_is_spelled_otherwise_is_no_secret_unless_that_is_said() {
        let public = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
        for text in [
            public.to_owned(),
            public.replace('/', "_"),
            format!("Ed25519:{public}"),
            format!("ED25519:{public}"),
            format!("\"ed25519:{public}\""),
            format!("HS256:{SECRET}"),
            format!("MCowBQYDK2VwAyEA{public}"),
            format!("MC4CAQAwBQYDK2VwBCIEI{public}"),
            "AAAAC3NzaC1lZDI1NTE5AAAAINdamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea".to_owned(),
            r#"{"crv":"Ed25519","kty":"OKP","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#.to_owned(),
        ] {
            let signing = SigningKey::parse(&text).err();
            let verifying = VerificationKeys::parse(&format!("{SECRET} {text}")).err();
            for error in [signing, verifying] {
                let error = error.expect(&text).to_string();
                assert!(
                    error.contains("holds what may be an Ed25519 key") && !error.contains(public),
                    "{error}"
                );
            }
            assert!(SigningKey::parse(&format!("{HS256}{text}")).is_ok(), "{text}");
            assert!(
                VerificationKeys::parse(&format!("{HS256}{text}")).is_ok(),
                "{text}"
            );
        }
    }

    #[test]
    fn a_secret_is_the_same_with_its_prefix_and_without() {
        // As `cargo xtask` draws them in hex, one of which has a mark in it by chance; as ours of earlier versions are;
        // the demo's; and the tests'.
        for secret in [
            "7f3c9a0b5d1e2f4a6b8c0d2e4f6a8b0c7f3c9a0b5d1e2f4a6b8c0d2e4f6a8b0c",
            "ed255190b5d1e2f4a6b8c0d2e4f6a8b0c7f3c9a0b5d1e2f4a6b8c0d2e4f6a8b0",
            "kJ3v_0Qm1x-7yBf9aZc2dEwRtUiOpLsHgNnVqXbT4M8",
            "a-demo-key-of-more-than-thirty-two-bytes",
            "the-test-shops-key-which-opens-nothing-else",
        ] {
            let prefixed = format!("{HS256}{secret}");
            for (signing, verifying) in [(secret, &*prefixed), (&*prefixed, secret)] {
                let token = SigningKey::parse(signing).unwrap().sign(&claims()).unwrap();
                let keys = VerificationKeys::parse(verifying).unwrap();
                assert!(keys.claims(&token).is_some(), "{signing} {verifying}");
            }
        }
    }

    #[test]
    fn the_thumbprint_is_that_of_the_rfc() {
        // RFC 8037, appendix A.3.
        let public = URL_SAFE_NO_PAD
            .decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")
            .unwrap();
        let id = ed25519_id(&public.try_into().unwrap());
        assert!("kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k".starts_with(&id));
        assert_eq!(id.len(), ID_CHARS);
    }

    #[test]
    fn what_is_no_key_is_refused_and_not_repeated() {
        let short = format!("{ED25519}{}", STANDARD.encode([1; 31]));
        for text in [
            "",
            "short",
            "ed25519:",
            "ed25519:###",
            &short,
            "hs256:a-secret-of-less-than-32-bytes",
            "a key of at least thirty-two bytes",
        ] {
            let error = SigningKey::parse(text).err().unwrap();
            assert_eq!(error.name, "jwt_signing_key");
            let secret = text.trim_start_matches(ED25519).trim_start_matches(HS256);
            assert!(secret.len() < 10 || !error.to_string().contains(secret));
        }
        let weak = format!("{ED25519}{}", STANDARD.encode([0; 32]));
        for text in [
            "",
            " \n",
            "short",
            "hs256:a-secret-of-less-than-32-bytes",
            &short,
            &weak,
            &format!("{SECRET} short"),
        ] {
            assert!(VerificationKeys::parse(text).is_err(), "{text}");
        }
    }
}
