//! Checks the settings of all services at once, before anything is fetched, bound or started.

use std::{fmt::Write, process::ExitCode};

use chassis::{
    process::shown_log,
    settings::{self, Environment, Faults, PORT, SettingsError},
};

use crate::{
    database, folder,
    plan::{self, Listen, Plan, Which},
    ports,
    say::{self, say},
};

/// What `USHER_DATA_DIR` was called before. If it were ignored, somebody's tasks would seem lost.
const FORMER_DATA_DIR: &str = "LOCAL_DATA_DIR";

/// What stands for our own database while none is started.
const OWN_DATABASE: &str = "postgresql://tasks@localhost/tasks";
/// What stands for our own secret while none is made.
const OWN_SECRET: &str = "the-launcher-makes-one-of-64-digits-when-it-starts";

/// What is found out about the settings of all services.
pub(crate) struct Checked {
    /// Which services there will be, and what each is told.
    pub(crate) plan: Plan,
    /// What works and is hardly meant.
    pub(crate) remarks: Vec<String>,
    /// Every setting in force, secrets hidden; or all that is wrong, each once.
    pub(crate) outcome: Result<String, SettingsError>,
}

/// Checks them.
pub(crate) fn all(environment: &Environment, which: Which) -> Checked {
    let mut faults = Faults::default();
    faults.hear(environment.check(plan::is_ours));
    if environment.get(FORMER_DATA_DIR).is_some() {
        faults.add(FORMER_DATA_DIR, "is now USHER_DATA_DIR");
    }
    let mut plan = Plan::of(environment, &mut faults);
    if which == Which::ServicesAndDemo {
        plan = plan.with_demo(environment, &mut faults);
    }
    let gateway = plan.gateway.environment(environment);
    let mut auth_verifier = plan.auth_verifier.environment(environment);
    if plan.secret.is_none() {
        auth_verifier = auth_verifier.with(plan.secret_variable, OWN_SECRET, "usher");
    }
    let mut task_service = plan.task_service.environment(environment);
    if plan.database.is_none() {
        task_service = task_service.with(database::VARIABLE, OWN_DATABASE, "usher");
    }
    if plan.database.is_none() {
        faults.hear(database::refuse_in_production(environment));
    }
    for Listen { place, at, .. } in plan.addresses() {
        let port = at.port();
        if let Some(least) = ports::least_instead_of(port) {
            let reason = format!(
                "port {port} is for root alone, and the services don't run as root: take one from {least} on"
            );
            faults.add(place, reason);
        }
    }
    let data = folder::path(environment);
    let source =
        environment.get("USHER_DATA_DIR").map_or("default", |_| environment.source("USHER_DATA_DIR"));
    let mut shown = format!("USHER_DATA_DIR={}  # {source}\n{}", data.display(), shown_log(environment));
    let mut remarks: Vec<String> = Vec::new();
    let gateways = &plan.gateway.traffic;
    if gateways.place == PORT && gateways.at.ip().is_unspecified() {
        remarks.push("the gateway listens on all addresses, because PORT is set".into());
    }
    for (name, checked) in [
        (plan::GATEWAY, settings::check::<gateway::settings::Settings>(&gateway)),
        (plan::AUTH_VERIFIER, settings::check::<auth_verifier::settings::Settings>(&auth_verifier)),
        (plan::TASK_SERVICE, settings::check::<task_service::settings::Settings>(&task_service)),
    ] {
        let is_new = |remark: &String| {
            // A name that all services would read is remarked on once.
            let about = |remark: &str| remark.split_once(" is not read by ").map(|(name, _)| name.to_owned());
            about(remark).is_none() || !remarks.iter().any(|known| about(known) == about(remark))
        };
        let new: Vec<String> = checked.remarks.into_iter().filter(is_new).collect();
        remarks.extend(new);
        if let Some(text) = faults.hear(checked.outcome) {
            let _ = write!(shown, "\n# {name}\n{text}");
        }
    }
    Checked { plan, remarks, outcome: faults.result().map(|()| shown) }
}

/// `usher --check`.
pub(crate) fn run(show: bool) -> ExitCode {
    let (remarks, outcome) = match Environment::of_process() {
        Ok(environment) => {
            let Checked { remarks, outcome, .. } = all(&environment, Which::Services);
            (remarks, outcome)
        }
        Err(error) => (Vec::new(), Err(error)),
    };
    if let (Ok(shown), true) = (&outcome, show) {
        say::tell(&format!("{shown}\n"));
    }
    for remark in remarks {
        say("settings", remark);
    }
    let code = match outcome {
        Ok(_) => {
            say("settings", "good");
            ExitCode::SUCCESS
        }
        Err(error) => {
            say::finish();
            say::complain(error);
            ExitCode::FAILURE
        }
    };
    say::finish();
    code
}
