//! Verdicts that may be used again, and the calls for those that are under way.
//!
//! A verdict depends on the credentials of a request and on nothing else that a client sends, so it is kept under a keyed
//! hash of them, whole: with one byte changed it is another's. auth-verifier says for how long (`Cache-Control:
//! max-age`), which already leaves out what a revocation may not outlast; that time is counted from when it was asked, and
//! nothing prolongs it, whatever becomes of auth-verifier. Only verdicts that know somebody are kept.
//!
//! Requests with the same credentials that come while one asks wait for its verdict, unless the last verdict was for one
//! request only. Each takes it only if it holds for a request as late as itself.

use std::{
    collections::HashMap,
    future::ready,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use chassis::cache_key::{CacheKey, CacheKeyer};
use futures_util::{
    FutureExt,
    future::{BoxFuture, Either, Shared, WeakShared},
};
use http::HeaderValue;
use metrics::{Counter, Gauge};
use moka::{notification::RemovalCause, sync::Cache};
use tokio::time::Instant;

use super::{
    ask::{AuthenticateError, Question, VerifierClient},
    verdict::{Caller, LIFE_MAX},
};
use crate::sanitize::Credentials;

/// Its name among the caches of a process, in metrics.
const NAME: &str = "verdicts";

/// The part of a verdict's life after which a request that uses it has it refreshed for those to come: 3 of 4.
const REFRESH: (u32, u32) = (3, 4);

/// What ends a header in a key, and what stands there for a missing one: neither can stand in a header (RFC 9110 §5.5).
const END: &[u8] = b"\0";
const ABSENT: &[u8] = b"\x01";

/// The most refreshes at a time; a verdict that finds no room ends, and the next request asks.
const REFRESHES_MAX: usize = 256;

/// Verdicts, found by the credentials that they are of.
pub(super) struct VerdictCache {
    calls: Arc<Calls>,
    keyer: CacheKeyer,
    hits: Counter,
    shared: Counter,
}

/// What there is for a request.
pub(super) enum Cached<C> {
    /// A verdict that still holds.
    Fresh(Arc<Caller>),
    /// A call whose verdict will do.
    UnderWay(C),
}

/// A verdict, and from when to when it holds.
#[derive(Clone)]
struct Granted {
    caller: Arc<Caller>,
    refresh_at: Instant,
    until: Instant,
    /// Whether a request has had it refreshed already: once, also if that failed.
    refreshed: Arc<AtomicBool>,
}

type Answer = Result<Granted, AuthenticateError>;
type Call = Shared<BoxFuture<'static, Answer>>;

/// Each with its number. Those who wait for a call hold it, and nobody else: it ends with the last of them.
type UnderWay = HashMap<CacheKey, (u64, WeakShared<BoxFuture<'static, Answer>>)>;

/// The calls under way, and what comes of them.
struct Calls {
    verifier: Arc<VerifierClient>,
    granted: Cache<CacheKey, Granted>,
    under_way: Mutex<UnderWay>,
    begun: AtomicU64,
    /// Whether the last verdict may be used again: if none may, to wait for another's is a wait for nothing.
    reusable: AtomicBool,
    refreshes: Arc<tokio::sync::Semaphore>,
    inserts: Counter,
    entries: Gauge,
}

impl VerdictCache {
    /// Keeps `entries_max` verdicts at most. Their credentials are not among what is kept.
    pub(super) fn new(verifier: Arc<VerifierClient>, entries_max: u64) -> Self {
        let evictions = metrics::counter!(crate::metrics::CACHE_EVICTIONS.name, "cache" => NAME);
        let granted = Cache::builder()
            .max_capacity(entries_max)
            .time_to_live(LIFE_MAX)
            .eviction_listener(move |_, _, cause| {
                if cause == RemovalCause::Size {
                    evictions.increment(1);
                }
            })
            .build();
        let calls = Arc::new(Calls {
            verifier,
            granted,
            under_way: Mutex::default(),
            begun: AtomicU64::new(0),
            reusable: AtomicBool::new(false),
            refreshes: Arc::new(tokio::sync::Semaphore::new(REFRESHES_MAX)),
            inserts: metrics::counter!(crate::metrics::CACHE_INSERTS.name, "cache" => NAME),
            entries: metrics::gauge!(crate::metrics::CACHE_ENTRIES.name, "cache" => NAME),
        });
        let hits = metrics::counter!(crate::metrics::CACHE_HITS.name, "cache" => NAME);
        let shared = metrics::counter!(crate::metrics::VERIFIER_CALLS_SHARED.name);
        Self { calls, keyer: CacheKeyer::new(), hits, shared }
    }

    /// The verdict on these credentials, or the call for it; `question` is what auth-verifier would be asked.
    pub(super) fn get(
        &self,
        credentials: &Credentials,
        question: &dyn Fn() -> Question,
    ) -> Cached<impl Future<Output = Result<Arc<Caller>, AuthenticateError>> + Send + use<>> {
        let now = Instant::now();
        let key = self.key(credentials);
        if let Some(granted) = self.calls.granted.get(&key).filter(|granted| now < granted.until) {
            self.hits.increment(1);
            if granted.refresh_at <= now && !granted.refreshed.swap(true, Ordering::Relaxed) {
                self.calls.refresh(key, question());
            }
            return Cached::Fresh(granted.caller);
        }
        let (call, is_anothers) = self.calls.join(key, question);
        if !is_anothers {
            return Cached::UnderWay(Either::Left(call.map(|answer| answer.map(|granted| granted.caller))));
        }
        self.shared.increment(1);
        let (verifier, question) = (self.calls.verifier.clone(), question());
        Cached::UnderWay(Either::Right(call.then(move |answer| match answer {
            Ok(granted) if granted.until <= now => {
                let asked = async move { Ok(Arc::new(verifier.ask(question).await?.caller)) };
                Either::Left(Box::pin(asked))
            }
            answer => Either::Right(ready(answer.map(|granted| granted.caller))),
        })))
    }

    fn key(&self, credentials: &Credentials) -> CacheKey {
        let authorization = credentials.authorization.as_ref().map_or(ABSENT, HeaderValue::as_bytes);
        let cookies = credentials.cookies.iter().flat_map(|cookie| [cookie.as_bytes(), END]);
        self.keyer.key([authorization, END].into_iter().chain(cookies))
    }
}

impl Calls {
    /// The call under way for this key, or a new one, and whether it was there.
    fn join(self: &Arc<Self>, key: CacheKey, question: impl FnOnce() -> Question) -> (Call, bool) {
        let mut under_way = self.under_way();
        if self.reusable.load(Ordering::Relaxed)
            && let Some(call) = under_way.get(&key).and_then(|(_, call)| call.upgrade())
        {
            return (call, true);
        }
        let number = self.begun.fetch_add(1, Ordering::Relaxed);
        let landing = Landing { calls: self.clone(), number, key };
        let call = landing.call(question()).boxed().shared();
        if let Some(weak) = call.downgrade() {
            under_way.insert(key, (number, weak));
        }
        (call, false)
    }

    /// Asks again for a verdict that is about to end.
    fn refresh(self: &Arc<Self>, key: CacheKey, question: Question) {
        let Ok(permit) = self.refreshes.clone().try_acquire_owned() else { return };
        let (call, _) = self.join(key, || question);
        tokio::spawn(async move {
            let _ = call.await;
            drop(permit);
        });
    }

    fn under_way(&self) -> MutexGuard<'_, UnderWay> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that ends, or that nobody waits for any more, is not under way.
struct Landing {
    calls: Arc<Calls>,
    number: u64,
    key: CacheKey,
}

impl Landing {
    /// Asks, and keeps what may be kept.
    async fn call(self, question: Question) -> Answer {
        let Self { calls, key, .. } = &self;
        let asked = Instant::now();
        let verdict = match calls.verifier.ask(question).await {
            Ok(verdict) => verdict,
            Err(error) => {
                if error.is_denial() {
                    calls.granted.invalidate(key);
                }
                return Err(error);
            }
        };
        let life = verdict.life.min(LIFE_MAX);
        let granted = Granted {
            caller: Arc::new(verdict.caller),
            refresh_at: asked + life * REFRESH.0 / REFRESH.1,
            until: asked + life,
            refreshed: Arc::default(),
        };
        let reusable = Instant::now() < granted.until;
        calls.reusable.store(reusable, Ordering::Relaxed);
        if reusable {
            calls.granted.insert(*key, granted.clone());
            calls.inserts.increment(1);
            #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
            calls.entries.set(calls.granted.entry_count() as f64);
        }
        Ok(granted)
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        let mut under_way = self.calls.under_way();
        if under_way.get(&self.key).is_some_and(|(number, _)| *number == self.number) {
            under_way.remove(&self.key);
        }
    }
}
