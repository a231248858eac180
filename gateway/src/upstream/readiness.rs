//! Asks the endpoints of a service, beside the requests, whether they are ready.
//!
//! Each endpoint has a task that asks it until it is gone. One that says no, or twice nothing, gets no requests while another one
//! is ready ([`balance`](super::balance)): a replica that listens before it can work costs no request, and one that hangs is known
//! without one. A wrong path or a closed port is told, and takes nothing away: where none is ready, all get their share.

use std::{
    fmt,
    net::SocketAddr,
    sync::{Arc, Weak},
    time::Duration,
};

use http::{HeaderValue, Request, StatusCode, header, uri::PathAndQuery};
use metrics::{Counter, Gauge};
use serde::{Deserialize, Deserializer};
use tokio::{
    runtime::Handle,
    time::{sleep, timeout},
};
use tracing::{info, warn};

use super::{
    balance::Endpoint,
    health::{Said, Told},
};
use crate::body::bounded::BoundedBody;

/// Where an endpoint says whether it is ready: at a path of its own, or of another port of the same address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadyAt {
    port: Option<u16>,
    path: PathAndQuery,
}

impl ReadyAt {
    /// Reads `/path` or `:port/path`.
    ///
    /// # Errors
    ///
    /// It is neither.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` must be a path, `/healthz`, or a port and a path, `:9002/readyz`");
        let (port, path) = match text.strip_prefix(':').map(|rest| rest.split_once('/')) {
            None => (None, text.strip_prefix('/')),
            Some(Some((port, path))) => {
                let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(wrong)?;
                (Some(port), Some(path))
            }
            Some(None) => return Err(wrong()),
        };
        let path = path.filter(|path| path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#'));
        let path = PathAndQuery::try_from(format!("/{}", path.ok_or_else(wrong)?)).map_err(|_| wrong())?;
        Ok(Self { port, path })
    }

    /// The port, if it is not the service's own.
    pub(super) fn port(&self) -> Option<u16> {
        self.port
    }

    /// The question to the endpoint at `address`, whose own name is `host`.
    pub(super) fn question(&self, address: SocketAddr, host: &HeaderValue) -> Request<BoundedBody> {
        let host = match self.port {
            None => host.clone(),
            Some(port) => HeaderValue::try_from(SocketAddr::new(address.ip(), port).to_string())
                .expect("an address may stand in a header"),
        };
        let mut request = Request::new(BoundedBody::default());
        *request.uri_mut() = self.path.clone().into();
        request.headers_mut().insert(header::HOST, host);
        request.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        request
    }
}

impl fmt::Display for ReadyAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            None => write!(f, "{}", self.path),
            Some(port) => write!(f, ":{port}{}", self.path),
        }
    }
}

impl<'de> Deserialize<'de> for ReadyAt {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(from)?).map_err(serde::de::Error::custom)
    }
}

/// How a service's endpoints are asked.
#[derive(Clone, Debug)]
pub(crate) struct Readiness {
    pub(crate) at: ReadyAt,
    /// The pause after an answer, less or more by up to a half at random: gateways that started together don't ask together.
    pub(crate) every: Duration,
    /// How long an answer may take, connecting included.
    pub(crate) timeout: Duration,
}

/// Asks the endpoints of one service.
pub(super) struct Asker(Arc<Asking>);

struct Asking {
    service: Arc<str>,
    how: Readiness,
    /// Not the runtime of the worker whose request has found an endpoint: that one is busy with requests.
    runtime: Handle,
    asked: [Counter; Said::ALL.len()],
    unready: Gauge,
}

impl Asker {
    /// Asks on the current runtime.
    pub(super) fn new(service: &Arc<str>, how: Readiness) -> Self {
        let label = || service.to_string();
        let asked = |said: Said| {
            metrics::counter!(
                crate::metrics::UPSTREAM_READINESS.name,
                "service" => label(), "result" => said.label()
            )
        };
        Self(Arc::new(Asking {
            service: service.clone(),
            how,
            runtime: Handle::current(),
            asked: Said::ALL.map(asked),
            unready: metrics::gauge!(crate::metrics::UPSTREAM_ENDPOINTS_UNREADY.name, "service" => label()),
        }))
    }

    /// How often.
    pub(super) fn every(&self) -> Duration {
        self.0.how.every
    }

    /// Asks an endpoint now, and then again and again until it is gone.
    pub(super) fn begin(&self, endpoint: &Arc<Endpoint>) {
        self.0.runtime.spawn(ask(Arc::downgrade(endpoint), self.0.clone()));
    }
}

async fn ask(endpoint: Weak<Endpoint>, asking: Arc<Asking>) {
    let mut counted = Counted { among: &asking.unready, is_unready: false };
    loop {
        let Some(asked) = endpoint.upgrade() else { return };
        let answer = timeout(asking.how.timeout, asked.ask(&asking.how.at)).await.ok().flatten();
        let said = Said::of(answer);
        asking.asked[said as usize].increment(1);
        if let Some(told) = asked.health.says(said) {
            asking.tell(&asked, told, answer);
            counted.set(told == Told::Unready);
        }
        drop(asked);
        sleep(asking.how.every.mul_f64(0.5 + fastrand::f64())).await;
    }
}

impl Asking {
    fn tell(&self, endpoint: &Endpoint, told: Told, answer: Option<StatusCode>) {
        let (service, address, at) = (&self.service, endpoint.address, &self.how.at);
        let status = answer.map_or(0, |status| status.as_u16());
        match (told, answer) {
            (Told::Ready, _) => info!(%service, endpoint = %address, "ready"),
            (Told::Unready, None) => {
                info!(%service, endpoint = %address, %at, "doesn't say whether it is ready");
            }
            (Told::Unready, Some(StatusCode::SERVICE_UNAVAILABLE)) => {
                info!(%service, endpoint = %address, "not ready");
            }
            (Told::Unready, Some(_)) => {
                warn!(%service, endpoint = %address, %at, status, "not ready, by an unusual status: is it asked where it should be?");
            }
        }
    }
}

/// Whether an endpoint is counted among those that are not ready. It is no longer when this is dropped.
struct Counted<'a> {
    among: &'a Gauge,
    is_unready: bool,
}

impl Counted<'_> {
    fn set(&mut self, is_unready: bool) {
        match (self.is_unready, is_unready) {
            (false, true) => self.among.increment(1),
            (true, false) => self.among.decrement(1),
            _ => {}
        }
        self.is_unready = is_unready;
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.set(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_path_or_a_port_and_a_path() {
        for (text, host) in [("/healthz", "own"), ("/", "own"), (":9002/readyz?full=1", "10.0.0.1:9002")] {
            let at = ReadyAt::parse(text).unwrap();
            assert_eq!(at.to_string(), text);
            let question = at.question(([10, 0, 0, 1], 80).into(), &HeaderValue::from_static("own"));
            assert_eq!(question.headers()[header::HOST], host);
            assert!(text.ends_with(&question.uri().to_string()), "{text}");
        }
        for bad in [
            "",
            "healthz",
            ":9002",
            ":/readyz",
            ":0/readyz",
            ":65536/readyz",
            ":x/readyz",
            "http://a:1/readyz",
            "/a b",
            "/a#b",
            "/\u{e4}",
            "/a\r\nb: c",
        ] {
            assert!(ReadyAt::parse(bad).unwrap_err().contains("`:9002/readyz`"), "{bad}");
        }
    }
}
