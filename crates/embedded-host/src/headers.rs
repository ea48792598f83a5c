//! Request headers as Spin hands them to a component: what the client sent, and after it Spin's own. They are
//! appended, not set: a client can send the same names, and only the *last* value of each is the host's.

use std::net::SocketAddr;
use std::sync::LazyLock;

use http::header::{CONNECTION, HOST};
use http::request::Parts;
use http::uri::{Authority, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Uri};

use crate::routes::Route;

const PATH_INFO: HeaderName = HeaderName::from_static("spin-path-info");
const FULL_URL: HeaderName = HeaderName::from_static("spin-full-url");
const MATCHED_ROUTE: HeaderName = HeaderName::from_static("spin-matched-route");
const BASE_PATH: HeaderName = HeaderName::from_static("spin-base-path");
const RAW_COMPONENT_ROUTE: HeaderName = HeaderName::from_static("spin-raw-component-route");
const COMPONENT_ROUTE: HeaderName = HeaderName::from_static("spin-component-route");
const CLIENT_ADDR: HeaderName = HeaderName::from_static("spin-client-addr");

/// The headers that are the same for every request of a route.
#[derive(Clone, Debug)]
pub(crate) struct RouteHeaders {
    matched: HeaderValue,
    raw: HeaderValue,
    prefix: HeaderValue,
}

impl RouteHeaders {
    /// `None` if the route holds a character that no header can.
    pub(crate) fn of(route: &Route) -> Option<RouteHeaders> {
        let raw = route.raw();
        let absolute = if raw.starts_with('/') {
            raw.to_owned()
        } else {
            format!("/{raw}")
        };
        Some(RouteHeaders {
            matched: HeaderValue::from_str(absolute.strip_suffix('/').unwrap_or(&absolute)).ok()?,
            raw: HeaderValue::from_str(raw).ok()?,
            prefix: HeaderValue::from_str(route.raw_prefix()).ok()?,
        })
    }

    /// Those of the route `/...`.
    pub(crate) fn everything() -> &'static RouteHeaders {
        static EVERYTHING: LazyLock<RouteHeaders> = LazyLock::new(|| RouteHeaders {
            matched: HeaderValue::from_static("/..."),
            raw: HeaderValue::from_static("/..."),
            prefix: HeaderValue::from_static(""),
        });
        &EVERYTHING
    }
}

/// The address that Spin gives the caller of a chained call.
pub(crate) const CHAINED: HeaderValue = HeaderValue::from_static("0.0.0.0:0");

/// Whether a component of this process is the client, and not somebody at the other end of a connection.
pub(crate) fn is_chained(client: &HeaderValue) -> bool {
    *client == CHAINED
}

/// A client's address as a header; formatted once per connection.
pub(crate) fn client_header(client: SocketAddr) -> HeaderValue {
    HeaderValue::try_from(client.to_string()).unwrap_or(HeaderValue::from_static("0.0.0.0:1"))
}

/// Makes an arrived request what Spin would hand on. The error says why Spin would not take it.
pub(crate) fn prepare(
    parts: &mut Parts,
    route: &RouteHeaders,
    path_info: &str,
    client: &HeaderValue,
) -> Result<(), &'static str> {
    end_connection(&mut parts.headers);
    if parts
        .headers
        .values()
        .any(|value| std::str::from_utf8(value.as_bytes()).is_err())
    {
        return Err("A header is not UTF-8.");
    }
    let full_url = full_url(parts);
    set_uri(parts)?;
    let value = |bytes: &str| HeaderValue::from_bytes(bytes.as_bytes()).map_err(|_| "The path is malformed.");
    let headers = &mut parts.headers;
    headers.append(PATH_INFO, value(path_info)?);
    headers.append(FULL_URL, value(&full_url)?);
    headers.append(MATCHED_ROUTE, route.matched.clone());
    headers.append(BASE_PATH, HeaderValue::from_static("/"));
    headers.append(RAW_COMPONENT_ROUTE, route.raw.clone());
    headers.append(COMPONENT_ROUTE, route.prefix.clone());
    headers.append(CLIENT_ADDR, client.clone());
    Ok(())
}

/// Removes what belongs to this connection alone (RFC 9110, section 7.6.1): `Connection` and the fields that it names.
/// A component could not do it any more, for it sees no `Connection`.
fn end_connection(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::try_from(name.trim()).ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    headers.remove(CONNECTION);
}

fn full_url(parts: &Parts) -> String {
    let host = parts
        .headers
        .get(HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or("localhost");
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut url = String::with_capacity("http://".len() + host.len() + path.len());
    url.push_str("http://");
    url.push_str(host);
    url.push_str(path);
    url
}

/// Scheme and authority, which a guest gets from the URI. Host and URI may not contradict each other.
fn set_uri(parts: &mut Parts) -> Result<(), &'static str> {
    let mut uri = std::mem::take(&mut parts.uri).into_parts();
    let host: Option<Authority> = match parts.headers.get(HOST) {
        Some(host) => {
            let authority = Authority::try_from(host.as_bytes());
            Some(authority.map_err(|_| "The Host header holds no host.")?)
        }
        None => None,
    };
    uri.authority = Some(match (host, uri.authority) {
        (Some(host), Some(authority)) if host != authority => {
            return Err("The Host header contradicts the request's target.");
        }
        (Some(host), _) => host,
        (None, Some(authority)) => authority,
        (None, None) => return Err("The Host header is missing."),
    });
    uri.scheme = Some(Scheme::HTTP);
    if uri.path_and_query.is_none() {
        return Err("The request's target is no path.");
    }
    parts.uri = Uri::from_parts(uri).map_err(|_| "The request's target is malformed.")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn prepared(request: http::request::Builder) -> Result<Parts, &'static str> {
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        let route = RouteHeaders::of(&Route::parse("/foo/...", "a").unwrap()).unwrap();
        prepare(
            &mut parts,
            &route,
            "/bar",
            &HeaderValue::from_static("10.0.0.1:7"),
        )?;
        Ok(parts)
    }

    #[test]
    fn a_component_gets_the_headers_that_spin_adds() {
        let parts = prepared(Request::get("/foo/bar?x=1").header("host", "shop.test:8000")).unwrap();
        for (name, expected) in [
            ("spin-path-info", "/bar"),
            ("spin-full-url", "http://shop.test:8000/foo/bar?x=1"),
            ("spin-matched-route", "/foo/..."),
            ("spin-base-path", "/"),
            ("spin-raw-component-route", "/foo/..."),
            ("spin-component-route", "/foo"),
            ("spin-client-addr", "10.0.0.1:7"),
        ] {
            assert_eq!(parts.headers[name], expected, "{name}");
        }
        assert_eq!(parts.uri.to_string(), "http://shop.test:8000/foo/bar?x=1");
    }

    #[test]
    fn a_header_that_the_client_made_up_stands_before_the_hosts_own() {
        let request = Request::get("/foo/bar")
            .header("host", "h")
            .header("spin-client-addr", "1.2.3.4:5");
        let parts = prepared(request).unwrap();
        let values: Vec<_> = parts.headers.get_all("spin-client-addr").iter().collect();
        assert_eq!(values, ["1.2.3.4:5", "10.0.0.1:7"]);
    }

    #[test]
    fn what_belongs_to_the_connection_ends_with_it() {
        let request = Request::get("/foo/bar")
            .header("host", "h")
            .header("connection", "keep-alive, X-Mine")
            .header("x-mine", "1")
            .header("x-yours", "2");
        let parts = prepared(request).unwrap();
        assert!(!parts.headers.contains_key("connection") && !parts.headers.contains_key("x-mine"));
        assert_eq!(parts.headers["x-yours"], "2");
    }

    #[test]
    fn what_spin_does_not_take_is_refused() {
        for request in [
            Request::get("/foo"),
            Request::get("/foo").header("host", "a b"),
            Request::get("http://one.test/foo").header("host", "other.test"),
            Request::get("/foo")
                .header("host", "h")
                .header("x", HeaderValue::from_bytes(b"\xff").unwrap()),
        ] {
            assert!(prepared(request).is_err());
        }
    }

    #[test]
    fn the_connection_header_stays_with_the_host() {
        let parts = prepared(
            Request::get("/foo")
                .header("host", "h")
                .header("connection", "close"),
        )
        .unwrap();
        assert!(!parts.headers.contains_key(CONNECTION));
    }
}
