//! The model's databases without a story around them: nothing goes wrong, and calls of the ports are made one after the
//! other, or one while the transaction of another is open. It is what the statements are held against.

use crate::database::Latch;
use crate::mutation::Mutation;
use crate::plan::Terms;
use crate::services::{catalog, delivery, ordering, payment};
use crate::tables;
use crate::world::{DAY, MILLI, Process, Shop, World};
use ::catalog::application::{Bouquets, Categories, FlowerCache, Flowers, Reservations};
use ::delivery::application::Shipments;
use ::delivery::domain::{Arrival, Shipping, Terms as Delivering};
use serde_json::Value;
use service::idempotency::IdempotencyKey;
use std::cell::RefCell;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;
use std::time::Duration;
use uuid::Uuid;

/// How long one waits for the other before it is said to wait: far longer than a call takes that does not.
const PATIENCE: u64 = 100 * MILLI;

/// Four empty databases.
pub struct Stage(Shop);

impl Stage {
    /// `dice` decides when calls arrive, and nothing else.
    #[must_use]
    pub fn new(dice: u64, mutation: Option<Mutation>) -> Self {
        let terms = Terms {
            bridges: 0,
            window: 0,
            prefetch: 0,
            patience: Duration::from_secs(900),
            delivery: Delivering {
                shipping: Shipping::Automatic,
                arrival: Arrival::Told,
            },
            stock: 0,
            lost_calls: 0,
            lost_answers: 0,
            contention: 0,
            nacks: 0,
            slow: 0,
        };
        let world = World::new(dice, terms, mutation, false);
        world.is_calm.set(true);
        world.pass(0);
        Self(world)
    }

    /// Does something, all of it.
    ///
    /// # Panics
    /// If it never ends.
    pub fn run<T: 'static>(&self, work: impl Future<Output = T> + 'static) -> T {
        let done = self.begin(work);
        self.end(&done)
    }

    /// Does `first`, and begins `second` while the transaction of `first` is open, before that commits. Gives what
    /// `second` is answered at once, or `None` if it waits.
    ///
    /// # Panics
    /// If one of them never ends.
    pub fn run_while_open<A: 'static, B: 'static>(
        &self,
        first: impl Future<Output = A> + 'static,
        second: impl Future<Output = B> + 'static,
    ) -> Option<B> {
        let latch: Latch = Rc::default();
        self.0.latch.set(Some(latch.clone()));
        let first = self.begin(first);
        while !latch.get() && first.borrow().is_none() {
            assert!(self.0.step(None), "it never ends");
        }
        // It may have written nothing.
        self.0.latch.take();
        let second = self.begin(second);
        let until = self.0.now() + PATIENCE;
        while self.0.now() < until && second.borrow().is_none() {
            self.0.step(Some(until));
        }
        let answer = second.take();
        latch.set(false);
        self.end(&first);
        if answer.is_none() {
            self.end(&second);
        }
        answer
    }

    fn begin<T: 'static>(&self, work: impl Future<Output = T> + 'static) -> Rc<RefCell<Option<T>>> {
        let done = Rc::new(RefCell::new(None));
        let place = done.clone();
        self.0.spawn(Process::Clients, async move {
            let value = work.await;
            *place.borrow_mut() = Some(value);
        });
        done
    }

    #[expect(clippy::panic, reason = "a test is to fail")]
    fn end<T>(&self, done: &RefCell<Option<T>>) -> T {
        loop {
            if let Some(value) = done.take() {
                return value;
            }
            if !self.0.step(None) {
                panic!("it never ends");
            }
        }
    }

    /// A day passes: no idempotency key is known any more.
    pub fn pass_a_day(&self) {
        self.0.set_walls_forward(DAY);
    }

    /// The catalog's ports. There is no cache.
    #[must_use]
    pub fn catalog(&self) -> impl Reservations + Flowers + Bouquets + Categories + FlowerCache + use<> {
        catalog::Port(self.0.clone())
    }

    /// Ordering's port, for a request with this key.
    #[must_use]
    pub fn ordering(&self, key: Option<&IdempotencyKey>) -> impl ::ordering::application::Orders + use<> {
        ordering::Port {
            world: self.0.clone(),
            key_lock: key.map(lock),
        }
    }

    /// Payment's port, for a request with this key.
    #[must_use]
    pub fn payment(&self, key: Option<&IdempotencyKey>) -> impl ::payment::application::Orders + use<> {
        payment::Port::new(self.0.clone(), key.map(lock))
    }

    /// Delivery's port.
    #[must_use]
    pub fn delivery(&self) -> impl Shipments + use<> {
        delivery::Port(self.0.clone())
    }

    /// All that is in the catalog's tables.
    #[must_use]
    pub fn tables_of_catalog(&self) -> Value {
        tables::catalog(&self.0)
    }

    /// All that is in ordering's tables.
    #[must_use]
    pub fn tables_of_ordering(&self) -> Value {
        tables::ordering(&self.0)
    }

    /// All that is in payment's tables.
    #[must_use]
    pub fn tables_of_payment(&self) -> Value {
        tables::payment(&self.0)
    }

    /// All that is in delivery's tables.
    #[must_use]
    pub fn tables_of_delivery(&self) -> Value {
        tables::delivery(&self.0)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// What stands for the advisory lock of a key.
fn lock(key: &IdempotencyKey) -> Uuid {
    let written = serde_json::to_value(key).unwrap_or_default();
    let mut hasher = DefaultHasher::new();
    for part in ["user_id", "scope", "key"] {
        written[part].as_str().hash(&mut hasher);
    }
    Uuid::from_u128(hasher.finish().into())
}
