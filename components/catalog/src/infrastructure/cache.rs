//! Flowers in Redis, ready to send. What Redis does not say, says late or says garbled is a miss: no failure of its
//! fails a read.
//!
//! # Why nobody sees an old value after a write is answered
//!
//! Deleting what a write touched is not enough: a slow reader may have loaded the old row before the write, and store
//! it after the writer's delete. So nobody stores unless the right to it, which is taken *before* the load, still
//! stands, and a writer takes away every right *after* its commit and before its answer. Who gets a right after that
//! loads what is committed.
//!
//! - One flower: the right is a lease, a unique word under the flower's own key, where only a reader that finds
//!   nothing puts it. One script compares and stores, so between the two nobody gets in. The writer's `DEL` of the key
//!   removes the value, or the lease. A reader that finds a lease loads and stores nothing; a lease whose holder died
//!   ends by itself.
//! - Lists: a write may touch any of them, and nobody knows all their keys. Each is stored with the word that stood
//!   under [`GENERATION`] when its reader began, and counts only while the same word stands there. The writer's `DEL`
//!   of that one key kills every list at once, those that slow readers are yet to store included: a new word is drawn
//!   at random, so none ever comes back, not even after Redis lost the key or all it had. What is dead ends at its TTL.
//!
//! With two writers each takes the rights away after its own commit; what a reader loaded between the two dies with
//! the second. A command that arrives late does no harm: a `DEL` costs a load, a store counts only with its right.
//! If a writer dies between commit and answer, or cannot reach Redis though readers can, they see the old value until
//! its TTL at most: what the shop promises has that hole, because the alternative is to refuse writes without Redis.
//! Redis must not bring back what was deleted, so it keeps nothing on disk.
//!
//! Each command names one key, so Redis may be a cluster.

use crate::application::{FlowerCache, FlowerFilter, Listing, Lookup, Representation, Ticket};
use bytes::Bytes;
use contracts::FlowerId;
use futures::future::{join, join_all};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use service::PageQuery;
use service::health::Check;
use service::log::{self, Level};
use service::redis::{Redis, RedisError, Rest, text};
use spin_sdk::redis::{RedisParameter, RedisResult};
use std::time::Duration;
use uuid::Uuid;

/// How long a flower is kept, in seconds.
const FLOWER_TTL: i64 = 3_600;

/// How long a list is kept, in seconds.
const LIST_TTL: i64 = 300;

/// How long a lease stands, in milliseconds: longer than Postgres gives a statement.
const LEASE_TTL: i64 = 5_000;

/// What a lease begins with; no flower's entry does.
const LEASE: &str = "lease:";

/// Where the word stands that all lists which count were stored with.
const GENERATION: &str = "flowers:generation";

/// How long a read waits for Redis before it asks Postgres instead.
const READ_PATIENCE: Duration = Duration::from_millis(100);

/// How long a write waits for Redis, twice, before it leaves old values to their TTL. It waits longer than a read:
/// a read that gives up costs speed, a write that does so leaves old values behind.
const WRITE_PATIENCE: Duration = Duration::from_millis(500);

/// What this needs of Redis.
pub trait Commands {
    /// The value under `key`, if there is one.
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, RedisError>;

    /// Runs `command`.
    async fn execute(
        &self,
        command: &str,
        arguments: Vec<RedisParameter>,
    ) -> Result<Vec<RedisResult>, RedisError>;
}

impl Commands for Redis {
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, RedisError> {
        Redis::get(self, key).await
    }

    async fn execute(
        &self,
        command: &str,
        arguments: Vec<RedisParameter>,
    ) -> Result<Vec<RedisResult>, RedisError> {
        Redis::execute(self, command, arguments).await
    }
}

/// The cache of one instance.
pub struct RedisCache<C = Redis> {
    for_reads: C,
    for_writes: C,
    rest: Rest,
}

impl RedisCache {
    /// The cache at `address`, which is first reached when it is first needed.
    #[must_use]
    pub fn connect(address: &str) -> Self {
        let redis = |patience| Redis::new(address.to_owned(), patience);
        Self::new(redis(READ_PATIENCE), redis(WRITE_PATIENCE))
    }
}

impl<C: Commands> RedisCache<C> {
    fn new(for_reads: C, for_writes: C) -> Self {
        Self {
            for_reads,
            for_writes,
            rest: Rest::default(),
        }
    }

    /// Whether Redis answers, whatever it did a moment ago.
    pub async fn check(&self) -> Check {
        match self.for_reads.execute("PING", Vec::new()).await.as_deref() {
            Ok([RedisResult::Status(answer)]) if answer == "PONG" => Check::Ok,
            _ => Check::Degraded,
        }
    }

    /// What `look` finds, unless Redis does not answer, or did not a moment ago.
    async fn look<T>(&self, look: impl Future<Output = Result<T, RedisError>>) -> Option<T> {
        self.rest.unless("reads go to Postgres", look).await
    }

    /// Puts `word` under `key`, where nothing or garbage was found.
    async fn claim(&self, key: &str, word: String, found: &Found, ttl: Option<i64>) -> Ticket {
        let mut arguments = vec![text(key), text(word.as_str())];
        if matches!(found, Found::Nothing) {
            arguments.push(text("NX"));
        }
        if let Some(milliseconds) = ttl {
            arguments.extend([text("PX"), number(milliseconds)]);
        }
        let answer = self.for_reads.execute("SET", arguments).await;
        // `nil` where somebody was faster.
        let claimed = matches!(answer.as_deref(), Ok([RedisResult::Status(_)]));
        Ticket(claimed.then_some(word))
    }

    async fn delete(&self, key: String) {
        for _ in 0..2 {
            let answer = self.for_writes.execute("DEL", vec![text(key.as_str())]).await;
            if matches!(answer.as_deref(), Ok([RedisResult::Int64(_)])) {
                return;
            }
        }
        log::line(
            Level::Warn,
            "old values stay cached until their TTL",
            &[("key", &key)],
        );
    }
}

impl<C: Commands> FlowerCache for RedisCache<C> {
    async fn flower(&self, id: FlowerId) -> Lookup<Representation> {
        let key = flower_key(id);
        let Some(value) = self.look(self.for_reads.get(&key)).await else {
            return Lookup::Miss(Ticket(None));
        };
        let found = match value {
            None => Found::Nothing,
            Some(value) if value.starts_with(LEASE.as_bytes()) => return Lookup::Miss(Ticket(None)),
            Some(value) => read_entry(&key, value).map_or(Found::Garbage, Found::Entry),
        };
        if let Found::Entry(entry) = &found
            && let Ok(version) = entry.tag.parse()
        {
            let body = entry.body.clone();
            return Lookup::Hit(Representation { version, body });
        }
        let lease = format!("{LEASE}{}", Uuid::new_v4());
        Lookup::Miss(self.claim(&key, lease, &found, Some(LEASE_TTL)).await)
    }

    async fn keep_flower(&self, id: FlowerId, ticket: Ticket, flower: &Representation) {
        let Ticket(Some(lease)) = ticket else { return };
        let key = flower_key(id);
        let entry = write_entry(&key, &flower.version.to_string(), &flower.body);
        let arguments = vec![
            text(include_str!("lua/keep_flower.lua")),
            number(1),
            text(key),
            text(lease),
            RedisParameter::Binary(entry),
            number(FLOWER_TTL),
        ];
        // What is not kept is loaded again.
        let _ = self.for_reads.execute("EVAL", arguments).await;
    }

    async fn give_back(&self, id: FlowerId, ticket: Ticket) {
        if ticket.0.is_some() {
            let _ = self.for_reads.execute("DEL", vec![text(flower_key(id))]).await;
        }
    }

    async fn list(&self, filter: &FlowerFilter, page: PageQuery) -> Lookup<Listing> {
        let key = list_key(filter, page);
        // Two commands on one connection, sent without waiting in between.
        let both = async {
            let (word, value) = join(self.for_reads.get(GENERATION), self.for_reads.get(&key)).await;
            Ok((word?, value?))
        };
        let Some((word, value)) = self.look(both).await else {
            return Lookup::Miss(Ticket(None));
        };
        let found = word.map_or(Found::Nothing, |word| read_word(&word));
        let Found::Word(generation) = found else {
            let drawn = Uuid::new_v4().to_string();
            return Lookup::Miss(self.claim(GENERATION, drawn, &found, None).await);
        };
        let entry = value.and_then(|value| read_entry(&key, value));
        match entry.and_then(|entry| entry.into_listing(&generation)) {
            Some(listing) => Lookup::Hit(listing),
            None => Lookup::Miss(Ticket(Some(generation))),
        }
    }

    async fn keep_list(&self, filter: &FlowerFilter, page: PageQuery, ticket: Ticket, listing: &Listing) {
        let Ticket(Some(generation)) = ticket else { return };
        let key = list_key(filter, page);
        // Both forms, and where the first ends.
        let tag = format!("{generation}:{}:{}", listing.etag, listing.body.len());
        let gzipped = listing.gzipped.as_deref().unwrap_or_default();
        let entry = write_entry(&key, &tag, &[&listing.body, gzipped].concat());
        let entry = RedisParameter::Binary(entry);
        let arguments = vec![text(key), entry, text("EX"), number(LIST_TTL)];
        // What is not kept is loaded again.
        let _ = self.for_reads.execute("SET", arguments).await;
    }

    async fn forget(&self, ids: &[FlowerId]) {
        let Some((first, rest)) = ids.split_first() else {
            return;
        };
        join(
            self.delete(flower_key(*first)),
            self.delete(GENERATION.to_owned()),
        )
        .await;
        // On the connection that there is by now, sent without waiting in between.
        join_all(rest.iter().map(|id| self.delete(flower_key(*id)))).await;
    }
}

/// What stands under a key.
enum Found {
    Nothing,
    Entry(Entry),
    Word(String),
    /// Not ours: whoever needs the key overwrites it.
    Garbage,
}

struct Entry {
    tag: String,
    body: Bytes,
}

impl Entry {
    /// The list that was kept, with the entity tag that it had, if it still counts.
    fn into_listing(self, generation: &str) -> Option<Listing> {
        let (word, rest) = self.tag.split_once(':')?;
        let (etag, length) = rest.split_once(':')?;
        let length: usize = length.parse().ok()?;
        if word != generation || length > self.body.len() {
            return None;
        }
        let gzipped = self.body.slice(length..);
        Some(Listing {
            etag: etag.to_owned(),
            body: self.body.slice(..length),
            gzipped: (!gzipped.is_empty()).then_some(gzipped),
        })
    }
}

fn number(value: i64) -> RedisParameter {
    RedisParameter::Binary(value.to_string().into_bytes())
}

fn flower_key(id: FlowerId) -> String {
    format!("flower:{id}")
}

/// Everything but the unreserved characters of RFC 3986 is encoded, so that what joins the parts is in none of them.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

fn list_key(filter: &FlowerFilter, page: PageQuery) -> String {
    let PageQuery { skip, limit } = page;
    let search = filter.search.as_ref().map_or("", |search| search.as_str());
    let search = utf8_percent_encode(search, ENCODED);
    match filter.flower_type {
        None => format!("flowers:list:{skip}:{limit}:{search}"),
        Some(kind) => format!(
            "flowers:list:{skip}:{limit}:{search}&flower_type={}",
            kind.as_str()
        ),
    }
}

/// A value of the cache: a line of the key that it belongs to, a tag and a checksum, then the body. So an answer to
/// another question, a value from another hand and one that was cut or changed on its way all read as garbage.
fn write_entry(key: &str, tag: &str, body: &[u8]) -> Vec<u8> {
    let mut entry = format!("{key} {tag} {:016x}\n", checksum(tag, body)).into_bytes();
    entry.extend_from_slice(body);
    entry
}

fn read_entry(key: &str, value: Vec<u8>) -> Option<Entry> {
    let rest = value.strip_prefix(key.as_bytes())?.strip_prefix(b" ")?;
    let end = rest.iter().position(|byte| *byte == b'\n')?;
    let (tag, sum) = std::str::from_utf8(&rest[..end]).ok()?.split_once(' ')?;
    let body_start = value.len() - rest.len() + end + 1;
    if u64::from_str_radix(sum, 16).ok()? != checksum(tag, &value[body_start..]) {
        return None;
    }
    let tag = tag.to_owned();
    let body = Bytes::from(value).slice(body_start..);
    Some(Entry { tag, body })
}

fn read_word(value: &[u8]) -> Found {
    let word = std::str::from_utf8(value).ok().map(str::to_owned);
    let ours = word.filter(|word| Uuid::try_parse(word).is_ok());
    ours.map_or(Found::Garbage, Found::Word)
}

/// Tells accidents, not attacks: eight bytes at a time, for every cached read waits for it.
fn checksum(tag: &str, body: &[u8]) -> u64 {
    const FACTOR: u64 = 0x517c_c1b7_2722_0a95;
    let start = tag.bytes().fold(body.len() as u64, |sum, byte| {
        (sum.rotate_left(5) ^ u64::from(byte)).wrapping_mul(FACTOR)
    });
    body.chunks(8).fold(start, |sum, chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        (sum.rotate_left(5) ^ u64::from_le_bytes(word)).wrapping_mul(FACTOR)
    })
}

#[cfg(test)]
mod tests;
