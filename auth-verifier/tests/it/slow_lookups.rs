//! Look-ups that take their time, that Better Auth limits, or that nobody has a right to.

use std::{sync::Arc, time::Duration};

use auth_verifier::session::token::{SessionToken, SigningKey};
use chassis::Body;
use http::Request;
use tokio::task::JoinHandle;

use crate::{
    sessions::{FAR, TOKEN, ada, cookie, session},
    tables::{BETTER_AUTH, WithTables},
    world::{Answer, SECRET, World},
};

const UNSIGNED: (&str, &str) = ("AUTH_VERIFIER_SESSION__DANGEROUS_UNSIGNED_BEARER", "on");
const LONG_LAG: (&str, &str) = ("AUTH_VERIFIER_REVOCATION_LAG_SECS", "300");

async fn world(variables: &[(&str, &str)]) -> Arc<World> {
    let patient = [("AUTH_VERIFIER_SESSION__TIMEOUT_MS", "60000")];
    let world = World::new(&[&patient, variables].concat()).await;
    world.endpoint.answer(200, &session(TOKEN, FAR, ada()));
    Arc::new(world)
}

/// A request by the session's cookie, and whatever headers come with it.
fn ask(world: &Arc<World>, fields: &[(&'static str, &str)]) -> JoinHandle<Answer> {
    let fields = fields.iter().map(|(name, value)| (*name, (*value).to_owned()));
    let world = world.clone();
    let request = fields
        .fold(Request::get("/verify").header("cookie", cookie(SECRET)), |request, (name, value)| {
            request.header(name, value)
        });
    tokio::spawn(async move { world.get(request.body(Body::empty()).unwrap()).await })
}

fn bearer(world: &Arc<World>, token: String) -> JoinHandle<Answer> {
    let world = world.clone();
    tokio::spawn(async move { world.bearer(&token).await })
}

/// A token of nobody's, as Better Auth makes them.
fn made_up(number: usize) -> String {
    format!("AStrangersTokenNumber{number:011}")
}

#[tokio::test]
async fn a_look_up_that_nobody_waits_for_any_more_serves_whoever_asks_next() {
    let world = world(&[LONG_LAG]).await;
    world.endpoint.hold();
    // Whoever asks says that they wait no longer, or hangs up.
    let impatient = ask(&world, &[("x-verdict-wait-ms", "50")]).await.unwrap();
    assert_eq!((impatient.status.as_u16(), impatient.header("retry-after")), (503, Some("1")));
    let gone = ask(&world, &[]);
    tokio::time::sleep(Duration::from_millis(20)).await;
    gone.abort();
    world.endpoint.wait_for(1).await;
    let waiting = ask(&world, &[]);
    world.endpoint.release();
    assert_eq!(waiting.await.unwrap().user(), Some("u1"));
    assert_eq!(ask(&world, &[]).await.unwrap().user(), Some("u1"));
    assert_eq!(world.endpoint.asked(), 1);
}

#[tokio::test]
async fn a_session_in_use_is_looked_up_again_before_the_lag_ends_where_that_takes_long() {
    let world = world(&[("AUTH_VERIFIER_REVOCATION_LAG_SECS", "3")]).await;
    world.endpoint.hold();
    let first = ask(&world, &[]);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    world.endpoint.release();
    assert_eq!(first.await.unwrap().status, 200);
    // Half of the lag is over, and the next would take as long: it begins now, and nobody waits for it.
    world.endpoint.hold();
    let begun = std::time::Instant::now();
    let served = ask(&world, &[("x-verdict-wait-ms", "5000")]).await.unwrap();
    assert!(served.status == 200 || begun.elapsed() > Duration::from_secs(1), "a slow machine");
    world.endpoint.wait_for(2).await;
    world.endpoint.release();
}

#[tokio::test]
async fn however_many_give_up_there_is_one_look_up() {
    let world = world(&[LONG_LAG]).await;
    world.endpoint.hold();
    let asked: Vec<_> = (0..100).map(|_| ask(&world, &[("x-verdict-wait-ms", "30")])).collect();
    for asked in asked {
        assert_eq!(asked.await.unwrap().status, 503);
    }
    world.endpoint.release();
    assert_eq!(ask(&world, &[]).await.unwrap().status, 200);
    assert_eq!(world.endpoint.asked(), 1);
}

#[tokio::test]
async fn a_sign_out_before_a_request_is_seen_by_it_whatever_is_under_way() {
    let world = world(&[("AUTH_VERIFIER_REVOCATION_LAG_SECS", "0")]).await;
    world.endpoint.hold();
    let before = ask(&world, &[]);
    world.endpoint.wait_for(1).await;
    world.endpoint.answer(200, "null");
    let after = [ask(&world, &[]), ask(&world, &[]), ask(&world, &[])];
    tokio::time::sleep(Duration::from_millis(50)).await;
    world.endpoint.release();
    assert_eq!(before.await.unwrap().status, 200);
    for after in after {
        assert_eq!(after.await.unwrap().status, 401);
    }
    assert!(world.endpoint.asked() <= 4, "{}", world.endpoint.asked());
}

#[tokio::test]
async fn strangers_with_made_up_tokens_leave_good_cookies_their_places() {
    let world = world(&[UNSIGNED]).await;
    world.endpoint.hold();
    let strangers: Vec<_> = (0..400).map(|number| bearer(&world, made_up(number))).collect();
    world.endpoint.wait_for(1).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let under_way = world.endpoint.asked();
    assert!(under_way <= 2, "{under_way} look-ups for strangers at one time");
    let good = ask(&world, &[]);
    world.endpoint.wait_for(under_way + 1).await;
    world.endpoint.release();
    assert_eq!(good.await.unwrap().user(), Some("u1"));
    for stranger in strangers {
        // The answer is about another session, which says nothing of theirs.
        assert_ne!(stranger.await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn strangers_leave_good_cookies_their_places_in_the_database_too() {
    let patient = ("AUTH_VERIFIER_SESSION__TIMEOUT_MS", "60000");
    let Some(tables) = WithTables::new(BETTER_AUTH, &[UNSIGNED, patient]).await else { return };
    let world = Arc::new(tables.world);
    let token = SessionToken::bare(crate::tables::TOKEN).unwrap();
    let good = format!("better-auth.session_token={}", SigningKey::new(SECRET).sign(&token));
    let strangers: Vec<_> = (0..400).map(|number| bearer(&world, made_up(number))).collect();
    for _ in 0..20 {
        let request = Request::get("/verify").header("cookie", &good).body(Body::empty()).unwrap();
        let answer = world.get(request).await;
        assert_eq!((answer.status.as_u16(), answer.user()), (200, Some("u1")), "{}", answer.body);
    }
    let mut refused = Vec::new();
    for stranger in strangers {
        refused.push(stranger.await.unwrap().status.as_u16());
    }
    assert!(refused.iter().all(|status| [401, 503].contains(status)), "{refused:?}");
    // Somebody who has such a token in earnest.
    assert_eq!(world.bearer(crate::tables::TOKEN).await.user(), Some("u1"));
}

#[tokio::test]
async fn what_was_refused_takes_no_place_among_what_is_good() {
    let world = world(&[UNSIGNED, LONG_LAG, ("AUTH_VERIFIER_LOOKUPS_CACHE_ENTRIES_MAX", "1")]).await;
    assert_eq!(ask(&world, &[]).await.unwrap().status, 200);
    world.endpoint.answer(200, "null");
    for number in 0..20 {
        assert_eq!(world.bearer(&made_up(number)).await.status, 401);
    }
    assert_eq!(ask(&world, &[]).await.unwrap().status, 200, "it is remembered still");
    assert_eq!(world.endpoint.asked(), 21);
}

#[tokio::test]
async fn better_auths_limit_is_kept_for_as_long_as_it_says() {
    for (name, value, secs) in [("retry-after", "7", "7"), ("x-retry-after", "9", "9"), ("date", "x", "10")] {
        let world = world(&[("AUTH_VERIFIER_REVOCATION_LAG_SECS", "0")]).await;
        world.endpoint.put(name, value);
        world.endpoint.answer(429, "{}");
        let limited = ask(&world, &[]).await.unwrap();
        assert_eq!((limited.status.as_u16(), limited.header("retry-after")), (503, Some(secs)));
        world.endpoint.answer(200, &session(TOKEN, FAR, ada()));
        for _ in 0..10 {
            let limited = ask(&world, &[]).await.unwrap();
            assert_eq!(limited.status, 503);
            let left: u32 = limited.header("retry-after").unwrap().parse().unwrap();
            assert!((1..=secs.parse().unwrap()).contains(&left), "{left}");
        }
        assert_eq!(world.endpoint.asked(), 1, "it is not asked meanwhile");
    }
}

#[tokio::test]
async fn what_was_known_stays_in_use_while_better_auth_limits_us() {
    let world = world(&[LONG_LAG]).await;
    assert_eq!(ask(&world, &[]).await.unwrap().status, 200);
    world.endpoint.answer(429, "{}");
    let other = SessionToken::bare(&made_up(1)).unwrap();
    let other = SigningKey::new(SECRET).sign(&other);
    assert_eq!(world.bearer(&other).await.status, 503);
    assert_eq!(ask(&world, &[]).await.unwrap().status, 200);
}

#[tokio::test]
async fn better_auth_hears_whose_request_it_is_and_one_clients_limit_is_no_others() {
    let world = world(&[("AUTH_VERIFIER_REVOCATION_LAG_SECS", "0")]).await;
    let from = |client: &str| ask(&world, &[("x-forwarded-for", client)]);
    assert_eq!(from("203.0.113.7").await.unwrap().status, 200);
    assert_eq!(world.endpoint.heard("x-forwarded-for").as_deref(), Some("203.0.113.7"));
    assert_eq!(from("198.51.100.1, 203.0.113.8").await.unwrap().status, 200);
    assert_eq!(world.endpoint.heard("x-forwarded-for").as_deref(), Some("203.0.113.8"), "the nearest");
    assert_eq!(from("203.0.113.8, nonsense").await.unwrap().status, 200);
    assert_eq!(world.endpoint.heard("x-forwarded-for"), None);

    world.endpoint.answer(429, "{}");
    assert_eq!(from("203.0.113.7").await.unwrap().status, 503);
    world.endpoint.answer(200, &session(TOKEN, FAR, ada()));
    assert_eq!(from("203.0.113.7").await.unwrap().status, 503);
    assert_eq!(from("203.0.113.8").await.unwrap().status, 200);
    assert_eq!(ask(&world, &[]).await.unwrap().status, 200);
}

#[tokio::test]
async fn the_header_with_the_address_is_a_setting() {
    let header = "AUTH_VERIFIER_SESSION__CLIENT_ADDRESS_HEADER";
    let off = ("AUTH_VERIFIER_REVOCATION_LAG_SECS", "0");
    let named = world(&[(header, "x-client-ip"), off]).await;
    assert_eq!(ask(&named, &[("x-forwarded-for", "203.0.113.7")]).await.unwrap().status, 200);
    assert_eq!(named.endpoint.heard("x-client-ip").as_deref(), Some("203.0.113.7"));
    assert_eq!(named.endpoint.heard("x-forwarded-for"), None);
    let load = |name: &str| {
        let variables = [("BETTER_AUTH_SECRET", SECRET), (header, name)];
        chassis::settings::load::<auth_verifier::settings::Settings>(&variables.into_iter().collect())
    };
    for bad in ["Cookie", "authorization", "x forwarded", "host"] {
        assert!(load(bad).is_err(), "{bad}");
    }
}
