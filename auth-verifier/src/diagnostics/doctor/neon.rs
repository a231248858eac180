//! Is Neon Auth where `NEON_AUTH_BASE_URL` says?

use chassis::outbound::client::{self, Client};
use http::StatusCode;

use super::{
    CONNECT, Doctor, Finding, Report,
    ask::{self, Answer},
};
use crate::{
    better_auth::{
        key_source::KeySource,
        lookups::{SessionsAt, budget, pauses},
    },
    diagnostics::{
        catalog::Catalog,
        neon::{Data, Pasting},
    },
    jwt::keys::{Algorithm, KeySet},
    rejection::Unavailable,
    settings::{Neon, Plan},
    verdict::Verdict,
};

const NAME: &str = "neon-auth";

/// What Neon calls the database of a new project, and so where its Auth URL mostly ends.
const USUAL_PATH: &str = "/neondb/auth";

/// From which lag on look-ups of many people's sessions are few.
const SPARING_LAG_SECS: u64 = 60;

/// What an address that does not answer mostly means.
const OLD_BRANCH: &str = "Each branch of a database has an Auth URL of its own, and one that was deleted or made anew leaves an old one \
                          behind: copy the Auth URL from Neon's console (Branch, Auth, Configuration).";

/// Asks Neon Auth what it is asked by each look-up, and for its keys.
pub(super) async fn check(doctor: &Doctor<'_>, report: &mut Report) {
    let Some(neon) = &doctor.plan.neon else { return };
    let client = client::client(CONNECT);
    if sessions(&client, doctor.plan, neon, report).await {
        keys(&client, neon, report).await;
    }
    tables(neon, report).await;
}

/// Whether its tables are as they are read, where they are.
async fn tables(neon: &Neon, report: &mut Report) {
    let Some(config) = &neon.database else { return };
    let schema = neon.tables.schema();
    let finding = match Catalog::open(config).await {
        Err(error) => Err(format!("The database of its tables can't be reached: {error}.")),
        Ok(catalog) => match catalog.ask(&neon.tables, neon.reads).await {
            Ok(()) => Ok(Finding::Good(format!("Its tables in {schema} can be read."))),
            Err((model, why)) => Err(format!("Its table {} can't be read: {why}.", neon.tables.table(model))),
        },
    };
    let cure = "AUTH_VERIFIER_DATABASE__URL must be the database of the branch whose Auth URL is set; `auth-verifier grants` prints what \
                its role must be granted.";
    report.add(NAME, [finding.unwrap_or_else(|what| Finding::bad(what, cure.to_owned()))]);
    if neon.reads.session_tokens {
        report.add(
            NAME,
            [Finding::warning(
                "Session cookies are looked up in the table, and nobody checks their signature: whoever has read the table, a backup or a \
                 branch of it, is let in as anybody in it."
                    .to_owned(),
                "Take AUTH_VERIFIER_NEON_AUTH__DANGEROUS_UNSIGNED_COOKIES away to have Neon asked instead.".to_owned(),
            )],
        );
    }
}

/// Whether it answers there.
async fn sessions(client: &Client, plan: &Plan, neon: &Neon, report: &mut Report) -> bool {
    let base = neon.base.join("");
    let answer = match ask::get(client, &neon.get_session_url).await {
        Ok(answer) => answer,
        Err(error) => {
            report.add(
                NAME,
                [Finding::bad(format!("{base} can't be reached: {error}."), OLD_BRANCH.to_owned())],
            );
            return false;
        }
    };
    if is_nobody(&answer) {
        let wait = plan.settings.session.timeout;
        report.add(NAME, [Finding::Good(format!("{base} is Neon Auth, and can be asked about sessions."))]);
        if answer.took > wait {
            report.add(
                NAME,
                [Finding::warning(
                    format!(
                        "It took {:.1} s to answer; a look-up waits {wait:?}.",
                        answer.took.as_secs_f64()
                    ),
                    "Raise AUTH_VERIFIER_SESSION__TIMEOUT_MS, unless it had only just woken up.".to_owned(),
                )],
            );
        }
        bounds(neon, report);
        return true;
    }
    if answer.status == StatusCode::TOO_MANY_REQUESTS {
        let what = format!("{base} answers 429 Too Many Requests.");
        report.add(NAME, [Finding::bad(what, format!("{}.", pauses::NEONS_CURE))]);
        return true;
    }
    let what = format!("{} {}, and not as Neon Auth does.", neon.get_session_url, answer.told());
    let path = neon.base.url().path();
    let advice = match path {
        "" | "/" => {
            let usual = format!("{}{USUAL_PATH}", neon.base.origin());
            let there = ask::get(client, &format!("{usual}/get-session")).await;
            if there.is_ok_and(|answer| is_nobody(&answer)) {
                format!("Set NEON_AUTH_BASE_URL={usual}, which does: the Auth URL has a path.")
            } else {
                "NEON_AUTH_BASE_URL has no path: Neon's Auth URL ends in /<database>/auth; copy all of it from Neon's console."
                    .to_owned()
            }
        }
        _ => OLD_BRANCH.to_owned(),
    };
    report.add(NAME, [Finding::bad(what, advice)]);
    false
}

/// What bounds look-ups there, and what the operator has to know of it.
fn bounds(neon: &Neon, report: &mut Report) {
    if !matches!(neon.lookups.sessions, SessionsAt::BetterAuth(_)) {
        return;
    }
    let lag = neon.lookups.lag.as_secs();
    let mut findings = Vec::new();
    if lag < SPARING_LAG_SECS {
        findings.push(format!(
            "Each session in use is asked about again after {lag} s. Where many people are signed in at once, Neon may limit that:              AUTH_VERIFIER_REVOCATION_LAG_SECS between {SPARING_LAG_SECS} and 300 asks less, and lets in for so long whoever has signed              out or is banned."
        ));
    }
    findings.push(format!(
        "Cookies that nobody is known by are asked about within a budget for each client, and those without an address share one: {}.",
        budget::NO_ADDRESS_CURE
    ));
    report.add(NAME, findings.into_iter().map(Finding::Good));
}

fn is_nobody(answer: &Answer) -> bool {
    answer.status == StatusCode::OK && answer.body.trim_ascii() == b"null"
}

async fn keys(client: &Client, neon: &Neon, report: &mut Report) {
    let KeySource::Endpoint { url, .. } = &neon.issuer.source else { return };
    let elsewhere = "Set NEON_AUTH_JWKS_URL to the JWKS URL of Neon's console; without keys no token (authClient.token()) is accepted.";
    let finding = match ask::get(client, url).await {
        Err(error) => Finding::bad(format!("{url} can't be reached: {error}."), elsewhere.to_owned()),
        Ok(answer) => match KeySet::read(&answer.body, None) {
            Ok((set, _)) if answer.status == StatusCode::OK => {
                match set.iter().filter(|(_, key)| key.algorithm() == Algorithm::EdDsa).count() {
                    0 => Finding::bad(
                        format!("{url} has no key for EdDSA, which Neon Auth's tokens are signed with."),
                        elsewhere.to_owned(),
                    ),
                    n => Finding::Good(format!("{url} has keys: {n} for EdDSA.")),
                }
            }
            _ => Finding::bad(format!("{url} {}, and not with keys.", answer.told()), elsewhere.to_owned()),
        },
    };
    report.add(NAME, [finding]);
}

/// What a pasted credential of Neon Auth's looks like, and how it is judged.
pub(super) fn given(pasting: &Pasting, plan: &Plan, verdict: &Verdict) -> Vec<Finding> {
    let what = format!("It is {}.", pasting.what());
    let advice = pasting.advice(plan);
    let mut findings = vec![match (pasting, advice) {
        // It costs look-ups, and refuses no request.
        (Pasting::Session { data: Some(Data::OtherSecret | Data::NoSecret), .. }, Some(advice)) => {
            Finding::warning(what, advice)
        }
        (_, Some(advice)) => Finding::bad(what, advice),
        (_, None) => Finding::Good(what),
    }];
    if let (Pasting::Session { .. }, Verdict::Unavailable(Unavailable::Limited(_))) = (pasting, verdict) {
        findings.push(Finding::bad(
            "Neon Auth answers 429 Too Many Requests.".to_owned(),
            format!("{}.", pauses::NEONS_CURE),
        ));
    }
    findings
}
