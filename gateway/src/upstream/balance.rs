//! Which of a service's endpoints takes the next request?
//!
//! Of two endpoints the one with fewer requests in flight is picked (power of two choices). One that fails is ejected for a
//! while, and one that is not ready is passed over (`health`), as long as others are better.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::{ArcSwap, Guard};
use chassis::outbound::resolver::{self, Lookup};
use http::{HeaderValue, StatusCode};
use metrics::{Counter, Gauge};
use tracing::info;

use super::{
    budget::RetryBudget,
    discover::{Discovery, Host},
    health::{Fault, Health},
    pool::{ConnectError, Connector, Pool, Way},
    readiness::{Asker, Readiness, ReadyAt},
};

/// The endpoints of one service.
pub struct Endpoints {
    service: Arc<str>,
    discovery: Discovery,
    connector: Arc<Connector>,
    eject: Duration,
    known: ArcSwap<Known>,
    /// One at a time makes endpoints of what discovery brings.
    updating: Mutex<()>,
    turn: AtomicUsize,
    count: Gauge,
    ejections: [Counter; Fault::ALL.len()],
    /// Who asks them whether they are ready, if somebody does.
    asker: Option<Asker>,
    pub(crate) retries: Retries,
}

/// How many requests of a service go again, and why.
pub(crate) struct Retries {
    budget: RetryBudget,
    made: [Counter; Again::ALL.len()],
    denied: Counter,
}

/// Why a request goes again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Again {
    /// Its connection was closed before anything was sent.
    Unsent,
    /// Its connection was closed, and it only reads.
    Lost,
    /// Its endpoint says that it did nothing.
    NotApplied,
    /// It asks for a verdict, or only reads, and its endpoint answers nobody.
    Silent,
}

impl Again {
    const ALL: [Self; 4] = [Self::Unsent, Self::Lost, Self::NotApplied, Self::Silent];

    fn label(self) -> &'static str {
        match self {
            Self::Unsent => "unsent",
            Self::Lost => "lost",
            Self::NotApplied => "not_applied",
            Self::Silent => "silent",
        }
    }
}

impl Retries {
    fn new(service: &str) -> Self {
        let made = |why: Again| {
            metrics::counter!(
                crate::metrics::UPSTREAM_RETRIES.name,
                "service" => service.to_owned(), "reason" => why.label()
            )
        };
        let denied =
            metrics::counter!(crate::metrics::UPSTREAM_RETRIES_DENIED.name, "service" => service.to_owned());
        Self { budget: RetryBudget::new(), made: Again::ALL.map(made), denied }
    }

    /// Counts a request, which may go again or not.
    pub(crate) fn begin(&self) {
        self.budget.count();
    }

    /// Whether there is a budget for a request to go again.
    pub(crate) fn may(&self, why: Again) -> bool {
        // Of what was not sent, nobody had any work.
        let may = why == Again::Unsent || self.budget.spend();
        if !may {
            self.denied.increment(1);
        }
        may
    }

    /// Counts a request that is sent again.
    pub(crate) fn made(&self, why: Again) {
        self.made[why as usize].increment(1);
    }
}

/// The endpoints, as of so many changes of discovery.
#[derive(Default)]
struct Known {
    changes: u64,
    endpoints: Vec<Arc<Endpoint>>,
}

/// One address of a service.
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    /// Which of the service's hosts has brought it.
    of: usize,
    /// The `Host` of requests there.
    pub(super) host: HeaderValue,
    /// Its address, as it stands in an access line.
    pub(super) label: HeaderValue,
    pub(super) pool: Pool,
    in_flight: AtomicUsize,
    pub(super) health: Health,
}

/// An endpoint that was picked; it counts as busy until this is dropped.
pub(super) struct InFlight {
    endpoint: Arc<Endpoint>,
    probes: bool,
    /// Whether the service has no other.
    is_only: bool,
}

impl Endpoints {
    /// The endpoints behind `hosts`, whose names are looked up again after `resolve`. One that fails is ejected, first for
    /// `eject`. Where `readiness` says how, they are asked whether they are ready.
    pub(crate) fn new(
        service: &Arc<str>,
        hosts: &[Host],
        connector: Connector,
        resolve: Duration,
        eject: Duration,
        readiness: Option<Readiness>,
    ) -> Self {
        let mut endpoints = Self::with_lookup(service, hosts, connector, resolve, eject, &resolver::system());
        endpoints.asker = readiness.map(|how| Asker::new(service, how));
        // Those that need no look-up are asked from now on; others, from the first request that finds them.
        endpoints.update();
        endpoints
    }

    fn with_lookup(
        service: &Arc<str>,
        hosts: &[Host],
        connector: Connector,
        resolve: Duration,
        eject: Duration,
        lookup: &Lookup,
    ) -> Self {
        let label = || service.to_string();
        Self {
            service: service.clone(),
            discovery: Discovery::new(hosts, resolve, lookup),
            connector: Arc::new(connector),
            eject,
            known: ArcSwap::default(),
            updating: Mutex::new(()),
            turn: AtomicUsize::new(0),
            count: metrics::gauge!(crate::metrics::UPSTREAM_ENDPOINTS.name, "service" => label()),
            ejections: Fault::ALL.map(|fault| {
                metrics::counter!(
                    crate::metrics::UPSTREAM_EJECTIONS.name,
                    "service" => label(), "reason" => fault.label()
                )
            }),
            asker: None,
            retries: Retries::new(service),
        }
    }

    /// How often they are asked whether they are ready, if they are.
    pub(super) fn asked_every(&self) -> Option<Duration> {
        self.asker.as_ref().map(Asker::every)
    }

    /// Picks an endpoint that is not among `tried`; `None` if there is none. A request that only reads may be the first to find
    /// out whether one that was ejected has come back.
    pub(super) async fn pick(&self, tried: &[SocketAddr], only_reads: bool) -> Option<InFlight> {
        let known = self.current();
        if known.endpoints.is_empty() {
            drop(known);
            return Box::pin(self.pick_first(tried, only_reads)).await;
        }
        self.pick_of(&known.endpoints, tried, only_reads)
    }

    /// The same before any endpoint is known. Boxed by whoever calls: each request would hold room for it.
    async fn pick_first(&self, tried: &[SocketAddr], only_reads: bool) -> Option<InFlight> {
        self.discovery.first().await;
        self.pick_of(&self.current().endpoints, tried, only_reads)
    }

    fn pick_of(
        &self,
        endpoints: &[Arc<Endpoint>],
        tried: &[SocketAddr],
        only_reads: bool,
    ) -> Option<InFlight> {
        let untried = endpoints.iter().filter(|endpoint| !tried.contains(&endpoint.address));
        let to_probe = untried.clone().find(|endpoint| {
            !endpoint.health.is_unready() && endpoint.health.begin_probe(only_reads, self.eject)
        });
        let able = untried.clone().filter(|endpoint| endpoint.health.gets_share());
        let well = untried.clone().filter(|endpoint| endpoint.health.is_well());
        // Where none is ready, or all are ejected, one of them may have come back; to ask is better than to give up.
        let endpoint = to_probe
            .or_else(|| self.less_busy(able))
            .or_else(|| self.less_busy(well))
            .or_else(|| self.less_busy(untried))?
            .clone();
        endpoint.in_flight.fetch_add(1, Ordering::Relaxed);
        Some(InFlight { probes: to_probe.is_some(), is_only: endpoints.len() == 1, endpoint })
    }

    /// Whether a request may find an endpoint that is not this one, nor among `tried`, nor known to fail.
    pub(super) fn has_other(&self, tried: &[SocketAddr], than: SocketAddr) -> bool {
        let known = self.known.load();
        let mut others = known.endpoints.iter().filter(|endpoint| {
            endpoint.address != than && !tried.contains(&endpoint.address) && !endpoint.health.is_ejected()
        });
        // Where none says that it is ready, it is perhaps the question that is wrong.
        let none_ready = || known.endpoints.iter().all(|endpoint| endpoint.health.is_unready());
        others.any(|endpoint| !endpoint.health.is_unready() || none_ready())
    }

    /// Whether one of them is at `address`.
    pub(super) fn has(&self, address: SocketAddr) -> bool {
        self.known.load().endpoints.iter().any(|endpoint| endpoint.address == address)
    }

    fn less_busy<'a>(
        &self,
        of: impl Iterator<Item = &'a Arc<Endpoint>> + Clone,
    ) -> Option<&'a Arc<Endpoint>> {
        let count = of.clone().count();
        if count == 0 {
            // Nobody's turn: whoever is asked instead is to take turns, too.
            return None;
        }
        let (one, other) = two_of(self.turn.fetch_add(1, Ordering::Relaxed), count)?;
        let (one, other) = (of.clone().nth(one)?, of.clone().nth(other)?);
        let busy = |endpoint: &Arc<Endpoint>| endpoint.in_flight.load(Ordering::Relaxed);
        Some(if busy(other) < busy(one) { other } else { one })
    }

    /// What is known by now.
    fn current(&self) -> Guard<Arc<Known>> {
        let known = self.known.load();
        if known.changes == self.discovery.changes() {
            return known;
        }
        self.update();
        self.known.load()
    }

    /// Makes endpoints of what discovery has brought by now. Those that stay keep their connections.
    fn update(&self) {
        let _one = self.updating.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.known.load();
        // Before the addresses: what changes in between is seen with the next request.
        let changes = self.discovery.changes();
        if known.changes == changes {
            return;
        }
        let addresses = self.discovery.addresses();
        info!(service = %self.service, endpoints = addresses.len(), "the endpoints have changed");
        // Not set: while settings are read again, there are those of before, too.
        self.count.increment(count(addresses.len()));
        self.count.decrement(count(known.endpoints.len()));
        let endpoint = |(address, of): (SocketAddr, usize)| {
            let mut kept = known.endpoints.iter();
            let kept = kept.find(|endpoint| (endpoint.address, endpoint.of) == (address, of));
            kept.cloned().unwrap_or_else(|| {
                let new = Endpoint::new(address, of, &self.connector);
                if let Some(asker) = &self.asker {
                    asker.begin(&new);
                }
                new
            })
        };
        let endpoints = addresses.into_iter().map(endpoint).collect();
        self.known.store(Arc::new(Known { changes, endpoints }));
    }

    /// An endpoint has answered that it did nothing.
    pub(super) fn did_nothing(&self, endpoint: &Endpoint) {
        if endpoint.health.did_nothing() {
            self.eject_beside_ready(endpoint, Fault::Unready);
        }
    }

    /// An endpoint has failed a request. It is ejected if it goes on like that, and others do better.
    pub(crate) fn failed(&self, endpoint: &Endpoint, fault: Fault) {
        if endpoint.health.failed(fault) {
            self.eject_beside_ready(endpoint, fault);
        }
    }

    fn eject_beside_ready(&self, endpoint: &Endpoint, fault: Fault) {
        let known = self.known.load();
        let mut others = known.endpoints.iter().filter(|other| other.address != endpoint.address);
        if others.any(|other| other.health.is_ready()) {
            self.eject(endpoint, fault);
        }
    }

    /// Ejects an endpoint for a while. Where something stands behind all of them, all seem to fail: so at most half are, and
    /// never the last one, except those that take no connection.
    pub(super) fn eject(&self, endpoint: &Endpoint, fault: Fault) {
        if fault != Fault::Unreachable && endpoint.health.gets_share() {
            let known = self.known.load();
            let (of, ejected) = (known.endpoints.len(), 1);
            let ejected =
                ejected + known.endpoints.iter().filter(|endpoint| !endpoint.health.gets_share()).count();
            if ejected > of.div_ceil(2) || ejected >= of {
                return;
            }
        }
        if endpoint.health.eject(self.eject) {
            info!(service = %self.service, endpoint = %endpoint.address, reason = fault.label(), "ejected for a while");
            self.ejections[fault as usize].increment(1);
        }
    }
}

/// Which two of `endpoints` are compared: always different ones, if there are two. Each begins as often as the others, and
/// meets each of them as often.
fn two_of(turn: usize, endpoints: usize) -> Option<(usize, usize)> {
    let one = turn.checked_rem(endpoints)?;
    let step = (turn / endpoints).checked_rem(endpoints - 1).map_or(0, |step| step + 1);
    Some((one, (one + step) % endpoints))
}

impl Drop for Endpoints {
    fn drop(&mut self) {
        self.count.decrement(count(self.known.load().endpoints.len()));
    }
}

fn count(endpoints: usize) -> f64 {
    f64::from(u32::try_from(endpoints).unwrap_or(u32::MAX))
}

impl Endpoint {
    fn new(address: SocketAddr, of: usize, connector: &Arc<Connector>) -> Arc<Self> {
        Arc::new(Self {
            address,
            of,
            host: connector.host(address, of),
            label: HeaderValue::try_from(address.to_string()).expect("an address may stand in a header"),
            pool: Pool::new(connector.clone()),
            in_flight: AtomicUsize::new(0),
            health: Health::new(),
        })
    }

    /// How often it has answered.
    pub(crate) fn answers(&self) -> u64 {
        self.health.answers()
    }

    /// It has answered, and not that it did nothing.
    pub(crate) fn answered(&self, status: StatusCode) {
        self.health.answered(status.as_u16() < StatusCode::BAD_REQUEST.as_u16());
    }

    /// Whether it answers nobody, as far as is known.
    pub(super) fn is_silent(&self) -> bool {
        self.health.is_silent()
    }

    /// The status by which it says whether it is ready; `None` without an answer.
    pub(super) async fn ask(&self, at: &ReadyAt) -> Option<StatusCode> {
        self.pool.ask(self.address, self.of, at, at.question(self.address, &self.host)).await
    }

    /// A new connection, or one that another request has opened meanwhile.
    pub(super) async fn connect(&self) -> Result<Way, ConnectError> {
        self.pool.connect(self.address, self.of).await
    }
}

impl InFlight {
    /// Whether its service has no other endpoint.
    pub(super) fn is_only(&self) -> bool {
        self.is_only
    }

    /// The endpoint.
    pub(super) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.probes {
            self.endpoint.health.end_probe();
        }
        self.endpoint.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, io};

    use chassis::settings::ServiceUrl;
    use futures_util::future::join_all;
    use tokio::time::{Instant, sleep, timeout};

    use super::{super::discover::FIRST_WAIT, *};

    const SECOND: Duration = Duration::from_secs(1);

    fn endpoints(urls: &[&str], eject: Duration) -> Endpoints {
        let connector = Connector::plain(&"test".into(), SECOND, SECOND);
        Endpoints::new(&"test".into(), &hosts(urls), connector, 5 * SECOND, eject, None)
    }

    fn hosts(urls: &[&str]) -> Vec<Host> {
        urls.iter().map(|url| Host::of(&ServiceUrl::parse(url).unwrap())).collect()
    }

    /// Endpoints behind names that `answer` looks up, and how often it was asked.
    fn named(
        names: &[&str],
        takes: Duration,
        answer: impl Fn(&str, usize) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
    ) -> (Endpoints, Arc<AtomicUsize>) {
        let hosts: Vec<_> = names.iter().map(|name| Host { name: (*name).to_owned(), port: 1 }).collect();
        let asked = Arc::new(AtomicUsize::new(0));
        let (counted, answer) = (asked.clone(), Arc::new(answer));
        let lookup: Lookup = Arc::new(move |host, _| {
            let (number, answer) = (counted.fetch_add(1, Ordering::Relaxed), answer.clone());
            Box::pin(async move {
                sleep(takes).await;
                answer(&host, number)
            })
        });
        let connector = Connector::plain(&"test".into(), SECOND, SECOND);
        (Endpoints::with_lookup(&"test".into(), &hosts, connector, 5 * SECOND, SECOND, &lookup), asked)
    }

    const THREE: [&str; 3] = ["http://127.0.0.1:1", "http://127.0.0.2:1", "http://[::1]:1"];

    fn address(last: u8) -> SocketAddr {
        ([10, 0, 0, last], 1).into()
    }

    #[test]
    fn two_different_endpoints_are_compared_and_all_pairs_alike() {
        assert_eq!(two_of(7, 0), None);
        assert_eq!(two_of(7, 1), Some((0, 0)));
        for endpoints in 2..6 {
            let round = endpoints * (endpoints - 1);
            let pairs: BTreeSet<_> = (0..round).map(|turn| two_of(turn, endpoints).unwrap()).collect();
            assert_eq!(pairs.len(), round, "each pair once");
            assert!(pairs.iter().all(|(one, other)| one != other && *other < endpoints), "{pairs:?}");
        }
    }

    #[tokio::test]
    async fn a_busy_endpoint_gets_nothing_while_another_is_free() {
        for urls in [&THREE[..2], &THREE] {
            let endpoints = endpoints(urls, SECOND);
            let stuck = endpoints.pick(&[], true).await.unwrap();
            for _ in 0..100 {
                assert_ne!(
                    endpoints.pick(&[], true).await.unwrap().endpoint().address,
                    stuck.endpoint().address
                );
            }
        }
    }

    #[tokio::test]
    async fn requests_in_flight_are_spread_evenly_though_they_last_unevenly() {
        let endpoints = endpoints(&THREE, Duration::from_secs(5));
        let mut taken = Vec::new();
        for n in 0..90 {
            taken.push(endpoints.pick(&[], true).await.unwrap());
            // Of the first endpoint all but a few go on, of the others most end at once: taking turns would pile them up there.
            if n % 3 != 0 {
                taken.pop();
            }
        }
        let counts = || -> Vec<usize> {
            let known = endpoints.known.load();
            known.endpoints.iter().map(|endpoint| endpoint.in_flight.load(Ordering::Relaxed)).collect()
        };
        assert_eq!(counts().iter().sum::<usize>(), 30);
        let (least, most) = (*counts().iter().min().unwrap(), *counts().iter().max().unwrap());
        assert!(most - least <= 2, "{:?}", counts());
        drop(taken);
        assert_eq!(counts(), [0, 0, 0]);
    }

    #[tokio::test]
    async fn an_endpoint_that_refused_is_ejected_until_all_are() {
        let endpoints = endpoints(&THREE, Duration::from_secs(3600));
        let refusing = endpoints.pick(&[], true).await.unwrap();
        endpoints.eject(refusing.endpoint(), Fault::Unreachable);
        for _ in 0..10 {
            assert_ne!(
                endpoints.pick(&[], true).await.unwrap().endpoint().address,
                refusing.endpoint().address
            );
        }
        for _ in 0..2 {
            let other = endpoints.pick(&[], true).await.unwrap();
            endpoints.eject(other.endpoint(), Fault::Unreachable);
        }
        assert!(endpoints.pick(&[], true).await.is_some(), "one may have come back");
    }

    #[tokio::test]
    async fn a_further_try_goes_elsewhere() {
        let two = endpoints(&THREE[..2], Duration::ZERO);
        let first = two.pick(&[], true).await.unwrap().endpoint().address;
        for _ in 0..4 {
            assert_ne!(two.pick(&[first], true).await.unwrap().endpoint().address, first);
        }
        let second = two.pick(&[first], true).await.unwrap().endpoint().address;
        assert!(two.pick(&[first, second], true).await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_is_not_found_costs_one_look_up_for_all_who_wait() {
        let (endpoints, asked) =
            named(&["nowhere.test"], SECOND / 2, |_, _| Err(io::ErrorKind::NotFound.into()));
        let found = join_all((0..20).map(|_| endpoints.pick(&[], true))).await;
        assert!(found.iter().all(Option::is_none));
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_up_slower_than_anybody_waits_serves_those_who_come_later() {
        let (endpoints, asked) = named(&["slow.test"], 5 * SECOND / 2, |_, _| Ok(vec![address(1)]));
        let leaving = join_all((0..10).map(|_| timeout(SECOND, endpoints.pick(&[], true)))).await;
        assert!(leaving.iter().all(Result::is_err), "all have left");
        let began = Instant::now();
        assert_eq!(endpoints.pick(&[], true).await.unwrap().endpoint().address, address(1));
        assert_eq!(began.elapsed(), 3 * SECOND / 2, "what is under way goes on");
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_waits_no_longer_than_it_may_for_the_first_look_up() {
        let (endpoints, _) = named(&["slow.test"], 20 * SECOND, |_, _| Ok(vec![address(1)]));
        let began = Instant::now();
        assert!(endpoints.pick(&[], true).await.is_none());
        assert_eq!(began.elapsed(), FIRST_WAIT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_name_keeps_nobody_from_what_another_has_brought() {
        let (endpoints, _) = named(&["slow.test", "127.0.0.9"], 20 * SECOND, |_, _| Ok(vec![address(1)]));
        let began = Instant::now();
        assert_eq!(
            endpoints.pick(&[], true).await.unwrap().endpoint().address,
            "127.0.0.9:1".parse().unwrap()
        );
        assert_eq!(began.elapsed(), Duration::ZERO);
        sleep(21 * SECOND).await;
        let both = [endpoints.pick(&[], true).await.unwrap(), endpoints.pick(&[], true).await.unwrap()];
        assert_ne!(both[0].endpoint().address, both[1].endpoint().address);
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_can_not_be_looked_up_now_keeps_what_it_had() {
        let (endpoints, asked) = named(&["a.test"], Duration::ZERO, |_, number| match number {
            0 => Ok(vec![address(1)]),
            _ => Err(io::ErrorKind::TimedOut.into()),
        });
        for _ in 0..3 {
            assert_eq!(endpoints.pick(&[], true).await.unwrap().endpoint().address, address(1));
            sleep(6 * SECOND).await;
        }
        assert!(asked.load(Ordering::Relaxed) >= 3);
    }

    #[tokio::test(start_paused = true)]
    async fn replicas_that_come_and_go_are_found() {
        let (endpoints, _) = named(&["a.test"], Duration::ZERO, |_, number| match number {
            0 => Ok(vec![address(1), address(2)]),
            _ => Ok(vec![address(2), address(3)]),
        });
        let kept = endpoints.pick(&[address(1)], true).await.unwrap();
        sleep(6 * SECOND).await;
        let found: BTreeSet<_> = join_all((0..6).map(|_| endpoints.pick(&[], true)))
            .await
            .into_iter()
            .map(|taken| taken.unwrap().endpoint().address)
            .collect();
        assert_eq!(found, [address(2), address(3)].into());
        let known = endpoints.known.load();
        let still =
            known.endpoints.iter().find(|endpoint| endpoint.address == kept.endpoint().address).unwrap();
        assert_eq!(still.in_flight.load(Ordering::Relaxed), 1, "what is in flight there is known still");
    }
}
