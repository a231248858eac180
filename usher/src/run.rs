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
    settings::{Environment, Secret},
};
use futures_util::future::join_all;
use tokio::{join, select, time::Instant};

use crate::{
    check::{self, Checked},
    database::{self, OwnDatabase},
    demo::{self, Node},
    error::StartError,
    folder::{self, Folder},
    greet::{self, Access, DEMO_USER},
    plan::{Plan, Which},
    ports, rights,
    say::{self, say},
    secret::{self, Made},
    supervise::{READY_WAIT, Service},
};

/// How long the printed token is good.
const DEMO_TOKEN_LIFE: Duration = Duration::from_hours(24);

/// Runs everything until a signal ends it.
pub(crate) fn run(which: Which) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let lived = runtime.map_err(StartError::system("start the runtime")).and_then(|runtime| {
        let lived = runtime.block_on(live(which));
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

async fn live(which: Which) -> Result<(), StartError> {
    let mut signals = Signals::listen().map_err(StartError::system("listen for signals"))?;
    let mut stack = Stack::default();
    let started = select! {
        started = stack.start(which) => Some(started),
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
    async fn start(&mut self, which: Which) -> Result<(), StartError> {
        let environment = Environment::of_process()?;
        let Checked { plan, remarks, outcome } = check::all(&environment, which);
        let dotenv =
            if Path::new(".env").exists() { "the environment, then .env" } else { "the environment" };
        say("settings", format_args!("from {dotenv}"));
        for remark in remarks {
            say("settings", remark);
        }
        outcome?;
        if plan.demo.is_some() {
            demo::check().await?;
        }
        let program = env::current_exe().map_err(StartError::system("find this program"))?;

        let folder = self.folder.insert(Folder::lock(&folder::path(&environment))?);
        say("data", format_args!("in {}", folder.files.path().display()));

        let addresses = plan.addresses();
        ports::check(&addresses)?;
        let ports: Vec<_> = addresses.iter().map(|one| one.at.port().to_string()).collect();
        say("ports", format_args!("{} are free", ports.join(", ")));

        let app = match &plan.demo {
            Some(demo) => Some((demo, demo.build(&folder.path).await?)),
            None => None,
        };

        let [mut own_url, mut demos_url] = [None, None];
        match &plan.database {
            Some(place) => say("database", format_args!("using {place}")),
            None => {
                let names: &[_] =
                    if app.is_some() { &[database::TASKS, demo::DATABASE] } else { &[database::TASKS] };
                let database = self.database.insert(OwnDatabase::start(&folder.path, names).await?);
                [own_url, demos_url] = [database::TASKS, demo::DATABASE]
                    .map(|name| Some((database::VARIABLE, database.url(name)?.clone())));
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
        let own_secret = made.as_ref().map(|made| (plan.secret_variable, made.value.clone()));

        if let Some(told) = rights::told(which) {
            say("rights", told);
        }
        let deadline = Instant::now() + READY_WAIT;
        let mut routes = None;
        if let Some((demo, app)) = app {
            let file = app.routes.display().to_string();
            routes = Some((demo::GATEWAY_CONFIG, Secret::new(file)));
            let given = |own: &Option<_>, variable| own.clone().or_else(|| given(&environment, variable));
            let shared = [given(&demos_url, database::VARIABLE), given(&own_secret, secret::VARIABLE)];
            let page = Node::of(demo, app, shared.into_iter().flatten());
            self.add(Service::of_node(demo::NAME, page, demo.listen.at)?, deadline).await?;
        }
        for (plan, further) in plan.services().into_iter().zip([own_secret, own_url, routes]) {
            self.add(Service::start(&program, plan, &environment, further)?, deadline).await?;
        }
        greet(&plan, made.as_ref(), &program);
        Ok(())
    }

    /// Waits until a service is ready. It is kept before, so that it is stopped whatever comes.
    async fn add(&mut self, service: Service, deadline: Instant) -> Result<(), StartError> {
        self.services.push(service);
        match self.services.last_mut() {
            Some(service) => service.await_ready(deadline).await,
            None => Ok(()),
        }
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

/// A variable as the operator has set it.
fn given(environment: &Environment, variable: &'static str) -> Option<(&'static str, Secret)> {
    environment.get(variable).map(|value| (variable, Secret::new(value)))
}

fn greet(plan: &Plan, made: Option<&Made>, program: &Path) {
    let token;
    let access = match made {
        _ if plan.neon_auth.is_some() => Access::Neon,
        Some(Made { file, value }) => {
            token = auth_verifier::diagnostics::dev_token::mint(value.expose(), DEMO_USER, DEMO_TOKEN_LIFE);
            Access::Token { token: &token, secret: file }
        }
        None => Access::Command { place: plan.secret.as_deref().unwrap_or(secret::VARIABLE) },
    };
    say::tell(&(greet::greeting(plan, &access, program) + "\n"));
}
