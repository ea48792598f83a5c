//! `spin:redis`: each `open` is a new TCP connection without any time limit, as in Spin; calls on it are pipelined.
//! Guests bound their calls themselves, or the request's own limit ends them.

use std::sync::Arc;

use crash_points::{Point, through};
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncCommands, AsyncConnectionConfig, Client, ErrorKind, FromRedisValue, ParsingError, RedisError,
    ServerErrorKind, Value,
};
use url::Url;
use wasmtime::component::{Accessor, HasSelf, Resource};

use super::Guest;
use super::bindings::spin::redis::redis::{
    Error, Host, HostConnection, HostConnectionWithStore, RedisParameter, RedisResult,
};
use crate::trace;
use spans::Span;

/// An open connection; closed when the guest drops it.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Connection(MultiplexedConnection);

type Answer<T> = wasmtime::Result<Result<T, Error>>;

impl Host for Guest {}

impl HostConnection for Guest {
    fn drop(&mut self, connection: Resource<Connection>) -> wasmtime::Result<()> {
        self.table.delete(connection)?;
        Ok(())
    }
}

fn other(error: &RedisError) -> Error {
    Error::Other(in_words(error))
}

/// An error of the server in the words that the version of the client has which Spin uses: a component may look for
/// them.
fn in_words(error: &RedisError) -> String {
    let detail = error.detail();
    match (error.kind(), error.code()) {
        (ErrorKind::Server(kind), Some(_)) if kind != ServerErrorKind::NoPerm => {
            let kind = match kind {
                ServerErrorKind::ExecAbort => "ExecAbortError".to_owned(),
                ServerErrorKind::BusyLoading => "BusyLoadingError".to_owned(),
                ServerErrorKind::NoScript => "NoScriptError".to_owned(),
                kind => format!("{kind:?}"),
            };
            let detail = detail.map_or_else(|| format!("- {kind}"), |detail| format!(" - {kind}: {detail}"));
            format!("An error was signalled by the server{detail}")
        }
        (_, Some(code)) => format!(
            "{code}: {}",
            detail.unwrap_or("Unknown extension error encountered")
        ),
        _ => error.to_string(),
    }
}

/// The span of a command. Neither keys nor values are in it: a key may be somebody's address.
fn begin<T>(accessor: &Accessor<T, HasSelf<Guest>>, command: &'static str) -> Span {
    let mut span = trace::queries(accessor, "redis", command);
    span.set("db.operation.name", command);
    span
}

/// A command's name, of which there are few.
fn known(command: &str) -> &'static str {
    [
        "EVAL", "EVALSHA", "GET", "SET", "DEL", "EXPIRE", "MGET", "INCR", "PING", "SCAN", "UNLINK",
    ]
    .into_iter()
    .find(|known| command.eq_ignore_ascii_case(known))
    .unwrap_or("command")
}

fn failed(span: &mut Span, error: &RedisError) -> Error {
    span.fail(format!("{:?}", error.kind()));
    other(error)
}

fn connection_of<T>(
    accessor: &Accessor<T, HasSelf<Guest>>,
    connection: &Resource<Connection>,
) -> wasmtime::Result<MultiplexedConnection> {
    accessor.with(|mut access| Ok(access.get().table.get(connection)?.0.clone()))
}

async fn connect(address: &str) -> Result<MultiplexedConnection, Error> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(None)
        .set_response_timeout(None);
    let client = Client::open(address).map_err(|_| Error::InvalidAddress)?;
    let connected = client.get_multiplexed_async_connection_with_config(&config);
    through(Point::HostRedisConnected, connected)
        .await
        .map_err(|error| other(&error))
}

impl<T: Send> HostConnectionWithStore<T> for HasSelf<Guest> {
    async fn open(accessor: &Accessor<T, Self>, address: String) -> Answer<Resource<Connection>> {
        let surroundings = accessor.with(|mut access| Arc::clone(&access.get().surroundings));
        let Ok(url) = Url::parse(&address) else {
            return Ok(Err(Error::InvalidAddress));
        };
        let granted = url
            .host_str()
            .is_some_and(|host| surroundings.grants.allow(url.scheme(), host, url.port()));
        if !granted {
            tracing::warn!(component = %surroundings.component, "no grant for this Redis address");
            return Ok(Err(Error::InvalidAddress));
        }
        let mut span = trace::queries(accessor, "redis", "connect");
        match connect(&address).await {
            Ok(connection) => {
                accessor.with(|mut access| Ok(Ok(access.get().table.push(Connection(connection))?)))
            }
            Err(error) => {
                span.fail("connection");
                Ok(Err(error))
            }
        }
    }

    async fn publish(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        channel: String,
        payload: Vec<u8>,
    ) -> Answer<()> {
        let mut connection = connection_of(accessor, &connection)?;
        let mut span = begin(accessor, "PUBLISH");
        Ok(
            through(Point::HostRedisAnswered, connection.publish(channel, payload))
                .await
                .map_err(|error| failed(&mut span, &error)),
        )
    }

    async fn get(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        key: String,
    ) -> Answer<Option<Vec<u8>>> {
        let mut connection = connection_of(accessor, &connection)?;
        let mut span = begin(accessor, "GET");
        Ok(through(Point::HostRedisAnswered, connection.get(key))
            .await
            .map_err(|error| failed(&mut span, &error)))
    }

    async fn set(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        key: String,
        value: Vec<u8>,
    ) -> Answer<()> {
        let mut connection = connection_of(accessor, &connection)?;
        let mut span = begin(accessor, "SET");
        Ok(through(Point::HostRedisAnswered, connection.set(key, value))
            .await
            .map_err(|error| failed(&mut span, &error)))
    }

    async fn incr(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        key: String,
    ) -> Answer<i64> {
        let mut connection = connection_of(accessor, &connection)?;
        let mut span = begin(accessor, "INCR");
        Ok(through(Point::HostRedisAnswered, connection.incr(key, 1))
            .await
            .map_err(|error| failed(&mut span, &error)))
    }

    async fn del(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        keys: Vec<String>,
    ) -> Answer<u32> {
        let mut connection = connection_of(accessor, &connection)?;
        let mut span = begin(accessor, "DEL");
        Ok(through(Point::HostRedisAnswered, connection.del(keys))
            .await
            .map_err(|error| failed(&mut span, &error)))
    }

    async fn sadd(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        key: String,
        values: Vec<String>,
    ) -> Answer<u32> {
        let mut connection = connection_of(accessor, &connection)?;
        let mut span = begin(accessor, "SADD");
        Ok(through(Point::HostRedisAnswered, connection.sadd(key, values))
            .await
            .map_err(|error| match error.kind() {
                ErrorKind::UnexpectedReturnType => Error::TypeError,
                _ => failed(&mut span, &error),
            }))
    }

    async fn smembers(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        key: String,
    ) -> Answer<Vec<String>> {
        let mut connection = connection_of(accessor, &connection)?;
        let mut span = begin(accessor, "SMEMBERS");
        Ok(through(Point::HostRedisAnswered, connection.smembers(key))
            .await
            .map_err(|error| failed(&mut span, &error)))
    }

    async fn srem(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        key: String,
        values: Vec<String>,
    ) -> Answer<u32> {
        let mut connection = connection_of(accessor, &connection)?;
        let mut span = begin(accessor, "SREM");
        Ok(through(Point::HostRedisAnswered, connection.srem(key, values))
            .await
            .map_err(|error| failed(&mut span, &error)))
    }

    async fn execute(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        command: String,
        arguments: Vec<RedisParameter>,
    ) -> Answer<Vec<RedisResult>> {
        let mut connection = connection_of(accessor, &connection)?;
        let mut span = begin(accessor, known(&command));
        let mut call = redis::cmd(&command);
        for argument in arguments {
            match argument {
                RedisParameter::Int64(number) => call.arg(number),
                RedisParameter::Binary(bytes) => call.arg(bytes),
            };
        }
        let called = call.query_async(&mut connection);
        let results: Result<Flattened, _> = through(Point::HostRedisAnswered, called).await;
        Ok(results
            .map(|results| results.0)
            .map_err(|error| failed(&mut span, &error)))
    }
}

/// An answer of any shape as a flat list, as Spin gives it.
struct Flattened(Vec<RedisResult>);

impl FromRedisValue for Flattened {
    fn from_redis_value(value: Value) -> Result<Flattened, ParsingError> {
        let mut results = Vec::new();
        flatten(value, &mut results)?;
        Ok(Flattened(results))
    }
}

fn flatten(value: Value, results: &mut Vec<RedisResult>) -> Result<(), ParsingError> {
    results.push(match value {
        Value::Nil => RedisResult::Nil,
        Value::Int(number) => RedisResult::Int64(number),
        Value::Boolean(flag) => RedisResult::Int64(i64::from(flag)),
        Value::BulkString(bytes) => RedisResult::Binary(bytes),
        Value::Double(number) => RedisResult::Binary(number.to_string().into_bytes()),
        Value::SimpleString(text) => RedisResult::Status(text),
        Value::Okay => RedisResult::Status("OK".to_owned()),
        Value::Array(values) | Value::Set(values) => {
            return values.into_iter().try_for_each(|value| flatten(value, results));
        }
        _ => return Err("an answer of a type that spin:redis does not have".into()),
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nested_answer_is_flattened() {
        let nested = Value::Array(vec![
            Value::Okay,
            Value::Array(vec![Value::Int(1), Value::Nil, Value::BulkString(b"x".to_vec())]),
        ]);
        let Flattened(results) = Flattened::from_redis_value(nested).unwrap();
        assert!(matches!(
            results.as_slice(),
            [
                RedisResult::Status(status),
                RedisResult::Int64(1),
                RedisResult::Nil,
                RedisResult::Binary(bytes),
            ] if status == "OK" && bytes == b"x"
        ));
    }

    #[test]
    fn an_error_of_the_server_has_the_words_that_it_has_in_spin() {
        for (sent, expected) in [
            ("-WRONGTYPE not a set\r\n", "WRONGTYPE: not a set"),
            (
                "-NOSCRIPT no such script\r\n",
                "An error was signalled by the server - NoScriptError: no such script",
            ),
            (
                "-ERR unknown command\r\n",
                "An error was signalled by the server - ResponseError: unknown command",
            ),
        ] {
            let Ok(Value::ServerError(error)) = redis::parse_redis_value(sent.as_bytes()) else {
                panic!("{sent} is no error");
            };
            assert_eq!(in_words(&RedisError::from(error)), expected);
        }
    }

    #[test]
    fn a_map_is_no_answer() {
        assert!(Flattened::from_redis_value(Value::Map(Vec::new())).is_err());
    }
}
