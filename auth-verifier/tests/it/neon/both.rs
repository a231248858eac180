//! Neon Auth beside a Better Auth of one's own: each credential is of one of the two, and is tried at no other.

use serde_json::json;

use super::stand_in::{ADA, COOKIE, COOKIE_SECRET, Neon, by, cookie, data, session, signed};
use crate::{
    issuer::Signing,
    sessions,
    world::{ISSUER, SECRET, World, claims_with},
};

const OWN: &str = "better-auth.session_token";

#[tokio::test]
async fn each_token_is_checked_by_the_keys_of_the_issuer_that_it_names() {
    let neon = Neon::new().await;
    let world = neon.beside("neon:", &[]).await;
    // Even under one key id.
    let (ours, theirs) = (Signing::new("k1", "EdDSA"), Signing::new("k1", "EdDSA"));
    world.endpoint.publish(&[ours.jwk()]);
    neon.publish(&[theirs.jwk()]);
    let neons = neon.claims(json!({}));
    assert_eq!(world.bearer(&ours.token(&claims_with(json!({})))).await.user(), Some("u1"));
    let by_neon = world.bearer(&theirs.token(&neons)).await;
    assert_eq!(by_neon.user(), Some(&*format!("neon:{ADA}")));
    assert_eq!(by_neon.header("x-user-email"), None, "theirs might be the address of one of ours");
    for (key, claims) in [
        (&theirs, claims_with(json!({}))),
        (&theirs, claims_with(json!({"role": "authenticated"}))),
        (&ours, neons.clone()),
        (&ours, claims_with(json!({"iss": neon.origin(), "role": "authenticated"}))),
        (&ours, claims_with(json!({"iss": neon.origin(), "aud": neon.origin(), "role": "authenticated"}))),
        (&theirs, neon.claims(json!({"aud": ISSUER}))),
        (&theirs, neon.claims(json!({"iss": ISSUER}))),
        (&theirs, neon.claims(json!({"iss": ISSUER, "aud": ISSUER}))),
        (&theirs, neon.claims(json!({"iss": [ISSUER, neon.origin()]}))),
    ] {
        world.rejects(&key.token(&claims)).await;
    }
    // A role says nothing where it is not Neon's.
    assert_eq!(
        world.bearer(&ours.token(&claims_with(json!({"role": "anonymous"})))).await.user(),
        Some("u1")
    );
}

#[tokio::test]
async fn one_id_is_two_users_or_one_as_the_setting_says() {
    let neon = Neon::new().await;
    neon.know(
        COOKIE,
        &signed(super::stand_in::TOKEN),
        session(super::stand_in::TOKEN, &json!({"id": "u1", "email": "u1@neon.test"})),
    );
    for (prefix, user, email) in [("neon:", "neon:u1", None), ("none", "u1", Some("u1@neon.test"))] {
        let world = neon.beside(prefix, &[]).await;
        world.endpoint.answer(200, &sessions::session(sessions::TOKEN, sessions::FAR, sessions::ada()));
        assert_eq!(by(&world, &sessions::cookie(SECRET)).await.user(), Some("u1"));
        let answer = by(&world, &cookie()).await;
        assert_eq!((answer.user(), answer.header("x-user-email")), (Some(user), email), "{prefix}");
    }
}

#[tokio::test]
async fn nobody_of_ours_is_called_as_neons_users_are() {
    let neon = Neon::new().await;
    let world = neon.beside("neon:", &[]).await;
    let ours = Signing::new("k1", "EdDSA");
    world.endpoint.publish(&[ours.jwk()]);
    world.rejects(&ours.token(&claims_with(json!({"sub": format!("neon:{ADA}")})))).await;
    let life = std::time::Duration::from_secs(60);
    world.rejects(&auth_verifier::diagnostics::dev_token::mint(SECRET, &format!("neon:{ADA}"), life)).await;
    let user = json!({"id": format!("neon:{ADA}")});
    world.endpoint.answer(200, &sessions::session(sessions::TOKEN, sessions::FAR, user));
    assert_eq!(by(&world, &sessions::cookie(SECRET)).await.status, 401);
}

#[tokio::test]
async fn each_cookie_is_asked_about_where_it_is_from() {
    let neon = Neon::new().await;
    let world = neon.beside("neon:", &[]).await;
    world.endpoint.answer(200, &sessions::session(sessions::TOKEN, sessions::FAR, sessions::ada()));
    let own = sessions::cookie(SECRET);
    assert_eq!(by(&world, &own).await.user(), Some("u1"));
    assert_eq!((world.endpoint.asked(), neon.asked()), (1, 0));
    assert_eq!(by(&world, &cookie()).await.user(), Some(&*format!("neon:{ADA}")));
    assert_eq!((world.endpoint.asked(), neon.asked()), (1, 1));
    // The value of one under the name of the other.
    let value = |cookie: &str| cookie.split_once('=').unwrap().1.to_owned();
    let swapped = [format!("{OWN}={}", value(&cookie())), format!("{COOKIE}={}", value(&own))];
    for swapped in &swapped {
        assert_eq!(by(&world, swapped).await.status, 401, "{swapped}");
    }
    assert_eq!((world.endpoint.asked(), neon.asked()), (1, 2));
}

#[tokio::test]
async fn where_both_are_there_our_own_counts_if_we_have_signed_it() {
    let neon = Neon::new().await;
    let own = sessions::cookie(SECRET);
    let forged = sessions::cookie("another-secret-of-at-least-32-bytes!");
    let alive = sessions::session(sessions::TOKEN, sessions::FAR, sessions::ada());
    let neons = format!("neon:{ADA}");
    for (cookies, answer, want) in [
        (format!("{}; {own}", cookie()), &*alive, Some("u1")),
        (format!("{own}; {}", cookie()), &alive, Some("u1")),
        // One that has ended is not made good by another account's.
        (format!("{own}; {}", cookie()), "null", None),
        (format!("{forged}; {}", cookie()), &alive, Some(&*neons)),
        (format!("{OWN}=; {}", cookie()), &alive, Some(&neons)),
        (forged.clone(), &alive, None),
    ] {
        let world = neon.beside("neon:", &[]).await;
        world.endpoint.answer(200, answer);
        let answer = by(&world, &cookies).await;
        assert_eq!((answer.status == 200, answer.user()), (want.is_some(), want), "{cookies}");
    }
}

/// The app has its secret, and speaks for Neon Auth's users alone.
#[tokio::test]
async fn the_apps_secret_signs_nobodys_identity_beside_one_of_our_own() {
    let neon = Neon::new().await;
    let kids = |world: &World| {
        let keys = world.verifier.published()["keys"].as_array().unwrap().clone();
        keys.iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let [by_neon, own] = [kids(&neon.alone(&[]).await), kids(&World::new(&[]).await)];
    assert_ne!(by_neon, own);
    assert_eq!(kids(&neon.beside("neon:", &[]).await), own);
    // From Neon Auth alone to both, and back: as with any seed.
    for name in ["AUTH_VERIFIER_IDENTITY__PREVIOUS_SEED", "AUTH_VERIFIER_IDENTITY__NEXT_SEED"] {
        let both = neon.beside("neon:", &[(name, COOKIE_SECRET)]).await;
        assert_eq!(kids(&both), [&own[..], &by_neon].concat(), "{name}");
    }
}

#[tokio::test]
async fn what_the_sdk_signs_is_no_token_of_ours_nor_the_other_way_round() {
    let neon = Neon::new().await;
    let world = neon.beside("none", &[("AUTH_VERIFIER_COOKIE_CACHE__BEARER", "on")]).await;
    world.rejects(&data(COOKIE_SECRET, json!({}))).await;
    neon.forget();
    let ours = data(SECRET, json!({}));
    let beside = format!("{}; {}={ours}", cookie(), super::stand_in::DATA);
    assert_eq!(by(&world, &beside).await.status, 401);
}
