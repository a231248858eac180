//! API tokens and the keys that they are signed with.

use dev_better_auth::{Setup, Version};
use serde_json::{Value, json};

use crate::pair::{Pair, Sent, Who};

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_is_good_at_once_and_an_old_one_until_its_row_is_gone() {
    for version in Version::ALL {
        let Some(pair) = Pair::start(Setup::new(version, json!({})), &[]).await else { return };
        let ada = pair.better_auth.sign_up("ada").await;
        let who = Who::user(&ada.id);
        assert_eq!(pair.check(&Sent::bearer(&ada.jwt)).await, who);
        pair.run(r#"update jwks set "expiresAt" = now()"#).await;
        let second = pair.better_auth.api_token(&ada.cookies).await;
        let key = |token: &str| token.split('.').next().unwrap().to_owned();
        assert_ne!(key(&second), key(&ada.jwt), "{version}: another key");
        for token in [&ada.jwt, &second] {
            assert_eq!(pair.check(&Sent::bearer(token)).await, who, "{version}");
        }
        pair.run("delete from jwks").await;
        // Whoever asks for the keys afterwards knows: a verifier has them in its memory for a while.
        let pair = Pair::beside(pair.better_auth, None, &[]);
        for token in [&ada.jwt, &second] {
            assert_eq!(pair.check(&Sent::bearer(token)).await, Who::Nobody, "{version}");
        }
        let third = pair.better_auth.api_token(&ada.cookies).await;
        assert_eq!(pair.check(&Sent::bearer(&third)).await, who, "{version}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_several_algorithms_stand_side_by_side() {
    // Before 1.7 a key's row does not say what it is for.
    let base = "https://auth.example.com";
    let setup = |algorithm: &str| {
        let jwt = json!({"jwks": {"keyPairConfig": {"alg": algorithm}}});
        Setup::new(Version::V1_7, json!({"baseURL": base, "plugins": {"jwt": jwt}}))
    };
    let Some(mut pair) = Pair::start(setup("EdDSA"), &[]).await else { return };
    let ada = pair.better_auth.sign_up("ada").await;
    let mut tokens = vec![ada.jwt.clone()];
    for algorithm in ["ES256", "RS256", "PS256", "ES512"] {
        pair.run(r#"update jwks set "expiresAt" = now()"#).await;
        pair = Pair::beside(pair.better_auth.again(setup(algorithm)).await, Some(base), &[]);
        tokens.push(pair.better_auth.api_token(&ada.cookies).await);
        for token in &tokens {
            assert_eq!(pair.check(&Sent::bearer(token)).await, Who::user(&ada.id), "{algorithm}");
        }
    }
    let heads: std::collections::BTreeSet<_> = tokens.iter().map(|token| token.split('.').next()).collect();
    assert_eq!(heads.len(), tokens.len(), "each has a key of its own");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_another_server_is_nobodys() {
    for version in Version::ALL {
        let Some(ours) = Pair::start(Setup::new(version, json!({})), &[]).await else { return };
        let Some(theirs) = Pair::start(Setup::new(version, json!({})), &[]).await else { return };
        let (ada, other) = (ours.better_auth.sign_up("ada").await, theirs.better_auth.sign_up("ada").await);
        assert_eq!(ours.check(&Sent::bearer(&ada.jwt)).await, Who::user(&ada.id), "{version}");
        for token in [&other.jwt, &other.bearer, other.token()] {
            assert_eq!(ours.check(&Sent::bearer(token)).await, Who::Nobody, "{version}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_are_judged_alike_whatever_they_say() {
    for version in Version::ALL {
        let Some(pair) = Pair::start(Setup::new(version, json!({})), &[]).await else { return };
        let (url, now) = (pair.better_auth.url.clone(), now());
        let mut differences = Vec::new();
        for (claims, good) in [
            (json!({"sub": "ada"}), true),
            (json!({"sub": "ada", "iat": now}), true),
            (json!({"sub": "ada", "iat": now + 3600}), true),
            (json!({"sub": "ada", "aud": [&url]}), true),
            (json!({"sub": "ada", "aud": ["other", &url]}), true),
            (json!({"sub": "ada", "email": 7, "id": "bob", "name": {"deep": []}}), true),
            (json!({"sub": "ada", "nbf": now - 1}), true),
            (json!({"sub": "ada", "exp": now + 60}), true),
            (json!({"sub": "0199f7a2-6c1e-7b63-9d4f-2f6f2b1d9a10"}), true),
            (json!({"sub": "17"}), true),
            (json!({"sub": "ada", "exp": now}), false),
            (json!({"sub": "ada", "exp": now - 1}), false),
            (json!({"sub": "ada", "nbf": now + 60}), false),
            (json!({"sub": "ada", "aud": "other"}), false),
            (json!({"sub": "ada", "aud": ["other"]}), false),
            (json!({"sub": "ada", "aud": []}), false),
            (json!({"sub": "ada", "iss": "other"}), false),
            (json!({"sub": "ada", "iss": format!("{url}/")}), false),
            (json!({"sub": "ada", "iss": format!("{url}/api/auth")}), false),
            (json!({"sub": ""}), false),
            (json!({"id": "ada"}), false),
        ] {
            let token = pair.better_auth.ask("sign", json!({"payload": claims})).await;
            let Value::String(token) = token else { panic!("{claims}: {token}") };
            let sent = Sent::bearer(&token);
            let (theirs, ours) = (pair.theirs(&sent).await, pair.ours(&sent).await);
            if theirs != ours || good != matches!(ours, Who::User(_)) {
                differences.push(format!("Better Auth {version} says {theirs:?}, we say {ours:?}: {claims}"));
            }
        }
        assert!(differences.is_empty(), "{}", differences.join("\n"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_application_chooses_what_a_token_tells_and_for_how_long() {
    for version in Version::ALL {
        let tokens = json!({
            "definePayload": "function payload of the name alone", "issuer": "urn:issuer", "audience": "urn:api",
            "expirationTime": "1h",
        });
        let setup = Setup::new(version, json!({"plugins": {"jwt": {"jwt": tokens}}}));
        let names =
            [("AUTH_VERIFIER_ISSUERS", "urn:issuer"), ("AUTH_VERIFIER_AUDIENCES", "urn:other,urn:api")];
        let Some(pair) = Pair::start(setup, &names).await else { return };
        let ada = pair.better_auth.sign_up("ada").await;
        assert_eq!(pair.check(&Sent::bearer(&ada.jwt)).await, Who::user(&ada.id), "{version}");
        let pair = Pair::beside(pair.better_auth, None, &[]);
        assert_eq!(
            pair.ours(&Sent::bearer(&ada.jwt)).await,
            Who::Nobody,
            "{version}: other parties are meant"
        );
    }
}

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}
