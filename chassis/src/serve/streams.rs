//! What stands between hyper and the service: each request begins an exchange, and each HTTP/2 stream can be given up.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{HeaderValue, Request, Response, StatusCode, Version, header};
use hyper::{body::Incoming, rt::Executor, service::Service};
use pin_project_lite::pin_project;

use super::{
    Peer, Stack,
    connection::Connection,
    exchange::{Exchange, RequestBody, ResponseBody},
    service::Answer,
    tunnel::Opened,
};
use crate::http1::request::RESERVED;

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
            return ResponseFuture { answer: Some(self.stack.refuse(refused, self.peer)), exchange };
        }
        let mut request = request.map(|body| RequestBody::body(body, &exchange));
        request.extensions_mut().insert(self.peer);
        ResponseFuture { answer: Some(self.stack.answer(request)), exchange }
    }
}

/// An answer in the making. It is dropped when the answer is there: what its stations hold must not be kept until the peer has
/// taken the answer.
pub(super) struct ResponseFuture {
    answer: Option<Answer>,
    exchange: Arc<Exchange>,
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
        let mut response = response.map(|body| ResponseBody::new(body, self.exchange.clone()));
        self.exchange.answered(response.status());
        if self.exchange.is_last() && !switches {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        Poll::Ready(Ok(response))
    }
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
