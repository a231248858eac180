//! The way to a service and back.
//!
//! [`discover`] looks names up, [`balance`] picks one of the endpoints by their [`health`], which [`readiness`] asks them about,
//! [`pool`] keeps connections to each (those of HTTP/2 in [`http2`]), [`forward`] sends a request over one, or over another within the [`budget`], and
//! [`response`] strips the answer.

mod balance;
mod budget;
mod checked;
mod discover;
pub mod forward;
mod health;
mod http2;
mod location;
mod pool;
mod readiness;
mod response;

use std::{net::SocketAddr, sync::Arc, time::Duration};

pub(crate) use self::{
    balance::{Again, Endpoint, Endpoints},
    discover::Host,
    health::Fault,
    pool::{ConnectError, Connector, SendError, ServerNames, ServiceStream, Tries},
    readiness::{Readiness, ReadyAt},
    response::ExposedHeaders,
};
use crate::plan::UpstreamPlan;

/// A service, with all of its endpoints.
pub struct Upstream {
    endpoints: Endpoints,
    hosts: Box<[Host]>,
    /// How often a request that waits for it looks whether its endpoint hangs, if that is asked.
    look: Option<Duration>,
    /// Whether it is believed when it says that it did nothing.
    believes_not_applied: bool,
    /// Whether it speaks HTTP/2, so that a request may come back though it was given away.
    is_http2: bool,
    /// Whether it does nothing twice that has one `Idempotency-Key`.
    honours_idempotency_key: bool,
}

impl Upstream {
    /// Begins to look for the service's endpoints.
    pub(crate) fn start(plan: &UpstreamPlan) -> Arc<Self> {
        let UpstreamPlan {
            name,
            hosts,
            names,
            connect,
            pool_idle,
            resolve,
            eject,
            readiness,
            believes_not_applied,
            shed: _,
            http2,
            honours_idempotency_key,
            tls,
        } = plan;
        let connector = Connector::plain(name, *connect, *pool_idle).named(names.clone(), tls.clone());
        let connector = if *http2 { connector.by_http2() } else { connector };
        let endpoints = Endpoints::new(name, hosts, connector, *resolve, *eject, readiness.clone());
        Arc::new(Self {
            hosts: hosts.as_slice().into(),
            look: endpoints.asked_every(),
            believes_not_applied: *believes_not_applied,
            is_http2: *http2,
            honours_idempotency_key: *honours_idempotency_key,
            endpoints,
        })
    }

    /// Whether it is known to sign nobody up or in. As with the other, that is known of task-service alone.
    pub(crate) fn has_no_accounts(&self) -> bool {
        self.believes_not_applied
    }

    /// Whether that is the service itself, by a name of its own or by one of its addresses.
    fn is_at(&self, host: &str, port: u16) -> bool {
        self.hosts.iter().any(|own| own.port == port && own.name.eq_ignore_ascii_case(host))
            || host.parse().is_ok_and(|address| self.endpoints.has(SocketAddr::new(address, port)))
    }
}
