//! The addresses behind a service's names, looked up again and again, so that replicas that come and go are found without a
//! restart.

use std::{net::SocketAddr, time::Duration};

use chassis::{
    outbound::resolver::{Lookup, Name},
    settings::ServiceUrl,
};
use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::time::timeout;

/// The most endpoints of one service.
const ENDPOINTS_MAX: usize = 256;

/// How long a request waits for the first look-up of its service. The look-up goes on.
pub(super) const FIRST_WAIT: Duration = Duration::from_secs(2);

/// A host and a port, of a service's URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// A name, or an address without brackets.
    pub name: String,
    /// The port.
    pub port: u16,
}

impl Host {
    /// The host and the port of a URL.
    pub fn of(url: &ServiceUrl) -> Self {
        let url = url.url();
        Self {
            name: url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned(),
            port: url.port_or_known_default().unwrap_or(80),
        }
    }
}

/// The names of one service.
pub(super) struct Discovery(Vec<Name>);

impl Discovery {
    /// Begins to look `hosts` up, and does so again after `resolve`.
    pub(super) fn new(hosts: &[Host], resolve: Duration, lookup: &Lookup) -> Self {
        Self(hosts.iter().map(|host| Name::keep(&host.name, host.port, resolve, lookup.clone())).collect())
    }

    /// A number that grows whenever the addresses change.
    pub(super) fn changes(&self) -> u64 {
        self.0.iter().map(|name| name.known().changes).sum()
    }

    /// The addresses that are known by now, in order, each with the number of the name that brought it: the first, if several did.
    pub(super) fn addresses(&self) -> Vec<(SocketAddr, usize)> {
        let of = |(at, name): (usize, &Name)| {
            name.known().addresses.iter().map(|address| (*address, at)).collect::<Vec<_>>()
        };
        let mut addresses: Vec<_> = self.0.iter().enumerate().flat_map(of).collect();
        addresses.sort_unstable();
        addresses.dedup_by_key(|(address, _)| *address);
        addresses.truncate(ENDPOINTS_MAX);
        addresses
    }

    /// Waits until one of the names has brought an address, or all have brought none.
    pub(super) async fn first(&self) {
        let mut trying: FuturesUnordered<_> = self.0.iter().map(Name::tried).collect();
        let some = async {
            while let Some(known) = trying.next().await {
                if !known.addresses.is_empty() {
                    return;
                }
            }
        };
        let _ = timeout(FIRST_WAIT, some).await;
    }
}
