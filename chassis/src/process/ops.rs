//! What the operator asks: is it alive, is it ready, what does it count.
//!
//! Served on a listener of its own, which the gateway never forwards to.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Router, http::StatusCode, response::IntoResponse, routing::get};
use metrics_exporter_prometheus::PrometheusHandle;

/// Whether a service should be sent requests. Clones speak of the same service.
///
/// It is about this process alone: a database that is away, say, makes answers of 503, not a process that
/// nobody can reach.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// From now on requests are welcome, or no longer.
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Release);
    }

    /// Whether requests are welcome.
    pub fn is_ready(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// How long a probe waits.
const PROBE_WAIT: Duration = Duration::from_secs(2);

/// Asks a service of this machine whether it is ready: for containers that hold no other program.
pub fn probe(ops: SocketAddr) -> io::Result<()> {
    let mut address = ops;
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    let mut stream = TcpStream::connect_timeout(&address, PROBE_WAIT)?;
    stream.set_read_timeout(Some(PROBE_WAIT))?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: probe\r\nconnection: close\r\n\r\n")?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer)?;
    if &answer == b"HTTP/1.1 200" { Ok(()) } else { Err(io::Error::other("not ready")) }
}

/// `/livez`, `/readyz` and `/metrics`.
pub fn router(readiness: Readiness, metrics: PrometheusHandle) -> Router {
    let ready = move || async move {
        if readiness.is_ready() {
            (StatusCode::OK, "ready\n").into_response()
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, "not ready\n").into_response()
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
        assert!(probe().await.is_err(), "not yet");
        readiness.set(true);
        probe().await.unwrap();
        readiness.set(false);
        assert!(probe().await.is_err(), "no longer");
    }
}
