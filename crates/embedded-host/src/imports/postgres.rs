//! `spin:postgres`: connections from a pool per component and address, queries, commands. What a component sees is
//! what it sees in Spin, failures included: the pool recycles without a ROLLBACK, each statement is prepared anew,
//! and neither connecting nor waiting for the pool has a time limit of its own (`connect_timeout` in the address
//! does). Without TLS: `sslmode=require` fails.

mod types;

use std::collections::{HashMap, HashSet};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use crash_points::{Point, reached, through};
use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, RecyclingMethod};
use futures::channel::oneshot;
use futures::{Stream, StreamExt};
use metrics::Gauge;
use tokio_postgres::config::Host as PostgresHost;
use tokio_postgres::{NoTls, RowStream};
use wasmtime::StoreContextMut;
use wasmtime::component::{
    Accessor, Destination, FutureReader, HasSelf, Resource, StreamProducer, StreamReader, StreamResult,
    VecBuffer,
};

use super::Guest;
use super::bindings::spin::postgres::postgres::{
    Column, DbError, DbValue, Error, Host, HostConnection, HostConnectionBuilder,
    HostConnectionBuilderWithStore, HostConnectionWithStore, ParameterValue, QueryError, RowSet,
};
use crate::grants::Grants;
use crate::trace;
use spans::Span;

/// Addresses of one component whose pools are kept.
const MAX_ADDRESSES: usize = 16;
/// As much of a statement is in its span.
const MAX_STATEMENT_BYTES: usize = 1024;
/// Rows that are handed to a guest at once.
const MAX_BATCH: usize = 128;

type Row = Vec<DbValue>;
type Answer<T> = wasmtime::Result<Result<T, Error>>;

/// The pools of one component, one per address.
pub(crate) struct Pools {
    component: String,
    pools: Mutex<HashMap<String, (Pool, Arc<Place>)>>,
    /// Those that are told apart in metrics: a grant names no login, so a guest could make them up.
    logins: Mutex<HashSet<String>>,
    max_connections: usize,
}

impl Pools {
    pub(crate) fn new(component: &str, max_connections: usize) -> Pools {
        Pools {
            component: component.to_owned(),
            pools: Mutex::default(),
            logins: Mutex::default(),
            max_connections,
        }
    }

    async fn connect(&self, address: &str) -> Result<Connection, Error> {
        let (pool, place) = self.pool(address)?;
        let client = through(Point::HostConnected, pool.get())
            .await
            .map_err(|error| Error::ConnectionFailed(format!("{error:?}")))?;
        place.in_use.increment(1.0);
        Ok(Connection {
            client: Arc::new(Borrowed { client, place }),
        })
    }

    fn pool(&self, address: &str) -> Result<(Pool, Arc<Place>), Error> {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = pools.get(address) {
            return Ok(pool.clone());
        }
        let config = parse(address)?;
        let place = Arc::new(Place::of(&config, self.in_use(&config)));
        let recycling = ManagerConfig {
            recycling_method: RecyclingMethod::Clean,
        };
        let pool = Pool::builder(Manager::from_config(config, NoTls, recycling))
            .max_size(self.max_connections)
            .build()
            .map_err(|error| Error::ConnectionFailed(error.to_string()))?;
        if pools.len() >= MAX_ADDRESSES {
            // A guest that makes up addresses loses pools, not the host its memory.
            pools.clear();
        }
        pools.insert(address.to_owned(), (pool.clone(), Arc::clone(&place)));
        Ok((pool, place))
    }
}

impl Pools {
    /// How many connections a login has.
    fn in_use(&self, config: &tokio_postgres::Config) -> Gauge {
        let login = config.get_user().unwrap_or_default();
        let mut logins = self.logins.lock().unwrap_or_else(PoisonError::into_inner);
        let is_told_apart = logins.contains(login) || logins.len() < MAX_ADDRESSES;
        let login = if is_told_apart { login } else { "other" };
        logins.insert(login.to_owned());
        metrics::gauge!(
            "embedded_host_postgres_connections_in_use",
            "component" => self.component.clone(), "login" => login.to_owned()
        )
    }
}

/// Where a connection leads, as far as a span may say it, and how many do.
struct Place {
    in_use: Gauge,
    host: String,
    port: u16,
    database: String,
}

impl Place {
    fn of(config: &tokio_postgres::Config, in_use: Gauge) -> Place {
        let host = config.get_hosts().iter().find_map(|host| match host {
            PostgresHost::Tcp(host) => Some(host.clone()),
            PostgresHost::Unix(_) => None,
        });
        Place {
            in_use,
            host: host.unwrap_or_default(),
            port: config.get_ports().first().copied().unwrap_or(5432),
            database: config.get_dbname().unwrap_or_default().to_owned(),
        }
    }
}

/// The span of a statement: its text, whose parameters are elsewhere, and where it goes.
fn begin<T>(accessor: &Accessor<T, HasSelf<Guest>>, place: &Place, statement: &str) -> Span {
    let operation = operation(statement);
    let mut span = trace::queries(accessor, "postgresql", operation);
    if span.is_recorded() {
        span.set("db.operation.name", operation);
        span.set("db.namespace", place.database.clone());
        span.set("server.address", place.host.clone());
        span.set("server.port", place.port);
        let end = statement.floor_char_boundary(MAX_STATEMENT_BYTES);
        span.set(
            "db.query.text",
            statement.get(..end).unwrap_or_default().to_owned(),
        );
    }
    span
}

/// The statement's first word after its comments, of which there are few.
fn operation(statement: &str) -> &'static str {
    let lines = statement.lines().map(str::trim_start);
    let first = lines
        .filter(|line| !line.is_empty())
        .find(|line| !line.starts_with("--"));
    let word = first.and_then(|line| line.split(|letter: char| !letter.is_ascii_alphabetic()).next());
    ["SELECT", "WITH", "INSERT", "UPDATE", "DELETE"]
        .into_iter()
        .find(|known| word.is_some_and(|word| word.eq_ignore_ascii_case(known)))
        .unwrap_or("SQL")
}

/// Postgres' code, or that there was no answer of Postgres.
fn failed(span: &mut Span, error: &tokio_postgres::Error) {
    match error.code() {
        Some(code) => {
            span.set("db.response.status_code", code.code().to_owned());
            span.fail(code.code());
        }
        None => span.fail("connection"),
    }
}

/// The parser's error says what is wrong, never what the address is.
fn parse(address: &str) -> Result<tokio_postgres::Config, Error> {
    address
        .parse()
        .map_err(|error: tokio_postgres::Error| Error::ConnectionFailed(error.to_string()))
}

/// An address may name several hosts; each must be granted. `hostaddr` would lead past the check and is refused.
fn check_grants(grants: &Grants, address: &str) -> Result<(), Error> {
    let config = parse(address)?;
    if !config.get_hostaddrs().is_empty() {
        return Err(Error::ConnectionFailed("hostaddr is not supported".to_owned()));
    }
    for (index, host) in config.get_hosts().iter().enumerate() {
        let PostgresHost::Tcp(host) = host else {
            return Err(Error::ConnectionFailed(
                "Unix sockets are not supported".to_owned(),
            ));
        };
        let port = match config.get_ports() {
            [port] => Some(*port),
            ports => ports.get(index).copied(),
        };
        if !grants.allow("postgres", host, port) {
            let port = port.map(|port| format!(":{port}")).unwrap_or_default();
            return Err(Error::ConnectionFailed(format!(
                "address postgres://{host}{port} is not permitted"
            )));
        }
    }
    Ok(())
}

/// A connection as a guest holds it.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Connection {
    client: Arc<Borrowed>,
}

/// A connection out of the pool. It goes back when the guest has dropped it and no call uses it any more.
struct Borrowed {
    client: Object,
    place: Arc<Place>,
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        self.place.in_use.decrement(1.0);
    }
}

/// An address to connect to.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct ConnectionBuilder {
    address: String,
}

async fn open<T: Send>(
    accessor: &Accessor<T, HasSelf<Guest>>,
    address: &str,
) -> Answer<Resource<Connection>> {
    let surroundings = accessor.with(|mut access| Arc::clone(&access.get().surroundings));
    if let Err(error) = check_grants(&surroundings.grants, address) {
        tracing::warn!(component = %surroundings.component, ?error, "refused a database address");
        return Ok(Err(error));
    }
    // How long it waits for the pool is worth seeing, too.
    let mut span = trace::queries(accessor, "postgresql", "connect");
    match surroundings.postgres.connect(address).await {
        Ok(connection) => accessor.with(|mut access| Ok(Ok(access.get().table.push(connection)?))),
        Err(error) => {
            span.fail("connection");
            Ok(Err(error))
        }
    }
}

fn client_of<T>(
    accessor: &Accessor<T, HasSelf<Guest>>,
    connection: &Resource<Connection>,
) -> wasmtime::Result<Arc<Borrowed>> {
    accessor.with(|mut access| Ok(Arc::clone(&access.get().table.get(connection)?.client)))
}

fn query_failed(error: &tokio_postgres::Error) -> Error {
    let as_text = format!("{error:?}");
    Error::QueryFailed(match error.as_db_error() {
        None => QueryError::Text(as_text),
        Some(answered) => QueryError::DbError(DbError {
            as_text,
            severity: answered.severity().to_owned(),
            code: answered.code().code().to_owned(),
            message: answered.message().to_owned(),
            detail: answered.detail().map(str::to_owned),
            extras: extras(answered),
        }),
    })
}

/// Under the names that Spin gives them.
fn extras(error: &tokio_postgres::error::DbError) -> Vec<(String, String)> {
    let line = error.line().map(|line| line.to_string());
    [
        ("column", error.column()),
        ("constraint", error.constraint()),
        ("routine", error.routine()),
        ("hint", error.hint()),
        ("table", error.table()),
        ("datatype", error.datatype()),
        ("schema", error.schema()),
        ("file", error.file()),
        ("line", line.as_deref()),
        ("where_", error.where_()),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
    .collect()
}

impl Host for Guest {}

impl HostConnection for Guest {
    fn open(&mut self, _address: String) -> Answer<Resource<Connection>> {
        Ok(Err(only_async()))
    }

    fn query(
        &mut self,
        _connection: Resource<Connection>,
        _statement: String,
        _parameters: Vec<ParameterValue>,
    ) -> Answer<RowSet> {
        Ok(Err(only_async()))
    }

    fn execute(
        &mut self,
        _connection: Resource<Connection>,
        _statement: String,
        _parameters: Vec<ParameterValue>,
    ) -> Answer<u64> {
        Ok(Err(only_async()))
    }

    fn drop(&mut self, connection: Resource<Connection>) -> wasmtime::Result<()> {
        self.table.delete(connection)?;
        Ok(())
    }
}

/// A call that waits inside the guest would stall every request of its instance.
fn only_async() -> Error {
    Error::Other("use the async functions: this host does not implement the synchronous ones".to_owned())
}

impl HostConnectionBuilder for Guest {
    fn new(&mut self, address: String) -> wasmtime::Result<Resource<ConnectionBuilder>> {
        Ok(self.table.push(ConnectionBuilder { address })?)
    }

    fn set_ca_root(&mut self, _builder: Resource<ConnectionBuilder>, _certificate: String) -> Answer<()> {
        Ok(Err(Error::Other(
            "this host connects to databases without TLS".to_owned(),
        )))
    }

    fn build(&mut self, _builder: Resource<ConnectionBuilder>) -> Answer<Resource<Connection>> {
        Ok(Err(only_async()))
    }

    fn drop(&mut self, builder: Resource<ConnectionBuilder>) -> wasmtime::Result<()> {
        self.table.delete(builder)?;
        Ok(())
    }
}

impl<T: Send> HostConnectionBuilderWithStore<T> for HasSelf<Guest> {
    async fn build_async(
        accessor: &Accessor<T, Self>,
        builder: Resource<ConnectionBuilder>,
    ) -> Answer<Resource<Connection>> {
        let address = accessor.with(|mut access| -> wasmtime::Result<String> {
            Ok(access.get().table.get(&builder)?.address.clone())
        })?;
        open(accessor, &address).await
    }
}

impl<T: Send + 'static> HostConnectionWithStore<T> for HasSelf<Guest> {
    async fn open_async(accessor: &Accessor<T, Self>, address: String) -> Answer<Resource<Connection>> {
        open(accessor, &address).await
    }

    async fn execute_async(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        statement: String,
        parameters: Vec<ParameterValue>,
    ) -> Answer<u64> {
        let borrowed = client_of(accessor, &connection)?;
        let parameters = match types::to_sql(parameters) {
            Ok(parameters) => parameters,
            Err(reason) => return Ok(Err(Error::ValueConversionFailed(reason))),
        };
        let mut span = begin(accessor, &borrowed.place, &statement);
        let executed = borrowed.client.execute_raw(&statement, parameters);
        Ok(through(Point::HostQueried, executed).await.map_err(|error| {
            failed(&mut span, &error);
            query_failed(&error)
        }))
    }

    async fn query_async(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        statement: String,
        parameters: Vec<ParameterValue>,
    ) -> Answer<(Vec<Column>, StreamReader<Row>, FutureReader<Result<(), Error>>)> {
        let borrowed = client_of(accessor, &connection)?;
        let parameters = match types::to_sql(parameters) {
            Ok(parameters) => parameters,
            Err(reason) => return Ok(Err(Error::BadParameter(reason))),
        };
        let mut span = begin(accessor, &borrowed.place, &statement);
        let queried = borrowed.client.query_raw(&statement, parameters);
        let stream = match through(Point::HostQueried, queried).await {
            Ok(stream) => stream,
            Err(error) => {
                failed(&mut span, &error);
                return Ok(Err(query_failed(&error)));
            }
        };
        // Until the first row: the rest comes at the pace at which the guest takes it.
        let (columns, rows, outcome) = Rows::start(Box::pin(stream), &mut span).await;
        drop(span);
        accessor.with(|mut access| {
            let rows = StreamReader::new(&mut access, rows)?;
            let outcome = FutureReader::new(&mut access, async move {
                // The guest dropped the rows before their end: nothing failed.
                Ok::<_, wasmtime::Error>(outcome.await.unwrap_or(Ok(())))
            })?;
            Ok(Ok((columns, rows, outcome)))
        })
    }
}

/// The rows of a query on their way into a guest. How it ends is told to `outcome`.
struct Rows {
    stream: Pin<Box<RowStream>>,
    /// Read ahead, for the columns are taken from it.
    first: Option<Row>,
    outcome: Option<oneshot::Sender<Result<(), Error>>>,
}

impl Rows {
    /// Waits for the first row. Without one the columns are empty, as in Spin.
    async fn start(
        mut stream: Pin<Box<RowStream>>,
        span: &mut Span,
    ) -> (Vec<Column>, Rows, oneshot::Receiver<Result<(), Error>>) {
        let (sender, receiver) = oneshot::channel();
        let first = stream.next().await;
        reached(Point::HostFirstRow);
        let mut rows = Rows {
            stream,
            first: None,
            outcome: Some(sender),
        };
        let mut columns = Vec::new();
        match first {
            None => rows.end(Ok(())),
            Some(Err(error)) => {
                failed(span, &error);
                rows.end(Err(query_failed(&error)));
            }
            Some(Ok(row)) => {
                columns = types::columns(&row);
                match types::row(&row) {
                    Ok(row) => rows.first = Some(row),
                    Err(error) => rows.end(Err(error)),
                }
            }
        }
        (columns, rows, receiver)
    }

    fn end(&mut self, outcome: Result<(), Error>) {
        if let Some(sender) = self.outcome.take() {
            // The guest may have dropped its end: then it does not want to know.
            let _ = sender.send(outcome);
        }
    }

    /// As many rows as are there already. `Ready(true)` if they were the last.
    fn poll_batch(&mut self, cx: &mut Context<'_>, batch: &mut Vec<Row>) -> Poll<bool> {
        batch.extend(self.first.take());
        while self.outcome.is_some() && batch.len() < MAX_BATCH {
            match self.stream.as_mut().poll_next(cx) {
                Poll::Pending if batch.is_empty() => return Poll::Pending,
                Poll::Pending => return Poll::Ready(false),
                Poll::Ready(None) => self.end(Ok(())),
                Poll::Ready(Some(Err(error))) => self.end(Err(query_failed(&error))),
                Poll::Ready(Some(Ok(row))) => match types::row(&row) {
                    Ok(row) => batch.push(row),
                    Err(error) => self.end(Err(error)),
                },
            }
        }
        Poll::Ready(self.outcome.is_none())
    }
}

impl<D> StreamProducer<D> for Rows {
    type Item = Row;
    type Buffer = VecBuffer<Row>;

    fn poll_produce<'a>(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut store: StoreContextMut<'a, D>,
        mut destination: Destination<'a, Row, VecBuffer<Row>>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        if destination.remaining(&mut store) == Some(0) {
            return Poll::Ready(Ok(StreamResult::Completed));
        }
        let mut batch = Vec::new();
        match self.poll_batch(cx, &mut batch) {
            Poll::Pending if finish => Poll::Ready(Ok(StreamResult::Cancelled)),
            Poll::Pending => Poll::Pending,
            Poll::Ready(last) => {
                destination.set_buffer(batch.into());
                Poll::Ready(Ok(if last {
                    StreamResult::Dropped
                } else {
                    StreamResult::Completed
                }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::variables::{Template, Variables};

    #[test]
    fn every_host_of_an_address_must_be_granted() {
        let variables = Variables::resolve([], &[], &HashMap::new()).unwrap();
        let grant = Template::parse("postgres://10.0.0.1:5432").unwrap();
        let grants = Grants::resolve(&[grant], &variables).unwrap();
        for (address, allowed) in [
            ("postgres://u:p@10.0.0.1/db", true),
            ("postgres://10.0.0.1:5432/db?user=u&password=p", true),
            ("host=10.0.0.1 user=u", true),
            ("postgres://10.0.0.1:5433/db", false),
            ("postgres://10.0.0.2/db", false),
            ("postgres://10.0.0.1,10.0.0.2/db", false),
            ("host=10.0.0.1 hostaddr=10.0.0.2", false),
            ("host=/var/run/postgresql", false),
            ("nonsense", false),
        ] {
            assert_eq!(check_grants(&grants, address).is_ok(), allowed, "{address}");
        }
    }

    #[test]
    fn a_statement_is_named_by_its_first_word() {
        assert_eq!(operation("-- why\n\n  with a as (select 1) select 2"), "WITH");
        assert_eq!(operation("select(1)"), "SELECT");
        for statement in ["", "-- select", "selection", "drop table x"] {
            assert_eq!(operation(statement), "SQL", "{statement}");
        }
    }

    #[test]
    fn a_place_holds_nothing_that_opens_it() {
        let place = Place::of(
            &parse("postgres://u:hush@10.0.0.1:5433/shop").unwrap(),
            Gauge::noop(),
        );
        assert_eq!(
            (place.host.as_str(), place.port, place.database.as_str()),
            ("10.0.0.1", 5433, "shop")
        );
    }

    #[test]
    fn a_refusal_does_not_show_the_password() {
        let error = check_grants(&Grants::default(), "postgres://u:hush@10.0.0.1/db").unwrap_err();
        assert!(!format!("{error:?}").contains("hush"));
    }
}
