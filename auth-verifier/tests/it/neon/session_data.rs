//! The cache of a session that Neon's SDK keeps beside its cookie.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::stand_in::{
    ADA, COOKIE, COOKIE_SECRET, DATA, Neon, TOKEN, by, cookie, data, session, signed, signed_by,
};
use crate::world::{World, now};

const LAG: (&str, &str) = ("AUTH_VERIFIER_REVOCATION_LAG_SECS", "300");

/// A verifier that Neon has told of Ada's session, long ago. Whoever gets in from now on came by the cache: Neon knows nobody.
async fn world(neon: &Neon, variables: &[(&str, &str)]) -> World {
    let world = neon.proven(now, &cookie(), &[&[LAG], variables].concat()).await;
    neon.forget();
    world
}

fn beside(cookie: &str, data: &str) -> String {
    format!("{cookie}; {DATA}={data}")
}

#[tokio::test]
async fn beside_its_own_session_it_spares_the_look_up() {
    let neon = Neon::new().await;
    let world = world(&neon, &[]).await;
    for order in [
        beside(&cookie(), &data(COOKIE_SECRET, json!({}))),
        format!("{DATA}={}; {}", data(COOKIE_SECRET, json!({})), cookie()),
    ] {
        let answer = by(&world, &order).await;
        assert_eq!((answer.status.as_u16(), answer.user()), (200, Some(ADA)));
        assert_eq!(
            (answer.header("x-credential"), answer.header("x-user-email")),
            (Some("cookie"), Some("ada@example.com"))
        );
    }
    assert_eq!(neon.asked(), 1);
}

#[tokio::test]
async fn by_itself_it_is_worth_nothing() {
    let neon = Neon::new().await;
    let world = world(&neon, &[]).await;
    let data = data(COOKIE_SECRET, json!({}));
    assert_eq!(by(&world, &format!("{DATA}={data}")).await.status, 401);
    assert_eq!(by(&world, &format!("{COOKIE}=; {DATA}={data}")).await.status, 401);
    assert_eq!(by(&world, &format!("{COOKIE}={data}")).await.status, 401);
    world.rejects(&data).await;
    assert_eq!(neon.asked(), 1);
}

/// Everything that makes it no good has the session looked up, where Neon says that there is none.
#[tokio::test]
async fn of_another_session_another_secret_or_another_time_it_is_worth_nothing() {
    let neon = Neon::new().await;
    let payload = |changes: Value| data(COOKIE_SECRET, changes);
    let other = session("BN38LlXAsfWfnnZ19cDjYaajjbQp1dJV", &json!({"id": ADA}));
    let good = payload(json!({}));
    let (signed_part, signature) = good.rsplit_once('.').unwrap();
    let (_, claims) = signed_part.split_once('.').unwrap();
    let header = |text: &str| format!("{}.{claims}.{signature}", BASE64_URL_SAFE_NO_PAD.encode(text));
    for bad in [
        payload(json!({"session": other["session"]})),
        payload(json!({"user": {"id": "eve"}})),
        payload(json!({"user": {"id": "eve"}, "sub": "eve"})),
        payload(json!({"sub": "eve"})),
        // All of it, by whoever has the app's secret.
        payload(
            json!({"user": {"id": "eve"}, "sub": "eve", "session": session(TOKEN, &json!({"id": "eve"}))["session"]}),
        ),
        payload(json!({"sub": "anonymous"})),
        payload(json!({"user": null, "sub": "anonymous"})),
        payload(json!({"session": null})),
        payload(json!({"session": {"token": TOKEN, "userId": ADA, "expiresAt": "2020-01-01T00:00:00.000Z"}})),
        payload(json!({"exp": now() - 1})),
        payload(json!({"exp": null})),
        payload(json!({"iat": null})),
        payload(json!({"iat": now() + 3600, "exp": now() + 3900})),
        payload(json!({"iat": now() - 300})),
        payload(json!({"user": {"id": ADA, "banned": "yes"}})),
        data("another-secret-of-at-least-32-bytes!", json!({})),
        data("", json!({})),
        neon.key.token(&neon.claims(json!({}))),
        header(r#"{"alg":"none","typ":"JWT"}"#),
        header(r#"{"alg":"HS512","typ":"JWT"}"#),
        header(r#"{"alg":"HS256","typ":"JWT","crit":["x"]}"#),
        format!("{signed_part}."),
        good[..good.len() - 1].to_owned(),
        format!("{good}A"),
        format!("{good}.{good}"),
        "x".to_owned(),
    ] {
        let neon = Neon::new().await;
        let world = world(&neon, &[]).await;
        let answer = by(&world, &beside(&cookie(), &bad)).await;
        assert_eq!((answer.status.as_u16(), answer.user(), neon.asked()), (401, None, 2), "{bad}");
    }
}

/// The SDK's cache holds its session's token, and doesn't say at which Neon Auth that is.
#[tokio::test]
async fn it_vouches_for_no_cookie_that_neon_has_not() {
    let made = data(COOKIE_SECRET, json!({}));
    // Of a session of another branch, say, whose app has the same secret.
    let neon = Neon::new().await;
    neon.forget();
    let unheard = neon.alone(&[LAG]).await;
    assert_eq!(by(&unheard, &beside(&cookie(), &made)).await.status, 401);
    assert_eq!(neon.asked(), 1);
    // Of a session that is known, by whoever has read the cache and no more.
    let neon = Neon::new().await;
    let world = world(&neon, &[]).await;
    let forged = format!("{COOKIE}={}", signed_by("somebody-elses-secret-of-32-bytes", TOKEN));
    let answer = by(&world, &beside(&forged, &made)).await;
    assert_eq!((answer.status.as_u16(), answer.user(), neon.asked()), (401, None, 2));
    assert_eq!(by(&world, &beside(&cookie(), &made)).await.user(), Some(ADA), "and costs her nothing");
    assert_eq!(neon.asked(), 2);
}

#[tokio::test]
async fn what_neon_has_said_since_counts_instead() {
    let banned = json!({"id": ADA, "banned": true});
    for (said, status) in [(Value::Null, 401), (session(TOKEN, &banned), 403)] {
        let neon = Neon::new().await;
        let world = world(&neon, &[]).await;
        neon.know(COOKIE, &signed(TOKEN), said);
        assert_eq!(by(&world, &cookie()).await.status, status);
        let earlier = data(COOKIE_SECRET, json!({"iat": now() - 10}));
        for made in [earlier, data(COOKIE_SECRET, json!({}))] {
            assert_eq!(by(&world, &beside(&cookie(), &made)).await.status, status);
        }
        assert_eq!(neon.asked(), 2);
    }
}

#[tokio::test]
async fn it_is_good_until_its_last_second_and_no_longer_than_the_lag() {
    let begun = now();
    let made = data(COOKIE_SECRET, json!({"iat": begun, "exp": begun + 60}));
    for (lag, secs, good) in [
        ("300", 0, true),
        ("300", 59, true),
        ("300", 60, false),
        ("300", 61, false),
        ("5", 4, true),
        ("5", 5, false),
        ("0", 0, false),
    ] {
        let neon = Neon::new().await;
        let lag_set = ("AUTH_VERIFIER_REVOCATION_LAG_SECS", lag);
        let world = neon.proven(move || begun + secs, &cookie(), &[lag_set]).await;
        neon.forget();
        let answer = by(&world, &beside(&cookie(), &made)).await;
        assert_eq!(answer.status == 200, good, "lag {lag}, at {secs}");
        assert_eq!(neon.asked(), 1 + usize::from(!good), "lag {lag}, at {secs}");
        if good {
            let age: u64 =
                answer.header("cache-control").unwrap().rsplit_once('=').unwrap().1.parse().unwrap();
            let left = lag.parse::<u64>().unwrap().min(60) - secs;
            assert!(age < left || age == 0, "{age} of {left}");
        }
    }
}

#[tokio::test]
async fn a_ban_in_it_holds() {
    let neon = Neon::new().await;
    let world = world(&neon, &[]).await;
    let banned = json!({"id": ADA, "banned": true});
    assert_eq!(
        by(&world, &beside(&cookie(), &data(COOKIE_SECRET, json!({"user": banned})))).await.status,
        403
    );
}

#[tokio::test]
async fn without_the_secret_or_too_long_it_is_not_looked_at() {
    let seed = ("AUTH_VERIFIER_IDENTITY__SEED", COOKIE_SECRET);
    let data = data(COOKIE_SECRET, json!({"padding": "x".repeat(2000)}));
    for (variables, status) in [
        (&[][..], 200),
        (&[("NEON_AUTH_COOKIE_SECRET", ""), seed], 401),
        (&[("AUTH_VERIFIER_TOKEN_BYTES_MAX", "2048")], 401),
    ] {
        let neon = Neon::new().await;
        let world = world(&neon, variables).await;
        assert_eq!(by(&world, &beside(&cookie(), &data)).await.status, status, "{variables:?}");
        assert_eq!(neon.asked(), if status == 200 { 1 } else { 2 }, "{variables:?}");
    }
}
