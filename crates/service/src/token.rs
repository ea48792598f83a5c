//! Access tokens: JWTs (RFC 7519) with HS256 or EdDSA. What they claim, and the cryptography under `jsonwebtoken`.
//!
//! jsonwebtoken's own providers either bring in RSA (RUSTSEC-2023-0071) or do not build for WebAssembly, so this
//! one does HMAC-SHA256 and Ed25519 and nothing else. Which of them a key is for, [`crate::keys`] says.

use crate::bearer::Role;
use contracts::UserId;
use ed25519_dalek::{Signature, SigningKey, VerifyingKey};
use hmac::{Hmac, Mac};
use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::signature::{self, Signer, Verifier};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, EncodingKey};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// `iss` of every token.
pub const ISSUER: &str = "flower-shop";

/// `aud` of every token.
pub const AUDIENCE: &str = "flower-shop";

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

/// What a token of a new user claims that was issued now and holds for a minute.
#[cfg(test)]
pub(crate) fn somebodys_claims() -> Claims {
    let user_id = UserId::new();
    let now = jsonwebtoken::get_current_timestamp();
    Claims {
        sub: user_id,
        user_id,
        email: "rose@example.com".to_owned(),
        role: Role::User,
        iss: ISSUER.to_owned(),
        aud: AUDIENCE.to_owned(),
        iat: now,
        exp: now + 60,
        jti: "1".to_owned(),
    }
}

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |algorithm, key: &EncodingKey| match (algorithm, key.family()) {
        (Algorithm::HS256, AlgorithmFamily::Hmac) => Ok(Box::new(hs256(key.as_bytes())?)),
        (Algorithm::EdDSA, AlgorithmFamily::Ed) => {
            Ok(Box::new(Seed(SigningKey::from_bytes(array(key.as_bytes())?))))
        }
        _ => Err(ErrorKind::InvalidAlgorithm.into()),
    },
    verifier_factory: |algorithm, key: &DecodingKey| match (algorithm, key.family()) {
        (Algorithm::HS256, AlgorithmFamily::Hmac) => Ok(Box::new(hs256(key.try_get_as_bytes()?)?)),
        (Algorithm::EdDSA, AlgorithmFamily::Ed) => {
            let public = VerifyingKey::from_bytes(array(key.try_get_as_bytes()?)?);
            public
                .map(|key| Box::new(Public(key)) as _)
                .map_err(|_| ErrorKind::InvalidKeyFormat.into())
        }
        _ => Err(ErrorKind::InvalidAlgorithm.into()),
    },
    key_utils: KeyUtils::new_unimplemented(),
};

/// Makes `jsonwebtoken` work in this process. To be called before its first use; again does no harm.
pub fn install_cryptography() {
    let _ = PROVIDER.install_default();
}

struct Hs256(Hmac<Sha256>);

fn hs256(key: &[u8]) -> Result<Hs256, Error> {
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

struct Seed(SigningKey);

struct Public(VerifyingKey);

fn array(bytes: &[u8]) -> Result<&[u8; 32], Error> {
    bytes.try_into().map_err(|_| ErrorKind::InvalidKeyFormat.into())
}

impl Signer<Vec<u8>> for Seed {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, signature::Error> {
        Ok(self.0.try_sign(message)?.to_bytes().to_vec())
    }
}

impl Verifier<Vec<u8>> for Public {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        // Strictly: one message and key have one signature, and keys of small order none.
        self.0.verify_strict(message, &Signature::from_slice(signature)?)
    }
}

impl JwtSigner for Seed {
    fn algorithm(&self) -> Algorithm {
        Algorithm::EdDSA
    }
}

impl JwtVerifier for Public {
    fn algorithm(&self) -> Algorithm {
        Algorithm::EdDSA
    }
}
