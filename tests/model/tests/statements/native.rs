//! A session of Postgres' that speaks to the ports as Spin does: values and errors are converted as Spin converts them,
//! and every statement is prepared anew. It keeps what was asked of it.

use bytes::BytesMut;
use chrono::{Datelike, NaiveDate, NaiveDateTime, NaiveTime, Timelike};
use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
use service::database::native::{
    Connection, DbError, DbValue, Error, Given, ParameterValue, PgError, QueryError,
};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, NoTls, Row};
use uuid::Uuid;

/// A statement that is broken on purpose: wherever the first text stands, the second is run.
pub(crate) type Broken = (&'static str, &'static str);

/// All statements that were run, as they were asked for.
pub(crate) type Asked = Rc<RefCell<BTreeSet<String>>>;

pub(crate) struct Native {
    pub(crate) client: Client,
    pub(crate) pid: i32,
    asked: Asked,
    broken: Option<Broken>,
}

impl Native {
    /// A session that has run `setup`.
    pub(crate) async fn open(url: &str, setup: &str, asked: Asked, broken: Option<Broken>) -> Rc<Self> {
        let client = connect(url).await;
        client.batch_execute(setup).await.unwrap();
        let pid = client.query_one("select pg_backend_pid()", &[]).await.unwrap();
        Rc::new(Self {
            client,
            pid: pid.get(0),
            asked,
            broken,
        })
    }

    async fn ask(&self, statement: &str, parameters: Vec<ParameterValue>) -> Result<Vec<Given>, Error> {
        self.asked.borrow_mut().insert(statement.to_owned());
        let statement = match self.broken {
            Some((sound, broken)) => statement.replace(sound, broken),
            None => statement.to_owned(),
        };
        let parameters: Vec<_> = parameters.into_iter().map(parameter).collect();
        let parameters: Vec<&(dyn ToSql + Sync)> = parameters.iter().map(AsRef::as_ref).collect();
        let rows = self.client.query(&statement, &parameters).await;
        rows.map(|rows| rows.iter().map(given).collect())
            .map_err(|error| failure(&error))
    }
}

impl Connection for Native {
    fn query<'a>(
        &'a self,
        statement: &'a str,
        parameters: Vec<ParameterValue>,
    ) -> LocalBoxFuture<'a, Result<Vec<Given>, Error>> {
        self.ask(statement, parameters).boxed_local()
    }
}

pub(crate) async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

fn failure(error: &tokio_postgres::Error) -> Error {
    let as_text = format!("{error:?}");
    Error::PgError(PgError::QueryFailed(match error.as_db_error() {
        None => QueryError::Text(as_text),
        Some(answered) => QueryError::DbError(DbError {
            as_text,
            severity: answered.severity().to_owned(),
            code: answered.code().code().to_owned(),
            message: answered.message().to_owned(),
            detail: answered.detail().map(str::to_owned),
            extras: answered
                .constraint()
                .map(|name| ("constraint".to_owned(), name.to_owned()))
                .into_iter()
                .collect(),
        }),
    }))
}

fn parameter(value: ParameterValue) -> Box<dyn ToSql + Sync> {
    match value {
        ParameterValue::Boolean(value) => Box::new(value),
        ParameterValue::Int32(value) => Box::new(value),
        ParameterValue::Int64(value) => Box::new(value),
        ParameterValue::Str(value) => Box::new(value),
        ParameterValue::Uuid(value) => Box::new(Uuid::parse_str(&value).unwrap()),
        ParameterValue::Jsonb(value) => {
            Box::new(serde_json::from_slice::<serde_json::Value>(&value).unwrap())
        }
        ParameterValue::Datetime((year, month, day, hour, minute, second, nanosecond)) => {
            let date = NaiveDate::from_ymd_opt(year, month.into(), day.into()).unwrap();
            let time = NaiveTime::from_hms_nano_opt(hour.into(), minute.into(), second.into(), nanosecond);
            Box::new(NaiveDateTime::new(date, time.unwrap()))
        }
        ParameterValue::ArrayStr(values) => Box::new(values),
        ParameterValue::DbNull => Box::new(Null),
        other => panic!("no statement was known to take {other:?}"),
    }
}

/// NULL for a parameter of whatever type.
#[derive(Debug)]
struct Null;

impl ToSql for Null {
    fn to_sql(&self, _: &Type, _: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        Ok(IsNull::Yes)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

fn given(row: &Row) -> Given {
    Given {
        columns: row
            .columns()
            .iter()
            .map(|column| column.name().to_owned())
            .collect(),
        values: (0..row.len()).map(|index| value(row, index)).collect(),
    }
}

fn value(row: &Row, index: usize) -> DbValue {
    match *row.columns()[index].type_() {
        Type::BOOL => get(row, index, DbValue::Boolean),
        Type::INT4 => get(row, index, DbValue::Int32),
        Type::INT8 => get(row, index, DbValue::Int64),
        Type::TEXT => get(row, index, DbValue::Str),
        Type::UUID => get(row, index, |id: Uuid| DbValue::Uuid(id.to_string())),
        Type::JSONB => get(row, index, |json: serde_json::Value| {
            DbValue::Jsonb(json.to_string().into_bytes())
        }),
        Type::TIMESTAMP => get(row, index, |at: NaiveDateTime| {
            let small = |value: u32| u8::try_from(value).unwrap();
            DbValue::Datetime((
                at.year(),
                small(at.month()),
                small(at.day()),
                small(at.hour()),
                small(at.minute()),
                small(at.second()),
                at.nanosecond(),
            ))
        }),
        ref other => panic!("no statement was known to give {other}"),
    }
}

fn get<'a, T: FromSql<'a>>(row: &'a Row, index: usize, case: impl Fn(T) -> DbValue) -> DbValue {
    row.get::<_, Option<T>>(index).map_or(DbValue::DbNull, case)
}
