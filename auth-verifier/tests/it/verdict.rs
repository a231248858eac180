//! What an answer looks like, to the gateway and to any other proxy.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use chassis::Body;
use http::{Method, Request};
use identity::Assertion;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};

use crate::world::{World, claims, claims_with, now, with_key};

#[tokio::test]
async fn a_good_credential_is_answered_with_who_it_is() {
    let (world, key) = with_key(&[]).await;
    let answer = world.bearer(&key.token(&claims())).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.user(), Some("u1"));
    assert_eq!(answer.header("x-user-email"), Some("ada@example.com"));
    assert_eq!(answer.header("x-credential"), Some("bearer"));
    assert_eq!(answer.header("cache-control"), Some("private, max-age=5"));
    assert_eq!(answer.body, "");
}

#[tokio::test]
async fn a_verdict_tells_which_cookies_are_credentials() {
    for (variables, want) in [
        (&[][..], "better-auth."),
        (&[("AUTH_VERIFIER_SESSION__COOKIE_PREFIX", "myapp")], "myapp."),
        (
            &[
                ("AUTH_VERIFIER_SESSION__COOKIE", "sid"),
                ("AUTH_VERIFIER_COOKIE_CACHE__COOKIE", "sid_cache"),
                // Cookies may come along although nobody looks at them.
                ("AUTH_VERIFIER_SESSION__LOOKUP", "off"),
            ],
            "better-auth., sid, sid_cache",
        ),
    ] {
        let (world, key) = with_key(variables).await;
        let answer = world.bearer(&key.token(&claims())).await;
        assert_eq!(answer.header("x-credential-cookies"), Some(want));
    }
}

#[tokio::test]
async fn the_identity_is_signed_with_the_published_key() {
    let (world, key) = with_key(&[]).await;
    let assertion = world.bearer(&key.token(&claims())).await;
    let assertion = assertion.header("x-identity-assertion").unwrap();

    let published = world.get(Request::get("/.well-known/jwks.json").body(Body::empty()).unwrap()).await;
    assert_eq!(published.header("content-type"), Some("application/json"));
    let published: Value = serde_json::from_str(&published.body).unwrap();
    let [jwk] = &published["keys"].as_array().unwrap()[..] else { panic!("one key") };
    assert_eq!(jwk.get("d"), None);

    let public = DecodingKey::from_ed_components(jwk["x"].as_str().unwrap()).unwrap();
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_issuer(&["auth-verifier"]);
    validation.set_audience(&["internal"]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    let token = jsonwebtoken::decode::<Assertion>(assertion, &public, &validation).unwrap();
    assert_eq!(token.header.kid.as_deref(), jwk["kid"].as_str());
    assert_eq!(token.claims.sub, "u1");
    assert!(token.claims.exp - token.claims.iat <= 120);
}

#[tokio::test]
async fn a_verdict_is_not_reused_beyond_the_credential() {
    let (world, key) = with_key(&[]).await;
    let answer = world.bearer(&key.token(&claims_with(json!({"exp": now() - 5})))).await;
    assert_eq!(answer.header("cache-control"), Some("private, max-age=0"), "it passes by leeway alone");
    let answer = world.bearer(&key.token(&claims_with(json!({"exp": now() + 4})))).await;
    let age = answer.header("cache-control").unwrap().rsplit_once('=').unwrap().1.parse::<u64>().unwrap();
    assert!(age <= 3, "{age}: of four seconds one has begun");
    let (world, key) = with_key(&[("AUTH_VERIFIER_VERDICT_MAX_AGE_SECS", "0")]).await;
    let answer = world.bearer(&key.token(&claims())).await;
    assert_eq!(answer.header("cache-control"), Some("private, max-age=0"));
}

#[tokio::test]
async fn any_method_on_verify_or_below_it_is_a_question() {
    let (world, key) = with_key(&[]).await;
    let token = key.token(&claims());
    for method in [Method::GET, Method::POST, Method::HEAD, Method::OPTIONS, Method::DELETE, Method::PATCH] {
        for path in ["/verify", "/verify/", "/verify/api/tasks", "/verify/a/../b%2fc?access_token=x"] {
            for (credential, want) in [(Some(&token), 200), (None, 401)] {
                let mut request = Request::builder().method(&method).uri(path);
                if let Some(token) = credential {
                    request = request.header("authorization", format!("Bearer {token}"));
                }
                let answer = world.get(request.body(Body::empty()).unwrap()).await;
                assert_eq!(answer.status, want, "{method} {path}");
                assert_eq!(answer.user().is_some(), want == 200);
            }
        }
    }
}

#[tokio::test]
async fn nowhere_else_is_anybody_known() {
    let (world, key) = with_key(&[]).await;
    let token = key.token(&claims());
    for (path, want) in [("/", 404), ("/verifyx", 404), ("/Verify", 404), ("//verify", 404), ("/livez", 404)]
    {
        let request = Request::get(path).header("authorization", format!("Bearer {token}"));
        let answer = world.get(request.body(Body::empty()).unwrap()).await;
        assert_eq!((answer.status.as_u16(), answer.user()), (want, None), "{path}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    }
    let request = Request::post("/.well-known/jwks.json").body(Body::empty()).unwrap();
    let answer = world.get(request).await;
    assert_eq!(answer.status, 405);
    assert_eq!(answer.header("allow"), Some("GET,HEAD"));
}

#[tokio::test]
async fn a_request_without_a_bearer_token_hears_only_the_challenge() {
    let world = World::new(&[]).await;
    for value in [None, Some("Basic YTpi"), Some("")] {
        let mut request = Request::get("/verify?access_token=x.y.z").header("x-user-id", "u2");
        if let Some(value) = value {
            request = request.header("authorization", value);
        }
        let answer = world.get(request.body(Body::empty()).unwrap()).await;
        assert_eq!((answer.status.as_u16(), answer.user()), (401, None));
        assert_eq!(answer.header("www-authenticate"), Some("Bearer realm=\"api\""));
        let body: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(body["status"], 401);
        assert_eq!(body["request_id"].as_str(), answer.header("x-request-id"));
    }
}

#[tokio::test]
async fn two_authorization_headers_are_no_credential() {
    let (world, key) = with_key(&[]).await;
    let bearer = format!("Bearer {}", key.token(&claims()));
    let twice = Request::get("/verify").header("authorization", &bearer).header("authorization", &bearer);
    assert_eq!(world.get(twice.body(Body::empty()).unwrap()).await.status, 401);
    let latin1 = [b"Bearer ".as_slice(), &[0xe9]].concat();
    let odd = Request::get("/verify").header("authorization", latin1);
    assert_eq!(world.get(odd.body(Body::empty()).unwrap()).await.status, 401);
}

#[tokio::test]
async fn a_token_that_is_too_long_is_told_so_with_the_bound() {
    let (world, key) = with_key(&[]).await;
    let token = |pad: usize| key.token(&claims_with(json!({"pad": "x".repeat(pad)})));
    let long = world.bearer(&token(16 * 1024)).await;
    assert_eq!(long.status, 401);
    assert!(long.body.contains("longer than 16384 bytes"), "{}", long.body);
    assert!(long.header("www-authenticate").unwrap().contains("longer than 16384 bytes"));
    assert!(!long.body.contains("expired") && !long.body.contains("sign in again"), "{}", long.body);
    assert_eq!(world.bearer(&token(8 * 1024)).await.status, 200);
}

#[tokio::test]
async fn a_change_of_secrets_is_believed_by_replicas_that_have_not_heard_of_it_and_by_those_that_have() {
    let (old, new) = (crate::world::SECRET, "the-new-secret-of-at-least-thirty-two-bytes");
    let kids = async |variables: &[(&str, &str)]| {
        let world = World::new(variables).await;
        let published = world.get(Request::get("/.well-known/jwks.json").body(Body::empty()).unwrap()).await;
        let published: Value = serde_json::from_str(&published.body).unwrap();
        let keys = published["keys"].as_array().unwrap().clone();
        keys.iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let (before, after) = (kids(&[]).await, kids(&[("BETTER_AUTH_SECRET", new)]).await);
    let between = kids(&[("BETTER_AUTH_SECRETS", &format!("2:{new},1:{old}"))]).await;
    // What signs is first: replicas from before the change know it, and both are known before the new one signs.
    assert_eq!(between, [before.clone(), after.clone()].concat());
    let changing = World::new(&[("BETTER_AUTH_SECRETS", &format!("2:{new},1:{old}"))]).await;
    let token = auth_verifier::diagnostics::dev_token::mint(new, "u1", std::time::Duration::from_secs(60));
    let answer = changing.bearer(&token).await;
    let header = answer.header("x-identity-assertion").unwrap().split('.').next().unwrap();
    let header: Value = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap();
    assert_eq!(
        header["kid"].as_str(),
        Some(&*before[0]),
        "Better Auth signs with the new one, we still with the old"
    );
    let removed = [("BETTER_AUTH_SECRET", new), ("AUTH_VERIFIER_IDENTITY__PREVIOUS_SEED", old)];
    assert_eq!(kids(&removed).await, [after.clone(), before.clone()].concat());
    let announced = [("AUTH_VERIFIER_IDENTITY__SEED", old), ("AUTH_VERIFIER_IDENTITY__NEXT_SEED", new)];
    assert_eq!(kids(&announced).await, [before, after].concat());
}

#[tokio::test]
async fn the_client_does_not_hear_why() {
    let (world, key) = with_key(&[]).await;
    let answers = [
        world.bearer(&key.token(&claims_with(json!({"iss": "https://evil.example"})))).await,
        world.bearer(&key.token(&claims_with(json!({"exp": 1})))).await,
        world.bearer(&BASE64_URL_SAFE_NO_PAD.encode("secret-text")).await,
    ];
    for answer in &answers {
        let mut body: Value = serde_json::from_str(&answer.body).unwrap();
        body["request_id"] = Value::Null;
        let mut first: Value = serde_json::from_str(&answers[0].body).unwrap();
        first["request_id"] = Value::Null;
        assert_eq!(body, first);
        assert!(!answer.body.contains("evil") && !answer.body.contains("secret-text"));
    }
}
