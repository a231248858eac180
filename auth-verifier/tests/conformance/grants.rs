//! What the command `grants` prints is enough for a role to read what every version makes, and no more.

use std::process::{Command, Stdio};

use dev_better_auth::{SECRET, Setup, Version};
use serde_json::{Value, json};
use tokio_postgres::NoTls;

use crate::pair::{Pair, Sent, Who, ours, variables, verifier};

const API: &str = "https://api.example.com";

/// What the command prints, set so.
fn grants(settings: &[(&str, &str)]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_auth-verifier"))
        .arg("grants")
        .current_dir(folder.path())
        .env_clear()
        .envs([(variables::URL, "http://auth.test"), (variables::SECRET, SECRET)])
        .envs(settings.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_printed_grants_are_enough_for_the_tables_of_every_version() {
    for version in Version::ALL {
        let provider = match version {
            Version::V1_7 => json!({
                "loginPage": "/login", "consentPage": "/consent", "enforcePerClientResources": false,
                "resources": [API],
            }),
            Version::V1_4 | Version::V1_6 => Value::Null,
        };
        let mut settings = vec![
            (variables::LOOKUP, "database"),
            (variables::JWKS_SOURCE, "table"),
            (variables::JWT_REVOCATION, "session"),
        ];
        let mut plugins = json!({"jwt": {"jwt": {"definePayload": "function payload with the session"}}});
        if !provider.is_null() {
            settings.extend([(variables::ACCESS_TOKENS, "both"), (variables::OAUTH_AUDIENCES, API)]);
            plugins["oauthProvider"] = provider.clone();
        }
        let setup = Setup::new(version, json!({"plugins": plugins}));
        let Some(pair) = Pair::start(setup, &[]).await else { return };
        let url = pair.better_auth.database_url().replace("//postgres@", "//auth_verifier@");
        settings.push((variables::DATABASE_URL, &url));
        pair.run(&grants(&settings)).await;
        let pair = Pair::beside(pair.better_auth, None, &settings);

        let ada = pair.better_auth.sign_up("ada").await;
        let mut good = vec![
            ("a cookie", Sent::cookie(&ada.session_cookie())),
            ("a session token", Sent::bearer(ada.token())),
            ("an API token", Sent::bearer(&ada.jwt)),
        ];
        if !provider.is_null() {
            let client = pair.better_auth.oauth_client(&ada).await;
            for (what, resource) in [("an access token", Some(API)), ("an opaque one", None)] {
                let granted = pair.better_auth.grant(&client, &ada, resource).await;
                good.push((what, Sent::bearer(&granted.access)));
            }
        }
        for (what, sent) in &good {
            assert_eq!(pair.ours(sent).await, Who::user(&ada.id), "{version}: {what}");
        }
        pair.run(r#"update "user" set banned = true"#).await;
        for (what, sent) in &good {
            assert_eq!(pair.ours(sent).await, Who::NotAllowed, "{version}: {what}");
        }
        // Where users are asked for, and not their sessions by id, there is less to grant.
        settings.extend([(variables::JWT_REVOCATION, "user"), (variables::ACCESS_TOKENS, "off")]);
        settings.retain(|(name, _)| *name != variables::OAUTH_AUDIENCES);
        pair.run(&format!("drop owned by auth_verifier; {}", grants(&settings))).await;
        let by_user = verifier(&pair.better_auth, None, &settings);
        assert_eq!(ours(&by_user, &good[2].1).await, Who::NotAllowed, "{version}: a user");

        let (role, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
        tokio::spawn(connection);
        for refused in [
            "select id from session",
            r#"select "privateKey" from jwks"#,
            "select password from account",
            r#"select "clientSecret" from "oauthClient""#,
            r#"select "referenceId" from "oauthAccessToken""#,
            "delete from jwks",
            r#"update "user" set banned = false"#,
        ] {
            if provider.is_null() && refused.contains("oauth") {
                continue;
            }
            let error = role.batch_execute(refused).await.unwrap_err();
            assert_eq!(error.code().unwrap().code(), "42501", "{version}: {refused}: {error}");
        }
    }
}
