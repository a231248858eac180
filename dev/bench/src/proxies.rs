//! How many authenticated requests a core passes on in a second, beside other authenticating proxies, and how long each
//! takes where there is no crowd.
//!
//! wrk and the upstream have a core, and each of the [`peers`] the other one. Peers take turns, round after
//! round, as in [`crate::cost`].

use std::{ffi::OsStr, io, time::Duration};

use crate::{
    capacity::{self, Sample, Wrk},
    median,
    paced::{self, RATE, Waits},
    peers::{self, PATH, Peer, Peers},
    table::{Table, short},
    world::World,
};

/// What this needs and this machine lacks, and how to get it.
pub fn missing() -> Option<&'static str> {
    capacity::missing().or_else(peers::missing)
}

/// Measures every peer in so many rounds, for so long each time. `exe` is this program.
pub fn measure(world: &World, exe: &OsStr, rounds: usize, time: Duration) -> io::Result<Table> {
    if let Some(missing) = missing() {
        return Err(io::Error::other(format!("missing: {missing}")));
    }
    let peers = Peers::start(world, exe)?;
    let wrk = Wrk::new(world.folder())?;
    let mut measured: Vec<Vec<(Sample, Waits)>> = peers.all.iter().map(|_| Vec::new()).collect();
    // Once for nothing, so that connections are open.
    for round in 0..=rounds {
        for (peer, samples) in peers.all.iter().zip(&mut measured) {
            let sample = wrk.load(&peers.servers(peer), PATH, &peers.load, time)?;
            let waits = paced::ask(exe, peer.front.address, PATH, &peers.load, time)?;
            if round > 0 {
                samples.push((sample, waits));
            }
        }
    }
    Ok(report(&peers.all, &measured))
}

fn report(peers: &[Peer], measured: &[Vec<(Sample, Waits)>]) -> Table {
    let waits = |which: &str| format!("at {RATE} a second, {which}, µs");
    let head = [
        "on one core",
        "per second",
        "beside HAProxy",
        "CPU, µs each",
        "beside HAProxy",
        &waits("median"),
        &waits("99th percentile"),
    ];
    let mut table = Table::new(&head);
    let first = &measured[0];
    for (peer, samples) in peers.iter().zip(measured) {
        let beside = |of: fn(&Sample) -> f64| {
            short(median(samples.iter().zip(first).map(|((sample, _), (first, _))| of(sample) / of(first))))
        };
        table.row([
            peer.name.to_owned(),
            short(median(samples.iter().map(|(sample, _)| sample.per_second))),
            beside(|sample| sample.per_second),
            short(median(samples.iter().map(|(sample, _)| sample.micros))),
            beside(|sample| sample.micros),
            short(median(samples.iter().map(|(_, waits)| waits.median))),
            short(median(samples.iter().map(|(_, waits)| waits.slow))),
        ]);
    }
    table
}
