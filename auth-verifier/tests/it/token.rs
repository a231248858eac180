//! What a token must say.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::{
    issuer::Signing,
    world::{ISSUER, SECRET, World, claims, claims_with, now, with_key},
};

#[tokio::test]
async fn every_algorithm_that_better_auth_can_be_set_to_is_verified() {
    let world = World::new(&[]).await;
    let names =
        ["EdDSA", "Ed25519", "ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512"];
    let keys: Vec<_> = names.iter().map(|alg| Signing::new(alg, alg)).collect();
    world.endpoint.publish(&keys.iter().map(Signing::jwk).collect::<Vec<_>>());
    for key in &keys {
        let answer = world.bearer(&key.token(&claims())).await;
        assert_eq!((answer.status.as_u16(), answer.user()), (200, Some("u1")), "{}", key.alg);

        let token = key.token(&claims());
        let other = Signing::new(key.kid, key.alg).token(&claims());
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let (_, foreign) = other.rsplit_once('.').unwrap();
        for bad in
            [foreign.to_owned(), signature[..signature.len() - 4].to_owned(), format!("{signature}AAAA")]
        {
            world.rejects(&format!("{signed}.{bad}")).await;
        }
        world.rejects(&format!("{signed}.{}", "A".repeat(signature.len()))).await;
    }
}

#[tokio::test]
async fn a_claim_that_is_missing_wrong_or_of_the_wrong_type_is_rejected() {
    let (world, key) = with_key(&[]).await;
    let now = now();
    for changes in [
        json!({"exp": null}),
        json!({"exp": now - 31}),
        json!({"exp": (now + 900).to_string()}),
        json!({"exp": -1}),
        json!({"exp": 1e300}),
        json!({"exp": [now + 900]}),
        json!({"nbf": now + 60}),
        json!({"nbf": "soon"}),
        json!({"iat": "now"}),
        json!({"iss": null}),
        json!({"iss": 42}),
        json!({"iss": [ISSUER]}),
        json!({"iss": format!("{ISSUER}/")}),
        json!({"iss": "http://localhost:30"}),
        json!({"iss": "https://evil.example"}),
        json!({"aud": null}),
        json!({"aud": 42}),
        json!({"aud": {"a": 1}}),
        json!({"aud": []}),
        json!({"aud": "https://evil.example"}),
        json!({"aud": [1, ISSUER]}),
        json!({"sub": null}),
        json!({"sub": ""}),
        json!({"sub": 7}),
        json!({"sub": "a b"}),
        json!({"sub": "u1\r\nx-user-id: u2"}),
        json!({"sub": "u2,u1"}),
        json!({"sub": "\u{0}"}),
        json!({"sub": "x".repeat(256)}),
    ] {
        world.rejects(&key.token(&claims_with(changes))).await;
    }
    for null in ["exp", "iss", "aud", "sub", "nbf", "iat"] {
        let text = claims_with(json!({null: null})).to_string();
        let text = format!("{},\"{null}\":null}}", text.strip_suffix('}').unwrap());
        world.rejects(&key.sign(json!({"alg": "EdDSA", "kid": "k1"}).to_string(), &text)).await;
    }
}

#[tokio::test]
async fn what_lies_within_the_bounds_is_accepted() {
    let (world, key) = with_key(&[]).await;
    let now = now();
    for changes in [
        json!({"exp": now - 20}),
        json!({"exp": serde_json::from_str::<Value>(&format!("{}.5", now + 900)).unwrap()}),
        json!({"nbf": now + 20}),
        json!({"aud": [ISSUER]}),
        json!({"aud": ["other", ISSUER]}),
        json!({"sub": "x".repeat(255), "id": "x"}),
        json!({"iat": null}),
        json!({"email": null}),
        json!({"email": 7}),
        json!({"roles": {"deep": [[[["x"]]]]}}),
    ] {
        let answer = world.bearer(&key.token(&claims_with(changes.clone()))).await;
        assert_eq!(answer.status, 200, "{changes}");
    }
}

#[tokio::test]
async fn the_leeway_is_a_setting() {
    let (world, key) = with_key(&[("AUTH_VERIFIER_LEEWAY_SECS", "0")]).await;
    world.rejects(&key.token(&claims_with(json!({"exp": now() - 1})))).await;
    let (world, key) = with_key(&[("AUTH_VERIFIER_LEEWAY_SECS", "120")]).await;
    assert_eq!(world.bearer(&key.token(&claims_with(json!({"exp": now() - 60})))).await.status, 200);
}

#[tokio::test]
async fn a_header_that_says_anything_else_is_rejected() {
    let (world, key) = with_key(&[]).await;
    for header in [
        json!({"alg": "none", "kid": "k1"}),
        json!({"alg": "None", "kid": "k1"}),
        json!({"alg": "HS256", "kid": "k1"}),
        json!({"alg": "HS512", "kid": "k1"}),
        json!({"alg": "ES256", "kid": "k1"}),
        json!({"alg": "eddsa", "kid": "k1"}),
        json!({"alg": 7, "kid": "k1"}),
        json!({"kid": "k1"}),
        json!({"alg": "EdDSA"}),
        json!({"alg": "EdDSA", "kid": 7}),
        json!({"alg": "EdDSA", "kid": null}),
        json!({"alg": "EdDSA", "kid": "k1", "crit": ["exp"]}),
        json!({"alg": "EdDSA", "kid": "k1", "crit": null}),
        json!({"alg": "EdDSA", "kid": "k1", "b64": false}),
        json!({"alg": "EdDSA", "kid": "k1", "zip": "DEF"}),
        json!({"alg": "EdDSA", "kid": "k1", "cty": "JWT"}),
        json!({"alg": "EdDSA", "kid": "k1", "typ": "at+jwt"}),
        json!({"alg": "EdDSA", "kid": "k1", "typ": "logout+jwt"}),
        json!({"alg": "EdDSA", "kid": "k1", "typ": "better-auth.session-cache+jwt"}),
        json!({"alg": "EdDSA", "kid": "k1", "typ": ["JWT"]}),
        json!(["EdDSA"]),
    ] {
        world.rejects(&key.token_with(&header, &claims())).await;
    }
    for text in [
        r#"{"alg":"EdDSA","kid":"k1","alg":"none"}"#,
        r#"{"alg":"none","kid":"k1","alg":"EdDSA"}"#,
        "\u{feff}{\"alg\":\"EdDSA\",\"kid\":\"k1\"}",
        "",
    ] {
        world.rejects(&key.sign(text, claims().to_string())).await;
    }
    let doubled = claims().to_string().replacen('{', "{\"sub\":\"u2\",", 1);
    world.rejects(&key.sign(r#"{"alg":"EdDSA","kid":"k1"}"#, &doubled)).await;
    for typ in ["JWT", "jwt"] {
        let header = json!({"alg": "EdDSA", "kid": "k1", "typ": typ});
        assert_eq!(world.bearer(&key.token_with(&header, &claims())).await.status, 200);
    }
}

#[tokio::test]
async fn a_key_that_a_token_brings_along_is_nobodys_key() {
    let (world, _) = with_key(&[]).await;
    let own = Signing::new("k1", "EdDSA");
    let fetch = world.endpoint.url.clone();
    for header in [
        json!({"alg": "EdDSA", "kid": "k1", "jwk": own.jwk()}),
        json!({"alg": "EdDSA", "kid": "k1", "jku": fetch}),
        json!({"alg": "EdDSA", "kid": "k1", "x5u": fetch}),
    ] {
        world.rejects(&own.token_with(&header, &claims())).await;
    }
}

#[tokio::test]
async fn what_is_no_compact_jws_is_rejected() {
    let (world, key) = with_key(&[]).await;
    let token = key.token(&claims());
    let parts: Vec<_> = token.split('.').collect();
    let [header, payload, signature] = parts[..] else { panic!("three parts") };
    for bad in [
        "x".to_owned(),
        "..".to_owned(),
        format!("{header}.{payload}"),
        format!("{header}.{payload}."),
        format!(".{payload}.{signature}"),
        format!("{token}."),
        format!("{token}.{signature}.x"),
        format!("{header}=.{payload}.{signature}"),
        format!("{header}.{payload}=.{signature}"),
        format!("{token}="),
        format!("{token}A"),
        ".".repeat(1000),
        "a".repeat(16 * 1024),
        "a".repeat(16 * 1024 + 1),
    ] {
        world.rejects(&bad).await;
    }
    // The last symbol of 64 bytes in base64url has four bits left over, which must be zero.
    let last = signature.chars().last().unwrap();
    for other in ('A'..='Z').filter(|other| *other != last) {
        world.rejects(&format!("{header}.{payload}.{}{other}", &signature[..signature.len() - 1])).await;
    }
}

#[tokio::test]
async fn a_longer_token_than_is_set_is_not_looked_at() {
    let (world, key) = with_key(&[("AUTH_VERIFIER_TOKEN_BYTES_MAX", "1000")]).await;
    let fits = key.token(&claims_with(json!({"pad": "x".repeat(200)})));
    let long = key.token(&claims_with(json!({"pad": "x".repeat(700)})));
    assert!(fits.len() <= 1000 && long.len() > 1000);
    assert_eq!(world.bearer(&fits).await.status, 200);
    world.rejects(&long).await;
}

#[tokio::test]
async fn a_public_key_is_no_secret() {
    let world = World::new(&[]).await;
    let key = Signing::new("k1", "RS256");
    world.endpoint.publish(&[key.jwk()]);
    let jwk = key.jwk();
    for secret in [jwk.to_string(), jwk["n"].as_str().unwrap().to_owned(), format!(" {jwk}")] {
        for kid in [None, Some("k1".to_owned())] {
            let header = jsonwebtoken::Header { kid, ..jsonwebtoken::Header::default() };
            let secret = jsonwebtoken::EncodingKey::from_secret(secret.as_bytes());
            world.rejects(&jsonwebtoken::encode(&header, &claims(), &secret).unwrap()).await;
        }
    }
    // And the shared secret makes no token of a published key.
    let header = jsonwebtoken::Header { kid: Some("k1".into()), ..jsonwebtoken::Header::default() };
    let secret = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
    let token = jsonwebtoken::encode(&header, &claims(), &secret).unwrap();
    let (_, rest) = token.split_once('.').unwrap();
    let header = BASE64_URL_SAFE_NO_PAD.encode(json!({"alg": "RS256", "kid": "k1"}).to_string());
    world.rejects(&format!("{header}.{rest}")).await;
}
