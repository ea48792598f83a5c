//! What auth's routes take and answer. It is compiled for the tests alone, which hold `openapi.json` against it.

use super::shapes::{Credentials, NewUser, SignedInBody, UserBody};
use crate::application::{AccessToken, SignedIn};
use crate::domain::{Email, Role, User};
use description::values::EXAMPLE_ID;
use description::{Access, Description, Taken, expect_file, expect_routes, get, post, problems};
use serde_json::{Value, json};
use service::json::from_slice;
use std::path::Path;

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
            .refuses(&[problems::UNAUTHORIZED]),
    )
    .with(
        get("/auth/me", "me", "Yourself")
            .only_for(Access::SignedIn)
            .answers(200, "The user whose token it is.", &UserBody::from(user())),
    )
    .of_itself(
        ["authHealth", "authDescription"],
        ["/auth/health", "/auth/openapi.json"],
    )
}

fn new_user() -> Value {
    json!({"email": "rose@example.com", "password": "correct horse battery", "full_name": "Rose Gardener"})
}

fn credentials() -> Value {
    json!({"email": "rose@example.com", "password": "correct horse battery"})
}

fn user() -> User {
    User {
        id: EXAMPLE_ID.parse().unwrap(),
        email: Email::try_from("rose@example.com".to_owned()).unwrap(),
        full_name: Some("Rose Gardener".to_owned()),
        role: Role::User,
        is_active: true,
        created_at: "2026-01-31T12:00:00Z".parse().unwrap(),
    }
}

fn signed_in() -> SignedInBody {
    let token = AccessToken {
        text: "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIwMTg5MGE1ZCJ9.c2lnbmF0dXJl".to_owned(),
        ttl_seconds: 1800,
    };
    SignedIn { user: user(), token }.into()
}

#[test]
fn every_route_is_described_and_every_description_is_a_route() {
    expect_routes(super::router().routes(), &describe());
}

#[test]
fn the_file_that_is_served_says_what_the_code_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
    expect_file(&path, &describe().document());
}

#[test]
fn the_examples_of_requests_hold() {
    let new_user: NewUser = from_slice(new_user().to_string().as_bytes()).unwrap();
    assert!(new_user.into_command().is_ok());
    assert!(from_slice::<Credentials>(credentials().to_string().as_bytes()).is_ok());
}
