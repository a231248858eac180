//! How many connections a listener holds, how many of them one address, and which idle ones make room for others.

use std::{
    collections::{BTreeSet, HashMap},
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit},
    time::timeout,
};

use super::{ServerSettings, connection::Connection};
use crate::serve::trusted_proxies::TrustedProxies;

/// When fewer than one in so many permits is left, idle connections are closed for newcomers.
const FREE_SHARE: usize = 10;

/// Of all permits, one in so many is issued back at once then.
const EVICTED_SHARE: usize = 100;

/// How long a connection is left alone: a newcomer needs a moment to say what it wants.
const EVICTED_AFTER: Duration = Duration::from_secs(1);

/// How often idle ones are looked for while no permit is left at all.
const FULL_PAUSE: Duration = Duration::from_millis(100);

/// The permits of a listener.
pub(super) struct ConnectionPermits {
    free: Arc<Semaphore>,
    max: usize,
    per_address_max: usize,
    trusted: TrustedProxies,
    issued: Mutex<Issued>,
}

#[derive(Default)]
struct Issued {
    next: u64,
    connections: HashMap<u64, Arc<Connection>>,
    /// Whose they are, but for trusted proxies' and those that have been told to go.
    by_address: HashMap<IpAddr, BTreeSet<u64>>,
}

/// Leave to hold a connection, until it is dropped.
pub(super) struct ConnectionPermit {
    permits: Arc<ConnectionPermits>,
    id: u64,
    address: Option<IpAddr>,
    _slot: OwnedSemaphorePermit,
}

impl ConnectionPermits {
    pub fn new(settings: &ServerSettings) -> Arc<Self> {
        Arc::new(Self {
            free: Arc::new(Semaphore::new(settings.connections_max)),
            max: settings.connections_max,
            per_address_max: settings.connections_per_address_max,
            trusted: settings.trusted_proxies.clone(),
            issued: Mutex::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Issued> {
        self.issued.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One of the bounded number, for whoever comes next.
    pub async fn slot(&self) -> OwnedSemaphorePermit {
        loop {
            match timeout(FULL_PAUSE, self.free.clone().acquire_owned()).await {
                Ok(permit) => return permit.expect("the semaphore is never closed"),
                Err(_) => self.make_room(),
            }
        }
    }

    /// How many are issued.
    pub fn issued(&self) -> usize {
        self.max - self.free.available_permits()
    }

    /// Tells every connection to finish what is in flight, and go.
    pub fn tell_to_leave(&self) {
        self.lock().connections.values().for_each(|connection| connection.leave());
    }

    /// Tells every connection to go at once.
    pub fn cut(&self) {
        self.lock().connections.values().for_each(|connection| connection.cut());
    }

    /// Returns when all of them are back, and issues no more.
    pub async fn all_returned(&self) {
        let all = u32::try_from(self.max).unwrap_or(u32::MAX);
        let _ = self.free.acquire_many(all).await.map(SemaphorePermit::forget);
    }

    /// The permit for `connection`, which comes from `peer`; `None` if that address has its share, and all of it is at work.
    pub fn issue(
        self: &Arc<Self>,
        slot: OwnedSemaphorePermit,
        peer: IpAddr,
        connection: &Arc<Connection>,
    ) -> Option<ConnectionPermit> {
        let address = (!self.trusted.trusts(peer)).then(|| network(peer));
        let mut issued = self.lock();
        if let Some(address) = address
            && !issued.share(address, self.per_address_max)
        {
            return None;
        }
        let id = issued.next;
        issued.next += 1;
        issued.connections.insert(id, connection.clone());
        if let Some(address) = address {
            issued.by_address.entry(address).or_default().insert(id);
        }
        let crowded = issued.connections.len() > self.max - self.max / FREE_SHARE;
        drop(issued);
        if crowded {
            self.make_room();
        }
        Some(ConnectionPermit { permits: self.clone(), id, address, _slot: slot })
    }

    /// Closes those that have idled longest.
    pub fn make_room(&self) {
        let issued = self.lock();
        let mut idle: Vec<_> =
            issued.connections.values().filter_map(|c| Some((c.idle_since()?, c))).collect();
        let Some((_, any)) = idle.first() else { return };
        let until = any.now().saturating_sub(u64::try_from(EVICTED_AFTER.as_millis()).unwrap_or(u64::MAX));
        idle.retain(|(since, _)| *since <= until);
        let evicted = (self.max / EVICTED_SHARE).clamp(1, idle.len().max(1));
        if evicted < idle.len() {
            idle.select_nth_unstable_by_key(evicted, |(since, _)| *since);
        }
        for (_, connection) in idle.into_iter().take(evicted) {
            connection.evict();
        }
    }
}

impl Issued {
    /// Whether `address` may have one more, if need be for the one of its own that has idled longest.
    fn share(&mut self, address: IpAddr, max: usize) -> bool {
        let Some(own) = self.by_address.get_mut(&address).filter(|own| own.len() >= max) else { return true };
        let idle = own.iter().filter_map(|id| Some((self.connections.get(id)?.idle_since()?, *id)));
        let Some((_, id)) = idle.min() else { return false };
        own.remove(&id);
        if let Some(connection) = self.connections.get(&id) {
            connection.evict();
        }
        true
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut issued = self.permits.lock();
        let connection = issued.connections.remove(&self.id);
        if let Some(address) = self.address
            && let Some(own) = issued.by_address.get_mut(&address)
        {
            own.remove(&self.id);
            if own.is_empty() {
                issued.by_address.remove(&address);
            }
        }
        drop(issued);
        drop(connection);
    }
}

/// Whom a connection is counted under: for IPv6 the network of 64 bits, of which anybody has all addresses.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_network_share() {
        for (peer, want) in [
            ("192.0.2.7", "192.0.2.7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("2001:db8:1:2::1", "2001:db8:1:2::"),
            ("2001:db8:1:3::1", "2001:db8:1:3::"),
        ] {
            assert_eq!(network(peer.parse().unwrap()).to_string(), want);
        }
    }
}
