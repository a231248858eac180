//! Verdicts per second of one core, over sockets, beside servers that check nothing.
//!
//! The server under test has a core to itself, and wrk loads it from another one. Peers take turns, round after round, as
//! in [`crate::cost`].

use std::{
    ffi::OsStr,
    fs,
    io::{self, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use auth_verifier::settings::Settings;
use chassis::{
    Body,
    layer::{access_log::AccessLogged, request_id::Assign},
    serve, settings,
};
use http::{Request, Response};
use tokio_util::sync::CancellationToken;

use crate::{
    cost::NOTHING_CACHED,
    issuer::Issuer,
    kinds::forged,
    median,
    server::{self, CORE, LOAD_CORE, Server, Under, free, used},
    services::Services,
    table::{Table, short},
    world::{self, SECRET, USERS, World, claims, cookie},
};

/// Connections that are kept alive, each with one request in flight.
const CONNECTIONS: &str = "32";

/// The longest wait for an answer. Long, because a busy machine is no failure.
const TIMEOUT: &str = "60s";

/// Sessions that the load takes in turn: few enough that nearly all are cached.
const SESSIONS: usize = 100;

/// What this needs and this machine lacks, and how to get it.
pub fn missing() -> Option<&'static str> {
    if !Path::new("/proc/self/stat").exists() {
        return Some("Linux, which tells what a process has used of a core");
    }
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        return Some("two cores: one to measure, one to load it");
    }
    server::missing_of(&[
        ("wrk", "wrk: apt-get install wrk"),
        ("nginx", "nginx: apt-get install nginx"),
        ("taskset", "taskset: apt-get install util-linux"),
        ("setpriv", "setpriv: apt-get install util-linux"),
    ])
}

/// A peer that checks nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Plain {
    /// Our listener, and nothing else.
    Bare,
    /// The layers that every service has around it: an id, a span, metrics, an access line.
    Layered,
}

/// Answers 200 to everything, with the headers of a verdict, until the process ends.
pub async fn serve_plain(what: Plain, address: SocketAddr) -> io::Result<()> {
    chassis::telemetry::metrics();
    chassis::telemetry::log("bench", chassis::telemetry::LogFormat::Json, "info")
        .map_err(io::Error::other)?;
    let plan = settings::load::<Settings>(&[("BETTER_AUTH_SECRET", SECRET)].into_iter().collect())
        .map_err(io::Error::other)?;
    let listener = tokio::net::TcpListener::bind(address).await?;
    let answer = |_: Request<Body>| async {
        let mut response = Response::new(Body::empty());
        for (name, value) in headers() {
            let value = http::HeaderValue::from_str(&value).expect("the headers are ASCII");
            response.headers_mut().insert(http::HeaderName::from_static(name), value);
        }
        response
    };
    let stop = CancellationToken::new();
    match what {
        Plain::Bare => serve::serve(listener, answer, &plan.settings().server, stop).await,
        Plain::Layered => {
            serve::serve(listener, Assign(AccessLogged::new(answer)), &plan.settings().server, stop).await;
        }
    }
    Ok(())
}

/// The headers of a verdict.
fn headers() -> [(&'static str, String); 5] {
    [
        ("x-user-id", "u0".into()),
        ("x-user-email", "u0@example.com".into()),
        ("x-credential", "bearer".into()),
        ("cache-control", "private, max-age=5".into()),
        ("x-identity-assertion", "a".repeat(320)),
    ]
}

/// Checks one signature again and again, and prints how many microseconds of a core one takes.
pub fn check_alone(alg: &str, time: Duration) -> io::Result<()> {
    let alg = if alg == "HS256" { "HS256" } else { "EdDSA" };
    let issuer = Issuer::new(alg, SECRET);
    let token = issuer.token(None, &claims("u0"));
    let (message, _) = token.rsplit_once('.').expect("a token has a signature");
    let signed = issuer.signed(message.into());
    let (started, mut times) = (Instant::now(), 0_u32);
    while started.elapsed() < time {
        for _ in 0..100 {
            assert!(std::hint::black_box(&signed).check(), "it is a good one");
        }
        times += 100;
    }
    writeln!(io::stdout(), "{}", used("self")? * 1e6 / f64::from(times))
}

/// One that is measured.
struct Peer<'a> {
    name: &'static str,
    measured: Measured<'a>,
    samples: Vec<Sample>,
}

enum Measured<'a> {
    /// A server, loaded with the header lines of a file.
    Server(&'a Server, String),
    /// A signature's check, alone.
    Check(&'static str),
}

/// The result of one turn under load.
pub struct Sample {
    /// Requests in a second.
    pub per_second: f64,
    /// Of a core, for each request, in microseconds.
    pub micros: f64,
    /// The 99th percentile of the time to an answer, in microseconds.
    pub slow: Option<f64>,
}

/// Measures every peer in so many rounds, for so long each time. `exe` is this program.
pub fn measure(world: &World, exe: &OsStr, rounds: usize, time: Duration) -> io::Result<Table> {
    if let Some(missing) = missing() {
        return Err(io::Error::other(format!("missing: {missing}")));
    }
    let folder = world.folder();
    let services = Services { world, exe, programs: None };
    let start_verifier = |further: &[(&str, &str)]| services.auth_verifier(Under::Core(CORE), further);
    let start_plain = |what: &str| {
        let address = free()?;
        let arguments = ["plain", what, &address.to_string()];
        Server::start(Under::Core(CORE), exe, &arguments, Vec::new(), folder, address)
    };
    let (verifier, uncached) = (start_verifier(&[])?, start_verifier(&NOTHING_CACHED)?);
    let (bare, layered) = (start_plain("bare")?, start_plain("layered")?);
    let nginx = {
        let address = free()?;
        fs::write(folder.join("nginx.conf"), nginx(address))?;
        let prefix = folder.to_str().expect("temporary folders have plain names");
        let arguments = ["-p", prefix, "-c", "nginx.conf"];
        Server::start(Under::Core(CORE), "nginx".as_ref(), &arguments, Vec::new(), folder, address)?
    };

    let users = |count: usize, line: &dyn Fn(&str, usize) -> String| -> Vec<String> {
        (0..count).map(|number| line(&world::user(number), number)).collect()
    };
    let token = |alg: &'static str| {
        users(USERS, &|user, _| {
            format!("authorization: Bearer {}", world.issuer(alg).token(None, &claims(user)))
        })
    };
    let loads = [
        ("eddsa", token("EdDSA")),
        ("hs256", token("HS256")),
        ("session", users(SESSIONS, &|_, number| format!("cookie: {}", cookie(&world::session(number))))),
    ];
    for (name, lines) in &loads {
        fs::write(folder.join(name), lines.join("\n"))?;
        for server in [&verifier, &uncached] {
            check(server, &lines[0])?;
        }
    }
    let load_with = Wrk::new(folder)?;

    let server = |name, server, load: &str| Peer {
        name,
        measured: Measured::Server(server, load.into()),
        samples: Vec::new(),
    };
    let alone = |name, alg| Peer { name, measured: Measured::Check(alg), samples: Vec::new() };
    let mut peers = [
        server("hyper: 200 to everything", &bare, "eddsa"),
        server("the same, with an id, metrics and an access line", &layered, "eddsa"),
        server("nginx: `return 200`", &nginx, "eddsa"),
        server("auth-verifier: EdDSA, cached", &verifier, "eddsa"),
        server("auth-verifier: EdDSA, never cached", &uncached, "eddsa"),
        server("auth-verifier: HS256", &verifier, "hs256"),
        server("auth-verifier: session cookie, cached", &verifier, "session"),
        alone("aws-lc-rs: an EdDSA signature, checked in a loop", "EdDSA"),
        alone("aws-lc-rs: an HS256 signature, checked in a loop", "HS256"),
    ];
    // Once for nothing, to fill the caches.
    for round in 0..=rounds {
        for peer in &mut peers {
            let sample = match &peer.measured {
                Measured::Server(server, load) => {
                    load_with.load(&[server], "/verify", &folder.join(load), time)?
                }
                Measured::Check(alg) => check_it(exe, alg, time)?,
            };
            if round > 0 {
                peer.samples.push(sample);
            }
        }
    }
    Ok(report(&peers))
}

fn report(peers: &[Peer<'_>]) -> Table {
    let mut table = Table::new(&[
        "on one core",
        "per second",
        "beside hyper",
        "CPU, µs each",
        "beside hyper",
        "99th percentile, ms",
    ]);
    let hyper = &peers[0].samples;
    for Peer { name, samples, .. } in peers {
        let beside = |of: fn(&Sample) -> f64| {
            short(median(samples.iter().zip(hyper).map(|(sample, hyper)| of(sample) / of(hyper))))
        };
        let slow: Vec<_> = samples.iter().filter_map(|sample| sample.slow).collect();
        table.row([
            (*name).to_owned(),
            short(median(samples.iter().map(|sample| sample.per_second))),
            beside(|sample| sample.per_second),
            short(median(samples.iter().map(|sample| sample.micros))),
            beside(|sample| sample.micros),
            if slow.is_empty() { String::new() } else { short(median(slow) / 1e3) },
        ]);
    }
    table
}

/// A good credential is accepted, and a forged one rejected.
fn check(server: &Server, line: &str) -> io::Result<()> {
    let ask = |line: &str| {
        let answer = server.get("/verify", &[line])?;
        io::Result::Ok((answer.status, answer.header("x-user-id").map(ToOwned::to_owned)))
    };
    assert_eq!(ask(line)?, (200, Some("u0".to_owned())), "{line}");
    assert_eq!(ask(&forged(line))?, (401, None), "{line}, forged");
    Ok(())
}

/// Loads servers by wrk.
pub struct Wrk(PathBuf);

impl Wrk {
    /// One that keeps its script in `folder`.
    pub fn new(folder: &Path) -> io::Result<Self> {
        let script = folder.join("load.lua");
        fs::write(&script, include_str!("../load.lua"))?;
        Ok(Self(script))
    }

    /// Loads the first of `servers` with the header lines of the file `load`, in turn. The sample counts what all of them
    /// have used.
    pub fn load(&self, servers: &[&Server], path: &str, load: &Path, time: Duration) -> io::Result<Sample> {
        let all_used = || servers.iter().map(|server| server.used()).sum::<io::Result<f64>>();
        let before = all_used()?;
        let seconds = format!("{}s", time.as_secs());
        let output = Command::new("taskset")
            .args([
                "-c",
                LOAD_CORE,
                "wrk",
                "-t1",
                "-c",
                CONNECTIONS,
                "--timeout",
                TIMEOUT,
                "-d",
                &seconds,
                "-s",
            ])
            .arg(&self.0)
            .args([&format!("http://{}{path}", servers[0].address), "--"])
            .arg(load)
            .output()?;
        let used = all_used()? - before;
        let text = String::from_utf8_lossy(&output.stdout);
        let result = text.lines().find_map(|line| line.strip_prefix("RESULT "));
        let numbers =
            result.map(|line| line.split(' ').filter_map(|number| number.parse().ok()).collect::<Vec<f64>>());
        let Some(&[requests, micros, failed, slow]) = numbers.as_deref() else {
            return Err(io::Error::other(format!("wrk: {text}{}", String::from_utf8_lossy(&output.stderr))));
        };
        assert!(
            failed == 0.0 && requests > 0.0,
            "{failed} of {requests} requests were not answered with 200"
        );
        Ok(Sample { per_second: requests / micros * 1e6, micros: used * 1e6 / requests, slow: Some(slow) })
    }
}

fn check_it(exe: &OsStr, alg: &str, time: Duration) -> io::Result<Sample> {
    let seconds = time.as_secs().to_string();
    let output =
        Command::new("taskset").args(["-c", CORE]).arg(exe).args(["check-alone", alg, &seconds]).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let micros: f64 = text.trim().parse().map_err(io::Error::other)?;
    Ok(Sample { per_second: 1e6 / micros, micros, slow: None })
}

fn nginx(address: SocketAddr) -> String {
    let headers = headers().map(|(name, value)| format!("add_header {name} '{value}';")).join(" ");
    format!(
        "daemon off; master_process off; error_log stderr error; pid nginx.pid;
         events {{ worker_connections 1024; }}
         http {{
             access_log off; keepalive_requests 1000000000;
             client_body_temp_path b; proxy_temp_path p; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
             server {{ listen {address}; location / {{ {headers} return 200; }} }}
         }}"
    )
}
