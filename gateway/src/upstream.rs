//! The way to a service and back.
//!
//! [`discover`] looks names up, [`balance`] picks one of the endpoints by their [`health`], which [`readiness`] asks them about,
//! [`pool`] keeps connections to each, [`forward`] sends a request over one, or over another within the [`budget`], and
//! [`response`] strips the answer.

mod balance;
mod budget;
mod checked;
mod discover;
pub mod forward;
mod health;
mod pool;
mod readiness;
mod response;

use std::{sync::Arc, time::Duration};

pub(crate) use self::{
    balance::{Again, Endpoint, Endpoints},
    discover::Host,
    health::Fault,
    pool::{ConnectError, Connector, SendError, ServerNames, Tries},
    readiness::{Readiness, ReadyAt},
    response::ExposedHeaders,
};
use crate::plan::UpstreamPlan;

/// A service, with all of its endpoints.
pub struct Upstream {
    endpoints: Endpoints,
    /// How long its answer may take to begin.
    timeout: Duration,
    /// How often a request that waits for it looks whether its endpoint hangs.
    look: Duration,
    /// How long its answer may pause.
    idle: Duration,
    /// Whether it is believed when it says that it did nothing.
    believes_not_applied: bool,
    /// Whether it does nothing twice that has one `Idempotency-Key`.
    honours_idempotency_key: bool,
}

impl Upstream {
    /// Begins to look for the service's endpoints.
    pub(crate) fn start(plan: &UpstreamPlan) -> Arc<Self> {
        let UpstreamPlan {
            name,
            hosts,
            connect,
            timeout,
            idle,
            pool_idle,
            resolve,
            eject,
            readiness,
            believes_not_applied,
            honours_idempotency_key,
        } = plan;
        let connector = Connector::plain(name, *connect, *pool_idle);
        let endpoints = Endpoints::new(name, hosts, connector, *resolve, *eject, readiness.clone());
        Arc::new(Self {
            timeout: *timeout,
            look: endpoints.asked_every().unwrap_or(*timeout),
            idle: *idle,
            believes_not_applied: *believes_not_applied,
            honours_idempotency_key: *honours_idempotency_key,
            endpoints,
        })
    }
}
