//! Keys from Better Auth's table, and from a file.

use serde_json::{Value, json};

use crate::{
    issuer::Signing,
    tables::{BETTER_AUTH, WithTables},
    world::{World, claims, claims_with},
};

/// The table as Better Auth made it in those versions.
const SINCE_1_3: &str = r#"create table jwks (id text primary key, "publicKey" text not null, "privateKey" text not null,
    "createdAt" timestamptz not null default now())"#;
const SINCE_1_4: &str = r#"alter table jwks add "expiresAt" timestamptz"#;
const SINCE_1_7: &str = r"alter table jwks add alg text, add crv text";

fn row(key: &Signing) -> String {
    let mut jwk = key.jwk();
    for member in ["alg", "kid"] {
        jwk.as_object_mut().unwrap().remove(member);
    }
    format!("insert into jwks (id, \"publicKey\", \"privateKey\") values ('{}', '{jwk}', 'secret')", key.kid)
}

async fn with_table(tables: &[&str], variables: &[(&str, &str)]) -> Option<WithTables> {
    let source = [("AUTH_VERIFIER_JWKS__SOURCE", "table")];
    WithTables::new(&tables.join(";"), &[&source, variables].concat()).await
}

async fn user(world: &World, key: &Signing) -> Option<String> {
    world.bearer(&key.token(&claims())).await.user().map(ToOwned::to_owned)
}

#[tokio::test]
async fn keys_are_read_from_the_table_of_every_version() {
    for (tables, since_1_7) in [
        (&[SINCE_1_3][..], false),
        (&[SINCE_1_3, SINCE_1_4], false),
        (&[SINCE_1_3, SINCE_1_4, SINCE_1_7], true),
    ] {
        let keys = ["EdDSA", "ES256", "ES384", "ES512", "PS256"].map(|alg| Signing::new(alg, alg));
        let Some(tables) = with_table(tables, &[("AUTH_VERIFIER_JWKS__RSA_ALGORITHM", "PS256")]).await else {
            return;
        };
        for key in &keys {
            tables.run(&row(key)).await;
        }
        let rs = Signing::new("RS256", "RS256");
        if since_1_7 {
            tables.run(&format!("{}; update jwks set alg = id", row(&rs))).await;
        }
        for key in &keys {
            assert_eq!(user(&tables.world, key).await.as_deref(), Some("u1"), "{}", key.alg);
        }
        assert_eq!(user(&tables.world, &rs).await.is_some(), since_1_7, "RS256");
        assert_eq!(tables.world.endpoint.asked(), 0, "nobody is asked over HTTP");
    }
}

#[tokio::test]
async fn an_rsa_key_that_does_not_say_what_it_is_for_is_for_nothing_unless_it_is_set() {
    let Some(tables) = with_table(&[SINCE_1_3], &[]).await else { return };
    let (rsa, ed) = (Signing::new("rsa", "RS256"), Signing::new("ed", "EdDSA"));
    tables.run(&format!("{};{}", row(&rsa), row(&ed))).await;
    assert_eq!(user(&tables.world, &rsa).await, None);
    assert_eq!(user(&tables.world, &ed).await.as_deref(), Some("u1"));
}

#[tokio::test]
async fn an_odd_row_costs_no_other_and_an_expired_key_counts_until_its_grace_ends() {
    let (old, over, good) =
        (Signing::new("old", "EdDSA"), Signing::new("over", "EdDSA"), Signing::new("good", "EdDSA"));
    let grace = [("AUTH_VERIFIER_JWKS__GRACE_SECS", "3600")];
    let Some(tables) = with_table(&[SINCE_1_3, SINCE_1_4, SINCE_1_7], &grace).await else { return };
    for key in [&old, &over, &good] {
        tables.run(&row(key)).await;
    }
    tables
        .run(
            r#"update jwks set "expiresAt" = now() - interval '50 minutes' where id = 'old';
               update jwks set "expiresAt" = now() - interval '70 minutes' where id = 'over';
               insert into jwks (id, "publicKey", "privateKey") values ('odd', 'not json', ''), ('list', '[]', ''), ('empty', '{}', '')"#,
        )
        .await;
    assert_eq!(user(&tables.world, &good).await.as_deref(), Some("u1"));
    assert_eq!(user(&tables.world, &old).await.as_deref(), Some("u1"));
    assert_eq!(user(&tables.world, &over).await, None);
}

#[tokio::test]
async fn the_table_may_be_called_otherwise_and_its_ids_may_be_numbers() {
    let other = r"create schema auth; create table auth.signing_keys (id integer primary key, pub text not null);
        create table auth.session (id text)";
    let variables = [
        ("AUTH_VERIFIER_TABLES__SCHEMA", "auth"),
        ("AUTH_VERIFIER_TABLES__JWKS", "signing_keys"),
        ("AUTH_VERIFIER_TABLES__COLUMNS", "snake"),
        ("AUTH_VERIFIER_TABLES__FIELDS", "jwks.publicKey=pub"),
    ];
    let Some(tables) = with_table(&[other], &variables).await else { return };
    let key = Signing::new("1", "EdDSA");
    tables.run(&format!("insert into auth.signing_keys values (1, '{}')", key.jwk())).await;
    assert_eq!(user(&tables.world, &key).await.as_deref(), Some("u1"));
}

#[tokio::test]
async fn a_table_has_the_bound_of_every_set() {
    let key = Signing::new("k1", "EdDSA");
    for (further, status) in [(63, 200), (64, 503), (1000, 503)] {
        let Some(tables) = with_table(&[SINCE_1_3], &[]).await else { return };
        let copies = format!(
            r#"insert into jwks (id, "publicKey", "privateKey")
               select 'copy-' || n, "publicKey", '' from jwks, generate_series(1, {further}) as n"#
        );
        tables.run(&format!("{};{copies}", row(&key))).await;
        assert_eq!(tables.world.bearer(&key.token(&claims())).await.status, status, "{further} more");
    }
}

#[tokio::test]
async fn without_the_table_we_can_not_know() {
    let Some(tables) = with_table(&[BETTER_AUTH], &[]).await else { return };
    let key = Signing::new("k1", "EdDSA");
    assert_eq!(tables.world.bearer(&key.token(&claims())).await.status, 503);
}

#[tokio::test]
async fn keys_are_read_from_a_file_and_again_when_it_changes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let variables = [("AUTH_VERIFIER_JWKS__FILE", path.to_str().unwrap())];
    let world = World::impatient_with(&variables).await;
    let (one, two) = (Signing::new("k1", "EdDSA"), Signing::new("k2", "RS256"));
    assert_eq!(world.bearer(&one.token(&claims())).await.status, 503, "there is no file yet");

    let write = |keys: &[Value]| std::fs::write(&path, json!({"keys": keys}).to_string()).unwrap();
    write(&[one.jwk()]);
    // A failed fetch is not tried again at once.
    while world.bearer(&one.token(&claims())).await.status != 200 {
        tokio::task::yield_now().await;
    }
    world.rejects(&two.token(&claims_with(json!({"kid": "k2"})))).await;
    assert_eq!(world.endpoint.asked(), 0);

    let world = World::impatient_with(&variables).await;
    write(&[one.jwk(), two.jwk()]);
    assert_eq!(user(&world, &two).await.as_deref(), Some("u1"));
    std::fs::write(&path, "x".repeat(256 * 1024 + 1)).unwrap();
    let third = Signing::new("k3", "EdDSA");
    assert_eq!(world.bearer(&third.token(&claims())).await.status, 503, "it can't be read");
    assert_eq!(user(&world, &one).await.as_deref(), Some("u1"), "what was known stays in use");
}
