//! The protocol against an in-memory stand-in for Redis, in every order in which its steps can meet.

use super::*;
use futures::FutureExt as _;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

/// What Redis does with the commands of this module, or nothing while it is down.
#[derive(Default)]
struct Memory {
    values: RefCell<HashMap<String, Vec<u8>>>,
    is_down: Cell<bool>,
    commands: Cell<usize>,
}

type Stand = Rc<Memory>;

impl Memory {
    fn reach(&self) -> Result<(), RedisError> {
        self.commands.set(self.commands.get() + 1);
        if self.is_down.get() {
            Err(RedisError)
        } else {
            Ok(())
        }
    }

    fn set(&self, key: &str, value: &[u8]) {
        self.values.borrow_mut().insert(key.to_owned(), value.to_vec());
    }

    fn keys(&self) -> Vec<String> {
        self.values.borrow().keys().cloned().collect()
    }
}

impl Commands for Stand {
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, RedisError> {
        self.reach()?;
        Ok(self.values.borrow().get(key).cloned())
    }

    async fn execute(
        &self,
        command: &str,
        arguments: Vec<RedisParameter>,
    ) -> Result<Vec<RedisResult>, RedisError> {
        self.reach()?;
        let arguments: Vec<Vec<u8>> = arguments.into_iter().map(bytes_of).collect();
        let word = |position: usize| String::from_utf8_lossy(&arguments[position]).into_owned();
        let done = || vec![RedisResult::Status("OK".to_owned())];
        match command {
            "SET" => {
                let is_taken = self.values.borrow().contains_key(&word(0));
                if is_taken && arguments.get(2).is_some_and(|option| option == b"NX") {
                    return Ok(vec![RedisResult::Nil]);
                }
                self.set(&word(0), &arguments[1]);
                Ok(done())
            }
            "DEL" => {
                self.values.borrow_mut().remove(&word(0));
                Ok(vec![RedisResult::Int64(1)])
            }
            "EVAL" => {
                let holds = self.values.borrow().get(&word(2)) == Some(&arguments[3]);
                if holds {
                    self.set(&word(2), &arguments[4]);
                }
                Ok(vec![RedisResult::Int64(i64::from(holds))])
            }
            other => panic!("{other}"),
        }
    }
}

fn bytes_of(parameter: RedisParameter) -> Vec<u8> {
    match parameter {
        RedisParameter::Binary(bytes) => bytes,
        RedisParameter::Int64(number) => number.to_string().into_bytes(),
    }
}

struct Shop {
    memory: Stand,
    cache: RedisCache<Stand>,
    rose: FlowerId,
}

const ALL: FlowerFilter = FlowerFilter {
    search: None,
    flower_type: None,
};
const FIRST: PageQuery = PageQuery { skip: 0, limit: 20 };

impl Shop {
    fn new() -> Self {
        Self::with(Memory::default(), FlowerId::new())
    }

    fn with(memory: Memory, rose: FlowerId) -> Self {
        let memory = Rc::new(memory);
        let cache = RedisCache::new(Rc::clone(&memory), Rc::clone(&memory));
        Self { memory, cache, rose }
    }

    fn copy(&self) -> Self {
        let memory = Memory {
            values: self.memory.values.clone(),
            ..Memory::default()
        };
        Self::with(memory, self.rose)
    }

    fn look(&self) -> Lookup<Representation> {
        self.cache.flower(self.rose).now_or_never().unwrap()
    }

    fn keep(&self, ticket: Ticket, version: i64) {
        let shown = representation(version);
        self.cache
            .keep_flower(self.rose, ticket, &shown)
            .now_or_never()
            .unwrap();
    }

    fn look_at_list(&self) -> Lookup<Listing> {
        self.cache.list(&ALL, FIRST).now_or_never().unwrap()
    }

    fn keep_list(&self, ticket: Ticket, version: i64) {
        let listing = Listing::new(representation(version).body);
        self.cache
            .keep_list(&ALL, FIRST, ticket, &listing)
            .now_or_never()
            .unwrap();
    }

    fn forget(&self) {
        self.cache.forget(&[self.rose]).now_or_never().unwrap();
    }

    /// A reader that meets nobody.
    fn read(&self, version: i64) {
        if let Lookup::Miss(ticket) = self.look() {
            self.keep(ticket, version);
        }
        if let Lookup::Miss(ticket) = self.look_at_list() {
            self.keep_list(ticket, version);
        }
    }

    fn cached(&self) -> Option<i64> {
        match self.look() {
            Lookup::Hit(shown) => Some(shown.version),
            Lookup::Miss(_) => None,
        }
    }
}

fn representation(version: i64) -> Representation {
    Representation {
        version,
        body: version.to_string().into(),
    }
}

/// What a writer or a reader does next.
enum Actor {
    Committing,
    Answering { version: i64 },
    Looking,
    Loading(Ticket),
    Keeping(Ticket, i64),
    Done,
}

impl Actor {
    fn copy(&self) -> Self {
        let same = |ticket: &Ticket| Ticket(ticket.0.clone());
        match self {
            Self::Committing => Self::Committing,
            Self::Answering { version } => Self::Answering { version: *version },
            Self::Looking => Self::Looking,
            Self::Loading(ticket) => Self::Loading(same(ticket)),
            Self::Keeping(ticket, version) => Self::Keeping(same(ticket), *version),
            Self::Done => Self::Done,
        }
    }
}

/// A store at some version, the newest version whose write was answered, and those who write and read.
struct Story {
    shop: Shop,
    lists: bool,
    stored: i64,
    answered: i64,
    actors: Vec<Actor>,
    /// Who did the steps so far.
    steps: Vec<usize>,
}

impl Story {
    fn of_two_writers_and_two_readers(lists: bool) -> Self {
        Self {
            shop: Shop::new(),
            lists,
            stored: 0,
            answered: 0,
            actors: vec![
                Actor::Committing,
                Actor::Committing,
                Actor::Looking,
                Actor::Looking,
            ],
            steps: Vec::new(),
        }
    }

    fn copy(&self) -> Self {
        Self {
            shop: self.shop.copy(),
            lists: self.lists,
            stored: self.stored,
            answered: self.answered,
            actors: self.actors.iter().map(Actor::copy).collect(),
            steps: self.steps.clone(),
        }
    }

    /// The version that the cache holds, or a ticket.
    fn look(&self) -> Result<i64, Ticket> {
        if self.lists {
            match self.shop.look_at_list() {
                Lookup::Hit(listing) => Ok(String::from_utf8_lossy(&listing.body).parse().unwrap()),
                Lookup::Miss(ticket) => Err(ticket),
            }
        } else {
            match self.shop.look() {
                Lookup::Hit(shown) => Ok(shown.version),
                Lookup::Miss(ticket) => Err(ticket),
            }
        }
    }

    fn keep(&self, ticket: Ticket, version: i64) {
        if self.lists {
            self.shop.keep_list(ticket, version);
        } else {
            self.shop.keep(ticket, version);
        }
    }

    fn step(&mut self, who: usize) {
        self.steps.push(who);
        self.actors[who] = match std::mem::replace(&mut self.actors[who], Actor::Done) {
            Actor::Committing => {
                self.stored += 1;
                let version = self.stored;
                Actor::Answering { version }
            }
            Actor::Answering { version } => {
                self.shop.forget();
                self.answered = self.answered.max(version);
                Actor::Done
            }
            Actor::Looking => match self.look() {
                Ok(version) => {
                    let answered = self.answered;
                    assert!(
                        version >= answered,
                        "{version} is not {answered}, after {:?}",
                        self.steps
                    );
                    Actor::Done
                }
                Err(ticket) => Actor::Loading(ticket),
            },
            Actor::Loading(ticket) => Actor::Keeping(ticket, self.stored),
            Actor::Keeping(ticket, version) => {
                self.keep(ticket, version);
                Actor::Done
            }
            Actor::Done => Actor::Done,
        };
    }

    fn open_actors(&self) -> Vec<usize> {
        let open = |who: &usize| !matches!(self.actors[*who], Actor::Done);
        (0..self.actors.len()).filter(open).collect()
    }
}

/// Plays every order in which the steps of two writers and two slow readers can meet, and gives how many there were.
fn play_all(lists: bool, has_warm_cache: bool) -> usize {
    let beginning = Story::of_two_writers_and_two_readers(lists);
    if has_warm_cache {
        beginning.shop.read(0);
    }
    let mut played = 0;
    let mut stories = vec![beginning];
    while let Some(story) = stories.pop() {
        let open = story.open_actors();
        if open.is_empty() {
            played += 1;
            if let Ok(version) = story.look() {
                assert_eq!(version, story.stored, "after {:?}", story.steps);
            }
        }
        for who in open {
            let mut longer = story.copy();
            longer.step(who);
            stories.push(longer);
        }
    }
    played
}

#[test]
fn no_reader_sees_an_old_flower_in_any_order_of_two_writers_and_two_slow_readers() {
    assert!(play_all(false, false) > 10_000);
    assert!(play_all(false, true) > 500);
}

#[test]
fn no_reader_sees_an_old_list_in_any_order_of_two_writers_and_two_slow_readers() {
    assert!(play_all(true, false) > 10_000);
    assert!(play_all(true, true) > 500);
}

#[test]
fn what_was_kept_is_given_out_again() {
    let shop = Shop::new();
    shop.read(1);
    assert_eq!(shop.cached(), Some(1));
    assert!(matches!(shop.look_at_list(), Lookup::Hit(list) if list == Listing::new("1".into())));
}

#[test]
fn a_list_is_kept_in_both_forms_with_its_tag() {
    let shop = Shop::new();
    let small = Listing::new("[]".into()).compressed().unwrap();
    let large = Listing::new("[\"Red Rose\"]".repeat(200).into())
        .compressed()
        .unwrap();
    assert!(small.gzipped.is_none() && large.gzipped.is_some());
    for listing in [small, large] {
        shop.forget();
        // The first look draws the generation.
        let ticket = match shop.look_at_list() {
            Lookup::Miss(ticket) => ticket,
            Lookup::Hit(_) => panic!("a hit in an empty cache"),
        };
        let kept = shop.cache.keep_list(&ALL, FIRST, ticket, &listing);
        kept.now_or_never().unwrap();
        assert!(matches!(shop.look_at_list(), Lookup::Hit(found) if found == listing));
    }
}

#[test]
fn what_a_slow_reader_loaded_before_a_write_is_not_kept_after_it() {
    let shop = Shop::new();
    let Lookup::Miss(ticket) = shop.look() else {
        panic!("a hit in an empty cache")
    };
    let Lookup::Miss(list_ticket) = shop.look_at_list() else {
        panic!("a hit in an empty cache")
    };
    shop.forget();
    shop.keep(ticket, 1);
    shop.keep_list(list_ticket, 1);
    assert_eq!(shop.cached(), None);
    assert!(matches!(shop.look_at_list(), Lookup::Miss(_)));
}

#[test]
fn of_many_readers_at_once_one_keeps_the_flower() {
    let shop = Shop::new();
    let Lookup::Miss(first) = shop.look() else {
        panic!("a hit in an empty cache")
    };
    let Lookup::Miss(second) = shop.look() else {
        panic!("a hit in an empty cache")
    };
    assert!(first.0.is_some() && second.0.is_none());
}

#[test]
fn of_two_readers_that_found_nothing_one_gets_the_lease() {
    let shop = Shop::new();
    let key = flower_key(shop.rose);
    let claim = |lease: &str| {
        let claim = shop
            .cache
            .claim(&key, lease.to_owned(), &Found::Nothing, Some(LEASE_TTL));
        claim.now_or_never().unwrap().0
    };
    assert_eq!(claim("lease:1").as_deref(), Some("lease:1"));
    assert_eq!(claim("lease:2"), None);
}

#[test]
fn garbage_is_a_miss_and_is_replaced() {
    let shop = Shop::new();
    shop.read(1);
    let key = flower_key(shop.rose);
    let kept = shop.memory.values.borrow()[&key].clone();
    let somebody_elses = write_entry(&flower_key(FlowerId::new()), "1", b"1");
    let mut changed = kept.clone();
    *changed.last_mut().unwrap() ^= 1;
    let cut = kept[..kept.len() - 1].to_vec();
    let no_version = write_entry(&key, "rose", b"1");
    for garbage in [
        b"".to_vec(),
        b"{}".to_vec(),
        somebody_elses,
        changed,
        cut,
        no_version,
        vec![0xff; 100],
    ] {
        shop.memory.set(&key, &garbage);
        assert_eq!(shop.cached(), None, "{garbage:?}");
        shop.memory.set(&key, &garbage);
        shop.read(2);
        assert_eq!(shop.cached(), Some(2), "{garbage:?}");
    }
}

#[test]
fn a_garbled_generation_kills_the_lists_and_is_replaced() {
    let shop = Shop::new();
    shop.read(1);
    shop.memory.set(GENERATION, b"\xff 1");
    assert!(matches!(shop.look_at_list(), Lookup::Miss(_)));
    shop.read(2);
    assert!(matches!(shop.look_at_list(), Lookup::Hit(list) if list.body == "2"));
}

#[test]
fn a_lost_generation_brings_no_list_back() {
    let shop = Shop::new();
    shop.read(1);
    shop.memory.values.borrow_mut().remove(GENERATION);
    let Lookup::Miss(ticket) = shop.look_at_list() else {
        panic!("a list without a generation")
    };
    assert!(ticket.0.is_some());
    assert!(matches!(shop.look_at_list(), Lookup::Miss(_)));
}

#[test]
fn a_flower_that_there_is_not_leaves_no_key_behind() {
    let shop = Shop::new();
    let Lookup::Miss(ticket) = shop.look() else {
        panic!("a hit in an empty cache")
    };
    shop.cache.give_back(shop.rose, ticket).now_or_never().unwrap();
    assert!(shop.memory.keys().is_empty());
}

#[test]
fn reads_leave_a_dead_redis_alone_but_writes_do_not() {
    let shop = Shop::new();
    shop.read(1);
    shop.memory.is_down.set(true);
    assert_eq!(shop.cached(), None);
    let asked = shop.memory.commands.get();
    shop.read(2);
    assert_eq!(shop.memory.commands.get(), asked);
    shop.memory.is_down.set(false);
    shop.forget();
    // The list is dead without its generation, and ends at its TTL.
    assert_eq!(shop.memory.keys(), [list_key(&ALL, FIRST)]);
}

#[test]
fn a_write_of_many_flowers_has_them_all_forgotten_and_one_of_none_leaves_the_lists() {
    let shop = Shop::new();
    shop.read(1);
    shop.cache.forget(&[]).now_or_never().unwrap();
    assert!(matches!(shop.look_at_list(), Lookup::Hit(_)));
    let others = [FlowerId::new(), FlowerId::new()];
    for id in others {
        shop.memory.set(&flower_key(id), b"1");
    }
    let all = [others[0], shop.rose, others[1]];
    shop.cache.forget(&all).now_or_never().unwrap();
    assert_eq!(shop.memory.keys(), [list_key(&ALL, FIRST)]);
}

#[test]
fn no_two_queries_share_a_key() {
    let key = |search: &str, kind: Option<&str>, skip| {
        let filter = FlowerFilter {
            search: (!search.is_empty()).then(|| search.to_owned().try_into().unwrap()),
            flower_type: kind.map(|kind| kind.parse().unwrap()),
        };
        list_key(&filter, PageQuery { skip, limit: 20 })
    };
    assert_eq!(key("", None, 0), "flowers:list:0:20:");
    assert_eq!(key("rose", None, 40), "flowers:list:40:20:rose");
    assert_eq!(key("a:b c&d=%", None, 0), "flowers:list:0:20:a%3Ab%20c%26d%3D%25");
    assert_eq!(
        key("Роза", Some("rose"), 0),
        "flowers:list:0:20:%D0%A0%D0%BE%D0%B7%D0%B0&flower_type=rose"
    );
    assert_ne!(key("&flower_type=rose", None, 0), key("", Some("rose"), 0));
    assert_ne!(key("%26", None, 0), key("&", None, 0));
    assert_ne!(key("Rose", None, 0), key("rose", None, 0));
}
