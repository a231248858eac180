//! The way to a service and back.
//!
//! [`discover`] looks names up, [`balance`] picks one of the endpoints by their [`health`], [`pool`] keeps connections to each,
//! [`forward`] sends a request over one, or over another within the [`budget`], and [`response`] strips the answer.

mod balance;
mod budget;
mod discover;
pub mod forward;
mod health;
mod pool;
mod response;

use std::{sync::Arc, time::Duration};

pub(crate) use self::{
    balance::{Again, Endpoint, Endpoints},
    discover::Host,
    health::Fault,
    pool::{ConnectError, Connector, SendError, ServerNames, Tries},
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
    /// Whether it is believed when it says that it did nothing.
    believes_not_applied: bool,
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
            believes_not_applied,
        } = plan;
        let connector = Connector::plain(name, *connect, *pool_idle);
        Arc::new(Self {
            endpoints: Endpoints::new(name, hosts, connector, *resolve, *eject),
            timeout: *timeout,
            idle: *idle,
            believes_not_applied: *believes_not_applied,
        })
    }
}
