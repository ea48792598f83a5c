//! What all instances share, in Redis: the buckets of the limits and the breakers. What Redis does not say, says late
//! or says garbled was not said: then nothing is limited, and each instance breaks by what it sees itself.
//!
//! Buckets of one subject share a hash tag and one script; subjects and breakers have keys of their own, whose commands
//! go side by side: so no command spans two slots of a cluster, and a request waits for one exchange.

use crate::application::{Consulted, Replaced, Shared, SharedBreakers};
use crate::domain::{Breaker, Draw, Limit, Policy, Service, Standing};
use service::health::Check;
use service::log::{self, Level};
use service::redis::{Command, Redis, Rest, text};
use spin_sdk::redis::RedisResult;
use std::time::Duration;

/// How long a request waits for Redis before it goes on without.
const PATIENCE: Duration = Duration::from_millis(100);

/// How long a breaker is kept after its last change: longer than any pause or probe, so that one that nobody needs any
/// more ends by itself, and so does what a broken clock wrote.
const BREAKER_TTL_MS: u32 = 120_000;

/// Redis, as all instances use it.
pub struct SharedInRedis {
    redis: Redis,
    rest: Rest,
}

impl SharedInRedis {
    /// At `address`, which is first reached when it is first needed.
    #[must_use]
    pub fn connect(address: String) -> Self {
        Self {
            redis: Redis::new(address, PATIENCE),
            rest: Rest::default(),
        }
    }

    /// Whether Redis answers, whatever it did a moment ago, and the breakers of all services.
    pub async fn breakers(&self) -> (Check, Option<[Breaker; Service::ALL.len()]>) {
        let look_ups = Service::ALL.map(look_up).into();
        let read = |answers: Vec<Vec<RedisResult>>| {
            let breakers: Vec<Breaker> = answers
                .iter()
                .map(|answer| read_breaker(answer))
                .collect::<Option<_>>()?;
            breakers.try_into().ok()
        };
        match self.redis.exchange(look_ups, read).await {
            Ok(breakers) => (Check::Ok, Some(breakers)),
            Err(_) => (Check::Degraded, None),
        }
    }

    async fn exchange<T>(
        &self,
        commands: Vec<Command>,
        read: impl FnOnce(Vec<Vec<RedisResult>>) -> Option<T>,
    ) -> Option<T> {
        let asked = self.redis.exchange(commands, read);
        self.rest.unless("nothing is limited", asked).await
    }
}

impl Shared for SharedInRedis {
    async fn consult(&self, draws: &[Draw], service: Option<Service>) -> Option<Consulted> {
        let commands = draws.iter().map(draw).chain(service.map(look_up)).collect();
        self.exchange(commands, |answers| read_consulted(draws, service, &answers))
            .await
    }
}

impl SharedBreakers for SharedInRedis {
    async fn replace(&self, service: Service, old: Breaker, new: Breaker) -> Option<Replaced> {
        let arguments = vec![
            text(include_str!("lua/replace.lua")),
            text("1"),
            text(breaker_key(service)),
            text(old.to_string()),
            text(new.to_string()),
            text(BREAKER_TTL_MS.to_string()),
        ];
        let read = |answers: Vec<Vec<RedisResult>>| match answers.first()?.as_slice() {
            [RedisResult::Int64(1), _] => Some(Replaced::Done),
            [RedisResult::Int64(0), found] => {
                read_breaker(std::slice::from_ref(found)).map(Replaced::Otherwise)
            }
            _ => None,
        };
        let replaced = self.exchange(vec![("EVAL", arguments)], read).await;
        // Whoever changed it says so: for all, or for itself where nobody keeps it.
        if old.name() != new.name() && !matches!(replaced, Some(Replaced::Otherwise(_))) {
            let fields = [("called", service.name()), ("breaker", new.name())];
            log::line(Level::Warn, "breaker changed", &fields);
        }
        replaced
    }
}

fn breaker_key(service: Service) -> String {
    format!("breaker:{{{}}}", service.name())
}

fn look_up(service: Service) -> Command {
    ("GET", vec![text(breaker_key(service))])
}

fn draw(draw: &Draw) -> Command {
    let mut arguments = vec![
        text(include_str!("lua/draw.lua")),
        text(draw.buckets.len().to_string()),
    ];
    arguments.extend(draw.keys().map(text));
    for (_, limit) in &draw.buckets {
        arguments.push(text(limit.interval().as_micros().to_string()));
        arguments.push(text(limit.burst().to_string()));
    }
    ("EVAL", arguments)
}

/// `None` if these are no answers to what was asked.
fn read_consulted(
    draws: &[Draw],
    service: Option<Service>,
    answers: &[Vec<RedisResult>],
) -> Option<Consulted> {
    if answers.len() != draws.len() + usize::from(service.is_some()) {
        return None;
    }
    let mut standings = Vec::new();
    for (draw, answer) in draws.iter().zip(answers) {
        if answer.len() != 3 * draw.buckets.len() {
            return None;
        }
        for (bucket, numbers) in draw.buckets.iter().zip(answer.chunks(3)) {
            standings.push(read_standing(*bucket, numbers)?);
        }
    }
    let breaker = match service {
        Some(_) => Some(read_breaker(answers.last()?)?),
        None => None,
    };
    Some(Consulted { standings, breaker })
}

fn read_standing((policy, limit): (Policy, Limit), numbers: &[RedisResult]) -> Option<Standing> {
    let [
        RedisResult::Int64(left),
        RedisResult::Int64(wait),
        RedisResult::Int64(more),
    ] = numbers
    else {
        return None;
    };
    let number = |number: &i64| u64::try_from(*number).ok();
    Some(Standing {
        policy,
        limit,
        left: number(left)?,
        wait: Duration::from_micros(number(wait)?),
        more: Duration::from_micros(number(more)?),
    })
}

fn read_breaker(answer: &[RedisResult]) -> Option<Breaker> {
    match answer {
        [RedisResult::Nil] => Some(Breaker::CLOSED),
        [RedisResult::Binary(text)] => Breaker::parse(std::str::from_utf8(text).ok()?),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Errand, Limits, Setting};

    fn draws() -> Vec<Draw> {
        let setting = |text: &str| -> Setting { text.parse().unwrap() };
        let limits = Limits {
            requests: setting("20000/min"),
            logins: setting("300/min burst=10"),
            registrations: setting("off"),
            user_requests: setting("off"),
            orders: setting("off"),
        };
        limits.draws(Some(Errand::Login), Some([10, 0, 0, 1].into()), || None)
    }

    fn numbers(numbers: &[i64]) -> Vec<RedisResult> {
        numbers.iter().map(|number| RedisResult::Int64(*number)).collect()
    }

    #[test]
    fn a_draw_is_one_script_over_keys_of_one_slot() {
        let draws = draws();
        let [one] = draws.as_slice() else {
            panic!("{draws:?}")
        };
        let (command, arguments) = draw(one);
        assert_eq!(command, "EVAL");
        let words: Vec<String> = arguments[1..]
            .iter()
            .map(|argument| match argument {
                spin_sdk::redis::RedisParameter::Binary(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                spin_sdk::redis::RedisParameter::Int64(number) => number.to_string(),
            })
            .collect();
        assert_eq!(
            words,
            [
                "2",
                "limit:{10.0.0.1}:requests",
                "limit:{10.0.0.1}:logins",
                "3000",
                "20000",
                "200000",
                "10"
            ]
        );
    }

    #[test]
    fn answers_are_read_bucket_by_bucket_and_the_breaker_last() {
        let answers = [
            numbers(&[19_999, 0, 3_000, 0, 150_000, 150_000]),
            vec![RedisResult::Binary(b"open 7".to_vec())],
        ];
        let consulted = read_consulted(&draws(), Some(Service::Auth), &answers).unwrap();
        let [requests, logins] = consulted.standings.as_slice() else {
            panic!("{consulted:?}")
        };
        assert_eq!((requests.policy, requests.left), (Policy::Requests, 19_999));
        assert_eq!(
            (logins.policy, logins.wait),
            (Policy::Logins, Duration::from_millis(150))
        );
        assert_eq!(consulted.breaker, Breaker::parse("open 7"));
        let nothing = read_consulted(&[], Some(Service::Auth), &[vec![RedisResult::Nil]]).unwrap();
        assert_eq!(nothing.breaker, Some(Breaker::CLOSED));
    }

    #[test]
    fn garbage_is_no_answer() {
        let good = numbers(&[19_999, 0, 3_000, 9, 0, 200_000]);
        assert!(read_consulted(&draws(), None, std::slice::from_ref(&good)).is_some());
        let other = |place: usize, result: RedisResult| {
            let mut answer = good.clone();
            answer[place] = result;
            vec![answer]
        };
        for answers in [
            vec![],
            vec![vec![]],
            vec![good[..5].to_vec()],
            vec![good.clone(), good.clone()],
            other(0, RedisResult::Nil),
            other(4, RedisResult::Int64(-1)),
            other(5, RedisResult::Binary(b"1".to_vec())),
        ] {
            assert_eq!(read_consulted(&draws(), None, &answers), None, "{answers:?}");
        }
        for answer in [
            vec![],
            vec![RedisResult::Int64(1)],
            vec![RedisResult::Status("OK".to_owned())],
            vec![RedisResult::Binary(vec![0xff])],
            vec![RedisResult::Binary(b"x".to_vec())],
        ] {
            assert_eq!(read_breaker(&answer), None, "{answer:?}");
        }
    }
}
