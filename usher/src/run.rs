//! A whole life: start in order, serve, stop in the reverse order.

use std::{
    env,
    future::pending,
    path::Path,
    process::{self, ExitCode},
    time::Duration,
};

use chassis::{
    process::signals::{INTERRUPTED, Signals},
    settings::Environment,
};
use futures_util::future::join_all;
use tokio::{join, select, time::Instant};

use crate::{
    check::{self, Checked},
    database::{self, OwnDatabase},
    error::StartError,
    folder::{self, Folder},
    greet::{self, Access, DEMO_USER},
    plan::Plan,
    ports, rights,
    say::{self, say},
    secret::{self, Made},
    supervise::{READY_WAIT, Service},
};

/// How long the printed token is good.
const DEMO_TOKEN_LIFE: Duration = Duration::from_hours(24);

/// Runs everything until a signal ends it.
pub(crate) fn run() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let lived = runtime.map_err(StartError::system("start the runtime")).and_then(|runtime| {
        let lived = runtime.block_on(live());
        // A start of PostgreSQL that nobody waits for any more is no reason to wait.
        runtime.shutdown_background();
        lived
    });
    say::finish();
    match lived {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say::complain(error);
            ExitCode::FAILURE
        }
    }
}

async fn live() -> Result<(), StartError> {
    let mut signals = Signals::listen().map_err(StartError::system("listen for signals"))?;
    let mut stack = Stack::default();
    let started = select! {
        started = stack.start() => Some(started),
        _ = signals.next() => None,
    };
    if let Some(Ok(())) = started {
        select! {
            () = stack.keep() => {}
            _ = signals.next() => {}
        }
    }
    let lived = started.unwrap_or(Ok(()));
    if lived.is_ok() {
        say("stopping", "what is in flight is finished first; Ctrl-C again ends it at once");
    }
    select! {
        () = stack.stop() => lived,
        () = signals.at_once() => {
            say("stopping", "at once");
            stack.kill();
            say::finish();
            // Nothing is waited for any more. Our PostgreSQL sees to its own, safe end when we are gone.
            process::exit(INTERRUPTED.into())
        }
    }
}

/// What runs, in the order in which it was started.
#[derive(Default)]
struct Stack {
    folder: Option<Folder>,
    database: Option<OwnDatabase>,
    services: Vec<Service>,
}

impl Stack {
    async fn start(&mut self) -> Result<(), StartError> {
        let environment = Environment::of_process()?;
        let Checked { plan, remarks, outcome } = check::all(&environment);
        let dotenv =
            if Path::new(".env").exists() { "the environment, then .env" } else { "the environment" };
        say("settings", format_args!("from {dotenv}"));
        for remark in remarks {
            say("settings", remark);
        }
        outcome?;
        let program = env::current_exe().map_err(StartError::system("find this program"))?;

        let folder = self.folder.insert(Folder::lock(&folder::path(&environment))?);
        say("data", format_args!("in {}", folder.files.path().display()));

        let addresses = plan.addresses();
        ports::check(&addresses)?;
        let ports: Vec<_> = addresses.iter().map(|one| one.at.port().to_string()).collect();
        say("ports", format_args!("{} are free", ports.join(", ")));

        let mut own_url = None;
        match &plan.database {
            Some(place) => say("database", format_args!("using {place}")),
            None => {
                let database = self.database.insert(OwnDatabase::start(&folder.path).await?);
                own_url = Some((database::VARIABLE, database.url().clone()));
            }
        }

        let mut made = None;
        match &plan.secret {
            Some(place) => say("secret", format_args!("using {place}")),
            None => {
                let made = made.insert(secret::find_or_make(&folder.files)?);
                say("secret", format_args!("our own, in {}", made.file.display()));
            }
        }
        let own_secret = made.as_ref().map(|made| (secret::VARIABLE, made.value.clone()));

        if let Some(told) = rights::told() {
            say("rights", told);
        }
        let deadline = Instant::now() + READY_WAIT;
        for (plan, further) in plan.services().into_iter().zip([own_secret, own_url, None]) {
            // Kept before it is waited for, so that it is stopped whatever comes.
            self.services.push(Service::start(&program, plan, &environment, further)?);
            if let Some(service) = self.services.last_mut() {
                service.await_ready(deadline).await?;
            }
        }
        greet(&plan, made.as_ref(), &program);
        Ok(())
    }

    /// Starts again whatever ends; never returns.
    async fn keep(&mut self) {
        let database = async {
            match &mut self.database {
                Some(database) => database.keep().await,
                None => pending().await,
            }
        };
        join!(database, join_all(self.services.iter_mut().map(Service::keep)));
    }

    /// Stops everything, the last started first: each may use those before it to finish.
    async fn stop(&mut self) {
        for service in self.services.iter_mut().rev() {
            service.stop().await;
        }
        if let Some(database) = &mut self.database {
            database.stop().await;
        }
    }

    fn kill(&mut self) {
        self.services.iter_mut().for_each(Service::kill);
    }
}

fn greet(plan: &Plan, made: Option<&Made>, program: &Path) {
    let token;
    let access = match made {
        Some(Made { file, value }) => {
            token = auth_verifier::diagnostics::dev_token::mint(value.expose(), DEMO_USER, DEMO_TOKEN_LIFE);
            Access::Token { token: &token, secret: file }
        }
        None => Access::Command { place: plan.secret.as_deref().unwrap_or(secret::VARIABLE) },
    };
    say::tell(&(greet::greeting(plan, &access, program) + "\n"));
}
