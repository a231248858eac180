//! JSON within JSON, made by somebody who means harm: it is not read as more than it is, and its depth takes no stack.

use auth_verifier::session::token::{SessionToken, SigningKey};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use chassis::Body;
use http::Request;
use serde_json::json;

use crate::{
    issuer::Signing,
    sessions::{FAR, TOKEN, ada, cookie, session},
    world::{Answer, SECRET, World, claims, claims_with, with_key},
};

/// What serde takes for something else than an object where certain features are on.
const PRIVATE: [&str; 3] =
    ["$serde_json::private::RawValue", "$serde_json::private::Number", "$__toml_private_datetime"];

/// The largest that may be set.
const TOKEN_BYTES_MAX: usize = 1_048_576;

/// Deep, and by its looks something that we read: unclosed, closed, and where nobody asks for it.
fn deep() -> Vec<String> {
    let mut deep = Vec::new();
    for (open, close) in [("[", "]"), (r#"{"keys":"#, "}"), (r#"{"session":"#, "}"), (r#"{"alg":"#, "}")] {
        let (open, close) = (open.repeat(100_000), close.repeat(100_000));
        deep.extend([open.clone(), format!("{open}1{close}")]);
    }
    deep
}

/// As many levels of text in text as fit into `bytes`, each below a hundred arrays: whoever reads one as JSON begins anew
/// to count how deep it is. Escapes as `\u005c` grow with the depth only, and hide the names.
fn nested(name: &str, bytes: usize) -> String {
    let escaped = |text: &str| text.replace('\\', r"\u005c").replace('"', r"\u0022");
    let hidden = name.replace('$', r"\u0024");
    let (open, close) = ("[".repeat(100), "]".repeat(100));
    let (mut value, mut next) = (String::new(), "1".to_owned());
    while next.len() <= bytes {
        value = next;
        next = format!(r#"{{"{hidden}":"{open}{}{close}"}}"#, escaped(&value));
    }
    value
}

fn base64(text: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(text)
}

/// A token that nobody signed.
fn unsigned(header: &str, claims: &str) -> String {
    format!("{}.{}.{}", base64(header), base64(claims), base64("signature"))
}

/// Claims with that text for the value of one of them.
fn with(name: &str, value: &str) -> String {
    let claims = claims_with(json!({name: null})).to_string();
    format!(r#"{},"{name}":{value}}}"#, &claims[..claims.len() - 1])
}

/// Runs on a stack on which nothing can follow what it reads; of its 512 KiB the futures of a build for tests take half.
fn on_a_small_stack<F: Future<Output = ()>>(run: impl FnOnce() -> F + Send + 'static) {
    let run = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(run());
    std::thread::Builder::new().stack_size(512 * 1024).spawn(run).unwrap().join().unwrap();
}

async fn with_cookies(world: &World, cookies: &str) -> Answer {
    world.get(Request::get("/verify").header("cookie", cookies).body(Body::empty()).unwrap()).await
}

const HEADER: &str = r#"{"alg":"EdDSA","kid":"k1"}"#;

#[test]
fn an_unsigned_token_takes_nothing_down_however_its_claims_are_nested() {
    on_a_small_stack(|| async {
        let (world, key) = with_key(&[("AUTH_VERIFIER_TOKEN_BYTES_MAX", &TOKEN_BYTES_MAX.to_string())]).await;
        for name in PRIVATE {
            for bytes in [39_000, 65_000, TOKEN_BYTES_MAX / 2] {
                let nested = nested(name, bytes);
                for claim in ["email", "sid", "client_id", "scope", "aud", "sub", "cnf", "other"] {
                    for alg in ["EdDSA", "HS256"] {
                        let header = json!({"alg": alg, "kid": "k1"}).to_string();
                        let token = unsigned(&header, &with(claim, &nested));
                        assert!(token.len() <= TOKEN_BYTES_MAX, "{}", token.len());
                        world.rejects(&token).await;
                    }
                }
                world.rejects(&unsigned(HEADER, &nested)).await;
                world.rejects(&unsigned(&nested, &claims().to_string())).await;
                world
                    .rejects(&unsigned(&format!(r#"{{"alg":{nested},"kid":"k1"}}"#), &claims().to_string()))
                    .await;
            }
        }
        assert_eq!(world.bearer(&key.token(&claims())).await.status, 200);
    });
}

#[tokio::test]
async fn an_object_is_no_text_whatever_its_member_is_called() {
    let (world, key) = with_key(&[]).await;
    for name in PRIVATE {
        let holding = |inner: &str| json!({name: inner}).to_string();
        let signed = |claim: &str, inner: &str| key.sign(HEADER, with(claim, &holding(inner)));
        let answer = world.bearer(&signed("email", r#""eve@example.com""#)).await;
        assert_eq!((answer.user(), answer.header("x-user-email")), (Some("u1"), None));
        for (claim, inner) in
            [("sub", r#""u2""#), ("iss", &*json!(world.endpoint.url).to_string()), ("exp", "4000000000")]
        {
            world.rejects(&signed(claim, inner)).await;
        }
        world.rejects(&key.sign(HEADER, holding(&claims().to_string()))).await;
        world.rejects(&key.sign(holding(HEADER), claims().to_string())).await;
        world
            .rejects(
                &key.sign(format!(r#"{{"alg":{},"kid":"k1"}}"#, holding(r#""EdDSA""#)), claims().to_string()),
            )
            .await;
    }
}

#[test]
fn the_depth_of_a_token_takes_no_stack() {
    on_a_small_stack(|| async {
        let (world, key) = with_key(&[("AUTH_VERIFIER_TOKEN_BYTES_MAX", &TOKEN_BYTES_MAX.to_string())]).await;
        let good = claims().to_string();
        for deep in deep().iter().filter(|deep| deep.len() < 600_000) {
            world.rejects(&key.sign(HEADER, deep)).await;
            world.rejects(&key.sign(deep, &good)).await;
            for claim in ["email", "sid", "scope", "client_id", "iss", "aud", "sub", "exp", "iat"] {
                world.rejects(&key.sign(HEADER, with(claim, deep))).await;
            }
            world.rejects(&key.sign(format!(r#"{{"alg":"EdDSA","kid":{deep}}}"#), &good)).await;
        }
        let closed = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let beside =
            key.sign(format!(r#"{{"jwk":{closed},"alg":"EdDSA","kid":"k1"}}"#), with("other", &closed));
        assert_eq!(world.bearer(&beside).await.user(), Some("u1"), "what nobody asks for is passed over");
    });
}

#[test]
fn the_depth_of_a_key_set_takes_no_stack_and_a_deep_key_costs_no_other() {
    on_a_small_stack(|| async {
        let key = Signing::new("k1", "EdDSA");
        let good = key.jwk().to_string();
        let closed = format!("{}{}", "[".repeat(50_000), "]".repeat(50_000));
        let other = Signing::new("k2", "EdDSA");
        for deep in deep().iter().filter(|deep| deep.len() < 250_000) {
            let world = World::new(&[]).await;
            world.endpoint.answer(200, deep);
            assert_eq!(world.bearer(&key.token(&claims())).await.status, 503);
        }
        for set in [
            format!(r#"{{"keys":{closed}}}"#),
            format!(r#"{{"keys":[{good}],"keys":[{good}]}}"#),
            json!({PRIVATE[0]: json!({"keys": [key.jwk()]}).to_string()}).to_string(),
            json!({"keys": [{PRIVATE[0]: good}]}).to_string(),
        ] {
            let world = World::new(&[]).await;
            world.endpoint.answer(200, &set);
            assert_eq!(
                world.bearer(&key.token(&claims())).await.status,
                503,
                "{}",
                &set[..set.len().min(100)]
            );
        }
        for set in [
            format!(r#"{{"keys":[{closed},{good},1e999,"\ud800"]}}"#),
            format!(r#"{{"other":{closed},"keys":[{{"kid":"k2","kty":{closed}}},{good}]}}"#),
        ] {
            let world = World::new(&[]).await;
            world.endpoint.answer(200, &set);
            world.rejects(&other.token(&claims())).await;
            assert_eq!(world.bearer(&key.token(&claims())).await.user(), Some("u1"));
        }
    });
}

#[test]
fn the_depth_of_an_answer_about_a_session_takes_no_stack() {
    on_a_small_stack(|| async {
        let world = World::new(&[
            ("AUTH_VERIFIER_SESSION__TIMEOUT_MS", "20000"),
            ("AUTH_VERIFIER_REVOCATION_LAG_SECS", "0"),
        ])
        .await;
        let good = session(TOKEN, FAR, ada());
        let mut odd: Vec<String> = deep().into_iter().filter(|deep| deep.len() < 250_000).collect();
        let closed = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        odd.extend([
            good.replace(r#""ada@example.com""#, &closed),
            good.replace(&format!("\"{TOKEN}\""), &closed),
            json!({PRIVATE[0]: good}).to_string(),
            format!("[{good}]"),
            format!("{good}{good}"),
            "[]".to_owned(),
        ]);
        for odd in odd {
            world.endpoint.answer(200, &odd);
            assert_eq!(
                with_cookies(&world, &cookie(SECRET)).await.status,
                503,
                "it is none of Better Auth's"
            );
        }
        world.endpoint.answer(200, &good.replacen('{', &format!(r#"{{"other":{closed},"#), 1));
        assert_eq!(with_cookies(&world, &cookie(SECRET)).await.user(), Some("u1"));
    });
}

#[test]
fn the_depth_of_a_cookie_cache_takes_no_stack() {
    on_a_small_stack(|| async {
        let token = SigningKey::new(SECRET).sign(&SessionToken::bare(TOKEN).unwrap());
        for strategy in ["compact", "jwt", "jwt-jwks", "jwe"] {
            let (world, key) = with_key(&[
                ("AUTH_VERIFIER_COOKIE_CACHE__STRATEGY", strategy),
                ("AUTH_VERIFIER_SESSION__TIMEOUT_MS", "20000"),
            ])
            .await;
            world.endpoint.answer(200, "null");
            for deep in deep() {
                let caches = [
                    base64(&deep),
                    base64(&format!(r#"{{"session":{deep},"expiresAt":4000000000000,"signature":"AAAA"}}"#)),
                    unsigned(&deep, "{}"),
                    unsigned(r#"{"alg":"HS256"}"#, &deep),
                    key.sign(r#"{"alg":"EdDSA","kid":"k1","typ":"better-auth.session-cache+jwt"}"#, &deep),
                    format!("{}..AAAA.AAAA.AAAA", base64(&deep)),
                ];
                for cache in caches {
                    let cookies =
                        format!("better-auth.session_token={token}; better-auth.session_data={cache}");
                    let answer = with_cookies(&world, &cookies).await;
                    assert_eq!(answer.status, 401, "it opens nothing, and there is no session");
                }
            }
        }
    });
}
