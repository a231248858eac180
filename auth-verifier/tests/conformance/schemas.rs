//! Better Auth's tables, however they are made.

use dev_better_auth::{Setup, Version};
use serde_json::{Value, json};

use crate::pair::{Pair, Sent, Who, variables};

/// The same sessions, wherever they are kept.
async fn holds(
    what: &str,
    options: Value,
    schema: Option<&'static str>,
    settings: &[(&str, &str)],
    sql: &str,
) {
    for version in Version::ALL {
        let alone = options["plugins"]["admin"].is_object();
        let setup = Setup { schema, alone, ..Setup::new(version, options.clone()) };
        let Some(pair) = Pair::start(setup, settings).await else { return };
        pair.run(sql).await;
        let (ada, bob) = (pair.better_auth.sign_up("ada").await, pair.better_auth.sign_up("bob").await);
        for person in [&ada, &bob] {
            for sent in [
                Sent::cookie(&person.session_cookie()),
                Sent::bearer(person.token()),
                Sent::bearer(&person.jwt),
            ] {
                assert_eq!(pair.check(&sent).await, Who::user(&person.id), "{what}, {version}: {sent:?}");
            }
        }
        pair.better_auth.sign_out(&ada).await;
        assert_eq!(pair.check(&Sent::cookie(&ada.session_cookie())).await, Who::Nobody, "{what}, {version}");
        assert_eq!(
            pair.check(&Sent::cookie(&bob.session_cookie())).await,
            Who::user(&bob.id),
            "{what}, {version}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_may_be_uuids_or_numbers() {
    for kind in ["uuid", "serial"] {
        holds(kind, json!({"advanced": {"database": {"generateId": kind}}}), None, &[], "").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_and_columns_may_have_other_names_and_stand_elsewhere() {
    let renamed = json!({"user": {"modelName": "people"}, "session": {"modelName": "Logins"}});
    let names = [(variables::TABLES_USER, "people"), (variables::TABLES_SESSION, "Logins")];
    holds("renamed tables", renamed, None, &names, "").await;

    let session = json!({
        "userId": "user_id", "expiresAt": "expires_at", "ipAddress": "ip_address", "userAgent": "user_agent",
        "createdAt": "created_at", "updatedAt": "updated_at",
    });
    let admin = json!({"schema": {"user": {"fields": {"banExpires": "ban_expires"}}}});
    let snake = json!({"session": {"fields": session}, "plugins": {"admin": admin}});
    holds("snake case", snake, None, &[(variables::TABLES_COLUMNS, "snake")], "").await;

    let fields = json!({"userId": "owner", "token": "key", "expiresAt": "Ends at"});
    let user = json!({"fields": {"banned": "locked", "banExpires": "locked_until"}});
    let keys =
        json!({"modelName": "signing_keys", "fields": {"publicKey": "public_key", "expiresAt": "ends_at"}});
    let renamed = json!({
        "user": {"fields": {"email": "mail"}}, "session": {"fields": fields},
        "plugins": {"admin": {"schema": {"user": user}}, "jwt": {"schema": {"jwks": keys}}},
    });
    let names = [
        (variables::TABLES_JWKS, "signing_keys"),
        (variables::JWKS_SOURCE, "table"),
        (
            variables::TABLES_FIELDS,
            "session.userId=owner, session.token=key, session.expiresAt=Ends at, user.email=mail, \
             user.banned=locked, user.banExpires=locked_until, jwks.publicKey=public_key, jwks.expiresAt=ends_at",
        ),
    ];
    holds("renamed fields", renamed, None, &names, "").await;

    holds("another schema", json!({}), Some("auth"), &[(variables::TABLES_SCHEMA, "auth")], "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn timestamps_may_lack_a_time_zone_as_drizzle_makes_them() {
    let alter = r#"
        alter table session alter "expiresAt" type timestamp(3) using "expiresAt" at time zone 'UTC';
        alter table "user" alter "banExpires" type timestamp(3) using "banExpires" at time zone 'UTC'"#;
    holds("timestamp", json!({}), None, &[], alter).await;
}
