//! The listeners: connections, and which component each request goes to.

use std::error::Error as StdError;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body::Body;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use wasmtime_wasi_http::WasiBody;

use crate::component::{Component, Visit};
use crate::config::Limits;
use crate::headers::{RouteHeaders, client_header};
use crate::problem::{Origin, Problem, full};
use crate::routes::Router;
use crate::wire::{self, Bounds, Patience, Visitors};

/// After a failed accept (no file descriptors left, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How many clients at a time are told that there are too many of them.
const MAX_REFUSALS: usize = 64;

/// Where the requests of a listener go.
pub(crate) enum Target {
    /// By the manifest's routes.
    Routes(Routes),
    /// Every path to one component.
    One(Arc<Component>),
}

/// The manifest's public routes, with what belongs to each.
pub(crate) struct Routes {
    pub(crate) router: Router,
    /// In the router's order.
    pub(crate) targets: Vec<(Arc<Component>, RouteHeaders)>,
}

impl Target {
    async fn answer<B>(&self, request: Request<B>, client: &HeaderValue) -> Response<WasiBody>
    where
        B: Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        // `OPTIONS *` asks whether there is a server (RFC 9110, section 9.3.7), and none of its components.
        if request.uri().path() == "*" {
            let mut response = Response::new(full(Bytes::new()));
            *response.status_mut() = StatusCode::NO_CONTENT;
            return response;
        }
        match self {
            Target::One(component) => {
                let path = request.uri().path().to_owned();
                let visit = Visit {
                    route: RouteHeaders::everything(),
                    path_info: &path,
                    client,
                };
                component.answer(request, visit).await
            }
            Target::Routes(routes) => {
                let path = request.uri().path().to_owned();
                let found = routes.router.find(&path);
                match found.and_then(|(index, path_info)| Some((routes.targets.get(index)?, path_info))) {
                    Some(((component, route), path_info)) => {
                        component
                            .answer(
                                request,
                                Visit {
                                    route,
                                    path_info,
                                    client,
                                },
                            )
                            .await
                    }
                    None => Problem::NO_ROUTE.into_response(&Origin::new(request.uri(), request.headers())),
                }
            }
        }
    }
}

/// What all listeners share.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) limits: Limits,
    /// No more connections, and those that are end after their request.
    pub(crate) drain: CancellationToken,
    /// Connections end now.
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

/// What the connections of one listener share. What is counted is its own, so that a flood at one cannot close another.
struct Counter {
    target: Target,
    /// One permit per connection.
    connections: Arc<Semaphore>,
    visitors: Arc<Visitors>,
    /// One permit per client that is being told why it is refused.
    refusals: Arc<Semaphore>,
}

impl Server {
    /// Serves until the drain begins.
    pub(crate) fn serve(&self, socket: TcpListener, target: Target) {
        let server = self.clone();
        let permits = self.limits.max_connections.clamp(1, Semaphore::MAX_PERMITS);
        let counter = Arc::new(Counter {
            target,
            connections: Arc::new(Semaphore::new(permits)),
            visitors: Visitors::new(self.limits.max_connections_per_address),
            refusals: Arc::new(Semaphore::new(MAX_REFUSALS)),
        });
        self.tasks.spawn(async move {
            tokio::select! {
                () = server.drain.cancelled() => {}
                () = server.accept(&socket, &counter) => {}
            }
        });
    }

    async fn accept(&self, socket: &TcpListener, counter: &Arc<Counter>) {
        loop {
            match socket.accept().await {
                Ok((stream, client)) => self.welcome(counter, stream, client),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Serves the connection in a task of its own, or refuses it.
    fn welcome(&self, counter: &Arc<Counter>, stream: TcpStream, client: SocketAddr) {
        let permit = Arc::clone(&counter.connections).try_acquire_owned();
        let visitor = counter.visitors.enter(client.ip());
        let (Ok(permit), Some(visitor)) = (permit, visitor) else {
            // Who comes in such numbers that even this is too much is not answered.
            if let Ok(permit) = Arc::clone(&counter.refusals).try_acquire_owned() {
                let refused = wire::refuse(stream, Problem::TOO_MANY_CONNECTIONS);
                self.spawn(refused, permit);
            }
            return;
        };
        // Without it an answer in two writes would wait for the client's delayed acknowledgement.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection was gone at once");
            return;
        }
        let (server, shared) = (self.clone(), Arc::clone(counter));
        let served = async move { server.connection(stream, client, &shared.target).await };
        self.spawn(served, (permit, visitor));
    }

    /// Runs until it is done or the host stops, and keeps what it holds as long.
    fn spawn(&self, connection: impl Future<Output = ()> + Send + 'static, held: impl Send + 'static) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = connection => {}
            }
            drop(held);
        });
    }

    async fn connection(&self, stream: TcpStream, client: SocketAddr, target: &Target) {
        let bounds = Bounds {
            line_bytes: self.limits.max_request_line_bytes,
            head_bytes: self.limits.max_head_bytes,
        };
        let patience = Patience {
            head: self.limits.header_read_timeout,
            idle: self.limits.idle_timeout,
        };
        let client = client_header(client);
        let answer = |request| target.answer(request, &client);
        wire::serve(stream, bounds, patience, &self.drain, answer).await;
    }
}
