//! What the operator asks: is it alive, is it ready, what does it count.
//!
//! Served on a listener of its own, which the gateway never forwards to.

use std::{
    fmt,
    io::{self, Read, Write},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{Router, http::StatusCode, response::IntoResponse, routing::get};
use metrics_exporter_prometheus::PrometheusHandle;

/// Whether a service should be sent requests. Clones speak of the same service.
///
/// It is about this process alone: a database that is away, say, makes answers of 503, not a process that
/// nobody can reach.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<State>);

#[derive(Debug, Default)]
struct State {
    ready: AtomicBool,
    hindrance: Mutex<Option<Hindrance>>,
}

/// What keeps a service from being ready, in words without a secret: whoever may ask is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hindrance {
    /// It may be over in a moment: what it waits for.
    Wait(String),
    /// Waiting won't mend it: what somebody has to change.
    Change(String),
}

impl Readiness {
    /// From now on requests are welcome, or no longer.
    pub fn set(&self, ready: bool) {
        *self.hindrance() = None;
        self.0.ready.store(ready, Ordering::Release);
    }

    /// Whether requests are welcome.
    pub fn is_ready(&self) -> bool {
        self.0.ready.load(Ordering::Acquire)
    }

    /// Says why it isn't ready yet.
    pub fn hinder(&self, by: Hindrance) {
        *self.hindrance() = Some(by);
    }

    fn hindrance(&self) -> MutexGuard<'_, Option<Hindrance>> {
        self.0.hindrance.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What `/readyz` says.
    fn said(&self) -> String {
        match &*self.hindrance() {
            None => format!("{NOT_READY}\n"),
            Some(hindrance) => format!("{NOT_READY}: {hindrance}\n"),
        }
    }
}

const NOT_READY: &str = "not ready";
const WAITING: &str = "waits: ";
const CHANGE: &str = "needs a change: ";

impl fmt::Display for Hindrance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wait(what) => write!(f, "{WAITING}{what}"),
            Self::Change(what) => write!(f, "{CHANGE}{what}"),
        }
    }
}

/// Why a service of this machine isn't ready, as far as it says so.
#[derive(Debug)]
pub enum Unready {
    /// It can't be asked: it doesn't listen yet, or takes too long.
    Silent(io::Error),
    /// It doesn't say why.
    Unexplained,
    /// It says why.
    Hindered(Hindrance),
}

impl fmt::Display for Unready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent(error) => write!(f, "{NOT_READY}: {error}"),
            Self::Unexplained => f.write_str(NOT_READY),
            Self::Hindered(hindrance) => write!(f, "{NOT_READY}: {hindrance}"),
        }
    }
}

impl std::error::Error for Unready {}

impl Unready {
    /// Reads what [`Readiness::said`].
    fn parse(answer: &str) -> Self {
        let said = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body).trim_end();
        let Some(why) = said.strip_prefix(NOT_READY).and_then(|why| why.strip_prefix(": ")) else {
            return Self::Unexplained;
        };
        if let Some(what) = why.strip_prefix(WAITING) {
            Self::Hindered(Hindrance::Wait(what.to_owned()))
        } else if let Some(what) = why.strip_prefix(CHANGE) {
            Self::Hindered(Hindrance::Change(what.to_owned()))
        } else {
            Self::Unexplained
        }
    }
}

/// How long a probe waits for a connection, and then for the answer.
const PROBE_WAIT: Duration = Duration::from_secs(2);

/// The most that a probe reads of an answer, in bytes.
const PROBE_BYTES_MAX: usize = 4096;

/// Asks a service of this machine whether it is ready: for containers that hold no other program, and for a launcher. Blocks.
///
/// # Errors
///
/// It isn't, and why.
pub fn probe(ops: SocketAddr) -> Result<(), Unready> {
    let mut address = ops;
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    let answer = ask(address).map_err(Unready::Silent)?;
    if answer.starts_with("HTTP/1.1 200") { Ok(()) } else { Err(Unready::parse(&answer)) }
}

fn ask(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PROBE_WAIT)?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: probe\r\nconnection: close\r\n\r\n")?;
    let deadline = Instant::now() + PROBE_WAIT;
    let (mut answer, mut length) = ([0; PROBE_BYTES_MAX], 0);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        // No time is not what the system takes for none.
        stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        match stream.read(&mut answer[length..])? {
            0 => return Ok(String::from_utf8_lossy(&answer[..length]).into_owned()),
            _ if left.is_zero() => return Err(io::ErrorKind::TimedOut.into()),
            read => length += read,
        }
    }
}

/// `/livez`, `/readyz` and `/metrics`.
pub fn router(readiness: Readiness, metrics: PrometheusHandle) -> Router {
    let ready = move || async move {
        if readiness.is_ready() {
            (StatusCode::OK, "ready\n").into_response()
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, readiness.said()).into_response()
        }
    };
    let render = move || async move {
        ([("content-type", "text/plain; version=0.0.4; charset=utf-8")], metrics.render())
    };
    Router::new()
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(render))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::{serve, telemetry};

    #[tokio::test(flavor = "multi_thread")]
    async fn a_probe_tells_whether_a_service_is_ready() {
        let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let readiness = Readiness::default();
        let router = router(readiness.clone(), telemetry::metrics());
        tokio::spawn(async move {
            serve::serve(listener, router, &serve::tests::settings(), CancellationToken::new()).await;
        });
        let probe = || async move { tokio::task::spawn_blocking(move || probe(address)).await.unwrap() };
        assert!(matches!(probe().await, Err(Unready::Unexplained)), "not yet");
        for (hindrance, want) in [
            (Hindrance::Wait("the keys".into()), "not ready: waits: the keys"),
            (Hindrance::Change("set it".into()), "not ready: needs a change: set it"),
        ] {
            readiness.hinder(hindrance.clone());
            let why = probe().await.unwrap_err();
            assert_eq!(why.to_string(), want);
            assert!(matches!(why, Unready::Hindered(said) if said == hindrance));
        }
        readiness.set(true);
        probe().await.unwrap();
        readiness.set(false);
        assert!(matches!(probe().await, Err(Unready::Unexplained)), "no longer");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_service_that_does_not_listen_is_not_ready() {
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let probed = tokio::task::spawn_blocking(move || probe(address)).await.unwrap();
        assert!(matches!(probed, Err(Unready::Silent(_))));
    }
}
