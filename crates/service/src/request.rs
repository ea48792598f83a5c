//! A request as the routes see it, and how its parts are read.

use crate::problem::Problem;
use crate::trace::Traceparent;
use crate::{json, validation::FieldErrors};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, Method, header};
use http_body_util::BodyExt as _;
use serde::de::DeserializeOwned;
use spin_sdk::http::Request as SpinRequest;
use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// The most bytes that a body may have, except for a batch of events.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

/// How much of a body that is too large is read, so that the client reads the answer instead of a reset.
const MAX_DROPPED_BYTES: usize = 1024 * 1024;

/// The prefix that the gateway cut off the path; it belongs in `Location` and `instance`.
pub const PREFIX_HEADER: HeaderName = HeaderName::from_static("x-forwarded-prefix");

/// Names a request in answers and logs.
pub const REQUEST_ID_HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// What the host tells of whoever called: `10.0.0.1:51234`.
const CALLER_HEADER: HeaderName = HeaderName::from_static("spin-client-addr");

/// What the gateway tells of its client.
const CLIENT_HEADER: HeaderName = HeaderName::from_static("x-shop-client-addr");

/// The prefixes that the gateway serves the services under.
pub const PREFIXES: [&str; 2] = ["/api/v1", "/api"];

/// Whether `id` can name a request in answers and logs as it is.
#[must_use]
pub fn is_sane_request_id(id: &str) -> bool {
    (1..=128).contains(&id.len())
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// One request. Its body is read at most once.
pub struct Request {
    pub method: Method,
    /// The path, still percent-encoded, without the gateway's prefix.
    pub path: String,
    pub headers: HeaderMap,
    pub trace: Traceparent,
    query: String,
    prefix: &'static str,
    parameters: Vec<(String, String)>,
    body: Option<spin_sdk::wasip3::http_compat::IncomingRequestBody>,
}

impl Request {
    pub(crate) fn new(request: SpinRequest) -> Self {
        let (parts, body) = request.into_parts();
        let text = |name: HeaderName| parts.headers.get(name).and_then(|value| value.to_str().ok());
        let prefix = text(PREFIX_HEADER).and_then(|sent| PREFIXES.into_iter().find(|known| *known == sent));
        let trace = Traceparent::of_request(&parts.headers);
        Self {
            method: parts.method,
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().unwrap_or_default().to_owned(),
            headers: parts.headers,
            trace,
            prefix: prefix.unwrap_or_default(),
            parameters: Vec::new(),
            body: Some(body),
        }
    }

    pub(crate) fn set_parameters(&mut self, parameters: Vec<(String, String)>) {
        self.parameters = parameters;
    }

    /// The header `name`, if it is there and is text.
    #[must_use]
    pub fn header(&self, name: impl header::AsHeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The client's address, if somebody tells it who is believed: the host, and the gateway where it is the caller. That
    /// is seen on a chained call; over a network it is so where nobody but the gateway gets through (`gateway_only`).
    #[must_use]
    pub fn client(&self, gateway_only: bool) -> Option<IpAddr> {
        client(&self.headers, gateway_only)
    }

    /// The client's own id for the request, if it is a sane one, else a new one.
    #[must_use]
    pub fn request_id(&self) -> String {
        let given = self
            .header(REQUEST_ID_HEADER)
            .filter(|id| is_sane_request_id(id))
            .map(str::to_owned);
        given.unwrap_or_else(|| uuid::Uuid::now_v7().to_string())
    }

    /// The path as the client wrote it.
    #[must_use]
    pub fn instance(&self) -> String {
        format!("{}{}", self.prefix, self.path)
    }

    /// A path of this service as the client would ask for it.
    #[must_use]
    pub fn location(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }

    /// The path parameter `name` as an id.
    ///
    /// # Errors
    /// 404 if it is none: no object has such an id.
    pub fn id<T: FromStr>(&self, name: &str, what: &str) -> Result<T, Problem> {
        let text = self
            .parameters
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str());
        text.and_then(|text| text.parse().ok())
            .ok_or_else(|| Problem::not_found(what))
    }

    /// The query parameters, decoded.
    ///
    /// # Errors
    /// 400 if they are no percent-encoded UTF-8.
    pub fn query(&self) -> Result<Query, Problem> {
        Query::parse(&self.query)
    }

    /// The raw query, as it was sent.
    #[must_use]
    pub fn raw_query(&self) -> &str {
        &self.query
    }

    /// The body as a JSON object of `T`'s shape.
    ///
    /// # Errors
    /// 413, 415, 400 or 422, checked in this order.
    pub async fn json<T: DeserializeOwned>(&mut self) -> Result<T, Problem> {
        json::from_slice(&self.json_bytes().await?)
    }

    /// The same for a body that may be left out, which reads as `{}`.
    ///
    /// # Errors
    /// As [`Self::json`].
    pub async fn optional_json<T: DeserializeOwned>(&mut self) -> Result<T, Problem> {
        json::optional_from_slice(&self.json_bytes().await?)
    }

    /// The body, which says that it is JSON, as it was sent.
    ///
    /// # Errors
    /// 413 or 415. An empty body needs no content type.
    pub async fn json_bytes(&mut self) -> Result<Bytes, Problem> {
        let body = self.bytes(MAX_BODY_BYTES).await?;
        if !body.is_empty() {
            self.require_json()?;
        }
        Ok(body)
    }

    /// The whole body.
    ///
    /// # Errors
    /// 413 if it is larger than `limit`; 400 if it breaks off.
    pub async fn bytes(&mut self, limit: usize) -> Result<Bytes, Problem> {
        let Some(mut body) = self.body.take() else {
            return Ok(Bytes::new());
        };
        let announced: Option<usize> = self
            .header(header::CONTENT_LENGTH)
            .and_then(|text| text.parse().ok());
        if announced == Some(0) {
            return Ok(Bytes::new());
        }
        let mut read = BytesMut::with_capacity(announced.unwrap_or_default().min(limit));
        let mut seen = 0;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Problem::malformed("The body broke off."))?;
            let Ok(data) = frame.into_data() else { continue };
            seen += data.len();
            if seen <= limit {
                read.extend_from_slice(&data);
            } else if seen > MAX_DROPPED_BYTES.max(limit) {
                break;
            }
        }
        if seen > limit {
            Err(Problem::too_large(limit))
        } else {
            Ok(read.freeze())
        }
    }

    fn require_json(&self) -> Result<(), Problem> {
        let expected = "application/json";
        let content_type = self.header(header::CONTENT_TYPE).unwrap_or_default();
        let (essence, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
        let charset = parameters.trim().to_ascii_lowercase();
        let utf8 = matches!(charset.as_str(), "" | "charset=utf-8" | "charset=\"utf-8\"");
        if essence.trim().eq_ignore_ascii_case(expected) && utf8 {
            Ok(())
        } else {
            Err(Problem::unsupported_media_type(expected))
        }
    }
}

fn client(headers: &HeaderMap, gateway_only: bool) -> Option<IpAddr> {
    let caller = caller(headers)?;
    let is_chained = caller.is_unspecified();
    // Only the gateway calls, and it drops what clients made up.
    let told = || headers.get(CLIENT_HEADER)?.to_str().ok()?.parse().ok();
    match is_chained || gateway_only {
        true => told().or((!is_chained).then_some(caller)),
        false => Some(caller),
    }
}

/// Whether another component of the shop sent the request.
pub(crate) fn is_chained(headers: &HeaderMap) -> bool {
    caller(headers).is_some_and(|caller| caller.is_unspecified())
}

/// Who called; a component of the shop has no address, which is written `0.0.0.0:0`. A client may have sent such headers
/// too: the host's own stands behind them.
fn caller(headers: &HeaderMap) -> Option<IpAddr> {
    let caller = headers.get_all(CALLER_HEADER).iter().next_back()?;
    let caller: SocketAddr = caller.to_str().ok()?.parse().ok()?;
    Some(caller.ip())
}

/// Decoded query parameters.
pub struct Query(Vec<(String, String)>);

impl Query {
    fn parse(raw: &str) -> Result<Self, Problem> {
        let decode = |text: &str| {
            let spaced = text.replace('+', " ");
            let decoded = percent_encoding::percent_decode_str(&spaced).decode_utf8();
            decoded
                .map(std::borrow::Cow::into_owned)
                .map_err(|_| Problem::malformed("The query is not UTF-8."))
        };
        let pairs = raw.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(name)?, decode(value)?))
        });
        pairs.collect::<Result<_, Problem>>().map(Self)
    }

    /// The parameter `name` as it was written. One that is given twice is noted in `errors`: which of the two is meant,
    /// different readers of one request would judge differently.
    pub fn text(&self, name: &str, errors: &mut FieldErrors) -> Option<&str> {
        let mut values = self.0.iter().filter(|(key, _)| key == name);
        let (_, value) = values.next()?;
        if values.next().is_some() {
            errors.add(name, "must be given once");
            return None;
        }
        Some(value)
    }

    /// The parameter `name` as a `T`; a value that is none is noted in `errors`.
    pub fn parse_as<T>(&self, name: &str, errors: &mut FieldErrors) -> Option<T>
    where
        T: FromStr,
        T::Err: Display,
    {
        let text = self.text(name, errors)?;
        errors.check(name, text.parse())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    #[test]
    fn a_parameter_is_read_decoded_and_refused_if_it_is_given_twice() {
        let query = Query::parse("search=red%20rose+%2B&skip=1&skip=2&empty&=x").unwrap();
        let mut errors = FieldErrors::new();
        assert_eq!(query.text("search", &mut errors), Some("red rose +"));
        assert_eq!(query.text("empty", &mut errors), Some(""));
        assert_eq!(query.text("limit", &mut errors), None);
        assert_eq!(query.parse_as::<u8>("limit", &mut errors), None);
        let mut clean = FieldErrors::new();
        std::mem::swap(&mut clean, &mut errors);
        assert!(clean.finish(Some(())).is_ok());

        assert_eq!(query.parse_as::<u8>("skip", &mut errors), None);
        let problem = format!("{:?}", errors.finish(Some(())).unwrap_err());
        assert!(problem.contains("given once"), "{problem}");
    }

    #[test]
    fn a_query_that_is_no_utf8_is_malformed() {
        assert_eq!(
            Query::parse("search=%ff").err().map(|problem| problem.status),
            Some(http::StatusCode::BAD_REQUEST)
        );
    }

    fn client_of(headers: &[(HeaderName, &'static str)]) -> Option<String> {
        told(headers, false)
    }

    fn told(headers: &[(HeaderName, &'static str)], gateway_only: bool) -> Option<String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, HeaderValue::from_static(value));
        }
        client(&map, gateway_only).map(|address| address.to_string())
    }

    #[test]
    fn the_gateway_is_believed_on_a_chained_call_and_nobody_else_ever() {
        let chained = (CALLER_HEADER, "0.0.0.0:0");
        let said = (CLIENT_HEADER, "10.0.0.7");
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(client_of(&[said.clone(), chained.clone()]), some("10.0.0.7"));
        assert_eq!(
            client_of(&[(CLIENT_HEADER, "2001:db8::1"), chained.clone()]),
            some("2001:db8::1")
        );
        // Somebody who came by the service's own door, whatever they say.
        let caller = (CALLER_HEADER, "10.0.0.1:51234");
        assert_eq!(client_of(&[said.clone(), caller.clone()]), some("10.0.0.1"));
        assert_eq!(
            client_of(&[chained.clone(), said.clone(), caller]),
            some("10.0.0.1")
        );
        // Nobody tells.
        assert_eq!(client_of(std::slice::from_ref(&said)), None);
        assert_eq!(client_of(&[said, (CALLER_HEADER, "unix:")]), None);
        assert_eq!(client_of(&[chained]), None);
    }

    #[test]
    fn the_gateway_is_believed_over_a_network_where_nobody_else_gets_through() {
        let caller = (CALLER_HEADER, "10.0.0.1:51234");
        let said = (CLIENT_HEADER, "10.0.0.7");
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(told(&[said.clone(), caller.clone()], true), some("10.0.0.7"));
        assert_eq!(told(&[caller], true), some("10.0.0.1"), "it says nothing");
        assert_eq!(told(&[said], true), None);
    }

    proptest! {
        #[test]
        fn no_query_does_harm(raw in prop_oneof!["[ -~]{0,60}", "((skip|limit|x)=[0-9%a-fA-F+&-]{0,12}&?){0,4}"]) {
            if let Ok(query) = Query::parse(&raw) {
                let page = crate::PageQuery::read(&query, &mut FieldErrors::new());
                prop_assert!((0..=1_000_000).contains(&page.skip) && (1..=100).contains(&page.limit));
            }
        }

        #[test]
        fn a_parameter_reads_as_it_was_written(name in ".{1,10}", value in ".{0,30}") {
            let encode = |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
            let query = Query::parse(&format!("{}={}", encode(&name), encode(&value)));
            let query = query.unwrap_or_else(|problem| panic!("{problem:?}"));
            prop_assert_eq!(query.text(&name, &mut FieldErrors::new()), Some(value.as_str()));
        }
    }
}
