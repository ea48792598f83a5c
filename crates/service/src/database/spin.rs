//! How a component reaches Postgres: through Spin.

use spin_sdk::pg::{Connection, Error, ParameterValue, Row};
use std::cell::OnceCell;

/// A row as Spin gives it.
pub(super) type Given = Row;

/// Where the server is.
#[derive(Clone)]
pub(super) struct Server {
    address: String,
}

/// A connection to it, which is opened when it is first needed.
pub(super) struct Line<'a> {
    address: &'a str,
    connection: OnceCell<Connection>,
}

impl Server {
    pub(super) fn at(address: String) -> Self {
        Self { address }
    }

    pub(super) fn line(&self) -> Line<'_> {
        Line {
            address: &self.address,
            connection: OnceCell::new(),
        }
    }
}

impl Line<'_> {
    pub(super) async fn query(
        &self,
        statement: &str,
        parameters: Vec<ParameterValue>,
    ) -> Result<Vec<Given>, Error> {
        let result = self.connection().await?.query(statement, parameters).await?;
        result.collect().await
    }

    async fn connection(&self) -> Result<&Connection, Error> {
        if self.connection.get().is_none() {
            let opened = Connection::open(self.address).await?;
            // A session serves one request, which awaits one statement at a time: nobody was faster.
            let _ = self.connection.set(opened);
        }
        self.connection
            .get()
            .ok_or_else(|| Error::Decode("no connection was kept".to_owned()))
    }
}
