//! Who is calling, proved: what a service behind the gateway does with each request before anything else.

mod cache;
mod keys;
mod proof;
mod rejection;

use std::{sync::Arc, time::Duration};

use chassis::{
    clock::UnixSeconds,
    header::{self, NotSingle},
    outbound::{
        client,
        refreshed::{self, Policy, Refetched, Refreshed, Source},
    },
    settings::ServiceUrl,
};
use http::{HeaderMap, HeaderName};
use thiserror::Error;

use self::{
    cache::{Cache, Entry},
    keys::Key,
    proof::Proof,
};
pub use self::{keys::KeySet, rejection::Rejection};
use crate::{ASSERTION, Membership, USER_ID, UserId};

/// How long a connection to auth-verifier may take to stand.
const CONNECT: Duration = Duration::from_secs(1);

/// Verifies the identity of requests by the keys that auth-verifier publishes.
///
/// A service of your own needs this and a layer of a few lines:
///
/// ```no_run
/// use chassis::{clock::UnixSeconds, settings::ServiceUrl};
/// use http::{HeaderMap, StatusCode};
/// use identity::{UserId, Verifier, VerifyError};
///
/// # fn main() {
/// let jwks = ServiceUrl::parse("http://127.0.0.1:8001/.well-known/jwks.json").unwrap();
/// let verifier = Verifier::new(&jwks, "internal");
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// tokio::spawn(verifier.clone().keep_fresh());
///
/// // For each request, before anything else:
/// async fn user(verifier: &Verifier, headers: &HeaderMap) -> Result<UserId, StatusCode> {
///     verifier.verify(headers, UnixSeconds::now()).await.map_err(|error| match error {
///         // With `WWW-Authenticate: Identity-Assertion`, so that the gateway makes a 503 of it.
///         VerifyError::Rejected(_) => StatusCode::UNAUTHORIZED,
///         // With `Retry-After`: the keys are out of reach, so nobody knows.
///         VerifyError::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
///     })
/// }
/// # user(&verifier, &HeaderMap::new()).await.unwrap_err();
/// # });
/// # }
/// ```
pub struct Verifier {
    keys: Arc<Refreshed<KeySet>>,
    audience: Box<str>,
    verified: Cache,
}

/// Why nobody can be said to be calling.
#[derive(Debug, Error)]
pub enum VerifyError {
    /// The request doesn't prove who is calling.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The keys can't be fetched, or not yet: the assertion may be good.
    #[error("the keys of the assertion can't be fetched")]
    Unavailable,
}

impl Verifier {
    /// Trusts assertions for `audience` that a key published at `jwks_url` has signed. Until [`Verifier::keep_fresh`]
    /// runs, keys are fetched when a request needs them.
    pub fn new(jwks_url: &ServiceUrl, audience: &str) -> Arc<Self> {
        let source = Source::http(jwks_url.url().to_string(), client::client(CONNECT), refreshed::BYTES_MAX);
        Self::from_source(source, audience)
    }

    fn from_source(source: Source, audience: &str) -> Arc<Self> {
        let keys = Refreshed::new("identity-jwks", source, Policy::default(), Box::new(KeySet::parse));
        Arc::new(Self { keys, audience: audience.into(), verified: Cache::new(cache::ENTRIES_MAX) })
    }

    /// Fetches the keys now and whenever it is time, for as long as it is polled. Spawn it.
    pub async fn keep_fresh(self: Arc<Self>) {
        self.keys.clone().keep_fresh().await;
    }

    /// Whether there are keys to verify with. A service isn't ready before.
    pub fn is_ready(&self) -> bool {
        self.keys.current().is_some()
    }

    /// The user who is calling: that of the one [`USER_ID`] header, if the one [`ASSERTION`] beside it says the same,
    /// is signed, meant for us, and has not expired.
    ///
    /// # Errors
    ///
    /// [`VerifyError::Rejected`] if one of these is not so; answer 401 with [`CHALLENGE`](crate::CHALLENGE).
    /// [`VerifyError::Unavailable`] if that can't be known now; answer 503 with `Retry-After`.
    pub async fn verify(&self, headers: &HeaderMap, now: UnixSeconds) -> Result<UserId, VerifyError> {
        Ok(self.verify_entry(headers, now).await?.user.clone())
    }

    /// The same, with the user's role and organization as the assertion says them: signed, unlike the headers of
    /// [`MEMBERSHIP`](crate::MEMBERSHIP), which a service may be reached with otherwise.
    ///
    /// # Errors
    ///
    /// As for [`Verifier::verify`].
    pub async fn verify_member(
        &self,
        headers: &HeaderMap,
        now: UnixSeconds,
    ) -> Result<(UserId, Option<Membership>), VerifyError> {
        let entry = self.verify_entry(headers, now).await?;
        Ok((entry.user.clone(), entry.membership.clone()))
    }

    async fn verify_entry(&self, headers: &HeaderMap, now: UnixSeconds) -> Result<Arc<Entry>, VerifyError> {
        let assertion = single(headers, &ASSERTION)?;
        let claimed = single(headers, &USER_ID)?;
        let entry = match self.known(assertion, now) {
            Some(known) => known?,
            None => self.proved(assertion, now).await?,
        };
        if entry.user.as_str() == claimed { Ok(entry) } else { Err(Rejection::OtherUser.into()) }
    }

    /// An assertion that was verified before, if its key is still published.
    fn known(&self, assertion: &str, now: UnixSeconds) -> Option<Result<Arc<Entry>, Rejection>> {
        let entry = self.verified.get(assertion)?;
        let keys = self.keys.current()?;
        // The key itself is compared, not its id: a fetch that brings the same keys forgets nothing, while a key that
        // is gone, or another under its id, ends all its assertions at once.
        let published = keys.get(&entry.kid).is_some_and(|published| *published == entry.key);
        published.then(|| {
            entry.life.check(now)?;
            self.verified.hit();
            Ok(entry)
        })
    }

    async fn proved(&self, assertion: &str, now: UnixSeconds) -> Result<Arc<Entry>, VerifyError> {
        let proof = Proof::parse(assertion)?;
        let key = self.key(&proof.kid).await?;
        let (user, membership, life) = proof.verify(&key, &self.audience, now)?;
        let entry = Arc::new(Entry { user, membership, life, kid: proof.kid.into(), key });
        self.verified.insert(assertion, Arc::clone(&entry));
        Ok(entry)
    }

    /// The key of that id. An unknown id may belong to a key that was made since the last fetch, so the keys are
    /// fetched again, though not more often than the cool-down allows. Until then nobody can know.
    async fn key(&self, kid: &str) -> Result<Key, VerifyError> {
        let known = || self.keys.current().and_then(|keys| keys.get(kid).cloned());
        if let Some(key) = known() {
            return Ok(key);
        }
        let refetched = self.keys.refetch(|keys| keys.get(kid).is_some()).await;
        match known() {
            Some(key) => Ok(key),
            None if refetched == Ok(Refetched::Fetched) && self.is_ready() => {
                Err(Rejection::UnknownKey.into())
            }
            None => Err(VerifyError::Unavailable),
        }
    }
}

/// The one value of a header, as text.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<&'a str, Rejection> {
    match header::single(headers, name) {
        Ok(value) => value.to_str().map_err(|_| Rejection::Malformed),
        Err(NotSingle::Missing) => Err(Rejection::Missing(name.clone())),
        Err(NotSingle::Repeated) => Err(Rejection::Repeated(name.clone())),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
    use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
    use http::HeaderValue;
    use serde_json::{Value, json};
    use tokio::time::advance;

    use super::*;

    const NOW: UnixSeconds = UnixSeconds(1_800_000_000);

    /// auth-verifier's half: signs with the key of this number, as `k`.
    fn signed(key: u8, user: &str) -> String {
        let encode = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let UnixSeconds(now) = NOW;
        let claims =
            json!({"iss": "auth-verifier", "sub": user, "aud": "internal", "iat": now, "exp": now + 60});
        let message = format!("{}.{}", encode(&json!({"alg": "EdDSA", "kid": "k"})), encode(&claims));
        let signature = pair(key).sign(message.as_bytes());
        format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
    }

    fn pair(key: u8) -> Ed25519KeyPair {
        Ed25519KeyPair::from_seed_unchecked(&[key; 32]).unwrap()
    }

    fn headers(user: &str, assertion: &str) -> HeaderMap {
        let value = |text: &str| HeaderValue::from_str(text).unwrap();
        HeaderMap::from_iter([(USER_ID, value(user)), (ASSERTION, value(assertion))])
    }

    /// Key ids and their keys, or why they can't be fetched.
    type Published = Result<Vec<(&'static str, u8)>, String>;

    /// A verifier, and the set of keys that it fetches.
    struct World {
        verifier: Arc<Verifier>,
        published: Arc<Mutex<Published>>,
    }

    impl World {
        fn new(keys: &[(&'static str, u8)]) -> Self {
            let published = Arc::new(Mutex::new(Ok(keys.to_vec())));
            let fetched = published.clone();
            let source = Source::new("here", move || {
                let fetched = fetched.lock().unwrap().clone();
                async move {
                    let keys = fetched?.into_iter().map(|(kid, key)| {
                        let x = BASE64_URL_SAFE_NO_PAD.encode(pair(key).public_key());
                        json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": x})
                    });
                    Ok(json!({"keys": keys.collect::<Vec<_>>()}).to_string().into())
                }
            });
            Self { verifier: Verifier::from_source(source, "internal"), published }
        }

        /// Publishes another set, and sees to it that it has been fetched.
        async fn publish(&self, keys: &[(&'static str, u8)]) {
            *self.published.lock().unwrap() = Ok(keys.to_vec());
            advance(Policy::default().cool_down).await;
            assert_eq!(self.verifier.keys.refetch(|_| false).await, Ok(Refetched::Fetched));
        }

        async fn at(&self, now: u64, user: &str, assertion: &str) -> Result<String, Option<Rejection>> {
            let verified = self.verifier.verify(&headers(user, assertion), UnixSeconds(now)).await;
            verified.map(|user| user.as_str().to_owned()).map_err(|error| match error {
                VerifyError::Rejected(rejection) => Some(rejection),
                VerifyError::Unavailable => None,
            })
        }

        async fn verify(&self, user: &str, assertion: &str) -> Result<String, Option<Rejection>> {
            self.at(NOW.0, user, assertion).await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_cached_assertion_is_good_for_its_own_user_alone() {
        let world = World::new(&[("k", 1)]);
        for user in ["u1", "u2"] {
            for time in ["first", "again"] {
                assert_eq!(world.verify(user, &signed(1, user)).await, Ok(user.to_owned()), "{time}");
                let other = if user == "u1" { "u2" } else { "u1" };
                assert_eq!(world.verify(other, &signed(1, user)).await, Err(Some(Rejection::OtherUser)));
            }
        }
        assert_eq!(world.verifier.verified.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_cached_assertion_ends_when_it_ends() {
        let world = World::new(&[("k", 1)]);
        let assertion = signed(1, "u1");
        for _ in 0..2 {
            assert!(world.verify("u1", &assertion).await.is_ok());
            assert!(world.at(NOW.0 + 89, "u1", &assertion).await.is_ok(), "the leeway is 30 s");
            let over = Err(Some(Rejection::Expired(30)));
            assert_eq!(world.at(NOW.0 + 90, "u1", &assertion).await, over);
            assert_eq!(world.at(NOW.0 - 31, "u1", &assertion).await, Err(Some(Rejection::Future(31))));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_is_gone_ends_its_assertions_and_the_same_key_again_ends_none() {
        let world = World::new(&[("k", 1)]);
        let assertion = signed(1, "u1");
        assert!(world.verify("u1", &assertion).await.is_ok());
        world.publish(&[("k", 1), ("next", 2)]).await;
        assert!(world.verifier.known(&assertion, NOW).is_some(), "nothing is forgotten");
        world.publish(&[("next", 2)]).await;
        assert_eq!(world.verify("u1", &assertion).await, Err(None), "it may be published since that fetch");
        advance(Policy::default().cool_down).await;
        assert_eq!(world.verify("u1", &assertion).await, Err(Some(Rejection::UnknownKey)));
        world.publish(&[("k", 3)]).await;
        assert_eq!(world.verify("u1", &assertion).await, Err(Some(Rejection::Signature)));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_that_was_rejected_is_cached() {
        let world = World::new(&[("k", 1)]);
        let good = signed(1, "u1");
        for bad in [signed(2, "u1"), format!("{good}A"), good[..good.len() - 1].to_owned(), "a.b.c".into()] {
            for _ in 0..2 {
                assert!(matches!(world.verify("u1", &bad).await, Err(Some(_))), "{bad}");
            }
        }
        assert_eq!(world.verifier.verified.len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_made_later_is_found_and_one_that_is_out_of_reach_is_no_rejection() {
        let world = World::new(&[]);
        *world.published.lock().unwrap() = Err("away".into());
        assert!(!world.verifier.is_ready());
        assert_eq!(world.verify("u1", &signed(1, "u1")).await, Err(None));
        *world.published.lock().unwrap() = Ok(vec![("k", 1)]);
        advance(Duration::from_secs(1)).await;
        assert!(world.verify("u1", &signed(1, "u1")).await.is_ok());
        assert!(world.verifier.is_ready());
    }

    #[tokio::test(start_paused = true)]
    async fn each_header_must_stand_once() {
        let world = World::new(&[("k", 1)]);
        let assertion = signed(1, "u1");
        let verify = async |headers: &HeaderMap| match world.verifier.verify(headers, NOW).await {
            Err(VerifyError::Rejected(rejection)) => rejection,
            verified => panic!("{verified:?}"),
        };
        for name in [USER_ID, ASSERTION] {
            let mut missing = headers("u1", &assertion);
            let value = missing.remove(&name).unwrap();
            assert_eq!(verify(&missing).await, Rejection::Missing(name.clone()));
            let mut twice = headers("u1", &assertion);
            twice.append(&name, value);
            assert_eq!(verify(&twice).await, Rejection::Repeated(name.clone()), "the same twice is two");
        }
    }
}
