//! Does Better Auth itself agree with its table about a session?

use chassis::{clock::UnixSeconds, json};
use http::{Request, StatusCode, header};

use super::{Doctor, Finding, Report};
use crate::{
    better_auth::lookups::{
        answered::{self, Odd},
        compared::CURE,
        http::signed_cookie,
        pauses,
    },
    diagnostics::catalog::Catalog,
    person::Person,
    rejection::{Rejection, Unavailable},
    session::token::{SessionToken, SigningKey},
    settings::Lookup,
    verdict::Verdict,
};

const NAME: &str = "sessions";

/// Compares a living session of the table with what Better Auth says of it. `reached` says whether it answers.
pub(super) async fn check(
    doctor: &Doctor<'_>,
    catalog: Option<&Catalog>,
    reached: bool,
    report: &mut Report,
) {
    let Some(catalog) = catalog.filter(|_| doctor.plan.lookup == Lookup::Database) else { return };
    let finding = match catalog.living_session(&doctor.plan.tables).await {
        // Why the table can't be read was said there.
        Err(_) => return,
        Ok(None) => Finding::warning(
            "The table has no living session.".to_owned(),
            format!("If nobody is signed in, that is so. If somebody is, Better Auth doesn't use the table: {CURE}."),
        ),
        Ok(Some(_)) if !reached => Finding::Good(
            "The table has living sessions; whether Better Auth still knows them can't be asked.".to_owned(),
        ),
        Ok(Some(token)) => match ask(doctor, &token).await {
            Some(Ok(None)) => Finding::bad(
                "The table has a living session that Better Auth itself doesn't know: such are let in, and new ones perhaps \
                 refused."
                    .to_owned(),
                format!("Either {CURE}; or BETTER_AUTH_SECRET, or its cookie's name, is not Better Auth's."),
            ),
            Some(Ok(Some(_)) | Err(_)) => {
                Finding::Good("Better Auth knows a living session of its table.".to_owned())
            }
            None => return,
        },
    };
    report.add(NAME, [finding]);
}

/// What Better Auth itself adds to the verdict on a pasted session; `None` if it says the same.
pub(super) async fn judged(doctor: &Doctor<'_>, value: &str, verdict: &Verdict) -> Option<Finding> {
    let secrets = doctor.plan.secrets.as_ref()?;
    let token = SigningKey::new(secrets.current()).verify(value)?;
    if let Verdict::Unavailable(Unavailable::Limited(_)) = verdict {
        return Some(Finding::bad(
            "Better Auth answers 429 Too Many Requests.".to_owned(),
            format!("{}.", pauses::CURE),
        ));
    }
    let gone = matches!(verdict, Verdict::Rejected(rejection) if *rejection.reason() == Rejection::NoSession);
    let known = matches!(verdict, Verdict::Known(_));
    let unknown = matches!(verdict, Verdict::Unavailable(Unavailable::Sessions));
    let tables = doctor.plan.lookup == Lookup::Database;
    if !(gone || known || unknown) || (known && !tables) {
        return None;
    }
    match ask(doctor, &token).await? {
        Ok(Some(_)) if gone && tables => Some(Finding::bad(
            "Better Auth knows this session, and its table has none such.".to_owned(),
            format!("Either {CURE}; or AUTH_VERIFIER_DATABASE__URL is another Better Auth's."),
        )),
        Ok(None) if known => Some(Finding::bad(
            "The table has this session, and lets it in; Better Auth itself has forgotten it.".to_owned(),
            format!("Either {CURE}; or AUTH_VERIFIER_DATABASE__URL is another Better Auth's."),
        )),
        Err(odd @ Odd::UserId) => {
            Some(Finding::bad("The session is alive, and its user can't be named.".to_owned(), told(&odd)))
        }
        Err(odd) if !tables => {
            Some(Finding::bad("Better Auth's answer about it can't be used.".to_owned(), told(&odd)))
        }
        _ => None,
    }
}

fn told(odd: &Odd) -> String {
    let mut told = odd.to_string();
    told.get_mut(..1).map(str::make_ascii_uppercase);
    told + "."
}

/// What Better Auth says of a session; `None` where it can't be asked. The question changes nothing.
async fn ask(doctor: &Doctor<'_>, token: &SessionToken) -> Option<Result<Option<Person>, Odd>> {
    let plan = doctor.plan;
    let secrets = plan.secrets.as_ref()?;
    let url = format!("{}?disableCookieCache=true&disableRefresh=true", plan.get_session_url.as_ref()?);
    let cookie = signed_cookie(&SigningKey::new(secrets.current()), &plan.cookies.names, token);
    let request = Request::get(&url).header(header::COOKIE, cookie);
    let answer = doctor.ask(&url, request, "").await.ok()?;
    let is_json = answer.status == StatusCode::OK && json::Raw::parse(&answer.body).is_ok();
    is_json.then(|| answered::read(&answer.body, token, UnixSeconds(0)))
}
