//! Access tokens: JWTs (RFC 7519) with HS256. What they claim, and the cryptography under `jsonwebtoken`.
//!
//! jsonwebtoken's own providers either bring in RSA (RUSTSEC-2023-0071) or do not build for WebAssembly, so this
//! one does HMAC-SHA256 and nothing else.

use crate::bearer::Role;
use contracts::UserId;
use hmac::{Hmac, Mac};
use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::signature::{self, Signer, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// `iss` of every token.
pub const ISSUER: &str = "flower-shop";

/// `aud` of every token.
pub const AUDIENCE: &str = "flower-shop";

/// The shortest key that HS256 may have, in bytes (RFC 7518, section 3.2).
pub const MIN_KEY_BYTES: usize = 32;

/// What a token claims.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    pub sub: UserId,
    pub user_id: UserId,
    pub email: String,
    pub role: Role,
    pub iss: String,
    pub aud: String,
    /// When it was issued, in Unix seconds.
    pub iat: u64,
    /// When it ends, in Unix seconds.
    pub exp: u64,
    pub jti: String,
}

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |algorithm, key: &EncodingKey| {
        hs256(algorithm, key.as_bytes()).map(|mac| Box::new(mac) as _)
    },
    verifier_factory: |algorithm, key: &DecodingKey| {
        hs256(algorithm, key.try_get_as_bytes()?).map(|mac| Box::new(mac) as _)
    },
    key_utils: KeyUtils::new_unimplemented(),
};

/// Makes `jsonwebtoken` work in this process. To be called before its first use; again does no harm.
pub fn install_cryptography() {
    let _ = PROVIDER.install_default();
}

struct Hs256(Hmac<Sha256>);

fn hs256(algorithm: &Algorithm, key: &[u8]) -> Result<Hs256, Error> {
    if *algorithm != Algorithm::HS256 {
        return Err(ErrorKind::InvalidAlgorithm.into());
    }
    Hmac::new_from_slice(key)
        .map(Hs256)
        .map_err(|_| ErrorKind::InvalidKeyFormat.into())
}

impl Signer<Vec<u8>> for Hs256 {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, signature::Error> {
        Ok(self
            .0
            .clone()
            .chain_update(message)
            .finalize()
            .into_bytes()
            .to_vec())
    }
}

impl Verifier<Vec<u8>> for Hs256 {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        // `verify_slice` takes the same time for every wrong signature.
        self.0
            .clone()
            .chain_update(message)
            .verify_slice(signature)
            .map_err(signature::Error::from_source)
    }
}

impl JwtSigner for Hs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

impl JwtVerifier for Hs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}
