//! The threads that serve connections, each with a runtime of its own.
//!
//! A connection stays on one thread, with all that its requests spawn: nothing is stolen, and what wakes it is next to it. One
//! thread accepts, and hands each connection to the worker that has the fewest.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
};

/// Where connections are served. Clones are the same workers.
#[derive(Clone)]
pub struct Workers(Arc<[Worker]>);

struct Worker {
    runtime: Handle,
    connections: AtomicUsize,
}

/// Workers that are running. What still runs on them is dropped with them.
pub struct Running {
    /// Where to serve.
    pub workers: Workers,
    stops: Vec<(oneshot::Sender<()>, mpsc::Receiver<()>)>,
}

impl Workers {
    /// Starts one for each core that this process may use.
    pub fn start() -> io::Result<Running> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let (mut workers, mut stops) = (Vec::new(), Vec::new());
        for core in 0..cores {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            workers.push(Worker::of(runtime.handle().clone()));
            let (stop, stopped) = oneshot::channel();
            let (done, ended) = mpsc::channel();
            thread::Builder::new().name(format!("worker-{core}")).spawn(move || {
                let _ = runtime.block_on(stopped);
                // Drops what is left; what blocks a thread of its own is nobody's request.
                runtime.shutdown_background();
                let _ = done.send(());
            })?;
            stops.push((stop, ended));
        }
        Ok(Running { workers: Self(workers.into()), stops })
    }

    /// The runtime that this is called in, alone.
    pub fn current() -> Self {
        Self([Worker::of(Handle::current())].into())
    }

    /// Runs a connection to its end, on the worker that has the fewest.
    pub(super) fn spawn(&self, connection: impl Future<Output = ()> + Send + 'static) {
        let load = |at: &usize| self.0[*at].connections.load(Ordering::Relaxed);
        let at = (0..self.0.len()).min_by_key(load).unwrap_or_default();
        self.0[at].connections.fetch_add(1, Ordering::Relaxed);
        let counted = Counted { workers: self.clone(), at };
        self.0[at].runtime.spawn(async move {
            connection.await;
            drop(counted);
        });
    }
}

impl Worker {
    fn of(runtime: Handle) -> Self {
        Self { runtime, connections: AtomicUsize::new(0) }
    }
}

/// One of a worker's connections, until it is dropped.
struct Counted {
    workers: Workers,
    at: usize,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.workers.0[self.at].connections.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Running {
    /// Drops what still runs, and waits for the threads, but no longer than this.
    pub fn stop(self, within: Duration) {
        let end = Instant::now() + within;
        let (stops, ends): (Vec<_>, Vec<_>) = self.stops.into_iter().unzip();
        drop(stops);
        for ended in ends {
            let _ = ended.recv_timeout(end.saturating_duration_since(Instant::now()));
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::unbounded_channel;

    use super::*;

    #[tokio::test]
    async fn a_connection_goes_to_the_worker_that_has_the_fewest_and_is_dropped_at_the_end() {
        let running = Workers::start().unwrap();
        let cores = running.workers.0.len();
        let (said, mut names) = unbounded_channel();
        let (held, mut dropped) = unbounded_channel::<()>();
        for _ in 0..2 * cores {
            let (said, held) = (said.clone(), held.clone());
            running.workers.spawn(async move {
                said.send(thread::current().name().unwrap().to_owned()).unwrap();
                std::future::pending::<()>().await;
                drop(held);
            });
        }
        drop(held);
        let mut all = Vec::new();
        for _ in 0..2 * cores {
            all.push(names.recv().await.unwrap());
        }
        all.sort();
        all.dedup();
        assert_eq!(all.len(), cores, "two each");
        tokio::task::spawn_blocking(|| running.stop(Duration::from_secs(60))).await.unwrap();
        assert_eq!(dropped.recv().await, None);
    }
}
