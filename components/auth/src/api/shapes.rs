//! What goes over the wire, and the one fallible step from there into the domain. What holds a password or a token
//! is not `Debug`.

use crate::application::{Login, Register, SignedIn};
use crate::domain::{Claim, Email, FullName, Password, RefreshToken, User, UserPatch};
use contracts::{Timestamp, UserId};
#[cfg(test)]
use description::values;
use serde::{Deserialize, Serialize};
use service::json::Patch;
use service::{FieldErrors, Problem};
use std::net::IpAddr;

/// The body of `POST /auth/register`.
#[derive(Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = NewUser))]
#[serde(deny_unknown_fields)]
pub(super) struct NewUser {
    #[cfg_attr(test, schema(schema_with = values::email))]
    email: String,
    #[cfg_attr(test, schema(schema_with = values::new_password))]
    password: String,
    #[cfg_attr(test, schema(schema_with = values::nullable::full_name))]
    full_name: Option<String>,
}

impl NewUser {
    pub(super) fn into_command(self) -> Result<Register, Problem> {
        let mut errors = FieldErrors::new();
        let email = errors.check("email", Email::try_from(self.email));
        let password = errors.check("password", Password::chosen(self.password, email.as_ref()));
        let full_name = self
            .full_name
            .and_then(|name| errors.check("full_name", FullName::try_from(name)));
        let (email, password) = errors.finish(email.zip(password))?;
        Ok(Register {
            email,
            password,
            full_name,
        })
    }
}

/// The body of `POST /auth/login`.
#[derive(Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = Credentials))]
#[serde(deny_unknown_fields)]
pub(super) struct Credentials {
    email: String,
    password: String,
}

impl Credentials {
    /// Whatever somebody claims can be read: a text that is no address is one that nobody has.
    pub(super) fn into_command(self, client: Option<IpAddr>) -> Login {
        let email = Email::try_from(self.email.clone()).ok();
        let account = email.as_ref().map_or(self.email, Email::key);
        Login {
            email,
            password: Password::claimed(self.password),
            claim: Claim::new(account, client),
        }
    }
}

/// The body of `POST /auth/refresh` and `POST /auth/logout`.
#[derive(Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = Refreshing))]
#[serde(deny_unknown_fields)]
pub(super) struct Refreshing {
    #[cfg_attr(test, schema(schema_with = values::refresh_token))]
    refresh_token: String,
}

impl Refreshing {
    pub(super) fn into_token(self) -> RefreshToken {
        RefreshToken::presented(self.refresh_token)
    }
}

/// The body of `PATCH /auth/users/{id}`.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = UserPatch))]
#[serde(deny_unknown_fields, default)]
pub(super) struct UserPatchBody {
    #[cfg_attr(test, schema(schema_with = values::role))]
    role: Patch<String>,
    #[cfg_attr(test, schema(schema_with = values::is_active))]
    is_active: Patch<bool>,
}

impl TryFrom<UserPatchBody> for UserPatch {
    type Error = Problem;

    fn try_from(body: UserPatchBody) -> Result<Self, Problem> {
        let mut errors = FieldErrors::new();
        let role = set(&mut errors, "role", body.role);
        let patch = Self {
            role: role.and_then(|word| errors.check("role", word.parse())),
            is_active: set(&mut errors, "is_active", body.is_active),
        };
        errors.finish(Some(patch))
    }
}

/// What a field that cannot be cleared is set to, if it is.
fn set<T>(errors: &mut FieldErrors, field: &str, patch: Patch<T>) -> Option<T> {
    match patch {
        Patch::Absent => None,
        Patch::Null => {
            errors.add(field, "must not be null");
            None
        }
        Patch::Value(value) => Some(value),
    }
}

/// The answer to whoever has signed in.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = SignedIn))]
pub(super) struct SignedInBody {
    access_token: String,
    token_type: &'static str,
    /// In seconds.
    expires_in: u32,
    #[cfg_attr(test, schema(schema_with = values::refresh_token))]
    refresh_token: String,
    user: UserBody,
}

impl From<SignedIn> for SignedInBody {
    fn from(signed_in: SignedIn) -> Self {
        let SignedIn {
            user,
            token,
            refresh_token,
        } = signed_in;
        Self {
            access_token: token.text,
            token_type: "bearer",
            expires_in: token.ttl_seconds,
            refresh_token: refresh_token.expose().to_owned(),
            user: user.into(),
        }
    }
}

/// A user as they see themselves, and an admin sees them.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = User))]
pub(super) struct UserBody {
    id: UserId,
    email: String,
    full_name: Option<String>,
    #[cfg_attr(test, schema(schema_with = values::role))]
    role: &'static str,
    is_active: bool,
    created_at: Timestamp,
}

impl From<User> for UserBody {
    fn from(user: User) -> Self {
        Self {
            id: user.id,
            email: user.email.as_str().to_owned(),
            full_name: user.full_name,
            role: user.role.as_str(),
            is_active: user.is_active,
            created_at: user.created_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::StatusCode;
    use service::json;

    fn register(body: &str) -> Result<Register, Problem> {
        json::from_slice::<NewUser>(body.as_bytes())?.into_command()
    }

    #[test]
    fn a_full_name_may_be_left_out_or_null() {
        for body in [
            r#"{"email": "rose@example.com", "password": "rose rose"}"#,
            r#"{"email": "rose@example.com", "password": "rose rose", "full_name": null}"#,
        ] {
            assert!(register(body).unwrap().full_name.is_none());
        }
    }

    #[test]
    fn nobody_registers_with_fields_that_are_not_theirs_to_set() {
        for field in ["role", "is_active", "id", "created_at"] {
            let body =
                format!(r#"{{"email": "rose@example.com", "password": "rose rose", "{field}": "admin"}}"#);
            assert_eq!(
                register(&body).unwrap_err().status,
                StatusCode::UNPROCESSABLE_ENTITY
            );
        }
    }

    #[test]
    fn everything_that_does_not_hold_is_named_at_once_and_no_password_is_repeated() {
        let body = r#"{"email": "rose", "password": "hunt22", "full_name": ""}"#;
        let response = register(body).unwrap_err();
        let shown = format!("{response:?}");
        for field in ["\"email\"", "\"password\"", "\"full_name\""] {
            assert!(shown.contains(field), "{shown}");
        }
        assert!(!shown.contains("hunt22"));
    }

    #[test]
    fn a_login_with_an_address_that_is_none_is_a_login_of_nobody() {
        let body = br#"{"email": "rose\u0000", "password": "x"}"#;
        let credentials: Credentials = json::from_slice(body).unwrap();
        assert!(credentials.into_command(None).email.is_none());
    }

    fn user_patch(body: &str) -> Result<UserPatch, Problem> {
        json::from_slice::<UserPatchBody>(body.as_bytes())?.try_into()
    }

    #[test]
    fn a_patch_of_a_user_sets_what_it_names() {
        assert_eq!(user_patch("{}").unwrap(), UserPatch::default());
        let patch = user_patch(r#"{"role": "courier", "is_active": false}"#).unwrap();
        assert_eq!(
            (patch.role, patch.is_active),
            (Some(service::Role::Courier), Some(false))
        );
        for body in [
            r#"{"role": null}"#,
            r#"{"role": "root"}"#,
            r#"{"is_active": null}"#,
            r#"{"is_active": "no"}"#,
            r#"{"email": "rose@example.com"}"#,
        ] {
            let refused = user_patch(body).unwrap_err();
            assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
        }
    }
}
