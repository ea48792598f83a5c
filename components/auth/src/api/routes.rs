//! The routes.

use super::shapes::{Credentials, NewUser, SignedInBody, UserBody};
use crate::Auth;
use crate::application::{self, Fault, LoginError, RegisterError, SignedIn};
use crate::infrastructure::PostgresUsers;
use http::{StatusCode, header};
use service::bearer::{self, CHALLENGE};
use service::health::{self, Health};
use service::log::{self, Level};
use service::router::Answer;
use service::{Fixed, Problem, Request, Response, Router};

/// What all this takes and answers; a test holds it against the code.
static DESCRIPTION: Fixed = Fixed::new("application/json", include_bytes!("../../openapi.json"));

/// Everything that auth answers.
#[must_use]
pub fn router() -> Router<Auth> {
    Router::new()
        .post("/auth/register", register)
        .post("/auth/login", login)
        .get("/auth/me", me)
        .get("/health", healthy)
        .get("/health/live", live)
        .get("/auth/health", healthy)
        .get("/auth/openapi.json", described)
        .get("/internal/auth/health", healthy)
}

async fn register(app: &'static Auth, mut request: Request) -> Answer {
    let body: NewUser = request.json().await?;
    let command = body.into_command()?;
    let users = PostgresUsers::new(&app.database);
    let signed_in = application::register(&users, &app.hasher, &app.tokens, command)
        .await
        .map_err(not_registered)?;
    Ok(with_token(StatusCode::CREATED, signed_in))
}

fn not_registered(error: RegisterError) -> Problem {
    match error {
        RegisterError::Taken => {
            Problem::conflict("email-taken", "This e-mail address belongs to a user already.")
        }
        RegisterError::Store(error) => error.into(),
        RegisterError::Fault(fault) => mistake(&fault),
    }
}

async fn login(app: &'static Auth, mut request: Request) -> Answer {
    let body: Credentials = request.json().await?;
    let (email, password) = body.into_parts();
    let users = PostgresUsers::new(&app.database);
    let signed_in = application::login(&users, &app.hasher, &app.tokens, email.as_ref(), &password)
        .await
        .map_err(not_signed_in)?;
    Ok(with_token(StatusCode::OK, signed_in))
}

fn not_signed_in(error: LoginError) -> Problem {
    match error {
        LoginError::Refused => {
            Problem::unauthorized(CHALLENGE, "The e-mail address or the password is wrong.")
        }
        LoginError::Store(error) => error.into(),
        LoginError::Fault(fault) => mistake(&fault),
    }
}

fn mistake(fault: &Fault) -> Problem {
    log::line(Level::Error, "cryptography failed", &[("error", &fault.0)]);
    Problem::internal()
}

/// A token is for one reader alone: no cache may keep it.
fn with_token(status: StatusCode, signed_in: SignedIn) -> Response {
    Response::json(status, &SignedInBody::from(signed_in)).with_header(header::CACHE_CONTROL, "no-store")
}

async fn me(app: &'static Auth, request: Request) -> Answer {
    let caller = app.bearer.caller(&request)?;
    let user = application::me(&PostgresUsers::new(&app.database), caller.user_id).await?;
    let user = user.ok_or_else(bearer::refused)?;
    Ok(Response::json(StatusCode::OK, &UserBody::from(user)))
}

async fn healthy(app: &'static Auth, _: Request) -> Answer {
    Ok(Health::new("auth", [("postgres", app.database.check().await)]).into_response())
}

async fn live(_: &'static Auth, _: Request) -> Answer {
    Ok(health::live("auth"))
}

async fn described(_: &'static Auth, request: Request) -> Answer {
    DESCRIPTION.answer(&request)
}
