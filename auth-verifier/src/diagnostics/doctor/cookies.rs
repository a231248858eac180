//! Are Better Auth's cookies called as the settings say?
//!
//! Since 1.4 its answer to a sign-out names the cookies that it takes back, also where there was no session to end
//! (`api/routes/sign-out.ts`, `cookies/index.ts`, `deleteSessionCookie`). A sign-out without any cookie ends nothing.

use http::{Request, header};

use super::{Doctor, Finding, Report};
use crate::{
    rejection::Untrusted,
    session::misnamed::plain,
    settings::{Lookup, Plan},
};

const NAME: &str = "cookies";

/// Compares the names. `base` is where Better Auth's API answers.
pub(super) async fn check(doctor: &Doctor<'_>, base: &str, report: &mut Report) {
    let plan = doctor.plan;
    if plan.lookup == Lookup::Off {
        let what = "Session cookies are not accepted, so their names don't matter.";
        return report.add(NAME, [Finding::Good(what.to_owned())]);
    }
    let url = format!("{base}/sign-out");
    let request = Request::post(&url).header(header::CONTENT_TYPE, "application/json");
    let taken_back: Vec<String> = match doctor.ask(&url, request, "{}").await {
        Ok(answer) if answer.status.is_success() => taken_back(&answer.headers),
        _ => Vec::new(),
    };
    // The session's is the first, whatever it is called.
    let ending = |ending: &str| taken_back.iter().find(|name| name.ends_with(ending));
    let Some(token) = ending("session_token").or(taken_back.first()) else {
        let what = "Better Auth doesn't tell how its cookies are called (it does from 1.4 on).";
        let set = "A Cookie header on standard input shows it.";
        return report.add(NAME, [Finding::warning(what.to_owned(), set.to_owned())]);
    };
    report.add(NAME, [judge(token, plan)]);
    let data = ending("session_data").or(taken_back.get(1));
    if let Some(data) = data.filter(|_| plan.settings.cookie_cache.strategy.is_some())
        && !plan.cookies.names.iter().any(|names| names.data == *data)
    {
        let plain = plain(data).1;
        if plan.cookies.to_set(token).is_none() || !plain.ends_with(".session_data") {
            let what =
                format!("Better Auth's cookie cache is called {data}, not {}.", plan.cookies.names[0].data);
            report
                .add(NAME, [Finding::bad(what, format!("Set AUTH_VERIFIER_COOKIE_CACHE__COOKIE={plain}."))]);
        }
    }
}

/// Names of the cookies that an answer takes back.
fn taken_back(headers: &http::HeaderMap) -> Vec<String> {
    let set = headers.get_all(header::SET_COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = set.filter_map(|cookie| cookie.split(';').next()?.split_once('='));
    pairs.filter(|(_, value)| value.is_empty()).map(|(name, _)| name.trim().to_owned()).collect()
}

/// What it means that the session cookie is called so.
pub(super) fn judge(token: &str, plan: &Plan) -> Finding {
    match plan.cookies.to_set(token) {
        None => Finding::Good(format!("The session cookie is called {token}, as expected.")),
        Some(set) => {
            let expected: Vec<_> = plan.cookies.names.iter().map(|names| &*names.token).collect();
            let what = format!(
                "The session cookie is called {}, not {}.",
                Untrusted::new(token),
                expected.join(" or ")
            );
            Finding::bad(what, set)
        }
    }
}
