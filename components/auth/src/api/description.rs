//! What auth's routes take and answer. It is compiled for the tests alone, which hold `openapi.json` against it.

use super::shapes::{Credentials, NewUser, Refreshing, SignedInBody, UserBody, UserPatchBody};
use crate::application::{AccessToken, SignedIn};
use crate::domain::{Email, RefreshToken, Role, User, UserPatch};
use description::values::EXAMPLE_ID;
use description::{Access, Description, Taken, by_id, expect_described, get, patch, post, problems, query};
use serde_json::{Value, json};
use service::json::from_slice;

const ADMIN: Access = Access::Only(&["admin"]);

fn describe() -> Description {
    Description::new(
        "auth",
        "Auth",
        "Who the shop's users are, and the tokens that say so.",
    )
    .with(
        post("/auth/register", "register", "Become a user")
            .text("Whoever registers is signed in.")
            .takes::<NewUser>(Taken::Always, new_user())
            .answers(201, "The new user, signed in.", &signed_in())
            .refuses(&[problems::EMAIL_TAKEN]),
    )
    .with(
        post("/auth/login", "login", "Sign in")
            .text("An unknown address, a wrong password and a deactivated user are refused alike.")
            .takes::<Credentials>(Taken::Always, credentials())
            .answers(200, "The user, signed in.", &signed_in())
            .refuses(&[
                problems::UNAUTHORIZED,
                problems::TOO_MANY_REQUESTS,
                problems::TOO_MANY_FAILED_LOGINS,
            ]),
    )
    .with(
        post("/auth/refresh", "refresh", "Stay signed in")
            .text(
                "Exchanges the refresh token for new tokens. The one just exchanged may come again within 10 s while \
                 its successor is unused; any other that comes again ends the session.",
            )
            .takes::<Refreshing>(Taken::Always, refreshing())
            .answers(200, "The user, with the next tokens.", &signed_in())
            .refuses(&[problems::UNAUTHORIZED]),
    )
    .with(
        post("/auth/logout", "logout", "Sign out")
            .text("Ends the session that gave the token out; of a token that nobody knows nothing is said.")
            .takes::<Refreshing>(Taken::Always, refreshing())
            .answers_nothing(204, "The session is over."),
    )
    .with(
        get("/auth/me", "me", "Yourself")
            .only_for(Access::SignedIn)
            .answers(200, "The user whose token it is.", &UserBody::from(user())),
    )
    .with(
        get("/auth/users", "listUsers", "Users")
            .text("Newest first.")
            .only_for(ADMIN)
            .paged()
            .with(query("email", "The one of this address, without case.", named("Email")))
            .with(query("role", "Those of this role.", named("Role")))
            .with(query("is_active", "Those who may sign in, or may not.", named("IsActive")))
            .answers_page("Users, in pages.", &UserBody::from(user())),
    )
    .with(
        get("/auth/users/{id}", "showUser", "A user")
            .only_for(ADMIN)
            .with(by_id("id", "The user."))
            .answers(200, "The user.", &UserBody::from(user()))
            .tagged(200),
    )
    .with(
        patch("/auth/users/{id}", "changeUser", "Change a user's role, or whether they may sign in")
            .text(
                "A merge patch: what is left out stays. Whoever is deactivated is signed out everywhere; the last \
                 active admin cannot be removed.",
            )
            .only_for(ADMIN)
            .with(by_id("id", "The user."))
            .guarded()
            .takes::<UserPatchBody>(Taken::Always, user_patch())
            .answers(200, "The user as they are then.", &UserBody::from(user()))
            .tagged(200)
            .refuses(&[problems::LAST_ADMIN]),
    )
    .of_itself(
        ["authHealth", "authDescription"],
        ["/auth/health", "/auth/openapi.json"],
    )
}

fn named(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}

fn new_user() -> Value {
    json!({"email": "rose@example.com", "password": "correct horse battery", "full_name": "Rose Gardener"})
}

fn credentials() -> Value {
    json!({"email": "rose@example.com", "password": "correct horse battery"})
}

fn refreshing() -> Value {
    json!({"refresh_token": "flowershop_refresh_c2VjcmV0IG9mIHRoZSBvd25lcidzLCBhbmQgbm9ib2R5IGVsc2Un"})
}

fn user_patch() -> Value {
    json!({"role": "courier"})
}

fn user() -> User {
    User {
        id: EXAMPLE_ID.parse().unwrap(),
        email: Email::try_from("rose@example.com".to_owned()).unwrap(),
        full_name: Some("Rose Gardener".to_owned()),
        role: Role::User,
        is_active: true,
        version: 1,
        created_at: "2026-01-31T12:00:00Z".parse().unwrap(),
    }
}

fn signed_in() -> SignedInBody {
    let token = AccessToken {
        text: "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIwMTg5MGE1ZCJ9.c2lnbmF0dXJl".to_owned(),
        ttl_seconds: 1800,
    };
    SignedIn {
        user: user(),
        token,
        refresh_token: RefreshToken::of_random("c2VjcmV0IG9mIHRoZSBvd25lcidzLCBhbmQgbm9ib2R5IGVsc2Un"),
    }
    .into()
}

#[test]
fn the_file_that_is_served_describes_every_route_as_the_code_has_it() {
    expect_described(super::router().routes(), &describe(), env!("CARGO_MANIFEST_DIR"));
}

#[test]
fn the_examples_of_requests_hold() {
    let new_user: NewUser = from_slice(new_user().to_string().as_bytes()).unwrap();
    assert!(new_user.into_command().is_ok());
    assert!(from_slice::<Credentials>(credentials().to_string().as_bytes()).is_ok());
    assert!(from_slice::<Refreshing>(refreshing().to_string().as_bytes()).is_ok());
    let patch: UserPatchBody = from_slice(user_patch().to_string().as_bytes()).unwrap();
    assert!(UserPatch::try_from(patch).is_ok());
}
