//! Sends a request inside, and streams the answer back.

use std::{
    collections::HashMap,
    error::Error,
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use chassis::{
    Body, BoxError,
    outbound::client::{self, POOL_IDLE_MAX_PER_HOST},
};
use http::{Request, Response, Uri};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tokio::time::timeout;

use crate::{
    body::{
        bounded::Fate,
        idle::{Paced, PacedError},
    },
    cors,
    refusal::Refusal,
    sanitize::strip_answer,
    settings,
    stamp::Stamped,
    upstream::balance::{Places, Taken},
};

/// The most places that one request is taken to.
const TRIES_MAX: usize = 4;

/// How often a request goes again that got lost on its way.
const REPEATS_MAX: usize = 1;

/// The way to every service.
#[derive(Clone)]
pub struct Forward {
    client: legacy::Client<HttpConnector, Body>,
    /// The same, over connections that were never used before.
    anew: legacy::Client<HttpConnector, Body>,
    upstreams: Arc<HashMap<Arc<str>, Arc<Places>>>,
    wait: Duration,
    idle: Duration,
}

impl Forward {
    /// Builds it from settings that were checked.
    pub fn new(settings: &settings::Settings) -> Self {
        let settings::Upstream { connect, timeout, idle, pool_idle, resolve, eject } = settings.upstream;
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(connect));
        connector.set_nodelay(true);
        let client = |idle_max| {
            legacy::Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(pool_idle)
                .pool_max_idle_per_host(idle_max)
                .build(connector.clone())
        };
        let upstreams = settings
            .upstreams()
            .map(|(name, urls)| (name.into(), Arc::new(Places::new(name, &urls.0, resolve, eject))));
        let (client, anew) = (client(POOL_IDLE_MAX_PER_HOST), client(0));
        Self { client, anew, upstreams: Arc::new(upstreams.collect()), wait: timeout, idle }
    }

    /// Sends a request to one of its service's places; if that place takes no connection, to another one.
    ///
    /// Nothing was sent then, so even a write may be tried again. A service may also close a connection just as we write into it;
    /// then a request goes again, over a new one, if nothing of it was sent, or if it only reads. Everything else is left to
    /// the client, who knows whether it may be repeated.
    pub async fn forward(&self, stamped: Stamped, fate: &Fate) -> Result<Response<Body>, Refusal> {
        let (request, upstream) = stamped.into_parts();
        let places = self.upstreams.get(&upstream).ok_or(Refusal::NoRoute)?;
        let (head, body) = request.into_parts();
        let body = Untouched::new(body);
        let reads = head.method.is_safe();
        let (mut tried, mut repeats) = (Vec::new(), 0);
        let mut refusal = Refusal::UpstreamUnreachable(format!("no address is known for {upstream}"));
        while tried.len() < TRIES_MAX
            && let Some(taken) = places.take(&tried).await
        {
            let attempt = Request::from_parts(head.clone(), Body::new(Sending::Offered(body.clone())));
            let client = if repeats == 0 { &self.client } else { &self.anew };
            let failure = match self.attempt(client, attempt, &taken, fate).await {
                Ok(response) => return self.answer(response, taken),
                Err(failure) => failure,
            };
            let again = body.is_untouched()
                && match failure {
                    Failure::Unreachable(_) => {
                        places.pass_over(&taken);
                        tried.push(taken.address());
                        true
                    }
                    Failure::Unsent(_) | Failure::Lost(_)
                        if repeats < REPEATS_MAX && (reads || matches!(failure, Failure::Unsent(_))) =>
                    {
                        metrics::counter!("upstream_repeats_total", "service" => upstream.to_string())
                            .increment(1);
                        repeats += 1;
                        true
                    }
                    _ => false,
                };
            refusal = fate.refusal().unwrap_or_else(|| failure.into());
            if !again {
                break;
            }
        }
        Err(refusal)
    }

    async fn attempt(
        &self,
        client: &legacy::Client<HttpConnector, Body>,
        mut request: Request<Body>,
        to: &Taken,
        fate: &Fate,
    ) -> Result<Response<Incoming>, Failure> {
        let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
        let uri: Uri = format!("http://{}{target}", to.address())
            .parse()
            .map_err(|_| Failure::Broken("the path can't be read".into()))?;
        *request.uri_mut() = uri;
        let mut response = pin!(client.request(request));
        let mut seen = fate.progress();
        let response = loop {
            match timeout(self.wait, &mut response).await {
                Ok(response) => break response,
                // A service can't answer what its client is still sending.
                Err(_) if fate.progress() != seen => seen = fate.progress(),
                Err(_) => return Err(Failure::Timeout),
            }
        };
        response.map_err(Failure::from)
    }

    fn answer(&self, response: Response<Incoming>, taken: Taken) -> Result<Response<Body>, Refusal> {
        if response.status().is_informational() {
            return Err(Refusal::UpstreamBroken(format!(
                "it answers {} to what was no upgrade",
                response.status()
            )));
        }
        let mut response =
            response.map(|inner| Body::new(Returning { inner: Paced::new(inner, self.idle), _taken: taken }));
        response.extensions_mut().clear();
        strip_answer(&mut response)?;
        cors::take_over(&mut response);
        Ok(response)
    }
}

/// Why there is no answer, by what that says of the request. The reason is for the log.
enum Failure {
    /// There is no connection.
    Unreachable(String),
    /// The connection was gone before anything was sent.
    Unsent(String),
    /// The connection was closed without a whole head of an answer: what was sent may have been processed.
    Lost(String),
    /// The answer is none.
    Broken(String),
    /// It did not begin in time.
    Timeout,
}

impl From<legacy::Error> for Failure {
    fn from(error: legacy::Error) -> Self {
        let reason = client::chain(&error);
        if error.is_connect() {
            return Self::Unreachable(reason);
        }
        let cause = error.source().and_then(|cause| cause.downcast_ref::<hyper::Error>());
        let by_io = cause.and_then(Error::source).is_some_and(<dyn Error>::is::<std::io::Error>);
        match cause {
            // hyper hands back what it has not begun to write.
            Some(cause) if cause.is_canceled() => Self::Unsent(reason),
            Some(cause) if cause.is_incomplete_message() || cause.is_closed() || by_io => Self::Lost(reason),
            _ => Self::Broken(reason),
        }
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Unreachable(reason) | Failure::Unsent(reason) => Self::UpstreamUnreachable(reason),
            Failure::Lost(reason) | Failure::Broken(reason) => Self::UpstreamBroken(reason),
            Failure::Timeout => Self::UpstreamTimeout,
        }
    }
}

/// A body that can be offered again as long as nobody has read of it.
#[derive(Clone)]
struct Untouched {
    body: Arc<Mutex<Option<Body>>>,
    size: SizeHint,
    empty: bool,
}

impl Untouched {
    fn new(body: Body) -> Self {
        let (size, empty) = (http_body::Body::size_hint(&body), http_body::Body::is_end_stream(&body));
        Self { body: Arc::new(Mutex::new(Some(body))), size, empty }
    }

    fn is_untouched(&self) -> bool {
        self.body.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}

/// A body on its way: taken from [`Untouched`] with the first read.
enum Sending {
    Offered(Untouched),
    Read(Body),
    Gone,
}

impl http_body::Body for Sending {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Self::Offered(offered) = &*self {
            let body = offered.body.lock().unwrap_or_else(PoisonError::into_inner).take();
            *self = body.map_or(Self::Gone, Self::Read);
        }
        match &mut *self {
            Self::Read(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Self::Offered(_) | Self::Gone => Poll::Ready(Some(Err("the body was read before".into()))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Offered(offered) => offered.empty,
            Self::Read(body) => body.is_end_stream(),
            Self::Gone => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Offered(offered) => offered.size,
            Self::Read(body) => body.size_hint(),
            Self::Gone => SizeHint::default(),
        }
    }
}

/// An answer's body on its way back, which keeps its place busy.
struct Returning {
    inner: Paced<Incoming>,
    _taken: Taken,
}

impl http_body::Body for Returning {
    type Data = Bytes;
    type Error = PacedError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, PacedError>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
