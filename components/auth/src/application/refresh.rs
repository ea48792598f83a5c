//! What keeps somebody signed in, and what ends it.

use super::ATTEMPTS;
use super::ports::{Fault, FoundSession, Sessions, TokenIssuer};
use super::sign_in::SignedIn;
use crate::domain::{Presented, RefreshToken};
use contracts::{Timestamp, UserId};
use service::StoreError;

/// Why nobody was signed in anew.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefreshError {
    /// There is no such token, its session has ended, or its user was deactivated.
    #[error("the refresh token does not hold")]
    Refused,
    /// It was exchanged before; its session has been revoked.
    #[error("the refresh token was used again")]
    Reused(UserId),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Exchanges a refresh token for the next one and a new access token.
///
/// # Errors
/// If the token does not hold, or was exchanged before, which revokes its session; or if the store does not answer.
pub async fn refresh(
    sessions: &impl Sessions,
    tokens: &impl TokenIssuer,
    token: &RefreshToken,
) -> Result<SignedIn, RefreshError> {
    let hash = token.hash();
    for _ in 0..ATTEMPTS {
        let found = sessions.find_session(&hash).await?;
        let FoundSession {
            session,
            generation,
            user,
            now,
        } = found
            .filter(|found| found.user.is_active)
            .ok_or(RefreshError::Refused)?;
        let after = match session.present(&hash, generation, now) {
            Presented::Exchanged(after) => after,
            Presented::Ended => return Err(RefreshError::Refused),
            Presented::Reused => {
                sessions.revoke(&hash).await?;
                return Err(RefreshError::Reused(user.id));
            }
        };
        let given = tokens.draw_refresh_token()?;
        // Too late: another exchange of the session was quicker, or an admin who changed its user.
        if sessions
            .store_exchange(&user, &after, session.generation, &given.hash())
            .await?
        {
            return Ok(SignedIn {
                token: tokens.issue(&user, Timestamp::now())?,
                refresh_token: given,
                user,
            });
        }
    }
    Err(StoreError::Contention.into())
}

/// Ends the session that gave this token out. A token that nobody knows ends nothing, and says nothing of it.
///
/// # Errors
/// If the store does not answer.
pub async fn log_out(sessions: &impl Sessions, token: &RefreshToken) -> Result<(), StoreError> {
    sessions.revoke(&token.hash()).await
}

#[cfg(test)]
mod tests {
    use super::super::fakes::{FakeHasher, FakeStore, FakeTokens, account};
    use super::super::sign_in::tests::try_login;
    use super::*;
    use crate::domain::{Role, UserPatch};
    use futures::executor::block_on;

    struct Owner {
        store: FakeStore,
        tokens: FakeTokens,
        first: SignedIn,
    }

    fn owner() -> Owner {
        let store = FakeStore::of([account("rose@example.com", "rose rose")]);
        let tokens = FakeTokens::default();
        let first = try_login(
            &store,
            &FakeHasher::default(),
            &tokens,
            "rose@example.com",
            "rose rose",
        );
        Owner {
            first: first.unwrap(),
            store,
            tokens,
        }
    }

    impl Owner {
        fn refresh(&self, token: &RefreshToken) -> Result<RefreshToken, RefreshError> {
            block_on(refresh(&self.store, &self.tokens, token)).map(|signed_in| signed_in.refresh_token)
        }

        fn user_id(&self) -> UserId {
            self.first.user.id
        }
    }

    #[test]
    fn each_refresh_gives_the_next_token() {
        let owner = owner();
        let second = owner.refresh(&owner.first.refresh_token).unwrap();
        let third = owner.refresh(&second).unwrap();
        assert_ne!(second, third);
        assert!(owner.refresh(&third).is_ok());
    }

    #[test]
    fn a_token_that_comes_again_after_its_successor_was_used_revokes_the_session() {
        let owner = owner();
        let first = &owner.first.refresh_token;
        let second = owner.refresh(first).unwrap();
        let third = owner.refresh(&second).unwrap();
        assert_eq!(owner.refresh(first), Err(RefreshError::Reused(owner.user_id())));
        // The thief's and the owner's alike.
        for token in [first, &second, &third] {
            assert_eq!(owner.refresh(token), Err(RefreshError::Refused));
        }
    }

    #[test]
    fn an_answer_that_was_lost_is_given_again() {
        let owner = owner();
        let lost = owner.refresh(&owner.first.refresh_token).unwrap();
        let again = owner.refresh(&owner.first.refresh_token).unwrap();
        assert_ne!(lost, again);
        assert!(owner.refresh(&again).is_ok());
    }

    #[test]
    fn who_was_slower_than_another_exchange_decides_again() {
        let owner = owner();
        owner.store.interfere(1);
        assert!(owner.refresh(&owner.first.refresh_token).is_ok());
        owner.store.interfere(ATTEMPTS);
        assert_eq!(
            owner.refresh(&owner.first.refresh_token),
            Err(StoreError::Contention.into())
        );
    }

    #[test]
    fn after_logging_out_no_token_of_the_session_holds() {
        let owner = owner();
        let second = owner.refresh(&owner.first.refresh_token).unwrap();
        block_on(log_out(&owner.store, &owner.first.refresh_token)).unwrap();
        assert_eq!(owner.refresh(&second), Err(RefreshError::Refused));
        // Nobody's token ends nothing.
        let nobodys = RefreshToken::presented("nobody's".to_owned());
        assert_eq!(block_on(log_out(&owner.store, &nobodys)), Ok(()));
        assert_eq!(owner.refresh(&nobodys), Err(RefreshError::Refused));
    }

    #[test]
    fn who_is_changed_while_they_refresh_has_a_token_that_says_so() {
        let owner = owner();
        let patch = UserPatch {
            role: Some(Role::Courier),
            is_active: None,
        };
        owner.store.change_meanwhile(&owner.first.user, patch);
        let signed_in = block_on(refresh(&owner.store, &owner.tokens, &owner.first.refresh_token)).unwrap();
        assert_eq!(signed_in.user.role, Role::Courier);
        assert_eq!(signed_in.token.text, format!("{} courier", owner.user_id()));

        let patch = UserPatch {
            role: None,
            is_active: Some(false),
        };
        owner.store.change_meanwhile(&signed_in.user, patch);
        assert_eq!(
            owner.refresh(&signed_in.refresh_token),
            Err(RefreshError::Refused)
        );
    }

    #[test]
    fn a_deactivated_user_is_signed_out_for_good() {
        let owner = owner();
        let set_active = |is_active| {
            let patch = UserPatch {
                is_active: Some(is_active),
                ..UserPatch::default()
            };
            let change =
                super::super::change_user(&owner.store, owner.user_id(), &service::IfMatch::Absent, patch);
            block_on(change).unwrap();
        };
        set_active(false);
        assert_eq!(
            owner.refresh(&owner.first.refresh_token),
            Err(RefreshError::Refused)
        );
        set_active(true);
        assert_eq!(
            owner.refresh(&owner.first.refresh_token),
            Err(RefreshError::Refused)
        );
    }
}
