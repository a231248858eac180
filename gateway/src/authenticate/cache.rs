//! Verdicts that may be used again, and the calls for those that are under way.
//!
//! A verdict depends on the credentials of a request and on nothing else that a client sends, so it is kept under a keyed
//! hash of them, whole: with one byte changed it is another's. auth-verifier says for how long (`Cache-Control:
//! max-age`), which already leaves out what a revocation may not outlast; that time is counted from when it was asked, and
//! nothing prolongs it, whatever becomes of auth-verifier. Only verdicts that know somebody are kept.
//!
//! There is one call at a time for the same credentials. A request that comes while one asks waits for that verdict, and takes
//! it if it holds for a request as late as itself. Else it joins the next call, which began after it came: so no request waits
//! for more than two. An auth-verifier that lets no verdict be used again is asked by each request at once.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use chassis::{
    cache_key::{AsItIs, CacheKey, CacheKeyer},
    clock::UnixSeconds,
};
use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared, WeakShared},
};
use http::HeaderValue;
use metrics::{Counter, Gauge};
use moka::{Expiry, notification::RemovalCause, sync::Cache};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

use super::{
    ask::{AuthenticateError, Question, VerifierClient},
    verdict::{Caller, LIFE_MAX, Verdict},
};
use crate::sanitize::Credentials;

/// Its name among the caches of a process, in metrics.
const NAME: &str = "verdicts";

/// The part of a verdict's life after which a request that uses it has it refreshed for those to come: 3 of 4.
const REFRESH: (u32, u32) = (3, 4);

/// The most refreshes at a time; a verdict that finds no room ends, and the next request asks.
const REFRESHES_MAX: usize = 256;

/// What ends a header in a key, and what stands there for a missing one: neither can stand in a header (RFC 9110 §5.5).
const END: &[u8] = b"\0";
const ABSENT: &[u8] = b"\x01";

/// Verdicts, found by the credentials that they are of.
pub(super) struct VerdictCache {
    calls: Arc<Calls>,
    keyer: CacheKeyer,
    hits: Counter,
    shared: Counter,
}

/// What there is for a request.
pub(super) enum Cached {
    /// A verdict that still holds.
    Fresh(Arc<Caller>),
    /// Nothing, for a request that came then.
    Nothing(Instant),
}

/// A verdict, and from when to when it holds.
#[derive(Clone)]
struct Granted {
    caller: Arc<Caller>,
    asked: Instant,
    life: Duration,
    /// The same by the system's clock, which goes on while the machine is suspended.
    asked_at: UnixSeconds,
    /// Whether a request has had it refreshed already: once, also if that failed.
    refreshed: Arc<AtomicBool>,
}

type Answer = Result<Granted, AuthenticateError>;

/// The calls under way, and what comes of them.
struct Calls {
    verifier: Arc<VerifierClient>,
    granted: Cache<CacheKey, Granted, AsItIs>,
    under_way: Mutex<HashMap<CacheKey, UnderWay, AsItIs>>,
    begun: AtomicU64,
    /// Whether auth-verifier has let a verdict be used again, ever.
    shares: AtomicBool,
    refreshes: Arc<Semaphore>,
    inserts: Counter,
    entries: Gauge,
}

/// A call under way. Those who wait for it hold it, and nobody else: it ends with the last of them.
struct UnderWay {
    number: u64,
    asked: Instant,
    call: WeakShared<BoxFuture<'static, Answer>>,
}

/// A call, and when it began.
struct Call {
    asked: Instant,
    answer: Shared<BoxFuture<'static, Answer>>,
}

impl VerdictCache {
    /// Keeps `entries_max` verdicts at most. Their credentials are not among what is kept.
    pub(super) fn new(verifier: Arc<VerifierClient>, entries_max: u64) -> Self {
        let evictions = metrics::counter!(crate::metrics::CACHE_EVICTIONS.name, "cache" => NAME);
        let granted = Cache::builder()
            .max_capacity(entries_max)
            .expire_after(ByLife)
            .eviction_listener(move |_, _, cause| {
                if cause == RemovalCause::Size {
                    evictions.increment(1);
                }
            })
            .build_with_hasher(AsItIs::default());
        let calls = Arc::new(Calls {
            verifier,
            granted,
            under_way: Mutex::default(),
            begun: AtomicU64::new(0),
            shares: AtomicBool::new(false),
            refreshes: Arc::new(Semaphore::new(REFRESHES_MAX)),
            inserts: metrics::counter!(crate::metrics::CACHE_INSERTS.name, "cache" => NAME),
            entries: metrics::gauge!(crate::metrics::CACHE_ENTRIES.name, "cache" => NAME),
        });
        let hits = metrics::counter!(crate::metrics::CACHE_HITS.name, "cache" => NAME);
        let shared = metrics::counter!(crate::metrics::VERIFIER_CALLS_SHARED.name);
        Self { calls, keyer: CacheKeyer::new(), hits, shared }
    }

    /// The key of these credentials.
    pub(super) fn key(&self, credentials: &Credentials) -> CacheKey {
        let authorization = credentials.authorization.as_ref().map_or(ABSENT, HeaderValue::as_bytes);
        let cookies = credentials.cookies.iter().flat_map(|cookie| [cookie.as_bytes(), END]);
        self.keyer.key([authorization, END].into_iter().chain(cookies))
    }

    /// The verdict of that key, for a request that comes now; `question` is what auth-verifier would be asked.
    pub(super) fn get(&self, key: &CacheKey, question: impl FnOnce() -> Question) -> Cached {
        let now = Instant::now();
        let granted = self.calls.granted.get(key);
        let Some(granted) = granted.filter(|granted| granted.holds(now, UnixSeconds::now())) else {
            return Cached::Nothing(now);
        };
        self.hits.increment(1);
        let refresh_at = granted.asked + granted.life * REFRESH.0 / REFRESH.1;
        if refresh_at <= now && !granted.refreshed.swap(true, Ordering::Relaxed) {
            self.calls.refresh(*key, question());
        }
        Cached::Fresh(granted.caller)
    }

    /// The verdict of that key by a call that is under way or a new one, for a request that came at `arrival`.
    pub(super) async fn ask(
        &self,
        key: CacheKey,
        arrival: Instant,
        question: Question,
    ) -> Result<Arc<Caller>, AuthenticateError> {
        let wait = self.calls.verifier.wait();
        let asking = async {
            let mut call = self.calls.join(key, &question);
            if call.asked < arrival {
                self.shared.increment(1);
                let answer = call.answer.await;
                if let Ok(granted) = answer.as_ref()
                    && granted.holds(arrival, granted.asked_at)
                {
                    return answer;
                }
                call = self.calls.join(key, &question);
            }
            call.answer.await
        };
        let answer = timeout_at(arrival + wait, asking).await;
        answer.unwrap_or(Err(AuthenticateError::Timeout(wait))).map(|granted| granted.caller)
    }

    /// Forgets the verdict of that key: a service does not believe it.
    pub(super) fn forget(&self, key: &CacheKey) {
        self.calls.granted.invalidate(key);
    }
}

impl Granted {
    /// Whether a request may rely on it that came at `arrival`, when the system's clock was at `now`.
    fn holds(&self, arrival: Instant, now: UnixSeconds) -> bool {
        arrival < self.asked + self.life && (self.asked_at..=self.asked_at.after(self.life)).contains(&now)
    }
}

/// An entry goes when its verdict is over.
struct ByLife;

impl Expiry<CacheKey, Granted> for ByLife {
    fn expire_after_create(
        &self,
        _: &CacheKey,
        granted: &Granted,
        _: std::time::Instant,
    ) -> Option<Duration> {
        Some(granted.life)
    }

    fn expire_after_update(
        &self,
        _: &CacheKey,
        granted: &Granted,
        _: std::time::Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(granted.life)
    }
}

impl Calls {
    /// The call under way for this key, or a new one.
    fn join(self: &Arc<Self>, key: CacheKey, question: &Question) -> Call {
        let shares = self.shares.load(Ordering::Relaxed);
        let find = |under_way: &HashMap<_, UnderWay, _>| under_way.get(&key).filter(|_| shares)?.join();
        if let Some(call) = find(&self.under_way()) {
            return call;
        }
        // Made before the lock is taken: if it is dropped, it takes the lock itself.
        let number = self.begun.fetch_add(1, Ordering::Relaxed);
        let asked = Instant::now();
        let landing = Landing { calls: self.clone(), number, key };
        let answer = landing.call(asked, question.clone()).boxed().shared();
        let call = answer.downgrade();
        let mut under_way = self.under_way();
        if let Some(others) = find(&under_way) {
            drop(under_way);
            return others;
        }
        under_way.extend(call.map(|call| (key, UnderWay { number, asked, call })));
        drop(under_way);
        Call { asked, answer }
    }

    /// Asks again for a verdict that is about to end.
    fn refresh(self: &Arc<Self>, key: CacheKey, question: Question) {
        let Some(permit) = place(&self.refreshes) else { return };
        let call = self.join(key, &question);
        tokio::spawn(async move {
            let _ = call.answer.await;
            drop(permit);
        });
    }

    fn under_way(&self) -> MutexGuard<'_, HashMap<CacheKey, UnderWay, AsItIs>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place for one more refresh; that there is none is counted.
fn place(refreshes: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    let place = refreshes.clone().try_acquire_owned().ok();
    if place.is_none() {
        metrics::counter!(crate::metrics::VERDICT_REFRESHES_SKIPPED.name).increment(1);
    }
    place
}

impl UnderWay {
    fn join(&self) -> Option<Call> {
        Some(Call { asked: self.asked, answer: self.call.upgrade()? })
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
    async fn call(self, asked: Instant, question: Question) -> Answer {
        let Self { calls, key, .. } = &self;
        let asked_at = UnixSeconds::now();
        let Verdict { caller, life } = match calls.verifier.ask(question).await {
            Ok(verdict) => verdict,
            Err(error) => {
                if error.is_denial() {
                    calls.granted.invalidate(key);
                }
                return Err(error);
            }
        };
        let life = life.min(LIFE_MAX);
        let is_kept = asked.elapsed() < life;
        let caller = Arc::new(if is_kept { caller.detached() } else { caller });
        let granted = Granted { caller, asked, life, asked_at, refreshed: Arc::default() };
        if is_kept {
            calls.shares.store(true, Ordering::Relaxed);
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
        if under_way.get(&self.key).is_some_and(|call| call.number == self.number) {
            under_way.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refresh_that_finds_no_place_is_counted() {
        let counted = chassis::telemetry::metrics();
        let skipped =
            |times: u32| counted.render().contains(&format!("verdict_refreshes_skipped_total {times}\n"));
        let refreshes = Arc::new(Semaphore::new(REFRESHES_MAX));
        let held: Vec<_> = (0..REFRESHES_MAX).map_while(|_| place(&refreshes)).collect();
        assert_eq!(held.len(), REFRESHES_MAX);
        assert!(!skipped(1));
        assert!(place(&refreshes).is_none() && skipped(1));
        drop(held);
        assert!(place(&refreshes).is_some() && skipped(1));
    }
}
