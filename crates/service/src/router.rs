//! From a request to its handler and back: 404 and 405, the deadline, and what every answer carries.

use crate::config::ConfigError;
use crate::log::{self, Level};
use crate::problem::Problem;
use crate::request::{REQUEST_ID_HEADER, Request};
use crate::response::Response;
use crate::security;
use futures::future::{Either, LocalBoxFuture, select};
use http::{HeaderName, HeaderValue, Method};
use http_body_util::Full;
use spin_sdk::http::Request as SpinRequest;
use std::cell::OnceCell;
use std::pin::pin;
use std::thread::LocalKey;
use std::time::Duration;

/// By this the host asks which route answers a request, and is told; it strips it from both.
const ROUTE_HEADER: HeaderName = HeaderName::from_static("x-shop-route");

/// What a handler gives.
pub type Answer = Result<Response, Problem>;

/// How long a request may take: longer than the 4 s that Postgres gives a statement, so that its own word comes
/// first, shorter than the patience of whoever called.
pub const DEADLINE: Duration = Duration::from_secs(8);

type Handler<S> = Box<dyn Fn(&'static S, Request) -> LocalBoxFuture<'static, Answer>>;

struct Route<S: 'static> {
    methods: Vec<(Method, Handler<S>)>,
}

/// The routes of a component whose composition root is an `S`.
pub struct Router<S: 'static> {
    paths: Vec<(&'static str, Route<S>)>,
    matcher: matchit::Router<usize>,
}

impl<S: 'static> Default for Router<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: 'static> Router<S> {
    #[must_use]
    pub fn new() -> Self {
        Self {
            paths: Vec::new(),
            matcher: matchit::Router::new(),
        }
    }

    /// Has `handler` answer `method` on `path` (in matchit's syntax: `/orders/{id}`). GET answers HEAD too.
    ///
    /// Two paths that contradict each other are a mistake that the first request of every test shows: the later
    /// one is then served by nobody.
    #[must_use]
    pub fn on<F>(mut self, method: Method, path: &'static str, handler: fn(&'static S, Request) -> F) -> Self
    where
        F: Future<Output = Answer> + 'static,
    {
        let boxed: Handler<S> = Box::new(move |state, request| Box::pin(handler(state, request)));
        match self.paths.iter_mut().find(|(known, _)| *known == path) {
            Some((_, route)) => route.methods.push((method, boxed)),
            None => {
                if let Err(error) = self.matcher.insert(path, self.paths.len()) {
                    log::line(
                        Level::Error,
                        "route refused",
                        &[("path", path), ("error", &error.to_string())],
                    );
                }
                self.paths.push((
                    path,
                    Route {
                        methods: vec![(method, boxed)],
                    },
                ));
            }
        }
        self
    }

    #[must_use]
    pub fn get<F>(self, path: &'static str, handler: fn(&'static S, Request) -> F) -> Self
    where
        F: Future<Output = Answer> + 'static,
    {
        self.on(Method::GET, path, handler)
    }

    #[must_use]
    pub fn post<F>(self, path: &'static str, handler: fn(&'static S, Request) -> F) -> Self
    where
        F: Future<Output = Answer> + 'static,
    {
        self.on(Method::POST, path, handler)
    }

    /// Every route, in the order in which they were added.
    pub fn routes(&self) -> impl Iterator<Item = (&Method, &'static str)> {
        let paths = self.paths.iter();
        paths.flat_map(|(path, route)| route.methods.iter().map(move |(method, _)| (method, *path)))
    }

    /// Answers one request.
    async fn answer(&self, state: &'static S, mut request: Request) -> Response {
        let instance = request.instance();
        let (route, handler) = match self.find(&mut request) {
            Ok(found) => found,
            Err(problem) => return problem.into_response(&instance),
        };
        let is_asked = request.headers.contains_key(ROUTE_HEADER);
        let work = handler(state, request);
        let answer = match select(pin!(work), pin!(spin_sdk::time::sleep(DEADLINE))).await {
            Either::Left((answer, _)) => answer,
            Either::Right(((), _)) => {
                log::line(Level::Warn, "deadline passed", &[("path", &instance)]);
                Err(Problem::unavailable())
            }
        };
        let mut response = answer.unwrap_or_else(|problem| problem.into_response(&instance));
        if is_asked && let Ok(route) = HeaderValue::from_str(route) {
            response.headers_mut().insert(ROUTE_HEADER, route);
        }
        response
    }

    /// The route's template, and who answers the request.
    fn find(&self, request: &mut Request) -> Result<(&'static str, &Handler<S>), Problem> {
        let path = request.path.clone();
        let found = self.matcher.at(&path).map_err(|_| Problem::no_route())?;
        let (template, route) = self.paths.get(*found.value).ok_or_else(Problem::no_route)?;
        let parameters = found
            .params
            .iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        request.set_parameters(parameters);
        let wanted = if request.method == Method::HEAD {
            &Method::GET
        } else {
            &request.method
        };
        let handler = route
            .methods
            .iter()
            .find(|(method, _)| method == wanted)
            .map(|(_, handler)| handler);
        handler
            .map(|handler| (*template, handler))
            .ok_or_else(|| Problem::method_not_allowed(&route.allow()))
    }
}

impl<S> Route<S> {
    fn allow(&self) -> String {
        let mut names: Vec<&str> = self.methods.iter().map(|(method, _)| method.as_str()).collect();
        if names.contains(&"GET") {
            names.push("HEAD");
        }
        names.join(", ")
    }
}

/// A composition root: what a component is made of once it knows its variables.
pub trait Component: Sized + 'static {
    /// Reads the variables and wires the layers.
    ///
    /// # Errors
    /// If a variable is missing or of no use.
    fn compose() -> impl Future<Output = Result<Self, ConfigError>>;

    fn router(&self) -> &Router<Self>;
}

/// Where an instance keeps its composition root between requests. Leaked once per instance, so that handlers hold a
/// plain `&'static`; an instance is never unloaded before its end.
pub type Root<S> = LocalKey<OnceCell<&'static S>>;

/// Serves one request with the component in `root`, composing it at the first.
pub async fn serve<S: Component>(
    root: &'static Root<S>,
    request: SpinRequest,
) -> http::Response<Full<bytes::Bytes>> {
    let request = Request::new(request);
    let request_id = request.request_id();
    let trace = request.trace.clone();
    let answered = async {
        match composed(root).await {
            Ok(state) => state.router().answer(state, request).await,
            Err(error) => {
                log::line(Level::Error, "misconfigured", &[("error", &error.to_string())]);
                Problem::unavailable().into_response(&request.instance())
            }
        }
    };
    let mut response = log::within(trace.trace_id(), answered).await;
    if let Ok(value) = request_id.parse() {
        response.headers_mut().insert(REQUEST_ID_HEADER, value);
    }
    security::complete(response.headers_mut());
    response.into_http().map(Full::new)
}

async fn composed<S: Component>(root: &'static Root<S>) -> Result<&'static S, ConfigError> {
    if let Some(state) = root.with(|cell| cell.get().copied()) {
        return Ok(state);
    }
    let state: &'static S = Box::leak(Box::new(S::compose().await?));
    // Two first requests may both compose; the first to finish is kept.
    Ok(root.with(|cell| *cell.get_or_init(|| state)))
}
