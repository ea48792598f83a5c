//! Where the shop's Postgres, Redis and RabbitMQ are: as the environment says, or private ones.

use std::env;

use anyhow::{Context, Result};

use crate::servers::{Kind, Servers};

const VARIABLES: [(Kind, &str); 3] = [
    (Kind::Postgres, "SHOP_ADMIN_DATABASE_URL"),
    (Kind::Redis, "SHOP_REDIS_URL"),
    (Kind::Rabbitmq, "SHOP_AMQP_URL"),
];

/// The address that the environment gives for a server; an empty one is none.
fn given(kind: Kind) -> Option<String> {
    let (_, name) = VARIABLES.iter().find(|(of, _)| *of == kind)?;
    env::var(name).ok().filter(|url| !url.is_empty())
}

/// The servers that the environment gives no address for.
pub(crate) fn private() -> Vec<Kind> {
    Kind::ALL
        .into_iter()
        .filter(|kind| given(*kind).is_none())
        .collect()
}

/// Where one shop's servers are.
pub(crate) struct Addresses {
    /// With the login of an owner, who may create logins and schemas.
    pub(crate) postgres: String,
    pub(crate) redis: String,
    pub(crate) rabbitmq: String,
}

impl Addresses {
    /// As the environment says, and private ones where it says nothing; those must have been launched.
    pub(crate) fn given_or_private(servers: &Servers) -> Result<Self> {
        Self::by(|kind| given(kind).map_or_else(|| servers.url(kind), Ok))
    }

    /// Private ones, whatever the environment says.
    pub(crate) fn private(servers: &Servers) -> Result<Self> {
        Self::by(|kind| servers.url(kind))
    }

    fn by(address: impl Fn(Kind) -> Result<String>) -> Result<Self> {
        Ok(Self {
            postgres: address(Kind::Postgres)?,
            redis: address(Kind::Redis)?,
            rabbitmq: address(Kind::Rabbitmq)?,
        })
    }
}

/// The parts of a Postgres URL that the components' own addresses are made of.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Database {
    /// Host and port.
    pub(crate) server: String,
    pub(crate) name: String,
}

impl Database {
    /// Reads `postgres://user:password@host:port/name?options`.
    ///
    /// # Errors
    /// When it is no such URL; the message does not repeat it, for it holds a password.
    pub(crate) fn parse(url: &str) -> Result<Self> {
        let wanted = "SHOP_ADMIN_DATABASE_URL must read postgres://user:password@host:port/database";
        let rest = url
            .strip_prefix("postgres://")
            .or_else(|| url.strip_prefix("postgresql://"));
        let (authority, path) = rest.context(wanted)?.split_once('/').context(wanted)?;
        let server = authority.rsplit_once('@').map_or(authority, |(_, server)| server);
        let name = path.split('?').next().unwrap_or_default();
        anyhow::ensure!(!server.is_empty() && !name.is_empty(), wanted);
        let port_is_missing = server
            .rsplit_once(':')
            .is_none_or(|(_, port)| port.ends_with(']'));
        let server = if port_is_missing {
            format!("{server}:5432")
        } else {
            server.to_owned()
        };
        Ok(Self {
            server,
            name: name.to_owned(),
        })
    }
}

/// A Redis URL, taken apart as the components want it: a grant may name a host and nothing else.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Cache {
    /// Without a path: `redis://host:port`.
    pub(crate) server: String,
    /// The number of the database.
    pub(crate) database: String,
}

impl Cache {
    pub(crate) fn parse(url: &str) -> Self {
        let start = url.find("://").map_or(0, |colon| colon + 3);
        let slash = url
            .get(start..)
            .and_then(|rest| rest.find('/'))
            .map(|at| at + start);
        let (server, path) = slash.map_or((url, ""), |at| url.split_at(at));
        let database = path.trim_start_matches('/');
        let database = if database.is_empty() { "0" } else { database };
        Self {
            server: server.to_owned(),
            database: database.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_url_is_taken_apart() {
        let parsed = Database::parse("postgres://owner:p%40ss@db.example:5433/shop?sslmode=disable").unwrap();
        assert_eq!(
            parsed,
            Database {
                server: "db.example:5433".into(),
                name: "shop".into()
            }
        );
    }

    #[test]
    fn the_usual_port_need_not_be_said() {
        assert_eq!(
            Database::parse("postgresql://o@db/shop").unwrap().server,
            "db:5432"
        );
        assert_eq!(
            Database::parse("postgres://o@[::1]/shop").unwrap().server,
            "[::1]:5432"
        );
    }

    #[test]
    fn a_redis_url_is_taken_apart() {
        let cache = |server: &str, database: &str| Cache {
            server: server.into(),
            database: database.into(),
        };
        assert_eq!(
            Cache::parse("redis://cache:6380/3"),
            cache("redis://cache:6380", "3")
        );
        assert_eq!(
            Cache::parse("redis://cache:6380"),
            cache("redis://cache:6380", "0")
        );
        assert_eq!(Cache::parse("redis://cache/"), cache("redis://cache", "0"));
    }

    #[test]
    fn a_broken_url_is_refused_without_repeating_its_password() {
        let error = Database::parse("postgres:owner:hunter2@db")
            .unwrap_err()
            .to_string();
        assert!(error.contains("SHOP_ADMIN_DATABASE_URL") && !error.contains("hunter2"));
    }
}
