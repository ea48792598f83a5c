//! How guessing at passwords is slowed.
//!
//! Attempts to sign in are counted where they fail, in lanes: one of the account that is guessed at, one of the address
//! that guesses. A lane lets an attempt through if fewer than so many lie within so long, or none within the hold.
//!
//! What somebody can do who knows an address of the shop's users, from however many addresses of theirs: try 10 passwords
//! at once, and another whenever fewer than 10 lie in the last 5 minutes or none in the last minute, which never comes to
//! more than 14 in 5 minutes; and keep the owner from signing in by always being quicker.
//!
//! What they cannot: keep the owner out where a session of the owner's began that has not expired, for there the account
//! has a lane of its own; end or hinder sessions, which ask for no password; or learn from this whether an account exists,
//! for addresses of nobody are counted alike.
//!
//! Whoever shares such an address with the owner (one NAT, one network of IPv6) shares that lane. They can hold it; and
//! where the account is held for everybody else and not for them, they learn that there is one whose owner signed in there.

use sha2::{Digest as _, Sha256};
use std::net::{IpAddr, Ipv6Addr};

/// How many attempts may fail, and what follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Fewer than so many let another one through.
    pub failures: u32,
    /// So long each of them counts.
    pub within_seconds: u32,
    /// None within so long lets one through as well, however many count.
    pub hold_seconds: u32,
}

/// Of one account.
pub const OF_ACCOUNT: Limit = Limit {
    failures: 10,
    within_seconds: 300,
    hold_seconds: 60,
};

/// Of one client's address.
pub const OF_CLIENT: Limit = Limit {
    failures: 100,
    within_seconds: 60,
    hold_seconds: 60,
};

/// Where attempts are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lane {
    /// A hash: nobody needs to read addresses where it is kept.
    pub key: [u8; 32],
    pub limit: Limit,
}

/// An account as it was named, and where from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    account: String,
    /// Of IPv6, the network: a client has all of it.
    client: Option<IpAddr>,
}

impl Claim {
    /// `account` is the address' key, or the text that is no address: somebody may guess at that as well.
    #[must_use]
    pub fn new(account: String, client: Option<IpAddr>) -> Self {
        Self {
            account,
            client: client.map(|address| network(address.to_canonical())),
        }
    }

    /// Names the account at this client, without telling either. `None` if nobody told the client's address.
    #[must_use]
    pub fn client_hash(&self) -> Option<[u8; 32]> {
        let client = self.client?.to_string();
        Some(hash(&["account at client", &self.account, &client]))
    }

    /// The lanes of an attempt at this account, which is familiar with the client or is not.
    #[must_use]
    pub fn lanes(&self, is_familiar: bool) -> Vec<Lane> {
        let account = match self.client_hash().filter(|_| is_familiar) {
            Some(key) => key,
            None => hash(&["account", &self.account]),
        };
        let client = self.client.map(|client| Lane {
            key: hash(&["client", &client.to_string()]),
            limit: OF_CLIENT,
        });
        let account = Lane {
            key: account,
            limit: OF_ACCOUNT,
        };
        [account].into_iter().chain(client).collect()
    }
}

/// The part of an address that is one client's: of IPv6 the first 64 bits.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

fn hash(parts: &[&str]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        // With its length, so that no two lists are one text.
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(account: &str, client: &str) -> Claim {
        Claim::new(account.to_owned(), client.parse().ok())
    }

    #[test]
    fn strangers_share_a_lane_of_the_account_wherever_they_are() {
        let (here, there) = (claim("rose@x", "10.0.0.1"), claim("rose@x", "10.0.0.2"));
        assert_eq!(here.lanes(false)[0], there.lanes(false)[0]);
        assert_ne!(here.lanes(false)[1], there.lanes(false)[1]);
        assert_ne!(here.lanes(false)[0], claim("tulip@x", "10.0.0.1").lanes(false)[0]);
        assert_eq!(here.lanes(false)[1], claim("tulip@x", "10.0.0.1").lanes(false)[1]);
    }

    #[test]
    fn where_the_owner_is_known_no_stranger_is_in_the_way() {
        let (home, elsewhere) = (claim("rose@x", "10.0.0.1"), claim("rose@x", "10.0.0.2"));
        assert_ne!(home.lanes(true)[0], elsewhere.lanes(false)[0]);
        assert_ne!(home.lanes(true)[0], elsewhere.lanes(true)[0]);
    }

    #[test]
    fn without_an_address_only_the_account_counts() {
        let claim = Claim::new("rose@x".to_owned(), None);
        assert_eq!(claim.client_hash(), None);
        assert_eq!(claim.lanes(true).len(), 1);
        assert_eq!(claim.lanes(true), claim.lanes(false));
    }

    #[test]
    fn a_network_of_ipv6_is_one_client_and_a_mapped_address_that_of_ipv4() {
        let lane = |client| claim("rose@x", client).lanes(false)[1];
        assert_eq!(lane("2001:db8:0:1::1"), lane("2001:db8:0:1:ffff::2"));
        assert_ne!(lane("2001:db8:0:1::1"), lane("2001:db8:0:2::1"));
        assert_eq!(lane("::ffff:10.0.0.1"), lane("10.0.0.1"));
    }
}
