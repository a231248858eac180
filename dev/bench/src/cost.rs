//! The cost of one verdict, by kind of credential, beside the least that has to be done for it.
//!
//! The machine is shared, so its speed drifts. Everything is measured in turn, in short samples, round after round: a
//! drift hits all alike, and each ratio is of samples that were taken next to one another. Benchmark harnesses
//! finish one case before they begin the next, so none is used. Only CPU time of this thread counts, not what the core did
//! for others meanwhile, nor the wait for a database.

use std::{hint::black_box, io, sync::Arc, time::Duration};

use auth_verifier::{
    settings::Settings,
    verdict::{Verdict, Verifier},
};
use chassis::settings;
use http::HeaderMap;
use rustix::time::{ClockId, clock_gettime};

use crate::{
    kinds::{Kind, Peer},
    median,
    table::{Table, short},
    world::World,
};

/// About how long a sample is.
const SAMPLE: Duration = Duration::from_millis(4);

/// The settings with which nothing is cached.
pub const NOTHING_CACHED: [(&str, &str); 2] =
    [("AUTH_VERIFIER_JWT__CACHE_SECS", "0"), ("AUTH_VERIFIER_REVOCATION_LAG_SECS", "0")];

/// One of the sides that are compared.
enum Side<'a> {
    Peer(&'a Peer, &'a World),
    Verifier(Arc<Verifier>, &'a HeaderMap),
}

impl Side<'_> {
    async fn run(&self) {
        match self {
            Self::Peer(Peer::Signature(signed), _) => assert!(black_box(signed).check(), "it is a good one"),
            Self::Peer(Peer::RoundTrip(statement), world) => {
                world.client.query_one(statement, &[&"u0"]).await.expect("the database answers");
            }
            Self::Verifier(verifier, headers) => {
                let verdict = verifier.verify(black_box(headers)).await;
                assert!(matches!(verdict, Verdict::Known(_)), "it is a good one");
            }
        }
    }

    /// Microseconds for one run, averaged over so many.
    async fn sample(&self, times: u32) -> f64 {
        let before = worked();
        for _ in 0..times {
            self.run().await;
        }
        (worked() - before) / f64::from(times)
    }

    /// How many runs fill a sample.
    async fn times(&self) -> u32 {
        let mut times = 1;
        loop {
            let took = self.sample(times).await * f64::from(times);
            if took * 2.0 > SAMPLE.as_secs_f64() * 1e6 {
                return times;
            }
            times *= 2;
        }
    }
}

/// CPU time of this thread so far, in microseconds.
fn worked() -> f64 {
    let worked = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(worked).expect("it begins with 0").as_secs_f64() * 1e6
}

/// Measures every kind, in so many rounds.
pub async fn measure(world: &World, rounds: usize) -> io::Result<Table> {
    // Counted as in the service.
    chassis::telemetry::metrics();
    let kinds = Kind::all(world).await.map_err(io::Error::other)?;
    let mut rows = Vec::new();
    for kind in &kinds {
        let by_default = verifier(world, kind, &[])?;
        let uncached = verifier(world, kind, &NOTHING_CACHED)?;
        for verifier in [&by_default, &uncached] {
            check(verifier, kind).await;
        }
        let sides = [
            Side::Peer(&kind.peer, world),
            Side::Verifier(by_default, &kind.good),
            Side::Verifier(uncached, &kind.good),
        ];
        let mut all = Vec::new();
        for side in sides {
            all.push((side.times().await, side));
        }
        rows.push((kind, all, Vec::new()));
    }
    for _ in 0..rounds {
        for (_, sides, samples) in &mut rows {
            let mut round = [0.0; 3];
            for ((times, side), sample) in sides.iter().zip(&mut round) {
                *sample = side.sample(*times).await;
            }
            samples.push(round);
        }
    }
    let mut table = Table::new(&[
        "kind",
        "beside",
        "that alone, µs",
        "by default, µs",
        "ratio",
        "nothing cached, µs",
        "ratio",
    ]);
    for (kind, _, samples) in rows {
        let micros = |side: usize| short(median(samples.iter().map(|round| round[side])));
        let times = |side: usize| short(median(samples.iter().map(|round| round[side] / round[0])));
        let beside = match kind.peer {
            Peer::Signature(_) => "its signature",
            Peer::RoundTrip(_) => "a round trip to the database",
        };
        let row = [kind.name.clone(), beside.into(), micros(0), micros(1), times(1), micros(2), times(2)];
        table.row(row);
    }
    Ok(table)
}

fn verifier(world: &World, kind: &Kind, further: &[(&str, &str)]) -> io::Result<Arc<Verifier>> {
    let variables = world.variables(&[&kind.variables, further].concat());
    let settings = settings::load::<Settings>(&variables.into_iter().collect()).map_err(io::Error::other)?;
    Ok(settings.verifier())
}

/// The good credential is accepted, and the forged one rejected.
async fn check(verifier: &Verifier, kind: &Kind) {
    let name = &kind.name;
    for time in ["at first", "again"] {
        match verifier.verify(&kind.good).await {
            Verdict::Known(caller) => assert_eq!(caller.user.as_str(), Kind::USER, "{name}, {time}"),
            verdict => panic!("{name}, {time}: {verdict:?}"),
        }
        let verdict = verifier.verify(&kind.forged).await;
        assert!(matches!(verdict, Verdict::Rejected(_)), "{name}, forged, {time}: {verdict:?}");
    }
}
