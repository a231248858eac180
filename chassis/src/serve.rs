//! Listening and draining, the same for every service.
//!
//! HTTP/1.1 and h2c on one port. Everything that a peer could stretch has a bound: how many connections there are, and
//! how many of them one address has; how long one may idle; how long a head may take, and how large it may be; how many
//! streams a connection may hold, how slowly each may be taken or sent, and how long a drain waits.

use std::{io::Result, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use futures_util::FutureExt;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto,
};
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

mod connection;
mod data_rate;
pub(crate) mod exchange;
mod files;
mod frames;
mod io;
mod permits;
mod refused;
mod service;
mod settings;
mod streams;
mod tls;
pub mod trusted_proxies;
mod tunnel;
mod workers;

use connection::{Bounds, Connection, Graceful};
pub use exchange::TooSlow;
pub use files::FILES_MIN;
use permits::ConnectionPermits;
pub use refused::Refused;
pub use service::{HttpService, Replaceable, Stack};
pub use settings::ServerSettings;
use streams::{ConnectionService, StreamExecutor};
use tls::Stream;
pub use tls::{Tls, TlsError, TlsSettings, TlsSlot};
pub use tunnel::{ClientStream, Leave, Tunnel};
pub use workers::Workers;

/// How much of an answer one stream may have waiting inside hyper: hyper's own 400 KiB, a hundred times on one connection,
/// is what a peer that reads nothing would hold.
const STREAM_BUFFER_BYTES: usize = 64 * 1024;

/// How much of a request's body may come before anybody asks for it, for one stream and for all of a connection.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;

/// Streams that a peer made us reset; beyond them the connection goes (CVE-2025-8671, the mirror of rapid reset).
const RESET_BY_US_MAX: usize = 64;

/// How many fields of a head hyper has room for by itself.
const HYPER_FIELDS: usize = 100;

/// How often an HTTP/2 peer is asked whether it is still there, and how long it may take to say so.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_WAIT: Duration = Duration::from_secs(10);

/// After an `accept` that failed: out of file descriptors, as a rule; trying again at once would only burn the core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The most connections that are accepted after a drain has begun: those that waited in the kernel, which would be reset with the
/// listener.
const LATE_MAX: usize = 4096;

/// Who is at the other end of the connection; among the extensions of every request.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// Whether it came over TLS, which ended here.
    pub is_tls: bool,
}

/// Serves `listener` until `stop`, then lets what is in flight finish, for at most `settings.drain`.
///
/// The life of a connection:
///
/// 1. A permit is taken ([`permits`]) before anything is accepted: beyond the bound connections wait in the kernel.
/// 2. It is accepted, and counted to its address. An address that has its share makes room of its own, or is refused.
/// 3. Its socket is set up, and TLS ends here, where it is on ([`tls`]).
/// 4. hyper drives it, as HTTP/1.1 or h2c, whichever its first bytes are. Beside hyper runs the [`connection`]'s watch: it
///    closes what idles, what sends no whole head in time, and what takes or sends less than the least rate.
/// 5. Each request begins an [`exchange`] and is answered by the [`Stack`]. An HTTP/2 stream that is too slow is reset alone.
/// 6. A drain, an idle time or an eviction tells it to go: it finishes what is in flight, and its answers say that they
///    are the last, and event streams end; one that idles as a drain begins has a moment for a request that is on its
///    way. At the end of the drain it is cut.
/// 7. Whoever still sends is read on for a moment ([`io`]), so that it hears the last answer.
/// 8. The permit goes back when the connection is closed.
///
/// An upgrade (WebSocket) ends 4 and 5, and keeps the others: the [`tunnel`] runs in the task of its connection, holds the permit,
/// and is told to go as requests are ([`Connection::leave`], [`Connection::cut`]).
pub async fn serve(
    listener: TcpListener,
    service: impl HttpService,
    settings: &ServerSettings,
    stop: CancellationToken,
) {
    serve_on(&Workers::current(), listener, Stack::new(service), TlsSlot::default(), settings, stop).await;
}

/// The same, by workers, and by TLS where that is set.
pub(crate) async fn serve_on(
    workers: &Workers,
    listener: TcpListener,
    stack: Stack,
    tls: TlsSlot,
    settings: &ServerSettings,
    stop: CancellationToken,
) {
    let bounds = Arc::new(Bounds::new(settings));
    let permits = ConnectionPermits::new(settings);
    let settings = Arc::new(settings.clone());
    let mut late = 0..LATE_MAX;
    loop {
        let slot = tokio::select! {
            biased;
            () = stop.cancelled() => match permits.slot().now_or_never() {
                Some(slot) => slot,
                None => break,
            },
            slot = permits.slot() => slot,
        };
        let (stream, address) = tokio::select! {
            biased;
            () = stop.cancelled() => match late.next().and_then(|_| waiting(&listener)) {
                Some(accepted) => accepted,
                None => break,
            },
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    warn!(%error, "a connection can't be accepted; trying again (are too many files open?)");
                    permits.make_room();
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        let connection = Arc::new(Connection::new(bounds.clone()));
        let Some(permit) = permits.issue(slot, address.ip(), &connection) else {
            metrics::counter!(crate::metrics::CONNECTIONS_REFUSED.name, "reason" => "share").increment(1);
            debug!(peer = %address, "refused a connection: its address has its share");
            continue;
        };
        io::prepare(&stream);
        let stream = stream.into_std();
        let front =
            ConnectionService { stack: stack.clone(), peer: Peer { address, is_tls: false }, connection };
        let (tls, settings) = (tls.clone(), settings.clone());
        workers.spawn(async move {
            serve_connection(&tls, stream, front, &settings).await;
            drop(permit);
        });
    }
    drop(listener);
    let open = permits.issued();
    permits.tell_to_leave();
    if timeout(settings.drain, permits.all_returned()).await.is_err() {
        // Before they are cut, so that their access lines say who cut them.
        crate::layer::access_log::cut();
        warn!(drain_secs = settings.drain.as_secs(), "requests were still running at the end of the drain");
        permits.cut();
        permits.all_returned().await;
    } else {
        info!(connections = open, "drained");
    }
}

/// A connection that waits in the kernel, whether or not the runtime has heard of it.
fn waiting(listener: &TcpListener) -> Option<(TcpStream, SocketAddr)> {
    let (stream, address) = SockRef::from(listener).accept().ok()?;
    stream.set_nonblocking(true).ok()?;
    Some((TcpStream::from_std(stream.into()).ok()?, address.as_socket()?))
}

/// Serves one connection, to its end.
async fn serve_connection(
    tls: &TlsSlot,
    stream: Result<std::net::TcpStream>,
    mut front: ConnectionService,
    settings: &ServerSettings,
) {
    let (connection, peer) = (front.connection.clone(), front.peer.address);
    // From now on the runtime of this thread watches it.
    let stream = match stream.and_then(TcpStream::from_std) {
        Ok(stream) => stream,
        Err(error) => return warn!(%error, "a connection was lost: it can't be watched"),
    };
    let stream = match connection.handshake(tls.accept(stream)).await {
        Some(Ok(stream)) => stream,
        refused => {
            metrics::counter!(crate::metrics::CONNECTIONS_CLOSED.name, "reason" => "handshake").increment(1);
            let error = refused.and_then(Result::err);
            return debug!(error = error.map(tracing::field::display), %peer, "no TLS handshake");
        }
    };
    front.peer.is_tls = stream.is_tls();
    let stream = io::TrackedIo::new(stream, connection.clone(), Stream::abort);
    let builder = protocol(settings, StreamExecutor(connection.clone()));
    let served = builder.serve_connection_with_upgrades(TokioIo::new(stream), front);
    let ended = connection::watch(served, &connection).await;
    // Taken in any case: it holds the connection.
    let tunnel = connection.take_tunnel();
    match ended {
        Ok(Ok(())) => {
            if let Some(tunnel) = tunnel {
                tunnel.carry(&connection).await;
            }
        }
        Ok(Err(error)) => debug!(%error, %peer, "connection ended"),
        Err(cause) => {
            metrics::counter!(crate::metrics::CONNECTIONS_CLOSED.name, "reason" => cause.name()).increment(1);
            debug!(reason = cause.name(), %peer, "closed a connection");
        }
    }
}

fn protocol(settings: &ServerSettings, streams: StreamExecutor) -> auto::Builder<StreamExecutor> {
    let mut builder = auto::Builder::new(streams);
    builder
        .http1()
        // Its deadline for a head is one for idling, too; ours are told apart, and kept by the connection's watch.
        .header_read_timeout(None)
        .max_buf_size(settings.head_bytes);
    // Said again, hyper's own bound would cost an initialization of all places for each head.
    if settings.head_fields != HYPER_FIELDS {
        builder.http1().max_headers(settings.head_fields);
    }
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(settings.streams_max)
        .max_header_list_size(u32::try_from(settings.head_bytes).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(STREAM_BUFFER_BYTES)
        .max_pending_accept_reset_streams(settings.resets_max)
        .max_local_error_reset_streams(RESET_BY_US_MAX)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_WAIT);
    builder
}

/// hyper's connection of a [`ConnectionService`].
type Served<'a, Io> =
    auto::UpgradeableConnection<'a, TokioIo<io::TrackedIo<Io>>, ConnectionService, StreamExecutor>;

impl<Io: AsyncRead + AsyncWrite + Unpin + Send + 'static> Graceful for Served<'_, Io> {
    fn graceful_shutdown(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

#[cfg(test)]
pub(crate) mod tests;
