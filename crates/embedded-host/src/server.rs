//! The listeners: connections, and which component each request goes to.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use wasmtime_wasi_http::WasiBody;

use crate::component::{Component, Visit};
use crate::headers::{RouteHeaders, client_header};
use crate::problem::{Origin, Problem};
use crate::routes::Router;

/// After a failed accept (no file descriptors left, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

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
    async fn answer(&self, request: Request<Incoming>, client: &HeaderValue) -> Response<WasiBody> {
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
    pub(crate) header_read_timeout: Duration,
    /// One permit per connection.
    pub(crate) connections: Arc<Semaphore>,
    /// No more connections, and those that are end after their request.
    pub(crate) drain: CancellationToken,
    /// Connections end now.
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

impl Server {
    /// Serves until the drain begins.
    pub(crate) fn serve(&self, listener: TcpListener, target: Target) {
        let server = self.clone();
        let target = Arc::new(target);
        self.tasks.spawn(async move {
            tokio::select! {
                () = server.drain.cancelled() => {}
                () = server.accept(&listener, &target) => {}
            }
        });
    }

    async fn accept(&self, listener: &TcpListener, target: &Arc<Target>) {
        while let Ok(permit) = Arc::clone(&self.connections).acquire_owned().await {
            let (stream, client) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let (server, target) = (self.clone(), Arc::clone(target));
            self.tasks.spawn(async move {
                tokio::select! {
                    () = server.stop.cancelled() => {}
                    () = server.connection(stream, client, &target) => {}
                }
                drop(permit);
            });
        }
    }

    async fn connection(&self, stream: TcpStream, client: SocketAddr, target: &Target) {
        // Without it an answer in two writes would wait for the client's delayed acknowledgement.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection was gone at once");
            return;
        }
        let client = client_header(client);
        let service =
            service_fn(|request| async { Ok::<_, Infallible>(target.answer(request, &client).await) });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.header_read_timeout)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.drain.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection broke");
        }
    }
}
