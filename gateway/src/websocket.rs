//! WebSocket (RFC 6455), on routes that allow it: HTTP/1.1 in, HTTP/1.1 to the service.
//!
//! The [`handshake`] is a request like any other and passes every station. A [`tunnel`] opens only when the service has answered it
//! with 101 and the right `Sec-WebSocket-Accept`; anything else is an ordinary answer, and what the client has sent behind its
//! handshake is a new request. The tunnel holds the request's permits, and one of its own.

mod frames;
pub mod handshake;
mod tunnel;

use std::{sync::Arc, time::Duration};

use chassis::serve;
use http::{HeaderMap, Response, header};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub use self::handshake::{Handshake, HandshakeError};
use crate::{admit::InFlightPermit, upstream::ServiceStream};

/// How long a WebSocket may stay.
#[derive(Clone, Copy, Debug)]
pub struct Waits {
    /// While nothing comes over it.
    pub idle: Duration,
    /// In all: nobody looks at its caller's credentials again.
    pub age: Duration,
}

/// How many WebSockets may be open, and how many are.
pub struct WebSockets(Arc<Semaphore>);

/// One open WebSocket, until this is dropped.
pub struct WebSocketPermit(#[expect(dead_code, reason = "it is held")] OwnedSemaphorePermit);

impl WebSockets {
    /// At most so many at once.
    pub fn new(max: usize) -> Self {
        Self(Arc::new(Semaphore::new(max)))
    }

    /// One more, unless there are as many as may be.
    pub fn open_one(&self) -> Option<WebSocketPermit> {
        let permit = self.0.clone().try_acquire_owned().ok()?;
        metrics::gauge!(crate::metrics::WEBSOCKETS.name).increment(1.0);
        Some(WebSocketPermit(permit))
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
