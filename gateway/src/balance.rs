//! Which of a service's places takes the next request?
//!
//! A service's names are looked up again and again, and each address behind them is a place of its own, so that
//! replicas that come and go are found without a restart. Of two places the one with fewer requests in flight is
//! taken; one that refused a connection is passed over for a while.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use chassis::settings::ServiceUrl;
use futures_util::future::join_all;
use tokio::{
    net::lookup_host,
    sync::Mutex,
    time::{Instant, timeout},
};
use tracing::{info, warn};

/// The most places of one service.
const PLACES_MAX: usize = 256;

/// How soon a look-up that brought nothing is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// How long one look-up may take.
const LOOKUP_WAIT: Duration = Duration::from_secs(2);

/// The places of one service.
pub struct Places {
    service: Arc<str>,
    names: Vec<(String, u16)>,
    resolve: Duration,
    eject: Duration,
    known: ArcSwap<Vec<Arc<Place>>>,
    looked_up: Mutex<LookedUp>,
    turn: AtomicUsize,
}

/// What the look-ups have brought so far.
#[derive(Default)]
struct LookedUp {
    last: Option<Instant>,
    /// By name, so that one that can't be looked up now keeps what it had.
    addresses: HashMap<(String, u16), Vec<SocketAddr>>,
}

/// One address of a service.
pub struct Place {
    address: SocketAddr,
    in_flight: AtomicUsize,
    passed_over_until: ArcSwap<Option<Instant>>,
}

/// A place that was taken; it counts as busy until this is dropped.
pub struct Taken(Arc<Place>);

impl Places {
    /// The places behind `urls`; a name is looked up again after `resolve`, a refusing place passed over for `eject`.
    pub fn new(service: &str, urls: &[ServiceUrl], resolve: Duration, eject: Duration) -> Self {
        let name = |url: &ServiceUrl| {
            let host = url.url().host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
            (host, url.url().port_or_known_default().unwrap_or(80))
        };
        Self {
            service: service.into(),
            names: urls.iter().map(name).collect(),
            resolve,
            eject,
            known: ArcSwap::default(),
            looked_up: Mutex::default(),
            turn: AtomicUsize::new(0),
        }
    }

    /// Takes a place that is not among `tried`; `None` if there is none.
    pub async fn take(self: &Arc<Self>, tried: &[SocketAddr]) -> Option<Taken> {
        self.look_up().await;
        let known = self.known.load_full();
        let now = Instant::now();
        let untried: Vec<&Arc<Place>> =
            known.iter().filter(|place| !tried.contains(&place.address)).collect();
        let able: Vec<_> = untried.iter().copied().filter(|place| !place.is_passed_over(now)).collect();
        // Where all refused, one of them may have come back; to ask is better than to give up.
        let choice = if able.is_empty() { untried } else { able };
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        let one = choice.get(first.checked_rem(choice.len())?)?;
        let other = choice.get((first + 1 + first / choice.len()) % choice.len())?;
        let busy = |place: &Arc<Place>| place.in_flight.load(Ordering::Relaxed);
        let place = Arc::clone(if busy(other) < busy(one) { other } else { one });
        place.in_flight.fetch_add(1, Ordering::Relaxed);
        Some(Taken(place))
    }

    /// Looks the names up, if it is time: one look-up at a time, which all wait for as long as no place is known, and
    /// nobody later.
    async fn look_up(self: &Arc<Self>) {
        if self.known.load().is_empty() {
            let mut looked_up = self.looked_up.lock().await;
            // Whoever waited for somebody else's look-up has its result, though it be none.
            if self.known.load().is_empty() && looked_up.is_due(RETRY) {
                self.resolve(&mut looked_up).await;
            }
        } else if let Ok(looked_up) = self.looked_up.try_lock()
            && looked_up.is_due(self.resolve)
        {
            drop(looked_up);
            let this = self.clone();
            tokio::spawn(async move {
                let mut looked_up = this.looked_up.lock().await;
                if looked_up.is_due(this.resolve) {
                    this.resolve(&mut looked_up).await;
                }
            });
        }
    }

    async fn resolve(&self, looked_up: &mut LookedUp) {
        let found = join_all(self.names.iter().map(async |(host, port)| {
            let found = timeout(LOOKUP_WAIT, lookup_host((host.as_str(), *port))).await;
            let error = match found {
                Ok(Ok(found)) => return Some(found.collect::<Vec<_>>()),
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("no answer within {LOOKUP_WAIT:?}"),
            };
            warn!(service = %self.service, host, error, "look up; keeping what is known of it");
            None
        }))
        .await;
        for (name, found) in self.names.iter().zip(found) {
            if let Some(found) = found.filter(|found| !found.is_empty()) {
                looked_up.addresses.insert(name.clone(), found);
            }
        }
        // From the end on: whoever waited for this one doesn't begin another.
        looked_up.last = Some(Instant::now());
        let mut addresses: Vec<SocketAddr> = looked_up.addresses.values().flatten().copied().collect();
        addresses.sort_unstable();
        addresses.dedup();
        addresses.truncate(PLACES_MAX);
        let known = self.known.load();
        if known.iter().map(|place| place.address).eq(addresses.iter().copied()) {
            return;
        }
        info!(service = %self.service, places = addresses.len(), "the places have changed");
        let place = |address: SocketAddr| {
            known
                .iter()
                .find(|place| place.address == address)
                .cloned()
                .unwrap_or_else(|| Place::new(address))
        };
        self.known.store(Arc::new(addresses.into_iter().map(place).collect()));
        metrics::gauge!("upstream_places", "service" => self.service.to_string())
            .set(f64::from(u32::try_from(self.known.load().len()).unwrap_or(u32::MAX)));
    }

    /// Passes a place over for a while: it refused a connection.
    pub fn pass_over(&self, taken: &Taken) {
        taken.0.passed_over_until.store(Arc::new(Some(Instant::now() + self.eject)));
        metrics::counter!("upstream_ejections_total", "service" => self.service.to_string()).increment(1);
    }
}

impl LookedUp {
    fn is_due(&self, after: Duration) -> bool {
        self.last.is_none_or(|last| last.elapsed() >= after)
    }
}

impl Place {
    fn new(address: SocketAddr) -> Arc<Self> {
        Arc::new(Self { address, in_flight: AtomicUsize::new(0), passed_over_until: ArcSwap::default() })
    }

    fn is_passed_over(&self, now: Instant) -> bool {
        self.passed_over_until.load().is_some_and(|until| now < until)
    }
}

impl Taken {
    /// Where to go.
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(urls: &[&str], eject: Duration) -> Arc<Places> {
        let urls: Vec<_> = urls.iter().map(|url| ServiceUrl::parse(url).unwrap()).collect();
        Arc::new(Places::new("test", &urls, Duration::from_secs(5), eject))
    }

    const THREE: [&str; 3] = ["http://127.0.0.1:1", "http://127.0.0.2:1", "http://[::1]:1"];

    #[tokio::test]
    async fn requests_in_flight_are_spread_evenly() {
        let places = places(&THREE, Duration::from_secs(5));
        let mut taken = Vec::new();
        for _ in 0..30 {
            taken.push(places.take(&[]).await.unwrap());
        }
        for place in places.known.load().iter() {
            assert_eq!(place.in_flight.load(Ordering::Relaxed), 10, "{}", place.address);
        }
        drop(taken);
        assert!(places.known.load().iter().all(|place| place.in_flight.load(Ordering::Relaxed) == 0));
    }

    #[tokio::test]
    async fn a_place_that_refused_is_passed_over_until_all_have() {
        let places = places(&THREE, Duration::from_secs(3600));
        let refusing = places.take(&[]).await.unwrap();
        places.pass_over(&refusing);
        for _ in 0..10 {
            assert_ne!(places.take(&[]).await.unwrap().address(), refusing.address());
        }
        for _ in 0..2 {
            let other = places.take(&[]).await.unwrap();
            places.pass_over(&other);
        }
        assert!(places.take(&[]).await.is_some(), "one may have come back");
    }

    #[tokio::test]
    async fn a_further_try_goes_elsewhere() {
        let two = places(&THREE[..2], Duration::ZERO);
        let first = two.take(&[]).await.unwrap().address();
        for _ in 0..4 {
            assert_ne!(two.take(&[first]).await.unwrap().address(), first);
        }
        let second = two.take(&[first]).await.unwrap().address();
        assert!(two.take(&[first, second]).await.is_none());
    }

    #[tokio::test]
    async fn a_name_that_is_not_found_costs_one_look_up_for_all_who_wait() {
        let places = places(&["http://nowhere.invalid:1"], Duration::ZERO);
        let asking = (0..20).map(|_| {
            let places = places.clone();
            tokio::spawn(async move { places.take(&[]).await.is_none() })
        });
        for asked in join_all(asking).await {
            assert!(asked.unwrap());
        }
    }

    #[tokio::test]
    async fn a_name_that_can_not_be_looked_up_now_keeps_what_it_had() {
        let places = places(&["http://127.0.0.1:1", "http://nowhere.invalid:1"], Duration::ZERO);
        let kept: SocketAddr = "127.0.0.9:1".parse().unwrap();
        let mut looked_up = LookedUp::default();
        looked_up.addresses.insert(("nowhere.invalid".into(), 1), vec![kept]);
        places.resolve(&mut looked_up).await;
        let known: Vec<_> = places.known.load().iter().map(|place| place.address).collect();
        assert_eq!(known, ["127.0.0.1:1".parse().unwrap(), kept]);
    }
}
