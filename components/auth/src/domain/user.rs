//! A user of the shop.

use super::{Email, FullName};
use contracts::{Timestamp, UserId};
pub use service::Role;
use std::fmt;

/// A user, without what opens their account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub id: UserId,
    pub email: Email,
    pub full_name: Option<String>,
    pub role: Role,
    /// A user who is not cannot sign in, nor use the tokens they have for anything here.
    pub is_active: bool,
    /// Raised by every change.
    pub version: i64,
    pub created_at: Timestamp,
}

/// What an admin changes of a user; `None` is left as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UserPatch {
    pub role: Option<Role>,
    pub is_active: Option<bool>,
}

/// What a change comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserChange {
    /// The user afterwards, at their new version.
    pub user: User,
    /// There has to be another active admin.
    pub removes_admin: bool,
    /// What the user has signed in to ends.
    pub ends_sessions: bool,
}

impl User {
    /// A user who has just registered: nobody makes themselves more than that.
    #[must_use]
    pub fn registered(email: Email, full_name: Option<FullName>, now: Timestamp) -> Self {
        Self {
            id: UserId::new(),
            email,
            full_name: full_name.map(String::from),
            role: Role::User,
            is_active: true,
            version: 1,
            created_at: now,
        }
    }

    /// What the patch comes to; `None` if it changes nothing.
    #[must_use]
    pub fn change(&self, patch: UserPatch) -> Option<UserChange> {
        let role = patch.role.unwrap_or(self.role);
        let is_active = patch.is_active.unwrap_or(self.is_active);
        if (role, is_active) == (self.role, self.is_active) {
            return None;
        }
        let user = Self {
            role,
            is_active,
            version: self.version + 1,
            ..self.clone()
        };
        Some(UserChange {
            removes_admin: self.is_active_admin() && !user.is_active_admin(),
            ends_sessions: self.is_active && !is_active,
            user,
        })
    }

    fn is_active_admin(&self) -> bool {
        self.role == Role::Admin && self.is_active
    }
}

/// A password's hash, as it is kept. It is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

impl From<String> for PasswordHash {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl PasswordHash {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("PasswordHash(…)")
    }
}

/// A user and what their password is checked against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub user: User,
    pub password_hash: PasswordHash,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(role: Role, is_active: bool) -> User {
        let email = "rose@example.com".to_owned().try_into().unwrap();
        User {
            role,
            is_active,
            ..User::registered(email, None, Timestamp::now())
        }
    }

    fn patch(role: Option<Role>, is_active: Option<bool>) -> UserPatch {
        UserPatch { role, is_active }
    }

    #[test]
    fn a_patch_that_says_what_is_already_changes_nothing() {
        let courier = user(Role::Courier, true);
        assert_eq!(courier.change(UserPatch::default()), None);
        assert_eq!(courier.change(patch(Some(Role::Courier), Some(true))), None);
    }

    #[test]
    fn an_active_admin_who_is_demoted_or_deactivated_needs_another() {
        let removes =
            |user: &User, role, is_active| user.change(patch(role, is_active)).unwrap().removes_admin;
        let admin = user(Role::Admin, true);
        assert!(removes(&admin, Some(Role::User), None));
        assert!(removes(&admin, None, Some(false)));
        assert!(!removes(&user(Role::Admin, false), Some(Role::User), None));
        assert!(!removes(&user(Role::User, true), Some(Role::Admin), None));
        assert!(!removes(&user(Role::User, true), None, Some(false)));
    }

    #[test]
    fn only_deactivation_ends_sessions() {
        let ends = |user: &User, role, is_active| user.change(patch(role, is_active)).unwrap().ends_sessions;
        assert!(ends(&user(Role::User, true), None, Some(false)));
        assert!(!ends(&user(Role::User, true), Some(Role::Courier), None));
        assert!(!ends(&user(Role::User, false), None, Some(true)));
        assert!(!ends(&user(Role::User, false), Some(Role::Courier), None));
    }

    #[test]
    fn a_change_raises_the_version_and_leaves_the_rest() {
        let before = user(Role::User, true);
        let after = before.change(patch(Some(Role::Courier), None)).unwrap().user;
        let expected = User {
            role: Role::Courier,
            version: 2,
            ..before
        };
        assert_eq!(after, expected);
    }
}
