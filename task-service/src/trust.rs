//! Who is calling, proved: the way in.
//!
//! The gateway says who is calling, and auth-verifier has signed that it is so. Without that proof nothing is served,
//! not even that a path does not exist, and neither router nor database is bothered. A [`Caller`] is made here and
//! nowhere else.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use axum::extract::FromRequestParts;
use chassis::{
    Body,
    layer::{access_log, problem::Problem},
    outbound::{
        client,
        refreshed::{self, Refreshed, Policy, Refetched, Source},
    },
    serve::HttpService,
    settings::ServiceUrl,
};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header, request::Parts};
use identity::{ASSERTION, KeySet, Proof, Rejection, USER_ID, UserId};
use jsonwebtoken::DecodingKey;
use tracing::{debug, info, warn};

/// How long a connection to auth-verifier may take to stand.
const CONNECT: Duration = Duration::from_secs(1);

/// A user whose identity was proved.
#[derive(Clone, Debug)]
pub struct Caller(UserId);

impl Caller {
    /// The user's id.
    pub fn id(&self) -> &UserId {
        &self.0
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        // A route outside of `trust` has no caller, and lets nobody in.
        parts.extensions.get().cloned().ok_or_else(unauthenticated)
    }
}

/// What proofs are checked by.
pub struct Trust {
    keys: Arc<Refreshed<KeySet>>,
    audience: String,
}

impl Trust {
    /// Trusts what is signed, for `audience`, with a key that is published at `jwks_url`.
    pub fn new(jwks_url: &ServiceUrl, audience: &str) -> Arc<Self> {
        let source = Source::http(jwks_url.url().to_string(), client::client(CONNECT), refreshed::BYTES_MAX);
        let keys = Refreshed::new("identity-jwks", source, Policy::default(), Box::new(KeySet::parse));
        Arc::new(Self { keys, audience: audience.to_owned() })
    }

    /// Keeps the keys fresh, for as long as it is polled.
    pub async fn keep_fresh(self: Arc<Self>) {
        self.keys.clone().keep_fresh().await;
    }

    /// Whether there is a key to check proofs by.
    pub fn is_ready(&self) -> bool {
        self.keys.current().is_some()
    }

    async fn caller(&self, headers: &HeaderMap, now: u64) -> Result<Caller, Distrust> {
        let proof = only(headers, &ASSERTION)?;
        let claimed = only(headers, &USER_ID)?;
        let proof = Proof::parse(proof)?;
        let key = self.key(&proof.kid).await?;
        let user = proof.verify(&key, &self.audience, now)?;
        if user.as_str() == claimed { Ok(Caller(user)) } else { Err(Rejection::OtherUser.into()) }
    }

    /// The key of this name. An unknown one may have been made since the set was fetched, so it is fetched again,
    /// though not more often than every cool-down, whatever names are made up. Until then we can't know.
    async fn key(&self, kid: &str) -> Result<Arc<DecodingKey>, Distrust> {
        let known = || self.keys.current().and_then(|keys| keys.get(kid));
        if let Some(key) = known() {
            return Ok(key);
        }
        let fetched = self.keys.refetch(|keys| keys.get(kid).is_some()).await;
        match known() {
            Some(key) => Ok(key),
            None if fetched == Ok(Refetched::Fetched) && self.is_ready() => Err(Rejection::UnknownKey.into()),
            None => Err(Distrust::Unavailable),
        }
    }
}

/// Why a request is not let in.
enum Distrust {
    /// Its proof is no good.
    Rejected(Rejection),
    /// There is nothing to check it by.
    Unavailable,
}

impl From<Rejection> for Distrust {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

/// Lets in who proves who they are, as a [`Caller`] among the request's extensions.
pub struct Trusted<S> {
    /// What proofs are checked by.
    pub trust: Arc<Trust>,
    /// What stands behind.
    pub inner: S,
}

impl<S: HttpService> HttpService for Trusted<S> {
    async fn call(&self, mut request: Request<Body>) -> Response<Body> {
        match self.trust.caller(request.headers(), now()).await {
            Ok(caller) => {
                access_log::user(caller.id().as_str());
                request.extensions_mut().insert(caller);
                self.inner.call(request).await
            }
            Err(distrust) => refusal(&distrust).response(),
        }
    }
}

fn refusal(distrust: &Distrust) -> Problem {
    match distrust {
        Distrust::Rejected(rejection) => {
            match rejection {
                Rejection::Missing(_) => debug!(%rejection, "not let in"),
                _ => info!(%rejection, "not let in"),
            }
            unauthenticated()
        }
        Distrust::Unavailable => {
            warn!("the identity keys can't be fetched");
            Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "identity-unavailable",
                "who is calling can't be checked right now; try again in a moment",
            )
            .retry_after_secs(1)
        }
    }
}

/// What was wrong is for the log: whoever comes without the gateway needs no help.
fn unauthenticated() -> Problem {
    let detail = "the request does not prove who is calling; send it through the gateway";
    Problem::new(StatusCode::UNAUTHORIZED, "unauthenticated", detail)
        .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static(identity::CHALLENGE))
}

/// The one value of a header: of two, the next service might believe the other.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<&'a str, Rejection> {
    let mut values = headers.get_all(name).into_iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().map_err(|_| Rejection::Malformed),
        (None, _) => Err(Rejection::Missing(name.clone())),
        (Some(_), Some(_)) => Err(Rejection::Ambiguous(name.clone())),
    }
}

fn now() -> u64 {
    // A clock before 1970 makes every assertion expired, which is the safe side.
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(u64::MAX, |since| since.as_secs())
}
