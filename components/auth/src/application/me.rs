//! Shows users themselves.

use super::ports::Users;
use crate::domain::User;
use contracts::UserId;
use service::StoreError;

/// The user of a token that holds; `None` if they were deactivated or are gone, for a token outlives both.
///
/// # Errors
/// If the store does not answer.
pub async fn me(users: &impl Users, id: UserId) -> Result<Option<User>, StoreError> {
    Ok(users.find(id).await?.filter(|user| user.is_active))
}

#[cfg(test)]
mod tests {
    use super::super::fakes::{FakeStore, account};
    use super::*;
    use futures::executor::block_on;

    #[test]
    fn a_deactivated_or_vanished_user_is_nobody_whatever_their_token_says() {
        let mut gone = account("tulip@example.com", "tulip tulip");
        gone.user.is_active = false;
        let here = account("rose@example.com", "rose rose");
        let users = FakeStore::of([gone.clone(), here.clone()]);

        assert_eq!(block_on(me(&users, here.user.id)), Ok(Some(here.user)));
        assert_eq!(block_on(me(&users, gone.user.id)), Ok(None));
        assert_eq!(block_on(me(&users, UserId::new())), Ok(None));
    }
}
