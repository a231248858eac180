//! What is wrong with the settings, and what to set? Found out from the live Better Auth, its database, and a
//! credential, where one is pasted.
//!
//! It changes nothing there: it makes no account, ends and prolongs no session, and sends no session anywhere but to
//! Better Auth itself, where it is from.

mod ask;
mod better_auth;
mod clock;
mod cookies;
mod given;
mod hint;
mod keys;
mod near;
mod neon;
mod sessions;
mod tables;

use std::{fmt, time::Duration};

use chassis::outbound::client::Client;

pub(crate) use self::hint::hint;
use self::keys::Known;
use crate::{
    better_auth::key_source::KeySource,
    diagnostics::pasted::Pasted,
    settings::{Lookup, Plan},
};

/// How long a connection may take to stand, and an answer to come: longer than the service itself waits, so that what
/// is slow is not taken for missing.
const CONNECT: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(10);

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// As it should be: a sentence.
    Good(String),
    /// It may be wrong, or could not be found out.
    Warning {
        /// What it is, a sentence.
        what: String,
        /// What to do about it, a sentence.
        advice: String,
    },
    /// Requests will be refused.
    Bad {
        /// What is wrong, a sentence.
        what: String,
        /// What to do about it, a sentence.
        advice: String,
    },
}

impl Finding {
    fn warning(what: String, advice: String) -> Self {
        Self::Warning { what, advice }
    }

    fn bad(what: String, advice: String) -> Self {
        Self::Bad { what, advice }
    }
}

/// What all checks found, in the order of the checks.
#[derive(Debug, Default)]
pub(crate) struct Report(Vec<(&'static str, Finding)>);

impl Report {
    fn add(&mut self, check: &'static str, findings: impl IntoIterator<Item = Finding>) {
        self.0.extend(findings.into_iter().map(|finding| (check, finding)));
    }

    /// How many things are wrong.
    pub(crate) fn bad(&self) -> usize {
        self.0.iter().filter(|(_, finding)| matches!(finding, Finding::Bad { .. })).count()
    }
}

impl fmt::Display for Report {
    /// One line per finding.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (check, finding) in &self.0 {
            match finding {
                Finding::Good(what) => writeln!(f, "ok  {check:<11}  {what}")?,
                Finding::Warning { what, advice } => writeln!(f, "??  {check:<11}  {what} {advice}")?,
                Finding::Bad { what, advice } => writeln!(f, "!!  {check:<11}  {what} {advice}")?,
            }
        }
        Ok(())
    }
}

/// What was given on standard input. It may be a credential, so there is no `Debug`.
pub(crate) enum Given {
    /// A token, or a header or cookie with one.
    Text(String),
    /// Nothing: it is a terminal.
    Terminal,
    /// It could not be read, or didn't end in time.
    Unread(String),
}

/// What the checks have in common.
struct Doctor<'a> {
    plan: &'a Plan,
    /// For Better Auth.
    client: Client,
}

impl Doctor<'_> {
    /// Whether anything of what is set needs Better Auth itself to answer.
    fn needs_better_auth(&self) -> bool {
        matches!(self.plan.own.as_ref().map(|own| &own.source), Some(KeySource::Endpoint { .. }))
            || self.plan.lookup == Lookup::Http
    }
}

/// Makes all checks. `given` is awaited last.
pub(crate) async fn examine(plan: &Plan, given: impl Future<Output = Given>) -> Report {
    let doctor = Doctor { plan, client: plan.better_auth.client(CONNECT) };
    let mut report = Report::default();
    let reached = better_auth::check(&doctor, &mut report).await;
    let catalog = tables::check(&doctor, &mut report).await;
    sessions::check(&doctor, catalog.as_ref(), reached.is_some(), &mut report).await;
    neon::check(&doctor, &mut report).await;
    let known: Vec<Known> = keys::check(&doctor, catalog.as_ref(), reached.is_some(), &mut report).await;
    if let Some(base) = &reached {
        cookies::check(&doctor, base, &mut report).await;
    }
    match given.await {
        Given::Text(text) => match Pasted::parse(&text) {
            Some(pasted) => given::check(&doctor, &pasted, &known, &plan.verifier(), &mut report).await,
            None => report.add(given::NAME, [given::none()]),
        },
        Given::Terminal => report.add(given::NAME, [given::none()]),
        Given::Unread(why) => report.add(
            given::NAME,
            [Finding::warning(format!("Standard input was not read: {why}."), given::HOW.to_owned())],
        ),
    }
    report
}
