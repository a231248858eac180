//! Connections to one endpoint, kept for the next request. Those of HTTP/2 have a file of their own (`http2`); what follows holds for
//! HTTP/1.1.
//!
//! A connection is driven by whoever uses it: [`Lease::send`] until the answer begins, then [`LeasedBody`] until it has ended. No
//! task runs beside it, so that a request wakes nobody but itself, and nobody reads ahead of a slow client. There is one
//! exception: what is left of a request that was answered before its end is sent by a task ([`Lease::finish`]).
//!
//! Only the socket wakes whoever drives it ([`Alarm`]). What hyper tells the connection of a request that it is given, or of a body
//! that is looked at, its driver knows: that did it, and polls the connection next.
//!
//! An idle connection is driven by nobody; that its service has closed it is found with the next request, before anything of that
//! is sent, if the runtime has heard of it by then.
//!
//! The connection used last is used first (LIFO), so that surplus ones reach their idle time, and one that the same thread used
//! before any other: its runtime is the one that hears of it.

use std::{
    collections::VecDeque,
    fmt,
    future::poll_fn,
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker, ready},
    thread::{self, ThreadId},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_util::{future::Either, task::AtomicWaker};
use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body::{Frame, SizeHint};
use hyper::{
    body::{Body as _, Incoming},
    client::conn::{TrySendError, http1},
};
use hyper_util::rt::TokioIo;
use metrics::{Counter, Gauge};
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    task::{JoinSet, unconstrained},
    time::{Instant, sleep, timeout},
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{ClientConfig, pki_types::ServerName},
};

use super::{
    balance::{Endpoint, Endpoints, InFlight},
    checked::{CheckedIo, Expects},
    health::Fault,
    http2,
    readiness::ReadyAt,
};
use crate::{
    body::bounded::{BodyOutcome, BoundedBody},
    client::FORWARDED_HOST,
};

/// The most connections that are kept idle to one endpoint.
const IDLE_MAX: usize = 256;

/// The most endpoints that one request is taken to.
const TRIES_MAX: usize = 4;

/// The most of an answer that is taken over whole, so that its connection is free before its client has read it. hyper's
/// buffers hold as much for a client in any case.
const AT_HAND_BYTES_MAX: usize = 64 * 1024;

/// How long a service may go on reading a request that it has answered.
const UPLOAD_WAIT: Duration = Duration::from_mins(10);

/// How long a TLS handshake may take. Whoever waits for it has a shorter time of their own.
const HANDSHAKE_WAIT: Duration = Duration::from_secs(10);

/// How connections to the endpoints of one service are made and kept.
pub(crate) struct Connector {
    connect: Duration,
    idle: Duration,
    tls: Option<TlsConnector>,
    /// Whether it is spoken to by HTTP/2.
    http2: bool,
    /// What each host of the service is called, in their order; none where an endpoint's address is its name.
    names: Vec<ServerNames>,
    opened: Counter,
    idling: Gauge,
}

/// What one of a service's hosts is called by those who ask it.
#[derive(Clone, Debug)]
pub(crate) struct ServerNames {
    /// The `Host` of requests.
    pub(crate) authority: HeaderValue,
    /// The name that its certificate must have, where it is asked over TLS.
    pub(crate) tls: Option<ServerName<'static>>,
}

/// There is no connection to any endpoint.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// No address is known.
    #[error("no address is known")]
    NoAddress,
    /// The endpoint refused, or is out of reach.
    #[error("connect to {0}")]
    Failed(SocketAddr, #[source] io::Error),
    /// It did not answer in time.
    #[error("connect to {0}: no answer within {1:?}")]
    Timeout(SocketAddr, Duration),
}

/// Why a request that was given to a connection has no answer.
#[derive(Debug, Error)]
pub enum SendError {
    /// The connection was closed before anything of the request was sent. Here it is.
    #[error("the connection was closed before the request was sent")]
    Unsent(Unsent, #[source] hyper::Error),
    /// The connection was closed without an answer: the request may have been processed.
    #[error("the connection was closed before the answer came")]
    Lost(#[source] hyper::Error),
    /// Its service has not processed it, and says so by the protocol (RFC 9113 §8.7).
    #[error("the service has refused to process the request")]
    Refused(#[source] hyper::Error),
    /// What came is no answer.
    #[error("the answer can't be read")]
    Broken(#[source] hyper::Error),
}

impl SendError {
    /// Whether it is of this request alone, and not of its connection, which may have been closed for any reason.
    pub(super) fn is_of_the_request(&self) -> bool {
        let (Self::Unsent(_, error) | Self::Lost(error) | Self::Refused(error) | Self::Broken(error)) = self;
        http2::is_of_one_stream(error)
    }
}

/// A request that was not sent. Its headers are not for a log.
pub struct Unsent(pub(super) Box<Request<BoundedBody>>);

impl fmt::Debug for Unsent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unsent")
    }
}

impl From<TrySendError<Request<BoundedBody>>> for SendError {
    fn from(mut error: TrySendError<Request<BoundedBody>>) -> Self {
        let request = error.take_message();
        let error = error.into_error();
        let io =
            std::error::Error::source(&error).and_then(<dyn std::error::Error>::downcast_ref::<io::Error>);
        // Unless it is we who found that what came is no answer (`checked`).
        let is_io = io.is_some_and(|error| error.kind() != io::ErrorKind::InvalidData);
        match request {
            Some(request) => Self::Unsent(Unsent(Box::new(request)), error),
            None if error.is_incomplete_message() || error.is_closed() || error.is_canceled() || is_io => {
                Self::Lost(error)
            }
            None => Self::Broken(error),
        }
    }
}

impl Connector {
    /// Connects in plain HTTP, within `connect`; connections idle for `idle` at most.
    pub(crate) fn plain(service: &Arc<str>, connect: Duration, idle: Duration) -> Self {
        let label = || service.to_string();
        Self {
            connect,
            idle,
            tls: None,
            http2: false,
            names: Vec::new(),
            opened: metrics::counter!(crate::metrics::UPSTREAM_CONNECTIONS_OPENED.name, "service" => label()),
            idling: metrics::gauge!(crate::metrics::UPSTREAM_CONNECTIONS_IDLE.name, "service" => label()),
        }
    }

    /// The same for a service whose hosts are asked by their names, over TLS where those say what a certificate must.
    pub(crate) fn named(self, names: Vec<ServerNames>, tls: Option<Arc<ClientConfig>>) -> Self {
        Self { tls: tls.map(Into::into), names, ..self }
    }

    /// The same by HTTP/2, without asking first whether it is spoken.
    pub(crate) fn by_http2(self) -> Self {
        Self { http2: true, ..self }
    }

    /// The `Host` of requests to the endpoint at `address`, which host number `of` has brought.
    pub(super) fn host(&self, address: SocketAddr, of: usize) -> HeaderValue {
        self.names.get(of).map_or_else(
            || HeaderValue::try_from(address.to_string()).expect("an address may stand in a header"),
            |names| names.authority.clone(),
        )
    }

    async fn connect(&self, address: SocketAddr, of: usize) -> Result<Connection, ConnectError> {
        let handshake = self.handshake(self.reach(address).await?, of);
        let late = |_| ConnectError::Timeout(address, HANDSHAKE_WAIT);
        let connected = timeout(HANDSHAKE_WAIT, handshake).await.map_err(late)?;
        connected.map_err(|error| ConnectError::Failed(address, error))
    }

    async fn reach(&self, address: SocketAddr) -> Result<TcpStream, ConnectError> {
        let late = |_| ConnectError::Timeout(address, self.connect);
        let reached = timeout(self.connect, TcpStream::connect(address)).await.map_err(late)?;
        reached.map_err(|error| ConnectError::Failed(address, error))
    }

    async fn handshake(&self, stream: TcpStream, of: usize) -> io::Result<Connection> {
        let connection = self.speak(stream, self.names.get(of).and_then(|names| names.tls.clone())).await?;
        self.opened.increment(1);
        Ok(connection)
    }

    /// Makes a connection of a stream: over TLS if there is a name that a certificate must have.
    async fn speak(&self, stream: TcpStream, name: Option<ServerName<'static>>) -> io::Result<Connection> {
        stream.set_nodelay(true)?;
        let (sender, expects, driver) = match self.tls.as_ref().zip(name) {
            None => {
                let (stream, expects) = CheckedIo::new(stream);
                let (sender, driver) =
                    http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
                (sender, expects, Driver::Plain(Box::new(driver)))
            }
            Some((connector, name)) => {
                let (stream, expects) = CheckedIo::new(connector.connect(name, stream).await?);
                let (sender, driver) =
                    http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
                (sender, expects, Driver::Tls(Box::new(driver)))
            }
        };
        let alarm = Arc::new(Alarm::default());
        let signals = Box::new(Signals { expects, waker: alarm.clone().into(), alarm });
        Ok(Connection { sender, driver, signals })
    }
}

/// A connection that waits for its next request.
struct Idle {
    connection: Connection,
    since: Instant,
    /// The thread that used it last.
    thread: ThreadId,
}

/// The idle connections to one endpoint, the one used last at the end.
pub(super) struct Pool {
    connector: Arc<Connector>,
    idle: Mutex<Vec<Idle>>,
    /// Those of HTTP/2, if it is spoken.
    shared: Option<Arc<http2::Connections>>,
    /// Whether a task sees to it that they don't idle for too long.
    reaping: AtomicBool,
}

impl Pool {
    pub(super) fn new(connector: Arc<Connector>) -> Self {
        let shared =
            connector.http2.then(|| http2::Connections::new(connector.idle, connector.idling.clone()));
        Self { connector, idle: Mutex::default(), shared, reaping: AtomicBool::new(false) }
    }

    /// A new connection to the endpoint at `address`, which host number `of` has brought.
    pub(super) async fn connect(&self, address: SocketAddr, of: usize) -> Result<Way, ConnectError> {
        let Some(shared) = &self.shared else {
            return Ok(Way::Own(self.connector.connect(address, of).await?));
        };
        let stream = shared.get(address, self.connector.reach(address)).await?;
        if !stream.is_kept() {
            self.connector.opened.increment(1);
        }
        Ok(Way::Shared(stream))
    }

    /// The status of the answer to a question beside the requests, over a connection of its own: in plain HTTP if it goes to
    /// another port. Whoever asks bounds the time.
    pub(super) async fn ask(
        &self,
        address: SocketAddr,
        of: usize,
        at: &ReadyAt,
        question: Request<BoundedBody>,
    ) -> Option<StatusCode> {
        let (address, name) = match at.port() {
            None => (address, self.connector.names.get(of).and_then(|names| names.tls.clone())),
            Some(port) => (SocketAddr::new(address.ip(), port), None),
        };
        let stream = TcpStream::connect(address).await.ok()?;
        if self.connector.http2 && at.port().is_none() {
            return http2::ask(stream, question).await;
        }
        let mut connection = self.connector.speak(stream, name).await.ok()?;
        let mut answer = pin!(unconstrained(connection.sender.try_send_request(question)));
        let answer = poll_fn(|cx| {
            connection.drive(cx);
            answer.as_mut().poll(&mut unwoken())
        });
        Some(answer.await.ok()?.status())
    }

    /// The connection that this thread used last, or else any other.
    fn take(&self) -> Option<Way> {
        if let Some(shared) = &self.shared {
            return shared.take().map(Way::Shared);
        }
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let here = thread::current().id();
        let at = idle.iter().rposition(|idle| idle.thread == here).or(idle.len().checked_sub(1))?;
        let Idle { connection, since, .. } = idle.remove(at);
        drop(idle);
        self.connector.idling.decrement(1);
        (since.elapsed() < self.connector.idle).then_some(Way::Own(connection))
    }

    fn put(&self, of: &Arc<Endpoint>, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() >= IDLE_MAX {
            return;
        }
        idle.push(Idle { connection, since: Instant::now(), thread: thread::current().id() });
        drop(idle);
        self.connector.idling.increment(1);
        if !self.reaping.swap(true, Ordering::AcqRel) {
            tokio::spawn(reap(Arc::downgrade(of), self.connector.idle));
        }
    }

    /// Drops the connections that have idled for too long; whether there are any others.
    fn reap(&self) -> bool {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let before = idle.len();
        idle.retain(|idle| idle.since.elapsed() < self.connector.idle);
        self.connector.idling.decrement(count(before - idle.len()));
        if idle.is_empty() {
            // Under the lock, so that whoever puts the next one sees it.
            self.reaping.store(false, Ordering::Release);
        }
        !idle.is_empty()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let idle = self.idle.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.connector.idling.decrement(count(idle.len()));
    }
}

fn count(connections: usize) -> f64 {
    f64::from(u32::try_from(connections).unwrap_or(u32::MAX))
}

/// Reaps an endpoint's pool until it is empty, or the endpoint is gone.
async fn reap(endpoint: Weak<Endpoint>, idle: Duration) {
    loop {
        sleep(idle).await;
        if !endpoint.upgrade().is_some_and(|endpoint| endpoint.pool.reap()) {
            return;
        }
    }
}

/// What a request goes over.
pub(super) enum Way {
    /// A connection of its own until it is answered.
    Own(Connection),
    /// A place on one of HTTP/2.
    Shared(http2::Stream),
}

/// A connection of HTTP/1.1, and what drives it.
pub(super) struct Connection {
    sender: http1::SendRequest<BoundedBody>,
    driver: Driver,
    /// Boxed: each request holds room for it.
    signals: Box<Signals>,
}

/// What a connection tells its stream, and is told by it.
struct Signals {
    expects: Expects,
    alarm: Arc<Alarm>,
    /// By which the alarm is raised.
    waker: Waker,
}

/// Wakes whoever waits for a connection, and nobody while that is busy with it.
#[derive(Default)]
struct Alarm(AtomicWaker);

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.0.wake();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.wake();
    }
}

enum Driver {
    Plain(Box<http1::Connection<TokioIo<CheckedIo<TcpStream>>, BoundedBody>>),
    Tls(Box<http1::Connection<TokioIo<CheckedIo<TlsStream<TcpStream>>>, BoundedBody>>),
    /// It has ended, and leaves its stream: after an answer of 101, a tunnel's.
    Ended(Option<Box<Ended>>),
}

impl Connection {
    /// Moves what can be moved, in both directions. Whoever `cx` is of is woken when there is more.
    fn drive(&mut self, cx: &mut Context<'_>) {
        let Signals { alarm, waker, .. } = &*self.signals;
        alarm.0.register(cx.waker());
        let cx = &mut Context::from_waker(waker);
        let ended = match &mut self.driver {
            Driver::Plain(connection) => Pin::new(connection).poll(cx),
            Driver::Tls(connection) => Pin::new(connection).poll(cx),
            Driver::Ended(_) => return,
        };
        // Its error, if there is one, is in the answer's place.
        if ended.is_ready() {
            // Taken apart at once: with the driver goes a request that it has not sent.
            self.driver.end();
        }
    }

    /// Until it is driven again, nobody is woken.
    fn hush(&self) {
        drop(self.signals.alarm.0.take());
    }

    /// Sends a request to the service of that name. Nothing is sent before it is driven.
    fn send(
        &mut self,
        mut request: Request<BoundedBody>,
        host: HeaderValue,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<BoundedBody>>>> + use<> {
        request.headers_mut().insert(header::HOST, host);
        self.signals.expects.answer();
        // hyper would leave out a body of unknown length that comes with one of these (RFC 9110 §9.3.1 allows it).
        if matches!(*request.method(), Method::GET | Method::HEAD)
            && !request.body().is_end_stream()
            && !request.headers().contains_key(header::CONTENT_LENGTH)
        {
            request.headers_mut().insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        self.hush();
        self.sender.try_send_request(request)
    }

    fn is_open(&self) -> bool {
        !matches!(self.driver, Driver::Ended(_))
    }

    /// Whether it can take another request.
    fn is_reusable(&mut self) -> bool {
        if !self.sender.is_ready() {
            self.drive(&mut unwoken());
        }
        self.is_open() && self.sender.is_ready()
    }
}

impl Driver {
    /// Leaves the stream, and what has been read of it too much.
    fn end(&mut self) {
        fn parts<T: Stream + 'static>(of: http1::Parts<TokioIo<T>>) -> Ended {
            Ended { stream: Box::new(of.io.into_inner()), ahead: of.read_buf }
        }
        let left = match std::mem::replace(self, Self::Ended(None)) {
            Self::Plain(connection) => Some(Box::new(parts(connection.into_parts()))),
            Self::Tls(connection) => Some(Box::new(parts(connection.into_parts()))),
            Self::Ended(left) => left,
        };
        *self = Self::Ended(left);
    }
}

/// A stream, and what has come of it already.
struct Ended {
    stream: Box<dyn Stream>,
    ahead: Bytes,
}

/// Bytes to a service and back.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// A connection over which an answer of 101 has come: a tunnel to its service.
pub(crate) struct ServiceStream {
    stream: Box<dyn Stream>,
    /// What has come behind the answer.
    ahead: Bytes,
    /// It is counted to its endpoint for as long as it is open.
    _picked: InFlight,
}

impl AsyncRead for ServiceStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buffer);
        }
        let bytes = self.ahead.len().min(buffer.remaining());
        buffer.put_slice(&self.ahead.split_to(bytes));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ServiceStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A request's way to an endpoint: which ones are not to be asked again, and whether kept connections are to be trusted.
pub(crate) struct Tries {
    only_reads: bool,
    tried: Vec<SocketAddr>,
    distrusts_kept: bool,
}

impl Tries {
    /// The way of a request that only reads, or of another.
    pub(crate) fn new(only_reads: bool) -> Self {
        Self { only_reads, tried: Vec::new(), distrusts_kept: false }
    }

    /// From now on only new connections: a kept one was closed, and others may have been with it. Whether kept ones were trusted
    /// until now.
    pub(crate) fn distrust_kept(&mut self) -> bool {
        !std::mem::replace(&mut self.distrusts_kept, true)
    }

    /// Asks all of them again: one that refused may have come back.
    pub(crate) fn begin_anew(&mut self) {
        self.tried.clear();
    }

    /// Whether there is somewhere else to go than `endpoint`.
    pub(crate) fn can_leave(&self, endpoints: &Endpoints, endpoint: &Endpoint) -> bool {
        self.tried.len() < TRIES_MAX && endpoints.has_other(&self.tried, endpoint.address)
    }

    /// `endpoint` is not to be asked again.
    pub(crate) fn leave(&mut self, endpoint: &Endpoint) {
        self.tried.push(endpoint.address);
    }

    /// A connection to one of the endpoints. One that refuses is ejected, and another one asked: nothing was sent yet, so even a
    /// write may go elsewhere.
    pub(crate) async fn connect(&mut self, endpoints: &Endpoints) -> Result<Lease, ConnectError> {
        let mut error = ConnectError::NoAddress;
        while self.tried.len() < TRIES_MAX
            && let Some(picked) = endpoints.pick(&self.tried, self.only_reads).await
        {
            let endpoint = picked.endpoint();
            let kept = if self.distrusts_kept { None } else { endpoint.pool.take() };
            let was_kept = kept.is_some();
            let connected = match kept {
                Some(way) => Ok(way),
                // Boxed: seldom needed, and large. Each request would hold room for it.
                None => Box::pin(endpoint.connect()).await,
            };
            match connected {
                Ok(way) => {
                    let is_kept = match &way {
                        Way::Own(_) => was_kept,
                        Way::Shared(stream) => stream.is_kept(),
                    };
                    return Ok(Lease { way, picked, is_kept, upload: None, reusable: true });
                }
                Err(failed) => {
                    endpoints.eject(endpoint, Fault::Unreachable);
                    self.tried.push(endpoint.address);
                    error = failed;
                }
            }
        }
        Err(error)
    }
}

/// A connection in use. It is closed when this is dropped, unless its exchange has ended well.
pub(crate) struct Lease {
    way: Way,
    picked: InFlight,
    is_kept: bool,
    /// How the request's body is read, unless what is left of it is not wanted.
    upload: Option<BodyOutcome>,
    reusable: bool,
}

impl Lease {
    /// Where it leads.
    pub(crate) fn endpoint(&self) -> &Arc<Endpoint> {
        self.picked.endpoint()
    }

    /// Whether its service has no other endpoint.
    pub(super) fn is_only(&self) -> bool {
        self.picked.is_only()
    }

    /// Whether it was used before: that it breaks says little of its endpoint, which may close it at any time.
    pub(crate) fn is_kept(&self) -> bool {
        self.is_kept
    }

    /// Sends a request, and waits until its answer begins. Dropped meanwhile, the connection is closed, which tells the service.
    ///
    /// The service is asked by the host that the client has named, if `by_public_host`, or else by its own name. The request is
    /// hyper's as soon as this is called: the future has no room for it.
    pub(crate) fn send(
        mut self,
        request: Request<BoundedBody>,
        by_public_host: bool,
    ) -> impl Future<Output = Result<Response<LeasedBody>, SendError>> + Send {
        let public = if by_public_host { request.headers().get(FORWARDED_HOST) } else { None };
        let host = public.unwrap_or(&self.picked.endpoint().host).clone();
        self.upload = request.body().outcome();
        let answer = match &mut self.way {
            Way::Own(connection) => Either::Left(connection.send(request, host)),
            Way::Shared(stream) => Either::Right(stream.send(request, &host)),
        };
        async move {
            // Without a waker, and so outside of tokio's budget: nothing but driving the connection brings the answer.
            let mut answer = pin!(unconstrained(answer));
            let answer = poll_fn(|cx| match &mut self.way {
                Way::Own(connection) => {
                    connection.drive(cx);
                    answer.as_mut().poll(&mut unwoken())
                }
                Way::Shared(_) => answer.as_mut().poll(cx),
            });
            let response = answer.await.map_err(|error| match &self.way {
                Way::Own(_) => error.into(),
                Way::Shared(stream) => stream.failed(error),
            })?;
            // hyper would speak HTTP/1.0 from then on, and drop bodies of unknown length.
            self.reusable = response.version() >= Version::HTTP_11;
            if !response.status().is_success() {
                self.upload = None;
            }
            let is_tunnel = response.status() == StatusCode::SWITCHING_PROTOCOLS;
            Ok(response.map(|incoming| LeasedBody::new(incoming, self, is_tunnel)))
        }
    }

    /// Keeps the connection for the next request. A service that has answered well may still be reading this one: then when it
    /// has read all.
    fn give_back(mut self) {
        // hyper sends what is left of a request by itself, and others go over the same connection meanwhile.
        let Way::Own(connection) = &mut self.way else { return };
        if self.upload.take().is_some_and(|upload| !upload.has_ended()) {
            tokio::spawn(timeout(UPLOAD_WAIT, self.finish()));
        } else if self.reusable
            && connection.is_reusable()
            && let Way::Own(connection) = self.way
        {
            let endpoint = self.picked.endpoint();
            endpoint.pool.put(endpoint, connection);
        }
    }

    fn is_shared(&self) -> bool {
        matches!(self.way, Way::Shared(_))
    }

    /// Drives the connection until the request is sent and the answer is read, whoever takes that; then gives it back.
    async fn finish(mut self) {
        let Way::Own(connection) = &mut self.way else { return };
        poll_fn(|cx| {
            connection.drive(cx);
            let is_idle = !connection.is_open() || connection.sender.is_ready();
            if is_idle { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        self.upload = None;
        self.give_back();
    }
}

fn joined(mut whole: BytesMut, piece: Bytes) -> BytesMut {
    whole.extend_from_slice(&piece);
    whole
}

/// For polling what a connection moves, when nothing else may wake it.
fn unwoken() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

/// An answer's body, and the connection that it comes over.
pub(crate) struct LeasedBody {
    /// What [`LeasedBody::at_hand`] has read.
    ahead: VecDeque<Bytes>,
    incoming: Incoming,
    broken: Option<Broken>,
    /// What drives the connection instead of us, until the answer has ended or this is dropped.
    apart: Option<JoinSet<()>>,
    /// `None` when the connection was given back, or is broken.
    lease: Option<Lease>,
}

/// Why an answer ends early.
#[derive(Debug, Error)]
pub(crate) enum AnswerError {
    /// Its connection or its stream broke.
    #[error("the answer broke off")]
    Broken(#[from] hyper::Error),
    /// Its stream was given up without an end (RFC 9113 §8.1).
    #[error("the answer was given up before its end")]
    Unfinished,
}

/// Why an answer ends early. It is told one poll late: hyper drops what it has not flushed, and a client should get what came.
enum Broken {
    Seen(AnswerError),
    Due(AnswerError),
}

/// How much of an answer is there.
pub(crate) enum AtHand {
    /// All of it. The connection is free.
    Whole(Bytes),
    /// Not all, or too much to take over.
    Begun(LeasedBody),
}

impl LeasedBody {
    fn new(incoming: Incoming, lease: Lease, is_tunnel: bool) -> Self {
        let mut body =
            Self { ahead: VecDeque::new(), incoming, broken: None, apart: None, lease: Some(lease) };
        if body.incoming.is_end_stream() && !is_tunnel {
            body.end();
        }
        body
    }

    /// The connection, after an answer of 101.
    pub(crate) fn into_stream(self) -> Option<ServiceStream> {
        let Lease { way: Way::Own(mut connection), picked, .. } = self.lease? else { return None };
        connection.drive(&mut unwoken());
        let Driver::Ended(Some(ended)) = connection.driver else { return None };
        let Ended { stream, ahead } = *ended;
        Some(ServiceStream { stream, ahead, _picked: picked })
    }

    /// Takes over what has come with the answer's head.
    pub(crate) fn at_hand(mut self) -> AtHand {
        if self.incoming.is_end_stream() {
            return AtHand::Whole(Bytes::new());
        }
        let mut bytes = 0;
        while let Poll::Ready(frame) = self.receive(&mut unwoken()) {
            match frame.map(|frame| frame.map(Frame::into_data)) {
                None => return self.whole(),
                Some(Ok(Ok(data))) => {
                    bytes += data.len();
                    if self.ahead.is_empty() && self.lease.is_none() && bytes <= AT_HAND_BYTES_MAX {
                        return AtHand::Whole(data);
                    }
                    self.ahead.push_back(data);
                    if bytes > AT_HAND_BYTES_MAX {
                        break;
                    }
                    if self.lease.is_none() {
                        return self.whole();
                    }
                }
                // Nobody asks for trailers.
                Some(Ok(Err(_))) => {}
                Some(Err(error)) => {
                    self.broken = Some(Broken::Seen(error));
                    break;
                }
            }
        }
        AtHand::Begun(self)
    }

    /// Drives the connection by a task of its own from now on: the request's body is still on its way, and must not wait for
    /// whoever reads the answer.
    pub(crate) fn drive_apart(&mut self) {
        if let Some(lease) = self.lease.take_if(|lease| !lease.is_shared()) {
            let mut apart = JoinSet::new();
            apart.spawn(lease.finish());
            self.apart = Some(apart);
        }
    }

    fn whole(self) -> AtHand {
        let mut pieces = self.ahead.into_iter();
        let first = pieces.next().unwrap_or_default();
        AtHand::Whole(match pieces.next() {
            None => first,
            Some(second) => [first, second].into_iter().chain(pieces).fold(BytesMut::new(), joined).freeze(),
        })
    }

    /// The next frame that the connection brings.
    fn receive(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        let is_shared = self.lease.as_ref().is_some_and(Lease::is_shared);
        if self.apart.is_some() || is_shared {
            let polled = Pin::new(&mut self.incoming).poll_frame(cx).map_err(AnswerError::from);
            // hyper takes a reset with NO_ERROR for the end, which only END_STREAM is.
            if is_shared && matches!(polled, Poll::Ready(None)) && !self.incoming.is_end_stream() {
                return Poll::Ready(Some(Err(AnswerError::Unfinished)));
            }
            if matches!(polled, Poll::Ready(None)) || self.incoming.is_end_stream() {
                self.end();
            }
            return polled;
        }
        if let Some(Lease { way: Way::Own(connection), .. }) = &self.lease {
            connection.hush();
        }
        let mut polled = Pin::new(&mut self.incoming).poll_frame(&mut unwoken());
        if polled.is_pending() {
            if let Some(Lease { way: Way::Own(connection), .. }) = &mut self.lease {
                connection.drive(cx);
            }
            polled = Pin::new(&mut self.incoming).poll_frame(&mut unwoken());
        }
        match &polled {
            Poll::Ready(Some(Err(_))) => self.lease = None,
            Poll::Ready(None) => self.end(),
            Poll::Ready(Some(Ok(_))) if self.incoming.is_end_stream() => self.end(),
            _ => {}
        }
        polled.map_err(AnswerError::from)
    }

    fn end(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.give_back();
        }
        // The upload outlives the answer.
        if let Some(mut apart) = self.apart.take() {
            tokio::spawn(async move {
                let _ = timeout(UPLOAD_WAIT, apart.join_next()).await;
            });
        }
    }
}

impl http_body::Body for LeasedBody {
    type Data = Bytes;
    type Error = AnswerError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        if let Some(ahead) = self.ahead.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(ahead))));
        }
        let error = match self.broken.take() {
            None => match ready!(self.receive(cx)) {
                Some(Err(error)) => error,
                frame => return Poll::Ready(frame),
            },
            Some(Broken::Seen(error)) => error,
            Some(Broken::Due(error)) => return Poll::Ready(Some(Err(error))),
        };
        self.broken = Some(Broken::Due(error));
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.ahead.is_empty() && self.broken.is_none() && self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let ahead = self.ahead.iter().map(Bytes::len).sum::<usize>() as u64;
        let incoming = self.incoming.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(incoming.lower() + ahead);
        if let Some(upper) = incoming.upper() {
            hint.set_upper(upper + ahead);
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use chassis::settings::ServiceUrl;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::{super::discover::Host, *};

    const MINUTE: Duration = Duration::from_mins(1);

    /// Counts how often somebody is woken.
    #[derive(Default)]
    struct Counting {
        wakes: AtomicUsize,
        task: AtomicWaker,
    }

    impl Wake for Counting {
        fn wake(self: Arc<Self>) {
            self.wakes.fetch_add(1, Ordering::Relaxed);
            self.task.wake();
        }
    }

    /// What comes of `job`, and how often it was woken while it was polled. A runtime of one thread hears of sockets in between.
    async fn woken_by_itself<F: Future>(job: F) -> (F::Output, usize) {
        let counting = Arc::new(Counting::default());
        let waker = Waker::from(counting.clone());
        let (mut job, mut by_itself) = (pin!(job), 0);
        poll_fn(|cx| {
            counting.task.register(cx.waker());
            let before = counting.wakes.load(Ordering::Relaxed);
            let polled = job.as_mut().poll(&mut Context::from_waker(&waker));
            by_itself += counting.wakes.load(Ordering::Relaxed) - before;
            polled.map(|output| (output, by_itself))
        })
        .await
    }

    #[tokio::test]
    async fn a_request_over_a_kept_connection_wakes_nobody_but_by_its_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 1024];
            while stream.read(&mut head).await.unwrap() > 0 {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").await.unwrap();
            }
        });
        let service = "test".into();
        let hosts = [Host::of(&ServiceUrl::parse(&url).unwrap())];
        let connector = Connector::plain(&service, MINUTE, MINUTE);
        let endpoints = Endpoints::new(&service, &hosts, connector, MINUTE, MINUTE, None);
        for number in 0..3 {
            let asking = async {
                let lease = Tries::new(true).connect(&endpoints).await.unwrap();
                assert_eq!(lease.is_kept(), number > 0);
                let answer = lease.send(Request::new(BoundedBody::default()), false).await.unwrap();
                let AtHand::Whole(body) = answer.into_body().at_hand() else {
                    panic!("all of it was sent at once")
                };
                body
            };
            let (body, by_itself) = woken_by_itself(asking).await;
            assert_eq!((body.as_ref(), by_itself), (&b"hi"[..], 0), "{number}");
        }
    }
}
