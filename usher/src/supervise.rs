//! Keeps one service running: starts it, waits until it is ready, starts it again when it ends, stops it.

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use chassis::{
    backoff::Backoff,
    process::ops::{self, Hindrance, Unready},
    settings::{Environment, PORT, Secret},
};
use tokio::{
    process::{Child, ChildStdin, Command},
    select,
    task::spawn_blocking,
    time::{Instant, sleep, sleep_until, timeout},
};

use crate::{
    demo::Node,
    error::StartError,
    plan::{self, ServicePlan},
    rights,
    say::say,
};

/// How long all services together may take until they are ready.
pub(crate) const READY_WAIT: Duration = Duration::from_secs(60);

/// The wait before a service is asked again whether it is ready.
const READY_INTERVAL: Duration = Duration::from_millis(50);

/// How long a service may wait for something before a person is told.
const WAIT_UNTOLD: Duration = Duration::from_secs(2);

/// The first wait before a service that ended is started again, and the longest.
const RESTART_MIN: Duration = Duration::from_millis(100);
const RESTART_MAX: Duration = Duration::from_secs(5);

/// A service that ran this long has recovered.
const SETTLED: Duration = Duration::from_secs(10);

/// How long a service may take to finish what is in flight; longer than its own bound for that.
const STOP_WAIT: Duration = Duration::from_secs(30);

/// A service as a process of its own.
pub(crate) struct Service {
    name: &'static str,
    program: Program,
    /// Where it says whether it is ready.
    ops: SocketAddr,
    /// `None` between two lives.
    life: Option<Life>,
}

/// What runs.
enum Program {
    /// This program as one of the services.
    Ours {
        path: PathBuf,
        /// What it sees of our environment; `None` where that is all of it.
        seen: Option<Vec<(String, Secret)>>,
        variables: Vec<(&'static str, Secret)>,
    },
    Node(Node),
}

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
        environment: &Environment,
        extra: Option<(&'static str, Secret)>,
    ) -> Result<Self, StartError> {
        let variables = plan.variables.iter().map(|(name, value)| (*name, Secret::new(value)));
        let variables = variables.chain(extra).collect();
        let seen = rights::user_of(plan.name).map(|_| plan.seen(environment));
        let ours = Program::Ours { path: program.to_owned(), seen, variables };
        Self { name: plan.name, program: ours, ops: plan.ops.at, life: None }.started()
    }

    /// Starts a program of Node.js's, which says at `ops` whether it is ready.
    pub(crate) fn of_node(name: &'static str, node: Node, ops: SocketAddr) -> Result<Self, StartError> {
        Self { name, program: Program::Node(node), ops, life: None }.started()
    }

    fn started(mut self) -> Result<Self, StartError> {
        self.spawn().map_err(StartError::io("run", self.name))?;
        say(self.name, "starting");
        Ok(self)
    }

    fn spawn(&mut self) -> std::io::Result<()> {
        let mut command = match &self.program {
            Program::Ours { path, seen, variables } => {
                let mut command = Command::new(path);
                command.arg(self.name);
                // Ctrl-C is for us; we stop the services in their order.
                if let Some(user) = rights::user_of(self.name) {
                    // It makes itself a session, which it could not do as the leader of a group.
                    command.args(["--as-user", &user.to_string()]);
                } else {
                    command.process_group(0);
                }
                if let Some(seen) = seen {
                    command.env_clear().envs(seen.iter().map(|(name, value)| (name, value.expose())));
                }
                if !plan::follows_port(self.name) {
                    command.env_remove(PORT);
                }
                command.envs(variables.iter().map(|(name, value)| (name, value.expose())));
                command
            }
            Program::Node(node) => node.command(),
        };
        let mut process = command
            .arg("--until-stdin-closes")
            // When we end, in whichever way, its standard input does, and so does it.
            .stdin(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        self.life = Some(Life { stdin: process.stdin.take(), process, began: Instant::now() });
        Ok(())
    }

    /// Waits until the service is ready for the first time. That it ends meanwhile is no accident, but a setting; and so is
    /// what it says that somebody has to change.
    pub(crate) async fn await_ready(&mut self, deadline: Instant) -> Result<(), StartError> {
        let (service, ops) = (self.name, self.ops);
        let Some(life) = &mut self.life else { return Ok(()) };
        let mut why = String::from("it does not say why");
        let ready = async {
            let untold = Instant::now() + WAIT_UNTOLD;
            let mut told = String::new();
            loop {
                match spawn_blocking(move || ops::probe(ops)).await {
                    Ok(Ok(())) => return Ok(()),
                    Ok(Err(Unready::Hindered(Hindrance::Change(what)))) => {
                        return Err(StartError::NeedsChange { service, what });
                    }
                    Ok(Err(Unready::Hindered(Hindrance::Wait(what)))) => {
                        why = format!("it waits: {what}");
                        if Instant::now() >= untold && told != what {
                            say(service, format_args!("waits: {what}"));
                            told = what;
                        }
                    }
                    Ok(Err(Unready::Silent(_) | Unready::Unexplained)) | Err(_) => {}
                }
                sleep(READY_INTERVAL).await;
            }
        };
        select! {
            ready = ready => {
                ready?;
                say(service, "ready");
                Ok(())
            }
            ended = life.process.wait() => {
                let status = ended.map_err(StartError::system("wait for a service"))?;
                self.life = None;
                Err(StartError::Ended { service, status })
            }
            () = sleep_until(deadline) => {
                Err(StartError::NotReady { service, secs: READY_WAIT.as_secs(), why })
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

impl fmt::Debug for Service {
    /// Without what its variables hold.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("name", &self.name).finish_non_exhaustive()
    }
}
