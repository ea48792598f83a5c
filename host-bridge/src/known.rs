//! Secrets that everybody knows. Outside of a demonstration nothing is set up with one, and nothing starts with one.

use anyhow::ensure;
use percent_encoding::percent_decode_str;
use std::collections::HashSet;
use std::sync::LazyLock;
use url::Url;

static KNOWN: LazyLock<HashSet<String>> = LazyLock::new(|| {
    let lines = include_str!("known.txt").lines().map(str::trim);
    let secrets = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    secrets.map(str::to_owned).collect()
});

/// The shortest password that a login is given, in characters. Nobody types it.
const MIN_PASSWORD_CHARS: usize = 16;

/// What RabbitMQ's clients say when nobody tells them who they are.
const DEFAULT_AMQP_PASSWORD: &str = "guest";

/// Which secrets will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Secrets {
    /// Those that nobody knows or guesses.
    Own,
    /// Any: what is shown holds nothing of anybody's.
    Demo,
}

impl Secrets {
    /// What the host must refuse: each as it is, and as the key that it is said to be.
    pub(crate) fn refused(self) -> HashSet<String> {
        let spellings = |secret: &String| [secret.clone(), format!("hs256:{secret}")];
        match self {
            Self::Own => KNOWN.iter().flat_map(spellings).collect(),
            Self::Demo => HashSet::new(),
        }
    }

    /// Checks the secret that `what` names. The error does not repeat it.
    pub(crate) fn check(self, what: &str, secret: &str) -> anyhow::Result<()> {
        ensure!(
            self == Self::Demo || !KNOWN.contains(secret.trim()),
            "{what} is one that everybody knows: choose another, or say --demo where nothing is worth protecting"
        );
        Ok(())
    }

    /// The same for a password that a login is to have from now on.
    pub(crate) fn check_new(self, what: &str, password: &str) -> anyhow::Result<()> {
        self.check(what, password)?;
        ensure!(
            self == Self::Demo || password.chars().count() >= MIN_PASSWORD_CHARS,
            "{what} has fewer than {MIN_PASSWORD_CHARS} characters: choose another, or say --demo where nothing is worth \
             protecting"
        );
        Ok(())
    }

    /// The same for the password in an address of Postgres, if there is one: the server decides whether it needs any.
    pub(crate) fn check_postgres(self, what: &str, url: &str) -> anyhow::Result<()> {
        // What cannot be read is refused by who connects.
        let Ok(config) = url.parse::<tokio_postgres::Config>() else {
            return Ok(());
        };
        let password = config.get_password().unwrap_or_default();
        self.check(
            &format!("the password in {what}"),
            &String::from_utf8_lossy(password),
        )
    }

    /// The same for an address of RabbitMQ.
    pub(crate) fn check_amqp(self, what: &str, url: &str) -> anyhow::Result<()> {
        let Ok(url) = Url::parse(url) else {
            return Ok(());
        };
        let password = url.password().unwrap_or(DEFAULT_AMQP_PASSWORD);
        let password = percent_decode_str(password).decode_utf8_lossy();
        self.check(&format!("the password in {what}"), &password)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_refused(result: anyhow::Result<()>, secret: &str) -> bool {
        let Err(error) = result else { return false };
        let line = format!("{error:#}");
        assert!(line.contains("--demo") && !line.contains('\n'), "{line}");
        assert!(secret.is_empty() || !line.contains(secret), "{line}");
        true
    }

    #[test]
    fn what_everybody_knows_is_refused_outside_a_demonstration() {
        for secret in [
            "guest",
            "flower_shop_pass",
            "a-demo-key-of-more-than-thirty-two-bytes",
            "guest\n",
        ] {
            assert!(is_refused(Secrets::Own.check("it", secret), secret), "{secret}");
            assert!(Secrets::Demo.check("it", secret).is_ok());
        }
        assert!(Secrets::Own.check("it", "nobody knows this").is_ok());
        let refused = Secrets::Own.refused();
        assert!(
            refused.contains("guest") && refused.contains("hs256:a-demo-key-of-more-than-thirty-two-bytes")
        );
        assert!(Secrets::Demo.refused().is_empty());
    }

    #[test]
    fn a_login_gets_no_short_password() {
        assert!(is_refused(Secrets::Own.check_new("it", "hunter2"), "hunter2"));
        assert!(is_refused(Secrets::Own.check_new("it", ""), ""));
        assert!(Secrets::Demo.check_new("it", "hunter2").is_ok());
        assert!(Secrets::Own.check_new("it", "sixteen letters.").is_ok());
    }

    #[test]
    fn passwords_in_addresses_are_found_however_they_are_written() {
        let postgres = |url: &str| is_refused(Secrets::Own.check_postgres("it", url), "flower_shop_pass");
        assert!(postgres("postgres://flower_shop:flower_shop_pass@db/shop"));
        assert!(postgres("postgres://flower_shop:flower%5Fshop_pass@db/shop"));
        assert!(postgres("host=db user=flower_shop password=flower_shop_pass"));
        assert!(!postgres("postgres://flower_shop@db/shop"));
        assert!(!postgres("postgres://flower_shop:another@db/shop"));
        let amqp = |url: &str| is_refused(Secrets::Own.check_amqp("it", url), "");
        assert!(amqp("amqp://guest:guest@broker/%2f"));
        assert!(amqp("amqp://shop:g%75est@broker/%2f"));
        assert!(amqp("amqp://broker:5672"), "no user is guest, too");
        assert!(!amqp("amqp://shop:another@broker/%2f"));
        assert!(Secrets::Demo.check_amqp("it", "amqp://broker").is_ok());
    }

    #[test]
    fn every_secret_of_the_demonstration_is_on_the_list() {
        let compose = include_str!("../../docker-compose.yml");
        let after = |line: &'static str, mark: &str| Some(line.split_once(mark)?.1.trim());
        let mut found = Vec::new();
        for line in compose.lines().filter(|line| !line.trim_start().starts_with('#')) {
            let of_login = after(line, "--password=").and_then(|pair| Some(pair.split_once('=')?.1));
            let in_address = after(line, "://").and_then(|rest| {
                let user = rest.split_once('@')?.0;
                Some(user.split_once(':')?.1)
            });
            let marks = ["_PASSWORD: ", "_PASS: ", "_KEY: ", "_KEYS: "];
            let value = marks.into_iter().find_map(|mark| after(line, mark));
            // A word with an ampersand names the value after it, and one with an asterisk has that value.
            let value = value.filter(|value| !value.starts_with('*'));
            let value = value.map(|value| match value.strip_prefix('&') {
                Some(named) => named.split_once(' ').map_or("", |(_, value)| value),
                None => value,
            });
            found.extend([of_login, in_address, value].into_iter().flatten());
        }
        assert!(
            found.len() > 15,
            "only {} secrets: are they read right?",
            found.len()
        );
        for secret in found {
            assert!(
                KNOWN.contains(secret),
                "everybody may read {secret}, and it is not on the list"
            );
        }
    }
}
