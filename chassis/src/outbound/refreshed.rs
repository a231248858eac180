//! A value fetched from elsewhere (a key set, say), kept fresh in the background and never lost to an outage.
//!
//! Requests read the last good value without waiting. A request that misses something in it may ask for another fetch.
//! However many ask, one fetch is under way at a time. A cool-down allows one fetch, and one more for those who found
//! the first under way: it may have begun before what they miss was published.

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

use crate::{
    backoff::{Backoff, News},
    outbound::client::{self, Client},
};

/// The largest response that [`Source::http`] is usually given room for, in bytes.
pub const BYTES_MAX: usize = 256 * 1024;

/// The wait after a first failed fetch; it doubles up to the cool-down.
const BACKOFF_MIN: Duration = Duration::from_secs(1);

/// The least time between the starts of two fetches for requests while there is no value to serve them by.
const FIRST_EVERY: Duration = Duration::from_secs(1);

/// The age at which a value is fetched again, as a share of [`Policy::fresh`]: early enough that a fetch may fail once.
const REFETCH_AT: f64 = 0.8;

/// When a value is fetched, and how long it is used.
#[derive(Clone, Debug)]
pub struct Policy {
    /// How old a value may get; it is fetched again at 80 % of it, in the background.
    pub fresh: Duration,
    /// How old a value may get while it can't be fetched again. After that there is none.
    pub stale_max: Duration,
    /// The least time between two fetches that requests cause.
    pub cool_down: Duration,
    /// How long a fetch may take, and how long a request waits for one.
    pub wait: Duration,
    /// How long a fetch may take while there has never been a value, if that is longer: the other side may still be
    /// starting. Requests wait no longer than `wait`.
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

/// Where a value comes from: a name of the place, for logs and metrics, and how to fetch it.
pub struct Source {
    place: String,
    fetch: Fetch,
}

type Fetch = Box<dyn Fn() -> Fetching + Send + Sync>;
type Fetching = Pin<Box<dyn Future<Output = Result<Bytes, String>> + Send>>;

impl Source {
    /// Fetches in any way. `fetch` bounds the size of what it returns, the [`Policy`] the time; an error is for the
    /// log.
    pub fn new<F>(place: impl Into<String>, fetch: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Bytes, String>> + Send + 'static,
    {
        Self { place: place.into(), fetch: Box::new(move || Box::pin(fetch())) }
    }

    /// Fetches over HTTP: at most `bytes_max`, no redirects.
    pub fn http(url: String, client: Client, bytes_max: usize) -> Self {
        Self::http_with(url, HeaderMap::new(), client, bytes_max)
    }

    /// The same, with more request headers.
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

/// Parses what was fetched. An error is for the log, and keeps the value before it.
pub type Parse<T> = Box<dyn Fn(&[u8]) -> Result<T, String> + Send + Sync>;

/// A value that is kept fresh.
pub struct Refreshed<T> {
    /// What it is, for logs and metrics.
    name: &'static str,
    source: Source,
    policy: Policy,
    parse: Parse<T>,
    current: ArcSwapOption<Snapshot<T>>,
    activity: Mutex<Activity>,
}

struct Snapshot<T> {
    value: Arc<T>,
    at: Instant,
}

/// Whether a fetch is under way; its channel closes when it is done.
struct Activity {
    fetching: Option<watch::Receiver<()>>,
    pacing: Pacing,
}

/// When the next fetch may begin.
struct Pacing {
    /// The earliest fetch for a request.
    not_before: Instant,
    /// The earliest fetch for a request that found another under way.
    again_not_before: Instant,
    /// When the last fetch began.
    begun: Option<Instant>,
    backoff: Backoff,
}

/// The value could not be fetched in time, so what is missing in it may exist.
#[derive(Debug, PartialEq, Eq)]
pub struct Unreachable;

/// How new a value is after [`Refreshed::refetch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refetched {
    /// Its fetch began after the call.
    Fetched,
    /// It was fetched less than a cool-down ago, and won't be again for so long.
    CoolingDown(Duration),
}

/// Why a value is fetched.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// It was due. This doesn't count against the cool-down: a key made a moment later is found at once.
    Schedule,
    /// A request missed something.
    Request,
    /// A request missed something, found a fetch under way, and misses it still: that fetch may have begun too early.
    Again,
}

/// A fetch to wait for, or the time until there may be one.
enum Begun {
    /// This call began it.
    Now(watch::Receiver<()>),
    /// It was under way.
    Before(watch::Receiver<()>),
    /// Requests have to wait for the cool-down.
    Held(Duration),
}

impl<T: Send + Sync + 'static> Refreshed<T> {
    /// No value yet: [`Refreshed::keep_fresh`] or a request fetches it.
    pub fn new(name: &'static str, source: Source, policy: Policy, parse: Parse<T>) -> Arc<Self> {
        let now = Instant::now();
        let backoff = Backoff::new(BACKOFF_MIN, policy.cool_down).from_start();
        let pacing = Pacing { not_before: now, again_not_before: now, begun: None, backoff };
        let activity = Mutex::new(Activity { fetching: None, pacing });
        Arc::new(Self { name, source, policy, parse, current: ArcSwapOption::empty(), activity })
    }

    /// The last good value; `None` if there never was one, or if it is older than [`Policy::stale_max`].
    pub fn current(&self) -> Option<Arc<T>> {
        let snapshot = self.current.load();
        let snapshot = snapshot.as_ref()?;
        (snapshot.at.elapsed() <= self.policy.stale_max).then(|| snapshot.value.clone())
    }

    /// Fetches the value again, for a request that misses something in it; not more often than the cool-down allows. If
    /// a fetch is under way, waits for that, and for the next one if `found` is still false then.
    ///
    /// # Errors
    ///
    /// [`Unreachable`] if the value could not be fetched, or not within [`Policy::wait`].
    pub async fn refetch(self: &Arc<Self>, found: impl Fn(&T) -> bool) -> Result<Refetched, Unreachable> {
        let refetched = timeout(self.policy.wait, self.refetched(found)).await;
        let refetched = refetched.map_err(|_| Unreachable)?;
        if self.failures() == 0 { Ok(refetched) } else { Err(Unreachable) }
    }

    async fn refetched(self: &Arc<Self>, found: impl Fn(&T) -> bool) -> Refetched {
        // A channel's error says that its sender is gone, which is what we wait for.
        let mut older = match self.begin(Cause::Request) {
            Begun::Now(mut done) => {
                let _ = done.changed().await;
                return Refetched::Fetched;
            }
            Begun::Before(done) => done,
            Begun::Held(left) => return Refetched::CoolingDown(left),
        };
        let _ = older.changed().await;
        if self.failures() > 0 || self.current().is_some_and(|value| found(&value)) {
            return Refetched::Fetched;
        }
        // Any fetch that is under way by now began after this call.
        match self.begin(Cause::Again) {
            Begun::Now(mut done) | Begun::Before(mut done) => {
                let _ = done.changed().await;
                Refetched::Fetched
            }
            Begun::Held(left) => Refetched::CoolingDown(left),
        }
    }

    /// Fetches the value now and whenever it is due, for as long as it is polled.
    pub async fn keep_fresh(self: Arc<Self>) {
        loop {
            if let Begun::Now(mut done) | Begun::Before(mut done) = self.begin(Cause::Schedule) {
                let _ = done.changed().await;
            }
            let due = Instant::now() + self.policy.fresh.mul_f64(REFETCH_AT);
            let next = {
                let Pacing { not_before, backoff, .. } = &self.lock().pacing;
                if backoff.failures() > 0 { *not_before } else { due }
            };
            sleep_until(next).await;
        }
    }

    fn failures(&self) -> u32 {
        self.lock().pacing.backoff.failures()
    }

    fn lock(&self) -> MutexGuard<'_, Activity> {
        self.activity.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins the fetch under way, or starts one, unless requests have to wait.
    ///
    /// The fetch is a task of its own: a request that gives up waiting doesn't end it for the others.
    fn begin(self: &Arc<Self>, cause: Cause) -> Begun {
        let mut activity = self.lock();
        // If the channel is closed and this is still here, the task was torn down.
        if let Some(done) = activity.fetching.as_ref().filter(|done| done.has_changed().is_ok()) {
            return Begun::Before(done.clone());
        }
        let now = Instant::now();
        let held = self.not_before(cause, &activity.pacing, now).saturating_duration_since(now);
        if !held.is_zero() {
            return Begun::Held(held);
        }
        let (running, done) = watch::channel(());
        activity.fetching = Some(done.clone());
        activity.pacing.begun = Some(now);
        let this = self.clone();
        tokio::spawn(async move {
            let fetched = this.fetch().await;
            let mut activity = this.lock();
            activity.fetching = None;
            this.note(&mut activity.pacing, cause, fetched);
            drop(activity);
            drop(running);
        });
        Begun::Now(done)
    }

    /// When a fetch for that reason may begin.
    fn not_before(&self, cause: Cause, pacing: &Pacing, now: Instant) -> Instant {
        match (cause, pacing.begun) {
            (Cause::Schedule, _) | (_, None) => now,
            // Nothing can be served without a value, so a request needn't wait for the end of a back-off.
            (_, Some(begun)) if self.current().is_none() => begun + FIRST_EVERY,
            (Cause::Request, _) => pacing.not_before,
            (Cause::Again, _) => pacing.not_before.min(pacing.again_not_before),
        }
    }

    async fn fetch(&self) -> Result<T, String> {
        let Policy { wait, first_wait, .. } = self.policy;
        let wait = if self.current.load().is_none() { first_wait.max(wait) } else { wait };
        let fetched = timeout(wait, (self.source.fetch)()).await;
        let fetched = fetched.unwrap_or_else(|_| Err(format!("no answer within {wait:?}")));
        fetched.and_then(|bytes| (self.parse)(&bytes))
    }

    /// Takes in what a fetch has brought.
    fn note(&self, pacing: &mut Pacing, cause: Cause, fetched: Result<T, String>) {
        let (document, place) = (self.name, &self.source.place);
        let result = if fetched.is_ok() { "ok" } else { "error" };
        let labels = [("document", document.to_owned()), ("source", place.clone())];
        let outcome = [&labels[..], &[("result", result.to_owned())]].concat();
        metrics::counter!(crate::metrics::DOCUMENT_FETCHES.name, &outcome).increment(1);
        let now = Instant::now();
        match fetched {
            Ok(value) => {
                // The age of what is in use is the current time minus this.
                let at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                metrics::gauge!(crate::metrics::DOCUMENT_FETCHED.name, &labels).set(at.as_secs_f64());
                if pacing.backoff.failures() > 0 || self.current.load().is_none() {
                    info!(document, place, "fetched");
                }
                self.current.store(Some(Arc::new(Snapshot { value: Arc::new(value), at: now })));
                pacing.backoff.succeed();
                let cool = now + self.policy.cool_down;
                if cause != Cause::Schedule {
                    pacing.not_before = cool;
                }
                if cause == Cause::Again {
                    pacing.again_not_before = cool;
                }
            }
            Err(error) => {
                let known = self.current.load().is_some();
                match pacing.backoff.fail(&error) {
                    News::New if known => {
                        warn!(
                            document,
                            place, error, "can't be fetched; what was known stays in use, and trying again"
                        );
                    }
                    News::New => {
                        warn!(
                            document,
                            place, error, "can't be fetched yet; until then what needs it is answered 503"
                        );
                    }
                    News::Early => info!(document, place, error, "not there yet; trying again"),
                    News::Known => {
                        let failures = pacing.backoff.failures();
                        debug!(document, place, error, failures, "fetch");
                    }
                }
                pacing.not_before = now + pacing.backoff.wait();
                pacing.again_not_before = pacing.not_before;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use http::Response;
    use tokio::net::TcpListener;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::{Body, serve};

    /// A server that counts its requests and answers with what `body` makes of the count.
    async fn counted(body: fn(usize) -> Response<Body>) -> (String, Arc<AtomicUsize>) {
        let count = Arc::new(AtomicUsize::new(0));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        let seen = count.clone();
        let service = move |_: Request<Body>| {
            let response = body(seen.fetch_add(1, Ordering::SeqCst));
            async { response }
        };
        tokio::spawn(async move {
            serve::serve(listener, service, &serve::tests::settings(), CancellationToken::new()).await;
        });
        (url, count)
    }

    fn document(url: String, policy: Policy) -> Arc<Refreshed<String>> {
        bounded(url, policy, BYTES_MAX)
    }

    fn bounded(url: String, policy: Policy, bytes_max: usize) -> Arc<Refreshed<String>> {
        let parse: Parse<String> = Box::new(|bytes| match bytes {
            b"" => Err("is empty".into()),
            bytes => Ok(String::from_utf8_lossy(bytes).into_owned()),
        });
        let source = Source::http(url, client::client(Duration::from_secs(2)), bytes_max);
        Refreshed::new("test", source, policy, parse)
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
            assert_eq!(asked.await.unwrap(), Ok(Refetched::Fetched));
        }
        assert!(matches!(document.refetch(|_| false).await, Ok(Refetched::CoolingDown(_))));
        assert_eq!(*document.current().unwrap(), "v0");
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_failed_fetch_keeps_what_was_known_and_says_so() {
        let (url, _) = counted(|n| Response::new(if n == 0 { "good".into() } else { Body::empty() })).await;
        let document = document(url, Policy { cool_down: Duration::ZERO, ..patient() });
        assert_eq!(document.refetch(|_| false).await, Ok(Refetched::Fetched));
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
        assert_eq!(document.refetch(|_| false).await, Ok(Refetched::Fetched));
        assert_eq!(*document.current().unwrap(), "v1");
        assert_eq!(count.load(Ordering::SeqCst), 2);
        kept.abort();
    }

    /// A document that can be had while the flag is set, and how often it was asked for.
    fn switched(policy: Policy) -> (Arc<Refreshed<String>>, Arc<AtomicBool>, Arc<AtomicUsize>) {
        let (there, count) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
        let source = {
            let (there, count) = (there.clone(), count.clone());
            Source::new("here", move || {
                let (n, there) = (count.fetch_add(1, Ordering::SeqCst), there.load(Ordering::SeqCst));
                async move { if there { Ok(format!("v{n}").into()) } else { Err("gone".to_owned()) } }
            })
        };
        let parse: Parse<String> = Box::new(|bytes| Ok(String::from_utf8_lossy(bytes).into_owned()));
        (Refreshed::new("test", source, policy, parse), there, count)
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
        assert_eq!(document.refetch(|_| false).await, Ok(Refetched::Fetched));
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
        document: Arc<Refreshed<String>>,
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
            let document = Refreshed::new("test", source, Policy::default(), parse);
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
        assert_eq!(first.await.unwrap(), (Ok(Refetched::Fetched), Some("old".into())));
        for joiner in joiners {
            assert_eq!(joiner.await.unwrap(), (Ok(Refetched::Fetched), Some("new".into())));
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
        let Ok(Refetched::CoolingDown(left)) = held else { panic!("{held:?}") };
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
        assert_eq!(slow.miss("there").await.unwrap(), (Ok(Refetched::Fetched), Some("there".into())));
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
        assert_eq!(joined, (Ok(Refetched::Fetched), Some("there".into())));
        assert_eq!(slow.count(), 1);
        // From then on one that hangs is given up.
        slow.at(60_000).await;
        assert_eq!(slow.miss("other").await.unwrap().0, Err(Unreachable));
        slow.at(63_000).await;
        assert_eq!(slow.document.failures(), 1);
    }
}
