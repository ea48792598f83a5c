//! The two ways to a session: becoming a user, and being one.

use super::ports::{
    AccessToken, Admission, Fault, Guesses, NewSession, Outcome, PasswordHasher, Sessions, TokenIssuer, Users,
};
use crate::domain::{Account, Claim, Email, FullName, Password, RefreshToken, Session, User};
use contracts::{Timestamp, UserId};
use service::StoreError;
use service::log::{self, Level};
use std::net::IpAddr;

/// What a new user tells of themselves.
#[derive(Debug)]
pub struct Register {
    pub email: Email,
    pub password: Password,
    pub full_name: Option<FullName>,
}

/// What somebody claims who signs in.
#[derive(Debug)]
pub struct Login {
    /// `None` is an address that nobody can have.
    pub email: Option<Email>,
    pub password: Password,
    pub claim: Claim,
}

/// A user with tokens of theirs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedIn {
    pub user: User,
    pub token: AccessToken,
    pub refresh_token: RefreshToken,
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
    /// Too many attempts failed.
    #[error("too many attempts failed")]
    Held { retry_after_seconds: u32 },
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
    client: Option<IpAddr>,
) -> Result<SignedIn, RegisterError> {
    let now = Timestamp::now();
    let claim = Claim::new(command.email.key(), client);
    let account = Account {
        password_hash: hasher.hash(&command.password)?,
        user: User::registered(command.email, command.full_name, now),
    };
    let (session, refresh_token) = new_session(tokens, account.user.id, &claim, now)?;
    if !users.insert(&account, &session).await? {
        return Err(RegisterError::Taken);
    }
    let token = tokens.issue(&account.user, now)?;
    Ok(SignedIn {
        user: account.user,
        token,
        refresh_token,
    })
}

/// Signs a user in.
///
/// # Errors
/// If there is no such user, they were deactivated or the password is another's, which takes the same time; if too much
/// was guessed; or if the store does not answer.
pub async fn login(
    store: &(impl Users + Sessions + Guesses),
    hasher: &impl PasswordHasher,
    tokens: &impl TokenIssuer,
    command: Login,
) -> Result<SignedIn, LoginError> {
    let Login {
        email,
        password,
        claim,
    } = command;
    let found = match &email {
        Some(email) => store.find_account(email, &claim).await?,
        None => None,
    };
    let (account, is_familiar) = found.map_or((None, false), |(account, familiar)| (Some(account), familiar));
    let attempt = match store.admit(&claim.lanes(is_familiar)).await? {
        Admission::Admitted(attempt) => attempt,
        Admission::Held { retry_after_seconds } => return Err(LoginError::Held { retry_after_seconds }),
    };
    // Before anything is decided: the time that a refusal takes must not tell what it was for.
    let matches = hasher.verify(&password, account.as_ref().map(|account| &account.password_hash));
    let Some(account) = account.filter(|account| matches && account.user.is_active) else {
        store.settle(&attempt, Outcome::Failed).await?;
        return Err(LoginError::Refused);
    };
    store.settle(&attempt, Outcome::Succeeded).await?;
    upgrade_hash(store, hasher, &account, &password).await;
    let now = Timestamp::now();
    let (session, refresh_token) = new_session(tokens, account.user.id, &claim, now)?;
    // As they are now: the hash took its time, and an admin may have been at them.
    let user = store.begin(&session).await?.ok_or(LoginError::Refused)?;
    let token = tokens.issue(&user, now)?;
    Ok(SignedIn {
        user,
        token,
        refresh_token,
    })
}

/// Hashes a password anew whose hash is of a lower cost. If that fails its owner is let in all the same: the next sign-in
/// does it as well.
async fn upgrade_hash(
    users: &impl Users,
    hasher: &impl PasswordHasher,
    account: &Account,
    password: &Password,
) {
    let (id, verified) = (account.user.id, &account.password_hash);
    if !hasher.is_outdated(verified) {
        return;
    }
    let upgraded = match hasher.hash(password) {
        Ok(new) => users
            .upgrade_hash(id, verified, &new)
            .await
            .map_err(|error| error.to_string()),
        Err(fault) => Err(fault.to_string()),
    };
    if let Err(error) = upgraded {
        let fields = [("user_id", &*id.to_string()), ("error", &error)];
        log::line(Level::Warn, "password hash not upgraded", &fields);
    }
}

fn new_session(
    tokens: &impl TokenIssuer,
    user_id: UserId,
    claim: &Claim,
    now: Timestamp,
) -> Result<(NewSession, RefreshToken), Fault> {
    let refresh_token = tokens.draw_refresh_token()?;
    let session = NewSession {
        session: Session::begin(user_id, now, tokens.session_ttl()),
        token: refresh_token.hash(),
        client_hash: claim.client_hash(),
    };
    Ok((session, refresh_token))
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::fakes::{FakeHasher, FakeStore, FakeTokens, account};
    use super::*;
    use crate::domain::{OF_ACCOUNT, PasswordHash, Role, UserPatch};
    use futures::executor::block_on;

    fn email(text: &str) -> Email {
        text.to_owned().try_into().unwrap()
    }

    fn password(text: &str) -> Password {
        Password::claimed(text.to_owned())
    }

    pub(crate) fn try_login(
        store: &FakeStore,
        hasher: &FakeHasher,
        tokens: &FakeTokens,
        address: &str,
        word: &str,
    ) -> Result<SignedIn, LoginError> {
        let email = Email::try_from(address.to_owned()).ok();
        let account = email.as_ref().map_or_else(|| address.to_owned(), Email::key);
        let command = Login {
            email,
            password: password(word),
            claim: Claim::new(account, "10.0.0.1".parse().ok()),
        };
        block_on(login(store, hasher, tokens, command))
    }

    fn try_register(store: &FakeStore, command: Register) -> Result<SignedIn, RegisterError> {
        let (hasher, tokens) = (FakeHasher::default(), FakeTokens::default());
        block_on(register(store, &hasher, &tokens, command, None))
    }

    #[test]
    fn whoever_registers_is_a_user_and_signed_in() {
        let store = FakeStore::default();
        let command = Register {
            email: email("Rose@example.com"),
            password: password("rose rose"),
            full_name: Some("Rose".to_owned().try_into().unwrap()),
        };
        let signed_in = try_register(&store, command).unwrap();
        assert_eq!(signed_in.user.role, Role::User);
        assert_eq!(signed_in.user.full_name.as_deref(), Some("Rose"));
        assert_eq!(signed_in.token.text, format!("{} user", signed_in.user.id));

        let (hasher, tokens) = (FakeHasher::default(), FakeTokens::default());
        let again = try_login(&store, &hasher, &tokens, "rose@EXAMPLE.com", "rose rose").unwrap();
        assert_eq!(again.user, signed_in.user);
    }

    #[test]
    fn an_address_is_registered_once_however_it_is_spelled() {
        let store = FakeStore::of([account("rose@example.com", "rose rose")]);
        let command = Register {
            email: email("ROSE@example.com"),
            password: password("another rose"),
            full_name: None,
        };
        assert_eq!(try_register(&store, command), Err(RegisterError::Taken));
    }

    #[test]
    fn unknown_address_wrong_password_and_deactivated_user_are_refused_alike_after_the_same_work() {
        let mut gone = account("tulip@example.com", "tulip tulip");
        gone.user.is_active = false;
        for (address, word) in [
            ("nobody@example.com", "rose rose"),
            ("rose@example.com", "wrong"),
            ("tulip@example.com", "tulip tulip"),
            ("tulip@example.com", "wrong"),
        ] {
            let store = FakeStore::of([gone.clone(), account("rose@example.com", "rose rose")]);
            let hasher = FakeHasher::default();
            assert_eq!(
                try_login(&store, &hasher, &FakeTokens::default(), address, word),
                Err(LoginError::Refused)
            );
            assert_eq!(hasher.verifications.get(), 1, "{address} {word}");
            assert_eq!(
                store.asked(),
                ["find_account", "admit", "settle"],
                "{address} {word}"
            );
        }

        let store = FakeStore::default();
        let hasher = FakeHasher::default();
        let refused = try_login(&store, &hasher, &FakeTokens::default(), "no address", "rose rose");
        assert_eq!(refused, Err(LoginError::Refused));
        assert_eq!(hasher.verifications.get(), 1);
    }

    #[test]
    fn after_too_many_failures_even_the_right_password_is_not_looked_at() {
        for address in ["rose@example.com", "nobody@example.com", "no address"] {
            let store = FakeStore::of([account("rose@example.com", "rose rose")]);
            let hasher = FakeHasher::default();
            let attempt = |word| try_login(&store, &hasher, &FakeTokens::default(), address, word);
            for _ in 0..OF_ACCOUNT.failures {
                assert_eq!(attempt("wrong"), Err(LoginError::Refused));
            }
            let verifications = hasher.verifications.get();
            let held = Err(LoginError::Held {
                retry_after_seconds: 60,
            });
            assert_eq!(attempt("rose rose"), held, "{address}");
            assert_eq!(hasher.verifications.get(), verifications);
        }
    }

    #[test]
    fn attempts_that_succeed_do_not_count() {
        let store = FakeStore::of([account("rose@example.com", "rose rose")]);
        let (hasher, tokens) = (FakeHasher::default(), FakeTokens::default());
        for _ in 0..2 * OF_ACCOUNT.failures {
            assert!(try_login(&store, &hasher, &tokens, "rose@example.com", "rose rose").is_ok());
        }
    }

    #[test]
    fn a_hash_of_a_lower_cost_is_made_anew_when_its_owner_signs_in() {
        let outdated = PasswordHash::from("old:rose rose".to_owned());
        let mut owner = account("rose@example.com", "");
        owner.password_hash = outdated.clone();
        let store = FakeStore::of([owner]);
        let (hasher, tokens) = (FakeHasher::default(), FakeTokens::default());
        let kept = || store.hash_of("rose@example.com");

        let refused = try_login(&store, &hasher, &tokens, "rose@example.com", "wrong");
        assert_eq!((refused, kept()), (Err(LoginError::Refused), outdated));
        assert!(try_login(&store, &hasher, &tokens, "rose@example.com", "rose rose").is_ok());
        assert_eq!(kept(), PasswordHash::from("rose rose".to_owned()));
    }

    #[test]
    fn a_hash_that_cannot_be_made_anew_keeps_its_owner_from_nothing() {
        let outdated = PasswordHash::from("old:rose rose".to_owned());
        let mut owner = account("rose@example.com", "");
        owner.password_hash = outdated.clone();
        let store = FakeStore::of([owner]);
        store.keep_hashes();
        let (hasher, tokens) = (FakeHasher::default(), FakeTokens::default());
        assert!(try_login(&store, &hasher, &tokens, "rose@example.com", "rose rose").is_ok());
        assert_eq!(store.hash_of("rose@example.com"), outdated);
    }

    #[test]
    fn who_is_changed_while_their_password_is_verified_is_signed_in_as_what_they_are_then() {
        let owner = account("rose@example.com", "rose rose");
        let store = FakeStore::of([owner.clone()]);
        let (hasher, tokens) = (FakeHasher::default(), FakeTokens::default());
        let login_meanwhile = |role, is_active| {
            store.change_meanwhile(&owner.user, UserPatch { role, is_active });
            try_login(&store, &hasher, &tokens, "rose@example.com", "rose rose")
        };
        let signed_in = login_meanwhile(Some(Role::Courier), None).unwrap();
        assert_eq!(signed_in.user.role, Role::Courier);
        assert_eq!(signed_in.token.text, format!("{} courier", owner.user.id));
        assert_eq!(login_meanwhile(None, Some(false)), Err(LoginError::Refused));
    }
}
