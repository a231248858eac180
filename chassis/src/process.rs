//! A service's life: settings, listen, serve, drain, and an end that has a deadline: `drain_delay` and `drain` for
//! the traffic, and [`END`] for all the rest.

mod memory;
pub mod ops;
pub mod signals;

use std::{ffi::OsString, io, net::SocketAddr, process::ExitCode, time::Duration};

use clap::{Arg, ArgAction, ArgMatches, Command};
use futures_util::future::{join, join_all};
use thiserror::Error;
use tokio::{
    net::TcpListener,
    select,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::{
    ops::Readiness,
    signals::{Asked, Signals},
};
use crate::{
    BoxError,
    layer::access_log,
    serve::{self, HttpService, ServerSettings, Stack},
    settings::{self, Environment, Settings, SettingsError},
    telemetry::{self, LogFormat, lines},
};

/// How often measurements are summed up.
const UPKEEP: Duration = Duration::from_secs(5);

/// What a drain may take beyond its time, to notice that it is over.
const DRAIN_END: Duration = Duration::from_millis(500);

/// How long the operator's requests may take to finish when the traffic has.
const OPS_DRAIN: Duration = Duration::from_millis(500);

/// How long what is cut short may take to be dropped. Only what a worker can't leave holds it up.
const CUT_WAIT: Duration = Duration::from_secs(1);

/// How long the last log lines may take to be read; and the last words on standard error, where there are any.
const FLUSH_WAIT: Duration = Duration::from_secs(1);

/// All that an end may take beside `drain_delay` and `drain`; the sum is below the 30 s that Kubernetes waits.
const END: Duration = Duration::from_secs(3);
const _: () = assert!(
    END.as_millis()
        == DRAIN_END.as_millis() + OPS_DRAIN.as_millis() + CUT_WAIT.as_millis() + FLUSH_WAIT.as_millis()
);

/// Instead of each of these waits, where somebody asked twice.
const AT_ONCE_WAIT: Duration = Duration::from_millis(250);

/// What a shell says of a process that a signal ended.
const INTERRUPTED: u8 = 130;

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
    /// Too few files may be open.
    #[error("the limit of open files is {files}; raise it to {least} at least (ulimit -n, LimitNOFILE)")]
    Files {
        /// How many may.
        files: usize,
        /// How many must.
        least: usize,
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
    further: Vec<(TcpListener, Stack)>,
    prefix: String,
    server: ServerSettings,
}

impl Process {
    /// Takes both addresses.
    pub async fn bind(prefix: String, common: Common, stop: CancellationToken) -> Result<Self, StartError> {
        let Common { listen, ops_listen, server, .. } = common;
        let files = file_limit();
        if files < serve::FILES_MIN {
            return Err(StartError::Files { files, least: serve::FILES_MIN });
        }
        let traffic = bind(&prefix, "LISTEN", listen).await?;
        let ops = bind(&prefix, "OPS_LISTEN", ops_listen).await?;
        let readiness = Readiness::default();
        Ok(Self { stop, readiness, traffic, ops, further: Vec::new(), prefix, server })
    }

    /// Takes one more address, on which `service` is served for as long as the traffic is, with bounds of the same
    /// size. `key` ends the name of the variable that sets it.
    pub async fn also(
        &mut self,
        key: &str,
        address: SocketAddr,
        service: impl HttpService,
    ) -> Result<(), StartError> {
        let listener = bind(&self.prefix, key, address).await?;
        info!(key, address = local(&listener), "one more address");
        self.further.push((listener, Stack::new(service)));
        Ok(())
    }

    /// Serves until told to stop, then drains: not ready first, then no new connections, then what is in flight.
    pub async fn serve(self, service: impl HttpService) {
        let Self { stop, readiness, traffic, ops, further, prefix, server } = self;
        let server = server.within_files(file_limit(), 1 + further.len(), &prefix);
        let end_secs = (server.drain_delay + server.drain + END).as_secs();
        info!(traffic = local(&traffic), ops = local(&ops), end_secs, "listening");

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
            let (server, stop) = (server.clone().for_operator(), ops_stop.clone());
            async move { serve::serve(ops, ops_router, &server, stop).await }
        });
        let draining = CancellationToken::new();
        tokio::spawn({
            let (draining, delay) = (draining.clone(), server.drain_delay);
            async move {
                stop.cancelled().await;
                readiness.set(false);
                info!(delay_secs = delay.as_secs(), end_secs, "stopping: not ready any more");
                sleep(delay).await;
                draining.cancel();
            }
        });
        let further = further
            .into_iter()
            .map(|(listener, service)| serve::serve(listener, service, &server, draining.clone()));
        let served = join(serve::serve(traffic, service, &server, draining.clone()), join_all(further));
        let overdue = async {
            draining.cancelled().await;
            sleep(server.drain + DRAIN_END).await;
        };
        select! {
            _ = served => {}
            () = overdue => warn!("the drain did not end in time"),
        }
        ops_stop.cancel();
        // It has the same drain, but nobody's end waits for that a second time.
        let _ = timeout(OPS_DRAIN, ops_task).await;
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
    F: AsyncFnOnce(S::Plan, Process) -> Result<(), StartError>,
{
    match command::<S>().try_get_matches_from(args) {
        Ok(matches) => run::<S, F>(&matches, start),
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
    F: AsyncFnOnce(S::Plan, Process) -> Result<(), StartError>,
{
    raise_file_limit();
    let leashed = matches.get_flag("until-stdin-closes");
    run_logging::<S, _>(LOGGED, matches, async move |plan, common| {
        telemetry::log_panics();
        telemetry::metrics();
        let (stop, at_once) = listen(leashed).map_err(|error| StartError::Other(error.into()))?;
        let process = Process::bind(S::SPEC.prefix(), common, stop).await?;
        select! {
            biased;
            () = at_once.cancelled() => Ok(End::AtOnce),
            served = start(plan, process) => served.map(|()| End::Drained),
        }
    })
}

/// Runs a job that ends by itself and listens to nobody, with the settings and the log of the service.
pub fn run_once<S, F>(matches: &ArgMatches, job: F) -> ExitCode
where
    S: Service,
    F: AsyncFnOnce(S::Plan) -> Result<(), StartError>,
{
    run_logging::<S, _>(LOGGED, matches, async |plan, _| job(plan).await.map(|()| End::Done))
}

/// The same for a job whose standard output is read by a person: nothing is logged unless `RUST_LOG` asks for it.
pub fn tell<S, F>(matches: &ArgMatches, job: F) -> ExitCode
where
    S: Service,
    F: AsyncFnOnce(S::Plan) -> Result<(), StartError>,
{
    run_logging::<S, _>("off", matches, async |plan, _| job(plan).await.map(|()| End::Done))
}

/// What is logged unless `RUST_LOG` says otherwise.
const LOGGED: &str = "info,h2=warn,hyper=warn";

/// How what ran came to its end.
enum End {
    /// A job is done.
    Done,
    /// A service was told to stop, and what was in flight has had its time.
    Drained,
    /// It was told so twice.
    AtOnce,
}

fn run_logging<S, F>(log: &str, matches: &ArgMatches, job: F) -> ExitCode
where
    S: Service,
    F: AsyncFnOnce(S::Plan, Common) -> Result<End, StartError>,
{
    let service = S::SPEC.service;
    let settings = Environment::of_process().and_then(|environment| {
        let settings: S = settings::read(&environment)?;
        let filter = environment.get("RUST_LOG").unwrap_or(log);
        let (common, remarks) = (settings.common(), settings.remarks());
        let plan = settings.plan()?;
        telemetry::log(service, common.log, filter).map_err(|error| SettingsError::new("RUST_LOG", error))?;
        Ok((plan, common, remarks))
    });
    let (plan, common, remarks) = match settings {
        Ok(loaded) => loaded,
        Err(error) => return refuse(service, &error),
    };
    let service = S::SPEC.service;
    if matches.get_flag("check") {
        let said = remarks.into_iter().chain(["the settings are good".to_owned()]);
        let lines: Vec<_> = said.map(|said| format!("{service}: {said}\n")).collect();
        return say(&lines.concat());
    }
    if matches.get_flag("probe") {
        return match ops::probe(common.ops_listen) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => refuse(service, &error),
        };
    }
    for remark in remarks {
        warn!("{remark}");
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return refuse(service, &error),
    };
    let mut flushed = Flushed(FLUSH_WAIT);
    let end = runtime.block_on(job(plan, common));
    let wait = match &end {
        Ok(End::Done) => Duration::ZERO,
        Ok(End::AtOnce) => AT_ONCE_WAIT,
        Ok(End::Drained) | Err(_) => CUT_WAIT,
    };
    // What is still running has had its drain. It is dropped, not only left alone: each request has its access line.
    access_log::cut();
    runtime.shutdown_timeout(wait);
    let requests = access_log::cut_requests();
    if requests > 0 {
        warn!(requests, "cut short: they were still running at the end");
    }
    match end {
        Ok(End::Done) => ExitCode::SUCCESS,
        Ok(End::Drained) => {
            info!("stopped");
            ExitCode::SUCCESS
        }
        Ok(End::AtOnce) => {
            warn!("stopped at once");
            flushed.0 = AT_ONCE_WAIT;
            ExitCode::from(INTERRUPTED)
        }
        Err(error) => refuse(service, &error),
    }
}

/// The last log lines are written when this is dropped, also by a panic.
struct Flushed(Duration);

impl Drop for Flushed {
    fn drop(&mut self) {
        telemetry::flush(self.0);
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

/// How many files this process may have open.
fn file_limit() -> usize {
    use rustix::process::{Resource, getrlimit};
    getrlimit(Resource::Nofile)
        .current
        .map_or(usize::MAX, |files| usize::try_from(files).unwrap_or(usize::MAX))
}

/// What is cancelled when the process should drain and end, and what when it should end now. It is told by signals,
/// and, on a leash, by the end of standard input.
fn listen(leashed: bool) -> io::Result<(CancellationToken, CancellationToken)> {
    let (stop, at_once) = (CancellationToken::new(), CancellationToken::new());
    let mut signals = Signals::listen()?;
    tokio::spawn({
        let (stop, at_once) = (stop.clone(), at_once.clone());
        async move {
            loop {
                let (signal, asked) = signals.next().await;
                info!(signal, "told to stop");
                stop.cancel();
                if asked == Asked::AtOnce {
                    at_once.cancel();
                }
            }
        }
    });
    if leashed {
        let stop = stop.clone();
        // A thread of its own: a read of standard input can't be cancelled, and would hold up a runtime's end.
        std::thread::spawn(move || {
            let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
            stop.cancel();
        });
    }
    Ok((stop, at_once))
}

fn refuse(service: &str, error: &dyn std::error::Error) -> ExitCode {
    lines::last_words(format!("{service}: {error}\n"), FLUSH_WAIT);
    ExitCode::FAILURE
}

fn say(text: &str) -> ExitCode {
    use io::Write as _;
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
