//! How many requests are let through: what an operator writes, whom a limit counts, and what the client is told. The
//! counting itself is one script in Redis.

use super::Field;
use super::route::Errand;
use contracts::UserId;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

/// So many in a window, of which `burst` may come at once: the generic cell rate algorithm. After a burst one more
/// may come each time an even share of the window is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    quota: u32,
    window: Duration,
    burst: u32,
}

impl Limit {
    /// What time brings one back.
    #[must_use]
    pub fn interval(self) -> Duration {
        let quota = u64::from(self.quota);
        let micros = u64::try_from(self.window.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros((micros + quota / 2) / quota)
    }

    /// How many may come at once.
    #[must_use]
    pub fn burst(self) -> u32 {
        self.burst
    }
}

/// A limit, or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting(pub Option<Limit>);

/// A text that is no setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoLimit;

impl Setting {
    /// How an operator writes one.
    pub const SPELLING: &str = "is neither `off` nor a limit like `300/min` or `1000/min burst=500` \
        (of `s`, `min` and `h`; at most 100000 a second, and a burst that is back within a day)";
}

impl FromStr for Setting {
    type Err = NoLimit;

    fn from_str(text: &str) -> Result<Self, NoLimit> {
        if text == "off" {
            return Ok(Self(None));
        }
        let (rate, burst) = match text.split_once(" burst=") {
            Some((rate, burst)) => (rate, Some(burst)),
            None => (text, None),
        };
        let (quota, window) = rate.split_once('/').ok_or(NoLimit)?;
        let seconds = match window {
            "s" => 1,
            "min" => 60,
            "h" => 3_600,
            _ => return Err(NoLimit),
        };
        let number = |text: &str| {
            text.parse::<u32>()
                .ok()
                .filter(|number| *number > 0)
                .ok_or(NoLimit)
        };
        let quota = number(quota)?;
        let limit = Limit {
            quota,
            window: Duration::from_secs(seconds),
            burst: burst.map_or(Ok(quota), number)?,
        };
        let interval = limit.interval();
        let is_back_within_a_day = interval
            .checked_mul(limit.burst)
            .is_some_and(|time| time <= Duration::from_secs(86_400));
        if interval < Duration::from_micros(10) || !is_back_within_a_day {
            return Err(NoLimit);
        }
        Ok(Self(Some(limit)))
    }
}

/// What is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Whatever an address asks for.
    Requests,
    Logins,
    Registrations,
    /// Whatever a signed-in user asks for.
    UserRequests,
    Orders,
}

impl Policy {
    /// What clients know it as, and a part of keys.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Logins => "logins",
            Self::Registrations => "registrations",
            Self::UserRequests => "user-requests",
            Self::Orders => "orders",
        }
    }
}

/// All limits of the shop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub requests: Setting,
    pub logins: Setting,
    pub registrations: Setting,
    pub user_requests: Setting,
    pub orders: Setting,
}

/// What one request draws from the buckets of one subject: one from each, or none if one of them is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draw {
    /// Names the subject in keys.
    subject: String,
    pub buckets: Vec<(Policy, Limit)>,
}

impl Draw {
    /// The buckets' keys. They share a hash tag, so that they share a slot of a Redis cluster.
    pub fn keys(&self) -> impl Iterator<Item = String> {
        self.buckets
            .iter()
            .map(|(policy, _)| format!("limit:{{{}}}:{}", self.subject, policy.name()))
    }
}

impl Limits {
    /// What a request draws. Whose it is, is asked for only where a limit of users applies.
    #[must_use]
    pub fn draws(
        &self,
        errand: Option<Errand>,
        address: Option<IpAddr>,
        user: impl FnOnce() -> Option<UserId>,
    ) -> Vec<Draw> {
        let on = |errand_of_limit| errand == Some(errand_of_limit);
        let of_addresses = [
            (Policy::Requests, self.requests, true),
            (Policy::Logins, self.logins, on(Errand::Login)),
            (Policy::Registrations, self.registrations, on(Errand::Register)),
        ];
        let of_users = [
            (Policy::UserRequests, self.user_requests, true),
            (Policy::Orders, self.orders, on(Errand::Order)),
        ];
        let applying = |limits: &[(Policy, Setting, bool)]| -> Vec<(Policy, Limit)> {
            let limits = limits.iter().filter(|(_, _, applies)| *applies);
            limits
                .filter_map(|(policy, setting, _)| Some((*policy, setting.0?)))
                .collect()
        };
        let mut draws = Vec::new();
        let buckets = applying(&of_addresses);
        if let Some(address) = address.filter(|_| !buckets.is_empty()) {
            let subject = network(address);
            draws.push(Draw { subject, buckets });
        }
        let buckets = applying(&of_users);
        if !buckets.is_empty()
            && let Some(user) = user()
        {
            let subject = user.to_string();
            draws.push(Draw { subject, buckets });
        }
        draws
    }
}

/// Who is taken for one client: an IPv4 address, or all of an IPv6 /64, which one household has.
fn network(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    }
}

/// How a bucket stands after a request drew from it, or tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    pub policy: Policy,
    pub limit: Limit,
    /// How many are left.
    pub left: u64,
    /// How long it takes until one can be drawn; nothing if it was.
    pub wait: Duration,
    /// How long it takes until there is one more; nothing if the bucket is full.
    pub more: Duration,
}

/// How all buckets of a request stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally(pub Vec<Standing>);

/// The request comes too soon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TooSoon {
    pub retry_after_seconds: u64,
    /// The names of the policies that say so.
    pub policies: Vec<&'static str>,
}

impl Tally {
    /// Lets the request through.
    ///
    /// # Errors
    /// If one of the buckets was empty.
    pub fn pass(&self) -> Result<(), TooSoon> {
        let refused = || self.0.iter().filter(|standing| !standing.wait.is_zero());
        let wait = refused().map(|standing| standing.wait).max();
        wait.map_or(Ok(()), |wait| {
            Err(TooSoon {
                retry_after_seconds: seconds(wait),
                policies: refused().map(|standing| standing.policy.name()).collect(),
            })
        })
    }

    /// What the client is told (draft-ietf-httpapi-ratelimit-headers): each policy, how many are left, and in how many
    /// seconds there is one more. Of a request that comes too soon, which policies say so and until when.
    #[must_use]
    pub fn fields(&self) -> Vec<Field> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let too_soon = self.pass().is_err();
        let (mut policies, mut limits) = (Vec::new(), Vec::new());
        for standing in &self.0 {
            let (name, limit) = (standing.policy.name(), standing.limit);
            let window = limit.window.as_secs();
            policies.push(format!("\"{name}\";q={};w={window}", limit.quota));
            let (left, time) = match standing.wait {
                Duration::ZERO if too_soon => continue,
                Duration::ZERO => (standing.left, standing.more),
                wait => (0, wait),
            };
            limits.push(format!("\"{name}\";r={left};t={}", seconds(time)));
        }
        let field = |name: &str, items: Vec<String>| (name.to_owned(), items.join(", ").into_bytes());
        vec![field("ratelimit", limits), field("ratelimit-policy", policies)]
    }
}

/// Whole seconds, rounded up.
fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(text: &str) -> Setting {
        text.parse().unwrap()
    }

    fn limit(text: &str) -> Limit {
        setting(text).0.unwrap()
    }

    fn limits() -> Limits {
        Limits {
            requests: setting("20000/min"),
            logins: setting("300/min"),
            registrations: setting("200/min"),
            user_requests: setting("off"),
            orders: setting("1000/min burst=500"),
        }
    }

    #[test]
    fn a_limit_is_written_as_a_rate_and_perhaps_a_burst() {
        let orders = limit("1000/min burst=500");
        assert_eq!(
            (orders.interval(), orders.burst()),
            (Duration::from_millis(60), 500)
        );
        let logins = limit("300/min");
        assert_eq!(
            (logins.interval(), logins.burst()),
            (Duration::from_millis(200), 300)
        );
        assert_eq!(limit("1/s").interval(), Duration::from_secs(1));
        assert_eq!(limit("1/h").interval(), Duration::from_secs(3_600));
        assert_eq!(limit("7/s").interval(), Duration::from_micros(142_857));
        assert_eq!(setting("off"), Setting(None));
    }

    #[test]
    fn what_is_no_limit_is_refused() {
        for text in [
            "",
            "on",
            "300",
            "0/min",
            "-1/min",
            "1.5/min",
            "300/day",
            "300/60",
            "300/min burst=0",
            "300/min burst=",
            "300/min  burst=1",
            "300/min burst=1 burst=2",
            "300 /min",
            "100001000/s",
            "4294967296/h",
            "1/h burst=25",
            "1/h burst=4294967295",
        ] {
            assert_eq!(Setting::from_str(text), Err(NoLimit), "{text}");
        }
    }

    #[test]
    fn a_request_draws_from_the_buckets_of_its_address_and_of_its_user() {
        let address: IpAddr = "10.0.0.1".parse().unwrap();
        let user = UserId::new();
        let keys = |errand, address, user: Option<UserId>| -> Vec<Vec<String>> {
            let draws = limits().draws(errand, address, || user);
            draws.iter().map(|draw| draw.keys().collect()).collect()
        };
        assert_eq!(
            keys(None, Some(address), Some(user)),
            [["limit:{10.0.0.1}:requests"]]
        );
        assert_eq!(
            keys(Some(Errand::Login), Some(address), None),
            [["limit:{10.0.0.1}:requests", "limit:{10.0.0.1}:logins"]]
        );
        assert_eq!(
            keys(Some(Errand::Register), Some(address), None),
            [["limit:{10.0.0.1}:requests", "limit:{10.0.0.1}:registrations"]]
        );
        assert_eq!(
            keys(Some(Errand::Order), Some(address), Some(user)),
            [
                ["limit:{10.0.0.1}:requests".to_owned()],
                [format!("limit:{{{user}}}:orders")]
            ]
        );
        assert_eq!(keys(Some(Errand::Order), None, None), Vec::<Vec<String>>::new());
    }

    #[test]
    fn nobody_looks_at_a_token_for_a_limit_that_does_not_apply() {
        let draws = limits().draws(Some(Errand::Login), None, || panic!("the token was looked at"));
        assert_eq!(draws, []);
    }

    #[test]
    fn a_household_is_one_client() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("10.0.0.1"), "10.0.0.1");
        assert_eq!(of("::ffff:10.0.0.1"), "10.0.0.1");
        assert_eq!(of("2001:db8::1"), of("2001:db8:0:0:ffff::2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
    }

    fn standing(policy: Policy, left: u64, wait_ms: u64, more_ms: u64) -> Standing {
        Standing {
            policy,
            limit: limit("300/min"),
            left,
            wait: Duration::from_millis(wait_ms),
            more: Duration::from_millis(more_ms),
        }
    }

    fn told(tally: &Tally) -> Vec<String> {
        let fields = tally.fields().into_iter();
        fields
            .map(|(name, value)| format!("{name}: {}", String::from_utf8(value).unwrap()))
            .collect()
    }

    #[test]
    fn who_is_let_through_is_told_what_is_left_of_each_policy() {
        let tally = Tally(vec![
            standing(Policy::Requests, 299, 0, 200),
            standing(Policy::Logins, 0, 0, 60_000),
        ]);
        assert_eq!(tally.pass(), Ok(()));
        assert_eq!(
            told(&tally),
            [
                "ratelimit: \"requests\";r=299;t=1, \"logins\";r=0;t=60",
                "ratelimit-policy: \"requests\";q=300;w=60, \"logins\";q=300;w=60"
            ]
        );
        assert_eq!(told(&Tally::default()), Vec::<String>::new());
    }

    #[test]
    fn who_comes_too_soon_is_told_when_to_come_back_and_by_whom() {
        let tally = Tally(vec![
            standing(Policy::Requests, 100, 0, 40_000),
            standing(Policy::Logins, 0, 150, 60_000),
        ]);
        let too_soon = tally.pass().unwrap_err();
        assert_eq!(
            (too_soon.retry_after_seconds, too_soon.policies),
            (1, vec!["logins"])
        );
        assert_eq!(
            told(&tally),
            [
                "ratelimit: \"logins\";r=0;t=1",
                "ratelimit-policy: \"requests\";q=300;w=60, \"logins\";q=300;w=60"
            ]
        );
    }
}
