//! What befalls the shop: one fault after the other, each healed before the next, and a bad connection beside some.

use anyhow::{Context, Result};
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, IteratorRandom as _};
use shop_tests::Shop;
use shop_tests::environment::Server;
use shop_tests::proxy::{Links, Mood, Proxy};
use shop_tests::shop::signal;
use std::time::{Duration, Instant};
use tokio::process::Child;
use tokio::time::sleep;

pub(super) const RELAYS: usize = 2;

#[derive(Clone, Copy, Debug)]
enum Fault {
    HostKilled,
    HostPaused,
    RelayKilled,
    RelayPaused,
    /// One relay more than there should be, killed in the end.
    RelayDoubled,
    Stopped(Server),
    /// Killed, without a word to anybody.
    Killed(Server),
    Paused(Server),
    Linked(Link, Mood),
}

#[derive(Clone, Copy, Debug)]
enum Link {
    Postgres,
    Redis,
    Rabbitmq,
}

impl Link {
    fn of(self, links: &Links) -> &Proxy {
        match self {
            Self::Postgres => &links.postgres,
            Self::Redis => &links.redis,
            Self::Rabbitmq => &links.rabbitmq,
        }
    }
}

const SLOW: Mood = Mood::Slow(Duration::from_millis(100));

const FAULTS: [Fault; 22] = [
    Fault::HostKilled,
    Fault::HostPaused,
    Fault::RelayKilled,
    Fault::RelayPaused,
    Fault::RelayDoubled,
    Fault::Stopped(Server::Rabbitmq),
    Fault::Paused(Server::Rabbitmq),
    Fault::Killed(Server::Postgres),
    Fault::Paused(Server::Postgres),
    Fault::Stopped(Server::Redis),
    Fault::Paused(Server::Redis),
    Fault::Linked(Link::Postgres, Mood::Cut),
    Fault::Linked(Link::Postgres, Mood::Silent),
    Fault::Linked(Link::Postgres, Mood::Breaks),
    Fault::Linked(Link::Postgres, SLOW),
    Fault::Linked(Link::Rabbitmq, Mood::Cut),
    Fault::Linked(Link::Rabbitmq, Mood::Silent),
    Fault::Linked(Link::Rabbitmq, Mood::Breaks),
    Fault::Linked(Link::Rabbitmq, SLOW),
    Fault::Linked(Link::Redis, Mood::Cut),
    Fault::Linked(Link::Redis, Mood::Silent),
    Fault::Linked(Link::Redis, SLOW),
];

pub(super) struct Nemesis {
    shop: Shop,
    random: StdRng,
}

impl Nemesis {
    pub(super) fn new(shop: Shop, random: StdRng) -> Self {
        Self { shop, random }
    }

    /// Does one thing after the other to the shop.
    pub(super) async fn rage(&mut self, length: Duration) -> Result<()> {
        let start = Instant::now();
        while start.elapsed() < length {
            sleep(Duration::from_millis(self.random.random_range(500..3_000))).await;
            let fault = *FAULTS.choose(&mut self.random).context("no faults")?;
            let lasts = Duration::from_millis(self.random.random_range(500..10_000));
            eprintln!(
                "{:>6.1} s: {fault:?} for {lasts:.1?}",
                start.elapsed().as_secs_f32()
            );
            let beside = self.bad_connection(start)?;
            let inflicted = self.inflict(fault, lasts);
            let (inflicted, ()) = tokio::join!(inflicted, beside);
            inflicted.with_context(|| format!("{fault:?}"))?;
        }
        Ok(())
    }

    /// One time in three, a connection is bad for a while as well.
    fn bad_connection(&mut self, start: Instant) -> Result<impl Future<Output = ()> + use<>> {
        let link = [Link::Postgres, Link::Rabbitmq, Link::Redis][self.random.random_range(0..3)];
        let mood = [Mood::Cut, Mood::Silent, SLOW][self.random.random_range(0..3)];
        let lasts = Duration::from_millis(self.random.random_range(500..5_000));
        let proxy = link.of(self.shop.links().context("no links")?).clone();
        let proxy = self.random.random_bool(0.33).then_some(proxy);
        if proxy.is_some() {
            let since = start.elapsed().as_secs_f32();
            eprintln!("{since:>6.1} s:   and {link:?} {mood:?} for {lasts:.1?}");
        }
        Ok(async move {
            if let Some(proxy) = proxy {
                proxy.behave(mood);
                sleep(lasts).await;
                proxy.behave(Mood::Well);
            }
        })
    }

    /// The shop again, with everything in it running.
    pub(super) async fn heal(self) -> Result<Shop> {
        self.shop.await_healthy().await?;
        Ok(self.shop)
    }

    async fn inflict(&mut self, fault: Fault, lasts: Duration) -> Result<()> {
        match fault {
            Fault::HostKilled => {
                let host = self.a_host()?;
                signal(host, "KILL").await?;
                host.wait().await?;
                sleep(lasts).await;
                self.shop.start_host().await
            }
            Fault::HostPaused => {
                let host = self.a_host()?;
                signal(host, "STOP").await?;
                sleep(lasts).await;
                signal(host, "CONT").await
            }
            Fault::RelayKilled => {
                let victim = self.random.random_range(0..RELAYS);
                let mut relay = self.shop.relays().remove(victim);
                relay.start_kill()?;
                relay.wait().await?;
                sleep(lasts).await;
                self.shop.start_relay(&[]).await
            }
            Fault::RelayPaused => {
                let victim = self.random.random_range(0..RELAYS);
                signal(&self.shop.relays()[victim], "STOP").await?;
                sleep(lasts).await;
                signal(&self.shop.relays()[victim], "CONT").await
            }
            Fault::RelayDoubled => {
                self.shop.start_relay(&[]).await?;
                sleep(lasts).await;
                let mut relay = self.shop.relays().pop().context("no relay")?;
                relay.start_kill()?;
                relay.wait().await?;
                Ok(())
            }
            Fault::Stopped(server) => self.server(server, ["stop", "start"], lasts).await,
            Fault::Killed(server) => self.server(server, ["kill", "start"], lasts).await,
            Fault::Paused(server) => self.server(server, ["pause", "resume"], lasts).await,
            Fault::Linked(link, mood) => {
                let links = self.shop.links().context("no links")?;
                link.of(links).behave(mood);
                sleep(lasts).await;
                link.of(links).behave(Mood::Well);
                Ok(())
            }
        }
    }

    fn a_host(&mut self) -> Result<&mut Child> {
        let hosts = self.shop.hosts();
        hosts.into_iter().choose(&mut self.random).context("no host")
    }

    async fn server(&self, server: Server, [fault, remedy]: [&str; 2], lasts: Duration) -> Result<()> {
        server.act(fault).await?;
        sleep(lasts).await;
        server.act(remedy).await
    }
}
