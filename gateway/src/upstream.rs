//! The way to a service and back.
//!
//! [`discover`] looks names up, [`balance`] picks one of the endpoints, [`pool`] keeps connections to each, [`forward`] sends a
//! request over one, and [`response`] strips the answer.

mod balance;
mod discover;
pub mod forward;
mod pool;
mod response;

use std::{sync::Arc, time::Duration};

use metrics::Counter;

pub(crate) use self::{
    balance::Endpoints,
    discover::Host,
    pool::{ConnectError, Connector, SendError, Tries},
    response::ExposedHeaders,
};
use crate::plan::UpstreamPlan;

/// A service, with all of its endpoints.
pub struct Upstream {
    endpoints: Endpoints,
    /// How long its answer may take to begin.
    timeout: Duration,
    /// How long its answer may pause.
    idle: Duration,
    retries: Counter,
}

impl Upstream {
    /// Begins to look for the service's endpoints.
    pub(crate) fn start(plan: &UpstreamPlan) -> Arc<Self> {
        let UpstreamPlan { name, hosts, connect, timeout, idle, pool_idle, resolve, eject } = plan;
        let connector = Connector::plain(name, *connect, *pool_idle);
        Arc::new(Self {
            endpoints: Endpoints::new(name, hosts, connector, *resolve, *eject),
            timeout: *timeout,
            idle: *idle,
            retries: metrics::counter!(crate::metrics::UPSTREAM_RETRIES.name, "service" => name.to_string()),
        })
    }
}
