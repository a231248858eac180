//! A document of somebody else's (a key set, say), kept fresh in the background and never lost to an outage.
//!
//! Requests read the last good one without waiting. A request that misses something in it may ask for another
//! fetch; however many ask, there is one fetch at a time and one per cool-down.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::Request;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout},
};
use tracing::{debug, info, warn};

use crate::client::{self, Client};

/// The bounds of keeping a document.
#[derive(Clone, Debug)]
pub struct Policy {
    /// After this the document is fetched again, in the background (at 80 % of it).
    pub fresh: Duration,
    /// After this a document that can't be fetched again is no longer used.
    pub stale_max: Duration,
    /// The least time between two fetches that requests cause.
    pub cool_down: Duration,
    /// How long one fetch may take.
    pub wait: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            fresh: Duration::from_mins(10),
            stale_max: Duration::from_hours(24),
            cool_down: Duration::from_secs(30),
            wait: Duration::from_secs(2),
        }
    }
}

/// The largest document that is fetched over HTTP, unless its keeper says otherwise, in bytes.
pub const BYTES_MAX: usize = 256 * 1024;

/// The first wait after a failed fetch; doubled up to the cool-down.
const BACKOFF_MIN: Duration = Duration::from_secs(1);

/// Where a document is: a name of the place for the log, and how to get it from there. An error is for the log.
pub struct Source {
    place: String,
    fetch: Fetch,
}

type Fetch = Box<dyn Fn() -> Fetching + Send + Sync>;
type Fetching = Pin<Box<dyn Future<Output = Result<Bytes, String>> + Send>>;

impl Source {
    /// Fetched in whichever way. It is bounded in size by `fetch`, in time by the [`Policy`].
    pub fn new<F>(place: impl Into<String>, fetch: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Bytes, String>> + Send + 'static,
    {
        Self { place: place.into(), fetch: Box::new(move || Box::pin(fetch())) }
    }

    /// Fetched over HTTP: at most `bytes_max`, and no redirects.
    pub fn http(url: String, client: Client, bytes_max: usize) -> Self {
        let place = url.clone();
        Self::new(place, move || {
            let (client, url) = (client.clone(), url.clone());
            async move {
                client::read(&client, Request::get(&url), bytes_max).await.map_err(|error| error.to_string())
            }
        })
    }
}

/// Reads a fetched document; the error says, for the log, why it is no good.
pub type Parse<T> = Box<dyn Fn(&[u8]) -> Result<T, String> + Send + Sync>;

/// A document kept fresh.
pub struct Document<T> {
    /// What it is, for the log and the metrics.
    name: &'static str,
    source: Source,
    policy: Policy,
    parse: Parse<T>,
    current: ArcSwapOption<Good<T>>,
    activity: Mutex<Activity>,
}

struct Good<T> {
    value: Arc<T>,
    at: Instant,
}

enum Activity {
    Idle(Rest),
    /// Somebody fetches; the channel closes when it is done.
    Fetching(watch::Receiver<()>, Rest),
}

/// What is remembered between two fetches.
#[derive(Clone, Copy)]
struct Rest {
    /// From now on a request may cause a fetch.
    not_before: Instant,
    /// How many fetches failed in a row.
    failures: u32,
}

/// The document could not be fetched, so what is missing in it may exist after all.
#[derive(Debug, PartialEq, Eq)]
pub struct Unreachable;

/// How new a document is that was asked for again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refetched {
    /// It was fetched just now.
    Now,
    /// It was fetched less than a cool-down ago, and is not fetched again yet.
    Lately,
}

/// Why a document is fetched.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// It was time. This doesn't count against the cool-down: a key made a moment later is found at once.
    Schedule,
    /// A request missed something.
    Request,
}

impl<T: Send + Sync + 'static> Document<T> {
    /// A document that is not there yet; [`Document::keep_fresh`] fetches it.
    pub fn new(name: &'static str, source: Source, policy: Policy, parse: Parse<T>) -> Arc<Self> {
        let activity = Mutex::new(Activity::Idle(Rest { not_before: Instant::now(), failures: 0 }));
        Arc::new(Self { name, source, policy, parse, current: ArcSwapOption::empty(), activity })
    }

    /// The last good document; `None` if there never was one, or if it is too old to trust.
    pub fn current(&self) -> Option<Arc<T>> {
        let good = self.current.load();
        let good = good.as_ref()?;
        (good.at.elapsed() <= self.policy.stale_max).then(|| good.value.clone())
    }

    /// Fetches the document again, unless a request had it fetched a moment ago; waits for a fetch under way.
    ///
    /// Afterwards [`Document::current`] is as new as it can be had; an error says that the last fetch failed.
    pub async fn refetch(self: &Arc<Self>) -> Result<Refetched, Unreachable> {
        let refetched = match self.begin(Cause::Request) {
            Some(mut done) => {
                // An error says that the sender is gone, which is what we wait for.
                let _ = done.changed().await;
                Refetched::Now
            }
            None => Refetched::Lately,
        };
        if self.rest().failures == 0 { Ok(refetched) } else { Err(Unreachable) }
    }

    /// Fetches the document now and again, for as long as it is polled.
    pub async fn keep_fresh(self: Arc<Self>) {
        loop {
            if let Some(mut done) = self.begin(Cause::Schedule) {
                let _ = done.changed().await;
            }
            let Rest { not_before, failures } = self.rest();
            let fresh = Instant::now() + self.policy.fresh.mul_f64(0.8);
            sleep_until(if failures > 0 { not_before } else { fresh }).await;
        }
    }

    fn rest(&self) -> Rest {
        match *self.lock() {
            Activity::Idle(rest) | Activity::Fetching(_, rest) => rest,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Activity> {
        self.activity.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins the fetch under way, or starts one; `None` while requests have to wait for the cool-down.
    ///
    /// The fetch is a task of its own: a caller that gives up waiting doesn't end it for the others.
    fn begin(self: &Arc<Self>, cause: Cause) -> Option<watch::Receiver<()>> {
        let mut activity = self.lock();
        let rest = match &*activity {
            // A closed channel with no result: the task was torn down.
            Activity::Fetching(done, _) if done.has_changed().is_ok() => return Some(done.clone()),
            Activity::Fetching(_, rest) | Activity::Idle(rest) => *rest,
        };
        if cause == Cause::Request && Instant::now() < rest.not_before {
            return None;
        }
        let (running, done) = watch::channel(());
        *activity = Activity::Fetching(done.clone(), rest);
        let this = self.clone();
        tokio::spawn(async move {
            let rest = this.fetch(cause, rest).await;
            *this.lock() = Activity::Idle(rest);
            drop(running);
        });
        Some(done)
    }

    async fn fetch(&self, cause: Cause, rest: Rest) -> Rest {
        let Policy { wait, cool_down, .. } = self.policy;
        let fetched = timeout(wait, (self.source.fetch)()).await;
        let fetched = fetched.unwrap_or_else(|_| Err(format!("no answer within {wait:?}")));
        let parsed = fetched.and_then(|bytes| (self.parse)(&bytes));
        let result = if parsed.is_ok() { "ok" } else { "error" };
        let labels = [("document", self.name.to_owned()), ("place", self.source.place.clone())];
        let outcome = [&labels[..], &[("result", result.to_owned())]].concat();
        metrics::counter!("document_fetches_total", &outcome).increment(1);
        if parsed.is_ok() {
            // How old what is in use is, is now less that.
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            metrics::gauge!("document_fetched_timestamp_seconds", &labels).set(now.as_secs_f64());
        }
        match parsed {
            Ok(value) => {
                if rest.failures > 0 || self.current.load().is_none() {
                    info!(document = self.name, place = self.source.place, "fetched");
                }
                self.current.store(Some(Arc::new(Good { value: Arc::new(value), at: Instant::now() })));
                let not_before = match cause {
                    Cause::Request => Instant::now() + cool_down,
                    Cause::Schedule => rest.not_before,
                };
                Rest { not_before, failures: 0 }
            }
            Err(error) => {
                // Once is news; the same outage a minute later is not.
                if rest.failures == 0 {
                    warn!(
                        document = self.name,
                        place = self.source.place,
                        error,
                        "fetch; what was known stays in use"
                    );
                } else {
                    debug!(document = self.name, place = self.source.place, error, rest.failures, "fetch");
                }
                let backoff = BACKOFF_MIN
                    .saturating_mul(2u32.saturating_pow(rest.failures))
                    .min(cool_down.max(BACKOFF_MIN));
                Rest { not_before: Instant::now() + backoff, failures: rest.failures.saturating_add(1) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    };

    use http::Response;
    use tokio::net::TcpListener;
    use tokio_util::sync::CancellationToken;
    use tower::service_fn;

    use super::*;
    use crate::{Body, serve};

    /// A server that counts its requests and answers with what `body` makes of the count.
    async fn counted(body: fn(usize) -> Response<Body>) -> (String, Arc<AtomicUsize>) {
        let count = Arc::new(AtomicUsize::new(0));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        let seen = count.clone();
        let service = service_fn(move |_: Request<Body>| {
            let response = body(seen.fetch_add(1, Ordering::SeqCst));
            async { Ok::<_, Infallible>(response) }
        });
        tokio::spawn(async move {
            serve::serve(listener, service, &serve::tests::settings(), CancellationToken::new()).await;
        });
        (url, count)
    }

    fn document(url: String, policy: Policy) -> Arc<Document<String>> {
        bounded(url, policy, BYTES_MAX)
    }

    fn bounded(url: String, policy: Policy, bytes_max: usize) -> Arc<Document<String>> {
        let parse: Parse<String> = Box::new(|bytes| match bytes {
            b"" => Err("is empty".into()),
            bytes => Ok(String::from_utf8_lossy(bytes).into_owned()),
        });
        let source = Source::http(url, client::client(Duration::from_secs(2)), bytes_max);
        Document::new("test", source, policy, parse)
    }

    fn patient() -> Policy {
        Policy { wait: Duration::from_secs(20), ..Policy::default() }
    }

    #[tokio::test]
    async fn many_who_miss_something_cause_one_fetch_per_cool_down() {
        let (url, count) = counted(|n| Response::new(format!("v{n}").into())).await;
        let document = document(url, patient());
        let asking: Vec<_> = (0..50)
            .map(|_| {
                let document = document.clone();
                tokio::spawn(async move { document.refetch().await })
            })
            .collect();
        for asked in asking {
            assert_eq!(asked.await.unwrap(), Ok(Refetched::Now));
        }
        assert_eq!(document.refetch().await, Ok(Refetched::Lately));
        assert_eq!(*document.current().unwrap(), "v0");
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_failed_fetch_keeps_what_was_known_and_says_so() {
        let (url, _) = counted(|n| Response::new(if n == 0 { "good".into() } else { Body::empty() })).await;
        let document = document(url, Policy { cool_down: Duration::ZERO, ..patient() });
        assert_eq!(document.refetch().await, Ok(Refetched::Now));
        assert_eq!(document.refetch().await, Err(Unreachable));
        assert_eq!(*document.current().unwrap(), "good");
    }

    #[tokio::test]
    async fn a_scheduled_fetch_leaves_a_request_its_own() {
        let (url, count) = counted(|n| Response::new(format!("v{n}").into())).await;
        let document = document(url, patient());
        let kept = tokio::spawn(document.clone().keep_fresh());
        while document.current().is_none() {
            tokio::task::yield_now().await;
        }
        assert_eq!(document.refetch().await, Ok(Refetched::Now));
        assert_eq!(*document.current().unwrap(), "v1");
        assert_eq!(count.load(Ordering::SeqCst), 2);
        kept.abort();
    }

    /// A document that can be had while the flag is set, and how often it was asked for.
    fn switched(policy: Policy) -> (Arc<Document<String>>, Arc<AtomicBool>, Arc<AtomicUsize>) {
        let (there, count) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
        let source = {
            let (there, count) = (there.clone(), count.clone());
            Source::new("here", move || {
                let (n, there) = (count.fetch_add(1, Ordering::SeqCst), there.load(Ordering::SeqCst));
                async move { if there { Ok(format!("v{n}").into()) } else { Err("gone".to_owned()) } }
            })
        };
        let parse: Parse<String> = Box::new(|bytes| Ok(String::from_utf8_lossy(bytes).into_owned()));
        (Document::new("test", source, policy, parse), there, count)
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_fetched_again_before_it_is_no_longer_fresh() {
        let (document, _, count) = switched(Policy::default());
        let begun = Instant::now();
        let kept = tokio::spawn(document.clone().keep_fresh());
        for (secs, fetches) in [(1, 1), (479, 1), (481, 2), (959, 2), (961, 3)] {
            sleep_until(begun + Duration::from_secs(secs)).await;
            assert_eq!(count.load(Ordering::SeqCst), fetches, "after {secs} s");
        }
        kept.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_that_lasts_costs_one_fetch_per_cool_down() {
        let (document, _, count) = switched(Policy::default());
        let begun = Instant::now();
        for secs in 0..=95 {
            sleep_until(begun + Duration::from_secs(secs)).await;
            for _ in 0..20 {
                document.refetch().await.unwrap();
                assert!(document.current().is_some());
            }
        }
        assert_eq!(count.load(Ordering::SeqCst), 4, "after 0, 30, 60 and 90 s");
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_waited_out_with_what_was_known_and_ends_within_a_cool_down() {
        let (document, there, count) = switched(Policy::default());
        let begun = Instant::now();
        let kept = tokio::spawn(document.clone().keep_fresh());
        sleep_until(begun + Duration::from_secs(1)).await;
        there.store(false, Ordering::SeqCst);
        sleep_until(begun + Duration::from_hours(23)).await;
        assert_eq!(*document.current().unwrap(), "v0");
        assert_eq!(document.refetch().await, Err(Unreachable), "what is missing in it may exist after all");
        let failed = count.load(Ordering::SeqCst) - 1;
        assert!((2600..2800).contains(&failed), "one per cool-down: {failed}");
        there.store(true, Ordering::SeqCst);
        sleep_until(begun + Duration::from_hours(23) + Duration::from_secs(31)).await;
        assert_ne!(*document.current().unwrap(), "v0");

        there.store(false, Ordering::SeqCst);
        sleep_until(begun + Duration::from_hours(48)).await;
        assert_eq!(document.current(), None, "too old to trust");
        kept.abort();
    }

    #[tokio::test]
    async fn a_document_that_is_too_old_is_not_used() {
        let (url, _) = counted(|_| Response::new("old".into())).await;
        let document = document(url, Policy { stale_max: Duration::ZERO, ..patient() });
        assert_eq!(document.refetch().await, Ok(Refetched::Now));
        while document.current().is_some() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_redirect_an_error_and_an_oversized_answer_are_not_taken() {
        let redirect = |_| Response::builder().status(302).header("location", "/x").body("x".into()).unwrap();
        let broken = |_| Response::builder().status(500).body("x".into()).unwrap();
        let large = |_| Response::new("x".repeat(1001).into());
        for body in [redirect as fn(usize) -> Response<Body>, broken, large] {
            let (url, count) = counted(body).await;
            let document = bounded(url, patient(), 1000);
            assert_eq!(document.refetch().await, Err(Unreachable));
            assert_eq!(document.current(), None);
            assert_eq!(count.load(Ordering::SeqCst), 1);
        }
    }
}
