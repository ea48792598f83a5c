//! Redis through Spin, as something that may be slow, absent or wrong without anybody noticing but the clock: every
//! call is bounded, and every failure reads as "not there".

use futures::future::{Either, select};
use spin_sdk::redis::{Connection, RedisParameter, RedisResult};
use std::cell::RefCell;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

/// A cache that costs at most `patience` per call.
///
/// Spin opens a connection anew at each `open`, so one handle serves all requests of an instance (calls on it are
/// pipelined) and is dropped at its first failure.
pub struct Redis {
    address: String,
    patience: Duration,
    handle: RefCell<Option<Rc<Connection>>>,
}

/// Redis did not do what it was asked, in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Redis does not answer")]
pub struct RedisError;

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

/// A text as an argument of a command.
#[must_use]
pub fn text(value: impl Into<String>) -> RedisParameter {
    RedisParameter::Binary(value.into().into_bytes())
}
