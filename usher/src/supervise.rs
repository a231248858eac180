//! Keeps one service running: starts it, waits until it is ready, starts it again when it ends, stops it.

use std::{
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use chassis::{
    backoff::Backoff,
    outbound::client::{self, Client},
};
use tokio::{
    process::{Child, ChildStdin, Command},
    select,
    time::{Instant, sleep, timeout},
};

use crate::{error::StartError, plan::ServicePlan, say::say};

/// How long all services together may take until they are ready.
pub(crate) const READY_WAIT: Duration = Duration::from_secs(60);
const READY_INTERVAL: Duration = Duration::from_millis(50);

/// The waits before a service that ended is started again.
const RESTART_MIN: Duration = Duration::from_millis(100);
const RESTART_MAX: Duration = Duration::from_secs(5);

/// A service that ran this long has recovered.
const SETTLED: Duration = Duration::from_secs(10);

/// How long a service may take to finish what is in flight; longer than its own bound for that.
const STOP_WAIT: Duration = Duration::from_secs(30);

/// A service as a process of its own.
#[derive(Debug)]
pub(crate) struct Service {
    name: &'static str,
    program: PathBuf,
    variables: Vec<(&'static str, String)>,
    ready_url: String,
    /// `None` between two lives.
    life: Option<Life>,
}

#[derive(Debug)]
struct Life {
    process: Child,
    /// Its standard input. Kept apart, since waiting for a process closes what is left in it.
    stdin: Option<ChildStdin>,
    began: Instant,
}

impl Service {
    /// Starts `program` as the service of `plan`, with `extra` variables.
    pub(crate) fn start(
        program: &Path,
        plan: &ServicePlan,
        extra: Vec<(&'static str, String)>,
    ) -> Result<Self, StartError> {
        let variables = plan.variables.iter().cloned().chain(extra).collect();
        let ready_url = format!("{}/readyz", plan.ops.url());
        let mut service =
            Self { name: plan.name, program: program.to_owned(), variables, ready_url, life: None };
        service.spawn().map_err(StartError::io("run", program))?;
        say(service.name, "starting");
        Ok(service)
    }

    fn spawn(&mut self) -> std::io::Result<()> {
        let mut process = Command::new(&self.program)
            .args([self.name, "--until-stdin-closes"])
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            // When we end, in whichever way, its standard input does, and so does it.
            .stdin(Stdio::piped())
            // Ctrl-C is for us; we stop the services in their order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        self.life = Some(Life { stdin: process.stdin.take(), process, began: Instant::now() });
        Ok(())
    }

    /// Waits until the service is ready for the first time. That it ends meanwhile is no accident, but a setting.
    pub(crate) async fn await_ready(&mut self, client: &Client, deadline: Instant) -> Result<(), StartError> {
        let service = self.name;
        let Some(life) = &mut self.life else { return Ok(()) };
        let ready = async {
            while client::fetch(client, &self.ready_url, Duration::from_secs(1), 1024).await.is_err() {
                sleep(READY_INTERVAL).await;
            }
        };
        select! {
            () = ready => {
                say(service, "ready");
                Ok(())
            }
            ended = life.process.wait() => {
                let status = ended.map_err(StartError::system("wait for a service"))?;
                self.life = None;
                Err(StartError::Ended { service, status })
            }
            () = tokio::time::sleep_until(deadline) => {
                Err(StartError::NotReady { service, secs: READY_WAIT.as_secs() })
            }
        }
    }

    /// Starts the service again whenever it ends; never returns.
    pub(crate) async fn keep(&mut self) {
        let mut backoff = Backoff::new(RESTART_MIN, RESTART_MAX);
        loop {
            if let Some(life) = &mut self.life {
                let ended = life.process.wait().await;
                if life.began.elapsed() >= SETTLED {
                    backoff.succeed();
                }
                self.life = None;
                let how =
                    ended.map_or_else(|error| error.to_string(), |status: ExitStatus| status.to_string());
                // Each end is said, also where it is no news: it is what the developer waits for.
                backoff.fail(&how);
                let wait = backoff.wait().as_millis();
                say(self.name, format_args!("ended ({how}); starting it again in {wait} ms"));
            }
            sleep(backoff.wait()).await;
            if let Err(error) = self.spawn() {
                backoff.fail(&error);
                say(self.name, format_args!("can't be started: {error}"));
            }
        }
    }

    /// Stops the service: it finishes what is in flight, or is killed after [`STOP_WAIT`].
    pub(crate) async fn stop(&mut self) {
        if let Some(Life { mut process, stdin, .. }) = self.life.take() {
            // The end of its standard input asks it to stop, as SIGTERM would.
            drop(stdin);
            if timeout(STOP_WAIT, process.wait()).await.is_err() {
                let _ = process.kill().await;
                say(self.name, "killed: it did not stop in time");
            } else {
                say(self.name, "stopped");
            }
        }
    }

    /// Kills the service, and does not wait.
    pub(crate) fn kill(&mut self) {
        if let Some(life) = &mut self.life {
            let _ = life.process.start_kill();
        }
    }
}
