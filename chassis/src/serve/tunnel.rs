//! What goes on over an HTTP/1.1 connection after an answer of 101 (RFC 9110 §7.8).
//!
//! From then on its bytes are no heads and no bodies, and no deadline of a request holds for them: whoever opens a tunnel bounds it.
//! What stays is the connection's: its permit, its share of its address, the request's access line, and that it is told to go.

use std::{
    future::poll_fn,
    io,
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use http::Response;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tracing::debug;

use super::{connection::Connection, exchange::Exchange};
use crate::{Body, layer::access_log::Unfinished};

type Carried = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

/// A tunnel, among the extensions of the answer of 101 that opens it. It runs in the task of its connection, once the answer is
/// written.
#[derive(Clone)]
pub struct Tunnel(Arc<Mutex<Option<Opening>>>);

struct Opening {
    client: OnUpgrade,
    carry: Box<dyn FnOnce(ClientStream, Leave) -> Carried + Send>,
}

impl Tunnel {
    /// `client` stands among the extensions of the request. `carry` is over when both sides have closed, or else says what broke;
    /// at the end of a drain it is dropped.
    pub fn new<C>(client: OnUpgrade, carry: impl FnOnce(ClientStream, Leave) -> C + Send + 'static) -> Self
    where
        C: Future<Output = io::Result<()>> + Send + 'static,
    {
        let carry = Box::new(|client, leave| -> Carried { Box::pin(carry(client, leave)) });
        Self(Arc::new(Mutex::new(Some(Opening { client, carry }))))
    }
}

/// The client's side of a tunnel.
pub struct ClientStream {
    io: TokioIo<Upgraded>,
    /// What is left of the request: its access line, which has the bytes that went each way.
    line: Option<Unfinished>,
}

/// Tells a tunnel that its connection is to go.
pub struct Leave(Arc<Connection>);

impl Leave {
    /// Whether it is. The tunnel's task is woken when that changes.
    pub fn is_told(&self) -> bool {
        self.0.is_leaving()
    }
}

/// A tunnel whose answer is on its way.
pub(super) struct Opened {
    opening: Opening,
    line: Option<Unfinished>,
    /// Keeps the connection from counting as idle.
    _exchange: Arc<Exchange>,
}

impl Opened {
    /// The tunnel that an answer opens, if it does.
    pub fn by(response: &mut Response<Body>, exchange: &Arc<Exchange>) -> Option<Self> {
        let Tunnel(opening) = response.extensions_mut().remove()?;
        let opening = opening.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        let line = response.body_mut().take_request();
        Some(Self { opening, line, _exchange: exchange.clone() })
    }

    /// Runs it until it ends, or until the connection is cut.
    pub async fn carry(self, connection: &Arc<Connection>) {
        let Self { opening: Opening { client, carry }, line, _exchange } = self;
        let io = match client.await {
            Ok(upgraded) => TokioIo::new(upgraded),
            Err(error) => return debug!(%error, "no tunnel"),
        };
        let in_flight = line.as_ref().map(Unfinished::in_flight);
        let carried = carry(ClientStream { io, line }, Leave(connection.clone()));
        let mut carried = pin!(connection.until_cut(carried));
        let ended = poll_fn(|cx| match &in_flight {
            Some(in_flight) => in_flight.sync_within(|| carried.as_mut().poll(cx)),
            None => carried.as_mut().poll(cx),
        });
        match ended.await {
            Some(Ok(())) => {}
            Some(Err(error)) => debug!(%error, "a tunnel broke"),
            None => debug!("a tunnel was cut"),
        }
    }
}

impl ClientStream {
    /// Says that nothing more will come, and that this is how it should be.
    pub fn complete(&mut self) {
        if let Some(line) = &mut self.line {
            line.left(0, true);
        }
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, buffer);
        if let Some(line) = &self.line {
            line.received(buffer.filled().len() - before);
        }
        polled
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(cx, data);
        if let (Poll::Ready(Ok(bytes)), Some(line)) = (&polled, &mut self.line) {
            line.left(*bytes, false);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
