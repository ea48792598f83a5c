//! What an admin changes of users.

use super::ATTEMPTS;
use super::ports::{Stored, Users};
use crate::domain::{User, UserPatch};
use contracts::UserId;
use service::{IfMatch, StoreError};

/// Why a user was not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeUserError {
    #[error("there is no such user")]
    NotFound,
    /// They are not at the version that the client has seen.
    #[error("the user has changed")]
    Stale,
    #[error("there is no other active admin")]
    LastAdmin,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Changes a user and gives them back as they are then, and whether that is new. The tokens that they have say so when they
/// are refreshed: within the life of an access token.
///
/// # Errors
/// If there is none, they are not as the client saw them, they are the last active admin, or the store does not answer.
pub async fn change_user(
    users: &impl Users,
    id: UserId,
    expected: &IfMatch,
    patch: UserPatch,
) -> Result<(User, bool), ChangeUserError> {
    for _ in 0..ATTEMPTS {
        let user = users.find(id).await?.ok_or(ChangeUserError::NotFound)?;
        if !expected.admits(user.version) {
            return Err(ChangeUserError::Stale);
        }
        let Some(change) = user.change(patch) else {
            return Ok((user, false));
        };
        match users.store(&change).await {
            Ok(Stored::Done) => return Ok((change.user, true)),
            Ok(Stored::LastAdmin) => return Err(ChangeUserError::LastAdmin),
            // Two admins who remove each other may lock each other out for a moment.
            Ok(Stored::Late) | Err(StoreError::Contention) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(StoreError::Contention.into())
}

#[cfg(test)]
mod tests {
    use super::super::fakes::{FakeStore, account};
    use super::*;
    use crate::domain::Role;
    use futures::executor::block_on;

    const DEMOTE: UserPatch = UserPatch {
        role: Some(Role::User),
        is_active: None,
    };

    fn admin(email: &str) -> crate::domain::Account {
        let mut account = account(email, "rose rose");
        account.user.role = Role::Admin;
        account
    }

    #[test]
    fn the_last_active_admin_stays_one() {
        let (one, other) = (admin("rose@x"), admin("tulip@x"));
        let store = FakeStore::of([one.clone(), other.clone()]);
        let change = |id| block_on(change_user(&store, id, &IfMatch::Absent, DEMOTE));
        assert_eq!(change(one.user.id).unwrap().0.role, Role::User);
        assert_eq!(change(other.user.id), Err(ChangeUserError::LastAdmin));
    }

    #[test]
    fn a_change_is_made_of_the_version_that_the_client_has_seen() {
        let user = account("rose@x", "rose rose").user;
        let store = FakeStore::of([account("rose@x", "rose rose")]);
        assert_eq!(
            block_on(change_user(&store, user.id, &IfMatch::Absent, DEMOTE)),
            Err(ChangeUserError::NotFound)
        );
        let known = admin("tulip@x").user.id;
        assert_ne!(known, user.id);
        let (one, other) = (admin("lily@x"), admin("iris@x"));
        let store = FakeStore::of([one.clone(), other]);
        let change = |expected| block_on(change_user(&store, one.user.id, &expected, DEMOTE));
        assert_eq!(change(IfMatch::Versions(vec![7])), Err(ChangeUserError::Stale));
        let (user, is_new) = change(IfMatch::Versions(vec![1])).unwrap();
        assert_eq!((user.version, is_new), (2, true));
        // It is so already: nothing changes.
        let (user, is_new) = change(IfMatch::Any).unwrap();
        assert_eq!((user.version, is_new), (2, false));
    }
}
