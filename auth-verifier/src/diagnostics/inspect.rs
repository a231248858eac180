//! What is this, and why is it accepted or not? Told to a person, without showing the credential.

use std::fmt::Write;

use crate::{
    credential::kind::{Kind, Strategy},
    diagnostics::{
        doctor,
        neon::Pasting,
        pasted::{self, Pasted},
    },
    rejection::{Rejection, Untrusted},
    settings::{Lookup, Plan},
    verdict::{Verdict, Verifier},
};

/// Looks at what was pasted: a token, an `Authorization` or `Cookie` header, or a cookie.
pub async fn inspect(pasted: &str, plan: &Plan, verifier: &Verifier) -> String {
    let Some(pasted) = Pasted::parse(pasted) else {
        return "There is nothing to look at: paste a token, a cookie, or the header that carries it.\n"
            .to_owned();
    };
    let (what, hint) = match (Pasting::of(&pasted, plan), pasted.bearer()) {
        (Some(pasting), _) => (pasting.what(), pasting.advice(plan)),
        (None, Some(token)) => {
            let kind = Kind::of(token, &plan.settings.oauth.opaque_prefix);
            (format!("{kind}, sent as a bearer token"), doctor::hint(&kind, plan))
        }
        (None, None) => cookies(&pasted, plan),
    };
    let mut told = format!("It is {what}.\n");
    let verdict = verifier.verify(&pasted.headers).await;
    let hint = hint.or_else(|| match &verdict {
        Verdict::Rejected(rejection) if matches!(rejection.code(), "issuer" | "audience" | "unknown_key") => {
            Some("`auth-verifier doctor`, given the same, says what to set.".to_owned())
        }
        _ => None,
    });
    let _ = match verdict {
        Verdict::Known(caller) => return told + &format!("It is accepted: the user is {}.\n", caller.user),
        Verdict::Rejected(Rejection::Missing) => {
            writeln!(told, "It is not accepted: it is no credential here.")
        }
        Verdict::Rejected(rejection) => writeln!(told, "It is not accepted: {rejection}."),
        Verdict::Banned => writeln!(told, "It is good, but the account is banned."),
        Verdict::Unavailable(unavailable) => writeln!(
            told,
            "Whether it is good can't be known now: {unavailable}; `auth-verifier doctor` says why."
        ),
    };
    if let Some(hint) = hint {
        let _ = writeln!(told, "{hint}");
    }
    told
}

/// What cookies are, and what to set where they are not called as they should be.
fn cookies(pasted: &Pasted, plan: &Plan) -> (String, Option<String>) {
    let cookies = pasted.cookies();
    let cache = pasted::cache_cookie(&cookies, plan);
    let Some(session) = pasted::session_cookie(&cookies, plan) else {
        let hint = doctor::hint(&Kind::Cache(Strategy::Compact), plan);
        return match cache {
            Some(cache) => (format!("{}, without its session cookie", Kind::of(&cache.value, "")), hint),
            None => {
                ("cookies, none of which is called as Better Auth calls its session here".to_owned(), None)
            }
        };
    };
    let beside =
        cache.map_or_else(String::new, |cache| format!(", with {} beside it", Kind::of(&cache.value, "")));
    let hint = plan.cookies.to_set(session.name).or_else(|| {
        (plan.lookup == Lookup::Off).then(|| {
            "Set BETTER_AUTH_SECRET and AUTH_VERIFIER_SESSION__LOOKUP to have sessions looked up.".to_owned()
        })
    });
    (format!("a session cookie, called {}{beside}", Untrusted::new(session.name)), hint)
}
