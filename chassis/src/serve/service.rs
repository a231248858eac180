//! A service of HTTP, as plain as it can be: takes a request, always has an answer.
//!
//! [`tower::Service`] makes each layer clone the next one and wait for it to be ready. Nothing here is ever not ready: who is
//! too busy answers so, and says it in words. A layer therefore borrows the next one, and passing through it costs a call.

use std::{pin::Pin, sync::Arc};

use arc_swap::ArcSwap;
use http::{Request, Response};

use super::{Peer, refused::Refused};
use crate::{Body, layer::problem::MediaType};

/// A finished stack, or a part of one. A layer is a structure with an inner one:
///
/// ```
/// use chassis::{Body, serve::HttpService};
/// use http::{Request, Response};
///
/// struct Named<S>(S);
///
/// impl<S: HttpService> HttpService for Named<S> {
///     async fn call(&self, request: Request<Body>) -> Response<Body> {
///         let mut response = self.0.call(request).await;
///         response.headers_mut().insert("server", http::HeaderValue::from_static("usher"));
///         response
///     }
/// }
/// ```
///
/// A closure that takes a request and returns a future of its answer is one, too, and so is axum's `Router`.
pub trait HttpService: Send + Sync + 'static {
    /// Whether it answers requests whose head was refused ([`Refused`]): it is a
    /// [`Rim`](crate::layer::problem::Rim), or a layer around one. Others never see such a request, which then has no id and no
    /// access line.
    const ANSWERS_REFUSED: bool = false;

    /// Answers a request.
    fn call(&self, request: Request<Body>) -> impl Future<Output = Response<Body>> + Send;
}

impl<F, A> HttpService for F
where
    F: Fn(Request<Body>) -> A + Send + Sync + 'static,
    A: Future<Output = Response<Body>> + Send,
{
    fn call(&self, request: Request<Body>) -> impl Future<Output = Response<Body>> + Send {
        self(request)
    }
}

impl<S: HttpService> HttpService for Arc<S> {
    const ANSWERS_REFUSED: bool = S::ANSWERS_REFUSED;

    fn call(&self, request: Request<Body>) -> impl Future<Output = Response<Body>> + Send {
        S::call(self, request)
    }
}

impl HttpService for axum::Router {
    async fn call(&self, request: Request<Body>) -> Response<Body> {
        // A router is shared: its clone is one more reference. It is always ready.
        let Ok(response) = tower::Service::call(&mut self.clone(), request).await;
        response.map(Body::from)
    }
}

/// A service that can be replaced by another one of its kind. Requests in flight stay with the one that took them.
pub struct Replaceable<S>(Arc<ArcSwap<S>>);

impl<S> Replaceable<S> {
    /// Holds `service` until another one comes.
    pub fn new(service: S) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(service)))
    }

    /// Serves the next requests by `service`.
    pub fn replace(&self, service: S) {
        self.0.store(Arc::new(service));
    }
}

impl<S> Clone for Replaceable<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S: HttpService> HttpService for Replaceable<S> {
    const ANSWERS_REFUSED: bool = S::ANSWERS_REFUSED;

    async fn call(&self, request: Request<Body>) -> Response<Body> {
        let service = self.0.load_full();
        service.call(request).await
    }
}

/// A stack whose type nobody needs to know: erased once, where it is finished, so that what drives connections is compiled once.
#[derive(Clone)]
pub struct Stack(Arc<dyn Erased>);

/// An answer in the making.
pub(super) type Answer = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

trait Erased: Send + Sync {
    fn answers_refused(&self) -> bool;
    fn answer(self: Arc<Self>, request: Request<Body>) -> Answer;
}

impl<S: HttpService> Erased for S {
    fn answers_refused(&self) -> bool {
        S::ANSWERS_REFUSED
    }

    fn answer(self: Arc<Self>, request: Request<Body>) -> Answer {
        Box::pin(async move { self.call(request).await })
    }
}

impl Stack {
    /// Finishes a stack.
    pub fn new(service: impl HttpService) -> Self {
        Self(Arc::new(service))
    }

    /// The answer in the making. It is boxed: its state is thousands of bytes, which each connection would hold while it idles.
    pub(super) fn answer(&self, request: Request<Body>) -> Answer {
        self.0.clone().answer(request)
    }

    /// The answer to a request that nobody could read.
    pub(super) fn refuse(&self, refused: Refused, peer: Peer) -> Answer {
        if self.0.answers_refused() {
            let mut request = refused.request();
            request.extensions_mut().insert(peer);
            return self.answer(request);
        }
        let answer = refused.problem().write(None, MediaType::default()).map(Body::from);
        Box::pin(std::future::ready(answer))
    }
}

impl HttpService for Stack {
    fn call(&self, request: Request<Body>) -> impl Future<Output = Response<Body>> + Send {
        self.answer(request)
    }
}
