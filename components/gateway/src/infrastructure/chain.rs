//! Calls services, each at the address that its variable names.

use crate::application::Services;
use crate::domain::{Envelope, Field, Outcome, Service};
use futures::future::{Either, select};
use http::Uri;
use service::config::{ConfigError, parsed_variable, variable};
use service::health::Check;
use spin_sdk::wasip3::http::client;
use spin_sdk::wasip3::http::types::{ErrorCode, Fields, Method, Request, Response, Scheme};
use spin_sdk::wasip3::wit_future;
use std::num::NonZeroU16;
use std::pin::pin;
use std::time::Duration;

/// How long a service may take to say how it is.
const HEALTH_DEADLINE: Duration = Duration::from_secs(2);

/// Where one service is, and how long it may take over the head of its answer: longer than the 8 s that it gives
/// itself, if its own word is to come first. Chaining has no limit of its own.
struct Address {
    scheme: Scheme,
    authority: String,
    patience: Duration,
}

/// Where all services are.
pub struct Chain {
    auth: Address,
    catalog: Address,
    ordering: Address,
    payment: Address,
    delivery: Address,
}

/// A request for a service.
pub struct Call<'a> {
    pub method: &'a Method,
    /// As the service knows it.
    pub path_with_query: &'a str,
    pub fields: &'a [Field],
    /// The request whose body it is; none has no body.
    pub body_of: Option<Request>,
}

/// Why there is no answer of the service.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// Sending it made no sense: what the client sent is no HTTP that can be passed on.
    #[error("the request cannot be passed on")]
    Unsendable,
    #[error("there was no answer in time")]
    Late,
    #[error("the service cannot be reached: {0}")]
    Unreachable(String),
    /// It was reached, and what came back was no answer.
    #[error("the answer is broken: {0}")]
    Broken(String),
    /// It failed at this request; of others that says nothing.
    #[error("the service failed: {0}")]
    Failed(String),
}

impl Unanswered {
    /// What it says of the service.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Unsendable | Self::Failed(_) => Outcome::Answered,
            Self::Late | Self::Unreachable(_) | Self::Broken(_) => Outcome::Failed,
        }
    }
}

/// What an answer says of the service. A service that is up may be too busy, and says so, with a problem or with when to
/// come back; a bare 502, 503 or 504 is the word of something in between, which does not reach it.
#[must_use]
pub fn outcome_of(answer: &Response) -> Outcome {
    let is_bare = || {
        let headers = answer.get_headers();
        headers.get("retry-after").is_empty() && media_type(answer) != b"application/problem+json"
    };
    match answer.get_status_code() {
        502..=504 if is_bare() => Outcome::Failed,
        _ => Outcome::Answered,
    }
}

impl Chain {
    /// Reads where the services are, and how long each may take.
    ///
    /// # Errors
    /// If a variable is absent or of no use.
    pub async fn from_variables() -> Result<Self, ConfigError> {
        Ok(Self {
            auth: Address::from_variables("auth_url", "auth_timeout_seconds").await?,
            catalog: Address::from_variables("catalog_url", "catalog_timeout_seconds").await?,
            ordering: Address::from_variables("ordering_url", "ordering_timeout_seconds").await?,
            payment: Address::from_variables("payment_url", "payment_timeout_seconds").await?,
            delivery: Address::from_variables("delivery_url", "delivery_timeout_seconds").await?,
        })
    }

    /// How long `service` may take over the head of its answer.
    #[must_use]
    pub fn patience(&self, service: Service) -> Duration {
        self.address(service).patience
    }

    /// Calls `service`. Its answer's body may still be on the way.
    ///
    /// # Errors
    /// If there is no answer of the service.
    pub async fn call(&self, service: Service, call: Call<'_>) -> Result<Response, Unanswered> {
        self.call_within(self.patience(service), service, call).await
    }

    async fn call_within(
        &self,
        limit: Duration,
        service: Service,
        call: Call<'_>,
    ) -> Result<Response, Unanswered> {
        let request = call.into_request(self.address(service))?;
        let sent = pin!(client::send(request));
        match select(sent, pin!(spin_sdk::time::sleep(limit))).await {
            Either::Left((answer, _)) => answer.map_err(Unanswered::from),
            Either::Right(((), _)) => Err(Unanswered::Late),
        }
    }

    fn address(&self, service: Service) -> &Address {
        match service {
            Service::Auth => &self.auth,
            Service::Catalog => &self.catalog,
            Service::Ordering => &self.ordering,
            Service::Payment => &self.payment,
            Service::Delivery => &self.delivery,
        }
    }
}

impl Address {
    async fn from_variables(name: &'static str, timeout: &'static str) -> Result<Self, ConfigError> {
        let reason = "is no address like http://auth.spin.internal";
        let (scheme, authority) = Self::parse(&variable(name).await?).ok_or(ConfigError { name, reason })?;
        let seconds: NonZeroU16 = parsed_variable(timeout).await?;
        Ok(Self {
            scheme,
            authority,
            patience: Duration::from_secs(seconds.get().into()),
        })
    }

    /// `None` if it holds more than scheme, host and port, which a grant could not name.
    fn parse(url: &str) -> Option<(Scheme, String)> {
        let uri: Uri = url.trim().parse().ok()?;
        let scheme = match uri.scheme_str()? {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return None,
        };
        let authority = uri.authority()?.as_str().to_owned();
        let bare = uri.path() == "/" && uri.query().is_none() && !authority.contains('@');
        bare.then_some((scheme, authority))
    }
}

impl Call<'_> {
    fn into_request(self, address: &Address) -> Result<Request, Unanswered> {
        let fields = Fields::from_list(self.fields).map_err(|_| Unanswered::Unsendable)?;
        let request = match self.body_of {
            Some(original) => with_body_of(original, fields),
            None => {
                let (_, no_trailers) = wit_future::new(|| Ok(None));
                Request::new(fields, None, no_trailers, None).0
            }
        };
        let addressed = request
            .set_method(self.method)
            .and_then(|()| request.set_scheme(Some(&address.scheme)))
            .and_then(|()| request.set_authority(Some(&address.authority)))
            .and_then(|()| request.set_path_with_query(Some(self.path_with_query)));
        addressed.map(|()| request).map_err(|()| Unanswered::Unsendable)
    }
}

/// The body stays with the host, which joins the two ends.
fn with_body_of(original: Request, fields: Fields) -> Request {
    let (_, received) = wit_future::new(|| Ok(()));
    let (body, trailers) = Request::consume_body(original, received);
    Request::new(fields, Some(body), trailers, None).0
}

impl From<ErrorCode> for Unanswered {
    fn from(code: ErrorCode) -> Self {
        let text = format!("{code:?}");
        match code {
            ErrorCode::DnsTimeout
            | ErrorCode::DnsError(_)
            | ErrorCode::DestinationNotFound
            | ErrorCode::DestinationUnavailable
            | ErrorCode::DestinationIpProhibited
            | ErrorCode::DestinationIpUnroutable
            | ErrorCode::ConnectionRefused
            | ErrorCode::ConnectionTimeout
            | ErrorCode::ConnectionLimitReached
            | ErrorCode::TlsProtocolError
            | ErrorCode::TlsCertificateError
            | ErrorCode::HttpRequestDenied => Self::Unreachable(text),
            ErrorCode::ConnectionReadTimeout
            | ErrorCode::ConnectionWriteTimeout
            | ErrorCode::HttpResponseTimeout => Self::Late,
            ErrorCode::InternalError(_) => Self::Failed(text),
            _ => Self::Broken(text),
        }
    }
}

/// Asks services how they are, for the request that `envelope` names.
pub struct Asking<'a> {
    chain: &'a Chain,
    fields: Vec<Field>,
}

impl<'a> Asking<'a> {
    #[must_use]
    pub fn new(chain: &'a Chain, envelope: &Envelope) -> Self {
        let mut fields = Vec::new();
        envelope.seal(&mut fields, "");
        Self { chain, fields }
    }
}

impl Services for Asking<'_> {
    async fn ask(&self, service: Service) -> Check {
        let call = Call {
            method: &Method::Get,
            path_with_query: "/health",
            fields: &self.fields,
            body_of: None,
        };
        match self.chain.call_within(HEALTH_DEADLINE, service, call).await {
            Ok(answer) if answer.get_status_code() == 200 => Check::Ok,
            // Its own word; of one that could not say it, a host tells in a problem.
            Ok(answer) if media_type(&answer) == b"application/json" => Check::Degraded,
            _ => Check::Down,
        }
    }
}

fn media_type(answer: &Response) -> Vec<u8> {
    let mut values = answer.get_headers().get("content-type");
    values.pop().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_scheme_and_a_host() {
        let address = |url: &str| Address::parse(url).map(|(_, authority)| authority);
        assert_eq!(
            address("http://auth.spin.internal").as_deref(),
            Some("auth.spin.internal")
        );
        assert_eq!(address("https://[::1]:8443/").as_deref(), Some("[::1]:8443"));
        for url in [
            "",
            "auth",
            "/auth",
            "ftp://auth",
            "http://auth/v2",
            "http://auth?a=b",
            "http://user@auth",
        ] {
            assert_eq!(address(url), None, "{url}");
        }
    }
}
