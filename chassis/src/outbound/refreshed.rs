//! A document of somebody else's (a key set, say), kept fresh in the background and never lost to an outage.
//!
//! Requests read the last good one without waiting. A request that misses something in it may ask for another
//! fetch; however many ask, there is one fetch at a time, and per cool-down one and, for those who came while it was under
//! way, one more: what was published meanwhile it may have missed.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::{HeaderMap, Request};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout},
};
use tracing::{debug, info, warn};

use crate::outbound::client::{self, Client};

/// The bounds of keeping a document.
#[derive(Clone, Debug)]
pub struct Policy {
    /// After this the document is fetched again, in the background (at 80 % of it).
    pub fresh: Duration,
    /// After this a document that can't be fetched again is no longer used.
    pub stale_max: Duration,
    /// The least time between two fetches that requests cause.
    pub cool_down: Duration,
    /// How long a fetch may take, and how long a request waits for one.
    pub wait: Duration,
    /// How long a fetch may take while there has never been a document, if that is longer: whoever has it may still be
    /// starting. Requests don't wait for longer.
    pub first_wait: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            fresh: Duration::from_mins(10),
            stale_max: Duration::from_hours(24),
            cool_down: Duration::from_secs(30),
            wait: Duration::from_secs(2),
            first_wait: Duration::from_secs(30),
        }
    }
}

/// The largest document that is fetched over HTTP, unless its keeper says otherwise, in bytes.
pub const BYTES_MAX: usize = 256 * 1024;

/// The first wait after a failed fetch; doubled up to the cool-down.
const BACKOFF_MIN: Duration = Duration::from_secs(1);

/// The least time between the beginnings of two fetches that requests cause while there is no document to serve them by.
const FIRST_EVERY: Duration = Duration::from_secs(1);

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
        Self::http_with(url, HeaderMap::new(), client, bytes_max)
    }

    /// The same, asked with these headers besides.
    pub fn http_with(url: String, headers: HeaderMap, client: Client, bytes_max: usize) -> Self {
        let place = url.clone();
        Self::new(place, move || {
            let (client, mut request) = (client.clone(), Request::get(&url));
            if let Some(own) = request.headers_mut() {
                own.extend(headers.clone());
            }
            async move { client::read(&client, request, bytes_max).await.map_err(|error| error.to_string()) }
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
    /// From now on a fetch that a request has found under way may be followed by another one.
    again_not_before: Instant,
    /// When the last one began.
    begun: Option<Instant>,
    /// How many fetches failed in a row.
    failures: u32,
}

impl Rest {
    fn new() -> Self {
        let now = Instant::now();
        Self { not_before: now, again_not_before: now, begun: None, failures: 0 }
    }
}

/// The document could not be fetched, so what is missing in it may exist after all.
#[derive(Debug, PartialEq, Eq)]
pub struct Unreachable;

/// How new a document is that was asked for again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refetched {
    /// By a fetch that began after it was asked for.
    Now,
    /// It was fetched less than a cool-down ago, and is not fetched again for so long.
    Lately(Duration),
}

/// Why a document is fetched.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// It was time. This doesn't count against the cool-down: a key made a moment later is found at once.
    Schedule,
    /// A request missed something.
    Request,
    /// A request missed something, found a fetch under way, and misses it still: that one may have begun too early.
    Again,
}

/// A fetch to wait for, or the time until there may be one.
enum Begun {
    /// It begins now.
    Now(watch::Receiver<()>),
    /// It has begun before.
    Before(watch::Receiver<()>),
    /// Requests have to wait for the cool-down.
    Held(Duration),
}

impl<T: Send + Sync + 'static> Document<T> {
    /// A document that is not there yet; [`Document::keep_fresh`] fetches it.
    pub fn new(name: &'static str, source: Source, policy: Policy, parse: Parse<T>) -> Arc<Self> {
        let activity = Mutex::new(Activity::Idle(Rest::new()));
        Arc::new(Self { name, source, policy, parse, current: ArcSwapOption::empty(), activity })
    }

    /// The last good document; `None` if there never was one, or if it is too old to trust.
    pub fn current(&self) -> Option<Arc<T>> {
        let good = self.current.load();
        let good = good.as_ref()?;
        (good.at.elapsed() <= self.policy.stale_max).then(|| good.value.clone())
    }

    /// Fetches the document again, unless a request had it fetched a moment ago, for somebody who misses something in it.
    /// Whoever finds a fetch under way waits for it, and, if that didn't bring what is `found` in it, for the next.
    ///
    /// Afterwards [`Document::current`] is as new as it can be had; an error says that it could not be had in time.
    pub async fn refetch(self: &Arc<Self>, found: impl Fn(&T) -> bool) -> Result<Refetched, Unreachable> {
        let refetched = timeout(self.policy.wait, self.refetched(found)).await;
        let refetched = refetched.map_err(|_| Unreachable)?;
        if self.rest().failures == 0 { Ok(refetched) } else { Err(Unreachable) }
    }

    async fn refetched(self: &Arc<Self>, found: impl Fn(&T) -> bool) -> Refetched {
        // An error of a channel says that its sender is gone, which is what we wait for.
        let mut older = match self.begin(Cause::Request) {
            Begun::Now(mut done) => {
                let _ = done.changed().await;
                return Refetched::Now;
            }
            Begun::Before(done) => done,
            Begun::Held(left) => return Refetched::Lately(left),
        };
        let _ = older.changed().await;
        if self.rest().failures > 0 || self.current().is_some_and(|value| found(&value)) {
            return Refetched::Now;
        }
        // Whichever is under way by now has begun after we came.
        match self.begin(Cause::Again) {
            Begun::Now(mut done) | Begun::Before(mut done) => {
                let _ = done.changed().await;
                Refetched::Now
            }
            Begun::Held(left) => Refetched::Lately(left),
        }
    }

    /// Fetches the document now and again, for as long as it is polled.
    pub async fn keep_fresh(self: Arc<Self>) {
        loop {
            if let Begun::Now(mut done) | Begun::Before(mut done) = self.begin(Cause::Schedule) {
                let _ = done.changed().await;
            }
            let Rest { not_before, failures, .. } = self.rest();
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

    /// Joins the fetch under way, or starts one, unless requests have to wait.
    ///
    /// The fetch is a task of its own: a caller that gives up waiting doesn't end it for the others.
    fn begin(self: &Arc<Self>, cause: Cause) -> Begun {
        let mut activity = self.lock();
        let rest = match &*activity {
            // A closed channel with no result: the task was torn down.
            Activity::Fetching(done, _) if done.has_changed().is_ok() => return Begun::Before(done.clone()),
            Activity::Fetching(_, rest) | Activity::Idle(rest) => *rest,
        };
        let now = Instant::now();
        let held = self.not_before(cause, &rest, now).saturating_duration_since(now);
        if !held.is_zero() {
            return Begun::Held(held);
        }
        let (running, done) = watch::channel(());
        let rest = Rest { begun: Some(now), ..rest };
        *activity = Activity::Fetching(done.clone(), rest);
        let this = self.clone();
        tokio::spawn(async move {
            let rest = this.fetch(cause, rest).await;
            *this.lock() = Activity::Idle(rest);
            drop(running);
        });
        Begun::Now(done)
    }

    /// When a fetch for that reason may begin.
    fn not_before(&self, cause: Cause, rest: &Rest, now: Instant) -> Instant {
        match (cause, rest.begun) {
            (Cause::Schedule, _) | (_, None) => now,
            // Nobody is served without it, so a request needn't wait for the end of a backoff.
            (_, Some(begun)) if self.current().is_none() => begun + FIRST_EVERY,
            (Cause::Request, _) => rest.not_before,
            (Cause::Again, _) => rest.not_before.min(rest.again_not_before),
        }
    }

    async fn fetch(&self, cause: Cause, rest: Rest) -> Rest {
        let Policy { wait, first_wait, cool_down, .. } = self.policy;
        let wait = if self.current.load().is_none() { first_wait.max(wait) } else { wait };
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
                let cool = Instant::now() + cool_down;
                let rest = Rest { failures: 0, ..rest };
                match cause {
                    Cause::Schedule => rest,
                    Cause::Request => Rest { not_before: cool, ..rest },
                    Cause::Again => Rest { not_before: cool, again_not_before: cool, ..rest },
                }
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
                let not_before = Instant::now() + backoff;
                Rest {
                    not_before,
                    again_not_before: not_before,
                    failures: rest.failures.saturating_add(1),
                    ..rest
                }
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
                tokio::spawn(async move { document.refetch(|value| value == "v0").await })
            })
            .collect();
        for asked in asking {
            assert_eq!(asked.await.unwrap(), Ok(Refetched::Now));
        }
        assert!(matches!(document.refetch(|_| false).await, Ok(Refetched::Lately(_))));
        assert_eq!(*document.current().unwrap(), "v0");
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_failed_fetch_keeps_what_was_known_and_says_so() {
        let (url, _) = counted(|n| Response::new(if n == 0 { "good".into() } else { Body::empty() })).await;
        let document = document(url, Policy { cool_down: Duration::ZERO, ..patient() });
        assert_eq!(document.refetch(|_| false).await, Ok(Refetched::Now));
        assert_eq!(document.refetch(|_| false).await, Err(Unreachable));
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
        assert_eq!(document.refetch(|_| false).await, Ok(Refetched::Now));
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
                document.refetch(|_| false).await.unwrap();
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
        assert_eq!(
            document.refetch(|_| false).await,
            Err(Unreachable),
            "what is missing in it may exist after all"
        );
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
        assert_eq!(document.refetch(|_| false).await, Ok(Refetched::Now));
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
            assert_eq!(document.refetch(|_| false).await, Err(Unreachable));
            assert_eq!(document.current(), None);
            assert_eq!(count.load(Ordering::SeqCst), 1);
        }
    }

    /// A document that takes a while: what it says is decided when a fetch begins.
    struct Slow {
        document: Arc<Document<String>>,
        says: Arc<Mutex<Result<&'static str, &'static str>>>,
        count: Arc<AtomicUsize>,
        begun: Instant,
    }

    impl Slow {
        fn new(takes: Duration, says: Result<&'static str, &'static str>) -> Self {
            let (says, count) = (Arc::new(Mutex::new(says)), Arc::new(AtomicUsize::new(0)));
            let source = {
                let (says, count) = (says.clone(), count.clone());
                Source::new("here", move || {
                    count.fetch_add(1, Ordering::SeqCst);
                    let said = *says.lock().unwrap();
                    async move {
                        tokio::time::sleep(takes).await;
                        said.map(Into::into).map_err(Into::into)
                    }
                })
            };
            let parse: Parse<String> = Box::new(|bytes| Ok(String::from_utf8_lossy(bytes).into_owned()));
            let document = Document::new("test", source, Policy::default(), parse);
            Self { document, says, count, begun: Instant::now() }
        }

        fn say(&self, says: Result<&'static str, &'static str>) {
            *self.says.lock().unwrap() = says;
        }

        async fn at(&self, millis: u64) {
            sleep_until(self.begun + Duration::from_millis(millis)).await;
        }

        fn miss(
            &self,
            what: &'static str,
        ) -> tokio::task::JoinHandle<(Result<Refetched, Unreachable>, Option<String>)> {
            let document = self.document.clone();
            tokio::spawn(async move {
                let refetched = document.refetch(|value| value == what).await;
                (refetched, document.current().map(|value| (*value).clone()))
            })
        }

        fn count(&self) -> usize {
            self.count.load(Ordering::SeqCst)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_published_while_a_fetch_is_under_way_is_found_by_whoever_waits_for_it() {
        let slow = Slow::new(Duration::from_millis(800), Ok("old"));
        let first = slow.miss("old");
        slow.at(400).await;
        slow.say(Ok("new"));
        let joiners = [slow.miss("new"), slow.miss("new")];
        assert_eq!(first.await.unwrap(), (Ok(Refetched::Now), Some("old".into())));
        for joiner in joiners {
            assert_eq!(joiner.await.unwrap(), (Ok(Refetched::Now), Some("new".into())));
        }
        assert_eq!(slow.count(), 2, "they share it");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_misses_what_is_nowhere_costs_two_fetches_per_cool_down_however_many_they_are() {
        let slow = Slow::new(Duration::from_millis(800), Ok("old"));
        let mut asked = Vec::new();
        for step in 0..100 {
            slow.at(step * 100).await;
            asked.extend([slow.miss("made up"), slow.miss("made up")]);
        }
        for asked in asked {
            let (refetched, value) = asked.await.unwrap();
            assert!(refetched.is_ok() && value.is_some());
        }
        assert_eq!(slow.count(), 2);
        let (held, _) = slow.miss("made up").await.unwrap();
        let Ok(Refetched::Lately(left)) = held else { panic!("{held:?}") };
        assert!(left < Duration::from_secs(25), "{left:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn while_there_is_no_document_requests_fetch_once_a_second_whatever_the_backoff() {
        let slow = Slow::new(Duration::from_millis(10), Err("not started yet"));
        let kept = tokio::spawn(slow.document.clone().keep_fresh());
        for step in 0..100 {
            slow.at(200 + step * 200).await;
            assert!(slow.miss("there").await.unwrap().0.is_err());
        }
        assert!((18..=26).contains(&slow.count()), "within 20 s: {}", slow.count());
        slow.say(Ok("there"));
        slow.at(21_500).await;
        assert_eq!(slow.miss("there").await.unwrap(), (Ok(Refetched::Now), Some("there".into())));
        kept.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_fetch_is_given_time_and_requests_wait_no_longer_than_they_would() {
        let slow = Slow::new(Duration::from_secs(20), Ok("there"));
        let (refetched, value) = slow.miss("there").await.unwrap();
        assert_eq!((refetched, value), (Err(Unreachable), None));
        assert_eq!(slow.begun.elapsed(), Duration::from_secs(2));
        slow.at(19_000).await;
        let joined = slow.miss("there").await.unwrap();
        assert_eq!(joined, (Ok(Refetched::Now), Some("there".into())));
        assert_eq!(slow.count(), 1);
        // From then on one that hangs is given up.
        slow.at(60_000).await;
        assert_eq!(slow.miss("other").await.unwrap().0, Err(Unreachable));
        slow.at(63_000).await;
        assert_eq!(slow.document.rest().failures, 1);
    }
}
