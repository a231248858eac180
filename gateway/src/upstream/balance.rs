//! Which of a service's places takes the next request?
//!
//! Each address behind a service's names is a place of its own, and names are looked up again and again, so that
//! replicas that come and go are found without a restart. Of two places the one with fewer requests in flight is
//! taken; one that refused a connection is passed over for a while.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use chassis::{
    outbound::resolver::{self, Lookup, Name},
    settings::ServiceUrl,
};
use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::time::{Instant, timeout};
use tracing::info;

/// The most places of one service.
const PLACES_MAX: usize = 256;

/// How long a request waits for the first look-up of its service. The look-up goes on.
const FIRST_WAIT: Duration = Duration::from_secs(2);

/// The places of one service.
pub struct Places {
    service: Arc<str>,
    names: Vec<Name>,
    eject: Duration,
    known: ArcSwap<Known>,
    /// One at a time makes places of what the names bring.
    changing: Mutex<()>,
    turn: AtomicUsize,
}

/// The places that there are, of what the names had brought by then.
#[derive(Default)]
struct Known {
    changes: u64,
    places: Vec<Arc<Place>>,
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
    /// The places behind `urls`; a name is looked up now and again after `resolve`, a refusing place passed over for `eject`.
    pub fn new(service: &str, urls: &[ServiceUrl], resolve: Duration, eject: Duration) -> Self {
        Self::looked_up(service, urls, resolve, eject, &resolver::system())
    }

    /// The same, by a look-up of one's own.
    fn looked_up(
        service: &str,
        urls: &[ServiceUrl],
        resolve: Duration,
        eject: Duration,
        lookup: &Lookup,
    ) -> Self {
        let name = |url: &ServiceUrl| {
            let host = url.url().host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
            let port = url.url().port_or_known_default().unwrap_or(80);
            Name::keep(&host, port, resolve, lookup.clone())
        };
        Self {
            service: service.into(),
            names: urls.iter().map(name).collect(),
            eject,
            known: ArcSwap::default(),
            changing: Mutex::new(()),
            turn: AtomicUsize::new(0),
        }
    }

    /// Takes a place that is not among `tried`; `None` if there is none.
    pub async fn take(&self, tried: &[SocketAddr]) -> Option<Taken> {
        let mut known = self.known();
        if known.places.is_empty() {
            self.first().await;
            known = self.known();
        }
        let now = Instant::now();
        let untried: Vec<&Arc<Place>> =
            known.places.iter().filter(|place| !tried.contains(&place.address)).collect();
        let able: Vec<_> = untried.iter().copied().filter(|place| !place.is_passed_over(now)).collect();
        // Where all refused, one of them may have come back; to ask is better than to give up.
        let choice = if able.is_empty() { untried } else { able };
        let (one, other) = two_of(self.turn.fetch_add(1, Ordering::Relaxed), choice.len())?;
        let (one, other) = (choice.get(one)?, choice.get(other)?);
        let busy = |place: &Arc<Place>| place.in_flight.load(Ordering::Relaxed);
        let place = Arc::clone(if busy(other) < busy(one) { other } else { one });
        place.in_flight.fetch_add(1, Ordering::Relaxed);
        Some(Taken(place))
    }

    /// Waits until one of the names has brought something, or all have brought nothing.
    async fn first(&self) {
        let mut trying: FuturesUnordered<_> = self.names.iter().map(Name::tried).collect();
        let some = async {
            while trying.next().await.is_some() {
                if !self.known().places.is_empty() {
                    return;
                }
            }
        };
        let _ = timeout(FIRST_WAIT, some).await;
    }

    /// The places, as the names have them by now.
    fn known(&self) -> Arc<Known> {
        let changes = || self.names.iter().map(|name| name.known().changes).sum::<u64>();
        let known = self.known.load_full();
        if known.changes == changes() {
            return known;
        }
        let _one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.known.load_full();
        // Before the addresses: what changes in between is seen with the next request.
        let changes = changes();
        if known.changes == changes {
            return known;
        }
        let mut addresses: Vec<SocketAddr> =
            self.names.iter().flat_map(|name| name.known().addresses.to_vec()).collect();
        addresses.sort_unstable();
        addresses.dedup();
        addresses.truncate(PLACES_MAX);
        info!(service = %self.service, places = addresses.len(), "the places have changed");
        metrics::gauge!("upstream_places", "service" => self.service.to_string())
            .set(f64::from(u32::try_from(addresses.len()).unwrap_or(u32::MAX)));
        let place = |address: SocketAddr| {
            let kept = known.places.iter().find(|place| place.address == address);
            kept.cloned().unwrap_or_else(|| Place::new(address))
        };
        let known = Arc::new(Known { changes, places: addresses.into_iter().map(place).collect() });
        self.known.store(known.clone());
        known
    }

    /// Passes a place over for a while: it refused a connection.
    pub fn pass_over(&self, taken: &Taken) {
        taken.0.passed_over_until.store(Arc::new(Some(Instant::now() + self.eject)));
        metrics::counter!("upstream_ejections_total", "service" => self.service.to_string()).increment(1);
    }
}

/// Which two of `places` are compared: always different ones, if there are two. Each begins as often as the others, and meets each
/// of them as often.
fn two_of(turn: usize, places: usize) -> Option<(usize, usize)> {
    let one = turn.checked_rem(places)?;
    let further = (turn / places).checked_rem(places - 1).map_or(0, |step| step + 1);
    Some((one, (one + further) % places))
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
    use std::{collections::BTreeSet, io};

    use futures_util::future::join_all;
    use tokio::time::sleep;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn places(urls: &[&str], eject: Duration) -> Places {
        let urls: Vec<_> = urls.iter().map(|url| ServiceUrl::parse(url).unwrap()).collect();
        Places::new("test", &urls, Duration::from_secs(5), eject)
    }

    /// Places behind names that are looked up so, and how often they were.
    fn named(
        names: &[&str],
        takes: Duration,
        answer: impl Fn(&str, usize) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
    ) -> (Places, Arc<AtomicUsize>) {
        let urls: Vec<_> =
            names.iter().map(|name| ServiceUrl::parse(&format!("http://{name}:1")).unwrap()).collect();
        let asked = Arc::new(AtomicUsize::new(0));
        let (counted, answer) = (asked.clone(), Arc::new(answer));
        let lookup: Lookup = Arc::new(move |host, _| {
            let (number, answer) = (counted.fetch_add(1, Ordering::Relaxed), answer.clone());
            Box::pin(async move {
                sleep(takes).await;
                answer(&host, number)
            })
        });
        (Places::looked_up("test", &urls, 5 * SECOND, SECOND, &lookup), asked)
    }

    const THREE: [&str; 3] = ["http://127.0.0.1:1", "http://127.0.0.2:1", "http://[::1]:1"];

    fn address(last: u8) -> SocketAddr {
        ([10, 0, 0, last], 1).into()
    }

    #[test]
    fn two_different_places_are_compared_and_all_pairs_alike() {
        assert_eq!(two_of(7, 0), None);
        assert_eq!(two_of(7, 1), Some((0, 0)));
        for places in 2..6 {
            let round = places * (places - 1);
            let pairs: BTreeSet<_> = (0..round).map(|turn| two_of(turn, places).unwrap()).collect();
            assert_eq!(pairs.len(), round, "each pair once");
            assert!(pairs.iter().all(|(one, other)| one != other && *other < places), "{pairs:?}");
        }
    }

    #[tokio::test]
    async fn a_busy_place_gets_nothing_while_another_is_free() {
        for urls in [&THREE[..2], &THREE] {
            let places = places(urls, SECOND);
            let stuck = places.take(&[]).await.unwrap();
            for _ in 0..100 {
                assert_ne!(places.take(&[]).await.unwrap().address(), stuck.address());
            }
        }
    }

    #[tokio::test]
    async fn requests_in_flight_are_spread_evenly_though_they_last_unevenly() {
        let places = places(&THREE, Duration::from_secs(5));
        let mut taken = Vec::new();
        for n in 0..90 {
            taken.push(places.take(&[]).await.unwrap());
            // Of the first place all but a few go on, of the others most end at once: taking turns would pile them up there.
            if n % 3 != 0 {
                taken.pop();
            }
        }
        let counts = || -> Vec<usize> {
            let known = places.known();
            known.places.iter().map(|place| place.in_flight.load(Ordering::Relaxed)).collect()
        };
        assert_eq!(counts().iter().sum::<usize>(), 30);
        let (least, most) = (*counts().iter().min().unwrap(), *counts().iter().max().unwrap());
        assert!(most - least <= 2, "{:?}", counts());
        drop(taken);
        assert_eq!(counts(), [0, 0, 0]);
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

    #[tokio::test(start_paused = true)]
    async fn a_name_that_is_not_found_costs_one_look_up_for_all_who_wait() {
        let (places, asked) =
            named(&["nowhere.test"], SECOND / 2, |_, _| Err(io::ErrorKind::NotFound.into()));
        let found = join_all((0..20).map(|_| places.take(&[]))).await;
        assert!(found.iter().all(Option::is_none));
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_up_slower_than_anybody_waits_serves_those_who_come_later() {
        let (places, asked) = named(&["slow.test"], 5 * SECOND / 2, |_, _| Ok(vec![address(1)]));
        let leaving = join_all((0..10).map(|_| timeout(SECOND, places.take(&[])))).await;
        assert!(leaving.iter().all(Result::is_err), "all have left");
        let began = Instant::now();
        assert_eq!(places.take(&[]).await.unwrap().address(), address(1));
        assert_eq!(began.elapsed(), 3 * SECOND / 2, "what is under way goes on");
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_waits_no_longer_than_it_may_for_the_first_look_up() {
        let (places, _) = named(&["slow.test"], 20 * SECOND, |_, _| Ok(vec![address(1)]));
        let began = Instant::now();
        assert!(places.take(&[]).await.is_none());
        assert_eq!(began.elapsed(), FIRST_WAIT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_name_keeps_nobody_from_what_another_has_brought() {
        let (places, _) = named(&["slow.test", "127.0.0.9"], 20 * SECOND, |_, _| Ok(vec![address(1)]));
        let began = Instant::now();
        assert_eq!(places.take(&[]).await.unwrap().address(), "127.0.0.9:1".parse().unwrap());
        assert_eq!(began.elapsed(), Duration::ZERO);
        sleep(21 * SECOND).await;
        let both = [places.take(&[]).await.unwrap(), places.take(&[]).await.unwrap()];
        assert_ne!(both[0].address(), both[1].address());
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_can_not_be_looked_up_now_keeps_what_it_had() {
        let (places, asked) = named(&["a.test"], Duration::ZERO, |_, number| match number {
            0 => Ok(vec![address(1)]),
            _ => Err(io::ErrorKind::TimedOut.into()),
        });
        for _ in 0..3 {
            assert_eq!(places.take(&[]).await.unwrap().address(), address(1));
            sleep(6 * SECOND).await;
        }
        assert!(asked.load(Ordering::Relaxed) >= 3);
    }

    #[tokio::test(start_paused = true)]
    async fn replicas_that_come_and_go_are_found() {
        let (places, _) = named(&["a.test"], Duration::ZERO, |_, number| match number {
            0 => Ok(vec![address(1), address(2)]),
            _ => Ok(vec![address(2), address(3)]),
        });
        let kept = places.take(&[address(1)]).await.unwrap();
        sleep(6 * SECOND).await;
        let found: BTreeSet<_> = join_all((0..6).map(|_| places.take(&[])))
            .await
            .into_iter()
            .map(|taken| taken.unwrap().address())
            .collect();
        assert_eq!(found, [address(2), address(3)].into());
        let known = places.known();
        let still = known.places.iter().find(|place| place.address == kept.address()).unwrap();
        assert_eq!(still.in_flight.load(Ordering::Relaxed), 1, "what is in flight there is known still");
    }
}
