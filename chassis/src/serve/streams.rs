//! What stands between hyper and the service: each request begins an exchange, and each HTTP/2 stream can be given up.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body::Body as _;
use hyper::{body::Incoming, rt::Executor, service::Service};
use pin_project_lite::pin_project;

use super::{
    Peer, Stack,
    connection::Connection,
    exchange::{Exchange, RequestBody, ResponseBody},
    service::Answer,
    tunnel::Opened,
};
use crate::{Body, http1::request::RESERVED};

/// The service, as hyper calls it for one connection.
pub(super) struct ConnectionService {
    pub stack: Stack,
    pub peer: Peer,
    pub connection: Arc<Connection>,
}

impl Service<Request<Incoming>> for ConnectionService {
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = ResponseFuture;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let http2 = request.version() == Version::HTTP_2;
        let exchange = self.connection.begin(http2);
        if !http2 && request.method().as_str().as_bytes()[0] == RESERVED {
            let refused = self.connection.take_refused();
            return ResponseFuture {
                answer: Some(self.stack.refuse(refused, self.peer)),
                exchange,
                is_get: false,
            };
        }
        let is_get = request.method() == Method::GET;
        let mut request = request.map(|body| RequestBody::body(body, &exchange));
        request.extensions_mut().insert(self.peer);
        ResponseFuture { answer: Some(self.stack.answer(request)), exchange, is_get }
    }
}

/// An answer in the making. It is dropped when the answer is there: what its stations hold must not be kept until the peer has
/// taken the answer.
pub(super) struct ResponseFuture {
    answer: Option<Answer>,
    exchange: Arc<Exchange>,
    is_get: bool,
}

impl Future for ResponseFuture {
    type Output = Result<Response<ResponseBody>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(answer) = &mut self.answer else { return Poll::Pending };
        let mut response = ready!(answer.as_mut().poll(cx));
        self.answer = None;
        let switches = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        if switches && let Some(tunnel) = Opened::by(&mut response, &self.exchange) {
            self.exchange.becomes_tunnel(tunnel);
        }
        let ends_with_drain = self.is_get && is_event_stream(&response);
        let mut response =
            response.map(|body| ResponseBody::new(body, self.exchange.clone(), ends_with_drain));
        self.exchange.answered(response.status());
        if self.exchange.is_last() && !switches {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        Poll::Ready(Ok(response))
    }
}

/// Whether an answer is one of server-sent events that has no end of its own. Who asks for it by `GET` comes again when it
/// ends, and says which event was the last (HTML, "Server-sent events"): so a drain need not wait for it. An answer to a
/// `POST` may look the same, such as a model's words, but nobody asks for that again.
fn is_event_stream(response: &Response<Body>) -> bool {
    const EVENTS: &[u8] = b"text/event-stream";
    response.status() == StatusCode::OK
        && response.body().size_hint().exact().is_none()
        && response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| {
            kind.as_bytes().get(..EVENTS.len()).is_some_and(|kind| kind.eq_ignore_ascii_case(EVENTS))
        })
}

/// Where hyper runs the streams of one connection.
///
/// hyper makes a stream's future by calling the service, and hands it to the executor at once: so the exchange that
/// began last is this stream's.
#[derive(Clone)]
pub(super) struct StreamExecutor(pub Arc<Connection>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for StreamExecutor {
    fn execute(&self, stream: F) {
        match self.0.take_begun() {
            Some(exchange) => tokio::spawn(Stream { stream, exchange }),
            None => tokio::spawn(stream),
        };
    }
}

pin_project! {
    /// An HTTP/2 stream. Dropping hyper's future of it resets it, and frees what is queued for it.
    struct Stream<F> {
        #[pin]
        stream: F,
        exchange: Arc<Exchange>,
    }
}

impl<F: Future<Output = ()>> Future for Stream<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        if this.exchange.is_reset(cx.waker()) {
            metrics::counter!(crate::metrics::STREAMS_RESET.name, "reason" => "slow").increment(1);
            return Poll::Ready(());
        }
        ready!(this.stream.poll(cx));
        this.exchange.done();
        Poll::Ready(())
    }
}
