//! What a request costs.
//!
//! - [`instructions`]: instructions per request of each service, counted by callgrind and held to a bound.
//! - [`cost`]: one verdict in the process, by [`kinds`] of credential, beside the raw check of the same signature.
//! - [`capacity`]: verdicts over sockets, on one core, beside servers that check nothing.
//! - [`proxies`]: whole requests through the gateway, on one core, beside other authenticating proxies.
//! - [`memory`]: what the same proxies keep in memory, and how much the gateway's grows.
//! - [`tasks`]: task-service beside pgbench, and the whole path beside a FastAPI stack.
//!
//! All in a [`world`] of their own, with real credentials.

pub mod issuer;
pub mod kinds;
pub mod world;

pub mod server;
pub mod services;
pub mod wire;

pub mod capacity;
pub mod cost;
pub mod instructions;

pub mod floor;
pub mod forwarder;
pub mod peers;

pub mod memory;
pub mod paced;
pub mod proxies;

pub mod tasks;

pub mod table;

/// The middle one of them.
///
/// # Panics
///
/// Where there is none.
pub fn median(of: impl IntoIterator<Item = f64>) -> f64 {
    let mut all: Vec<_> = of.into_iter().collect();
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}
