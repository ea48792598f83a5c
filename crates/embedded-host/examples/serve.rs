//! Serves one manifest: `cargo run --release -p embedded-host --example serve -- spin.toml 127.0.0.1:3000 k=v …`.
//! Ctrl-C drains.

use std::time::Duration;

use embedded_host::{Config, Host, Reuse};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(std::env::var("RUST_LOG").unwrap_or("info".into()))
        .init();
    let mut arguments = std::env::args().skip(1);
    let manifest = arguments.next().ok_or("which manifest?")?;
    let listen = arguments.next().ok_or("which address?")?.parse()?;
    let mut config = Config::new(manifest, listen);
    for argument in arguments {
        match argument.as_str() {
            "--fresh" => config.reuse = Reuse::never(),
            _ => match argument.split_once(":=") {
                Some(("cache", folder)) => config.cache_dir = Some(folder.into()),
                Some(("timeout", ms)) => config.limits.request_timeout = Duration::from_millis(ms.parse()?),
                Some(("instances", n)) => config.limits.instances_per_component = n.parse()?,
                Some(("requests", n)) => config.limits.requests_per_component = n.parse()?,
                Some(("queue", n)) => config.limits.queue_per_component = n.parse()?,
                Some((name, address)) => config.service_addresses.push((name.to_owned(), address.parse()?)),
                None => config.variables.push(argument.parse()?),
            },
        }
    }
    config.on_write = Some(std::sync::Arc::new(|name| {
        tracing::info!(name, "may have written")
    }));
    let host = match Host::start(config).await {
        Ok(host) => host,
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(1)
        }
    };
    println!("listening on {}", host.address());
    tokio::signal::ctrl_c().await?;
    host.drain(Duration::from_secs(10)).await;
    println!("drained");
    Ok(())
}
