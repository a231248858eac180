//! The way in: a request proves who is calling, or goes no further.
//!
//! The gateway says who is calling, and auth-verifier has signed that it is so. Without that proof nothing is answered,
//! not even that a path does not exist, and neither router nor database is touched. A [`Caller`] is made here and
//! nowhere else.

use std::sync::Arc;

use chassis::{
    Body,
    clock::UnixSeconds,
    layer::{access_log, problem::Problem},
    serve::HttpService,
};
use http::{HeaderValue, Request, Response, StatusCode, header};
use identity::{Rejection, UserId, Verifier, VerifyError};
use tracing::{debug, info, warn};

use crate::api::nothing_done;

/// A user whose identity was proved.
#[derive(Clone, Debug)]
pub struct Caller(UserId);

impl Caller {
    /// The user's id.
    pub fn id(&self) -> &UserId {
        &self.0
    }
}

/// What can be asked by a [`Caller`] alone.
pub(crate) trait CallersService: Send + Sync + 'static {
    /// Answers a request of `caller`.
    fn call(&self, caller: Caller, request: Request<Body>) -> impl Future<Output = Response<Body>> + Send;
}

/// Lets requests through that prove who is calling.
pub(crate) struct Trusted<S> {
    /// Checks the proof.
    pub(crate) verifier: Arc<Verifier>,
    /// Answers whoever has one.
    pub(crate) inner: S,
}

impl<S: CallersService> HttpService for Trusted<S> {
    async fn call(&self, request: Request<Body>) -> Response<Body> {
        match self.verifier.verify(request.headers(), UnixSeconds::now()).await {
            Ok(user) => {
                access_log::user(user.as_str());
                self.inner.call(Caller(user), request).await
            }
            Err(error) => refusal(&error).response(),
        }
    }
}

fn refusal(error: &VerifyError) -> Problem {
    match error {
        VerifyError::Rejected(rejection) => {
            match rejection {
                Rejection::Missing(_) => debug!(%rejection, "not let in"),
                _ => info!(%rejection, "not let in"),
            }
            // The reason is in the log alone: a client that comes past the gateway needs no help.
            let detail = "the request does not prove who is calling; send it through the gateway";
            Problem::new(StatusCode::UNAUTHORIZED, "unauthenticated", detail)
                .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static(identity::CHALLENGE))
        }
        VerifyError::Unavailable => {
            warn!("the identity keys can't be fetched (TASK_SERVICE_IDENTITY_JWKS_URL): answered 503");
            let detail = "who is calling can't be checked right now; try again in a moment";
            let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "identity-unavailable", detail);
            nothing_done(problem).retry_after_secs(1)
        }
    }
}
