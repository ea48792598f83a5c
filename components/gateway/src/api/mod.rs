//! The gateway over HTTP: what it passes on, what it answers itself, and which problem each failure is.

#[cfg(test)]
mod description;
mod own;
mod pages;
mod pass;

use crate::Gateway;
use crate::application::ask_all;
use crate::domain::{Envelope, Route, find};
use crate::infrastructure::Asking;
use service::config::ConfigError;
use service::log::{self, Level};
use service::{Problem, health};
use spin_sdk::wasip3::http::types::{ErrorCode, Method, Request, Response};

/// Answers one request.
///
/// # Errors
/// Never: what goes wrong is an answer, too.
pub async fn handle(gateway: Result<&Gateway, ConfigError>, request: Request) -> Result<Response, ErrorCode> {
    let mut fields = request.get_headers().copy_all();
    let envelope = Envelope::open(&mut fields);
    let path_with_query = request.get_path_with_query().unwrap_or_default();
    let path = path_with_query.split('?').next().unwrap_or_default();
    let gateway = match gateway {
        Ok(gateway) => gateway,
        Err(error) => {
            log::line(Level::Error, "misconfigured", &[("error", &error.to_string())]);
            return own::problem(Problem::unavailable(), path, &envelope);
        }
    };
    match find(path) {
        Some(Route::Service { service, prefix }) => {
            envelope.seal(&mut fields, prefix);
            let passage = pass::Passage {
                service,
                prefix,
                path,
                path_with_query: &path_with_query,
                envelope: &envelope,
            };
            passage.through(&gateway.chain, request, &fields).await
        }
        Some(_) if !matches!(request.get_method(), Method::Get | Method::Head) => {
            own::problem(Problem::method_not_allowed("GET, HEAD"), path, &envelope)
        }
        Some(Route::Health) => {
            let overview = ask_all(&Asking::new(&gateway.chain, &envelope)).await;
            own::answer(own::overview(&overview), &envelope)
        }
        Some(Route::Live) => own::answer(health::live("gateway"), &envelope),
        Some(Route::Page(page)) => own::answer(pages::answer(page, &fields), &envelope),
        None => own::problem(Problem::no_route(), path, &envelope),
    }
}
