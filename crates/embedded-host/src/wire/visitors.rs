//! How many connections each client address has, so that one client cannot have them all.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The connections of a listener, by address.
pub(crate) struct Visitors {
    max_per_address: usize,
    connections: Mutex<HashMap<IpAddr, usize>>,
}

/// One connection; it counts as long as this lives.
pub(crate) struct Visitor {
    visitors: Arc<Visitors>,
    address: IpAddr,
}

impl Visitors {
    pub(crate) fn new(max_per_address: usize) -> Arc<Visitors> {
        Arc::new(Visitors {
            max_per_address: max_per_address.max(1),
            connections: Mutex::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None` if the client has as many connections as it may.
    pub(crate) fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Visitor> {
        let address = client(address);
        let mut connections = self.lock();
        let count = connections.entry(address).or_default();
        if *count >= self.max_per_address {
            return None;
        }
        *count += 1;
        Some(Visitor {
            visitors: Arc::clone(self),
            address,
        })
    }
}

impl Drop for Visitor {
    fn drop(&mut self) {
        if let Entry::Occupied(mut entry) = self.visitors.lock().entry(self.address) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

/// Who has an IPv6 address has the 2^64 of its network.
fn client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_connections_and_no_more() {
        let visitors = Visitors::new(2);
        let address: IpAddr = [10, 0, 0, 1].into();
        let first = visitors.enter(address).unwrap();
        let _second = visitors.enter(address).unwrap();
        assert!(visitors.enter(address).is_none());
        assert!(visitors.enter([10, 0, 0, 2].into()).is_some());
        drop(first);
        assert!(visitors.enter(address).is_some());
    }

    #[test]
    fn nothing_is_kept_of_who_has_left() {
        let visitors = Visitors::new(2);
        drop(visitors.enter([10, 0, 0, 1].into()));
        assert!(visitors.lock().is_empty());
    }

    #[test]
    fn a_network_of_ipv6_is_one_client_and_ipv4_is_itself() {
        let parsed = |text: &str| client(text.parse().unwrap());
        assert_eq!(parsed("2001:db8:1:2:3::4"), parsed("2001:db8:1:2:9::9"));
        assert_ne!(parsed("2001:db8:1:2::1"), parsed("2001:db8:1:3::1"));
        assert_eq!(parsed("::ffff:10.0.0.1"), parsed("10.0.0.1"));
    }
}
