//! What the gateway passes on: a request to its service, and the answer back.

use super::Visit;
use crate::Gateway;
use crate::application::{Pass, conclude};
use crate::domain::{Field, Service};
use crate::infrastructure::{Call, Unanswered, outcome_of};
use http::StatusCode;
use service::Problem;
use service::log::{self, Level};
use spin_sdk::wasip3::http::types::{ErrorCode, Fields, Request, Response};
use spin_sdk::wasip3::wit_future;

/// One request on its way to a service.
pub(super) struct Passage<'a> {
    pub(super) visit: Visit<'a>,
    pub(super) service: Service,
    /// As the service knows it.
    pub(super) path_with_query: &'a str,
}

impl Passage<'_> {
    /// Gives the service's answer, or says why there is none.
    pub(super) async fn through(
        mut self,
        gateway: &Gateway,
        pass: Pass,
        request: Request,
        fields: &[Field],
    ) -> Result<Response, ErrorCode> {
        let call = Call {
            method: &request.get_method(),
            path_with_query: self.path_with_query,
            fields,
            body_of: Some(request),
        };
        let answered = gateway.chain.call(self.service, call).await;
        let outcome = match &answered {
            Ok(answer) => outcome_of(answer),
            Err(unanswered) => unanswered.outcome(),
        };
        conclude(&gateway.shared, &gateway.breakers, pass, outcome).await;
        let news = gateway.breakers.news(self.service);
        self.visit
            .tell_host_of(news.map(|breaker| (self.service, breaker)));
        match answered {
            Ok(answer) => match answer.get_status_code() {
                // No service of ours says so: its host does, of one that trapped.
                502 => self.refuse(&Unanswered::Failed("502".to_owned())),
                _ => self.hand_over(answer),
            },
            Err(unanswered) => self.refuse(&unanswered),
        }
    }

    /// The answer as it is, where nothing has to change: then not even its head is copied again.
    fn hand_over(&self, answer: Response) -> Result<Response, ErrorCode> {
        let mut fields = answer.get_headers().copy_all();
        let is_changed = self.visit.envelope.readdress(&mut fields)
            | self.visit.additions.complete(&mut fields)
            | self.visit.name_route(&mut fields);
        if !is_changed {
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
            Unanswered::Broken(_) | Unanswered::Failed(_) => bad_gateway(),
        };
        if *unanswered != Unanswered::Unsendable {
            let envelope = &self.visit.envelope;
            let fields = [
                ("called", self.service.name()),
                ("path", self.visit.path),
                ("request_id", &envelope.request_id),
                ("error", &unanswered.to_string()),
            ];
            log::line(Level::Warn, "service unanswered", &fields);
        }
        self.visit.refuse(problem)
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
