//! What ends a JWT before its time, where that is asked for.

use serde_json::{Value, json};

use crate::{
    issuer::Signing,
    tables::{ADMIN_PLUGIN, BETTER_AUTH, WithTables},
    world::{SECRET, claims_with},
};

async fn world(by: &str, further: &[(&str, &str)]) -> Option<(WithTables, Signing)> {
    let variables = [("AUTH_VERIFIER_JWT__REVOCATION", by), ("AUTH_VERIFIER_REVOCATION_LAG_SECS", "0")];
    let tables = [BETTER_AUTH, ADMIN_PLUGIN].join(";");
    let tables = WithTables::new(&tables, &[&variables, further].concat()).await?;
    let key = Signing::new("k1", "EdDSA");
    tables.world.endpoint.publish(&[key.jwk()]);
    Some((tables, key))
}

async fn status(tables: &WithTables, key: &Signing, changes: Value) -> u16 {
    tables.world.bearer(&key.token(&claims_with(changes))).await.status.as_u16()
}

#[tokio::test]
async fn a_token_ends_with_its_user() {
    let Some((tables, key)) = world("user", &[]).await else { return };
    assert_eq!(status(&tables, &key, json!({})).await, 200);
    assert_eq!(status(&tables, &key, json!({"sub": "u2"})).await, 401, "there is none");
    tables.run(r#"update "user" set banned = true"#).await;
    assert_eq!(status(&tables, &key, json!({})).await, 403);
    tables.run(r#"update "user" set "banExpires" = now() - interval '1 second'"#).await;
    assert_eq!(status(&tables, &key, json!({})).await, 200);
    let shared =
        auth_verifier::diagnostics::dev_token::mint(SECRET, "u1", std::time::Duration::from_secs(60));
    assert_eq!(tables.world.bearer(&shared).await.status, 200);
    tables.run(r#"delete from "user""#).await;
    assert_eq!(status(&tables, &key, json!({})).await, 401);
    tables.world.rejects(&shared).await;
}

#[tokio::test]
async fn a_token_ends_with_the_session_that_it_names() {
    let Some((tables, key)) = world("session", &[]).await else { return };
    assert_eq!(status(&tables, &key, json!({"sid": "s1"})).await, 200);
    for changes in [
        json!({}),
        json!({"sid": 1}),
        json!({"sid": ""}),
        json!({"sid": "s2"}),
        // The token of the session is not its id.
        json!({"sid": crate::tables::TOKEN}),
        json!({"sid": "s1", "sub": "u2"}),
    ] {
        assert_eq!(status(&tables, &key, changes.clone()).await, 401, "{changes}");
    }
    tables.run(r#"update "user" set banned = true"#).await;
    assert_eq!(status(&tables, &key, json!({"sid": "s1"})).await, 403);
    tables.run("delete from session").await;
    assert_eq!(status(&tables, &key, json!({"sid": "s1"})).await, 401);
}

#[tokio::test]
async fn ids_of_every_type_are_found() {
    for (kind, id) in
        [("uuid", "0199f7a2-6c1e-7b63-9d4f-2f6f2b1d9a10"), ("integer", "42"), ("varchar(36)", "u1")]
    {
        let schema = BETTER_AUTH
            .replace("id text primary key", &format!("id {kind} primary key"))
            .replace(r#""userId" text"#, &format!(r#""userId" {kind}"#))
            .replace("'s1'", &format!("'{id}'"))
            .replace("'u1'", &format!("'{id}'"));
        for (by, claims) in [("user", json!({"sub": id})), ("session", json!({"sub": id, "sid": id}))] {
            let Some(tables) = WithTables::new(&schema, &[("AUTH_VERIFIER_JWT__REVOCATION", by)]).await
            else {
                return;
            };
            let key = Signing::new("k1", "EdDSA");
            tables.world.endpoint.publish(&[key.jwk()]);
            assert_eq!(status(&tables, &key, claims).await, 200, "{kind}, by {by}");
            for other in ["", "u9", "43", "0199f7a2-6c1e-7b63-9d4f-2f6f2b1d9a11"] {
                assert_eq!(
                    status(&tables, &key, json!({"sub": other, "sid": other})).await,
                    401,
                    "{kind}: {other}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_verdict_is_never_reused_for_longer_than_the_lag() {
    let variables =
        [("AUTH_VERIFIER_REVOCATION_LAG_SECS", "3"), ("AUTH_VERIFIER_VERDICT_MAX_AGE_SECS", "30")];
    let Some((tables, key)) = world("user", &variables).await else { return };
    let answer = tables.world.bearer(&key.token(&claims_with(json!({})))).await;
    let age: u64 = answer.header("cache-control").unwrap().rsplit_once('=').unwrap().1.parse().unwrap();
    assert!(age <= 3, "{age}");
    let Some((tables, key)) = world("user", &[("AUTH_VERIFIER_REVOCATION_LAG_SECS", "0")]).await else {
        return;
    };
    let answer = tables.world.bearer(&key.token(&claims_with(json!({})))).await;
    assert_eq!(answer.header("cache-control"), Some("private, max-age=0"));
}

#[tokio::test]
async fn a_verdict_is_not_reused_beyond_the_session_that_the_token_names() {
    let variables =
        [("AUTH_VERIFIER_REVOCATION_LAG_SECS", "300"), ("AUTH_VERIFIER_VERDICT_MAX_AGE_SECS", "50")];
    let Some((tables, key)) = world("session", &variables).await else { return };
    let ends = "update session set \"expiresAt\" = now() + interval '30 seconds'";
    tables.run(ends).await;
    let answer = tables.world.bearer(&key.token(&claims_with(json!({"sid": "s1"})))).await;
    let age: u64 = answer.header("cache-control").unwrap().rsplit_once('=').unwrap().1.parse().unwrap();
    assert!(age <= 30, "{age}");
}

#[tokio::test]
async fn where_the_tables_are_out_of_reach_we_can_not_know() {
    let Some((tables, key)) = world("user", &[]).await else { return };
    tables.run(r#"alter table "user" rename to people"#).await;
    assert_eq!(status(&tables, &key, json!({})).await, 503);
}
