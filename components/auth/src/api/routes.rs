//! The routes.

use super::shapes::{Credentials, NewUser, Refreshing, SignedInBody, UserBody, UserPatchBody};
use crate::Auth;
use crate::application::{
    self, ChangeUserError, Fault, LoginError, RefreshError, RegisterError, SignedIn, UserFilter, Users as _,
};
use crate::domain::{Email, User, UserPatch};
use crate::infrastructure::PostgresAccounts;
use contracts::UserId;
use http::{HeaderValue, Method, StatusCode, header};
use service::bearer::{self, CHALLENGE};
use service::conditional::etag;
use service::health::{self, Health};
use service::log::{self, Level};
use service::router::Answer;
use service::{FieldErrors, Fixed, IfMatch, PageQuery, Problem, Request, Response, Role, Router};

const USER: &str = "user";

/// What all this takes and answers; a test holds it against the code.
static DESCRIPTION: Fixed = Fixed::new("application/json", include_bytes!("../../openapi.json"));

/// Everything that auth answers.
#[must_use]
pub fn router() -> Router<Auth> {
    Router::new()
        .post("/auth/register", register)
        .post("/auth/login", login)
        .post("/auth/refresh", refresh)
        .post("/auth/logout", log_out)
        .get("/auth/me", me)
        .get("/auth/users", list_users)
        .get("/auth/users/{id}", show_user)
        .on(Method::PATCH, "/auth/users/{id}", change_user)
        .get("/health", healthy)
        .get("/health/live", live)
        .get("/auth/health", healthy)
        .get("/auth/openapi.json", described)
        .get("/internal/auth/health", healthy)
}

async fn register(app: &'static Auth, mut request: Request) -> Answer {
    let body: NewUser = request.json().await?;
    let command = body.into_command()?;
    let accounts = PostgresAccounts::new(&app.database);
    let client = request.client(app.gateway_only);
    let signed_in = application::register(&accounts, &app.hasher, &app.tokens, command, client)
        .await
        .map_err(not_registered)?;
    Ok(with_tokens(StatusCode::CREATED, signed_in))
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
    let command = body.into_command(request.client(app.gateway_only));
    let accounts = PostgresAccounts::new(&app.database);
    let signed_in = application::login(&accounts, &app.hasher, &app.tokens, command)
        .await
        .map_err(not_signed_in)?;
    Ok(with_tokens(StatusCode::OK, signed_in))
}

fn not_signed_in(error: LoginError) -> Problem {
    match error {
        LoginError::Refused => {
            Problem::unauthorized(CHALLENGE, "The e-mail address or the password is wrong.")
        }
        LoginError::Held { retry_after_seconds } => {
            let fields = [("retry_after_seconds", &*retry_after_seconds.to_string())];
            log::line(Level::Warn, "login held back", &fields);
            Problem::new(
                StatusCode::TOO_MANY_REQUESTS,
                "too-many-failed-logins",
                "Too many failed logins",
                "Too many logins failed. Who is signed in already stays so.",
            )
            .with_header(header::RETRY_AFTER, HeaderValue::from(retry_after_seconds))
        }
        LoginError::Store(error) => error.into(),
        LoginError::Fault(fault) => mistake(&fault),
    }
}

fn mistake(fault: &Fault) -> Problem {
    log::line(Level::Error, "cryptography failed", &[("error", &fault.0)]);
    Problem::internal()
}

async fn refresh(app: &'static Auth, mut request: Request) -> Answer {
    let body: Refreshing = request.json().await?;
    let accounts = PostgresAccounts::new(&app.database);
    let signed_in = application::refresh(&accounts, &app.tokens, &body.into_token())
        .await
        .map_err(not_refreshed)?;
    Ok(with_tokens(StatusCode::OK, signed_in))
}

fn not_refreshed(error: RefreshError) -> Problem {
    let refused = || Problem::unauthorized(CHALLENGE, "The refresh token does not hold, or no longer.");
    match error {
        RefreshError::Refused => refused(),
        RefreshError::Reused(user_id) => {
            let fields = [("user_id", &*user_id.to_string())];
            log::line(Level::Warn, "refresh token reused, session revoked", &fields);
            refused()
        }
        RefreshError::Store(error) => error.into(),
        RefreshError::Fault(fault) => mistake(&fault),
    }
}

async fn log_out(app: &'static Auth, mut request: Request) -> Answer {
    let body: Refreshing = request.json().await?;
    application::log_out(&PostgresAccounts::new(&app.database), &body.into_token()).await?;
    Ok(Response::empty(StatusCode::NO_CONTENT))
}

/// Tokens are for one reader alone: no cache may keep them.
fn with_tokens(status: StatusCode, signed_in: SignedIn) -> Response {
    Response::json(status, &SignedInBody::from(signed_in)).with_header(header::CACHE_CONTROL, "no-store")
}

async fn me(app: &'static Auth, request: Request) -> Answer {
    let caller = app.bearer.caller(&request)?;
    let user = application::me(&PostgresAccounts::new(&app.database), caller.user_id).await?;
    let user = user.ok_or_else(bearer::refused)?;
    Ok(Response::json(StatusCode::OK, &UserBody::from(user)))
}

async fn list_users(app: &'static Auth, request: Request) -> Answer {
    let accounts = PostgresAccounts::new(&app.database);
    require_admin(app, &accounts, &request).await?;
    let query = request.query()?;
    let mut errors = FieldErrors::new();
    let page = PageQuery::read(&query, &mut errors);
    let email = query.text("email", &mut errors).map(str::to_owned);
    let filter = UserFilter {
        email: email.and_then(|text| errors.check("email", Email::try_from(text))),
        role: query.parse_as("role", &mut errors),
        is_active: query.parse_as("is_active", &mut errors),
    };
    errors.finish(Some(()))?;
    let users = accounts.list(&filter, page).await?;
    Ok(Response::json(StatusCode::OK, &users.map(UserBody::from)))
}

async fn show_user(app: &'static Auth, request: Request) -> Answer {
    let accounts = PostgresAccounts::new(&app.database);
    require_admin(app, &accounts, &request).await?;
    let id: UserId = request.id("id", USER)?;
    let user = accounts.find(id).await?;
    Ok(shown(user.ok_or_else(|| Problem::not_found(USER))?))
}

async fn change_user(app: &'static Auth, mut request: Request) -> Answer {
    let accounts = PostgresAccounts::new(&app.database);
    let admin = require_admin(app, &accounts, &request).await?;
    let body: UserPatchBody = request.json().await?;
    let patch = UserPatch::try_from(body)?;
    let id: UserId = request.id("id", USER)?;
    let (user, is_new) = application::change_user(&accounts, id, &IfMatch::read(&request), patch)
        .await
        .map_err(not_changed)?;
    if is_new {
        log_change(&user, admin);
    }
    Ok(shown(user))
}

fn log_change(user: &User, admin: UserId) {
    let fields = [
        ("user_id", &*user.id.to_string()),
        ("admin_id", &admin.to_string()),
        ("role", user.role.as_str()),
        ("is_active", &user.is_active.to_string()),
    ];
    log::line(Level::Info, "user changed", &fields);
}

fn not_changed(error: ChangeUserError) -> Problem {
    match error {
        ChangeUserError::NotFound => Problem::not_found(USER),
        ChangeUserError::Stale => Problem::stale(),
        ChangeUserError::LastAdmin => Problem::conflict(
            "last-admin",
            "There is no other active admin, and there has to be one.",
        ),
        ChangeUserError::Store(error) => error.into(),
    }
}

fn shown(user: User) -> Response {
    let version = user.version;
    Response::json(StatusCode::OK, &UserBody::from(user)).with_header(header::ETAG, &etag(version))
}

/// Only an admin sees and changes others, and not by the word of a token alone: an admin who was demoted a moment ago has
/// one that still says so, and would make themselves an admin again. Gives who it is.
async fn require_admin(
    app: &Auth,
    accounts: &PostgresAccounts<'_>,
    request: &Request,
) -> Result<UserId, Problem> {
    let caller = app.bearer.caller(request)?.require(&[Role::Admin])?;
    let user = application::me(accounts, caller.user_id).await?;
    match user.ok_or_else(bearer::refused)?.role {
        Role::Admin => Ok(caller.user_id),
        _ => Err(Problem::forbidden()),
    }
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
