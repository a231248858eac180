//! Is Better Auth where the settings say?

use std::time::SystemTime;

use chassis::{json, settings::ServiceUrl};
use http::StatusCode;
use serde::Deserialize;
use url::Url;

use super::{Doctor, Finding, Report, ask::Answer, clock};
use crate::{
    better_auth::lookups::pauses::CURE,
    settings::{CA_FILE, Lookup, Plan},
};

const NAME: &str = "better-auth";

/// Where else Better Auth's API often is.
const PATHS: [&str; 4] = ["/api/auth", "/auth", "/api", ""];

/// Where Better Auth's API is, if it answers there.
pub(super) async fn check(doctor: &Doctor<'_>, report: &mut Report) -> Option<String> {
    let plan = doctor.plan;
    let Some(url) = plan.get_session_url.as_ref() else {
        let what = "It is not asked: BETTER_AUTH_URL is not set, and nothing that is set needs it.";
        report.add(NAME, [Finding::Good(what.to_owned())]);
        return None;
    };
    let base = url.strip_suffix("/get-session").unwrap_or(url).to_owned();
    let wrong = if doctor.needs_better_auth() { Finding::bad } else { Finding::warning };
    let answer = match doctor.get(&format!("{base}/ok")).await {
        Ok(answer) if is_ok(&answer) => answer,
        Ok(answer) => {
            let what = format!("{base}/ok {}, and not as Better Auth does.", answer.told());
            let set = match nameless(&answer, &doctor.asked_as(&base)) {
                Some(set) => set,
                None => elsewhere(doctor, &base).await,
            };
            report.add(NAME, [wrong(what, set)]);
            return None;
        }
        Err(error) => {
            let what = format!("{base} can't be reached: {error}.");
            let set = if error.distrust {
                distrusted(CA_FILE)
            } else {
                format!("Start Better Auth, or set {} to where it is as seen from here.", variable(plan))
            };
            report.add(NAME, [wrong(what, set)]);
            return None;
        }
    };
    report.add(NAME, [Finding::Good(format!("{base} is Better Auth."))]);
    if let Some(ahead_secs) = clock::ahead_secs(&answer.headers, SystemTime::now()) {
        report.add("clock", [clock::judge("Better Auth's", ahead_secs, plan.settings.leeway)]);
    }
    if plan.lookup == Lookup::Http {
        report.add(NAME, [sessions(doctor, url).await]);
    }
    Some(base)
}

/// What to do about a certificate that doesn't convince, where `variable` says who may vouch for it.
pub(super) fn distrusted(variable: &str) -> String {
    format!(
        "Set {variable} to the file with the certificate of your own authority that vouches for it; if its name is what is \
         wrong, ask it by the name that it has."
    )
}

/// What to do about an error of Better Auth's in the simplest of questions: one that knows itself by some names alone
/// (`baseURL: { allowedHosts }`, without `fallback`) throws at every other.
pub(super) fn nameless(answer: &Answer, host: &str) -> Option<String> {
    answer.status.is_server_error().then(|| {
        format!(
            "Look into its log. If its baseURL lists allowedHosts without a fallback, it answers by none but those names, and \
             it is asked as {host}: set AUTH_VERIFIER_BETTER_AUTH__HOST to one of them."
        )
    })
}

fn is_ok(answer: &Answer) -> bool {
    #[derive(Deserialize)]
    struct Told {
        ok: bool,
    }
    answer.status == StatusCode::OK && json::object(&answer.body).is_some_and(|Told { ok }| ok)
}

/// The variable that says where Better Auth's API is.
fn variable(plan: &Plan) -> &'static str {
    if plan.settings.session.url.is_some() {
        "AUTH_VERIFIER_SESSION__URL"
    } else if plan.settings.jwks_url.is_some() {
        "AUTH_VERIFIER_JWKS_URL"
    } else {
        "BETTER_AUTH_URL"
    }
}

/// What to set, where Better Auth is not at `base`: the neighbour that answers like it, if one does.
async fn elsewhere(doctor: &Doctor<'_>, base: &str) -> String {
    let variable = variable(doctor.plan);
    let Ok(Ok(url)) = Url::parse(base).map(|url| ServiceUrl::parse(url.as_str())) else {
        return format!("Set {variable}.");
    };
    let origin = url.origin();
    for path in PATHS {
        let other = format!("{origin}{path}");
        if other != base && doctor.get(&format!("{other}/ok")).await.is_ok_and(|answer| is_ok(&answer)) {
            return match (variable, path) {
                ("AUTH_VERIFIER_JWKS_URL", _) => {
                    format!("Set AUTH_VERIFIER_JWKS_URL={other}/jwks, which does.")
                }
                // Without a path it would stand for /api/auth.
                ("BETTER_AUTH_URL", "") => {
                    format!("Set AUTH_VERIFIER_JWKS_URL={other}/jwks: it does at {other}, without a path.")
                }
                _ => format!("Set {variable}={other}, which does."),
            };
        }
    }
    format!("Set {variable} to Better Auth's baseURL with its basePath, as seen from here.")
}

/// Whether sessions can be looked up there.
async fn sessions(doctor: &Doctor<'_>, url: &str) -> Finding {
    match doctor.get(url).await {
        Ok(answer) if answer.status == StatusCode::OK && answer.body.trim_ascii() == b"null" => {
            let wait = doctor.plan.settings.session.timeout;
            if answer.took <= wait {
                return Finding::Good(format!("{url} can be asked about sessions."));
            }
            Finding::warning(
                format!("{url} took {:.1} s to answer; a look-up waits {wait:?}.", answer.took.as_secs_f64()),
                "Raise AUTH_VERIFIER_SESSION__TIMEOUT_MS, unless it had only just started.".to_owned(),
            )
        }
        Ok(answer) if answer.status == StatusCode::TOO_MANY_REQUESTS => {
            Finding::bad(format!("{url} answers 429 Too Many Requests."), format!("{CURE}."))
        }
        Ok(answer) if answer.status == StatusCode::OK && !answer.is_html() => Finding::bad(
            format!("{url} answers a caller without a session otherwise than by null, as Better Auth does."),
            "If that is a route of the frontend's own, or of a plugin that changes the answer, no session can be looked up there: \
             set AUTH_VERIFIER_DATABASE__URL to Better Auth's database, to look them up there, or AUTH_VERIFIER_SESSION__URL to \
             Better Auth's own API."
                .to_owned(),
        ),
        Ok(answer) => Finding::bad(
            format!("{url} {} to a caller without a session, and not null.", answer.told()),
            "Set AUTH_VERIFIER_SESSION__URL to Better Auth's own API, with nothing in between that answers for it."
                .to_owned(),
        ),
        Err(error) => Finding::bad(
            format!("{url} can't be asked about sessions: {error}."),
            if error.distrust {
                distrusted(CA_FILE)
            } else {
                "Set AUTH_VERIFIER_SESSION__URL to Better Auth's API, as seen from here.".to_owned()
            },
        ),
    }
}
