//! People at work: requests through the front door, one after the other, and what each was told.

use std::{
    collections::BTreeMap,
    fmt, io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle, sleep},
    time::{Duration, Instant},
};

use crate::{
    http::{Answer, Connection, request},
    wait_until,
};

/// How many work at once.
pub const WORKERS: usize = 6;

/// The most that each asks, and the longest that it does.
const REQUESTS_MAX: usize = 20_000;
const LIFE_MAX: Duration = Duration::from_mins(5);

/// Between an answer and the next request of the same one.
const BREATH: Duration = Duration::from_millis(5);

/// What was told, by request and outcome (`GET 200`, `POST broken`), and what took longest.
#[derive(Debug, Default)]
pub struct Told {
    counts: BTreeMap<(&'static str, String), usize>,
    slowest: Duration,
    /// The first that was not served, in full.
    first_failure: Option<String>,
}

impl Told {
    /// How many requests of these methods were not served.
    pub fn failures(&self, methods: &[&str]) -> usize {
        let failed = |(method, outcome): &(&'static str, String)| {
            methods.contains(method) && !outcome.starts_with('2')
        };
        self.counts.iter().filter(|(key, _)| failed(key)).map(|(_, count)| count).sum()
    }

    /// Every outcome that was not success.
    pub fn outcomes(&self) -> impl Iterator<Item = &str> {
        self.counts.keys().map(|(_, outcome)| outcome.as_str()).filter(|outcome| !outcome.starts_with('2'))
    }

    /// How many there were.
    pub fn total(&self) -> usize {
        self.counts.values().sum()
    }

    fn add(&mut self, method: &'static str, answer: io::Result<Answer>, took: Duration) {
        let (outcome, is_served) = match &answer {
            Ok(answer) => (answer.status.to_string(), answer.status < 300),
            Err(error) => (format!("{:?}", error.kind()), false),
        };
        if !is_served && self.first_failure.is_none() {
            self.first_failure = Some(format!("{method}: {answer:?}"));
        }
        *self.counts.entry((method, outcome)).or_default() += 1;
        self.slowest = self.slowest.max(took);
    }

    fn join(mut self, other: Self) -> Self {
        for (key, count) in other.counts {
            *self.counts.entry(key).or_default() += count;
        }
        self.slowest = self.slowest.max(other.slowest);
        self.first_failure = self.first_failure.or(other.first_failure);
        self
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ((method, outcome), count) in &self.counts {
            write!(f, "{method} {outcome}: {count}, ")?;
        }
        write!(f, "the slowest took {} ms", self.slowest.as_millis())?;
        if let Some(failure) = &self.first_failure {
            write!(f, "; the first failure: {failure}")?;
        }
        Ok(())
    }
}

/// Requests that go on until this is told to stop.
pub struct Traffic {
    ends: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
    workers: Vec<JoinHandle<Told>>,
}

impl Traffic {
    /// Starts asking: each worker lists its tasks, changes one of its own, and now and then makes one.
    pub fn start(gateway: SocketAddr, token: &str) -> Self {
        let (ends, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let worker = |_| {
            let (ends, asked, token) = (ends.clone(), asked.clone(), token.to_owned());
            thread::spawn(move || work(gateway, &token, &ends, &asked))
        };
        let workers = (0..WORKERS).map(worker).collect();
        let traffic = Self { ends, asked, workers };
        traffic.more(WORKERS * 10);
        traffic
    }

    /// Waits until so many more were asked.
    pub fn more(&self, count: usize) {
        let from = self.asked.load(Ordering::Relaxed);
        wait_until("requests are answered", || self.asked.load(Ordering::Relaxed) >= from + count);
    }

    /// Ends it, and says what was told.
    ///
    /// # Panics
    ///
    /// Where a worker did.
    pub fn stop(self) -> Told {
        self.ends.store(true, Ordering::Relaxed);
        let told = self.workers.into_iter().map(|worker| worker.join().expect("a worker ends in order"));
        told.fold(Told::default(), Told::join)
    }
}

fn work(gateway: SocketAddr, token: &str, ends: &AtomicBool, asked: &AtomicUsize) -> Told {
    let make = request("POST", "/api/tasks", token, r#"{"title":"one of many"}"#);
    let list = request("GET", "/api/tasks?limit=5", token, "");
    let own = Connection::open(gateway).and_then(|mut connection| connection.ask(&make));
    let own = own.expect("the gateway answers before anything happens").body;
    let own = id(&own).unwrap_or_else(|| panic!("a task is made before anything happens: {own}"));
    let change = request("PUT", &format!("/api/tasks/{own}"), token, r#"{"title":"changed"}"#);

    let (mut told, mut connection) = (Told::default(), None);
    let start = Instant::now();
    for turn in 0..REQUESTS_MAX {
        if ends.load(Ordering::Relaxed) || start.elapsed() > LIFE_MAX {
            break;
        }
        let (method, request) = match turn % 8 {
            0 => ("POST", &make),
            2 | 5 => ("PUT", &change),
            _ => ("GET", &list),
        };
        let from = Instant::now();
        let answer = match connection.take() {
            Some(connection) => Ok(connection),
            None => Connection::open(gateway),
        };
        let answer = answer.and_then(|mut open| {
            let answer = open.ask(request)?;
            connection = answer.is_kept.then_some(open);
            Ok(answer)
        });
        told.add(method, answer, from.elapsed());
        asked.fetch_add(1, Ordering::Relaxed);
        sleep(BREATH);
    }
    told
}

/// The id in a task, which is all that is read of it.
fn id(task: &str) -> Option<&str> {
    let (_, rest) = task.split_once("\"id\":\"")?;
    Some(rest.split_once('"')?.0)
}
