//! `wasi:http/client`: requests that a component sends. Each needs a grant. `http://<component>.spin.internal` is
//! answered by that component in this process; everything else goes out over pooled connections, without TLS.

use std::collections::HashMap;
use std::error::Error as _;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use crash_points::{Point, reached, through};
use http::header::{CONNECTION, HOST};
use http::{HeaderName, Request, Response};
use http_body_util::BodyExt;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client as NetworkClient, Error as NetworkError};
use hyper_util::rt::TokioExecutor;
use wasmtime_wasi_http::{DEFAULT_FORBIDDEN_HEADERS, Error, RequestOptions, WasiBody, WasiHttpHooks};

use super::Surroundings;
use crate::component::{Component, Visit};
use crate::headers::{CHAINED, RouteHeaders};
use crate::trace;

/// The host of a chained call is `<component>` and this.
const CHAINING_SUFFIX: &str = ".spin.internal";
/// How long connecting may take, over all addresses of a name, each of which gets an equal part: one that swallows
/// everything would otherwise cost the whole time of the request, and the next one would never be tried.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a server may take to begin its answer where the guest says nothing, as in Spin.
const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(600);

type Sent = (
    Response<WasiBody>,
    Box<dyn Future<Output = Result<(), Error>> + Send>,
);

/// The components by name, for chaining. Filled once all are loaded, for they may call each other.
pub(crate) type Neighbours = Arc<OnceLock<HashMap<String, Weak<Component>>>>;

/// Sends what guests ask to be sent. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Client {
    network: NetworkClient<HttpConnector, WasiBody>,
    neighbours: Neighbours,
}

impl Client {
    pub(crate) fn new(neighbours: Neighbours) -> Client {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let network = NetworkClient::builder(TokioExecutor::new()).build(connector);
        Client { network, neighbours }
    }

    /// Who can be chained to. Weakly, for the components hold this client themselves.
    pub(crate) fn introduce(&self, components: &HashMap<String, Arc<Component>>) {
        let names = components
            .iter()
            .map(|(name, component)| (name.clone(), Arc::downgrade(component)));
        // Done once, at start.
        let _ = self.neighbours.set(names.collect());
    }

    async fn send(
        &self,
        mut request: Request<WasiBody>,
        options: Option<RequestOptions>,
    ) -> Result<Response<WasiBody>, Error> {
        // Over HTTP/1 it depends on the connection; the client adds it.
        request.headers_mut().remove(HOST);
        let patience = options
            .and_then(|options| options.first_byte_timeout)
            .unwrap_or(FIRST_BYTE_TIMEOUT);
        let sent = through(Point::HostCalled, self.network.request(request));
        match tokio::time::timeout(patience, sent).await {
            Ok(Ok(response)) => Ok(response.map(|body| body.map_err(Error::Hyper).boxed_unsync())),
            Ok(Err(error)) if is_about_the_name(&error) => Err(Error::DnsError {
                rcode: Some("address not available".to_owned()),
                info_code: Some(0),
            }),
            Ok(Err(error)) if error.is_connect() => Err(Error::ConnectionRefused),
            Ok(Err(_)) => Err(Error::HttpProtocolError),
            Err(_) => Err(Error::ConnectionReadTimeout),
        }
    }

    /// The called component sees the route `/...` and the client address that Spin gives chained calls.
    async fn chain(&self, mut request: Request<WasiBody>, name: &str) -> Result<Response<WasiBody>, Error> {
        let component = self
            .neighbours
            .get()
            .and_then(|neighbours| neighbours.get(name))
            .and_then(Weak::upgrade)
            .ok_or(Error::DestinationNotFound)?;
        request.headers_mut().remove(HOST);
        request.headers_mut().remove(CONNECTION);
        let path = request.uri().path().to_owned();
        let visit = Visit {
            route: RouteHeaders::everything(),
            path_info: &path,
            client: &CHAINED,
        };
        let answer = component.answer(request, visit).await;
        reached(Point::HostCalled);
        Ok(answer)
    }
}

/// Whether the host's name has no address. hyper's client says so in words alone.
fn is_about_the_name(error: &NetworkError) -> bool {
    error
        .source()
        .is_some_and(|source| source.to_string().starts_with("dns error"))
}

/// The outgoing half of one instance.
pub(crate) struct Outgoing {
    surroundings: Arc<Surroundings>,
}

impl Outgoing {
    pub(crate) fn new(surroundings: Arc<Surroundings>) -> Outgoing {
        Outgoing { surroundings }
    }
}

impl WasiHttpHooks for Outgoing {
    fn is_forbidden_header(&mut self, name: &HeaderName) -> bool {
        DEFAULT_FORBIDDEN_HEADERS.contains(name)
    }

    fn set_host_header(&mut self) -> bool {
        false
    }

    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _processed: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<Sent, Error>> + Send> {
        let surroundings = Arc::clone(&self.surroundings);
        Box::new(async move {
            let response = dispatch(&surroundings, request, options).await?;
            let nothing_more: Box<dyn Future<Output = Result<(), Error>> + Send> = Box::new(async { Ok(()) });
            Ok((response, nothing_more))
        })
    }
}

async fn dispatch(
    surroundings: &Surroundings,
    mut request: Request<WasiBody>,
    options: Option<RequestOptions>,
) -> Result<Response<WasiBody>, Error> {
    let uri = request.uri();
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(Error::HttpRequestUriInvalid);
    };
    if authority.as_str().contains('@') {
        return Err(Error::HttpRequestUriInvalid);
    }
    let host = authority.host().to_ascii_lowercase();
    if !surroundings.grants.allow(scheme, &host, authority.port_u16()) {
        tracing::warn!(component = %surroundings.component, %scheme, %authority, "refused an outgoing request");
        return Err(Error::HttpRequestDenied);
    }
    if scheme != "http" {
        return Err(Error::InternalError(Some(format!(
            "this host does not implement {scheme} requests"
        ))));
    }
    let port = authority.port_u16();
    let mut span = trace::calls(&surroundings.component, &mut request);
    let answer = match host.strip_suffix(CHAINING_SUFFIX) {
        // Spin looks at no port here. A component has none, so a grant for another one leads nowhere.
        Some(_) if port.is_some_and(|port| port != 80) => Err(Error::DestinationNotFound),
        Some(name) => surroundings.http.chain(request, name).await,
        None => surroundings.http.send(request, options).await,
    };
    trace::called(&mut span, &answer);
    answer
}
