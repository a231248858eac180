//! Connections to one endpoint that speaks HTTP/2 by prior knowledge (RFC 9113 §3.3), shared by requests.
//!
//! Unlike one of HTTP/1.1 (`pool`), such a connection is driven by tasks of hyper's: many requests hang on it, and none may wait
//! for whoever reads another's answer. It takes as many at a time as its service allows, and [`STREAMS_MAX`] at most; when none
//! has room, another one is opened. One that has failed, or whose service says that it is leaving (GOAWAY), takes no more requests
//! and ends with those that it has.

use std::{
    error::Error as _,
    future::pending,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use h2::Reason;
use http::{HeaderValue, Request, StatusCode, Uri, Version, header, uri::Scheme};
use http_body::Body as _;
use hyper::client::conn::{TrySendError, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use metrics::Gauge;
use tokio::{
    net::TcpStream,
    select,
    sync::Mutex as Turn,
    time::{Instant, timeout},
};

use super::pool::{ConnectError, SendError, Unsent};
use crate::body::bounded::BoundedBody;

/// The most requests at a time over one connection.
const STREAMS_MAX: usize = 100;

/// The most connections to one endpoint. When all are full, the one with the fewest requests takes more, and they wait for room
/// there; how many there can be is bounded by `limits.requests_max`.
const CONNECTIONS_MAX: usize = 32;

/// How much of one answer its service may send ahead of its client. All answers of a connection have that together, so that those
/// that nobody reads hold up no other.
const STREAM_BYTES: u32 = 128 * 1024;
const CONNECTION_BYTES: u32 = STREAM_BYTES * 100;

/// How much of one request's body is taken from its client ahead of its service.
const SEND_BYTES_MAX: usize = 64 * 1024;

/// How large the fields of an answer's head may be, as over HTTP/1.1.
const HEAD_BYTES_MAX: u32 = 128 * 1024;

/// While requests wait and nothing comes, a connection is asked so often whether it still lives, and must answer in that time: a
/// machine that is lost shows by nothing else.
const PING_EVERY: Duration = Duration::from_secs(10);
const PING_WAIT: Duration = Duration::from_secs(5);

/// How many requests that were given up a connection remembers: what its service still sends of them is not taken for a fault.
const GIVEN_UP_MAX: usize = 1000;

type Sender = http2::SendRequest<BoundedBody>;

type Driver = http2::Connection<TokioIo<TcpStream>, BoundedBody, TokioExecutor>;

/// The connections to one endpoint.
pub(super) struct Connections {
    listed: Mutex<Listed>,
    /// One at a time opens a connection: whoever waits meanwhile may find room there.
    turn: Turn<()>,
    /// How often nobody could be reached.
    failures: AtomicU64,
    idle: Duration,
    idling: Gauge,
}

/// Those that take requests.
#[derive(Default)]
struct Listed {
    made: u64,
    open: Vec<Open>,
}

struct Open {
    id: u64,
    sender: Sender,
    /// How many requests its service allows.
    room: Arc<AtomicUsize>,
    in_flight: usize,
    idle_since: Instant,
}

impl Open {
    fn has_room(&self) -> bool {
        self.in_flight < self.room.load(Relaxed).min(STREAMS_MAX)
    }
}

/// A request's place on a connection; it is given back when this is dropped.
pub(super) struct Stream {
    of: Arc<Connections>,
    id: u64,
    sender: Sender,
    is_kept: bool,
    /// Whether the request has a body.
    has_body: bool,
}

impl Connections {
    /// Connections that idle for `idle` at most.
    pub(super) fn new(idle: Duration, idling: Gauge) -> Arc<Self> {
        let (listed, turn, failures) = (Mutex::default(), Turn::default(), AtomicU64::default());
        Arc::new(Self { listed, turn, failures, idle, idling })
    }

    /// A place on a connection that has room; where there can't be another connection, on the one with the fewest requests.
    pub(super) fn take(self: &Arc<Self>) -> Option<Stream> {
        let mut listed = self.listed();
        let is_full = listed.open.len() >= CONNECTIONS_MAX;
        // In the order in which they were opened, so that those that are not needed any more become idle.
        let mut usable = listed.open.iter_mut().filter(|open| !open.sender.is_closed());
        let open = if is_full {
            usable.min_by_key(|open| (!open.has_room(), open.in_flight))
        } else {
            usable.find(|open| open.has_room())
        }?;
        if open.in_flight == 0 {
            self.idling.decrement(1);
        }
        open.in_flight += 1;
        let (id, sender) = (open.id, open.sender.clone());
        Some(Stream { of: self.clone(), id, sender, is_kept: true, has_body: false })
    }

    /// The same, or a place on a new connection over the stream that `connecting` brings. Whoever waits for another one's attempt
    /// fails with it: they would try one after the other, each for as long.
    pub(super) async fn get(
        self: &Arc<Self>,
        address: SocketAddr,
        connecting: impl Future<Output = Result<TcpStream, ConnectError>>,
    ) -> Result<Stream, ConnectError> {
        let failures = self.failures.load(Relaxed);
        let _mine = self.turn.lock().await;
        if let Some(stream) = self.take() {
            return Ok(stream);
        }
        if self.failures.load(Relaxed) != failures {
            return Err(ConnectError::Failed(address, io::ErrorKind::NotConnected.into()));
        }
        let opened = async {
            let (sender, driver) =
                speak(connecting.await?).await.map_err(|error| ConnectError::Failed(address, error))?;
            Ok(self.list(sender, driver))
        };
        opened.await.inspect_err(|_| {
            self.failures.fetch_add(1, Relaxed);
        })
    }

    fn list(self: &Arc<Self>, sender: Sender, driver: Driver) -> Stream {
        let room = Arc::new(AtomicUsize::new(STREAMS_MAX));
        let mut listed = self.listed();
        let id = listed.made;
        listed.made += 1;
        let (sender_of, room_of) = (sender.clone(), room.clone());
        listed.open.push(Open {
            id,
            sender: sender_of,
            room: room_of,
            in_flight: 1,
            idle_since: Instant::now(),
        });
        drop(listed);
        tokio::spawn(drive(Driven { driver, room }, Arc::downgrade(self), id, self.idle));
        Stream { of: self.clone(), id, sender, is_kept: false, has_body: false }
    }

    /// Gives a connection no more requests. It ends with those that it has.
    fn remove(&self, id: u64, is_it: impl Fn(&Open) -> bool) {
        let mut listed = self.listed();
        if let Some(at) = listed.open.iter().position(|open| open.id == id && is_it(open)) {
            let open = listed.open.remove(at);
            drop(listed);
            if open.in_flight == 0 {
                self.idling.decrement(1);
            }
        }
    }

    fn listed(&self) -> MutexGuard<'_, Listed> {
        self.listed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        let listed = self.listed.get_mut().unwrap_or_else(PoisonError::into_inner);
        for _ in listed.open.iter().filter(|open| open.in_flight == 0) {
            self.idling.decrement(1);
        }
    }
}

/// Begins to speak HTTP/2. That the other side does as well shows with its first frame.
async fn speak(stream: TcpStream) -> io::Result<(Sender, Driver)> {
    stream.set_nodelay(true)?;
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_max_send_streams(STREAMS_MAX)
        .initial_stream_window_size(STREAM_BYTES)
        .initial_connection_window_size(CONNECTION_BYTES)
        .max_send_buf_size(SEND_BYTES_MAX)
        .max_header_list_size(HEAD_BYTES_MAX)
        .max_concurrent_reset_streams(GIVEN_UP_MAX)
        // It would end the connection, and all that is on it, after so many clients have left early; a service is no stranger.
        .max_local_error_reset_streams(None)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_WAIT)
        .handshake(TokioIo::new(stream));
    connection.await.map_err(io::Error::other)
}

/// Hands requests to a connection, and knows how many its service allows.
struct Driven {
    driver: Driver,
    room: Arc<AtomicUsize>,
}

impl Future for Driven {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let polled = Pin::new(&mut self.driver).poll(cx);
        self.room.store(self.driver.current_max_send_streams(), Relaxed);
        // Its error is in the place of each answer.
        polled.map(drop)
    }
}

/// Drives a connection to its end. It is taken off the list when it has idled for too long, and ends then.
async fn drive(mut driven: Driven, of: Weak<Connections>, id: u64, idle: Duration) {
    while timeout(idle, &mut driven).await.is_err() {
        if let Some(of) = of.upgrade() {
            of.remove(id, |open| open.in_flight == 0 && open.idle_since.elapsed() >= idle);
        }
    }
    if let Some(of) = of.upgrade() {
        of.remove(id, |_| true);
    }
}

impl Stream {
    /// Whether its connection was there before: that it breaks says little of the endpoint.
    pub(super) fn is_kept(&self) -> bool {
        self.is_kept
    }

    /// Sends a request to the service of that name.
    pub(super) fn send(
        &mut self,
        request: Request<BoundedBody>,
        host: &HeaderValue,
    ) -> impl Future<
        Output = Result<http::Response<hyper::body::Incoming>, TrySendError<Request<BoundedBody>>>,
    > + use<> {
        self.has_body = !request.body().is_end_stream();
        self.sender.try_send_request(addressed(request, host))
    }

    /// Why there is no answer. After an error of more than this request, its connection takes no more.
    pub(super) fn failed(&self, mut error: TrySendError<Request<BoundedBody>>) -> SendError {
        let request = error.take_message();
        let error = error.into_error();
        let cause = error.source().and_then(|source| source.downcast_ref::<h2::Error>());
        if !cause.is_some_and(h2::Error::is_reset) {
            self.of.remove(self.id, |_| true);
        }
        match (request, cause) {
            (Some(request), _) => SendError::Unsent(Unsent(Box::new(request)), error),
            // RFC 9113 §8.7: neither a stream that was refused, nor one above the last of a GOAWAY, was processed. Those up to the
            // last one live on; if they don't, it is an error of the connection.
            // By a GOAWAY hyper also fails what it was about to write: with the body to come, that was not all of a request.
            (None, Some(cause)) if cause.is_remote() && cause.is_go_away() && self.has_body => {
                SendError::Refused(error)
            }
            (None, Some(cause)) if cause.is_remote() && is_refused(cause) => SendError::Refused(error),
            // We have found that what came is no answer.
            (None, Some(cause)) if cause.is_library() => SendError::Broken(error),
            (None, _) => SendError::Lost(error),
        }
    }
}

fn is_refused(cause: &h2::Error) -> bool {
    cause.is_reset() && cause.reason() == Some(Reason::REFUSED_STREAM)
}

/// Whether a request failed by itself, and its connection goes on.
pub(super) fn is_of_one_stream(error: &hyper::Error) -> bool {
    let cause = error.source().and_then(|source| source.downcast_ref::<h2::Error>());
    cause.is_some_and(h2::Error::is_reset)
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut listed = self.of.listed();
        let Some(open) = listed.open.iter_mut().find(|open| open.id == self.id) else { return };
        open.in_flight -= 1;
        if open.in_flight == 0 {
            open.idle_since = Instant::now();
            self.of.idling.increment(1);
        }
    }
}

/// The status of the answer to one request, over a connection of its own.
pub(super) async fn ask(stream: TcpStream, mut question: Request<BoundedBody>) -> Option<StatusCode> {
    let host = question.headers_mut().remove(header::HOST)?;
    let (mut sender, driver) = speak(stream).await.ok()?;
    let answer = sender.send_request(addressed(question, &host));
    let driven = async {
        let _ = driver.await;
        pending().await
    };
    select! {
        answer = answer => Some(answer.ok()?.status()),
        never = driven => never,
    }
}

/// The request as HTTP/2 has it: the service's name and the scheme are part of the target.
fn addressed(mut request: Request<BoundedBody>, host: &HeaderValue) -> Request<BoundedBody> {
    request.headers_mut().remove(header::HOST);
    *request.version_mut() = Version::HTTP_2;
    let mut target = std::mem::take(request.uri_mut()).into_parts();
    target.scheme = Some(Scheme::HTTP);
    target.authority = http::uri::Authority::try_from(host.as_bytes()).ok();
    // Without an authority it can't be sent, and is refused before anything is.
    *request.uri_mut() = Uri::from_parts(target).unwrap_or_default();
    request
}
