//! The life of a service: read the settings, listen, serve, drain, and end by a deadline: `drain_delay` and `drain` for the
//! traffic, then [`END`] for all the rest.

mod command;
mod memory;
mod open_files;
pub mod ops;
mod reload;
mod rights;
pub mod signals;

use std::{
    ffi::OsString,
    io,
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::ArgMatches;
use futures_util::future::{join, join_all};
use serde::Deserialize;
use thiserror::Error;
use tokio::{
    net::{TcpListener, TcpSocket},
    select,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub use self::command::{command, usage};
use self::{ops::Readiness, reload::Reloads, rights::RightsError, signals::INTERRUPTED};
use crate::{
    BoxError,
    layer::access_log,
    serve::{self, HttpService, ServerSettings, Stack, TlsSlot, Workers},
    settings::{self, Checked, Environment, Faults, Loaded, Settings, SettingsError, Switch},
    telemetry::{
        self, LogFormat, lines,
        traces::{self, TracePlan},
    },
};

/// How often metrics are summed up.
const UPKEEP: Duration = Duration::from_secs(5);

/// How many connections may wait in the kernel to be accepted, unless its own bound (net.core.somaxconn) is lower.
const BACKLOG: u32 = 4096;

/// How much longer than its time a drain may take to notice its end.
const DRAIN_END: Duration = Duration::from_millis(500);

/// How long requests on the operator's listener may take to finish after the traffic.
const OPS_DRAIN: Duration = Duration::from_millis(500);

/// How long requests that are cut short may take to be dropped. Only a blocked worker takes so long.
const CUT_WAIT: Duration = Duration::from_secs(1);

/// How long a reader may take for the last log lines, and for the last words on standard error.
const FLUSH_WAIT: Duration = Duration::from_secs(1);

/// How long an end may take beside `drain_delay` and `drain`. By default the sum is below the 30 s that Kubernetes waits.
const END: Duration = Duration::from_secs(3);
const _: () = assert!(
    END.as_millis()
        == DRAIN_END.as_millis() + OPS_DRAIN.as_millis() + CUT_WAIT.as_millis() + FLUSH_WAIT.as_millis()
);

/// Replaces each of these waits after a second signal.
const AT_ONCE_WAIT: Duration = Duration::from_millis(250);

/// The settings that every service has, as chassis/defaults.toml explains them.
#[derive(Clone, Debug, Deserialize)]
pub struct Common {
    /// Where requests come in.
    #[serde(deserialize_with = "settings::address")]
    pub listen: SocketAddr,
    /// Where the operator asks.
    #[serde(deserialize_with = "settings::address")]
    pub ops_listen: SocketAddr,
    /// How log lines look.
    pub log: LogFormat,
    /// The bounds of each listener.
    pub server: ServerSettings,
}

/// What the process needs to know of a service's settings.
pub trait Service: Settings {
    /// One sentence for `--help`.
    const ABOUT: &'static str;

    /// Whether it hands [`Process::on_reload`] something to do.
    const RELOADS: bool = false;

    /// The files that its settings name, and that are read again with them.
    fn files(&self) -> Vec<PathBuf> {
        Vec::new()
    }

    /// The bounds of its listeners, if they are not simply as set.
    fn server(bounds: ServerSettings) -> ServerSettings {
        bounds
    }
}

/// Why a service did not start, in one sentence for the operator.
#[derive(Debug, Error)]
pub enum StartError {
    /// A setting is wrong.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// An address can't be listened on.
    #[error("{place}: listen on {address}: {source}")]
    Bind {
        /// What the operator wrote, or would write, to set the address: a variable, or a file and the place in it.
        place: String,
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
    /// It must not go on as root, and can't be anybody else.
    #[error(transparent)]
    Rights(#[from] RightsError),
    /// Anything else.
    #[error("{0}")]
    Other(#[from] BoxError),
}

/// A process that has bound its addresses.
pub struct Process {
    /// Cancelled when the service should stop.
    pub stop: CancellationToken,
    /// Set by the service when it is ready; unset by the process when it is asked to stop.
    pub readiness: Readiness,
    /// By what the traffic is encrypted, if it is.
    pub tls: TlsSlot,
    traffic: TcpListener,
    ops: TcpListener,
    extra: Vec<(TcpListener, Stack)>,
    workers: Workers,
    reloads: Option<Reloads>,
    prefix: String,
    server: ServerSettings,
}

/// What a job is run with.
struct Given<P> {
    plan: P,
    common: Common,
    /// Where its addresses are set.
    places: [String; 2],
    reloads: Option<Reloads>,
    workers: Workers,
    traces: Option<TracePlan>,
}

impl Process {
    /// Binds both addresses; `places` are where they are set.
    fn bind(
        prefix: String,
        common: Common,
        places: [String; 2],
        reloads: Option<Reloads>,
        workers: Workers,
        stop: CancellationToken,
    ) -> Result<Self, StartError> {
        let Common { listen, ops_listen, server, .. } = common;
        let [listen_place, ops_place] = places;
        let files = open_files::limit();
        if files < serve::FILES_MIN {
            return Err(StartError::Files { files, least: serve::FILES_MIN });
        }
        let traffic = bind(listen_place, listen, server.reuse_port)?;
        let ops = bind(ops_place, ops_listen, server.reuse_port)?;
        let readiness = Readiness::default();
        let tls = TlsSlot::default();
        Ok(Self { stop, readiness, tls, traffic, ops, extra: Vec::new(), reloads, workers, prefix, server })
    }

    /// From now on hands over every new plan that the files of the settings make while the service runs: on SIGHUP, and when one
    /// of them changes. One that is wrong is told in the log and changes nothing; so is one that would change the listeners.
    pub fn on_reload<S: Service + 'static>(&mut self, take: impl FnMut(S::Plan) + Send + 'static)
    where
        S::Plan: Send + 'static,
    {
        if let Some(reloads) = self.reloads.take() {
            tokio::spawn(reloads.each::<S>(take));
        }
    }

    /// Binds one more address. `service` is served there as long as the traffic is, with bounds of the same size. `key` ends
    /// the name of the variable that sets the address.
    pub fn add_listener(
        &mut self,
        key: &str,
        address: SocketAddr,
        service: impl HttpService,
    ) -> Result<(), StartError> {
        let listener = bind(format!("{}{key}", self.prefix), address, self.server.reuse_port)?;
        info!(key, address = local(&listener), "one more address");
        self.extra.push((listener, Stack::new(service)));
        Ok(())
    }

    /// Serves until it is asked to stop, then drains: it is no longer ready, then takes no new connections, then finishes what is
    /// in flight.
    pub async fn serve(self, service: impl HttpService) {
        let Self { stop, readiness, tls, traffic, ops, extra, reloads: _, workers, prefix, server } = self;
        let server = server.within_files(open_files::limit(), 1 + extra.len(), &prefix);
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
        // The operator's listener outlives the drain, so that the drain can be watched; unless another process is to have its port,
        // whose readiness counts from then on.
        let ops_stop = CancellationToken::new();
        let ops_router = ops::router(readiness.clone(), metrics);
        let ops_task = tokio::spawn({
            let (server, stop) = (server.clone().for_operator(), ops_stop.clone());
            async move { serve::serve(ops, ops_router, &server, stop).await }
        });
        let draining = CancellationToken::new();
        tokio::spawn({
            let (draining, delay) = (draining.clone(), server.drain_delay);
            let gives_up_ops = (server.reuse_port == Switch::On).then(|| ops_stop.clone());
            async move {
                stop.cancelled().await;
                readiness.set(false);
                if let Some(ops_stop) = gives_up_ops {
                    ops_stop.cancel();
                }
                info!(delay_secs = delay.as_secs(), end_secs, "stopping: not ready any more");
                sleep(delay).await;
                draining.cancel();
            }
        });
        let extra = extra.into_iter().map(|(listener, stack)| {
            serve::serve_on(&workers, listener, stack, TlsSlot::default(), &server, draining.clone())
        });
        let served = join(
            serve::serve_on(&workers, traffic, Stack::new(service), tls, &server, draining.clone()),
            join_all(extra),
        );
        let overdue = async {
            draining.cancelled().await;
            sleep(server.drain + DRAIN_END).await;
        };
        select! {
            _ = served => {}
            () = overdue => warn!("the drain did not end in time; what still runs is cut short"),
        }
        ops_stop.cancel();
        // It has the same drain, but nobody's end waits for that a second time.
        let _ = timeout(OPS_DRAIN, ops_task).await;
        upkeep.abort();
    }
}

fn bind(place: String, address: SocketAddr, reuse_port: Switch) -> Result<TcpListener, StartError> {
    listen(address, reuse_port).map_err(|source| StartError::Bind { place, address, source })
}

fn listen(address: SocketAddr, reuse_port: Switch) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Connections of a process that has ended keep no new one from its port.
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(reuse_port == Switch::On)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn local(listener: &TcpListener) -> String {
    listener.local_addr().map_or_else(|_| "?".into(), |address| address.to_string())
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

/// Runs a service by its parsed command line, to its end.
pub fn run<S, F>(matches: &ArgMatches, start: F) -> ExitCode
where
    S: Service,
    F: AsyncFnOnce(S::Plan, Process) -> Result<(), StartError>,
{
    memory::in_small_pages();
    open_files::raise_limit();
    let stop_on_stdin_eof = matches.get_flag(command::UNTIL_STDIN_CLOSES);
    run_logging::<S, _>(LOGGED, matches, async move |given| {
        let Given { plan, common, places, reloads, workers, traces } = given;
        telemetry::log_panics();
        telemetry::metrics();
        let hangups = reloads.as_ref().map(Reloads::hangups);
        let (stop, at_once) =
            signals::tokens(stop_on_stdin_eof, hangups).map_err(|error| StartError::Other(error.into()))?;
        let process = Process::bind(S::SPEC.prefix(), common, places, reloads, workers, stop)?;
        if let Some(plan) = traces {
            traces::start(plan);
        }
        select! {
            biased;
            () = at_once.cancelled() => Ok(End::AtOnce),
            served = start(plan, process) => served.map(|()| End::Drained),
        }
    })
}

/// Runs a job that ends by itself, with the settings and the log of the service.
pub fn run_job<S, F>(matches: &ArgMatches, job: F) -> ExitCode
where
    S: Service,
    F: AsyncFnOnce(S::Plan) -> Result<(), StartError>,
{
    run_logging::<S, _>(LOGGED, matches, async |given| job(given.plan).await.map(|()| End::Done))
}

/// Runs a job that writes a report to standard output: nothing is logged there unless `RUST_LOG` asks for it.
pub fn run_report<S, F>(matches: &ArgMatches, job: F) -> ExitCode
where
    S: Service,
    F: AsyncFnOnce(S::Plan) -> Result<(), StartError>,
{
    run_logging::<S, _>("off", matches, async |given| job(given.plan).await.map(|()| End::Done))
}

/// The default of `RUST_LOG`.
const LOGGED: &str = "info,h2=warn,hyper=warn";

/// How what ran came to its end.
enum End {
    /// A job is done.
    Done,
    /// A service was asked to stop, and requests in flight have had their time.
    Drained,
    /// It was asked to stop twice.
    AtOnce,
}

fn run_logging<S, F>(log: &str, matches: &ArgMatches, job: F) -> ExitCode
where
    S: Service,
    F: AsyncFnOnce(Given<S::Plan>) -> Result<End, StartError>,
{
    let service = S::SPEC.service;
    let environment = match Environment::of_process() {
        Ok(environment) => environment,
        Err(error) => return refuse(service, &error),
    };
    if matches.get_flag(command::CHECK) {
        return check::<S>(&environment, matches.get_flag(command::SHOW));
    }
    let misspelt = settings::misspelt::<S>(&environment);
    let mut faults = Faults::default();
    let mut traces = None;
    let loaded = Loaded::<S>::read(&environment).and_then(|loaded| {
        traces = faults.hear(loaded.traces()).flatten();
        let mut common: Common = loaded.part()?;
        common.server = S::server(common.server);
        let remarks = loaded.settings.remarks();
        let places = ["listen", "ops_listen"].map(|key| loaded.named(key));
        let reloads = Reloads::of(&environment, &loaded)?;
        let plan = loaded.plan()?;
        Ok((plan, common, places, remarks, reloads))
    });
    let loaded = faults.hear(loaded);
    faults.hear(settings::check_log(&environment));
    let (plan, common, places, remarks, reloads) = match loaded {
        Some(loaded) if !faults.found() => loaded,
        // A slip in a name is perhaps why something is missing.
        _ => return refuse_with(service, misspelt, &SettingsError::from(faults)),
    };
    // All files are read, and this is the only thread: logging starts another one.
    if let Some(user) = matches.get_one::<u32>(command::AS_USER)
        && let Err(error) = rights::give_up(*user)
    {
        return refuse(service, &error);
    }
    let filter = environment.get(telemetry::FILTER).unwrap_or(log);
    if let Err(error) = telemetry::log(service, common.log, filter) {
        return refuse(service, &SettingsError::new(telemetry::FILTER, error));
    }
    if matches.get_flag(command::PROBE) {
        return match ops::probe(common.ops_listen) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => refuse(service, &error),
        };
    }
    for remark in misspelt.into_iter().chain(remarks) {
        warn!("{remark}");
    }
    // This thread accepts, answers the operator, and keeps keys and the like fresh; the workers serve.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let (runtime, running) = match runtime.and_then(|runtime| Ok((runtime, Workers::start()?))) {
        Ok(started) => started,
        Err(error) => return refuse(service, &error),
    };
    let mut flushed = Flushed(FLUSH_WAIT);
    let end = runtime.block_on(job(Given {
        plan,
        common,
        places,
        reloads,
        workers: running.workers.clone(),
        traces,
    }));
    let wait = match &end {
        Ok(End::Done) => Duration::ZERO,
        Ok(End::AtOnce) => AT_ONCE_WAIT,
        Ok(End::Drained) | Err(_) => CUT_WAIT,
    };
    // What is still running has had its drain. It is dropped, not only left alone: each request has its access line.
    access_log::cut();
    let until = Instant::now() + wait;
    running.stop(wait);
    // Last, so that the spans of what was dropped go, too: in the time that the workers did not need.
    runtime.block_on(traces::finish(until.saturating_duration_since(Instant::now())));
    runtime.shutdown_background();
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

/// `--check`: what is wrong, or that nothing is; and what is in force, if that is to be shown.
fn check<S: Service>(environment: &Environment, show: bool) -> ExitCode {
    let service = S::SPEC.service;
    let Checked { remarks, outcome } = settings::check::<S>(environment);
    match outcome {
        Ok(shown) => {
            let shown = if show { shown_log(environment) + &shown } else { String::new() };
            let said = remarks.into_iter().chain(["the settings are good".to_owned()]);
            say(&(shown + &lines_of(service, said)))
        }
        Err(error) => refuse_with(service, remarks, &error),
    }
}

/// The line of the setting that all services have in one variable.
pub fn shown_log(environment: &Environment) -> String {
    match environment.get(telemetry::FILTER) {
        Some(filter) => {
            format!("{}={filter}  # {}\n", telemetry::FILTER, environment.source(telemetry::FILTER))
        }
        None => format!("{}={LOGGED}  # default\n", telemetry::FILTER),
    }
}

fn refuse(service: &str, error: &dyn std::error::Error) -> ExitCode {
    refuse_with(service, Vec::new(), error)
}

/// Says what is wrong, after what may help to see why.
fn refuse_with(service: &str, remarks: Vec<String>, error: &dyn std::error::Error) -> ExitCode {
    let error = error.to_string();
    let said = remarks.into_iter().chain(error.lines().map(ToOwned::to_owned));
    lines::last_words(lines_of(service, said), FLUSH_WAIT);
    ExitCode::FAILURE
}

fn lines_of(service: &str, said: impl Iterator<Item = String>) -> String {
    said.map(|said| format!("{service}: {said}\n")).collect::<Vec<_>>().concat()
}

fn say(text: &str) -> ExitCode {
    use io::Write as _;
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
