//! Nobody gets in without proof.

use aws_lc_rs::hmac;
use chassis::Body;
use serde_json::{Value, json};

use crate::{
    issuer::{Key, claims, encoded, message, now},
    service::{Answer, Service, request, settings, start_at, start_without_keys},
};

/// No database: whatever is asked here must not get that far.
const NOWHERE: &str = "postgresql://nobody@127.0.0.1:1/nothing";

async fn service() -> Service {
    start_at(&settings(NOWHERE, &[("TASK_SERVICE_DATABASE__ACQUIRE_TIMEOUT_MS", "1")])).await
}

async fn ask(service: &Service, headers: &[(&str, &str)]) -> Answer {
    let mut request = request("GET /api/tasks");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    service.send(request.body(Body::empty()).unwrap()).await
}

/// Whether somebody with this proof, who says to be `user`, gets as far as the database that isn't there.
async fn gets_in(service: &Service, user: &str, proof: &str) -> bool {
    let answer = ask(service, &[("x-user-id", user), ("x-identity-assertion", proof)]).await;
    match answer.status.as_u16() {
        401 => {
            answer.problem(401, "unauthenticated");
            assert_eq!(answer.header("www-authenticate"), Some("Identity-Assertion"));
            false
        }
        _ => {
            answer.problem(503, "database-unavailable");
            true
        }
    }
}

fn with(name: &str, value: impl Into<Value>) -> Value {
    let mut claims = claims("u1");
    claims[name] = value.into();
    claims
}

fn without(name: &str) -> Value {
    let mut claims = claims("u1");
    claims.as_object_mut().unwrap().remove(name);
    claims
}

#[tokio::test]
async fn who_proves_who_they_are_gets_in() {
    let service = service().await;
    assert!(gets_in(&service, "u1", &service.issuer.key.sign(&claims("u1"))).await);
}

#[tokio::test]
async fn a_user_id_without_proof_opens_nothing_not_even_what_is_not_there() {
    let service = service().await;
    for line in [
        "GET /api/tasks",
        "POST /api/tasks",
        "GET /api/u1/tasks",
        "DELETE /api/tasks/0199c0de-0000-7000-8000-000000000000",
        "PUT /api/tasks",
        "GET /",
        "GET /nothing",
        "GET /metrics",
        "OPTIONS *",
    ] {
        let request = request(line).header(identity::USER_ID, "u1");
        let answer = service.send(request.body(Body::empty()).unwrap()).await;
        answer.problem(401, "unauthenticated");
        assert!(answer.headers.get("allow").is_none(), "{line}");
    }
}

#[tokio::test]
async fn a_proof_about_somebody_else_or_nobody_or_two_is_no_good() {
    let service = service().await;
    let proof = service.issuer.key.sign(&claims("u1"));
    let proof = proof.as_str();
    for headers in [
        &[("x-identity-assertion", proof)][..],
        &[("x-identity-assertion", proof), ("x-user-id", "u2")],
        &[("x-identity-assertion", proof), ("x-user-id", "")],
        &[("x-identity-assertion", proof), ("x-user-id", "U1")],
        &[("x-identity-assertion", proof), ("x-user-id", "u1"), ("x-user-id", "u1")],
        &[("x-identity-assertion", proof), ("x-user-id", "u1"), ("x-user-id", "u2")],
        &[("x-identity-assertion", proof), ("x-identity-assertion", proof), ("x-user-id", "u1")],
        &[("x-identity-assertion", ""), ("x-user-id", "u1")],
        &[("authorization", proof), ("x-user-id", "u1")],
    ] {
        ask(&service, headers).await.problem(401, "unauthenticated");
    }
}

#[tokio::test]
async fn a_proof_is_good_for_its_time_and_a_little_longer() {
    let service = service().await;
    let lived = |iat: i64, exp: i64| {
        let at = |offset: i64| now().checked_add_signed(offset).unwrap();
        let mut claims = claims("u1");
        claims["iat"] = at(iat).into();
        claims["exp"] = at(exp).into();
        service.issuer.key.sign(&claims)
    };
    // A few seconds from each bound, for a slow machine; the bounds themselves are tested beside the code.
    assert!(gets_in(&service, "u1", &lived(-60, -10)).await, "within the leeway");
    assert!(!gets_in(&service, "u1", &lived(-90, -31)).await, "beyond the leeway");
    assert!(gets_in(&service, "u1", &lived(0, 120)).await);
    assert!(!gets_in(&service, "u1", &lived(0, 121)).await, "lives too long");
    assert!(!gets_in(&service, "u1", &lived(3600, 3660)).await, "from the future");
}

#[tokio::test]
async fn a_proof_for_another_service_or_by_another_issuer_is_no_good() {
    let service = service().await;
    for claims in [
        with("aud", "public"),
        with("aud", json!(["internal"])),
        with("iss", "gateway"),
        with("iss", ""),
        with("sub", "u2"),
        with("sub", ""),
        with("exp", "never"),
        without("iss"),
        without("sub"),
        without("aud"),
        without("iat"),
        without("exp"),
    ] {
        assert!(!gets_in(&service, "u1", &service.issuer.key.sign(&claims)).await, "{claims}");
    }
}

#[tokio::test]
async fn a_proof_signed_by_anybody_else_is_no_good() {
    let service = service().await;
    let key = &service.issuer.key;
    let claims = claims("u1");

    let same_name = Key::new(2, key.kid);
    assert!(!gets_in(&service, "u1", &same_name.sign(&claims)).await);
    let unknown_name = Key::new(1, "another");
    assert!(!gets_in(&service, "u1", &unknown_name.sign(&claims)).await);

    for alg in ["none", "None", "HS256", "ES256", "RS256"] {
        let header = json!({"alg": alg, "kid": key.kid});
        assert!(!gets_in(&service, "u1", &format!("{}.", message(&header, &claims))).await, "{alg}");
    }

    // The public key, which everybody has, taken for an HMAC secret.
    let message_hs = message(&json!({"alg": "HS256", "kid": key.kid}), &claims);
    for secret in [key.public(), key.jwk()["x"].as_str().unwrap().as_bytes()] {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message_hs.as_bytes());
        assert!(!gets_in(&service, "u1", &format!("{message_hs}.{}", encoded(tag.as_ref()))).await);
    }

    // A good signature under other claims, and no signature at all.
    let good = key.sign(&claims);
    let (header_and_claims, signature) = good.rsplit_once('.').unwrap();
    let header = header_and_claims.split_once('.').unwrap().0;
    let other = encoded(with("sub", "u2").to_string().as_bytes());
    assert!(!gets_in(&service, "u2", &format!("{header}.{other}.{signature}")).await);
    assert!(!gets_in(&service, "u1", header_and_claims).await);
    assert!(!gets_in(&service, "u1", &format!("{header_and_claims}.")).await);
}

#[tokio::test]
async fn made_up_key_names_cause_one_fetch_and_until_the_next_one_nobody_knows() {
    let service = service().await;
    let before = service.issuer.fetches();
    assert!(!gets_in(&service, "u1", &Key::new(0, "made-up").sign(&claims("u1"))).await);
    for seed in 1..50 {
        let name: &'static str = Box::leak(format!("made-up-{seed}").into_boxed_str());
        let proof = Key::new(seed, name).sign(&claims("u1"));
        let answer = ask(&service, &[("x-user-id", "u1"), ("x-identity-assertion", &proof)]).await;
        answer.problem(503, "identity-unavailable");
    }
    assert_eq!(service.issuer.fetches() - before, 1);
    assert!(gets_in(&service, "u1", &service.issuer.key.sign(&claims("u1"))).await);
}

#[tokio::test]
async fn without_any_key_nobody_can_be_checked() {
    let service = start_without_keys(&settings(NOWHERE, &[])).await;
    let proof = service.issuer.key.sign(&claims("u1"));
    let headers = [("x-user-id", "u1"), ("x-identity-assertion", &*proof)];
    let answer = ask(&service, &headers).await;
    answer.problem(503, "identity-unavailable");
    assert_eq!(answer.header("retry-after"), Some("1"));
    ask(&service, &[("x-user-id", "u1")]).await.problem(401, "unauthenticated");
}

#[tokio::test]
async fn an_outage_of_the_issuer_changes_nothing_for_known_keys() {
    let service = service().await;
    service.issuer.set_up(false);
    assert!(gets_in(&service, "u1", &service.issuer.key.sign(&claims("u1"))).await);
    // This one may exist by now; we can't know.
    let proof = Key::new(2, "second").sign(&claims("u1"));
    let answer = ask(&service, &[("x-user-id", "u1"), ("x-identity-assertion", &proof)]).await;
    answer.problem(503, "identity-unavailable");
    assert!(gets_in(&service, "u1", &service.issuer.key.sign(&claims("u1"))).await);
}
