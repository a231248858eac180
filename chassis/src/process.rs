//! A service's life: settings, listen, serve, drain.

use std::{convert::Infallible, ffi::OsString, io, net::SocketAddr, process::ExitCode, time::Duration};

use clap::{Arg, ArgAction, ArgMatches, Command};
use futures_util::future::{join, join_all};
use http::{Request, Response};
use thiserror::Error;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    time::sleep,
};
use tokio_util::sync::CancellationToken;
use tower::util::BoxCloneSyncService;
use tracing::{info, warn};

use crate::{
    Body, BoxError,
    ops::{self, Readiness},
    serve::{self, HttpService, ServerSettings},
    settings::{self, Environment, Settings, SettingsError},
    telemetry::{self, LogFormat},
};

/// How often measurements are summed up.
const UPKEEP: Duration = Duration::from_secs(5);

/// What a shell says of a process that a signal ended.
const INTERRUPTED: i32 = 130;

/// The settings that every service has.
#[derive(Clone, Debug)]
pub struct Common {
    /// Where requests come in.
    pub listen: SocketAddr,
    /// Where the operator asks.
    pub ops_listen: SocketAddr,
    /// How log lines look.
    pub log: LogFormat,
    /// The bounds of each listener.
    pub server: ServerSettings,
}

/// What a service's process needs to know of its settings.
pub trait Service: Settings {
    /// One sentence for `--help`.
    const ABOUT: &'static str;

    /// The settings that every service has.
    fn common(&self) -> Common;
}

/// Why a service did not start, in one sentence.
#[derive(Debug, Error)]
pub enum StartError {
    /// A setting is wrong.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// An address can't be listened on.
    #[error("{variable}: listen on {address}: {source}")]
    Bind {
        /// The variable to change.
        variable: String,
        /// The address it names.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// Anything else.
    #[error("{0}")]
    Other(#[from] BoxError),
}

/// A process that has its sockets, and may now build what it serves.
pub struct Process {
    /// Told when the service should stop.
    pub stop: CancellationToken,
    /// Set by the service when it is ready; unset by the process when it is told to stop.
    pub readiness: Readiness,
    traffic: TcpListener,
    ops: TcpListener,
    further: Vec<(TcpListener, AnyService)>,
    prefix: String,
    server: ServerSettings,
}

/// A finished stack, of whichever type.
type AnyService = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

impl Process {
    /// Takes both addresses.
    pub async fn bind<S: Service>(settings: &S, stop: CancellationToken) -> Result<Self, StartError> {
        let Common { listen, ops_listen, server, .. } = settings.common();
        let prefix = S::SPEC.prefix();
        let traffic = bind(&prefix, "LISTEN", listen).await?;
        let ops = bind(&prefix, "OPS_LISTEN", ops_listen).await?;
        let readiness = Readiness::default();
        Ok(Self { stop, readiness, traffic, ops, further: Vec::new(), prefix, server })
    }

    /// Takes one more address, on which `service` is served for as long as the traffic is, with bounds of the same
    /// size. `key` ends the name of the variable that sets it.
    pub async fn also<S: HttpService>(
        &mut self,
        key: &str,
        address: SocketAddr,
        service: S,
    ) -> Result<(), StartError> {
        let listener = bind(&self.prefix, key, address).await?;
        info!(key, address = local(&listener), "one more address");
        self.further.push((listener, AnyService::new(service)));
        Ok(())
    }

    /// Serves until told to stop, then drains: not ready first, then no new connections, then what is in flight.
    pub async fn serve<S: HttpService>(self, service: S) {
        let Self { stop, readiness, traffic, ops, further, server, .. } = self;
        info!(traffic = local(&traffic), ops = local(&ops), "listening");

        let metrics = telemetry::metrics();
        let upkeep = tokio::spawn({
            let metrics = metrics.clone();
            async move {
                // Without it every measurement is kept until somebody scrapes.
                loop {
                    sleep(UPKEEP).await;
                    metrics.run_upkeep();
                }
            }
        });
        // The operator's listener outlives the drain, so that the drain can be watched.
        let ops_stop = CancellationToken::new();
        let ops_router = ops::router(readiness.clone(), metrics);
        let ops_task = tokio::spawn({
            let (server, stop) = (server.clone(), ops_stop.clone());
            async move { serve::serve(ops, ops_router, &server, stop).await }
        });
        let draining = CancellationToken::new();
        tokio::spawn({
            let (draining, delay) = (draining.clone(), server.drain_delay);
            async move {
                stop.cancelled().await;
                readiness.set(false);
                info!(delay_secs = delay.as_secs(), "stopping: not ready any more");
                sleep(delay).await;
                draining.cancel();
            }
        });
        let further = further
            .into_iter()
            .map(|(listener, service)| serve::serve(listener, service, &server, draining.clone()));
        join(serve::serve(traffic, service, &server, draining.clone()), join_all(further)).await;
        ops_stop.cancel();
        let _ = ops_task.await;
        upkeep.abort();
    }
}

async fn bind(prefix: &str, key: &str, address: SocketAddr) -> Result<TcpListener, StartError> {
    let variable = format!("{prefix}{key}");
    TcpListener::bind(address).await.map_err(|source| StartError::Bind { variable, address, source })
}

fn local(listener: &TcpListener) -> String {
    listener.local_addr().map_or_else(|_| "?".into(), |address| address.to_string())
}

/// The command line of a service: `--check`, and what clap adds.
pub fn command<S: Service>() -> Command {
    Command::new(S::SPEC.service)
        .version(env!("CARGO_PKG_VERSION"))
        .about(S::ABOUT)
        .arg(
            Arg::new("check")
                .long("check")
                .action(ArgAction::SetTrue)
                .help("Check the settings, say what is wrong with them, and exit with 0 or 1"),
        )
        .arg(
            Arg::new("probe").long("probe").action(ArgAction::SetTrue).help(
                "Ask the service that runs with these settings whether it is ready, and exit with 0 or 1",
            ),
        )
        .arg(
            Arg::new("until-stdin-closes")
                .long("until-stdin-closes")
                .action(ArgAction::SetTrue)
                .hide(true)
                .help("Stop when standard input ends: how a child process never outlives its parent"),
        )
}

/// Runs a service that has no commands but its own.
pub fn main<S, F>(args: impl IntoIterator<Item = OsString>, start: F) -> ExitCode
where
    S: Service,
    F: AsyncFnOnce(S, Process) -> Result<(), StartError>,
{
    match command::<S>().try_get_matches_from(args) {
        Ok(matches) => run(&matches, start),
        Err(error) => usage(&error),
    }
}

/// What clap has to say: help and version go to standard output, mistakes to standard error, with exit code 2.
pub fn usage(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// Runs a service by its parsed command line, to its end.
pub fn run<S, F>(matches: &ArgMatches, start: F) -> ExitCode
where
    S: Service,
    F: AsyncFnOnce(S, Process) -> Result<(), StartError>,
{
    raise_file_limit();
    let leashed = matches.get_flag("until-stdin-closes");
    run_once(matches, async move |settings: S| {
        telemetry::metrics();
        let stop = stop_signal(leashed).map_err(|error| StartError::Other(error.into()))?;
        let process = Process::bind(&settings, stop).await?;
        start(settings, process).await
    })
}

/// Runs a job that ends by itself and listens to nobody, with the settings and the log of the service.
pub fn run_once<S, F>(matches: &ArgMatches, job: F) -> ExitCode
where
    S: Service,
    F: AsyncFnOnce(S) -> Result<(), StartError>,
{
    run_logging("info,h2=warn,hyper=warn", matches, job)
}

/// The same for a job whose standard output is read by a person: nothing is logged unless `RUST_LOG` asks for it.
pub fn tell<S, F>(matches: &ArgMatches, job: F) -> ExitCode
where
    S: Service,
    F: AsyncFnOnce(S) -> Result<(), StartError>,
{
    run_logging("off", matches, job)
}

fn run_logging<S, F>(log: &str, matches: &ArgMatches, job: F) -> ExitCode
where
    S: Service,
    F: AsyncFnOnce(S) -> Result<(), StartError>,
{
    let settings = Environment::of_process().and_then(|environment| {
        let settings: S = settings::load(&environment)?;
        let filter = environment.get("RUST_LOG").unwrap_or(log);
        telemetry::log(settings.common().log, filter)
            .map_err(|error| SettingsError::new("RUST_LOG", error))?;
        Ok(settings)
    });
    let settings = match settings {
        Ok(settings) => settings,
        Err(error) => return refuse(S::SPEC.service, &error),
    };
    if matches.get_flag("check") {
        return say(&format!("{}: the settings are good\n", S::SPEC.service));
    }
    if matches.get_flag("probe") {
        return match ops::probe(settings.common().ops_listen) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => refuse(S::SPEC.service, &error),
        };
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return refuse(S::SPEC.service, &error),
    };
    let result = runtime.block_on(job(settings));
    // What is still running has had its drain.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => refuse(S::SPEC.service, &error),
    }
}

/// A connection is a file; the usual soft limit of 1024 would be reached long before any bound of ours.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum && setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_err() {
        warn!(?current, "raise the limit of open files");
    }
}

/// Cancelled by SIGTERM or SIGINT, and, on a leash, by the end of standard input.
fn stop_signal(leashed: bool) -> io::Result<CancellationToken> {
    let stop = CancellationToken::new();
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let mut signals = signal(kind)?;
        let stop = stop.clone();
        tokio::spawn(async move {
            signals.recv().await;
            stop.cancel();
            // Whoever asks twice doesn't want to wait for the drain.
            signals.recv().await;
            std::process::exit(INTERRUPTED);
        });
    }
    if leashed {
        let stop = stop.clone();
        // A thread of its own: a read of standard input can't be cancelled, and would hold up a runtime's end.
        std::thread::spawn(move || {
            let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
            stop.cancel();
        });
    }
    Ok(stop)
}

fn refuse(service: &str, error: &dyn std::error::Error) -> ExitCode {
    use io::Write as _;
    let _ = writeln!(io::stderr(), "{service}: {error}");
    ExitCode::FAILURE
}

fn say(text: &str) -> ExitCode {
    use io::Write as _;
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
