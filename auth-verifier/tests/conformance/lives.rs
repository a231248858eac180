//! How sessions end.

use dev_better_auth::{BetterAuth, Person, Setup, Version};
use http::Method;
use serde_json::json;

use crate::pair::{Pair, Sent, Who, ours, variables, verifier};

/// A session's two carriers; and the API token, whose life is its own.
fn carriers(person: &Person) -> [Sent; 2] {
    [Sent::cookie(&person.session_cookie()), Sent::bearer(&person.bearer)]
}

async fn is(pair: &Pair, person: &Person, who: &Who, when: &str) {
    for sent in carriers(person) {
        assert_eq!(pair.check(&sent).await, *who, "{when}, {}: {sent:?}", pair.version());
    }
}

async fn sign_in(better_auth: &BetterAuth, name: &str, remember: bool) -> Person {
    let body = json!({
        "email": format!("{name}@example.com"), "password": "correct horse", "rememberMe": remember,
    });
    let answer = better_auth.call(Method::POST, "/sign-in/email", "", Some(body)).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    better_auth.person(&answer).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_lives_until_it_is_over_revoked_or_its_user_gone() {
    for version in Version::ALL {
        let Some(pair) = Pair::start(Setup::new(version, json!({})), &[]).await else { return };
        let better_auth = &pair.better_auth;
        let first = better_auth.sign_up("ada").await;
        let ada = Who::user(&first.id);
        let (brief, other) =
            (sign_in(better_auth, "ada", false).await, sign_in(better_auth, "ada", true).await);
        assert!(brief.cookies.contains("dont_remember="));
        for session in [&first, &brief, &other] {
            is(&pair, session, &ada, "alive").await;
        }
        let with_all_cookies = Sent::cookie(&brief.cookies);
        assert_eq!(pair.check(&with_all_cookies).await, ada, "not remembered");

        let body = json!({"token": first.token()});
        let revoked = better_auth.call(Method::POST, "/revoke-session", &other.cookies, Some(body)).await;
        assert_eq!(revoked.status, 200, "{}", revoked.body);
        is(&pair, &first, &Who::Nobody, "revoked").await;

        for (end, who) in [("1 minute", &ada), ("-1 second", &Who::Nobody)] {
            let token = brief.token();
            for carrier in carriers(&brief) {
                pair.run(&format!(
                    r#"update session set "expiresAt" = now() + interval '{end}' where token = '{token}'"#
                ))
                .await;
                assert_eq!(pair.check(&carrier).await, *who, "over in {end}, {version}");
            }
        }

        is(&pair, &other, &ada, "nobody else is").await;
        pair.run(r#"delete from "user""#).await;
        is(&pair, &other, &Who::Nobody, "gone").await;
        // A token of the JWT plugin says what was so when it was signed.
        assert_eq!(pair.check(&Sent::bearer(&other.jwt)).await, ada, "gone, {version}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ban_by_the_admin_plugin_ends_all_sessions() {
    for version in Version::ALL {
        let Some(pair) = Pair::start(Setup::new(version, json!({})), &[]).await else { return };
        let (admin, ada) = (pair.better_auth.sign_up("admin").await, pair.better_auth.sign_up("ada").await);
        pair.run(r#"update "user" set role = 'admin' where name = 'admin'"#).await;
        let body = json!({"userId": ada.id});
        let answer = pair.better_auth.call(Method::POST, "/admin/ban-user", &admin.cookies, Some(body)).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        is(&pair, &ada, &Who::Nobody, "banned").await;
        is(&pair, &admin, &Who::user(&admin.id), "nobody else is").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_a_banned_user_is_refused() {
    for version in Version::ALL {
        let Some(pair) = Pair::start(Setup::new(version, json!({})), &[]).await else { return };
        let ada = pair.better_auth.sign_up("ada").await;
        let ban = async |ends: &str| {
            pair.run(&format!(r#"update "user" set banned = true, "banExpires" = {ends}"#)).await;
        };
        for ends in ["null", "now() + interval '1 hour'"] {
            ban(ends).await;
            for sent in carriers(&ada) {
                assert_eq!(pair.theirs(&sent).await, Who::user(&ada.id), "Better Auth doesn't look");
                assert_eq!(pair.ours(&sent).await, Who::NotAllowed, "{version}, until {ends}");
            }
        }
        ban("now() - interval '1 second'").await;
        assert_eq!(
            pair.ours(&Sent::cookie(&ada.session_cookie())).await,
            Who::user(&ada.id),
            "{version}: over"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_token_may_end_with_its_session_or_its_user() {
    let payload =
        json!({"plugins": {"jwt": {"jwt": {"definePayload": "function payload with the session"}}}});
    for version in Version::ALL {
        let Some(pair) = Pair::start(Setup::new(version, payload.clone()), &[]).await else { return };
        let better_auth = &pair.better_auth;
        let by = |what| verifier(better_auth, None, &[(variables::JWT_REVOCATION, what)]);
        let verifiers = ["off", "user", "session"].map(by);
        let verdicts = async |person: &Person| {
            let sent = Sent::bearer(&person.jwt);
            let [off, user, session] = &verifiers;
            let session = ours(session, &sent).await;
            let cookie = Sent::cookie(&person.session_cookie());
            assert_eq!(session, pair.check(&cookie).await, "{version}: as good as the session, no more");
            [ours(off, &sent).await, ours(user, &sent).await, session]
        };
        let alive = |person: &Person| [(); 3].map(|()| Who::user(&person.id));
        let (admin, ada) = (better_auth.sign_up("admin").await, better_auth.sign_up("ada").await);
        let (bob, carol) = (better_auth.sign_up("bob").await, better_auth.sign_up("carol").await);
        for person in [&admin, &ada, &bob, &carol] {
            assert_eq!(verdicts(person).await, alive(person), "{version}");
        }
        pair.run(r#"update "user" set role = 'admin' where name = 'admin'"#).await;

        let later = sign_in(better_auth, "ada", true).await;
        better_auth.sign_out(&ada).await;
        let known = Who::user(&ada.id);
        assert_eq!(verdicts(&ada).await, [known.clone(), known, Who::Nobody], "{version}: signed out");
        assert_eq!(verdicts(&later).await, alive(&later), "{version}: another session");

        let as_admin = async |path: &str, person: &Person| {
            let body = json!({"userId": person.id});
            let answer = better_auth.call(Method::POST, path, &admin.cookies, Some(body)).await;
            assert_eq!(answer.status, 200, "{}", answer.body);
        };
        as_admin("/admin/ban-user", &bob).await;
        // A ban takes the sessions, too.
        assert_eq!(
            verdicts(&bob).await,
            [Who::user(&bob.id), Who::NotAllowed, Who::Nobody],
            "{version}: banned"
        );
        as_admin("/admin/remove-user", &carol).await;
        assert_eq!(
            verdicts(&carol).await,
            [Who::user(&carol.id), Who::Nobody, Who::Nobody],
            "{version}: gone"
        );
        assert_eq!(verdicts(&admin).await, alive(&admin), "{version}: nobody else is");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_token_that_names_no_session_is_not_good_where_it_must() {
    let settings = [(variables::JWT_REVOCATION, "session")];
    for version in Version::ALL {
        let Some(pair) = Pair::start(Setup::new(version, json!({})), &settings).await else { return };
        let ada = pair.better_auth.sign_up("ada").await;
        assert_eq!(pair.ours(&Sent::bearer(&ada.jwt)).await, Who::Nobody, "{version}");
        assert_eq!(pair.ours(&Sent::cookie(&ada.session_cookie())).await, Who::user(&ada.id), "{version}");
    }
}
