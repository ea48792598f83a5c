//! How the ports reach Postgres where there is no Spin: over a connection that whoever runs them natively brings along.
//! Statements, parameters and the reading of rows are those of the component.

use futures::future::LocalBoxFuture;
pub use spin_sdk::pg::{DbError, DbValue, Decode, Error, ParameterValue, PgError, QueryError};
use std::rc::Rc;

/// Speaks to Postgres as Spin does: takes its values, gives its values, fails with its errors.
pub trait Connection {
    /// Runs one statement and gives all its rows.
    fn query<'a>(
        &'a self,
        statement: &'a str,
        parameters: Vec<ParameterValue>,
    ) -> LocalBoxFuture<'a, Result<Vec<Given>, Error>>;
}

/// A row: a value for each name.
pub struct Given {
    pub columns: Rc<[String]>,
    pub values: Vec<DbValue>,
}

impl Given {
    pub(super) fn get<T: Decode>(&self, name: &str) -> Option<T> {
        let position = self.columns.iter().position(|column| column == name)?;
        T::decode(self.values.get(position)?).ok()
    }
}

/// What a connection was brought along for, if any.
#[derive(Clone)]
pub(super) struct Server(Option<Rc<dyn Connection>>);

pub(super) struct Line<'a>(Option<&'a dyn Connection>);

impl Server {
    /// A server that can only be reached through Spin.
    pub(super) fn at(_: String) -> Self {
        Self(None)
    }

    pub(super) fn behind(connection: Rc<dyn Connection>) -> Self {
        Self(Some(connection))
    }

    pub(super) fn line(&self) -> Line<'_> {
        Line(self.0.as_deref())
    }
}

impl Line<'_> {
    pub(super) async fn query(
        &self,
        statement: &str,
        parameters: Vec<ParameterValue>,
    ) -> Result<Vec<Given>, Error> {
        match self.0 {
            Some(connection) => connection.query(statement, parameters).await,
            None => Err(Error::PgError(PgError::ConnectionFailed("no Spin".to_owned()))),
        }
    }
}
