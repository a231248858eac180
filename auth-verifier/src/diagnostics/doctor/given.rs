//! A pasted credential: is it as the settings say, and is it accepted?
//!
//! Of it only claims are shown, never what would let anybody in.

use serde::Deserialize;

use super::{
    Doctor, Finding, Report, cookies, hint,
    keys::Known,
    near::{From, Party},
    neon, sessions,
};
use crate::{
    credential::{
        cookies::decoded,
        jws::Jws,
        kind::{Kind, Strategy},
    },
    diagnostics::{
        neon::Pasting,
        pasted::{self, Pasted},
    },
    jwt::{
        claims::Expected,
        keys::{Algorithm, Key},
    },
    loose::Loose,
    rejection::Untrusted,
    secrets::Secrets,
    session::{cookie_cache, token::SigningKey},
    settings::{Lookup, Plan},
    verdict::{Verdict, Verifier},
};

pub(super) const NAME: &str = "credential";

/// How one is given.
pub(super) const HOW: &str = "Paste a token, or the Cookie header of somebody who is signed in: \
                              `pbpaste | auth-verifier doctor` (never as an argument, which the shell remembers).";

/// None was given.
pub(super) fn none() -> Finding {
    Finding::warning(
        "None was given, so issuer, audience and secret could not be compared with a real one.".to_owned(),
        HOW.to_owned(),
    )
}

/// Compares it with the settings, and says how it is judged.
pub(super) async fn check(
    doctor: &Doctor<'_>,
    pasted: &Pasted,
    known: &[Known],
    verifier: &Verifier,
    report: &mut Report,
) {
    let plan = doctor.plan;
    let verdict = verifier.verify(&pasted.headers).await;
    let accepted = matches!(verdict, Verdict::Known(_) | Verdict::Banned);
    let pasting = Pasting::of(pasted, plan);
    let mut findings = match (&pasting, pasted.bearer()) {
        (Some(pasting), _) => neon::given(pasting, plan, &verdict),
        (None, Some(token)) => bearer(token, plan, known, accepted),
        (None, None) => cookie(pasted, plan),
    };
    findings.extend(two_people(pasted));
    let explained = findings.iter().any(|finding| matches!(finding, Finding::Bad { .. }));
    report.add(NAME, findings);
    if !explained
        && pasting.is_none()
        && let Some(finding) = sessions::judged(doctor, &session_value(pasted, plan), &verdict).await
    {
        return report.add(NAME, [finding]);
    }
    let verdict = match verdict {
        Verdict::Known(caller) => Finding::Good(format!("It is accepted: the user is {}.", caller.user)),
        // The findings say it better.
        Verdict::Rejected(_) | Verdict::Unavailable(_) if explained => return,
        Verdict::Banned => Finding::Good("It is good, but the account is banned.".to_owned()),
        Verdict::Rejected(rejection) => Finding::bad(
            format!("It is not accepted: {rejection}."),
            "If that is not meant, sign in again and paste a fresh one.".to_owned(),
        ),
        Verdict::Unavailable(unavailable) => Finding::bad(
            format!("Whether it is good can't be known: {unavailable}."),
            "The checks above say why.".to_owned(),
        ),
    };
    report.add(NAME, [verdict]);
}

/// Warns of a token whose owner has another id by cookie.
fn two_people(pasted: &Pasted) -> Option<Finding> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Claims {
        sub: Loose,
        id: Loose,
    }
    let claims: Claims = Jws::parse(pasted.bearer()?).ok()?.claims().ok()?;
    let (sub, id) = (claims.sub.text()?, claims.id.text()?);
    (sub != id).then(|| {
        let (sub, id) = (Untrusted::new(sub), Untrusted::new(id));
        Finding::warning(
            format!("Its user is {sub} by its `sub`, and {id} by its `id`, as by their session: one person, two users."),
            "Take jwt.getSubject out of Better Auth's options, or accept one kind of credential alone.".to_owned(),
        )
    })
}

/// What may be a session's token with its signature.
fn session_value(pasted: &Pasted, plan: &Plan) -> String {
    match pasted.bearer() {
        Some(token) => decoded(token).into_owned(),
        None => pasted::session_cookie(&pasted.cookies(), plan)
            .map_or_else(String::new, |session| decoded(&session.value).into_owned()),
    }
}

fn bearer(token: &str, plan: &Plan, known: &[Known], accepted: bool) -> Vec<Finding> {
    let kind = Kind::of(token, &plan.settings.oauth.opaque_prefix);
    if let Some(hint) = hint(&kind, plan).filter(|_| !accepted) {
        return vec![Finding::bad(format!("It is {kind}, and such are not accepted."), hint)];
    }
    let mut findings = vec![Finding::Good(format!("It is {kind}."))];
    match kind {
        Kind::Signed => findings.extend(signature(token, plan)),
        Kind::ApiToken | Kind::AccessToken => {
            if let Ok(jws) = Jws::parse(token) {
                findings.extend(published(&jws, &kind, plan, known));
            }
        }
        Kind::Hs256 => {
            if let Ok(jws) = Jws::parse(token) {
                findings.extend(shared(&jws, plan));
            }
        }
        _ => {}
    }
    findings
}

/// Whether a session token is signed with our secret.
fn signature(value: &str, plan: &Plan) -> Option<Finding> {
    let secrets = plan.secrets.as_ref()?;
    let value = &*decoded(value);
    if SigningKey::new(secrets.current()).verify(value).is_some() {
        return Some(Finding::Good("It is signed with our BETTER_AUTH_SECRET.".to_owned()));
    }
    let old = secrets.all().skip(1).any(|secret| SigningKey::new(secret).verify(value).is_some());
    Some(other_secret(secrets, old, plan))
}

/// It is signed with another secret than the current one: an `old` one, or none of ours.
fn other_secret(secrets: &Secrets, old: bool, plan: &Plan) -> Finding {
    let several = secrets.all().count() > 1;
    let name = if several { "BETTER_AUTH_SECRETS" } else { "BETTER_AUTH_SECRET" };
    if old && plan.settings.better_auth.old_secrets_until.is_none() {
        return Finding::bad(
            "It is signed with an older secret than the current one of BETTER_AUTH_SECRETS.".to_owned(),
            "Sign in again; AUTH_VERIFIER_BETTER_AUTH__OLD_SECRETS_UNTIL accepts it for a while.".to_owned(),
        );
    }
    if old {
        return Finding::warning(
            "It is signed with an older secret than the current one of BETTER_AUTH_SECRETS.".to_owned(),
            "It is good until AUTH_VERIFIER_BETTER_AUTH__OLD_SECRETS_UNTIL.".to_owned(),
        );
    }
    Finding::bad(
        format!("It is not signed with our {name}."),
        format!(
            "Set {name} to what Better Auth has, to the letter: no quotes, no line break, nothing decoded."
        ),
    )
}

/// The parties that a token names.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Claims {
    iss: Loose,
    aud: Loose,
}

/// A token that a published key signed.
fn published(jws: &Jws<'_>, kind: &Kind, plan: &Plan, known: &[Known]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let kid = jws.kid().unwrap_or_default();
    let own = known.iter().find_map(|known| {
        let (_, algorithm) = known.keys.iter().find(|(known, _)| known == kid)?;
        Some((known, *algorithm))
    });
    match own {
        // Where no keys could be read, that was said.
        None if known.iter().all(|known| known.keys.is_empty()) => {}
        None => {
            let places: Vec<_> = known.iter().map(|known| &*known.place).collect();
            return vec![Finding::bad(
                format!("Its key, {}, is none of those at {}.", Untrusted::new(kid), places.join(" or ")),
                "It is of another Better Auth, or of a key that is gone: sign in again where the settings point, or set \
                 AUTH_VERIFIER_JWKS_URL to where it comes from."
                    .to_owned(),
            )];
        }
        Some((_, algorithm)) if Some(algorithm) != Algorithm::named(jws.alg()) => {
            let (found, key) = (Untrusted::new(jws.alg()), algorithm.name());
            return vec![Finding::bad(
                format!("It is signed with {found}, but its key is for {key}."),
                "Set AUTH_VERIFIER_JWKS__RSA_ALGORITHM to what Better Auth signs with, if the key doesn't say it; \
                 otherwise nobody should accept it."
                    .to_owned(),
            )];
        }
        Some((known, _)) => {
            findings.push(Finding::Good(format!("Its key is one of those at {}.", known.place)));
        }
    }
    let trusted = own.and_then(|(known, _)| known.trusted);
    let oauth = *kind == Kind::AccessToken;
    let settings = &plan.settings;
    let listed = |issuers: &[String], audiences: &[String]| [From::of(issuers), From::of(audiences)];
    let (expected, from) = match trusted {
        Some(at) => (&plan.trusted[at].expected, [From::List; 2]),
        None if oauth => {
            (&plan.access_tokens.expected, listed(&settings.oauth.issuers, &settings.oauth.audiences))
        }
        None => (&plan.expected, listed(&settings.issuers, &settings.audiences)),
    };
    let variable = |key: &str| match trusted {
        Some(at) => format!("trusted[{at}].{}", key.to_lowercase()),
        None if oauth => format!("AUTH_VERIFIER_OAUTH__{key}"),
        None => format!("AUTH_VERIFIER_{key}"),
    };
    let claims: Claims = jws.claims().unwrap_or_default();
    let [issuer, audience] = parties(expected, from, variable);
    findings.push(issuer.judge(&claims.iss));
    findings.push(audience.judge(&claims.aud));
    findings
}

/// The issuer and the audience that are expected of a token; `variable` names a setting by its key.
fn parties(expected: &Expected, from: [From; 2], variable: impl Fn(&str) -> String) -> [Party<'_>; 2] {
    let Expected { issuers, audiences } = expected;
    [
        Party { what: "issuer", expected: issuers, variable: variable("ISSUERS"), from: from[0] },
        Party { what: "audience", expected: audiences, variable: variable("AUDIENCES"), from: from[1] },
    ]
}

/// A token that the shared secret should have signed.
fn shared(jws: &Jws<'_>, plan: &Plan) -> Vec<Finding> {
    let Some(secrets) = &plan.secrets else { return Vec::new() };
    let by = |secret: &str| Key::hs256(secret).verify(jws).is_ok();
    if !by(secrets.current()) {
        return vec![other_secret(secrets, secrets.all().skip(1).any(by), plan)];
    }
    let claims: Claims = jws.claims().unwrap_or_default();
    let must = plan.settings.hs256.require_issuer_and_audience;
    let from = [From::of(&plan.settings.issuers), From::of(&plan.settings.audiences)];
    let mut findings = vec![Finding::Good("It is signed with our BETTER_AUTH_SECRET.".to_owned())];
    let parties = parties(&plan.expected, from, |key| format!("AUTH_VERIFIER_{key}"));
    for (party, claim) in parties.iter().zip([&claims.iss, &claims.aud]) {
        if must || claim.names().is_some() {
            findings.push(party.judge(claim));
        }
    }
    findings
}

fn cookie(pasted: &Pasted, plan: &Plan) -> Vec<Finding> {
    let cookies = pasted.cookies();
    let Some(session) = pasted::session_cookie(&cookies, plan) else {
        let cache = pasted::cache_cookie(&cookies, plan).is_some();
        let what = if cache {
            "There is a cookie cache, but no session cookie beside it."
        } else {
            "There are cookies, but none that looks like the session's."
        };
        let expected: Vec<_> = plan.cookies.names.iter().map(|names| &*names.token).collect();
        let set = format!("Paste the whole Cookie header; the session's is {}.", expected.join(" or "));
        return vec![Finding::bad(what.to_owned(), set)];
    };
    let mut findings = vec![cookies::judge(session.name, plan)];
    match signature(&session.value, plan) {
        good @ Some(Finding::Good(_)) => findings.extend(good),
        other if Kind::of(&session.value, "") == Kind::Signed => findings.extend(other),
        _ => findings.push(Finding::bad(
            "The session cookie is not a token with its signature.".to_owned(),
            "Paste the whole of it, as the browser has it.".to_owned(),
        )),
    }
    if plan.lookup == Lookup::Off {
        let set = "Set BETTER_AUTH_SECRET and AUTH_VERIFIER_SESSION__LOOKUP to have sessions looked up.";
        findings.push(Finding::bad("Session cookies are not accepted.".to_owned(), set.to_owned()));
    }
    findings.extend(cache(pasted, plan));
    findings
}

/// The cookie cache beside a session cookie.
fn cache(pasted: &Pasted, plan: &Plan) -> Option<Finding> {
    let cache = pasted::cache_cookie(&pasted.cookies(), plan)?;
    let Kind::Cache(form) = Kind::of(&cache.value, "") else {
        let what = "The cookie cache beside it is none.".to_owned();
        return Some(Finding::warning(what, "The session is looked up instead.".to_owned()));
    };
    let name = form.name();
    match plan.settings.cookie_cache.strategy {
        Some(set) if set == form && other_version(&cache.value, form, plan).is_some() => {
            let (found, expected) =
                (other_version(&cache.value, form, plan)?, &plan.settings.cookie_cache.version);
            Some(Finding::warning(
                format!(
                    "The cookie cache beside it has the version {found}, not {expected}, and spares no look-up."
                ),
                "Set AUTH_VERIFIER_COOKIE_CACHE__VERSION to what session.cookieCache.version says."
                    .to_owned(),
            ))
        }
        Some(set) if set == form => Some(Finding::Good(format!(
            "There is a cookie cache beside it, of the form {name}, as expected."
        ))),
        // It costs look-ups, and refuses no request.
        Some(set) => Some(Finding::warning(
            format!(
                "The cookie cache beside it has the form {name}, not {}, and spares no look-up.",
                set.name()
            ),
            format!("Set AUTH_VERIFIER_COOKIE_CACHE__STRATEGY={name}."),
        )),
        None => Some(Finding::Good(format!(
            "There is a cookie cache beside it, which is not looked at; AUTH_VERIFIER_COOKIE_CACHE__STRATEGY={name} would \
             spare look-ups."
        ))),
    }
}

/// The version of a cookie cache, where it is another one than is expected.
fn other_version(value: &str, form: Strategy, plan: &Plan) -> Option<Untrusted> {
    let version = cookie_cache::version(value, form, plan.secrets.as_ref()?)?;
    (version != plan.settings.cookie_cache.version).then(|| Untrusted::new(&version))
}
