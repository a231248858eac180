//! API tokens and the keys that they are signed with.

use dev_better_auth::{BetterAuth, Setup, Version};
use serde_json::{Value, json};

use crate::pair::{Pair, Sent, Who, variables};

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
async fn keys_are_read_from_the_table_as_every_version_makes_it() {
    for (version, algorithm) in Version::ALL
        .into_iter()
        .flat_map(|version| ["EdDSA", "ES512", "RS256", "PS256"].map(|algorithm| (version, algorithm)))
    {
        let what = format!("{algorithm}, {version}");
        let jwt = json!({"jwks": {"keyPairConfig": {"alg": algorithm}}});
        // Before 1.7 a key's row does not say what it is for.
        let is_stated = version == Version::V1_7 || algorithm.starts_with('E');
        let rsa = if is_stated { "" } else { algorithm };
        let settings = [
            (variables::JWKS_SOURCE, "table"),
            (variables::JWKS_URL, "http://127.0.0.1:1/jwks"),
            (variables::RSA_ALGORITHM, rsa),
        ];
        let setup = Setup::new(version, json!({"plugins": {"jwt": jwt}}));
        let Some(pair) = Pair::start(setup, &settings).await else { return };
        let ada = pair.better_auth.sign_up("ada").await;
        let who = Who::user(&ada.id);
        assert_eq!(pair.check(&Sent::bearer(&ada.jwt)).await, who, "{what}");
        pair.run(r#"update jwks set "expiresAt" = now()"#).await;
        let second = pair.better_auth.api_token(&ada.cookies).await;
        assert_ne!(second.split('.').next(), ada.jwt.split('.').next(), "{what}: another key");
        for token in [&ada.jwt, &second] {
            assert_eq!(pair.check(&Sent::bearer(token)).await, who, "{what}: an expired key, and a new one");
        }
        pair.run(r#"delete from jwks where "expiresAt" is not null"#).await;
        let pair = Pair::beside(pair.better_auth, None, &settings);
        for (token, who) in [(&ada.jwt, &Who::Nobody), (&second, &who)] {
            assert_eq!(pair.check(&Sent::bearer(token)).await, *who, "{what}: the old key is gone");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_outlive_the_upgrade_of_better_auth() {
    let base = "https://auth.example.com";
    for (version, algorithm) in [Version::V1_4, Version::V1_6]
        .into_iter()
        .flat_map(|version| [(version, "EdDSA"), (version, "PS256")])
    {
        let setup = |version| {
            let jwt = json!({"jwks": {"keyPairConfig": {"alg": algorithm}}});
            Setup::new(version, json!({"baseURL": base, "plugins": {"jwt": jwt}}))
        };
        let Some(old) = BetterAuth::start(setup(version)).await else { return };
        let ada = old.sign_up("ada").await;
        let upgraded = old.again(setup(Version::V1_7)).await;
        let table = [
            (variables::JWKS_SOURCE, "table"),
            (variables::RSA_ALGORITHM, if algorithm == "PS256" { algorithm } else { "" }),
        ];
        let (who, what) = (Who::user(&ada.id), format!("{algorithm}, of {version}"));
        let mut pair = Pair::beside(upgraded, Some(base), &table);
        pair.run(r#"update jwks set "expiresAt" = now()"#).await;
        // One row says what its key is for, the other does not.
        let second = pair.better_auth.api_token(&ada.cookies).await;
        for source in ["table", "endpoint"] {
            for token in [&ada.jwt, &second] {
                assert_eq!(pair.check(&Sent::bearer(token)).await, who, "{what}, by {source}");
            }
            pair = Pair::beside(pair.better_auth, Some(base), &[]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_key_counts_for_as_long_as_better_auth_publishes_it() {
    for (version, source) in
        Version::ALL.into_iter().flat_map(|version| ["endpoint", "table"].map(|source| (version, source)))
    {
        let setup = Setup::new(version, json!({"plugins": {"jwt": {"jwks": {"gracePeriod": 3600}}}}));
        let settings = [(variables::JWKS_SOURCE, source), (variables::JWKS_GRACE, "3600")];
        let Some(mut pair) = Pair::start(setup, &settings).await else { return };
        let ada = pair.better_auth.sign_up("ada").await;
        for (ago, who) in [("59 minutes", Who::user(&ada.id)), ("61 minutes", Who::Nobody)] {
            pair.run(&format!(r#"update jwks set "expiresAt" = now() - interval '{ago}'"#)).await;
            // What has no new key publishes none.
            pair.better_auth.api_token(&ada.cookies).await;
            pair.run(r#"update jwks set "expiresAt" = null where "expiresAt" > now()"#).await;
            pair = Pair::beside(pair.better_auth, None, &settings);
            assert_eq!(pair.ours(&Sent::bearer(&ada.jwt)).await, who, "{version}, {source}: {ago}");
        }
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
