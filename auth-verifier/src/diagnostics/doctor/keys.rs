//! Are the keys there, and can they be used?

use std::path::Path;

use bytes::Bytes;
use chassis::{
    outbound::client::{self, Client},
    settings::ServiceUrl,
};
use http::StatusCode;

use super::{
    CONNECT, Doctor, Finding, Report,
    ask::get,
    better_auth::{distrusted, nameless},
};
use crate::{
    better_auth::key_source::{self, KeySource},
    credential::kind::Strategy,
    diagnostics::catalog::Catalog,
    jwt::keys::{Algorithm, KeySet, LeftOut, NO_ALGORITHM},
    settings::{CA_FILE, JwksSource, Lookup, Plan},
};

const NAME: &str = "keys";

/// Where else keys often are.
const PATHS: [&str; 5] = ["/api/auth/jwks", "/jwks", "/auth/jwks", "/api/jwks", "/.well-known/jwks.json"];

/// An issuer's keys, as they were found.
pub(super) struct Known {
    /// Where they were read.
    pub(super) place: String,
    /// Which of the `[[trusted]]` it is; `None` for our own Better Auth.
    pub(super) trusted: Option<usize>,
    /// The key ids, and what each key is for.
    pub(super) keys: Vec<(String, Algorithm)>,
}

/// Where a set is, and what says so.
struct KeysAt {
    name: String,
    trusted: Option<usize>,
    /// What to set to put the keys elsewhere.
    variable: String,
}

/// Looks at all sets of keys. `reached` says whether Better Auth itself answers.
pub(super) async fn check(
    doctor: &Doctor<'_>,
    catalog: Option<&Catalog>,
    reached: bool,
    report: &mut Report,
) -> Vec<Known> {
    let plan = doctor.plan;
    let mut known = Vec::new();
    let own = plan.own.as_ref().map(|own| (None, own));
    if own.is_none() {
        report.add(NAME, [without(plan)]);
    }
    let trusted = plan.trusted.iter().enumerate().map(|(at, issuer)| (Some(at), issuer));
    for (trusted, issuer) in own.into_iter().chain(trusted) {
        let place = |name: String, own: &str, of_trusted: &str| KeysAt {
            name,
            trusted,
            variable: match trusted {
                None => own.to_owned(),
                Some(at) => format!("trusted[{at}].{of_trusted} in the file of AUTH_VERIFIER_CONFIG"),
            },
        };
        match &issuer.source {
            KeySource::Endpoint { url, trust, .. } => {
                let place = place(url.clone(), "AUTH_VERIFIER_JWKS_URL", "jwks_url");
                let client = client::trusting(trust, CONNECT);
                known.extend(
                    endpoint(doctor, &client, url, place, reached && trusted.is_none(), report).await,
                );
            }
            KeySource::File(path) => {
                let place = place(path.display().to_string(), "AUTH_VERIFIER_JWKS__FILE", "jwks_file");
                known.extend(file(plan, path, place, report).await);
            }
            KeySource::Table => {
                let name = "Better Auth's table of keys".to_owned();
                let place = place(name, "AUTH_VERIFIER_JWKS__SOURCE=endpoint", "jwks_url");
                // Why the database can't be asked was said there.
                let Some(catalog) = catalog else { continue };
                match catalog.keys(&plan.tables).await {
                    Ok(bytes) => known.push(set(plan, &bytes, place, report)),
                    Err(error) => report.add(
                        NAME,
                        [Finding::bad(
                            format!("The table of keys can't be read: {error}."),
                            "Set AUTH_VERIFIER_TABLES__JWKS to what it is called, or AUTH_VERIFIER_JWKS__SOURCE=endpoint."
                                .to_owned(),
                        )],
                    ),
                }
            }
        }
    }
    known
}

fn without(plan: &Plan) -> Finding {
    if plan.neon.is_some() {
        return Finding::Good("There are Neon Auth's alone.".to_owned());
    }
    if plan.settings.jwks.enabled {
        return Finding::warning(
            "It is not set where Better Auth's public keys are, so tokens of its JWT plugin are not accepted.".to_owned(),
            "Set BETTER_AUTH_URL, or AUTH_VERIFIER_JWKS__ENABLED=false if that is meant.".to_owned(),
        );
    }
    Finding::Good("Public keys are not used (AUTH_VERIFIER_JWKS__ENABLED=false).".to_owned())
}

async fn file(plan: &Plan, path: &Path, place: KeysAt, report: &mut Report) -> Option<Known> {
    match key_source::read(path.to_owned()).await {
        Ok(bytes) => Some(set(plan, &bytes, place, report)),
        Err(error) => {
            let what = format!("The keys in {} can't be read: {error}.", place.name);
            report
                .add(NAME, [Finding::bad(what, format!("Set {} to a file with a JWK set.", place.variable))]);
            None
        }
    }
}

/// `client` is for issuers other than Better Auth itself.
async fn endpoint(
    doctor: &Doctor<'_>,
    client: &Client,
    url: &str,
    place: KeysAt,
    reached: bool,
    report: &mut Report,
) -> Option<Known> {
    let plan = doctor.plan;
    let asked = match place.trusted {
        None => doctor.get(url).await,
        Some(_) => get(client, url).await,
    };
    let answer = match asked {
        Ok(answer) => answer,
        Err(error) => {
            let what = format!("{url} can't be reached: {error}.");
            let set = if error.distrust {
                distrusted(&place.trusted.map_or(CA_FILE.to_owned(), |at| format!("trusted[{at}].ca_file")))
            } else {
                format!("Set {} to where the keys are, as seen from here.", place.variable)
            };
            report.add(NAME, [Finding::bad(what, set)]);
            return None;
        }
    };
    if answer.status == StatusCode::OK && KeySet::read(&answer.body, None).is_ok() {
        let wait = plan.settings.jwks.timeout;
        if answer.took > wait {
            report.add(
                NAME,
                [Finding::warning(
                    format!(
                        "{url} took {:.1} s to answer; a fetch waits {wait:?}.",
                        answer.took.as_secs_f64()
                    ),
                    "Raise AUTH_VERIFIER_JWKS__TIMEOUT_MS, unless it had only just started.".to_owned(),
                )],
            );
        }
        return Some(set(plan, &answer.body, place, report));
    }
    let what = match KeySet::read(&answer.body, None) {
        Err(error) if answer.status == StatusCode::OK && !answer.is_html() => format!("{url} {error}."),
        _ => format!("{url} {}, and not with keys.", answer.told()),
    };
    let set = match elsewhere(doctor, url).await {
        Some(other) => format!("Set {}={other}, which answers with keys.", place.variable),
        None if answer.status.is_server_error() && (reached || place.trusted.is_some()) => {
            "Look into Better Auth's log: a change of BETTER_AUTH_SECRET does this, as the keys are encrypted with it."
                .to_owned()
        }
        None if answer.status.is_server_error() => nameless(&answer, &doctor.asked_as(url)).unwrap_or_default(),
        None if reached && unneeded(plan, answer.status) => {
            let set = "Whoever sends API tokens needs its JWT plugin (plugins: [jwt()]), and AUTH_VERIFIER_JWKS_URL where it has a \
                       jwksPath or remoteUrl; where nobody does, set AUTH_VERIFIER_JWKS__ENABLED=false, and they are no longer \
                       asked for.";
            report.add(NAME, [Finding::warning(what, set.to_owned())]);
            return None;
        }
        None if reached => format!(
            "Better Auth is there, but without keys: add its JWT plugin (plugins: [jwt()]); with jwksPath or remoteUrl, \
             set {} to that; without API tokens, set AUTH_VERIFIER_JWKS__ENABLED=false.",
            place.variable
        ),
        None => format!("Set {} to where the keys are.", place.variable),
    };
    report.add(NAME, [Finding::bad(what, set)]);
    None
}

/// Whether a Better Auth without keys may be meant so: sessions are looked up, and nothing that is set needs a key.
fn unneeded(plan: &Plan, status: StatusCode) -> bool {
    let needed = plan.settings.oauth.access_tokens.jwt()
        || plan.settings.cookie_cache.strategy == Some(Strategy::JwtJwks)
        || plan.settings.jwks.source == JwksSource::Endpoint;
    status == StatusCode::NOT_FOUND && plan.lookup != Lookup::Off && !needed
}

/// A neighbour of `url` that answers with keys.
async fn elsewhere(doctor: &Doctor<'_>, url: &str) -> Option<String> {
    let origin = ServiceUrl::parse(url).ok()?.origin();
    for path in PATHS {
        let other = format!("{origin}{path}");
        if other != url
            && let Ok(answer) = doctor.get(&other).await
            && answer.status == StatusCode::OK
            && KeySet::read(&answer.body, None).is_ok()
        {
            return Some(other);
        }
    }
    None
}

/// Looks at the keys of a set, one by one.
fn set(plan: &Plan, bytes: &Bytes, place: KeysAt, report: &mut Report) -> Known {
    let KeysAt { name, trusted, variable } = place;
    let mut known = Known { place: name, trusted, keys: Vec::new() };
    let (set, left_out) = match KeySet::read(bytes, plan.settings.jwks.rsa_algorithm) {
        Ok(read) => read,
        Err(error) => {
            let set = format!("Set {variable} to a JWK set.");
            report.add(NAME, [Finding::bad(format!("{} {error}.", known.place), set)]);
            return known;
        }
    };
    known.keys = set.iter().map(|(kid, key)| (kid.to_owned(), key.algorithm())).collect();
    for LeftOut { kid, reason } in &left_out {
        let key = kid.as_ref().map_or_else(|| "A key".to_owned(), |kid| format!("Key {kid}"));
        report.add(
            NAME,
            [if *reason == NO_ALGORITHM {
                Finding::bad(
                    format!("{key} of {} is left out: it is an RSA key and doesn't say its algorithm.", known.place),
                    "Set AUTH_VERIFIER_JWKS__RSA_ALGORITHM to what Better Auth's keyPairConfig says: RS256 or PS256."
                        .to_owned(),
                )
            } else {
                Finding::warning(
                    format!("{key} of {} is left out: {reason}.", known.place),
                    "Tokens signed with it are not accepted.".to_owned(),
                )
            }],
        );
    }
    let mut algorithms: Vec<_> = known.keys.iter().map(|(_, algorithm)| algorithm.name()).collect();
    algorithms.sort_unstable();
    algorithms.dedup();
    report.add(
        NAME,
        [match known.keys.len() {
            0 if left_out.is_empty() => Finding::bad(
                format!("{} has no key yet.", known.place),
                "Better Auth makes one when its /jwks or /token is first asked for; ask there once."
                    .to_owned(),
            ),
            0 => Finding::bad(
                format!("{} has no key that can be used.", known.place),
                "Until it has, no token signed with a key is accepted.".to_owned(),
            ),
            1 => Finding::Good(format!("{} has 1 key, for {}.", known.place, algorithms.join(", "))),
            n => Finding::Good(format!("{} has {n} keys, for {}.", known.place, algorithms.join(", "))),
        }],
    );
    known
}
