//! A bridge's shuttle of one queue: the loop of `relay::shuttle`, step for step, around the real decisions of `line`.

use crate::broker::{Message, topology};
use crate::component;
use crate::mutation::Mutation;
use crate::world::{Answer, MILLI, Micros, Process, Service, Shop};
use ::relay::shuttle::line::{Arrival, Fault, Line, LineSettings, Settled, Step as Next, Tag};
use event_batch::Outcome;
use service::events::Handled;
use std::collections::{BTreeMap, HashMap};

const REOPEN: Micros = 100 * MILLI;

/// Shuttles for as long as its process lives.
pub(crate) async fn run(world: Shop, bridge: usize, queue: usize) {
    let Some(service) = Service::named(&topology().queues[queue].service) else {
        return;
    };
    let process = Process::Bridge(bridge);
    loop {
        let task = world.current();
        let channel = world.broker.borrow_mut().consume(&world, process, task, queue);
        let prefetch = u16::try_from(world.terms.prefetch).unwrap_or(u16::MAX);
        let line = Line::new(LineSettings::for_prefetch(prefetch), world.below(u64::MAX));
        let watch = Watch {
            world: &world,
            process,
            service,
            channel,
            line,
            kept: BTreeMap::new(),
            posting: None,
            asking: None,
            burying: Vec::new(),
        };
        watch.serve().await;
        world.sleep(REOPEN).await;
    }
}

type Posting = Answer<Result<Vec<Handled>, Fault>>;

struct Watch<'a> {
    world: &'a Shop,
    process: Process,
    service: Service,
    channel: usize,
    line: Line,
    kept: BTreeMap<Tag, Message>,
    posting: Option<(Vec<Tag>, Posting)>,
    asking: Option<Answer<bool>>,
    burying: Vec<(Tag, Answer<()>)>,
}

impl Watch<'_> {
    /// Until the channel is lost: then everything in memory is dropped with it.
    async fn serve(mut self) {
        loop {
            let Some(arrived) = self.world.broker.borrow_mut().arrived(self.channel) else {
                return;
            };
            let mut did = !arrived.is_empty();
            for (tag, message) in arrived {
                self.accept(tag, message);
            }
            did |= self.hear();
            let until = match self.begin() {
                Some(until) => until,
                None if did => Some(self.world.now()),
                None => None,
            };
            self.world.idle(until).await;
        }
    }

    fn accept(&mut self, tag: Tag, message: Message) {
        self.line.deliver(Arrival {
            tag,
            event_id: message.sent.id.to_string(),
            key: format!("{}:{}", message.service.name(), message.key),
            bytes: 300,
        });
        self.kept.insert(tag, message);
    }

    /// Takes in the answers that have come. Gives whether there were any.
    fn hear(&mut self) -> bool {
        let now = self.world.instant(self.world.now());
        let mut settled = Vec::new();
        let mut did = false;
        if let Some((tags, answer)) = self.posting.take() {
            match answer.take() {
                Some(answer) => {
                    settled.extend(self.answered(&tags, answer));
                    did = true;
                }
                None => self.posting = Some((tags, answer)),
            }
        }
        if let Some(healthy) = self.asking.as_ref().and_then(Answer::take) {
            self.asking = None;
            settled.extend(self.line.health(healthy, now));
            did = true;
        }
        for (tag, answer) in std::mem::take(&mut self.burying) {
            match answer.take() {
                Some(()) => settled.push(self.line.buried(tag)),
                None => self.burying.push((tag, answer)),
            }
        }
        did |= !settled.is_empty();
        self.settle(settled);
        did
    }

    fn answered(&mut self, tags: &[Tag], answer: Result<Vec<Handled>, Fault>) -> Vec<Settled> {
        let now = self.world.instant(self.world.now());
        match answer {
            Ok(handled) => {
                let outcome = |one: Handled| (one.id.to_string(), (one.outcome, one.reason));
                let outcomes: HashMap<_, _> = handled.into_iter().map(outcome).collect();
                self.line.answered(&outcomes, now)
            }
            Err(_) if self.world.breaks(Mutation::AcknowledgeTheFailed) => {
                let of = |tag: &Tag| self.kept.get(tag).map(|message| message.sent.id.to_string());
                let ids = tags.iter().filter_map(of);
                let outcomes = ids.map(|id| (id, (Outcome::Processed, None))).collect();
                self.line.answered(&outcomes, now)
            }
            Err(fault) => {
                self.line.failed(fault, now);
                Vec::new()
            }
        }
    }

    fn settle(&mut self, settled: Vec<Settled>) {
        for one in settled {
            match one {
                Settled::Ack(tag) => {
                    self.kept.remove(&tag);
                    let channel = self.channel;
                    self.world
                        .do_later(self.process, self.world.travel(), move |world| {
                            world.broker.borrow_mut().acknowledge(world, channel, tag);
                            true
                        });
                }
                Settled::Dead(tag, reason) => self.bury(tag, &reason),
            }
        }
    }

    fn bury(&mut self, tag: Tag, reason: &str) {
        let Some(message) = self.kept.get(&tag).cloned() else {
            return;
        };
        let (answer, reply) = self.world.slot();
        let reason = reason.to_owned();
        self.world
            .do_later(self.process, self.world.travel(), move |world| {
                let mut audit = world.audit.borrow_mut();
                audit.bury(world, message.sent.id, |world| {
                    format!("{} is a dead letter: {reason}", message.name(world))
                });
                reply.give(world, ());
                true
            });
        self.burying.push((tag, answer));
    }

    /// Begins what can be begun now. Gives when to look again, if that is known.
    fn begin(&mut self) -> Option<Option<Micros>> {
        if self.asking.is_some() {
            return None;
        }
        match self.line.next(self.world.instant(self.world.now())) {
            Next::Post(tags) => {
                let batch: Vec<_> = tags.iter().filter_map(|tag| self.kept.get(tag)).collect();
                self.world.tell(self.process, |world| {
                    let names: Vec<String> = batch.iter().map(|message| message.name(world)).collect();
                    format!("hands {} {}", self.service.name(), names.join("; "))
                });
                let batch = batch.into_iter().map(|message| message.sent.clone()).collect();
                let answer = component::post(self.world, self.process, self.service, batch);
                self.posting = Some((tags, answer));
                None
            }
            Next::AskHealth => {
                let (answer, reply) = self.world.slot();
                let service = self.service;
                self.world
                    .do_later(self.process, self.world.travel(), move |world| {
                        reply.give(world, component::is_healthy(world, service));
                        true
                    });
                self.asking = Some(answer);
                None
            }
            Next::WaitUntil(until) => Some(Some(self.world.micros(until) + 1)),
            Next::Wait => None,
        }
    }
}

/// As many as there are queues.
pub(crate) fn queues() -> std::ops::Range<usize> {
    0..topology().queues.len()
}
