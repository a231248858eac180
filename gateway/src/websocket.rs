//! WebSocket (RFC 6455), on routes that allow it: HTTP/1.1 in, HTTP/1.1 to the service.
//!
//! The [`handshake`] is a request like any other and passes every station. A [`tunnel`] opens only when the service has answered it
//! with 101 and the right `Sec-WebSocket-Accept`; anything else is an ordinary answer, and what the client has sent behind its
//! handshake is a new request. The tunnel holds the request's permits, and one of its own.

mod frames;
pub mod handshake;
mod tunnel;

use std::{net::IpAddr, sync::Arc, time::Duration};

use chassis::serve;
use http::{HeaderMap, Response, header};
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub use self::handshake::{Handshake, HandshakeError};
use crate::{
    admit::{
        InFlightPermit,
        share::{Share, Shares},
    },
    counts::Counts,
    upstream::ServiceStream,
};

/// How long a WebSocket may stay.
#[derive(Clone, Copy, Debug)]
pub struct Waits {
    /// While nothing comes over it.
    pub idle: Duration,
    /// In all: nobody looks at its caller's credentials again.
    pub age: Duration,
}

/// How many WebSockets may be open, and how many are.
pub struct WebSockets {
    permits: Arc<Semaphore>,
    clients: Shares<IpAddr>,
}

/// One open WebSocket, until this is dropped.
pub struct WebSocketPermit {
    _permit: OwnedSemaphorePermit,
    _of_client: Share<IpAddr>,
}

/// Why one more WebSocket is not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TooMany {
    /// As many are open as may be.
    #[error("as many WebSockets are open as may be")]
    InAll,
    /// As many of this client's are.
    #[error("{0} has its share of WebSockets open")]
    OfClient(IpAddr),
}

impl WebSockets {
    /// At most `max` at once, `per_client_max` of one client.
    pub fn new(max: usize, per_client_max: usize, counts: &Counts) -> Self {
        let clients = counts.clients_websockets.bounded(per_client_max);
        Self { permits: counts.websockets.of(max), clients }
    }

    /// One more, unless there are as many as may be.
    pub fn open_one(&self, client: IpAddr) -> Result<WebSocketPermit, TooMany> {
        // As with requests: what one client has used up is told to it, and to nobody else.
        let share = self.clients.take(client).ok_or(TooMany::OfClient(client))?;
        let permit = self.permits.clone().try_acquire_owned().map_err(|_| TooMany::InAll)?;
        metrics::gauge!(crate::metrics::WEBSOCKETS.name).increment(1.0);
        Ok(WebSocketPermit { _permit: permit, _of_client: share })
    }
}

impl Drop for WebSocketPermit {
    fn drop(&mut self) {
        metrics::gauge!(crate::metrics::WEBSOCKETS.name).decrement(1.0);
    }
}

/// Opens the tunnel to `service` with the answer of 101, which is stripped already.
pub(crate) fn open<B>(
    response: &mut Response<B>,
    handshake: Handshake,
    service: ServiceStream,
    waits: Waits,
    permit: InFlightPermit,
) {
    Handshake::switch(response.headers_mut());
    let (client, counted) = handshake.into_parts();
    let tunnel = serve::Tunnel::new(client, move |client, leave| async move {
        let carried = tunnel::carry(client, service, leave, waits).await;
        drop((permit, counted));
        carried
    });
    response.extensions_mut().insert(tunnel);
}

/// Whether a header that is a list has `token` among its values, in whatever case.
fn has_token(headers: &HeaderMap, name: &header::HeaderName, token: &str) -> bool {
    let lists = headers.get_all(name).iter().filter_map(|list| list.to_str().ok());
    lists.flat_map(|list| list.split(',')).any(|one| one.trim().eq_ignore_ascii_case(token))
}
