//! Listening and draining, the same for every service.
//!
//! HTTP/1.1 and h2c on one port. Everything that a peer could stretch has a bound: how many connections there are, and
//! how many of them one address has; how long one may idle; how long a head may take, and how large it may be; how many
//! streams a connection may hold, how slowly each may be taken or sent, and how long a drain waits.

use std::{net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

mod connection;
mod exchange;
mod files;
mod io;
mod patience;
mod places;
mod service;
mod settings;
mod streams;
pub mod trusted_proxies;

use connection::{Bounds, Connection, Graceful};
pub use exchange::TooSlow;
pub use files::FILES_MIN;
use places::Places;
pub use service::{HttpService, Stack};
pub use settings::ServerSettings;
use streams::{Front, Streams};

/// How much of an answer one stream may have waiting inside hyper: hyper's own 400 KiB, a hundred times on one connection,
/// is what a peer that reads nothing would hold.
const STREAM_BUFFER_BYTES: usize = 64 * 1024;

/// How much of a request's body may come before anybody asks for it, for one stream and for all of a connection.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;

/// Streams that were reset before we saw them, and streams that a peer made us reset; beyond them the connection goes.
/// Rapid reset (CVE-2023-44487) and its mirror (CVE-2025-8671).
const RESET_BY_PEER_MAX: usize = 20;
const RESET_BY_US_MAX: usize = 64;

/// How often an HTTP/2 peer is asked whether it is still there, and how long it may take to say so.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_WAIT: Duration = Duration::from_secs(10);

/// After an `accept` that failed: out of file descriptors, as a rule; trying again at once would only burn the core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Who is at the other end of the connection; among the extensions of every request.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// Serves `listener` until `stop`, then lets what is in flight finish, for at most `settings.drain`.
pub async fn serve(
    listener: TcpListener,
    service: impl HttpService,
    settings: &ServerSettings,
    stop: CancellationToken,
) {
    let stack = Stack::new(service);
    let bounds = Arc::new(Bounds::new(settings));
    let places = Places::new(settings);
    let settings = Arc::new(settings.clone());
    let (leave, cut) = (CancellationToken::new(), CancellationToken::new());
    loop {
        // Taken before accepting: beyond the bound a connection waits in the kernel, not in our memory.
        let permit = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            permit = places.free() => permit,
        };
        let (stream, address) = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    warn!(%error, "accept a connection");
                    places.make_room();
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        let connection = Arc::new(Connection::new(bounds.clone(), leave.child_token()));
        let Some(place) = places.take(permit, address.ip(), &connection) else {
            metrics::counter!("http_connections_refused_total", "reason" => "share").increment(1);
            debug!(peer = %address, "refused a connection: its address has its share");
            continue;
        };
        io::prepare(&stream);
        let front = Front { stack: stack.clone(), peer: Peer(address), connection };
        let (settings, cut) = (settings.clone(), cut.clone());
        tokio::spawn(async move {
            tokio::select! {
                biased;
                () = cut.cancelled() => {}
                () = converse(stream, front, &settings) => {}
            }
            drop(place);
        });
    }
    drop(listener);
    let open = places.count();
    leave.cancel();
    if timeout(settings.drain, places.empty()).await.is_err() {
        // Before they are cut, so that their access lines say who cut them.
        crate::layer::access_log::cut();
        warn!(drain_secs = settings.drain.as_secs(), "requests were still running at the end of the drain");
        cut.cancel();
        places.empty().await;
    } else {
        info!(connections = open, "drained");
    }
}

/// Serves one connection, to its end.
async fn converse(stream: TcpStream, front: Front, settings: &ServerSettings) {
    let (connection, Peer(peer)) = (front.connection.clone(), front.peer);
    let stream = io::Recorded::new(stream, connection.clone(), io::abort);
    let builder = protocol(settings, Streams(connection.clone()));
    let served = builder.serve_connection(TokioIo::new(stream), front);
    match connection::watch(served, &connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, %peer, "connection ended"),
        Err(cause) => {
            metrics::counter!("http_connections_closed_total", "reason" => cause.name()).increment(1);
            debug!(reason = cause.name(), %peer, "closed a connection");
        }
    }
}

fn protocol(settings: &ServerSettings, streams: Streams) -> auto::Builder<Streams> {
    let mut builder = auto::Builder::new(streams);
    builder
        .http1()
        // Its deadline for a head is one for idling, too; ours are told apart, and kept by the connection's watch.
        .header_read_timeout(None)
        .max_headers(settings.head_fields)
        .max_buf_size(settings.head_bytes);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(settings.streams_max)
        .max_header_list_size(u32::try_from(settings.head_bytes).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(STREAM_BUFFER_BYTES)
        .max_pending_accept_reset_streams(RESET_BY_PEER_MAX)
        .max_local_error_reset_streams(RESET_BY_US_MAX)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_WAIT);
    builder
}

/// hyper's connection of a [`Front`].
type Served<'a> = auto::Connection<'a, TokioIo<io::Recorded<TcpStream>>, Front, Streams>;

impl Graceful for Served<'_> {
    fn graceful_shutdown(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

#[cfg(test)]
pub(crate) mod tests;
