//! Listening and draining, the same for every service.
//!
//! HTTP/1.1 and h2c on one port. Everything that a peer could stretch has a bound: how many connections there
//! are, how long a head may take, how large it may be, how many streams a connection may hold, and how long a
//! drain waits.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use serde::Deserialize;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{Sleep, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tower::{Service, ServiceExt, service_fn};
use tracing::{debug, info, warn};

use crate::{Body, settings, trusted_proxies::TrustedProxies};

/// A finished stack: takes a request, always has an answer.
pub trait HttpService:
    Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send>
    + Clone
    + Send
    + Sync
    + 'static
{
}

impl<S> HttpService for S where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static
{
}

/// Who is at the other end of the connection; among the extensions of every request.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// The bounds of a listener.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerSettings {
    /// Connections held at once; further ones wait in the kernel's queue.
    pub connections_max: usize,
    /// How long a request's head may take to arrive, and how long an idle HTTP/1.1 connection is kept.
    #[serde(rename = "head_secs", deserialize_with = "settings::secs")]
    pub head: Duration,
    /// How long a peer may take none of what we have for it.
    #[serde(rename = "write_secs", deserialize_with = "settings::secs")]
    pub write: Duration,
    /// The proxies in front that are believed about whom they speak for.
    pub trusted_proxies: TrustedProxies,
    /// The largest head of a request, in bytes.
    pub head_bytes: usize,
    /// The most header fields of a request.
    pub head_fields: usize,
    /// Streams that one HTTP/2 connection may have open.
    pub streams_max: u32,
    /// How long a service that was told to stop still accepts, so that whoever balances can look elsewhere.
    #[serde(rename = "drain_delay_secs", deserialize_with = "settings::secs")]
    pub drain_delay: Duration,
    /// How long requests in flight may then take to finish.
    #[serde(rename = "drain_secs", deserialize_with = "settings::secs")]
    pub drain: Duration,
}

impl ServerSettings {
    /// The bounds of its numbers. hyper makes room for as many fields as a head may have, so that a number beyond any sense
    /// would end the process at the first request.
    pub const BOUNDS: settings::Bounds = &[
        ("connections_max", 1..=1_000_000),
        ("head_secs", 1..=3600),
        ("write_secs", 1..=3600),
        ("head_bytes", 8192..=1_048_576),
        ("head_fields", 1..=10_000),
        ("streams_max", 1..=10_000),
        ("drain_delay_secs", 0..=3600),
        ("drain_secs", 0..=3600),
    ];

    /// Checks the bounds that would stop the server from working; `prefix` is the service's, as `GATEWAY_`.
    pub fn check(&self, prefix: &str) -> Result<(), settings::SettingsError> {
        let wrong = |key: &str, reason: &str| {
            Err(settings::SettingsError::new(format!("{prefix}SERVER__{key}"), reason))
        };
        match self {
            Self { connections_max: 0 | Semaphore::MAX_PERMITS.., .. } => wrong(
                "CONNECTIONS_MAX",
                "must be at least 1 and a number of connections that a machine can hold",
            ),
            Self { head: Duration::ZERO, .. } => wrong("HEAD_SECS", "must be at least 1"),
            Self { write: Duration::ZERO, .. } => wrong("WRITE_SECS", "must be at least 1"),
            Self { head_bytes: ..8192, .. } => wrong("HEAD_BYTES", "must be at least 8192"),
            Self { head_bytes: 1_048_577.., .. } => wrong("HEAD_BYTES", "must be at most 1048576"),
            Self { head_fields: 0, .. } => wrong("HEAD_FIELDS", "must be at least 1"),
            Self { streams_max: 0, .. } => wrong("STREAMS_MAX", "must be at least 1"),
            _ => Ok(()),
        }
    }
}

/// Serves `listener` until `stop`, then lets what is in flight finish, for at most `settings.drain`.
pub async fn serve<S: HttpService>(
    listener: TcpListener,
    service: S,
    settings: &ServerSettings,
    stop: CancellationToken,
) {
    let builder = Arc::new(protocol(settings));
    let connections = Arc::new(Semaphore::new(settings.connections_max));
    let graceful = GracefulShutdown::new();
    loop {
        // Taken before accepting: beyond the bound a connection waits in the kernel, not in our memory.
        let permit = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            permit = connections.clone().acquire_owned() => permit.expect("the semaphore is never closed"),
        };
        let (stream, peer) = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, as a rule; trying again at once would only burn the core.
                    warn!(%error, "accept a connection");
                    sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
        };
        let _ = stream.set_nodelay(true);
        let service = service.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(Peer(peer));
            service.clone().oneshot(request)
        });
        let builder = builder.clone();
        let (head, write) = (settings.head, settings.write);
        let watcher = graceful.watcher();
        tokio::spawn(async move {
            metrics::gauge!("http_connections").increment(1.0);
            let io = TokioIo::new(Patient::new(stream, head, write));
            let connection =
                builder.serve_connection_with_upgrades(io, TowerToHyperService::new(service)).into_owned();
            if let Err(error) = watcher.watch(connection).await {
                debug!(%error, %peer, "connection ended");
            }
            metrics::gauge!("http_connections").decrement(1.0);
            drop(permit);
        });
    }
    drop(listener);
    let open = graceful.count();
    if timeout(settings.drain, graceful.shutdown()).await.is_err() {
        crate::trace::cut();
        warn!(drain_secs = settings.drain.as_secs(), "requests were still running at the end of the drain");
    } else {
        info!(connections = open, "drained");
    }
}

fn protocol(settings: &ServerSettings) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        // Without a timer the head's deadline does nothing.
        .timer(TokioTimer::new())
        .header_read_timeout(settings.head)
        .max_headers(settings.head_fields)
        .max_buf_size(settings.head_bytes);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(settings.streams_max)
        .max_header_list_size(u32::try_from(settings.head_bytes).unwrap_or(u32::MAX))
        .initial_stream_window_size(64 * 1024)
        .initial_connection_window_size(1024 * 1024)
        // Rapid reset (CVE-2023-44487) and its mirror, where the peer makes us reset (CVE-2025-8671).
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(64)
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10));
    builder
}

const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Closes a connection that doesn't say in time which protocol it speaks, or takes nothing of what we have for it.
///
/// The head's deadline starts only when the protocol is known, so a peer that sends nothing, or the first bytes of the
/// HTTP/2 preface and no more, would be held for ever. So would one that never reads.
struct Patient {
    stream: TcpStream,
    /// Until the protocol is known: the deadline, and how much of the preface has come.
    waiting: Option<(Pin<Box<Sleep>>, usize)>,
    write: Duration,
    /// Since when nothing is taken: the deadline for that.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Patient {
    fn new(stream: TcpStream, head: Duration, write: Duration) -> Self {
        Self { stream, waiting: Some((Box::pin(sleep(head)), 0)), write, stalled: None }
    }

    /// Keeps the deadline of a write that may be waiting.
    fn timed<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.stalled = None;
            return polled;
        }
        let write = self.write;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(write)));
        stalled.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        let polled = Pin::new(&mut this.stream).poll_read(cx, buffer);
        let Some((deadline, seen)) = &mut this.waiting else { return polled };
        if polled.is_pending() {
            return match deadline.as_mut().poll(cx) {
                Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
                Poll::Pending => Poll::Pending,
            };
        }
        let new = &buffer.filled()[before..];
        let rest = &H2_PREFACE[*seen..];
        *seen += new.len();
        if new.is_empty() || !rest.starts_with(new) || *seen == H2_PREFACE.len() {
            this.waiting = None;
        }
        polled
    }
}

impl AsyncWrite for Patient {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, data);
        self.timed(cx, polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.timed(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use http_body_util::BodyExt;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        sync::Notify,
    };

    use super::*;

    pub(crate) fn settings() -> ServerSettings {
        ServerSettings {
            connections_max: 100,
            head: Duration::from_secs(10),
            write: Duration::from_secs(60),
            trusted_proxies: TrustedProxies::default(),
            head_bytes: 32 * 1024,
            head_fields: 100,
            streams_max: 100,
            drain_delay: Duration::ZERO,
            drain: Duration::from_secs(25),
        }
    }

    /// Where a request waits inside the server.
    #[derive(Default)]
    struct Gate {
        arrived: Notify,
        go: Notify,
    }

    /// A server whose requests wait at `gate`; how to reach it, how to stop it, and its end.
    async fn waiting(
        settings: ServerSettings,
        gate: Arc<Gate>,
    ) -> (SocketAddr, CancellationToken, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let service = service_fn(move |_: Request<Body>| {
            let gate = gate.clone();
            async move {
                gate.arrived.notify_one();
                gate.go.notified().await;
                Ok::<_, Infallible>(Response::new(Body::from("done")))
            }
        });
        let token = stop.clone();
        let end = tokio::spawn(async move { serve(listener, service, &settings, token).await });
        (address, stop, end)
    }

    async fn closed(stream: &mut TcpStream) -> Vec<u8> {
        let mut read = Vec::new();
        let _ =
            timeout(Duration::from_secs(20), stream.read_to_end(&mut read)).await.expect("closed in time");
        read
    }

    #[tokio::test]
    async fn a_request_in_flight_survives_the_drain() {
        let gate = Arc::new(Gate::default());
        let (address, stop, end) = waiting(settings(), gate.clone()).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        gate.arrived.notified().await;
        stop.cancel();
        gate.go.notify_one();
        let answer = String::from_utf8(closed(&mut stream).await).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("done"), "{answer}");
        end.await.unwrap();
        assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
    }

    #[tokio::test]
    async fn a_drain_does_not_wait_for_ever() {
        let settings = ServerSettings { drain: Duration::from_millis(50), ..settings() };
        let gate = Arc::new(Gate::default());
        let (address, stop, end) = waiting(settings, gate.clone()).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        gate.arrived.notified().await;
        stop.cancel();
        timeout(Duration::from_secs(20), end).await.expect("the drain ends").unwrap();
    }

    #[tokio::test]
    async fn a_peer_that_does_not_finish_its_head_is_closed() {
        let settings = ServerSettings { head: Duration::from_millis(50), ..settings() };
        let (address, _stop, _end) = waiting(settings, Arc::new(Gate::default())).await;
        for start in ["", "P", "PRI * HTTP/2.0\r\n", "GET / HTTP/1.1\r\nhost: a\r\n"] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(start.as_bytes()).await.unwrap();
            closed(&mut stream).await;
        }
    }

    #[tokio::test]
    async fn a_head_that_is_too_large_is_refused() {
        let gate = Arc::new(Gate::default());
        let (address, _stop, _end) = waiting(settings(), gate).await;
        let many = "x: y\r\n".repeat(101);
        let long = format!("x: {}\r\n", "y".repeat(33 * 1024));
        for fields in [many, long] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(format!("GET / HTTP/1.1\r\nhost: a\r\n{fields}\r\n").as_bytes()).await.unwrap();
            let answer = String::from_utf8_lossy(&closed(&mut stream).await).into_owned();
            assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
        }
    }

    #[tokio::test]
    async fn connections_beyond_the_bound_wait_until_one_ends() {
        let gate = Arc::new(Gate::default());
        let (address, _stop, _end) =
            waiting(ServerSettings { connections_max: 1, ..settings() }, gate.clone()).await;
        let mut first = TcpStream::connect(address).await.unwrap();
        first.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut second = TcpStream::connect(address).await.unwrap();
        second.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut byte = [0];
        assert!(
            timeout(Duration::from_millis(50), second.read(&mut byte)).await.is_err(),
            "the second waits"
        );
        gate.go.notify_one();
        assert!(closed(&mut first).await.ends_with(b"done"));
        gate.go.notify_one();
        assert!(closed(&mut second).await.ends_with(b"done"));
    }

    #[tokio::test]
    async fn h2c_is_spoken_on_the_same_port() {
        let gate = Arc::new(Gate::default());
        gate.go.notify_one();
        let (address, _stop, _end) = waiting(settings(), gate).await;
        let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
        tokio::spawn(connection);
        let request = Request::get(format!("http://{address}/")).body(Body::empty()).unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.version(), http::Version::HTTP_2);
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "done");
    }

    #[tokio::test]
    async fn a_peer_that_never_reads_is_closed() {
        let settings = ServerSettings { write: Duration::from_millis(50), ..settings() };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = service_fn(|_: Request<Body>| async {
            Ok::<_, Infallible>(Response::new(Body::from(vec![0; 64 * 1024 * 1024])))
        });
        tokio::spawn(async move { serve(listener, service, &settings, CancellationToken::new()).await });
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        // What can be written shows when the other end has gone.
        let gone = async {
            while stream.write_all(b"x").await.is_ok() {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(20), gone).await.expect("closed in time");
    }
}
