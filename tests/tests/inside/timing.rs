//! Whether the time of a refusal tells if an address has an account: Welch's t-test on interleaved samples. The same test
//! is shown to see what a naive login tells.

use crate::alone;
use anyhow::{Context, Result, ensure};
use auth::application::{
    AccessToken, Admission, Attempt, Fault, FoundSession, Guesses, Login, LoginError, NewSession, Outcome,
    PasswordHasher, Sessions, Stored, TokenIssuer, UserFilter, Users, login,
};
use auth::domain::{
    Account, Claim, Email, Lane, Password, PasswordHash, RefreshToken, Session, TokenHash, User, UserChange,
};
use auth::infrastructure::Bcrypt;
use contracts::{Timestamp, UserId};
use serde_json::json;
use service::{Page, PageQuery, StoreError};
use shop_tests::{Actor, Shop};
use std::time::{Duration, Instant};

/// As the issue asks for it.
const WORK_FACTOR: u32 = 6;
/// A side.
const SAMPLES: usize = 320;
/// Of one account: fewer than are held back.
const GUESSES: usize = 8;
/// Beyond this there is a difference: chance alone passes it once in 10,000 times.
const CRITICAL: f64 = 3.9;

/// What two samples say.
struct Welch {
    t: f64,
    /// Of the difference of the means, in ms.
    difference: f64,
}

impl Welch {
    /// The slowest twentieth of each side is what the machine did meanwhile; it is left out of both alike.
    fn of(one: &[Duration], other: &[Duration]) -> Self {
        let ((mean, error), (other_mean, other_error)) = (mean_and_error(one), mean_and_error(other));
        let difference = mean - other_mean;
        Self {
            t: difference / (error + other_error).sqrt(),
            difference,
        }
    }
}

/// The mean in ms and the square of its standard error.
#[expect(clippy::cast_precision_loss, reason = "there are a few hundred")]
fn mean_and_error(samples: &[Duration]) -> (f64, f64) {
    let mut milliseconds: Vec<f64> = samples.iter().map(|time| time.as_secs_f64() * 1e3).collect();
    milliseconds.sort_by(f64::total_cmp);
    milliseconds.truncate(samples.len() - samples.len() / 20);
    let count = milliseconds.len() as f64;
    let mean = milliseconds.iter().sum::<f64>() / count;
    let squares: f64 = milliseconds.iter().map(|time| (time - mean).powi(2)).sum();
    (mean, squares / (count - 1.0) / count)
}

async fn time_of(client: &Actor, email: &str) -> Result<Duration> {
    let body = json!({"email": email, "password": "not it at all"});
    let start = Instant::now();
    let answer = client.post("/api/auth/login", &body).await?;
    let time = start.elapsed();
    answer.expect_problem(401, "unauthorized")?;
    Ok(time)
}

#[tokio::test]
async fn the_time_of_a_refusal_does_not_tell_whether_an_address_has_an_account() -> Result<()> {
    let _alone = alone().await;
    let mut shop = Shop::prepare().await?;
    shop.set_variables(&[("bcrypt_cost", &WORK_FACTOR.to_string())])?;
    shop.start_host().await?;
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    for account in 0..SAMPLES / GUESSES {
        // No address fails a hundred times, and the owner of each account is somewhere else.
        let number = u8::try_from(account)?;
        let guesser = shop.anonymous()?.from_address([127, 0, 1, number].into())?;
        let owner = shop.anonymous()?.from_address([127, 0, 2, number].into())?;
        let email = owner.register().await?.email.context("no address")?;
        // The connection is there before anything is timed.
        guesser.get("/health/live").await?.expect(200)?;
        let nobodys = email.replace("user-", "nobd-");
        for guess in 0..GUESSES {
            // Who comes first, changes.
            let [first, second] = match (account + guess) % 2 {
                0 => [(&email, &mut known), (&nobodys, &mut unknown)],
                _ => [(&nobodys, &mut unknown), (&email, &mut known)],
            };
            for (email, times) in [first, second] {
                times.push(time_of(&guesser, email).await?);
            }
        }
    }
    let welch = Welch::of(&known, &unknown);
    println!(
        "{} samples a side, work factor {WORK_FACTOR}: t = {:.2}, {:.3} ms apart",
        known.len(),
        welch.t,
        welch.difference
    );
    ensure!(
        welch.t.abs() < CRITICAL,
        "t = {}, {} ms",
        welch.t,
        welch.difference
    );
    Ok(())
}

/// One account and no world.
struct One(Account);

impl Users for One {
    async fn insert(&self, _: &Account, _: &NewSession) -> Result<bool, StoreError> {
        Ok(false)
    }

    async fn find_account(&self, email: &Email, _: &Claim) -> Result<Option<(Account, bool)>, StoreError> {
        let is_it = self.0.user.email.key() == email.key();
        Ok(is_it.then(|| (self.0.clone(), false)))
    }

    async fn find(&self, _: UserId) -> Result<Option<User>, StoreError> {
        Ok(None)
    }

    async fn list(&self, _: &UserFilter, page: PageQuery) -> Result<Page<User>, StoreError> {
        Ok(Page::new(page, 0, Vec::new()))
    }

    async fn store(&self, _: &UserChange) -> Result<Stored, StoreError> {
        Ok(Stored::Late)
    }

    async fn upgrade_hash(&self, _: UserId, _: &PasswordHash, _: &PasswordHash) -> Result<(), StoreError> {
        Ok(())
    }
}

impl Sessions for One {
    async fn begin(&self, _: &NewSession) -> Result<Option<User>, StoreError> {
        Ok(None)
    }

    async fn find_session(&self, _: &TokenHash) -> Result<Option<FoundSession>, StoreError> {
        Ok(None)
    }

    async fn store_exchange(&self, _: &User, _: &Session, _: i64, _: &TokenHash) -> Result<bool, StoreError> {
        Ok(false)
    }

    async fn revoke(&self, _: &TokenHash) -> Result<(), StoreError> {
        Ok(())
    }
}

impl Guesses for One {
    async fn admit(&self, _: &[Lane]) -> Result<Admission, StoreError> {
        Ok(Admission::Admitted(Attempt {
            lanes: Vec::new(),
            mark: String::new(),
        }))
    }

    async fn settle(&self, _: &Attempt, _: Outcome) -> Result<(), StoreError> {
        Ok(())
    }
}

struct NoTokens;

impl TokenIssuer for NoTokens {
    fn issue(&self, _: &User, _: Timestamp) -> Result<AccessToken, Fault> {
        Err(Fault("nobody signs in".to_owned()))
    }

    fn draw_refresh_token(&self) -> Result<RefreshToken, Fault> {
        Err(Fault("nobody signs in".to_owned()))
    }

    fn session_ttl(&self) -> Duration {
        Duration::ZERO
    }
}

/// Has nothing to verify where there is no hash: what one would write first.
struct Naive(Bcrypt);

impl PasswordHasher for Naive {
    fn hash(&self, password: &Password) -> Result<PasswordHash, Fault> {
        self.0.hash(password)
    }

    fn verify(&self, password: &Password, hash: Option<&PasswordHash>) -> bool {
        hash.is_some() && self.0.verify(password, hash)
    }

    fn is_outdated(&self, hash: &PasswordHash) -> bool {
        self.0.is_outdated(hash)
    }
}

/// What the times of refusals say with this hasher.
async fn told_by(hasher: &impl PasswordHasher, hash: PasswordHash) -> Result<Welch> {
    let email = |text: &str| Email::try_from(text.to_owned());
    let account = Account {
        user: User::registered(email("rose@example.com")?, None, Timestamp::now()),
        password_hash: hash,
    };
    let store = One(account);
    let mut sides = [Vec::new(), Vec::new()];
    for sample in 0..2 * SAMPLES {
        let side = sample % 2;
        let email = email(["rose@example.com", "nobd@example.com"][side])?;
        let command = Login {
            claim: Claim::new(email.key(), None),
            email: Some(email),
            password: Password::claimed("not it at all".to_owned()),
        };
        let start = Instant::now();
        let refused = login(&store, hasher, &NoTokens, command).await;
        sides[side].push(start.elapsed());
        ensure!(refused == Err(LoginError::Refused), "{refused:?}");
    }
    Ok(Welch::of(&sides[0], &sides[1]))
}

#[tokio::test]
async fn the_same_test_sees_a_login_that_verifies_nothing_for_nobody_and_an_old_hash_that_is_quicker()
-> Result<()> {
    let _alone = alone().await;
    let password = Password::claimed("rose rose".to_owned());
    let hasher = Bcrypt::new(WORK_FACTOR)?;
    let hash = hasher.hash(&password)?;
    let old = Bcrypt::new(WORK_FACTOR - 1)?.hash(&password)?;
    let naive = told_by(&Naive(Bcrypt::new(WORK_FACTOR)?), hash.clone()).await?;
    ensure!(naive.t.abs() > 5.0 * CRITICAL, "naive: t = {}", naive.t);
    // The shop's own, with a hash of today's cost and with one of yesterday's.
    for (what, hash) in [("new", hash), ("old", old)] {
        let own = told_by(&hasher, hash).await?;
        println!(
            "{SAMPLES} samples a side: naive t = {:.1}; ours, {what} hash, t = {:.2}, {:.4} ms apart",
            naive.t, own.t, own.difference
        );
        ensure!(
            own.difference.abs() < naive.difference.abs() / 5.0,
            "{what} hash: {} ms, t = {}",
            own.difference,
            own.t
        );
    }
    Ok(())
}
