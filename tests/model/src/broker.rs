//! The broker: queues with a single active consumer, bound as `topology.toml` says. It loses nothing that it has
//! confirmed, delivers again what a consumer left behind, and may nack, return, repeat and shuffle.

use crate::database::Sent;
use crate::world::{Process, Service, World};
use contracts::Event;
use relay::outbox::window::{Confirm, Returned};
use relay::topology::{Queue as Declared, Topology, matches};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::OnceLock;

/// The shop's own.
#[expect(
    clippy::panic,
    reason = "a build with a topology that is none is no model of this shop"
)]
pub(crate) fn topology() -> &'static Topology {
    static TOPOLOGY: OnceLock<Topology> = OnceLock::new();
    TOPOLOGY.get_or_init(|| {
        let text = include_str!("../../../host-bridge/topology.toml");
        Topology::parse(text).unwrap_or_else(|error| panic!("{error}"))
    })
}

/// Which queues take each type of event, by their numbers.
fn routes() -> &'static [(&'static str, Vec<usize>)] {
    static ROUTES: OnceLock<Vec<(&'static str, Vec<usize>)>> = OnceLock::new();
    ROUTES.get_or_init(|| {
        let takes = |queue: &Declared, key: &str| queue.bindings.iter().any(|pattern| matches(pattern, key));
        let of = |key: &str| {
            let queues = topology().queues.iter().enumerate();
            queues
                .filter(|(_, queue)| takes(queue, key))
                .map(|(number, _)| number)
                .collect()
        };
        Event::ALL
            .iter()
            .map(|(event_type, key, _)| (*event_type, of(key)))
            .collect()
    })
}

fn route(event_type: &str) -> &'static [usize] {
    let route = routes().iter().find(|(known, _)| *known == event_type);
    route.map(|(_, queues)| queues.as_slice()).unwrap_or_default()
}

/// A message, as a relay has published it.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) service: Service,
    pub(crate) row: i64,
    pub(crate) key: usize,
    pub(crate) sent: Rc<Sent>,
}

impl Message {
    pub(crate) fn name(&self, world: &World) -> String {
        self.sent.name(world)
    }

    /// What the relay calls it.
    pub(crate) fn id(&self) -> String {
        format!("{}:{}", self.service.name(), self.row)
    }
}

#[derive(Debug, Default)]
struct Queue {
    messages: VecDeque<Message>,
    /// Channels, the active one first.
    consumers: Vec<usize>,
    /// It gives out nothing for now.
    is_held: bool,
}

/// A channel of a consumer.
#[derive(Debug)]
struct Channel {
    process: Process,
    task: usize,
    queue: usize,
    prefetch: usize,
    next_tag: u64,
    unacked: BTreeMap<u64, Message>,
    /// Delivered, and not taken in by the consumer yet.
    inbox: VecDeque<(u64, Message)>,
    is_open: bool,
}

#[derive(Debug)]
pub(crate) struct Broker {
    queues: Vec<Queue>,
    channels: Vec<Channel>,
    /// Counts the times that publishers lost their channels, by process.
    pub(crate) publisher_losses: [u64; 8],
    /// An event that cannot always be routed, for a while.
    pub(crate) unroutable: Option<&'static str>,
}

impl Broker {
    pub(crate) fn new() -> Self {
        Self {
            queues: topology().queues.iter().map(|_| Queue::default()).collect(),
            channels: Vec::new(),
            publisher_losses: [0; 8],
            unroutable: None,
        }
    }

    /// Takes a message, nacks it, or gives it back.
    pub(crate) fn publish(&mut self, world: &World, message: &Message) -> Confirm {
        let event_type = message.sent.event.event_type();
        if world.befalls(world.terms.nacks) {
            world.tell(Process::Nature, |world| {
                format!("the broker nacks {}", message.name(world))
            });
            return Confirm {
                acked: false,
                returned: None,
            };
        }
        let queues = route(event_type);
        if queues.is_empty() || (self.unroutable == Some(event_type) && world.happens(500)) {
            world.tell(Process::Nature, |world| {
                format!("the broker returns {}", message.name(world))
            });
            let returned = Returned {
                message_id: Some(message.id()),
                reason: "NO_ROUTE".to_owned(),
            };
            return Confirm {
                acked: true,
                returned: Some(returned),
            };
        }
        world.tell(Process::Nature, |world| {
            format!("the broker takes {}", message.name(world))
        });
        let (service, row, key) = (message.service, message.row, message.key);
        world.audit.borrow_mut().publish(world, service, row, key);
        for queue in queues {
            self.queues[*queue].messages.push_back(message.clone());
            self.deliver(world, *queue);
        }
        Confirm {
            acked: true,
            returned: None,
        }
    }

    /// Opens a channel that consumes a queue, for the task that asks.
    pub(crate) fn consume(&mut self, world: &World, process: Process, task: usize, queue: usize) -> usize {
        let number = self.channels.len();
        self.channels.push(Channel {
            process,
            task,
            queue,
            prefetch: world.terms.prefetch,
            next_tag: 1,
            unacked: BTreeMap::new(),
            inbox: VecDeque::new(),
            is_open: true,
        });
        self.queues[queue].consumers.push(number);
        self.deliver(world, queue);
        number
    }

    /// What has arrived on a channel; `None` if it is closed.
    pub(crate) fn arrived(&mut self, channel: usize) -> Option<Vec<(u64, Message)>> {
        let channel = self.channels.get_mut(channel)?;
        channel.is_open.then(|| channel.inbox.drain(..).collect())
    }

    /// Lets go of a message.
    pub(crate) fn acknowledge(&mut self, world: &World, number: usize, tag: u64) {
        let Some(channel) = self.channels.get_mut(number).filter(|channel| channel.is_open) else {
            return;
        };
        let queue = channel.queue;
        let Some(message) = channel.unacked.remove(&tag) else {
            return;
        };
        if let Some(service) = Service::named(&topology().queues[queue].service) {
            let audit = world.audit.borrow();
            audit.acknowledge(world, service, message.sent.id, |world| message.name(world));
        }
        self.deliver(world, queue);
    }

    /// Closes the consuming channels of a process, or one of them: what they had goes back to where it was.
    pub(crate) fn close(&mut self, world: &World, process: Process, only: Option<usize>) {
        for number in 0..self.channels.len() {
            let channel = &mut self.channels[number];
            if channel.process != process
                || !channel.is_open
                || only.is_some_and(|only| only != channel.queue)
            {
                continue;
            }
            channel.is_open = false;
            channel.inbox.clear();
            let (queue, task) = (channel.queue, channel.task);
            let back = std::mem::take(&mut channel.unacked);
            for (_, message) in back.into_iter().rev() {
                self.queues[queue].messages.push_front(message);
            }
            self.queues[queue]
                .consumers
                .retain(|consumer| *consumer != number);
            world.wake(task);
            self.deliver(world, queue);
        }
    }

    /// Hands what waits in a queue to its active consumer, as far as that one takes it.
    fn deliver(&mut self, world: &World, queue: usize) {
        let Self { queues, channels, .. } = self;
        let Some(active) = queues[queue].consumers.first() else {
            return;
        };
        if queues[queue].is_held {
            return;
        }
        let channel = &mut channels[*active];
        while channel.unacked.len() < channel.prefetch
            && let Some(message) = queues[queue].messages.pop_front()
        {
            let tag = channel.next_tag;
            channel.next_tag += 1;
            channel.unacked.insert(tag, message.clone());
            channel.inbox.push_back((tag, message));
            world.wake(channel.task);
        }
    }

    /// Something in a queue comes again.
    pub(crate) fn repeat(&mut self, world: &World, queue: usize) {
        let queue = queue % self.queues.len();
        let waiting = self.queues[queue].messages.iter();
        let unacked = self.channels.iter().filter(|channel| channel.queue == queue);
        let all: Vec<Message> = waiting
            .chain(unacked.flat_map(|channel| channel.unacked.values()))
            .cloned()
            .collect();
        if all.is_empty() {
            return;
        }
        let message = all[world.index(all.len())].clone();
        world.tell(Process::Nature, |world| {
            format!("{} is in its queue again", message.name(world))
        });
        self.queues[queue].messages.push_back(message);
        self.deliver(world, queue);
    }

    /// A queue of those whose consumers have something in hand, or else the one of this number.
    pub(crate) fn busy(&self, number: usize) -> usize {
        let mut busy: Vec<usize> = self
            .channels
            .iter()
            .filter(|channel| channel.is_open && !channel.unacked.is_empty())
            .map(|channel| channel.queue)
            .collect();
        busy.sort_unstable();
        busy.get(number % busy.len().max(1)).copied().unwrap_or(number)
    }

    /// A queue gives out nothing.
    pub(crate) fn hold(&mut self, queue: usize) {
        let queue = queue % self.queues.len();
        self.queues[queue].is_held = true;
    }

    /// It does again: what waits in it, whatever its keys, in another order.
    pub(crate) fn shuffle(&mut self, world: &World, queue: usize) {
        let queue = queue % self.queues.len();
        self.queues[queue].is_held = false;
        let messages = self.queues[queue].messages.make_contiguous();
        for position in (1..messages.len()).rev() {
            messages.swap(position, world.index(position + 1));
        }
        self.deliver(world, queue);
    }

    /// Something that is in a queue still.
    pub(crate) fn left(&self) -> Option<Message> {
        let waiting = self.queues.iter().flat_map(|queue| queue.messages.iter());
        let unacked = self.channels.iter().flat_map(|channel| channel.unacked.values());
        waiting.chain(unacked).next().cloned()
    }
}
