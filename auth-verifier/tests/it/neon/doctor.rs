//! `auth-verifier doctor` and `inspect`, as processes, about Neon Auth.

use serde_json::json;

use super::stand_in::{ADA, COOKIE, COOKIE_SECRET, DATA, Neon, cookie, data, signed_by};
use crate::{
    doctor::{Told, run},
    issuer::Signing,
};

const COOKIE_SECRET_SET: (&str, &str) = ("NEON_AUTH_COOKIE_SECRET", COOKIE_SECRET);

async fn told(command: &str, neon: &Neon, variables: &[(&str, &str)], pasted: &str) -> Told {
    let base = [("NEON_AUTH_BASE_URL", &*neon.base), COOKIE_SECRET_SET];
    run(command, &[&base, variables].concat(), pasted).await
}

#[tokio::test]
async fn where_all_is_well_it_says_so() {
    let neon = Neon::new().await;
    let healthy = told("doctor", &neon, &[], &cookie()).await;
    healthy.says(&["ok", "is Neon Auth, and can be asked about sessions"]);
    healthy.says(&["ok", ".well-known/jwks.json has keys: 1 for EdDSA"]);
    healthy.says(&["ok", "a session cookie of Neon Auth's"]);
    healthy.says(&["ok", "It is accepted: the user is", ADA]);
    assert!(healthy.good);
    // What bounds look-ups, and how to have fewer of them.
    healthy.says(&[
        "ok",
        "asked about again after 5 s",
        "AUTH_VERIFIER_REVOCATION_LAG_SECS between 60 and 300",
    ]);
    healthy.says(&[
        "ok",
        "those without an address share one",
        "x-forwarded-for",
        "GATEWAY_SERVER__TRUSTED_PROXIES",
    ]);
    let sparing = told("doctor", &neon, &[("AUTH_VERIFIER_REVOCATION_LAG_SECS", "60")], "").await;
    sparing.says(&["those without an address share one"]);
    assert!(!sparing.text.contains("asked about again"), "{}", sparing.text);
    let token = told("doctor", &neon, &[], &neon.jwt(json!({}))).await;
    token.says(&["ok", "a token of Neon Auth's"]);
    assert!(token.good);
}

#[tokio::test]
async fn a_base_url_without_its_path_or_of_a_branch_that_is_gone_is_told() {
    let neon = Neon::new().await;
    let pathless = told("doctor", &neon, &[("NEON_AUTH_BASE_URL", neon.origin())], "").await;
    pathless.bad(&[
        "neon-auth",
        "and not as Neon Auth does",
        &format!("Set NEON_AUTH_BASE_URL={}", neon.base),
    ]);
    let elsewhere = format!("{}/other/auth", neon.origin());
    let other = told("doctor", &neon, &[("NEON_AUTH_BASE_URL", &elsewhere)], "").await;
    other.bad(&["neon-auth", "answers 404", "Each branch of a database has an Auth URL of its own"]);
    let gone = told("doctor", &neon, &[("NEON_AUTH_BASE_URL", "http://127.0.0.1:1/neondb/auth")], "").await;
    gone.bad(&["neon-auth", "can't be reached", "Each branch"]);
    neon.publish(&[]);
    told("doctor", &neon, &[], "").await.bad(&["neon-auth", "has no key for EdDSA", "NEON_AUTH_JWKS_URL"]);
    neon.say(429, "");
    told("doctor", &neon, &[], "").await.bad(&["neon-auth", "429", "set NEON_AUTH_COOKIE_SECRET"]);
}

#[tokio::test]
async fn a_credential_of_neons_is_known_by_its_looks_and_never_shown() {
    let neon = Neon::new().await;
    let foreign = Signing::new("o1", "EdDSA");
    let of_branch = "https://ep-old-1.neonauth.us-east-1.aws.neon.tech";
    let other = foreign.token(&neon.claims(json!({"iss": of_branch, "aud": of_branch})));
    let with = |secret: &str| format!("{}; {DATA}={}", cookie(), data(secret, json!({})));
    let alone = format!("{DATA}={}", data(COOKIE_SECRET, json!({})));
    let forged = format!(
        "{COOKIE}={}",
        signed_by("somebody-elses-secret-of-32-bytes", "BN38LlXAsfWfnnZ19cDjYaajjbQp1dJV")
    );
    for (pasted, inspected, advised) in [
        (cookie(), "a session cookie of Neon Auth's", None),
        (with(COOKIE_SECRET), "with the cache of Neon's SDK beside it", None),
        (
            with("another-secret-of-at-least-32-bytes!"),
            "that our NEON_AUTH_COOKIE_SECRET has not signed",
            Some("Set NEON_AUTH_COOKIE_SECRET to what the app has"),
        ),
        (neon.jwt(json!({})), "a token of Neon Auth's", None),
        (other, "a token of another Neon Auth", Some("each branch of a database has an Auth URL")),
        (
            data(COOKIE_SECRET, json!({})),
            "the cache of Neon's SDK (local.session_data), sent as a bearer token",
            Some("only beside its session cookie"),
        ),
        (
            alone,
            "the cache of Neon's SDK (local.session_data), without its session cookie",
            Some("the cache is nothing by itself"),
        ),
        (
            "theme=dark; a=b".to_owned(),
            "none of which is Neon Auth's",
            Some("sets them on the host of the app's own server"),
        ),
        (format!("{COOKIE}=x"), "one that is called as Neon Auth's session cookie", None),
        (forged, "a session cookie of Neon Auth's", None),
    ] {
        let it = told("inspect", &neon, &[], &pasted).await;
        it.says(&[inspected]);
        let doctor = told("doctor", &neon, &[], &pasted).await;
        doctor.says(&[inspected]);
        if let Some(advised) = advised {
            doctor.says(&[advised]);
        }
        for part in pasted.split(['.', '=', ' ', ';']).filter(|part| part.len() > 30) {
            assert!(!it.text.contains(part) && !doctor.text.contains(part), "{part}");
        }
    }
    // Where Neon Auth is not set, whoever pastes its token hears what to set.
    let own = [("BETTER_AUTH_URL", neon.origin()), ("BETTER_AUTH_SECRET", crate::world::SECRET)];
    let unset = foreign.token(&neon.claims(json!({"iss": of_branch, "aud": of_branch})));
    run("doctor", &own, &unset).await.bad(&["Set NEON_AUTH_BASE_URL to the Auth URL"]);
    run("inspect", &own, &cookie()).await.says(&["set NEON_AUTH_BASE_URL"]);
}
