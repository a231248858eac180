//! Nobody makes more requests in a while than they may: who is counted, what they are told, and what the others notice.

use chassis::Body;
use http::{Method, Request};

use crate::world::{Answer, World, config, knows_by_name};

/// The proxy in front, in these tests, is whoever connects.
const TRUSTING: (&str, &str) = ("GATEWAY_SERVER__TRUSTED_PROXIES", "127.0.0.0/8");

/// None comes back while a test runs.
const CLIENT: [(&str, &str); 2] =
    [("GATEWAY_LIMITS__CLIENT_PER_MINUTE", "1"), ("GATEWAY_LIMITS__CLIENT_BURST", "2")];
const USER: [(&str, &str); 2] =
    [("GATEWAY_LIMITS__USER_PER_MINUTE", "1"), ("GATEWAY_LIMITS__USER_BURST", "2")];

async fn world(variables: &[(&str, &str)]) -> World {
    let world = World::with(&[&[TRUSTING], variables].concat()).await;
    world.verifier.respond(knows_by_name);
    world
}

fn request(method: Method, target: &str, user: &str, address: &str) -> http::request::Builder {
    Request::builder()
        .method(method)
        .uri(target)
        .header("authorization", format!("Bearer {user}"))
        .header("origin", "http://localhost:3000")
        .header("x-forwarded-for", address)
}

async fn ask_at(world: &World, target: &str, user: &str, address: &str) -> Answer {
    world.send(request(Method::GET, target, user, address).body(Body::empty()).unwrap()).await
}

async fn ask(world: &World, user: &str, address: &str) -> Answer {
    ask_at(world, "/api/tasks", user, address).await
}

/// The values of a header, however many lines it has.
fn said(answer: &Answer, name: &str) -> Vec<String> {
    answer.headers.get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect()
}

fn assert_limited(answer: &Answer, of: &str) {
    assert_eq!((answer.status.as_u16(), &*answer.problem()), (429, "rate-limited"));
    let wait: u32 = answer.one("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    let (policy, standing) = (said(answer, "ratelimit-policy"), said(answer, "ratelimit"));
    assert_eq!(policy.last().unwrap(), &format!("\"{of}\";q=2;w=120"));
    assert!(standing.last().unwrap().starts_with(&format!("\"{of}\";r=0;t=")), "{standing:?}");
}

#[tokio::test]
async fn a_client_has_its_rate_whoever_it_says_it_is_and_auth_verifier_does_not_hear_of_the_rest() {
    let world = world(&CLIENT).await;
    for (user, address, left) in [("u1", "2001:db8::1", 1), ("u2", "2001:db8::2", 0)] {
        let answer = ask(&world, user, address).await;
        assert_eq!(answer.status, 200);
        let standing = answer.one("ratelimit").unwrap();
        assert!(standing.starts_with(&format!("\"client\";r={left};t=")), "{standing}");
        assert_eq!(answer.one("ratelimit-policy"), Some("\"client\";q=2;w=120"));
    }
    let asked = world.verifier.seen().len();
    for (user, address) in [("u1", "2001:db8::1"), ("u3", "2001:db8::ffff:3")] {
        assert_limited(&ask(&world, user, address).await, "client");
    }
    assert_eq!(world.verifier.seen().len(), asked);
    for other in ["2001:db8:0:1::1", "203.0.113.7"] {
        assert_eq!(ask(&world, "u1", other).await.status, 200, "{other}");
    }
}

#[tokio::test]
async fn who_has_used_up_a_rate_has_used_it_up_when_the_settings_are_read_again() {
    let world = world(&[CLIENT, USER].concat()).await;
    for address in ["203.0.113.1", "203.0.113.2"] {
        assert_eq!(ask(&world, "u1", address).await.status, 200);
    }
    world.reload();
    assert_limited(&ask(&world, "u1", "203.0.113.3").await, "user");
    assert_eq!(ask(&world, "u2", "203.0.113.1").await.status, 200);
    assert_limited(&ask(&world, "u3", "203.0.113.1").await, "client");
}

#[tokio::test]
async fn a_user_has_its_rate_by_however_many_addresses() {
    let world = world(&USER).await;
    for address in ["203.0.113.1", "203.0.113.2"] {
        assert_eq!(ask(&world, "u1", address).await.status, 200);
    }
    let served = world.service.seen().len();
    assert_limited(&ask(&world, "u1", "203.0.113.3").await, "user");
    assert_eq!(world.service.seen().len(), served);
    assert_eq!(ask(&world, "u2", "203.0.113.1").await.status, 200, "somebody else has a rate of its own");
}

#[tokio::test]
async fn an_answer_says_what_is_left_of_each_limit_and_pages_may_read_it() {
    let world = world(&[&CLIENT[..], &USER].concat()).await;
    let answer = ask(&world, "u1", "203.0.113.1").await;
    let standing = said(&answer, "ratelimit");
    assert!(standing[0].starts_with("\"client\";r=1;t=") && standing[1].starts_with("\"user\";r=1;t="));
    assert_eq!(said(&answer, "ratelimit-policy"), ["\"client\";q=2;w=120", "\"user\";q=2;w=120"]);
    let exposed = answer.one("access-control-expose-headers").unwrap();
    for name in ["ratelimit", "ratelimit-policy", "retry-after"] {
        assert!(exposed.split(',').any(|one| one == name), "{exposed}");
    }
}

#[tokio::test]
async fn who_is_refused_for_something_else_is_counted_and_hears_what_is_left() {
    let world = World::with(&CLIENT).await;
    let bad =
        |token: &str| Request::get("/api/tasks").header("authorization", token).body(Body::empty()).unwrap();
    for left in [1, 0] {
        let answer = world.send(bad("Bearer bad")).await;
        assert_eq!(answer.status, 401);
        assert!(answer.one("ratelimit").unwrap().starts_with(&format!("\"client\";r={left};t=")));
    }
    let asked = world.verifier.seen().len();
    assert_limited(&world.send(bad("Bearer bad2")).await, "client");
    assert_eq!(world.verifier.seen().len(), asked, "guessing is over");
}

#[tokio::test]
async fn health_and_preflights_are_not_counted_and_are_answered_to_who_is_limited() {
    let world = world(&CLIENT).await;
    let address = "203.0.113.1";
    let aside = async || {
        let health = ask_at(&world, "/health", "u1", address).await;
        assert_eq!((health.status.as_u16(), health.one("ratelimit")), (200, None));
        let preflight = request(Method::OPTIONS, "/api/tasks", "u1", address)
            .header("access-control-request-method", "POST");
        let preflight = world.send(preflight.body(Body::empty()).unwrap()).await;
        assert_eq!(preflight.one("access-control-allow-origin"), Some("http://localhost:3000"));
    };
    for _ in 0..3 {
        aside().await;
    }
    for status in [200, 200, 429] {
        assert_eq!(ask(&world, "u1", address).await.status, status);
    }
    aside().await;
}

#[tokio::test]
async fn a_route_with_a_rate_of_its_own_counts_by_itself() {
    let (_file, path) = config(
        "[limits]\nuser_per_minute = 1\nuser_burst = 2\n\
         [[routes]]\npath = \"/api/login\"\nupstream = \"task-service\"\nuser_burst = 1\n\
         [[routes]]\npath = \"/api/free\"\nupstream = \"task-service\"\nuser_per_minute = 0\n\
         [[routes]]\npath = \"/api/**\"\nupstream = \"task-service\"",
    );
    let world = world(&[("GATEWAY_CONFIG", &path)]).await;
    let ask = async |target| ask_at(&world, target, "u1", "203.0.113.1").await.status.as_u16();
    assert_eq!((ask("/api/login").await, ask("/api/login").await), (200, 429));
    for want in [200, 200, 429] {
        assert_eq!(ask("/api/tasks").await, want);
        assert_eq!(ask("/api/free").await, 200);
    }
}

#[tokio::test]
async fn whom_nobody_trusts_can_not_choose_as_whom_it_is_counted() {
    let world = World::with(&CLIENT).await;
    world.verifier.respond(knows_by_name);
    for (address, status) in [("203.0.113.1", 200), ("203.0.113.2", 200), ("203.0.113.3", 429)] {
        assert_eq!(ask(&world, "u1", address).await.status, status);
    }
}

#[tokio::test]
async fn nobody_is_limited_unless_somebody_says_so() {
    let world = world(&[]).await;
    let answer = ask(&world, "u1", "203.0.113.1").await;
    assert_eq!((answer.status.as_u16(), answer.one("ratelimit")), (200, None));
}
