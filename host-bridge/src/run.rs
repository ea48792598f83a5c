//! The processes that stay: `serve`, `relay` and `up`.

use crate::cli::{BridgeArgs, HostArgs, Relay, Serve, Up};
use crate::known::Secrets;
use crate::observe;
use crate::signals::Signals;
use anyhow::Context;
use embedded_host::{Canary, Host, OnWrite, Reuse};
use event_batch::SigningKey;
use relay::{Bridge, Nudge, Topology};
use std::sync::{Arc, OnceLock};
use tokio::time::Instant;

/// Serves components until a signal comes.
pub(crate) async fn serve(serve: Serve, secrets: Secrets) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    observe::metrics(serve.process.metrics_listen)?;
    let spans = observe::spans(&serve.process)?;
    let watch = serve.host.watch;
    let config = host_config(serve.host, None, secrets);
    let Some(host) = signals.unless(Host::start(config)).await else {
        return Ok(());
    };
    let host = host?;
    tend(&mut signals, &host, watch).await;
    let end = async {
        host.drain(serve.process.drain_timeout).await;
        observe::end(spans).await;
    };
    signals.drain(end).await
}

/// Carries events until a signal comes.
pub(crate) async fn relay(relay: Relay, secrets: Secrets) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    let mut config = bridge_config(relay.bridge, relay.events_url, secrets)?;
    config.service_urls = relay.service_url.into_iter().collect();
    observe::metrics(relay.process.metrics_listen)?;
    let spans = observe::spans(&relay.process)?;
    let Some(bridge) = signals.unless(Bridge::start(config)).await else {
        return Ok(());
    };
    let bridge = bridge?;
    // There is nothing to look at again: its terminal has gone.
    signals.next_or_hangup().await;
    let end = async {
        bridge.drain(relay.process.drain_timeout).await;
        observe::end(spans).await;
    };
    signals.drain(end).await
}

/// Both, until a signal comes. What a component writes wakes the relay at once.
pub(crate) async fn up(up: Up, secrets: Secrets) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    // Everything that can be wrong without a server is found before one is asked.
    let mut config = bridge_config(up.bridge, String::new(), secrets)?;
    observe::metrics(up.process.metrics_listen)?;
    let spans = observe::spans(&up.process)?;
    let nudge: Arc<OnceLock<Nudge>> = Arc::default();
    let watch = up.host.watch;
    let host = host_config(up.host, Some(waking(nudge.clone())), secrets);
    let Some(host) = signals.unless(Host::start(host)).await else {
        return Ok(());
    };
    let host = host?;
    config.events_url = format!("http://{}", host.address());
    let Some(bridge) = signals.unless(Bridge::start(config)).await else {
        return Ok(());
    };
    let bridge = bridge?;
    let _ = nudge.set(bridge.nudge());
    tend(&mut signals, &host, watch).await;
    let until = Instant::now() + up.process.drain_timeout;
    // The bridge first, while the components it has called still answer. Clients are served meanwhile; what they write
    // stays in the outbox.
    let end = async {
        bridge
            .drain(until.saturating_duration_since(Instant::now()))
            .await;
        host.drain(until.saturating_duration_since(Instant::now())).await;
        observe::end(spans).await;
    };
    signals.drain(end).await
}

/// Swaps components whose files change, until a signal asks for the end.
async fn tend(signals: &mut Signals, host: &Host, watch: bool) {
    let asked = signals.next_unless_again(async || host.swap_all().await);
    let watched = async {
        match watch {
            true => host.watch().await,
            false => std::future::pending().await,
        }
    };
    tokio::select! {
        () = asked => {}
        () = watched => {}
    }
}

/// A component that has written something has the name of the service whose outbox it may have written to.
fn waking(nudge: Arc<OnceLock<Nudge>>) -> OnWrite {
    Arc::new(move |component| {
        if let Some(nudge) = nudge.get() {
            nudge.nudge_service(component);
        }
    })
}

fn host_config(args: HostArgs, on_write: Option<OnWrite>, secrets: Secrets) -> embedded_host::Config {
    let mut config = embedded_host::Config::new(args.manifest, args.listen);
    config.service_addresses = args.service_listen;
    config.variables = args.variable;
    config.known_secrets = secrets.refused();
    config.cache_dir = args.cache_dir;
    config.limits.request_timeout = args.request_timeout;
    config.limits.max_body_bytes = args.max_body_bytes;
    config.limits.max_bodies_bytes = args.max_bodies_bytes;
    config.limits.max_instance_bytes = args.max_instance_bytes;
    config.limits.instances_per_component = args.instances_per_component;
    config.limits.requests_per_component = args.requests_per_component;
    config.limits.queue_per_component = args.requests_per_component;
    config.limits.reserved_per_component = args.reserved_per_component;
    config.limits.postgres_connections = args.postgres_connections;
    config.limits.max_connections = args.max_connections;
    config.limits.max_connections_per_address = args.max_connections_per_address;
    config.limits.header_read_timeout = args.header_timeout;
    config.limits.idle_timeout = args.idle_timeout;
    config.limits.max_head_bytes = args.max_head_bytes;
    config.reserved_paths = args.reserved_path;
    config.client_traces_per_second = args.client_traces;
    if args.fresh_instances {
        config.reuse = Reuse::never();
    }
    config.probe_path = args.probe_path;
    let time = args.canary_time;
    let canaries = args.canary.into_iter();
    config.canaries = canaries
        .map(|(name, share)| (name, Canary { share, time }))
        .collect();
    config.on_write = on_write;
    config
}

fn bridge_config(args: BridgeArgs, events_url: String, secrets: Secrets) -> anyhow::Result<relay::Config> {
    let BridgeArgs {
        outboxes, amqp_url, ..
    } = args;
    let topology = Topology::load(&outboxes.topology)?;
    let key = match (args.events_key, args.events_key_file) {
        (_, Some(file)) => {
            std::fs::read_to_string(&file).with_context(|| format!("events key {}", file.display()))?
        }
        (key, None) => key.unwrap_or_default(),
    };
    secrets.check("the events key", &key)?;
    let key = SigningKey::parse(key.trim()).context("the events key is not usable")?;
    let outboxes_of_their_own = outboxes.outbox_url.iter().map(|(_, url)| url);
    for url in outboxes_of_their_own.chain([&outboxes.database_url]) {
        secrets.check_postgres("a database url", url)?;
    }
    secrets.check_amqp("the AMQP url", &amqp_url)?;
    let mut config = relay::Config::new(topology, outboxes.database_url, amqp_url, events_url, key);
    config.prune.interval = args.prune_interval;
    config.outbox_urls = outboxes.outbox_url.into_iter().collect();
    Ok(config)
}
