//! The one body that travels through every service: of requests, and of answers.

use std::{
    error::Error,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_util::{TryStream, TryStreamExt};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;

use crate::{
    BoxError, layer::access_log::Unfinished, serve::exchange::RequestBody, telemetry::request::InFlight,
};

/// A body of whatever kind. The usual ones are told apart here and cost no allocation; any other is boxed, once.
pub struct Body {
    content: Content,
    counted: Counted,
}

/// For which request the bytes of a body are counted: the outermost one's alone.
enum Counted {
    Not,
    /// They are read of it.
    Of(Arc<InFlight>),
    /// They answer it. It is over when this body has left, or was given up.
    Answering(Unfinished),
}

enum Content {
    Empty,
    Full(Bytes),
    /// From a server that was asked.
    Incoming(Incoming),
    /// From a client of ours.
    RequestBody(RequestBody),
    Boxed(Pin<Box<dyn http_body::Body<Data = Bytes, Error = BodyError> + Send>>),
}

/// What breaks while a [`Body`] is read. Shows its cause.
#[derive(Debug)]
pub struct BodyError(BoxError);

impl Body {
    /// Nothing.
    pub const fn empty() -> Self {
        Self::of(Content::Empty)
    }

    /// Any other body.
    pub fn new<B>(body: B) -> Self
    where
        B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let mut body = Some(body);
        let any: &mut dyn std::any::Any = &mut body;
        if let Some(one) = any.downcast_mut::<Option<Self>>().and_then(Option::take) {
            return one;
        }
        let body = body.expect("it is put down and taken once").map_err(BodyError::new);
        Self::of(Content::Boxed(Box::pin(body)))
    }

    /// A body that is made piece by piece.
    pub fn from_stream<S>(stream: S) -> Self
    where
        S: TryStream<Ok: Into<Bytes>, Error: Into<BoxError>> + Send + 'static,
    {
        Self::new(StreamBody::new(stream.map_ok(|piece| Frame::data(piece.into()))))
    }

    const fn of(content: Content) -> Self {
        Self { content, counted: Counted::Not }
    }

    /// A request's body, on its way in.
    pub(crate) fn arriving(body: RequestBody) -> Self {
        Self::of(Content::RequestBody(body))
    }

    /// The same body, whose end is the end of a request.
    pub(crate) fn answering(self, request: Unfinished) -> Self {
        Self { counted: Counted::Answering(request), ..self }
    }

    /// The same body, of this request.
    pub(crate) fn of_request(self, request: Arc<InFlight>) -> Self {
        Self { counted: Counted::Of(request), ..self }
    }

    /// What is to be said at the end of the request, for whoever ends it instead.
    pub(crate) fn take_request(&mut self) -> Option<Unfinished> {
        match std::mem::replace(&mut self.counted, Counted::Not) {
            Counted::Answering(request) => Some(request),
            Counted::Not | Counted::Of(_) => None,
        }
    }

    /// Nothing more of it is taken, and nothing is missing: it answers its request so far.
    pub(crate) fn end_here(&mut self) {
        if let Counted::Answering(request) = &mut self.counted {
            request.left(0, true);
        }
    }

    fn poll_content(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.content {
            Content::Empty => Poll::Ready(None),
            Content::Full(_) => {
                let Content::Full(bytes) = std::mem::replace(&mut self.content, Content::Empty) else {
                    return Poll::Ready(None);
                };
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            Content::Incoming(body) => Pin::new(body).poll_frame(cx).map_err(BodyError::new),
            Content::RequestBody(body) => Pin::new(body).poll_frame(cx).map_err(BodyError::new),
            Content::Boxed(body) => body.as_mut().poll_frame(cx),
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(self.poll_content(cx));
        let ends = self.is_end_stream();
        let bytes = |frame: &Frame<Bytes>| frame.data_ref().map_or(0, Bytes::len);
        match (&mut self.counted, &frame) {
            (Counted::Answering(request), Some(Ok(frame))) => request.left(bytes(frame), ends),
            (Counted::Answering(request), None) => request.left(0, true),
            (Counted::Of(request), Some(Ok(frame))) => request.receive(bytes(frame)),
            (Counted::Not | Counted::Of(_), _) | (Counted::Answering(_), Some(Err(_))) => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Empty => true,
            Content::Full(bytes) => bytes.is_empty(),
            Content::Incoming(body) => body.is_end_stream(),
            Content::RequestBody(body) => body.is_end_stream(),
            Content::Boxed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Empty => SizeHint::with_exact(0),
            Content::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Content::Incoming(body) => body.size_hint(),
            Content::RequestBody(body) => body.size_hint(),
            Content::Boxed(body) => body.size_hint(),
        }
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::empty()
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Body")
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::of(Content::Full(bytes))
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Bytes::from_static(text.as_bytes()).into()
    }
}

impl From<&'static [u8]> for Body {
    fn from(bytes: &'static [u8]) -> Self {
        Bytes::from_static(bytes).into()
    }
}

impl From<Incoming> for Body {
    fn from(body: Incoming) -> Self {
        Self::of(Content::Incoming(body))
    }
}

/// For what goes through axum's `Router`.
impl From<Body> for axum::body::Body {
    fn from(body: Body) -> Self {
        match body {
            Body { content: Content::Empty, counted: Counted::Not } => Self::empty(),
            body => Self::new(body),
        }
    }
}

impl From<axum::body::Body> for Body {
    fn from(body: axum::body::Body) -> Self {
        if http_body::Body::is_end_stream(&body) { Self::empty() } else { Self::new(body) }
    }
}

impl BodyError {
    /// Something broke.
    pub fn new(cause: impl Into<BoxError>) -> Self {
        match cause.into().downcast::<Self>() {
            Ok(same) => *same,
            Err(cause) => Self(cause),
        }
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for BodyError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.0)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;

    use super::*;

    #[tokio::test]
    async fn each_kind_gives_what_was_put_in_and_knows_its_end() {
        let pieces = ["pi", "ece"].map(Ok::<_, BoxError>);
        for (body, want, known) in [
            (Body::empty(), "", true),
            (Body::from(""), "", true),
            (Body::from("piece"), "piece", true),
            (Body::new(Full::new(Bytes::from("piece"))), "piece", true),
            (Body::new(Body::from("piece")), "piece", true),
            (Body::from_stream(futures_util::stream::iter(pieces)), "piece", false),
        ] {
            assert_eq!(body.size_hint().exact(), known.then_some(want.len() as u64));
            assert_eq!(body.is_end_stream(), want.is_empty());
            assert_eq!(body.collect().await.unwrap().to_bytes(), want);
        }
    }

    #[tokio::test]
    async fn an_error_shows_its_cause_however_often_it_is_wrapped() {
        let broken = futures_util::stream::iter([Err::<Bytes, BoxError>("no more".into())]);
        let body = Body::new(Body::from_stream(broken).map_err(BodyError::new));
        let error = body.collect().await.unwrap_err();
        assert_eq!(error.to_string(), "no more");
        assert!(error.source().unwrap().source().is_none());
    }
}
