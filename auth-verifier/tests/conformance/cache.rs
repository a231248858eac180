//! What a cookie cache is good for, and what it is not.

use dev_better_auth::{Person, Setup, Version};
use serde_json::{Value, json};

use crate::{
    headers::alike,
    pair::{Pair, Sent, Who, ours, variables, verifier},
};

/// Every form.
const FORMS: [&str; 4] = ["compact", "jwt", "jwt-jwks", "jwe"];

/// The versions that know a form.
pub fn versions(form: &str) -> &'static [Version] {
    if form == "jwt-jwks" { &[Version::V1_7] } else { &Version::ALL }
}

/// Every version with every form that it knows.
pub fn each() -> impl Iterator<Item = (Version, &'static str)> {
    FORMS.into_iter().flat_map(|form| versions(form).iter().map(move |version| (*version, form)))
}

/// What an application sets to have a cache of that form.
pub fn cached(form: &str, further: Value) -> Value {
    let (strategy, keys) = if form == "jwt-jwks" { ("jwt", true) } else { (form, false) };
    let mut cache = json!({"enabled": true, "strategy": strategy});
    cache.as_object_mut().unwrap().extend(further.as_object().unwrap().clone());
    let jwt = if keys { json!({"sessionCookieCache": true}) } else { json!({}) };
    json!({"session": {"cookieCache": cache}, "plugins": {"jwt": jwt}})
}

async fn pair(version: Version, strategy: &str, further: Value) -> Option<Pair> {
    Pair::start(Setup::new(version, cached(strategy, further)), &[(variables::COOKIE_CACHE, strategy)]).await
}

fn both(session: &Person, cache: &Person) -> Sent {
    Sent::cookie(&format!("{}; {}", session.session_cookie(), cache.cookie("session_data")))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_is_good_beside_its_own_session_cookie_alone() {
    for (version, strategy) in each() {
        let Some(pair) = pair(version, strategy, json!({})).await else { return };
        let (ada, bob) = (pair.better_auth.sign_up("ada").await, pair.better_auth.sign_up("bob").await);
        let what = format!("{strategy}, {version}");
        assert_eq!(
            pair.check(&Sent::cookie(&ada.cookie("session_data"))).await,
            Who::Nobody,
            "{what}: alone"
        );
        // Beside another session, that session is looked up.
        pair.check(&both(&bob, &ada)).await;
        assert_eq!(pair.ours(&both(&bob, &ada)).await, Who::user(&bob.id), "{what}");
        pair.better_auth.sign_out(&bob).await;
        pair.check(&both(&bob, &ada)).await;
        assert_eq!(pair.ours(&both(&bob, &ada)).await, Who::Nobody, "{what}: and was revoked");
        // With its own it is good even then.
        assert_eq!(pair.check(&both(&bob, &bob)).await, Who::user(&bob.id), "{what}: revoked");
        pair.run(r#"delete from "user""#).await;
        assert_eq!(pair.check(&both(&ada, &ada)).await, Who::user(&ada.id), "{what}: gone");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_that_is_no_good_is_looked_up_instead() {
    for (version, strategy) in each() {
        let Some(pair) = pair(version, strategy, json!({})).await else { return };
        let ada = pair.better_auth.sign_up("ada").await;
        let (session, cache) = (ada.session_cookie(), ada.cookie("session_data"));
        for bad in [
            cache[..cache.len() - 20].to_owned(),
            format!("{cache}AAAA"),
            format!("{}=", cache.split_once('=').unwrap().0),
        ] {
            let sent = Sent::cookie(&format!("{session}; {bad}"));
            pair.check(&sent).await;
            assert_eq!(pair.ours(&sent).await, Who::user(&ada.id), "{strategy}, {version}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_that_is_over_or_of_another_version_is_not_good() {
    for (version, strategy) in each() {
        // Over when it is made.
        let Some(over) = pair(version, strategy, json!({"maxAge": -1})).await else { return };
        let ada = over.better_auth.sign_up("ada").await;
        assert!(!ada.cookie("session_data").is_empty());
        over.check(&both(&ada, &ada)).await;
        assert_eq!(over.ours(&both(&ada, &ada)).await, Who::user(&ada.id), "{strategy}, {version}");
        over.better_auth.sign_out(&ada).await;
        assert_eq!(over.check(&both(&ada, &ada)).await, Who::Nobody, "{strategy}, {version}: over");

        let Some(first) = pair(version, strategy, json!({"version": "first"})).await else { return };
        let ada = first.better_auth.sign_up("ada").await;
        let second = Setup::new(version, cached(strategy, json!({"version": "second"})));
        let second = first.better_auth.again(second).await;
        let settings =
            |version| [(variables::COOKIE_CACHE, strategy), (variables::COOKIE_CACHE_VERSION, version)];
        first.better_auth.sign_out(&ada).await;
        let first = Pair::beside(first.better_auth, None, &settings("first"));
        let second = Pair::beside(second, None, &settings("second"));
        assert_eq!(first.check(&both(&ada, &ada)).await, Who::user(&ada.id), "{strategy}, {version}");
        assert_eq!(
            second.check(&both(&ada, &ada)).await,
            Who::Nobody,
            "{strategy}, {version}: another version"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_in_pieces_is_put_together_alike() {
    for (version, strategy) in each() {
        let Some(pair) = pair(version, strategy, json!({})).await else { return };
        // Text that JSON writers escape otherwise, and enough of it.
        let name = "\"Ada\" \\ <b>ü\u{2028}\u{1f600}\u{7}</b>/".repeat(120);
        let ada = pair.better_auth.sign_up_with("ada", json!({"name": name})).await;
        let bob = pair.better_auth.sign_up_with("bob", json!({"name": name})).await;
        let session = ada.session_cookie();
        let (cookies, others) = (ada.cookie("session_data"), bob.cookie("session_data"));
        let (pieces, others): (Vec<&str>, Vec<&str>) =
            (cookies.split("; ").collect(), others.split("; ").collect());
        assert!(pieces.len() > 1 && pieces[1].contains("session_data.1="), "{strategy}, {version}");
        let good = Sent::cookie(&format!("{session}; {cookies}"));
        // So that nobody is known by the session itself.
        pair.better_auth.sign_out(&ada).await;
        assert_eq!(pair.check(&good).await, Who::user(&ada.id), "{strategy}, {version}");

        let mut backwards = pieces.clone();
        backwards.reverse();
        let (head, tail) = (pieces[..pieces.len() - 1].join("; "), pieces[pieces.len() - 1]);
        let swapped =
            cookies.replace("data.0=", "data.x=").replace("data.1=", "data.0=").replace("data.x=", "data.1=");
        let last = pieces.len();
        let each = [
            backwards.join("; "),
            head.clone(),
            tail.to_owned(),
            swapped,
            format!("{head}; {}", others[last - 1]),
            format!("{}; {cookies}", others[0]),
            format!("{cookies}; {}", others[0]),
            format!("{cookies}; better-auth.session_data.{last}=x"),
            format!("{cookies}; better-auth.session_data.01=x"),
            format!("{cookies}; better-auth.session_data.x=x"),
            format!("{cookies}; better-auth.session_data.-1=x"),
            format!("{cookies}; better-auth.session_data.1e1=x"),
            format!("{cookies}; better-auth.session_data.=x"),
            format!("{cookies}; better-auth.session_data.99=x"),
            format!("{cookies}; better-auth.session_data.100=x"),
            format!("{cookies}; better-auth.session_data="),
            format!("{cookies}; better-auth.session_data=x"),
            format!("better-auth.session_data=x; {cookies}"),
            cookies.replace("data.0=", "data.00="),
            cookies.replace("; ", ";"),
            cookies.replace("data.1=", "data.1=\""),
        ];
        alike(&pair, &good, each.iter().map(|each| Sent::cookie(&format!("{session}; {each}"))).collect())
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_is_opened_where_no_session_can_be_looked_up() {
    let nowhere = "http://127.0.0.1:1/api/auth";
    for (version, strategy) in each() {
        let Some(pair) = pair(version, strategy, json!({})).await else { return };
        let ada = pair.better_auth.sign_up("ada").await;
        for keys in ["endpoint", "table"] {
            let settings = [
                (variables::COOKIE_CACHE, strategy),
                (variables::JWKS_SOURCE, keys),
                (variables::LOOKUP, "http"),
                (variables::LOOKUP_URL, nowhere),
            ];
            let blind = verifier(&pair.better_auth, None, &settings);
            assert_eq!(
                ours(&blind, &both(&ada, &ada)).await,
                Who::user(&ada.id),
                "{strategy}, {version}, {keys}"
            );
        }
    }
}
