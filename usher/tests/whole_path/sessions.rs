//! Session cookies and session tokens, with Better Auth itself as the judge.

use dev_better_auth::BetterAuth;
use http::{Method, Request};
use serde_json::json;

use crate::{
    better_auth::start,
    world::{Answer, World},
};

/// What a browser sends that has these cookies, from a page that may call.
async fn by_cookie(world: &World, method: Method, cookies: &str, body: Option<serde_json::Value>) -> Answer {
    let request = Request::builder()
        .method(method)
        .uri(format!("{}/api/tasks", world.gateway.url()))
        .header("origin", "http://localhost:3000")
        .header("cookie", cookies);
    world.client.call(request, body).await
}

async fn lists(world: &World, cookies: &str) -> u16 {
    by_cookie(world, Method::GET, cookies, None).await.status.as_u16()
}

/// What Better Auth says of the same cookies, without its own cache.
async fn better_auth_knows(better_auth: &BetterAuth, cookies: &str) -> bool {
    let answer = better_auth.call(Method::GET, "/get-session?disableCookieCache=true", cookies, None).await;
    assert_eq!(answer.status, 200);
    !answer.body.is_null()
}

/// A world that looks sessions up there, every time anew.
async fn world(better_auth: &BetterAuth, further: &[(&str, &str)]) -> Option<World> {
    let variables = [
        ("BETTER_AUTH_URL", &*better_auth.url),
        ("AUTH_VERIFIER_REVOCATION_LAG_SECS", "0"),
        // A slow machine is not what is tested here.
        ("AUTH_VERIFIER_SESSION__TIMEOUT_MS", "20000"),
    ];
    World::start(&[&variables, further].concat()).await
}

async fn a_session_opens_the_door_until_it_ends(better_auth: &BetterAuth, world: &World) {
    let (ada, bob) = (better_auth.sign_up("ada").await, better_auth.sign_up("bob").await);
    let made = by_cookie(world, Method::POST, &ada.cookies, Some(json!({"title": "Ada's"}))).await;
    assert_eq!((made.status.as_u16(), &made.body["user_id"]), (201, &json!(ada.id)), "{}", made.body);
    assert_eq!(by_cookie(world, Method::GET, &bob.cookies, None).await.body, json!([]));

    // With its signature, percent-encoded or not; never bare, as it stands in a table.
    for token in [&*ada.bearer, &ada.bearer.replace('=', "%3D")] {
        assert_eq!(world.bearer(token).titles().await, ["Ada's"], "as a bearer token");
    }
    let bare = world.bearer(ada.token()).call(Method::GET, "/api/tasks", None).await;
    assert_eq!(bare.status, 401);

    let cookie = &*ada.session_cookie();
    let forged = format!("{}A", &cookie[..cookie.len() - 1]);
    let swapped =
        format!("{}.{}", bob.session_cookie().split('.').next().unwrap(), cookie.split('.').nth(1).unwrap());
    for bad in [&*forged, &swapped, &cookie[..cookie.len() - 8], "better-auth.session_token=", "other=1"] {
        assert_eq!(lists(world, bad).await, 401, "{bad}");
        assert!(!better_auth_knows(better_auth, bad).await, "{bad}");
    }
    // Of two cookies with one name the first counts, for Better Auth too.
    let two = format!("{}; {cookie}", bob.session_cookie());
    assert_eq!(by_cookie(world, Method::GET, &two, None).await.body, json!([]), "Bob's");

    // A token that is no good is the end of it, whatever cookie comes beside it.
    let both = async |token: &str| {
        let request = Request::get(format!("{}/api/tasks", world.gateway.url()))
            .header("authorization", format!("Bearer {token}"))
            .header("cookie", &ada.cookies);
        world.client.call(request, None).await.status.as_u16()
    };
    assert_eq!(both("a.b.c").await, 401);
    // One that nobody signed is none.
    assert_eq!(both("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa").await, 200);

    better_auth.sign_out(&ada).await;
    assert!(!better_auth_knows(better_auth, cookie).await);
    assert_eq!(lists(world, cookie).await, 401, "signed out");
    assert_eq!(world.bearer(&ada.bearer).call(Method::GET, "/api/tasks", None).await.status, 401);
    assert_eq!(lists(world, &bob.cookies).await, 200, "nobody else is");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_looked_up_by_asking_better_auth() {
    let Some(better_auth) = start(json!({})).await else { return };
    let Some(world) = world(&better_auth, &[("AUTH_VERIFIER_SESSION__LOOKUP", "http")]).await else { return };
    a_session_opens_the_door_until_it_ends(&better_auth, &world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_looked_up_in_better_auths_own_tables() {
    let Some(better_auth) = start(json!({})).await else { return };
    let database = better_auth.database_url();
    let variables =
        [("AUTH_VERIFIER_SESSION__LOOKUP", "database"), ("AUTH_VERIFIER_DATABASE__URL", &*database)];
    let Some(world) = world(&better_auth, &variables).await else { return };
    a_session_opens_the_door_until_it_ends(&better_auth, &world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cookies_may_have_another_prefix() {
    let Some(better_auth) = start(json!({"advanced": {"cookiePrefix": "my-app"}})).await else { return };
    let Some(world) = world(&better_auth, &[("AUTH_VERIFIER_SESSION__COOKIE_PREFIX", "my-app")]).await else {
        return;
    };
    let ada = better_auth.sign_up("ada").await;
    assert!(ada.cookies.contains("my-app.session_token="));
    assert_eq!(lists(&world, &ada.cookies).await, 200);
    assert_eq!(lists(&world, &ada.cookies.replace("my-app", "better-auth")).await, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_form_of_the_cookie_cache_spares_the_look_up_and_none_stands_alone() {
    for strategy in ["compact", "jwt", "jwe"] {
        let cache = json!({"session": {"cookieCache": {"enabled": true, "strategy": strategy}}});
        let Some(better_auth) = start(cache).await else { return };
        // Nobody answers look-ups, so that whoever gets in came by the cache. (With keys of its own, the plugin for
        // API tokens signs the `jwt` form only where it is told to.)
        let variables = [
            ("AUTH_VERIFIER_COOKIE_CACHE__STRATEGY", strategy),
            ("AUTH_VERIFIER_SESSION__LOOKUP", "http"),
            ("AUTH_VERIFIER_SESSION__URL", "http://127.0.0.1:1"),
        ];
        let Some(world) = world(&better_auth, &variables).await else { return };
        let (ada, bob) = (better_auth.sign_up("ada").await, better_auth.sign_up("bob").await);
        let made = by_cookie(&world, Method::POST, &ada.cookies, Some(json!({"title": "Ada's"}))).await;
        assert_eq!((made.status.as_u16(), &made.body["user_id"]), (201, &json!(ada.id)), "{strategy}");

        let data = &*ada.cookie("session_data");
        assert_eq!(lists(&world, data).await, 401, "{strategy}: the cache alone is nothing");
        let mixed = format!("{}; {data}", bob.session_cookie());
        assert_eq!(
            lists(&world, &mixed).await,
            503,
            "{strategy}: nor beside another's session, which is looked up"
        );
        let (start, end) = data.split_at(data.len() - 10);
        let other = if end.starts_with('A') { 'B' } else { 'A' };
        let changed = format!("{}; {start}{other}{}", ada.session_cookie(), &end[1..]);
        assert_eq!(lists(&world, &changed).await, 503, "{strategy}: nor changed");
        // As a bearer token it is no API token.
        let value = data.split_once('=').unwrap().1;
        assert_eq!(world.bearer(value).call(Method::GET, "/api/tasks", None).await.status, 401, "{strategy}");
    }
}
