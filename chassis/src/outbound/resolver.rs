//! The addresses behind names, looked up before a request needs them.
//!
//! A look-up belongs to the name, not to a request: it begins once, goes on when every request that waited for it is
//! gone, and its result is kept. An outage of the name service takes nothing away that was known.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
    vec,
};

use hyper_util::client::legacy::connect::dns;
use tokio::{
    net::lookup_host,
    sync::watch,
    task::AbortHandle,
    time::{Instant, sleep, timeout},
};
use tower::Service;
use tracing::{info, warn};

use crate::backoff::{Backoff, News};

/// The wait before a name without a known address is looked up again.
const RETRY: Duration = Duration::from_secs(1);

/// How long one look-up may take. The system's resolver gives up sooner; this is for one that hangs.
const LOOKUP_WAIT: Duration = Duration::from_secs(30);

/// How often a [`Resolver`] looks a known name up again.
const FRESH: Duration = Duration::from_secs(5);

/// The most names that a [`Resolver`] keeps. They come from the settings, so there are a handful.
const NAMES_MAX: usize = 64;

/// How a name is looked up.
pub type Lookup = Arc<dyn Fn(Arc<str>, u16) -> Looking + Send + Sync>;

/// A look-up under way.
pub type Looking = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

/// The system's look-up: its hosts file, its name servers.
pub fn system() -> Lookup {
    Arc::new(|host, port| Box::pin(async move { Ok(lookup_host((&*host, port)).await?.collect()) }))
}

/// A name that is looked up until this is dropped, and what is known of it.
pub struct Name {
    known: watch::Receiver<Known>,
    looking: Option<AbortHandle>,
}

/// What is known of a name now.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Its addresses, by the last look-up that found any.
    pub addresses: Arc<[SocketAddr]>,
    /// How many look-ups have ended.
    pub tried: u64,
    /// How many of them found other addresses than the one before.
    pub changes: u64,
    /// Why the last one failed, if it did.
    pub error: Option<Arc<str>>,
}

impl Name {
    /// Looks `host` up now, and again every `fresh`. Needs a Tokio runtime.
    pub fn keep(host: &str, port: u16, fresh: Duration, lookup: Lookup) -> Self {
        if let Ok(address) = host.parse::<IpAddr>() {
            let addresses = Arc::new([SocketAddr::new(address, port)]);
            let (_, known) = watch::channel(Known { addresses, tried: 1, changes: 1, error: None });
            return Self { known, looking: None };
        }
        let host: Arc<str> = host.into();
        let (tell, known) = watch::channel(Known::default());
        let mut outage = Backoff::new(RETRY, RETRY).from_start();
        let looking = tokio::spawn(async move {
            loop {
                let started = Instant::now();
                let found = timeout(LOOKUP_WAIT, lookup(host.clone(), port)).await;
                let found = found.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
                let result = if found.is_ok() { "found" } else { "error" };
                metrics::histogram!(crate::metrics::DNS_LOOKUPS.name, "result" => result)
                    .record(started.elapsed());
                tell.send_modify(|known| known.learn(&host, found, &mut outage));
                sleep(if tell.borrow().addresses.is_empty() { RETRY } else { fresh }).await;
            }
        });
        Self { known, looking: Some(looking.abort_handle()) }
    }

    /// What is known now.
    pub fn known(&self) -> watch::Ref<'_, Known> {
        self.known.borrow()
    }

    /// Waits for the first look-up to end.
    pub fn tried(&self) -> impl Future<Output = Known> + Send + use<> {
        let mut known = self.known.clone();
        async move {
            // An error says that the name was dropped before its first look-up had ended.
            known.wait_for(|known| known.tried > 0).await.map(|known| known.clone()).unwrap_or_default()
        }
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        if let Some(looking) = &self.looking {
            looking.abort();
        }
    }
}

impl Known {
    /// Takes in the result of a look-up. An outage is logged once, and so is its end.
    fn learn(&mut self, host: &str, found: io::Result<Vec<SocketAddr>>, outage: &mut Backoff) {
        self.tried += 1;
        match found {
            Ok(found) if !found.is_empty() => {
                outage.succeed();
                if self.error.take().is_some() {
                    info!(host, "the name can be looked up again");
                }
                // Name servers rotate the same addresses; only another set of them is a change.
                self.changes += u64::from(sorted(&self.addresses) != sorted(&found));
                self.addresses = found.into();
            }
            found => {
                let error = found.err().map_or_else(|| "no addresses".to_owned(), |error| error.to_string());
                // Whatever the cause: one that changes is no other outage.
                match outage.fail("") {
                    News::Early => info!(host, error, "can't be looked up yet; trying again"),
                    News::New => {
                        warn!(
                            host,
                            error, "can't be looked up; keeping what is known of it, and trying again"
                        );
                    }
                    News::Known => {}
                }
                self.error = Some(error.into());
            }
        }
    }
}

fn sorted(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let mut sorted = addresses.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    sorted
}

/// The resolver of a client. Each name that it is asked for is looked up from then on.
#[derive(Clone, Default)]
pub struct Resolver {
    names: Arc<Mutex<HashMap<Box<str>, Name>>>,
    turn: Arc<AtomicUsize>,
}

impl Resolver {
    /// Begins to look a name up, before a request needs it.
    pub fn keep(&self, host: &str) {
        drop(self.tried(host));
    }

    fn tried(&self, host: &str) -> impl Future<Output = Known> + Send + use<> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if names.len() >= NAMES_MAX && !names.contains_key(host) {
            names.clear();
        }
        names.entry(host.into()).or_insert_with(|| Name::keep(host, 0, FRESH, system())).tried()
    }
}

/// Of several addresses of one family each comes first in turn, so that replicas share the load. If both families are
/// there, the resolver's order stands: it says which one is reachable (RFC 6724).
fn in_turn(addresses: &[SocketAddr], turn: usize) -> Vec<SocketAddr> {
    let mut addresses = addresses.to_vec();
    let alike = addresses.iter().all(SocketAddr::is_ipv4) || addresses.iter().all(SocketAddr::is_ipv6);
    if alike && !addresses.is_empty() {
        let first = turn % addresses.len();
        addresses.rotate_left(first);
    }
    addresses
}

impl Service<dns::Name> for Resolver {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: dns::Name) -> Self::Future {
        let (tried, turn) = (self.tried(name.as_str()), self.turn.fetch_add(1, Ordering::Relaxed));
        Box::pin(async move {
            let Known { addresses, error, .. } = tried.await;
            if addresses.is_empty() {
                return Err(io::Error::other(error.as_deref().unwrap_or("no addresses").to_owned()));
            }
            Ok(in_turn(&addresses, turn).into_iter())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A look-up that takes `takes`, whose results `answer` gives by their number; and how many there were.
    fn slow(
        takes: Duration,
        answer: impl Fn(usize) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
    ) -> (Lookup, Arc<AtomicUsize>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let (counted, answer) = (asked.clone(), Arc::new(answer));
        let lookup: Lookup = Arc::new(move |_, _| {
            let (number, answer) = (counted.fetch_add(1, Ordering::Relaxed), answer.clone());
            Box::pin(async move {
                sleep(takes).await;
                answer(number)
            })
        });
        (lookup, asked)
    }

    fn address(last: u8) -> SocketAddr {
        ([10, 0, 0, last], 80).into()
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_up_that_takes_longer_than_anybody_waits_is_finished_and_kept() {
        let (lookup, asked) = slow(12 * SECOND / 10, |_| Ok(vec![address(1)]));
        let name = Name::keep("a.test", 80, 60 * SECOND, lookup);
        let patient = |_| timeout(SECOND, name.tried());
        let waiting: Vec<_> = (0..20).map(patient).collect();
        assert!(futures_util::future::join_all(waiting).await.iter().all(Result::is_err));
        sleep(SECOND).await;
        assert_eq!(*timeout(Duration::ZERO, name.tried()).await.unwrap().addresses, [address(1)]);
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_takes_nothing_away_and_ends_when_it_ends() {
        let (lookup, _) = slow(Duration::ZERO, |number| match number {
            0 => Ok(vec![address(2), address(1)]),
            1 => Err(io::ErrorKind::TimedOut.into()),
            2 => Ok(vec![]),
            3 => Ok(vec![address(1), address(2)]),
            _ => Ok(vec![address(3)]),
        });
        let name = Name::keep("a.test", 80, 5 * SECOND, lookup);
        for (tried, error, changes, want) in [
            (1, false, 1, vec![address(1), address(2)]),
            (2, true, 1, vec![address(1), address(2)]),
            (3, true, 1, vec![address(1), address(2)]),
            (4, false, 1, vec![address(1), address(2)]),
            (5, false, 2, vec![address(3)]),
        ] {
            while name.known().tried < tried {
                sleep(SECOND).await;
            }
            let known = name.known().clone();
            assert_eq!((known.error.is_some(), known.changes), (error, changes), "{tried}");
            assert_eq!(sorted(&known.addresses), want, "{tried}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_is_not_found_is_asked_for_again_soon_but_not_by_each_who_waits() {
        let (lookup, asked) = slow(Duration::ZERO, |_| Err(io::ErrorKind::NotFound.into()));
        let name = Name::keep("a.test", 80, 60 * SECOND, lookup);
        for _ in 0..100 {
            assert!(name.tried().await.addresses.is_empty());
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        sleep(SECOND * 11 / 10).await;
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_nobody_keeps_is_looked_up_no_more() {
        let (lookup, asked) = slow(Duration::ZERO, |_| Ok(vec![address(1)]));
        let name = Name::keep("a.test", 80, SECOND, lookup);
        name.tried().await;
        drop(name);
        sleep(100 * SECOND).await;
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn an_address_needs_no_look_up() {
        let lookup: Lookup = Arc::new(|_, _| panic!("nobody is asked"));
        let name = Name::keep("::1", 80, SECOND, lookup);
        assert_eq!(*name.known().addresses, ["[::1]:80".parse().unwrap()]);
    }

    #[test]
    fn replicas_take_turns_and_families_keep_their_order() {
        let replicas = [address(1), address(2), address(3)];
        let first: Vec<_> = (0..4).map(|turn| in_turn(&replicas, turn)[0]).collect();
        assert_eq!(first, [address(1), address(2), address(3), address(1)]);
        let both = ["[::1]:80".parse().unwrap(), address(1)];
        assert_eq!(in_turn(&both, 1), both);
        assert_eq!(in_turn(&[], 1), []);
    }

    #[tokio::test]
    async fn a_client_finds_a_name_and_hears_of_one_that_is_none() {
        let mut resolver = Resolver::default();
        assert!(
            resolver.call("localhost".parse().unwrap()).await.unwrap().any(|found| found.ip().is_loopback())
        );
        assert!(resolver.call("nowhere.invalid".parse().unwrap()).await.is_err());
    }
}
