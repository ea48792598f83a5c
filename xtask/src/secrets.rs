//! The secrets of one private shop: drawn once, kept in `secrets.toml` (readable by its owner alone), handed
//! on in files and environments, never on a command line.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

/// Everyone who has a schema and a login of their own.
pub(crate) const LOGINS: [&str; 7] = [
    "auth",
    "catalog",
    "ordering",
    "payment",
    "payment_provider",
    "delivery",
    "bridge",
];

#[derive(Serialize, Deserialize)]
pub(crate) struct Secrets {
    /// The password of the private Postgres' owner.
    pub(crate) postgres: String,
    pub(crate) rabbitmq: String,
    pub(crate) erlang_cookie: String,
    /// The HS256 key of access tokens, which signs and verifies. Folders of earlier versions have it under its old name.
    #[serde(alias = "jwt_key")]
    pub(crate) jwt_signing_key: String,
    /// The key of event batches, as Standard Webhooks writes it.
    pub(crate) events_key: String,
    /// Password of each login `shop_<name>`.
    pub(crate) logins: BTreeMap<String, String>,
}

impl Secrets {
    /// The secrets in `folder`, drawn if there are none yet.
    pub(crate) fn load_or_draw(folder: &Path) -> Result<Self> {
        let path = folder.join("secrets.toml");
        let mut secrets = match fs::read_to_string(&path) {
            Ok(text) => toml::from_str(&text).with_context(|| {
                format!(
                    "{} is broken: remove {}, with all that its servers keep, to start anew",
                    path.display(),
                    folder.display()
                )
            })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Self::draw()?,
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        for login in LOGINS {
            if !secrets.logins.contains_key(login) {
                secrets.logins.insert(login.to_owned(), random_hex(24)?);
            }
        }
        write_secret(
            &path,
            &toml::to_string(&secrets).context("cannot write secrets as TOML")?,
        )?;
        Ok(secrets)
    }

    fn draw() -> Result<Self> {
        Ok(Self {
            postgres: random_hex(24)?,
            rabbitmq: random_hex(24)?,
            erlang_cookie: random_hex(24)?,
            jwt_signing_key: random_hex(32)?,
            events_key: format!("whsec_{}", STANDARD.encode(random::<32>()?)),
            logins: BTreeMap::new(),
        })
    }

    pub(crate) fn login(&self, name: &str) -> &str {
        self.logins.get(name).map_or("", String::as_str)
    }
}

/// Writes a file that only its owner may read, whole or not at all.
pub(crate) fn write_secret(path: &Path, text: &str) -> Result<()> {
    let attempt = || -> std::io::Result<()> {
        let fresh = path.with_extension("new");
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&fresh)?;
        // The mode above holds only for a file that was not there.
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
        file.write_all(text.as_bytes())?;
        fs::rename(&fresh, path)
    };
    attempt().with_context(|| format!("cannot write {}", path.display()))
}

fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).context("the system gives no random numbers")?;
    Ok(bytes)
}

/// `bytes` random bytes in hex: fits into addresses and files as it is.
fn random_hex(bytes: usize) -> Result<String> {
    let mut buffer = vec![0; bytes];
    getrandom::fill(&mut buffer).context("the system gives no random numbers")?;
    Ok(buffer.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A random number below `limit`.
pub(crate) fn random_below(limit: u16) -> Result<u16> {
    Ok(u16::from_le_bytes(random()?) % limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_an_earlier_version_keeps_its_key() {
        let text = "postgres = 'a'\nrabbitmq = 'b'\nerlang_cookie = 'c'\njwt_key = 'd'\nevents_key = 'e'\n[logins]\n";
        let secrets: Secrets = toml::from_str(text).unwrap();
        assert_eq!(secrets.jwt_signing_key, "d");
        let written = toml::to_string(&secrets).unwrap();
        assert!(written.contains("jwt_signing_key = \"d\""), "{written}");
    }
}
