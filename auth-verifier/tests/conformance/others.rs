//! Whatever else Better Auth signs or encrypts with the same secret and keys: none of it is a credential.

use dev_better_auth::{Setup, Version};
use http::{HeaderName, Method};
use serde_json::{Value, json};

use crate::{
    cache::{cached, each},
    pair::{Pair, Sent, Tokens, Who, variables},
};

/// Sent as whatever a credential may be, beside a good session cookie where one belongs there.
fn everywhere(value: &str, session: &str) -> Vec<Sent> {
    vec![
        Sent::bearer(value),
        Sent::cookie(&format!("better-auth.session_token={value}")),
        Sent::cookie(&format!("{session}; better-auth.session_data={value}")),
    ]
}

async fn is_nobodys(pair: &Pair, what: &str, value: &str, session: &str) {
    for sent in everywhere(value, session) {
        assert_eq!(pair.check(&sent).await, Who::Nobody, "{what}, {}: {sent:?}", pair.version());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_verifies_an_address_signs_nobody_in() {
    for version in Version::ALL {
        let Some(pair) = Pair::start(Setup::new(version, json!({})), &[]).await else { return };
        let ada = pair.better_auth.sign_up("ada").await;
        let body = json!({"email": "ada@example.com"});
        let sent = pair.better_auth.call(Method::POST, "/send-verification-email", "", Some(body)).await;
        assert_eq!(sent.status, 200, "{}", sent.body);
        let Value::String(token) = pair.better_auth.ask("mail", json!({})).await else { panic!("a link") };
        pair.better_auth.sign_out(&ada).await;
        is_nobodys(&pair, "a link", &token, &ada.session_cookie()).await;
        // It is signed with the secret, as an application's own tokens may be.
        let pair = pair.judging_by(Tokens::Hs256);
        assert_eq!(pair.check(&Sent::bearer(&token)).await, Who::Nobody, "{version}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_key_is_for_another_door() {
    // 1.6 has them in a package of its own, which is not installed here.
    for version in [Version::V1_4, Version::V1_7] {
        let setup = Setup::new(version, json!({"plugins": {"apiKey": {}}}));
        let Some(pair) = Pair::start(setup, &[]).await else { return };
        let ada = pair.better_auth.sign_up("ada").await;
        let made = pair
            .better_auth
            .call(Method::POST, "/api-key/create", &ada.session_cookie(), Some(json!({"name": "key"})))
            .await;
        assert_eq!(made.status, 200, "{version}: {}", made.body);
        let key = made.body["key"].as_str().unwrap();
        let header = Sent::nothing().and(HeaderName::from_static("x-api-key"), key);
        assert_eq!(pair.check(&header).await, Who::Nobody, "{version}");
        pair.better_auth.sign_out(&ada).await;
        is_nobodys(&pair, "an API key", key, &ada.session_cookie()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_cache_is_no_token() {
    for (version, strategy) in each() {
        let setting = [(variables::COOKIE_CACHE, strategy)];
        let setup = Setup::new(version, cached(strategy, json!({})));
        let Some(pair) = Pair::start(setup, &setting).await else { return };
        let ada = pair.better_auth.sign_up("ada").await;
        let cache = ada.cookie("session_data");
        let value = cache.split_once('=').unwrap().1;
        assert_eq!(pair.check(&Sent::bearer(value)).await, Who::Nobody, "{strategy}, {version}");
        let as_session = Sent::cookie(&format!("better-auth.session_token={value}"));
        assert_eq!(pair.check(&as_session).await, Who::Nobody, "{strategy}, {version}");
        // Nor is a session's cookie a cache.
        let session = ada.session_cookie();
        let token = session.split_once('=').unwrap().1;
        pair.better_auth.sign_out(&ada).await;
        let as_cache = Sent::cookie(&format!("{session}; better-auth.session_data={token}"));
        assert_eq!(pair.check(&as_cache).await, Who::Nobody, "{strategy}, {version}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cookies_beside_the_session_are_nobodys() {
    for version in Version::ALL {
        let options = json!({
            "session": {"cookieCache": {"enabled": true, "strategy": "jwe"}}, "plugins": {"multiSession": {}},
        });
        let setting = [(variables::COOKIE_CACHE, "jwe")];
        let Some(pair) = Pair::start(Setup::new(version, options), &setting).await else { return };
        let (admin, bob) = (pair.better_auth.sign_up("admin").await, pair.better_auth.sign_up("bob").await);
        pair.run(r#"update "user" set role = 'admin' where name = 'admin'"#).await;
        let better_auth = &pair.better_auth;

        // The same signed value under another name: one of several sessions, and not the active one.
        let several = admin.cookie("_multi-");
        assert!(!several.is_empty(), "{version}");
        assert_eq!(pair.check(&Sent::cookie(&several)).await, Who::Nobody, "{version}");
        let both = Sent::cookie(&format!("{several}; {}", bob.session_cookie()));
        assert_eq!(pair.check(&both).await, Who::user(&bob.id), "{version}");

        // Whoever acts as somebody else keeps a way back.
        let body = json!({"userId": bob.id});
        let cookies = admin.session_cookie();
        let acting = better_auth.call(Method::POST, "/admin/impersonate-user", &cookies, Some(body)).await;
        assert_eq!(acting.status, 200, "{}", acting.body);
        let acting = acting.cookies();
        assert_eq!(pair.check(&Sent::cookie(&acting)).await, Who::user(&bob.id), "{version}");
        let way_back = acting.split("; ").find(|cookie| cookie.contains("admin_session=")).unwrap();
        assert_eq!(pair.check(&Sent::cookie(way_back)).await, Who::Nobody, "{version}");

        let body = json!({"email": "bob@example.com", "password": "correct horse", "rememberMe": false});
        let brief = better_auth.call(Method::POST, "/sign-in/email", "", Some(body)).await.cookies();
        let brief = brief.split("; ").find(|cookie| cookie.contains("dont_remember=")).unwrap();
        let account = better_auth.ask("account", json!({"user": {"id": bob.id}, "userId": bob.id})).await;
        for person in [&admin, &bob] {
            better_auth.sign_out(person).await;
        }
        for value in
            [way_back.split_once('=').unwrap().1, brief.split_once('=').unwrap().1, account.as_str().unwrap()]
        {
            is_nobodys(&pair, "another cookie", value, &bob.session_cookie()).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_tells_an_oauth_client_of_somebody_signs_nobody_in() {
    let provider = json!({
        "loginPage": "/login", "consentPage": "/consent", "enforcePerClientResources": false,
        "resources": ["https://api.example.com"],
    });
    let setup = Setup::new(Version::V1_7, json!({"plugins": {"oauthProvider": provider}}));
    let Some(pair) = Pair::start(setup, &[]).await else { return };
    let better_auth = &pair.better_auth;
    let ada = better_auth.sign_up("ada").await;
    let client = better_auth.oauth_client(&ada).await;
    let opaque = better_auth.grant(&client, &ada, None).await;
    let jwt = better_auth.grant(&client, &ada, Some("https://api.example.com")).await;
    better_auth.sign_out(&ada).await;
    let logout = better_auth.logout_token().await;

    // The same keys sign them, so that only what they say keeps them apart: an audience, an issuer, a type.
    for (what, token) in [("an ID token", &opaque.id), ("another", &jwt.id), ("a logout token", &logout)] {
        assert_eq!(token.matches('.').count(), 2, "{what}");
        is_nobodys(&pair, what, token, &ada.session_cookie()).await;
    }
    // Access tokens are for whom they name; here, that is nobody.
    for token in [&opaque.access, &jwt.access] {
        is_nobodys(&pair, "an access token", token, &ada.session_cookie()).await;
    }
}
