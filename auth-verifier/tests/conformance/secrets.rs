//! Secrets, and what is left of the old one.

use auth_verifier::session::token::{SessionToken, SigningKey};
use dev_better_auth::{Setup, Version};
use serde_json::{Value, json};

use crate::pair::{Pair, Sent, Who, variables};

const OLD: &str = "old-old-old-old-old-old-old-old-old-";
const NEW: &str = "new-new-new-new-new-new-new-new-new-";

fn options(secrets: Value, strategy: &str) -> Value {
    json!({"secrets": secrets, "session": {"cookieCache": {"enabled": true, "strategy": strategy}}})
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_rotation_what_was_signed_is_void_and_what_was_encrypted_opens() {
    // Versions of the secret came with 1.6.
    for (version, strategy) in [Version::V1_6, Version::V1_7]
        .into_iter()
        .flat_map(|version| ["compact", "jwt", "jwe"].map(|form| (version, form)))
    {
        let before = options(json!([{"version": 1, "value": OLD}]), strategy);
        let cache = (variables::COOKIE_CACHE, strategy);
        let secrets = format!("1:{OLD}");
        let setup = Setup::new(version, before);
        let Some(before) = Pair::start(setup, &[cache, (variables::SECRETS, &secrets)]).await else { return };
        let ada = before.better_auth.sign_up("ada").await;
        assert_eq!(before.check(&Sent::cookie(&ada.session_cookie())).await, Who::user(&ada.id));

        let mut after =
            options(json!([{"version": 2, "value": NEW}, {"version": 1, "value": OLD}]), strategy);
        let url = before.better_auth.url.clone();
        after["baseURL"] = json!(url);
        let after = before.better_auth.again(Setup::new(version, after)).await;
        let secrets = format!("2:{NEW},1:{OLD}");
        let after = Pair::beside(after, Some(&url), &[cache, (variables::SECRETS, &secrets)]);
        let what = format!("{strategy}, {version}");
        for sent in
            [Sent::cookie(&ada.cookies), Sent::cookie(&ada.session_cookie()), Sent::bearer(&ada.bearer)]
        {
            assert_eq!(after.check(&sent).await, Who::Nobody, "{what}: {sent:?}");
        }
        // What is looked up, and what is signed with the keys, lives on.
        assert_eq!(after.check(&Sent::bearer(ada.token())).await, Who::user(&ada.id), "{what}");
        assert_eq!(after.check(&Sent::bearer(&ada.jwt)).await, Who::user(&ada.id), "{what}");

        let signed = SigningKey::new(NEW).sign(&SessionToken::bare(ada.token()).unwrap());
        let session = format!("better-auth.session_token={signed}");
        assert_eq!(after.check(&Sent::cookie(&session)).await, Who::user(&ada.id), "{what}: signed anew");
        after.run("delete from session").await;
        let both = Sent::cookie(&format!("{session}; {}", ada.cookie("session_data")));
        let opens = if strategy == "jwe" { Who::user(&ada.id) } else { Who::Nobody };
        assert_eq!(after.check(&both).await, opens, "{what}: the cache alone");
        assert_eq!(before.check(&Sent::cookie(&ada.cookies)).await, Who::user(&ada.id), "{what}: before");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_good_that_another_secret_signed() {
    for version in Version::ALL {
        let Some(ours) = Pair::start(Setup::new(version, json!({})), &[]).await else { return };
        let ada = ours.better_auth.sign_up("ada").await;
        let theirs = ours
            .better_auth
            .again(Setup::new(version, json!({"secret": NEW, "plugins": {"jwt": null}})))
            .await;
        let theirs = Pair::beside(theirs, None, &[(variables::SECRET, NEW)]);
        for sent in [Sent::cookie(&ada.session_cookie()), Sent::bearer(&ada.bearer)] {
            assert_eq!(ours.check(&sent).await, Who::user(&ada.id), "{version}");
            assert_eq!(theirs.check(&sent).await, Who::Nobody, "{version}");
        }
        assert_eq!(theirs.check(&Sent::bearer(ada.token())).await, Who::user(&ada.id), "{version}");
    }
}
