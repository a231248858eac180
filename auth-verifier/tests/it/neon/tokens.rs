//! Neon Auth's JWT, as a bearer token.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use chassis::clock::{Clock, UnixSeconds};
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};

use super::stand_in::{ADA, Neon};
use crate::{
    issuer::Signing,
    world::{World, now},
};

#[tokio::test]
async fn a_token_says_who_is_calling() {
    let neon = Neon::new().await;
    let world = neon.alone(&[]).await;
    for changes in [json!({}), json!({"aud": [neon.origin(), "other"]}), json!({"banned": null})] {
        let answer = world.bearer(&neon.jwt(changes)).await;
        assert_eq!((answer.status.as_u16(), answer.user()), (200, Some(ADA)));
        assert_eq!(answer.header("x-credential"), Some("bearer"));
        assert_eq!(answer.header("x-user-email"), Some("ada@example.com"));
        assert_eq!(answer.header("x-user-email-verified"), Some("false"));
    }
}

#[tokio::test]
async fn what_a_real_better_auth_behind_the_real_sdk_handed_out_is_good() {
    let vectors: Value = serde_json::from_str(include_str!("../../vectors/neon-auth.json")).unwrap();
    let text = |name: &str| vectors[name].as_str().unwrap().to_owned();
    let recorded = vectors["now"].as_u64().unwrap();
    // The keys are asked for where the tokens are from; a stand-in at that place would collide with another test's.
    let neon = Neon::new().await;
    neon.publish(vectors["jwks"]["keys"].as_array().unwrap());
    let (base, secret) = (text("base"), text("cookie_secret"));
    let jwks = format!("{}/.well-known/jwks.json", neon.base);
    let variables = [
        ("NEON_AUTH_BASE_URL", &*base),
        ("NEON_AUTH_JWKS_URL", &jwks),
        ("NEON_AUTH_COOKIE_SECRET", &secret),
        ("AUTH_VERIFIER_NEON_AUTH__MEMBERSHIP", "on"),
    ];
    let at = Clock::of(move || UnixSeconds(recorded + 1));
    let world = neon.alone_at(at, &variables).await;
    let by_token = world.bearer(&text("token")).await;
    assert_eq!((by_token.status.as_u16(), by_token.user()), (200, Some(ADA)));
    assert_eq!(by_token.header("x-user-role"), Some("authenticated"));
    assert_eq!(by_token.header("x-user-organization-slug"), Some("acme"));
    assert_eq!(by_token.header("x-user-organization-role"), Some("owner"));
    // What it answers about the cookie is understood where it is asked, and then the SDK's cache spares that.
    let (session, _) = vectors["cookies"].as_str().unwrap().split_once("; ").unwrap();
    let (name, value) = session.split_once('=').unwrap();
    neon.know(name, value, vectors["get_session"].clone());
    let variables = [("NEON_AUTH_COOKIE_SECRET", &*secret), ("AUTH_VERIFIER_REVOCATION_LAG_SECS", "300")];
    let world = neon.proven(move || recorded + 1, session, &variables).await;
    neon.forget();
    let answer = super::stand_in::by(&world, &text("cookies")).await;
    assert_eq!((answer.status.as_u16(), answer.user(), neon.asked()), (200, Some(ADA), 1));
}

#[tokio::test]
async fn a_token_of_anybody_elses_for_anybody_else_or_for_nobody_is_no_good() {
    let neon = Neon::new().await;
    let world = neon.alone(&[("AUTH_VERIFIER_LEEWAY_SECS", "0")]).await;
    for changes in [
        // The base URL is not the issuer: its origin is.
        json!({"iss": neon.base}),
        json!({"iss": format!("{}/", neon.origin())}),
        json!({"aud": neon.base}),
        json!({"aud": "https://app.example.com"}),
        json!({"iss": null}),
        json!({"aud": null}),
        json!({"exp": now() - 1}),
        json!({"exp": null}),
        json!({"nbf": now() + 60}),
        json!({"sub": null}),
        json!({"sub": ""}),
        json!({"sub": "anonymous"}),
        json!({"role": "anonymous"}),
        json!({"role": "Authenticated"}),
        json!({"role": null}),
        json!({"role": ["authenticated"]}),
        // A ban that can't be read could go unseen.
        json!({"banned": "true"}),
        json!({"banned": 1}),
        json!({"banned": true, "banExpires": 7}),
    ] {
        world.rejects(&neon.jwt(changes)).await;
    }
    let stranger = Signing::new("n1", "EdDSA");
    world.rejects(&stranger.token(&neon.claims(json!({})))).await;
}

/// Where its host doesn't tell that keys are Neon's, they may be set as another issuer's.
#[tokio::test]
async fn whoever_has_not_signed_in_is_nobody_by_whichever_setting() {
    let neon = Neon::new().await;
    let jwks = format!("{}/.well-known/jwks.json", neon.base);
    let own = World::new(&[("BETTER_AUTH_URL", neon.origin()), ("AUTH_VERIFIER_JWKS_URL", &jwks)]).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let origin = neon.origin();
    let listed = format!("issuers = \"{origin}\"\naudiences = \"{origin}\"\njwks_url = \"{jwks}\"");
    std::fs::write(file.path(), format!("[[trusted]]\n{listed}\nuser_prefix = \"branch:\"\n")).unwrap();
    let trusting = World::new(&[("AUTH_VERIFIER_CONFIG", file.path().to_str().unwrap())]).await;
    for (world, user) in [(&own, ADA.to_owned()), (&trusting, format!("branch:{ADA}"))] {
        assert_eq!(world.bearer(&neon.jwt(json!({}))).await.user(), Some(&*user));
        world.rejects(&neon.jwt(json!({"sub": "anonymous", "id": "anonymous", "role": "anonymous"}))).await;
    }
}

#[tokio::test]
async fn only_ed25519_signs_whatever_else_is_published() {
    let neon = Neon::new().await;
    let (ec, rsa) = (Signing::new("e1", "ES256"), Signing::new("r1", "RS256"));
    neon.publish(&[neon.key.jwk(), ec.jwk(), rsa.jwk()]);
    let world = neon.alone(&[]).await;
    for key in [&ec, &rsa] {
        world.rejects(&key.token(&neon.claims(json!({})))).await;
    }
    let claims = neon.claims(json!({}));
    // The public key as an HMAC's secret, in every form that it is published in.
    let jwk = neon.key.jwk();
    let x = jwk["x"].as_str().unwrap();
    let raw = BASE64_URL_SAFE_NO_PAD.decode(x).unwrap();
    for secret in [&raw[..], x.as_bytes(), jwk.to_string().as_bytes(), &neon.key.der(), b""] {
        let header = Header { kid: Some("n1".into()), ..Header::default() };
        let forged = jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(secret)).unwrap();
        world.rejects(&forged).await;
    }
    for alg in ["none", "None", "HS512", "ES256"] {
        world.rejects(&neon.key.token_with(&json!({"alg": alg, "kid": "n1"}), &claims)).await;
    }
    let unsigned = neon.key.token_with(&json!({"alg": "none"}), &claims);
    world.rejects(&format!("{}.", unsigned.rsplit_once('.').unwrap().0)).await;
    assert_eq!(world.bearer(&neon.jwt(json!({}))).await.status, 200);
}

#[tokio::test]
async fn a_banned_user_is_known_but_not_allowed_until_the_ban_ends() {
    let neon = Neon::new().await;
    let world = neon.alone(&[]).await;
    for (changes, status) in [
        (json!({"banned": true}), 403),
        (json!({"banned": true, "banReason": "spam", "banExpires": "2099-01-01T00:00:00.000Z"}), 403),
        (json!({"banned": true, "banExpires": "2020-01-01T00:00:00.000Z"}), 200),
        (json!({"banned": false, "banExpires": "2099-01-01T00:00:00.000Z"}), 200),
    ] {
        let answer = world.bearer(&neon.jwt(changes.clone())).await;
        assert_eq!(answer.status, status, "{changes}");
        assert_eq!(answer.user().is_some(), status == 200, "{changes}");
    }
}
