//! What the gateway passes on: a request to its service, and the answer back.

use super::own;
use crate::domain::{Envelope, Field, Service};
use crate::infrastructure::{Call, Chain, Unanswered};
use http::StatusCode;
use service::Problem;
use service::log::{self, Level};
use spin_sdk::wasip3::http::types::{ErrorCode, Fields, Request, Response};
use spin_sdk::wasip3::wit_future;

/// One request on its way to a service.
pub(super) struct Passage<'a> {
    pub(super) service: Service,
    /// What the path loses.
    pub(super) prefix: &'static str,
    /// The client's.
    pub(super) path: &'a str,
    pub(super) path_with_query: &'a str,
    pub(super) envelope: &'a Envelope,
}

impl Passage<'_> {
    /// Gives the service's answer, or says why there is none.
    pub(super) async fn through(
        self,
        chain: &Chain,
        request: Request,
        fields: &[Field],
    ) -> Result<Response, ErrorCode> {
        let call = Call {
            method: &request.get_method(),
            path_with_query: self.path_with_query.get(self.prefix.len()..).unwrap_or_default(),
            fields,
            body_of: Some(request),
        };
        match chain.call(self.service, call).await {
            Ok(answer) => match answer.get_status_code() {
                // No service of ours says so: its host does, of one that trapped.
                502 => self.refuse(&Unanswered::Broken("502".to_owned())),
                _ => self.hand_over(answer),
            },
            Err(unanswered) => self.refuse(&unanswered),
        }
    }

    /// The answer as it is, where nothing has to change: then not even its head is copied again.
    fn hand_over(&self, answer: Response) -> Result<Response, ErrorCode> {
        let mut fields = answer.get_headers().copy_all();
        if !self.envelope.readdress(&mut fields) {
            return Ok(answer);
        }
        let Ok(fields) = Fields::from_list(&fields) else {
            return self.refuse(&Unanswered::Broken("its head does not hold".to_owned()));
        };
        let status = answer.get_status_code();
        let (_, received) = wit_future::new(|| Ok(()));
        let (body, trailers) = Response::consume_body(answer, received);
        let (answer, _) = Response::new(fields, Some(body), trailers);
        match answer.set_status_code(status) {
            Ok(()) => Ok(answer),
            Err(()) => self.refuse(&Unanswered::Broken("its status does not hold".to_owned())),
        }
    }

    fn refuse(&self, unanswered: &Unanswered) -> Result<Response, ErrorCode> {
        let problem = match unanswered {
            Unanswered::Unsendable => Problem::malformed("The request's head cannot be passed on."),
            Unanswered::Late | Unanswered::Unreachable(_) => Problem::unavailable(),
            Unanswered::Broken(_) => bad_gateway(),
        };
        if *unanswered != Unanswered::Unsendable {
            let fields = [
                ("service", self.service.name()),
                ("path", self.path),
                ("request_id", &self.envelope.request_id),
                ("trace_id", self.envelope.trace.trace_id()),
                ("error", &unanswered.to_string()),
            ];
            log::line(Level::Warn, "service unanswered", &fields);
        }
        own::problem(problem, self.path, self.envelope)
    }
}

/// 502: the service failed while it worked on the request.
fn bad_gateway() -> Problem {
    let detail = "The service failed while it worked on this request.";
    Problem::new(
        StatusCode::BAD_GATEWAY,
        "component-failed",
        "Service failed",
        detail,
    )
}
