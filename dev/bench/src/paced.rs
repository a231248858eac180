//! How long an answer takes at a fixed rate of requests: what a server that is not at its limit makes people wait.

use std::{
    io::{self, Write},
    net::SocketAddr,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use crate::{
    server::LOAD_CORE,
    wire::{self, Connection},
};

/// Requests in a second: well below what any of the peers can do.
pub const RATE: u32 = 2000;

/// Connections, each of which has its share of the rate.
const CONNECTIONS: u32 = 32;

/// The time from when a request was due to its answer, in microseconds.
pub struct Waits {
    /// The median.
    pub median: f64,
    /// The 99th percentile.
    pub slow: f64,
}

/// Has `exe`, which is this program, [`load`] `address` from the core of the load.
pub fn ask(
    exe: &std::ffi::OsStr,
    address: SocketAddr,
    path: &str,
    lines: &Path,
    time: Duration,
) -> io::Result<Waits> {
    let output = Command::new("taskset")
        .args(["-c", LOAD_CORE])
        .arg(exe)
        .args(["load", &address.to_string(), path])
        .arg(lines)
        .arg(time.as_secs().to_string())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let numbers: Vec<f64> = text.split_whitespace().filter_map(|number| number.parse().ok()).collect();
    let &[median, slow] = &numbers[..] else {
        return Err(io::Error::other(format!("load: {text}{}", String::from_utf8_lossy(&output.stderr))));
    };
    Ok(Waits { median, slow })
}

/// Asks for `path` at [`RATE`], with the header lines of a file in turn, and prints the median and the 99th percentile of
/// the waits, in microseconds. A request that is late because the one before it was is counted from when it was due
/// (coordinated omission).
pub fn load(address: SocketAddr, path: &str, lines: &Path, time: Duration) -> io::Result<()> {
    let lines = std::fs::read_to_string(lines)?;
    let requests: Vec<_> = lines.lines().map(|line| wire::get(path, &[line])).collect();
    let pause = Duration::from_secs(1) * CONNECTIONS / RATE;
    let started = Instant::now() + Duration::from_millis(50);
    let mut waits = Vec::new();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..CONNECTIONS)
            .map(|number| {
                let first = started + pause * number / CONNECTIONS;
                // Each begins elsewhere in the list.
                let at = requests.len() * number as usize / CONNECTIONS as usize;
                let requests = requests.iter().cycle().skip(at);
                scope.spawn(move || one(address, requests, first, pause, time))
            })
            .collect();
        for thread in threads {
            waits.extend(thread.join().map_err(|_| io::Error::other("a thread of the load ended"))??);
        }
        io::Result::Ok(())
    })?;
    waits.sort_unstable();
    let micros = |share: usize| waits[waits.len() * share / 100].as_secs_f64() * 1e6;
    writeln!(io::stdout(), "{} {}", micros(50), micros(99))
}

fn one<'a>(
    address: SocketAddr,
    requests: impl Iterator<Item = &'a String>,
    first: Instant,
    pause: Duration,
    time: Duration,
) -> io::Result<Vec<Duration>> {
    let mut connection = Connection::open(address)?;
    let (mut due, mut waits) = (first, Vec::new());
    for request in requests {
        if due > first + time {
            break;
        }
        let now = Instant::now();
        let begun = if due > now {
            thread::sleep(due - now);
            // What the system overslept is no wait of the server's.
            Instant::now()
        } else {
            due
        };
        let answer = connection.ask(request)?;
        waits.push(begun.elapsed());
        if answer.status != 200 {
            return Err(io::Error::other(format!("{} instead of 200", answer.status)));
        }
        due += pause;
    }
    Ok(waits)
}
