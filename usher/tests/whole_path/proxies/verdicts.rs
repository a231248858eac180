//! What each door makes of a verdict that is none, of one that can't be had, and of a head that is too large.

use http::Method;

use super::{
    house::{House, PAGE, doors, knows_ada, token, verdict, verifier},
    peer::Peer,
};
use crate::world::Answer;

/// What a verdict may say of who is calling, and what becomes of it.
type Row = (&'static str, &'static [(&'static str, &'static [u8])]);

/// A page may read this answer.
fn check_readable(answer: &Answer, context: &str) {
    let said = ["access-control-allow-origin", "access-control-allow-credentials"]
        .map(|name| answer.headers.get(name).and_then(|value| value.to_str().ok()));
    assert_eq!(said, [Some(PAGE), Some("true")], "{context}: {answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verdict_is_believed_only_where_it_names_exactly_one_user() {
    const LONG: [u8; 256] = [b'a'; 256];
    const HUGE: [u8; 10 * 1024] = [b'a'; 10 * 1024];
    let rows: [Row; 10] = [
        ("nobody", &[]),
        ("an empty id", &[("x-user-id", b"")]),
        ("two", &[("x-user-id", b"ada"), ("x-user-id", b"bob")]),
        ("two in one", &[("x-user-id", b"ada,bob")]),
        ("two in one", &[("x-user-id", b"ada, bob")]),
        ("a space", &[("x-user-id", b"a da")]),
        ("a tab", &[("x-user-id", b"a\tda")]),
        ("bytes that are no text", &[("x-user-id", b"\xe9\xff")]),
        ("an id that is too long", &[("x-user-id", &LONG)]),
        ("one that is far too long", &[("x-user-id", &HUGE)]),
    ];
    for door in doors() {
        for (what, said) in rows {
            let answer = move || {
                let assertion: (&str, &[u8]) = ("x-identity-assertion", b"a.b.c");
                verdict(&[said, &[assertion][..]].concat())
            };
            let verifier = Peer::start(move || std::future::ready(answer())).await;
            let house = House::of(door, verifier.address).await;
            let context = format!("{what} at {}", door.name());
            let request = house.get("/api", "t").header("origin", PAGE).header("x-user-id", "eve");
            let answer = house.client.call(request, None).await;
            let heard = house.application.heard();
            match (door.name(), what) {
                // nginx sees but the first of two (from 1.23 on it sees both, and says 503).
                ("nginx", "two") if answer.status == 200 => {
                    assert_eq!(heard[0].one("x-user-id"), Some("ada"));
                }
                // Over gRPC auth-verifier says of each header that it replaces the one before.
                ("envoy-grpc", "two") => assert_eq!(heard[0].one("x-user-id"), Some("bob")),
                // Traefik can't count. Its file says so.
                ("traefik", "two") => {
                    assert!(heard[0].headers.get_all("x-user-id").iter().all(|id| id != "eve"));
                }
                _ => {
                    assert_eq!((answer.status.as_u16(), heard.len()), (503, 0), "{context}: {heard:?}");
                    check_readable(&answer, &context);
                }
            }
        }
        let longest = [b'a'; 255];
        let answer = move || verdict(&[("x-user-id", &longest), ("x-identity-assertion", b"a.b.c")]);
        let verifier = Peer::start(move || std::future::ready(answer())).await;
        let house = House::of(door, verifier.address).await;
        assert_eq!(house.client.call(house.get("/api", "t"), None).await.status, 200, "{}", door.name());
        let heard = house.application.only();
        assert_eq!(heard.one("x-user-id").map(str::len), Some(255), "{}", door.name());
        assert_eq!((heard.one("x-user-email"), heard.one("x-credential")), (None, None), "{}", door.name());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_may_read_why_it_was_refused() {
    let mut verifier = verifier();
    for door in doors() {
        let house = House::of(door, door.place_of(&verifier)).await;
        let ask = |method: &str| house.request(method.parse().unwrap(), "/api").header("origin", PAGE);
        for request in [ask("GET"), ask("DELETE"), ask("GET").header("authorization", "Bearer a.b.c")] {
            let answer = house.client.call(request, None).await;
            assert_eq!(answer.status, 401, "{}: {answer:?}", door.name());
            check_readable(&answer, door.name());
        }
    }

    let houses: Vec<_> = {
        let mut houses = Vec::new();
        for door in doors() {
            houses.push((door, House::of(door, door.place_of(&verifier)).await));
        }
        houses
    };
    verifier.kill();
    for (door, house) in houses {
        let request = house.get("/api", &token("ada")).header("origin", PAGE).header("x-user-id", "eve");
        let answer = house.client.call(request, None).await;
        // Traefik says it in its own way.
        let status = if door.name() == "traefik" { 500 } else { 503 };
        assert_eq!(answer.status.as_u16(), status, "{}: {answer:?}", door.name());
        check_readable(&answer, door.name());
        assert!(house.application.heard().is_empty(), "{}", door.name());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_cookies_reach_the_verifier_and_too_large_ones_nobody() {
    let judge = verifier();
    let listening = Peer::start(knows_ada).await;
    for door in doors() {
        // Better Auth cuts its cookie cache into pieces of 4 KiB.
        let pieces: Vec<_> = (0..6).map(|piece| format!("c.{piece}={}", "x".repeat(4000))).collect();
        let pieces = pieces.join("; ");
        let house = House::of(door, listening.address).await;
        let request = house.request(Method::GET, "/api").header("cookie", &pieces);
        assert_eq!(house.client.call(request, None).await.status, 200, "{}", door.name());
        assert_eq!(listening.only().one("cookie"), Some(&*pieces), "{}", door.name());
        house.application.only();

        let house = House::of(door, door.place_of(&judge)).await;
        let ada = token("ada");
        let head = format!(
            "GET /api HTTP/1.1\r\nAuthorization: Bearer {ada}\r\nCookie: c={}\r\nHost: a\r\nConnection: close\r\n\r\n",
            "x".repeat(200_000)
        );
        let (status, answer) = house.say_bytes(head.as_bytes()).await;
        assert!(status.is_none_or(|status| [400, 413, 431].contains(&status)), "{}: {answer}", door.name());
        assert!(house.application.heard().is_empty(), "{}", door.name());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_application_says_of_who_is_calling_stays_inside() {
    let verifier = verifier();
    for door in doors() {
        let house = House::of(door, door.place_of(&verifier)).await;
        for request in [house.get("/api", &token("ada")), house.request(Method::GET, "/health")] {
            let answer = house.client.call(request, None).await;
            assert_eq!(answer.status, 200);
            let told = answer.headers.iter().any(|(_, value)| value == "inside");
            assert!(!told, "{}: {:?}", door.name(), answer.headers);
        }
    }
}
