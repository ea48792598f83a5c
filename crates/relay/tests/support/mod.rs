//! A stage for tests of the bridge: a database and queues of their own on real servers, and a service that answers as it
//! is told to. The servers' addresses come from the environment; `cargo xtask test` sets them.

#![allow(dead_code, reason = "each test file uses its own part of it")]

use event_batch::{BatchAnswer, EventResult, Outcome, SignatureHeaders, SigningKey};
use futures::StreamExt;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use lapin::options::{BasicConsumeOptions, ExchangeDeleteOptions, QueueDeleteOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{Connection, ConnectionProperties};
use relay::{Bridge, Config, Topology};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

pub(crate) const KEY: &str = "whsec_dGhlIGtleSBvZiB0aGVzZSB0ZXN0cyBhbG9uZQ==";
/// Far longer than anything should take; a test that is right never waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn address(name: &str) -> String {
    std::env::var(name)
        .unwrap_or_else(|_| panic!("{name} is not set: run these tests with `cargo xtask test`"))
}

/// Tables as the services' migrations make them.
const OUTBOX: &str = "
    create table outbox_messages (
        id bigint generated always as identity primary key,
        event_id uuid not null unique,
        event_type text not null,
        routing_key text not null,
        ordering_key text not null,
        aggregate_id uuid not null,
        payload jsonb not null,
        headers jsonb not null default '{}',
        occurred_at timestamptz not null,
        due_at timestamptz not null default now(),
        processed_at timestamptz,
        parked_at timestamptz,
        attempts int not null default 0,
        last_error text
    );
    create index outbox_messages_due on outbox_messages (due_at, id)
    where processed_at is null and parked_at is null;
    create index outbox_messages_key on outbox_messages (ordering_key, id)
    where processed_at is null and parked_at is null;
    create table inbox (event_id uuid primary key, received_at timestamptz not null default now());
";

pub(crate) struct Stage {
    pub(crate) database: Client,
    pub(crate) database_url: String,
    pub(crate) topology: Topology,
    /// The same, as it would stand in a file.
    pub(crate) topology_text: String,
    /// Where the bridge is to look for the broker.
    pub(crate) amqp_url: String,
    name: String,
    admin_url: String,
}

impl Stage {
    /// A database with the outbox of a service `shop`, and a topology in which a queue takes `thing.*` to the service
    /// `taker`. Nothing is declared yet.
    pub(crate) async fn new() -> Self {
        Self::with(false).await
    }

    /// The same, and the bridge tells of what is about a `thing_id`, to a service `teller`.
    pub(crate) async fn telling() -> Self {
        Self::with(true).await
    }

    async fn with(tells: bool) -> Self {
        let admin_url = address("SHOP_TEST_POSTGRES");
        let amqp_url = address("SHOP_TEST_AMQP");
        let name = format!("bridge_{}", Uuid::now_v7().simple());
        let admin = connect(&admin_url).await;
        admin
            .batch_execute(&format!("create database {name}"))
            .await
            .unwrap();
        let database_url = in_database(&admin_url, &name);
        let database = connect(&database_url).await;
        database
            .batch_execute("create schema shop; set search_path to shop")
            .await
            .unwrap();
        database.batch_execute(OUTBOX).await.unwrap();
        let letters = include_str!("../../../../migrations/bridge/V1__dead_letters.sql");
        let operations = include_str!("../../../../migrations/bridge/V2__operations.sql");
        let bridge = format!(
            "create schema bridge; set search_path to bridge; {letters}; {operations}; set search_path to shop"
        );
        database.batch_execute(&bridge).await.unwrap();
        let (outboxes, telling) = if tells {
            let telling = format!(
                r#"
                [[queue]]
                name = "{name}_bridge_events"
                service = "teller"
                bindings = ["bridge.dead_lettered", "bridge.dead_letter_resolved"]
                "#
            );
            (
                "outboxes = ['shop', 'bridge']\ncorrelate_by = 'thing_id'",
                telling,
            )
        } else {
            ("outboxes = ['shop']", String::new())
        };
        let topology_text = format!(
            r#"
            exchange = "{name}"
            dead_letters = "{name}.dead"
            unconsumed = ["thing.unheard"]
            {outboxes}
            [[queue]]
            name = "{name}_things"
            service = "taker"
            bindings = ["thing.happened", "thing.else"]
            {telling}
            "#
        );
        let topology = Topology::parse(&topology_text).unwrap();
        Self {
            database,
            database_url,
            topology,
            topology_text,
            amqp_url,
            name,
            admin_url,
        }
    }

    /// What a bridge on this stage is started with.
    pub(crate) fn config(&self, events_url: &str) -> Config {
        let key = SigningKey::parse(KEY).unwrap();
        let (database_url, amqp_url) = (self.database_url.clone(), self.amqp_url.clone());
        Config::new(
            self.topology.clone(),
            database_url,
            amqp_url,
            events_url.to_owned(),
            key,
        )
    }

    pub(crate) async fn bridge(&self, service: &Service) -> Bridge {
        Bridge::start(self.config(&service.url())).await.unwrap()
    }

    pub(crate) fn queue(&self) -> String {
        format!("{}_things", self.name)
    }

    /// Writes an event for each key, in one transaction. Returns the ids of the rows.
    pub(crate) async fn write(&self, keys: &[&str]) -> Vec<i64> {
        write(&self.database, "thing.happened", keys).await
    }

    /// How many rows satisfy a condition.
    pub(crate) async fn count(&self, condition: &str) -> i64 {
        let sql = format!("select count(*) from shop.outbox_messages where {condition}");
        self.database.query_one(&sql, &[]).await.unwrap().get(0)
    }

    /// Waits until so many rows satisfy a condition.
    pub(crate) async fn until(&self, condition: &str, count: i64) {
        eventually(&format!("{count} rows where {condition}"), async || {
            self.count(condition).await == count
        })
        .await;
    }

    /// Removes what this stage put on the servers.
    pub(crate) async fn clear(self) {
        let connection = Connection::connect(&address("SHOP_TEST_AMQP"), ConnectionProperties::default())
            .await
            .unwrap();
        let channel = connection.create_channel().await.unwrap();
        let bridge_events = format!("{}_bridge_events", self.name);
        for queue in [self.queue(), bridge_events, format!("{}.dead", self.name)] {
            channel
                .queue_delete(queue.into(), QueueDeleteOptions::default())
                .await
                .unwrap();
        }
        for exchange in [self.name.clone(), format!("{}.dead", self.name)] {
            channel
                .exchange_delete(exchange.into(), ExchangeDeleteOptions::default())
                .await
                .unwrap();
        }
        drop(self.database);
        let admin = connect(&self.admin_url).await;
        admin
            .batch_execute(&format!("drop database {} with (force)", self.name))
            .await
            .unwrap();
    }
}

pub(crate) async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

pub(crate) fn in_database(url: &str, name: &str) -> String {
    let (base, query) = url
        .split_once('?')
        .map_or((url, String::new()), |(base, query)| (base, format!("?{query}")));
    let authority = base.find("://").map_or(0, |start| start + 3);
    let end = base[authority..]
        .find('/')
        .map_or(base.len(), |end| authority + end);
    format!("{}/{name}{query}", &base[..end])
}

/// Writes an event for each key. Its payload tells the key and the place of the row.
pub(crate) async fn write(client: &Client, routing_key: &str, keys: &[&str]) -> Vec<i64> {
    let sql = "
        insert into shop.outbox_messages
            (event_id, event_type, routing_key, ordering_key, aggregate_id, payload, occurred_at)
        select event_id, 'ThingHappened', $1, key, gen_random_uuid(),
            jsonb_build_object('specversion', '1.0', 'id', event_id, 'source', 'shop', 'type', 'ThingHappened',
                'data', jsonb_build_object('key', key, 'place', place, 'thing_id', md5(key)::uuid)),
            now()
        from (select gen_random_uuid() as event_id, key, place
              from unnest($2::text[]) with ordinality as keys (key, place) order by place) events
        returning id";
    let rows = client.query(sql, &[&routing_key, &keys]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// Waits for a condition. Asks again every 20 ms.
pub(crate) async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(Instant::now() < end, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Everything that an exchange is given from now on, read from a queue of our own.
pub(crate) struct Wiretap {
    messages: tokio::sync::mpsc::UnboundedReceiver<Message>,
    _connection: Connection,
}

#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) message_id: String,
    pub(crate) routing_key: String,
    pub(crate) body: Value,
}

impl Message {
    pub(crate) fn key(&self) -> String {
        self.body["data"]["key"].as_str().unwrap().to_owned()
    }

    pub(crate) fn row(&self) -> i64 {
        self.message_id.rsplit(':').next().unwrap().parse().unwrap()
    }
}

impl Wiretap {
    /// The exchange is declared if need be.
    pub(crate) async fn on(stage: &Stage) -> Self {
        let connection = Connection::connect(&address("SHOP_TEST_AMQP"), ConnectionProperties::default())
            .await
            .unwrap();
        let channel = connection.create_channel().await.unwrap();
        let exchange = ShortString::from(stage.topology.exchange.as_str());
        let durable = lapin::options::ExchangeDeclareOptions {
            durable: true,
            ..Default::default()
        };
        let (kind, none) = (lapin::ExchangeKind::Topic, FieldTable::default());
        channel
            .exchange_declare(exchange.clone(), kind, durable, none.clone())
            .await
            .unwrap();
        let exclusive = lapin::options::QueueDeclareOptions {
            exclusive: true,
            ..Default::default()
        };
        let queue = channel
            .queue_declare("".into(), exclusive, none.clone())
            .await
            .unwrap()
            .name()
            .clone();
        for pattern in ["thing.happened", "thing.else"] {
            let options = lapin::options::QueueBindOptions::default();
            channel
                .queue_bind(
                    queue.clone(),
                    exchange.clone(),
                    pattern.into(),
                    options,
                    none.clone(),
                )
                .await
                .unwrap();
        }
        let options = BasicConsumeOptions {
            no_ack: true,
            ..Default::default()
        };
        let mut consumer = channel
            .basic_consume(queue, "".into(), options, none)
            .await
            .unwrap();
        let (sender, messages) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(async move {
            let _channel = channel;
            while let Some(Ok(delivery)) = consumer.next().await {
                let message = Message {
                    message_id: delivery.properties.message_id().as_ref().unwrap().to_string(),
                    routing_key: delivery.routing_key.to_string(),
                    body: serde_json::from_slice(&delivery.data).unwrap(),
                };
                if sender.send(message).is_err() {
                    break;
                }
            }
        });
        Self {
            messages,
            _connection: connection,
        }
    }

    pub(crate) async fn next(&mut self) -> Message {
        timeout(PATIENCE, self.messages.recv())
            .await
            .expect("a message in time")
            .expect("the tap is open")
    }

    pub(crate) async fn take(&mut self, count: usize) -> Vec<Message> {
        let mut messages = Vec::with_capacity(count);
        while messages.len() < count {
            messages.push(self.next().await);
        }
        messages
    }

    /// What has come so far.
    pub(crate) fn so_far(&mut self) -> Vec<Message> {
        std::iter::from_fn(|| self.messages.try_recv().ok()).collect()
    }
}

/// The first publications of each key, in the order in which they came.
pub(crate) fn first_publications(messages: &[Message]) -> HashMap<String, Vec<i64>> {
    let mut rows: HashMap<String, Vec<i64>> = HashMap::new();
    for message in messages {
        let rows = rows.entry(message.key()).or_default();
        if !rows.contains(&message.row()) {
            rows.push(message.row());
        }
    }
    rows
}

pub(crate) fn assert_in_order(messages: &[Message]) {
    for (key, rows) in first_publications(messages) {
        assert!(rows.is_sorted(), "{key}: {rows:?}");
    }
}

/// What the service does with a batch: given the bodies of its events, an answer for each, or a status.
pub(crate) type Behaviour = dyn Fn(&[Value]) -> Result<Vec<Outcome>, u16> + Send + Sync;

/// A service that answers as it is told to, and remembers what it was sent.
#[derive(Clone)]
pub(crate) struct Service {
    address: SocketAddr,
    inner: Arc<Inner>,
}

struct Inner {
    behaviour: Mutex<Box<Behaviour>>,
    healthy: Mutex<bool>,
    asked: AtomicUsize,
    batches: Mutex<Vec<Vec<Value>>>,
    told: Mutex<Vec<Value>>,
    news: Notify,
}

impl Service {
    /// Takes everything.
    pub(crate) async fn willing() -> Self {
        Self::new(|events| Ok(vec![Outcome::Processed; events.len()])).await
    }

    pub(crate) async fn new(
        behaviour: impl Fn(&[Value]) -> Result<Vec<Outcome>, u16> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let inner = Inner {
            behaviour: Mutex::new(Box::new(behaviour)),
            healthy: Mutex::new(true),
            asked: AtomicUsize::new(0),
            batches: Mutex::default(),
            told: Mutex::default(),
            news: Notify::new(),
        };
        let service = Self {
            address,
            inner: Arc::new(inner),
        };
        let inner = service.inner.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let inner = inner.clone();
                let serve = service_fn(move |request| answer(inner.clone(), request));
                let connection =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), serve);
                tokio::spawn(connection);
            }
        });
        service
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn behave(
        &self,
        behaviour: impl Fn(&[Value]) -> Result<Vec<Outcome>, u16> + Send + Sync + 'static,
    ) {
        *self.inner.behaviour.lock().unwrap() = Box::new(behaviour);
    }

    pub(crate) fn set_healthy(&self, healthy: bool) {
        *self.inner.healthy.lock().unwrap() = healthy;
    }

    /// How often it was asked whether it is well.
    pub(crate) fn asked(&self) -> usize {
        self.inner.asked.load(Ordering::SeqCst)
    }

    /// Every batch so far.
    pub(crate) fn batches(&self) -> Vec<Vec<Value>> {
        self.inner.batches.lock().unwrap().clone()
    }

    /// What the bridge has told of dead letters: the type, what it is about, and the resolution.
    pub(crate) fn told(&self) -> Vec<(String, String, Option<String>)> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let told = self.inner.told.lock().unwrap();
        told.iter()
            .map(|event| {
                let (kind, about) = (text(&event["type"]), text(&event["data"]["thing_id"]));
                (kind.unwrap(), about.unwrap(), text(&event["data"]["resolution"]))
            })
            .collect()
    }

    /// Every event so far, repetitions included, as `key:place`.
    pub(crate) fn events(&self) -> Vec<String> {
        self.batches().iter().flatten().map(name).collect()
    }

    /// Waits until so many events have come.
    pub(crate) async fn until(&self, count: usize) {
        let end = Instant::now() + PATIENCE;
        loop {
            let news = self.inner.news.notified();
            let seen = self.events().len();
            if seen >= count {
                return;
            }
            let waited = tokio::time::timeout_at(end, news).await;
            assert!(waited.is_ok(), "{seen} of {count} events came");
        }
    }
}

/// `key:place`
pub(crate) fn name(event: &Value) -> String {
    format!(
        "{}:{}",
        event["data"]["key"].as_str().unwrap_or("?"),
        event["data"]["place"]
    )
}

async fn answer(
    inner: Arc<Inner>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let status = |status| {
        let mut answer = Response::new(Full::default());
        *answer.status_mut() = StatusCode::from_u16(status).unwrap();
        Ok(answer)
    };
    let path = request.uri().path().to_owned();
    if path == "/internal/taker/health" {
        inner.asked.fetch_add(1, Ordering::SeqCst);
        return status(if *inner.healthy.lock().unwrap() { 200 } else { 503 });
    }
    let tells = path == "/internal/teller/events";
    assert!(tells || path == "/internal/taker/events", "{path}");
    assert_eq!(request.headers()["content-type"], event_batch::BATCH_CONTENT_TYPE);
    let header = |name: &str| request.headers()[name].to_str().unwrap().to_owned();
    let (id, at) = (header(SignatureHeaders::ID), header(SignatureHeaders::TIMESTAMP));
    let signature = header(SignatureHeaders::SIGNATURE);
    let body = request.into_body().collect().await?.to_bytes();
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    SigningKey::parse(KEY)
        .unwrap()
        .verify(&id, &at, &signature, &body, now)
        .unwrap();
    let events: Vec<Value> = serde_json::from_slice(&body).unwrap();
    let outcomes = if tells {
        inner.told.lock().unwrap().extend(events.clone());
        Ok(vec![Outcome::Processed; events.len()])
    } else {
        let outcomes = inner.behaviour.lock().unwrap()(&events);
        inner.batches.lock().unwrap().push(events.clone());
        outcomes
    };
    inner.news.notify_waiters();
    match outcomes {
        Err(code) => status(code),
        Ok(outcomes) => {
            let results = events.iter().zip(outcomes).map(|(event, outcome)| EventResult {
                id: event["id"].as_str().unwrap().to_owned(),
                outcome,
                reason: (outcome == Outcome::Rejected).then(|| "not of interest".to_owned()),
            });
            let answer = BatchAnswer {
                results: results.collect(),
            };
            Ok(Response::new(Full::from(json!(answer).to_string())))
        }
    }
}

/// Something between the bridge and a server that can be cut, and can swallow what the bridge sends.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    line: tokio::sync::watch::Sender<Line>,
    swallow: Arc<AtomicBool>,
    swallowed: Arc<AtomicUsize>,
}

/// Whether connections may come, and how often all that there were have been ended.
#[derive(Clone, Copy, Default)]
struct Line {
    is_cut: bool,
    cuts: usize,
}

impl Proxy {
    pub(crate) async fn to(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (line, watch) = tokio::sync::watch::channel(Line::default());
        let (swallow, swallowed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let gullet = (swallow.clone(), swallowed.clone());
        tokio::spawn(async move {
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                let (target, mut watch, gullet) = (target.clone(), watch.clone(), gullet.clone());
                tokio::spawn(async move {
                    let Line { is_cut, cuts } = *watch.borrow_and_update();
                    if is_cut {
                        return;
                    }
                    let Ok(mut server) = tokio::net::TcpStream::connect(&target).await else {
                        return;
                    };
                    let (mut from_client, mut to_client) = client.split();
                    let (mut from_server, mut to_server) = server.split();
                    tokio::select! {
                        _ = tokio::io::copy(&mut from_server, &mut to_client) => {}
                        _ = send(&mut from_client, &mut to_server, &gullet.0, &gullet.1) => {}
                        _ = watch.wait_for(|line| line.cuts != cuts) => {}
                    }
                });
            }
        });
        Self {
            address,
            line,
            swallow,
            swallowed,
        }
    }

    /// Ends every connection, even if it is mended the next moment, and those that come until then.
    pub(crate) fn cut(&self) {
        self.line.send_modify(|line| {
            line.is_cut = true;
            line.cuts += 1;
        });
    }

    pub(crate) fn mend(&self) {
        self.line.send_modify(|line| line.is_cut = false);
    }

    /// Whether what the bridge sends from now on is lost, though its connections stand.
    pub(crate) fn swallow(&self, swallow: bool) {
        self.swallow.store(swallow, Ordering::SeqCst);
    }

    /// How many bytes were lost that way.
    pub(crate) fn swallowed(&self) -> usize {
        self.swallowed.load(Ordering::SeqCst)
    }
}

/// Hands over what comes, but for what is to be swallowed.
async fn send(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    swallow: &AtomicBool,
    swallowed: &AtomicUsize,
) -> std::io::Result<()> {
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let count = from.read(&mut bytes).await?;
        if count == 0 {
            return Ok(());
        }
        if swallow.load(Ordering::SeqCst) {
            swallowed.fetch_add(count, Ordering::SeqCst);
        } else {
            to.write_all(&bytes[..count]).await?;
        }
    }
}

/// `host:port` of an address with or without login and path.
pub(crate) fn authority(url: &str) -> String {
    let rest = url.split_once("://").unwrap().1;
    let rest = rest.split(['/', '?']).next().unwrap();
    rest.rsplit('@').next().unwrap().to_owned()
}
