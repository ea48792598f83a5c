//! The two ways to a token: becoming a user, and being one.

use super::ports::{AccessToken, Fault, PasswordHasher, TokenIssuer, Users};
use crate::domain::{Account, Email, FullName, Password, User};
use contracts::Timestamp;
use service::StoreError;

/// What a new user tells of themselves.
#[derive(Debug)]
pub struct Register {
    pub email: Email,
    pub password: Password,
    pub full_name: Option<FullName>,
}

/// A user with a token of theirs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedIn {
    pub user: User,
    pub token: AccessToken,
}

/// Why nobody was registered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    #[error("the address belongs to somebody")]
    Taken,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Why nobody was signed in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    /// Which of address, password and account it was, nobody is told.
    #[error("the address or the password is wrong")]
    Refused,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Stores a new user and signs them in.
///
/// # Errors
/// If the address is taken, or the store does not answer.
pub async fn register(
    users: &impl Users,
    hasher: &impl PasswordHasher,
    tokens: &impl TokenIssuer,
    command: Register,
) -> Result<SignedIn, RegisterError> {
    let now = Timestamp::now();
    let account = Account {
        password_hash: hasher.hash(&command.password)?,
        user: User::registered(command.email, command.full_name, now),
    };
    if !users.insert(&account).await? {
        return Err(RegisterError::Taken);
    }
    let token = tokens.issue(&account.user, now)?;
    Ok(SignedIn {
        user: account.user,
        token,
    })
}

/// Signs a user in. An `email` of `None` is one that nobody can have.
///
/// # Errors
/// If there is no such user, they were deactivated or the password is another's, which takes the same time; or if
/// the store does not answer.
pub async fn login(
    users: &impl Users,
    hasher: &impl PasswordHasher,
    tokens: &impl TokenIssuer,
    email: Option<&Email>,
    password: &Password,
) -> Result<SignedIn, LoginError> {
    let account = match email {
        Some(email) => users.find_account(email).await?,
        None => None,
    };
    // Before anything is decided: the time that a refusal takes must not tell what it was for.
    let matches = hasher.verify(password, account.as_ref().map(|account| &account.password_hash));
    let user = account
        .map(|account| account.user)
        .filter(|user| matches && user.is_active)
        .ok_or(LoginError::Refused)?;
    let token = tokens.issue(&user, Timestamp::now())?;
    Ok(SignedIn { user, token })
}

#[cfg(test)]
mod tests {
    use super::super::fakes::{FakeHasher, FakeTokens, FakeUsers, account};
    use super::*;
    use crate::domain::Role;
    use futures::executor::block_on;

    fn email(text: &str) -> Email {
        text.to_owned().try_into().unwrap()
    }

    fn password(text: &str) -> Password {
        Password::claimed(text.to_owned())
    }

    fn try_login(
        users: &FakeUsers,
        hasher: &FakeHasher,
        address: &str,
        word: &str,
    ) -> Result<SignedIn, LoginError> {
        block_on(login(
            users,
            hasher,
            &FakeTokens,
            Some(&email(address)),
            &password(word),
        ))
    }

    #[test]
    fn whoever_registers_is_a_user_and_signed_in() {
        let users = FakeUsers::default();
        let command = Register {
            email: email("Rose@example.com"),
            password: password("rose rose"),
            full_name: Some("Rose".to_owned().try_into().unwrap()),
        };
        let signed_in = block_on(register(&users, &FakeHasher::default(), &FakeTokens, command)).unwrap();
        assert_eq!(signed_in.user.role, Role::User);
        assert_eq!(signed_in.user.full_name.as_deref(), Some("Rose"));
        assert_eq!(signed_in.token.text, signed_in.user.id.to_string());

        let again = try_login(&users, &FakeHasher::default(), "rose@EXAMPLE.com", "rose rose").unwrap();
        assert_eq!(again.user, signed_in.user);
    }

    #[test]
    fn an_address_is_registered_once_however_it_is_spelled() {
        let users = FakeUsers::of([account("rose@example.com", "rose rose")]);
        let command = Register {
            email: email("ROSE@example.com"),
            password: password("another rose"),
            full_name: None,
        };
        let refused = block_on(register(&users, &FakeHasher::default(), &FakeTokens, command));
        assert_eq!(refused, Err(RegisterError::Taken));
    }

    #[test]
    fn unknown_address_wrong_password_and_deactivated_user_are_refused_alike_after_one_verification_each() {
        let mut gone = account("tulip@example.com", "tulip tulip");
        gone.user.is_active = false;
        let users = FakeUsers::of([gone, account("rose@example.com", "rose rose")]);
        for (address, word) in [
            ("nobody@example.com", "rose rose"),
            ("rose@example.com", "wrong"),
            ("tulip@example.com", "tulip tulip"),
            ("tulip@example.com", "wrong"),
        ] {
            let hasher = FakeHasher::default();
            assert_eq!(
                try_login(&users, &hasher, address, word),
                Err(LoginError::Refused)
            );
            assert_eq!(hasher.verifications.get(), 1, "{address} {word}");
        }

        let hasher = FakeHasher::default();
        let refused = block_on(login(&users, &hasher, &FakeTokens, None, &password("rose rose")));
        assert_eq!(refused, Err(LoginError::Refused));
        assert_eq!(hasher.verifications.get(), 1);
    }
}
