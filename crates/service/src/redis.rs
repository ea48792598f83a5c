//! Redis through Spin, as something that may be slow, absent or wrong without anybody noticing but the clock: every
//! call is bounded, and every failure reads as "not there".

use crate::config::{ConfigError, variable};
use crate::log::{self, Level};
use futures::future::{Either, select, try_join_all};
use spin_sdk::redis::{Connection, RedisParameter, RedisResult};
use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// A cache that costs at most `patience` per call.
///
/// Spin opens a connection anew at each `open`, so one handle serves all requests of an instance (calls on it are
/// pipelined) and is dropped at its first failure.
pub struct Redis {
    address: String,
    patience: Duration,
    handle: RefCell<Option<Rc<Connection>>>,
}

/// A command and its arguments.
pub type Command = (&'static str, Vec<RedisParameter>);

/// Redis did not do what it was asked, in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Redis does not answer")]
pub struct RedisError;

/// Where Redis is, with what opens it: from the variables `redis_url` and `redis_credentials` (`user:password`,
/// `:password` or nothing, percent-encoded), which are two because a grant names the place alone.
///
/// # Errors
/// If a variable is absent.
pub async fn address() -> Result<String, ConfigError> {
    let (url, credentials) = (variable("redis_url").await?, variable("redis_credentials").await?);
    Ok(with_credentials(&url, credentials.trim()))
}

fn with_credentials(url: &str, credentials: &str) -> String {
    match url.split_once("://") {
        Some((scheme, place)) if !credentials.is_empty() => format!("{scheme}://{credentials}@{place}"),
        _ => url.to_owned(),
    }
}

impl Redis {
    #[must_use]
    pub fn new(address: String, patience: Duration) -> Self {
        Self {
            address,
            patience,
            handle: RefCell::new(None),
        }
    }

    /// The value under `key`, if there is one and Redis says so in time.
    ///
    /// # Errors
    /// If Redis is absent, slow or garbled.
    pub async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, RedisError> {
        self.bounded(async |redis| redis.get(key).await.map_err(|_| RedisError))
            .await
    }

    /// Runs `command`.
    ///
    /// # Errors
    /// If Redis is absent, slow or garbled, or refuses the command.
    pub async fn execute(
        &self,
        command: &str,
        arguments: Vec<RedisParameter>,
    ) -> Result<Vec<RedisResult>, RedisError> {
        self.bounded(async move |redis| redis.execute(command, arguments).await.map_err(|_| RedisError))
            .await
    }

    /// Runs `commands` side by side on one connection, sent without waiting in between, and has `read` make sense of
    /// their answers.
    ///
    /// # Errors
    /// If Redis is absent, slow or garbled, refuses a command, or `read` makes no sense of an answer.
    pub async fn exchange<T>(
        &self,
        commands: Vec<Command>,
        read: impl FnOnce(Vec<Vec<RedisResult>>) -> Option<T>,
    ) -> Result<T, RedisError> {
        self.bounded(async move |redis| {
            let sent = commands
                .into_iter()
                .map(|(command, arguments)| redis.execute(command, arguments));
            let answers = try_join_all(sent).await.map_err(|_| RedisError)?;
            read(answers).ok_or(RedisError)
        })
        .await
    }

    async fn bounded<T>(
        &self,
        call: impl AsyncFnOnce(&Connection) -> Result<T, RedisError>,
    ) -> Result<T, RedisError> {
        let work = async {
            let redis = self.connection().await?;
            call(&redis).await
        };
        let result = match select(pin!(work), pin!(spin_sdk::time::sleep(self.patience))).await {
            Either::Left((result, _)) => result,
            Either::Right(((), _)) => Err(RedisError),
        };
        if result.is_err() {
            self.handle.replace(None);
        }
        result
    }

    async fn connection(&self) -> Result<Rc<Connection>, RedisError> {
        let known = self.handle.borrow().clone();
        if let Some(connection) = known {
            return Ok(connection);
        }
        let opened = Rc::new(Connection::open(&self.address).await.map_err(|_| RedisError)?);
        self.handle.replace(Some(Rc::clone(&opened)));
        Ok(opened)
    }
}

/// How long Redis is left alone after it failed once: what an absent Redis costs is one patience in that time.
const REST: Duration = Duration::from_secs(1);

/// Whether Redis is being left alone, because it failed a moment ago.
#[derive(Default)]
pub struct Rest(Cell<Option<Instant>>);

impl Rest {
    /// What Redis says to `ask`, unless it does not answer, or did not a moment ago. The first failure after a time
    /// without one is noted in the log, with what is done `meanwhile`.
    pub async fn unless<T>(
        &self,
        meanwhile: &str,
        ask: impl Future<Output = Result<T, RedisError>>,
    ) -> Option<T> {
        if let Some(end) = self.0.get() {
            let now = Instant::now();
            if now < end {
                return None;
            }
            // This one finds out for all that come while it waits.
            self.0.set(Some(now + REST));
        }
        let answer = ask.await;
        let rest = match answer {
            Ok(_) => None,
            Err(_) => Some(Instant::now() + REST),
        };
        if rest.is_some() && self.0.get().is_none() {
            log::line(Level::Warn, "Redis does not answer", &[("meanwhile", meanwhile)]);
        }
        self.0.set(rest);
        answer.ok()
    }
}

/// A text as an argument of a command.
#[must_use]
pub fn text(value: impl Into<String>) -> RedisParameter {
    RedisParameter::Binary(value.into().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_stand_before_the_host() {
        let url = "redis://cache:6379/3";
        assert_eq!(with_credentials(url, ""), url);
        assert_eq!(with_credentials(url, ":secret"), "redis://:secret@cache:6379/3");
        assert_eq!(
            with_credentials(url, "shop:secret"),
            "redis://shop:secret@cache:6379/3"
        );
    }
}
