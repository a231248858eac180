//! auth-verifier behind other people's proxies, by the files of `deploy/proxies`.

mod attacks;
mod grpc;
mod house;
mod peer;
mod program;
mod verdicts;

use std::time::Duration;

use chassis::Body;
use http::{Method, Response, Uri};
use serde_json::json;
use tokio::time::{Instant, sleep};

use self::{
    house::{House, PAGE, doors, knows_ada, subject, token, verifier, verifier_with},
    peer::Peer,
    program::{Asks, installed},
};
use crate::{better_auth, world::PATIENCE};

#[tokio::test(flavor = "multi_thread")]
async fn whoever_better_auth_signs_up_is_known_to_the_application() {
    let Some(better_auth) = better_auth::start(json!({})).await else { return };
    let ada = better_auth.sign_up("ada").await;
    let verifier = verifier_with(&[("BETTER_AUTH_URL", &better_auth.url)]);
    for program in installed() {
        let house = House::behind(program, program.place_of(&verifier)).await;
        let by_token = house.get("/api/tasks?tag=a%2Fb", &ada.jwt).header("cookie", &ada.cookies);
        let by_session = house.request(Method::GET, "/api/tasks?tag=a%2Fb").header("cookie", &ada.cookies);
        for (request, credential) in [(by_token, "bearer"), (by_session, "cookie")] {
            let answer = house.client.call(request, None).await;
            assert_eq!((answer.status.as_u16(), answer.body), (200, json!("hello")));

            let heard = house.application.only();
            assert_eq!(heard.target, "/api/tasks?tag=a%2Fb");
            assert_eq!(heard.one("x-user-id"), Some(&*ada.id));
            assert_eq!(heard.one("x-user-email"), Some("ada@example.com"));
            assert_eq!(heard.one("x-credential"), Some(credential));
            assert_eq!(subject(heard.one("x-identity-assertion").unwrap()), json!(ada.id));
            assert_eq!((heard.one("authorization"), heard.one("cookie")), (None, None));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_good_token_there_is_a_challenge_and_the_application_hears_nothing() {
    let verifier = verifier();
    for program in installed() {
        let house = House::behind(program, program.place_of(&verifier)).await;
        let nobody = house.client.call(house.request(Method::GET, "/api"), None).await;
        assert_eq!(nobody.status, 401);
        assert_eq!(nobody.headers["www-authenticate"], "Bearer realm=\"api\"");

        let mallory = house.client.call(house.get("/api", "a.b.c").header("origin", PAGE), None).await;
        assert_eq!(mallory.status, 401);
        assert!(mallory.headers["www-authenticate"].to_str().unwrap().contains("error=\"invalid_token\""));
        assert_eq!(mallory.headers["content-type"], "application/problem+json");
        assert!(mallory.body["detail"].is_string(), "{}", mallory.body);
        assert_eq!(mallory.headers["access-control-allow-origin"], PAGE, "the page may read why");

        let twice =
            house.get("/api", &token("ada")).header("authorization", format!("Bearer {}", token("eve")));
        assert!(house.client.call(twice, None).await.status.is_client_error(), "two tokens are none");
        assert!(house.application.heard().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_cannot_have_the_identity_taken_off_on_the_way() {
    let verifier = verifier();
    for program in installed() {
        let house = House::behind(program, program.place_of(&verifier)).await;
        let nominated = "Connection: close, X-User-Id, X-Identity-Assertion";
        let bearer = format!("Authorization: Bearer {}", token("ada"));
        assert_eq!(house.say(&["GET /api HTTP/1.1", "Host: a", &bearer, nominated, "", ""]).await, 200);
        let heard = house.application.only();
        assert_eq!(heard.one("x-user-id"), Some("ada"));
        assert!(heard.one("x-identity-assertion").is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_tunnel_is_dug_past_the_question() {
    let verifier = verifier();
    for program in installed() {
        let house = House::behind(program, program.place_of(&verifier)).await;
        let bearer = format!("Authorization: Bearer {}", token("ada"));
        for protocol in ["h2c", "websocket"] {
            let upgrade = format!("Upgrade: {protocol}\r\nConnection: close, Upgrade");
            let settings = "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA";
            house.say(&["GET /api HTTP/1.1", "Host: a", &bearer, &upgrade, settings, "", ""]).await;
            for heard in house.application.heard() {
                assert_eq!(heard.one("upgrade"), None);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trailers_say_nothing_of_who_is_calling() {
    let verifier = verifier();
    // HAProxy drops them from 3.2 on.
    for door in doors().filter(|door| door.name() != "haproxy") {
        let house = House::of(door, door.place_of(&verifier)).await;
        let bearer = format!("Authorization: Bearer {}", token("ada"));
        let head =
            ["POST /api HTTP/1.1", "Host: a", &bearer, "Connection: close", "Transfer-Encoding: chunked"];
        let body = ["Trailer: X-User-Id", "", "5", "hello", "0", "X-User-Id: eve", "", ""];
        assert_eq!(house.say(&[&head[..], &body[..]].concat()).await, 200);
        let heard = house.application.only();
        assert_eq!((&*heard.body, heard.one("x-user-id")), ("hello", Some("ada")));
        assert!(heard.trailers.values().all(|value| value != "eve"), "{:?}", heard.trailers);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_of_a_path_gets_around_the_question() {
    let verifier = verifier();
    for program in installed() {
        let house = House::behind(program, program.place_of(&verifier)).await;
        for path in [
            "/api/../health",
            "/api/%2e%2e/health",
            "/api%2f..%2fhealth",
            "/api/..%2Fhealth",
            "/health/../api",
            "/health%2f..%2fapi",
            "/health;/../api",
            "/health%00/api",
            "/health%3f/api",
            "/health%23/../api",
            "/health/",
            "//health",
            "//api/health",
            "/./health",
            "/%68ealth",
            "/HEALTH",
            "/api?/health",
            "/api\\..\\health",
            "/verify",
            "/.auth-verifier",
            "http://a/api",
            "http://a/health",
        ] {
            let line = format!("GET {path} HTTP/1.1");
            let status = house.say(&[&line, "Host: a", "Connection: close", "", ""]).await;
            for heard in house.application.heard() {
                let read: Uri = heard.target.parse().unwrap();
                assert_eq!(read.path(), "/health", "{path} was let through with {status}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_goes_to_the_application_alone_and_whole() {
    let verifier = Peer::start(knows_ada).await;
    for program in installed() {
        let house = House::behind(program, verifier.address).await;
        let body = json!({"title": "x".repeat(100_000)});
        let request = house
            .request(Method::POST, "/api/tasks?a=b")
            .header("authorization", "Bearer t")
            .header("cookie", "a=b")
            .header("origin", PAGE);
        assert_eq!(house.client.call(request, Some(body.clone())).await.status, 200);

        let heard = house.application.only();
        assert_eq!((heard.method, heard.body), (Method::POST, body.to_string()));

        let asked = verifier.only();
        assert!(!asked.body.contains("xxx"), "{}", asked.body);
        assert_eq!((asked.one("authorization"), asked.one("cookie")), (Some("Bearer t"), Some("a=b")));
        match program.asks {
            Asks::OverHttp => {
                assert_eq!(asked.one("x-forwarded-method"), Some("POST"));
                assert_eq!(asked.one("x-forwarded-uri"), Some("/api/tasks?a=b"));
                assert_eq!(asked.one("x-forwarded-host"), Some(&*house.listen.to_string()));
                assert_eq!(asked.one("x-forwarded-proto"), Some("http"));
            }
            Asks::OverGrpc => assert_eq!(asked.headers.len(), 3, "the id, and no more: {:?}", asked.headers),
        }
        // Traefik makes no ids; auth-verifier makes one itself then.
        if program.name != "traefik" {
            assert!(asked.one("x-request-id").is_some());
            assert_eq!(asked.headers.get("x-request-id"), heard.headers.get("x-request-id"));
        }

        let head = ["POST /api HTTP/1.1", "Host: a", "Connection: close", "Transfer-Encoding: chunked"];
        assert_eq!(house.say(&[&head[..], &["", "5", "hello", "0", "", ""]].concat()).await, 200);
        assert_eq!(house.application.only().body, "hello");
        assert!(!verifier.only().body.contains("hello"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_that_a_foreign_page_sent_along_changes_nothing() {
    let verifier = Peer::start(knows_ada).await;
    for program in installed() {
        let house = House::behind(program, verifier.address).await;
        for (method, origin, counts) in [
            (Method::GET, None, true),
            (Method::GET, Some("https://evil.example"), true),
            (Method::POST, Some(PAGE), true),
            (Method::POST, Some("https://evil.example"), false),
            (Method::POST, Some("null"), false),
            (Method::POST, None, false),
            (Method::DELETE, Some("http://localhost:30000"), false),
        ] {
            let mut request = house.request(method.clone(), "/api").header("cookie", "a=b");
            if let Some(origin) = origin {
                request = request.header("origin", origin);
            }
            house.client.call(request, None).await;
            let asked = verifier.only();
            assert_eq!(asked.one("cookie").is_some(), counts, "{method} from {origin:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_verifier_nothing_is_forwarded_and_with_one_again_everything() {
    let mut verifier = verifier();
    for program in installed() {
        let house = House::behind(program, program.place_of(&verifier)).await;
        let ada = token("ada");
        verifier.kill();
        let answer = house.client.call(house.get("/api", &ada), None).await;
        assert!(answer.status.is_server_error(), "{answer:?}");
        assert!(house.application.heard().is_empty());

        let (listen, grpc) = (verifier.traffic.to_string(), verifier.grpc.unwrap().to_string());
        verifier = verifier_with(&[("AUTH_VERIFIER_LISTEN", &listen), ("AUTH_VERIFIER_GRPC_LISTEN", &grpc)]);
        let deadline = Instant::now() + PATIENCE;
        while house.client.call(house.get("/api", &ada), None).await.status != 200 {
            assert!(Instant::now() < deadline, "it recovers by itself");
            sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verdict_that_names_nobody_or_broke_opens_nothing() {
    for status in [200, 204, 302, 404, 500, 503] {
        let answer = move || Response::builder().status(status).body(Body::from("<p>hello</p>")).unwrap();
        let verifier = Peer::start(move || std::future::ready(answer())).await;
        for program in installed() {
            let house = House::behind(program, verifier.address).await;
            let claim = house.get("/api", "t").header("x-user-id", "eve");
            let answer = house.client.call(claim, None).await;
            assert!(!answer.status.is_success(), "{status} became {answer:?}");
            assert_eq!(verifier.heard().len(), 1);
            assert!(house.application.heard().is_empty(), "{status}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_fails_opens_nothing_and_is_no_fault_of_the_client() {
    for trouble in [grpc::Trouble::Failed, grpc::Trouble::Empty, grpc::Trouble::Garbage] {
        let answer = move || Response::builder().extension(trouble).body(Body::empty()).unwrap();
        let verifier = Peer::start(move || std::future::ready(answer())).await;
        for program in installed().filter(|program| program.asks == Asks::OverGrpc) {
            let house = House::behind(program, verifier.address).await;
            let answer = house.client.call(house.get("/api", "t"), None).await;
            assert_eq!(answer.status, trouble.status(), "{trouble:?}");
            assert!(house.application.heard().is_empty(), "{trouble:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verifier_that_never_answers_is_not_waited_for() {
    let verifier = Peer::start(std::future::pending::<Response<Body>>).await;
    // Traefik's bound is half a minute, and can't be set.
    for program in installed().filter(|program| program.name != "traefik") {
        let house = House::behind(program, verifier.address).await;
        let answer = house.client.call(house.get("/api", "t"), None).await;
        assert!(answer.status.is_server_error(), "{answer:?}");
        assert!(house.application.heard().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preflight_is_answered_by_the_proxy_and_any_other_options_is_asked_about() {
    let verifier = verifier();
    for program in installed() {
        let house = House::behind(program, program.place_of(&verifier)).await;
        let preflight = |origin: &str| {
            house
                .request(Method::OPTIONS, "/api")
                .header("origin", origin)
                .header("access-control-request-method", "PUT")
        };
        let answer = house.client.call(preflight(PAGE), None).await;
        assert!(answer.status.is_success(), "{answer:?}");
        assert_eq!(answer.headers["access-control-allow-origin"], PAGE);
        assert!(answer.headers["access-control-allow-methods"].to_str().unwrap().contains("PUT"));
        let allowed = answer.headers["access-control-allow-headers"].to_str().unwrap();
        for name in ["Authorization", "Content-Type", "baggage", "sentry-trace", "traceparent"] {
            assert!(allowed.split(',').any(|one| one.trim() == name), "{name}: {allowed}");
        }

        let foreign = house.client.call(preflight("http://localhost:3000.evil.example"), None).await;
        assert_eq!(foreign.headers.get("access-control-allow-origin"), None);

        let plain =
            house.client.call(house.request(Method::OPTIONS, "/api").header("origin", PAGE), None).await;
        assert_eq!(plain.status, 401);
        assert!(house.application.heard().is_empty());
    }
}
