//! How many verdicts a core gives in a second, over sockets, beside servers that check nothing.
//!
//! Whoever is measured has a core to itself, and wrk loads it from another one. Peers take turns, round after round, as
//! in [`crate::cost`].

use std::{
    env,
    ffi::OsStr,
    fs,
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
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
    cost::FORGETFUL,
    issuer::Issuer,
    kinds::forged,
    median,
    table::{Table, short},
    world::{self, SECRET, USERS, World, claims, cookie},
};

/// The core of whoever is measured, and that of whoever loads it.
const CORE: &str = "1";
const LOAD_CORE: &str = "0";

/// Connections that are kept alive, each with one request under way.
const CONNECTIONS: &str = "32";

/// After this a request has failed. Long, because a busy machine is no failure.
const TIMEOUT: &str = "60s";

/// How many sessions the load takes turns with: few enough that nearly all are remembered.
const SESSIONS: usize = 100;

/// How long a server may take to listen.
const START: Duration = Duration::from_mins(1);

/// What this needs and this machine doesn't have, and how to get it.
pub fn missing() -> Option<&'static str> {
    let found = |tool: &str| {
        let path = env::var_os("PATH").unwrap_or_default();
        let folders = env::split_paths(&path).chain(["/usr/sbin".into()]);
        folders.map(|folder| folder.join(tool)).any(|file| file.is_file())
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if !Path::new("/proc/self/stat").exists() {
        return Some("Linux, which tells what a process has used of a core");
    }
    if cores < 2 {
        return Some("two cores: one to measure, one to load it");
    }
    let tools = [
        ("wrk", "wrk: apt-get install wrk"),
        ("nginx", "nginx: apt-get install nginx"),
        ("taskset", "taskset: apt-get install util-linux"),
        ("setpriv", "setpriv: apt-get install util-linux"),
    ];
    tools.into_iter().find(|(tool, _)| !found(tool)).map(|(_, hint)| hint)
}

/// What is served without any check, as a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Plain {
    /// Our listener, and nothing else.
    Bare,
    /// What every service wears around it: an id, a span, metrics, an access line.
    Dressed,
}

/// Answers 200 to everything, with the headers of a verdict, until the process ends.
pub async fn serve_plain(what: Plain, address: SocketAddr) -> io::Result<()> {
    chassis::telemetry::metrics();
    chassis::telemetry::log("bench", chassis::telemetry::LogFormat::Json, "info")
        .map_err(io::Error::other)?;
    let settings = settings::load::<Settings>(&[("BETTER_AUTH_SECRET", SECRET)].into_iter().collect())
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
        Plain::Bare => serve::serve(listener, answer, &settings.server, stop).await,
        Plain::Dressed => {
            serve::serve(listener, Assign(AccessLogged(answer)), &settings.server, stop).await;
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

/// A server on the measured core. It ends with this.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    /// Starts a program, and waits until it listens.
    fn start(
        program: &OsStr,
        arguments: &[&str],
        variables: Vec<(String, String)>,
        folder: &Path,
        address: SocketAddr,
    ) -> io::Result<Self> {
        let child = Command::new("taskset")
            // None of them outlives this process, in whichever way it ends.
            .args(["-c", CORE, "setpriv", "--pdeathsig", "KILL"])
            .arg(program)
            .args(arguments)
            .current_dir(folder)
            .env_clear()
            .env("PATH", format!("{}:/usr/sbin", env::var("PATH").unwrap_or_default()))
            .envs(variables)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()?;
        let mut server = Self { child, address };
        let started = Instant::now();
        while TcpStream::connect(address).is_err() {
            if started.elapsed() > START || server.child.try_wait()?.is_some() {
                return Err(io::Error::other(format!("{arguments:?} does not listen")));
            }
            sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    /// What it answers to a request with that header line: the status, and which user it names.
    fn ask(&self, line: &str) -> io::Result<(u16, Option<String>)> {
        let mut stream = TcpStream::connect(self.address)?;
        write!(stream, "GET /verify HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n{line}\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let status = answer.get(9..12).and_then(|status| status.parse().ok());
        let user = answer.lines().find_map(|line| line.strip_prefix("x-user-id: ")).map(ToOwned::to_owned);
        Ok((status.ok_or_else(|| io::Error::other("no HTTP"))?, user))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Who is measured.
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

struct Sample {
    per_second: f64,
    micros: f64,
    /// The slowest but one in a hundred, in microseconds.
    slow: Option<f64>,
}

/// Measures every peer in so many rounds, for so long each time. `exe` is this program.
pub fn measure(world: &World, exe: &OsStr, rounds: usize, time: Duration) -> io::Result<Table> {
    if let Some(missing) = missing() {
        return Err(io::Error::other(format!("missing: {missing}")));
    }
    let folder = world.folder();
    let start_verifier = |further: &[(&str, &str)]| {
        let (address, ops) = (free()?, free()?.to_string());
        let listen = address.to_string();
        let own = [("AUTH_VERIFIER_LISTEN", &*listen), ("AUTH_VERIFIER_OPS_LISTEN", &*ops)];
        let variables = world.variables(&[&own[..], further].concat());
        Server::start(exe, &["verifier"], variables, folder, address)
    };
    let start_plain = |what: &str| {
        let address = free()?;
        Server::start(exe, &["plain", what, &address.to_string()], Vec::new(), folder, address)
    };
    let (verifier, forgetful) = (start_verifier(&[])?, start_verifier(&FORGETFUL)?);
    let (bare, dressed) = (start_plain("bare")?, start_plain("dressed")?);
    let nginx = {
        let address = free()?;
        fs::write(folder.join("nginx.conf"), nginx(address))?;
        let prefix = folder.to_str().expect("temporary folders have plain names");
        Server::start("nginx".as_ref(), &["-p", prefix, "-c", "nginx.conf"], Vec::new(), folder, address)?
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
        for server in [&verifier, &forgetful] {
            check(server, &lines[0])?;
        }
    }
    let script = folder.join("load.lua");
    fs::write(&script, include_str!("../load.lua"))?;

    let server = |name, server, load: &str| Peer {
        name,
        measured: Measured::Server(server, load.into()),
        samples: Vec::new(),
    };
    let alone = |name, alg| Peer { name, measured: Measured::Check(alg), samples: Vec::new() };
    let mut peers = [
        server("hyper: 200 to everything", &bare, "eddsa"),
        server("the same, with an id, a span, metrics and an access line", &dressed, "eddsa"),
        server("nginx: `return 200`", &nginx, "eddsa"),
        server("auth-verifier: EdDSA, remembered", &verifier, "eddsa"),
        server("auth-verifier: EdDSA, never remembered", &forgetful, "eddsa"),
        server("auth-verifier: HS256", &verifier, "hs256"),
        server("auth-verifier: session cookie, remembered", &verifier, "session"),
        alone("aws-lc-rs: an EdDSA signature, checked in a loop", "EdDSA"),
        alone("aws-lc-rs: an HS256 signature, checked in a loop", "HS256"),
    ];
    // Once for nothing, so that all is remembered that will be.
    for round in 0..=rounds {
        for peer in &mut peers {
            let sample = match &peer.measured {
                Measured::Server(server, load) => load_it(server, &script, &folder.join(load), time)?,
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

/// What is measured is what is accepted.
fn check(server: &Server, line: &str) -> io::Result<()> {
    let (good, bad) = (server.ask(line)?, server.ask(&forged(line))?);
    assert_eq!(good, (200, Some("u0".to_owned())), "{line}");
    assert_eq!(bad, (401, None), "{line}, forged");
    Ok(())
}

fn load_it(server: &Server, script: &Path, load: &Path, time: Duration) -> io::Result<Sample> {
    let pid = server.child.id().to_string();
    let before = used(&pid)?;
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
            &format!("{}s", time.as_secs()),
            "-s",
        ])
        .arg(script)
        .args([&format!("http://{}/verify", server.address), "--"])
        .arg(load)
        .output()?;
    let used = used(&pid)? - before;
    let text = String::from_utf8_lossy(&output.stdout);
    let result = text.lines().find_map(|line| line.strip_prefix("RESULT "));
    let numbers =
        result.map(|line| line.split(' ').filter_map(|number| number.parse().ok()).collect::<Vec<f64>>());
    let Some(&[requests, micros, failed, slow]) = numbers.as_deref() else {
        return Err(io::Error::other(format!("wrk: {text}{}", String::from_utf8_lossy(&output.stderr))));
    };
    assert!(failed == 0.0 && requests > 0.0, "{failed} of {requests} requests were not answered with 200");
    Ok(Sample { per_second: requests / micros * 1e6, micros: used * 1e6 / requests, slow: Some(slow) })
}

fn check_it(exe: &OsStr, alg: &str, time: Duration) -> io::Result<Sample> {
    let seconds = time.as_secs().to_string();
    let output =
        Command::new("taskset").args(["-c", CORE]).arg(exe).args(["check-alone", alg, &seconds]).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let micros: f64 = text.trim().parse().map_err(io::Error::other)?;
    Ok(Sample { per_second: 1e6 / micros, micros, slow: None })
}

/// How many seconds of a core a process has used.
fn used(pid: &str) -> io::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // proc(5): the fields after the name, which may hold anything, in parentheses; utime and stime are 14 and 15.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    let ticks: f64 = fields.skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
    #[expect(clippy::cast_precision_loss, reason = "it is 100")]
    Ok(ticks / rustix::param::clock_ticks_per_second() as f64)
}

/// An address that nobody listens on.
fn free() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
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
