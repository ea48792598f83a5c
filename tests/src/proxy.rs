//! Something between a process and a server that can be cut, slow, silent or break off in the middle of a message.

use anyhow::Result;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::sleep;

/// How a proxy treats what passes through it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    Well,
    /// Ends every connection, and those that come.
    Cut,
    /// Hands over nothing, and ends nothing.
    Silent,
    /// Hands over each piece this much later.
    Slow(Duration),
    /// Hands over half of the next piece, and ends the connection.
    Breaks,
}

/// A proxy on an address of its own; it ends with the runtime.
#[derive(Clone, Debug)]
pub struct Proxy {
    pub address: SocketAddr,
    mood: watch::Sender<Mood>,
}

impl Proxy {
    /// A proxy to `target`, `host:port`. It does well.
    ///
    /// # Errors
    /// If there is no port for it.
    pub async fn to(target: String) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (mood, moods) = watch::channel(Mood::Well);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, target.clone(), moods.clone()));
            }
        });
        Ok(Self { address, mood })
    }

    /// From now on it behaves so, on connections that there are as well.
    pub fn behave(&self, mood: Mood) {
        self.mood.send_replace(mood);
    }
}

/// Carries one connection until either side, or the mood, ends it.
async fn serve(client: TcpStream, target: String, moods: watch::Receiver<Mood>) {
    if *moods.borrow() == Mood::Cut {
        return;
    }
    let Ok(server) = TcpStream::connect(target).await else {
        return;
    };
    // Neither may wait for more: what is small must pass at once.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let mut cut = moods.clone();
    tokio::select! {
        () = pump(from_client, to_server, moods.clone()) => {}
        () = pump(from_server, to_client, moods) => {}
        _ = cut.wait_for(|mood| *mood == Mood::Cut) => {}
    }
}

/// Carries one direction.
async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut moods: watch::Receiver<Mood>) {
    let mut piece = vec![0; 16 * 1024];
    loop {
        let Ok(length @ 1..) = from.read(&mut piece).await else {
            return;
        };
        let Ok(mood) = moods
            .wait_for(|mood| *mood != Mood::Silent)
            .await
            .map(|mood| *mood)
        else {
            return;
        };
        let carried = match mood {
            Mood::Slow(by) => {
                sleep(by).await;
                length
            }
            Mood::Breaks => length / 2,
            Mood::Well | Mood::Cut | Mood::Silent => length,
        };
        let handed_over = to.write_all(&piece[..carried]).await;
        if handed_over.is_err() || carried < length {
            return;
        }
    }
}

/// The proxies between a shop's processes and its servers.
#[derive(Debug)]
pub struct Links {
    pub postgres: Proxy,
    pub redis: Proxy,
    pub rabbitmq: Proxy,
}
