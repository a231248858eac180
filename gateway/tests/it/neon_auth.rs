//! Neon's own Better Auth: its cookies stop at the gateway; and the way straight to it.
//!
//! Neon is played by a peer that answers as it is told. dev/browser/neon-auth has a real Better Auth in its place, and Neon's SDK before it.

use chassis::{Body, settings};
use gateway::settings::Settings;
use http::{Method, Request, Response};

use crate::{
    tls::{shared, tls_before},
    world::{Answer, Peer, Seen, World, config, known},
};

/// Its cookies, in all spellings: as it sets them, as an older page of its documentation has them, as they are over plain HTTP, and
/// the SDK's own.
const COOKIES: [&str; 8] = [
    "__Secure-neon-auth.session_token",
    "neon-auth.session_token",
    "__Secure-neonauth.session_token",
    "__Host-neon-auth.session_token",
    "__Secure-neon-auth.session_challenge",
    "__Secure-neon-auth.session_challange",
    "__Secure-neon-auth.local.session_data",
    "neon-auth.local.session_data",
];

const ROUTES: &str = "
[[routes]]
path = '/api/auth/**'
upstream = 'neon-auth'
access = 'public'
cors = false

[[routes]]
path = '/web/**'
upstream = 'task-service'
access = 'public'

[[routes]]
path = '/**'
upstream = 'task-service'
";

const OWN: &str = "https://app.test";

/// A gateway with a route straight to Neon.
async fn world(url: &str, variables: &[(&str, &str)]) -> World {
    let neons = [
        ("NEON_AUTH_BASE_URL", url),
        ("GATEWAY_PUBLIC_ORIGINS", OWN),
        ("CORS_ALLOWED_ORIGINS", "https://pages.test"),
    ];
    World::with_file(ROUTES, &[&neons, variables].concat()).await
}

/// The same, and who plays Neon, which answers so.
async fn with_neon(respond: impl Fn(&Seen) -> Response<Body> + Send + Sync + 'static) -> (World, Peer) {
    let neon = Peer::new(respond).await;
    (world(&format!("{}/neondb/auth", neon.url()), &[]).await, neon)
}

fn ok(_: &Seen) -> Response<Body> {
    Response::new(Body::from("{}"))
}

fn asked(method: Method, target: &str, headers: &[(&str, &str)]) -> Request<Body> {
    let request = Request::builder().method(method).uri(target).header("host", "app.test");
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    request.body(Body::empty()).unwrap()
}

fn by_own_page(target: &str, headers: &[(&str, &str)]) -> Request<Body> {
    asked(Method::POST, target, &[&[("origin", OWN)], headers].concat())
}

fn set_cookies(answer: &Answer) -> Vec<&str> {
    answer.headers.get_all("set-cookie").iter().map(|value| value.to_str().unwrap()).collect()
}

#[tokio::test]
async fn neons_cookies_reach_no_service_whether_auth_verifier_names_them_or_not() {
    for told in ["better-auth.", "better-auth., neon-auth., neonauth.", ""] {
        let world = World::new().await;
        world.verifier.respond(move |_| {
            let mut verdict = known("u1");
            verdict.headers_mut().insert("x-credential-cookies", told.parse().unwrap());
            verdict
        });
        for name in COOKIES {
            let cookies = format!("theme=dark; {name}=x; side=open");
            let request = Request::get("/api/tasks").header("cookie", cookies);
            assert_eq!(world.send(request.body(Body::empty()).unwrap()).await.status, 200);
            let seen = world.service.last();
            let want = (!told.is_empty()).then_some("theme=dark; side=open");
            assert_eq!(seen.one("cookie"), want, "{name}, told {told:?}");
        }
    }
}

#[tokio::test]
async fn a_service_that_is_told_to_get_them_gets_them_as_they_came_and_no_other_sets_them() {
    let route = |forwards| {
        format!(
            "[[routes]]\npath = '/**'\nupstream = 'web'\naccess = 'public'\nforward_credentials = {forwards}\n"
        )
    };
    for forwards in [true, false] {
        let web = Peer::new(|_| {
            let setting = COOKIES.iter().fold(Response::builder(), |answer, name| {
                answer.header("set-cookie", format!("{name}=x; Secure"))
            });
            setting.header("set-cookie", "theme=dark").body(Body::empty()).unwrap()
        })
        .await;
        let file = format!("[upstreams]\nweb = '{}'\n{}", web.url(), route(forwards));
        let world = World::with_file(&file, &[]).await;
        let cookies = COOKIES.map(|name| format!("{name}=x")).join("; ");
        let request = Request::get("/x").header("cookie", &cookies).body(Body::empty()).unwrap();
        let answer = world.send(request).await;
        assert_eq!(web.last().one("cookie"), forwards.then_some(&*cookies));
        assert_eq!(set_cookies(&answer).len(), if forwards { COOKIES.len() + 1 } else { 1 });
    }
}

#[tokio::test]
async fn no_setting_lets_a_service_see_or_set_them_beside_a_neon() {
    let neon = Peer::new(ok).await;
    for prefixes in ["better-auth,myapp", "better-auth"] {
        let own = ("GATEWAY_SANITIZE__COOKIE_PREFIXES", prefixes);
        let world = world(&format!("{}/neondb/auth", neon.url()), &[own]).await;
        world.verifier.respond(|_| {
            let mut verdict = known("u1");
            verdict.headers_mut().insert("x-credential-cookies", "better-auth.".parse().unwrap());
            verdict
        });
        world.service.respond(|_| {
            let setting = COOKIES.iter().fold(Response::builder(), |answer, name| {
                answer.header("set-cookie", format!("{name}=x; Secure; Path=/"))
            });
            setting.header("set-cookie", "theme=dark").body(Body::empty()).unwrap()
        });
        let cookies = COOKIES.map(|name| format!("{name}=x")).join("; ");
        for path in ["/web/x", "/api/tasks"] {
            let request = asked(Method::GET, path, &[("cookie", &format!("{cookies}; side=open"))]);
            assert_eq!(set_cookies(&world.send(request).await), ["theme=dark"], "{prefixes} {path}");
            let seen = world.service.last();
            assert!(!seen.one("cookie").unwrap_or_default().contains("neon"), "{prefixes} {path}: {seen:?}");
        }
        assert_eq!(world.service.last().one("cookie"), Some("side=open"));
    }
}

#[tokio::test]
async fn neon_hears_what_its_sdk_tells_it_and_nothing_of_what_services_hear() {
    let (world, neon) = with_neon(ok).await;
    let cookies = "theme=dark; __Secure-neon-auth.session_token=t.s%3D; better-auth.session_token=b; \
                   __Secure-neon-auth.local.session_data=eyJ.eyJ.c";
    let answer = world
        .send(by_own_page(
            "/api/auth/sign-in/email?a=1",
            &[
                ("cookie", cookies),
                ("authorization", "Bearer good"),
                ("content-type", "application/json"),
                ("user-agent", "browser"),
                ("referer", "https://app.test/tasks?secret=1"),
                ("x-user-id", "u2"),
                ("x-identity-assertion", "a.b.c"),
                ("x-forwarded-for", "203.0.113.7"),
                ("x-neon-auth-proxy", "nextjs"),
                ("x-own", "me"),
                ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
                ("sec-fetch-site", "same-origin"),
            ],
        ))
        .await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let seen = neon.last();
    assert_eq!((seen.method.as_str(), &*seen.target), ("POST", "/neondb/auth/sign-in/email?a=1"));
    let mut heard: Vec<_> =
        seen.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    heard.sort_unstable();
    assert_eq!(
        heard,
        [
            ("authorization", "Bearer good"),
            ("content-type", "application/json"),
            ("cookie", "__Secure-neon-auth.session_token=t.s%3D"),
            ("host", &*neon.address.to_string()),
            ("origin", OWN),
            ("user-agent", "browser"),
            ("x-neon-auth-middleware", "true"),
        ]
    );
    assert!(world.verifier.seen().is_empty(), "who signs in is nobody yet");
    // A staging site's password is for the proxy that asks for it.
    world.send(by_own_page("/api/auth/x", &[("authorization", "Basic dTpw")])).await;
    assert_eq!(neon.last().one("authorization"), None);
}

#[tokio::test]
async fn a_body_and_its_type_go_to_neon_and_its_errors_come_back_as_they_are() {
    let refused = |seen: &Seen| {
        let answer = Response::builder().status(401).header("content-type", "application/json");
        answer.body(Body::from(format!("{{\"code\":\"INVALID\",\"of\":{}}}", seen.body.len()))).unwrap()
    };
    let (world, neon) = with_neon(refused).await;
    let (mut head, _) =
        by_own_page("/api/auth/sign-in/email", &[("content-type", "application/json")]).into_parts();
    head.headers.insert("content-length", "2".parse().unwrap());
    let answer = world.send(Request::from_parts(head, Body::from("{}"))).await;
    assert_eq!((answer.status.as_u16(), &*answer.body), (401, "{\"code\":\"INVALID\",\"of\":2}"));
    assert_eq!(neon.last().one("content-type"), Some("application/json"));
}

#[tokio::test]
async fn neons_cookies_become_our_hosts_and_it_sets_no_other() {
    let (world, _neon) = with_neon(|_| {
        Response::builder()
            .header("set-cookie", "__Secure-neon-auth.session_token=t.s; Max-Age=9; Path=/; HttpOnly; Secure; SameSite=None; Partitioned")
            .header("set-cookie", "__Secure-neon-auth.session_data=; Domain=neon.tech; Path=/neondb; Max-Age=0")
            .header("set-cookie", "__Secure-neon-auth.local.session_data=eyJ; Secure")
            .header("set-cookie", "better-auth.session_token=other.user; Path=/")
            .header("set-cookie", "theme=evil; Domain=app.test")
            .header("set-cookie", "=__Secure-neon-auth.session_token=tossed")
            .header("set-auth-jwt", "j.w.t")
            .header("access-control-allow-origin", "https://evil.example")
            .header("access-control-expose-headers", "set-auth-jwt")
            .header("cache-control", "public, max-age=600")
            .header("clear-site-data", "\"*\"")
            .header("refresh", "0; url=https://evil.example")
            .header("strict-transport-security", "max-age=0")
            .header("x-user-id", "u2")
            .header("x-internal-not-applied", "true")
            .header("server", "neon")
            .body(Body::empty())
            .unwrap()
    })
    .await;
    let answer = world.send(by_own_page("/api/auth/sign-in/email", &[])).await;
    assert_eq!(
        set_cookies(&answer),
        [
            "__Secure-neon-auth.session_token=t.s; Path=/; Max-Age=9; HttpOnly; SameSite=Lax; Secure",
            "__Secure-neon-auth.session_data=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax; Secure",
        ]
    );
    assert_eq!(answer.one("set-auth-jwt"), Some("j.w.t"));
    assert_eq!(answer.one("cache-control"), Some("no-store"));
    assert_eq!(answer.one("x-content-type-options"), Some("nosniff"));
    assert!(answer.one("content-security-policy").unwrap().contains("default-src 'none'"));
    for gone in [
        "access-control-allow-origin",
        "clear-site-data",
        "refresh",
        "strict-transport-security",
        "x-user-id",
        "x-internal-not-applied",
        "server",
    ] {
        assert_eq!(answer.one(gone), None, "{gone}");
    }
}

#[tokio::test]
async fn an_answer_of_neons_leads_to_our_own_pages_alone() {
    let (world, neon) = with_neon(ok).await;
    let base = format!("{}/neondb/auth", neon.url());
    for (location, want) in [
        (format!("{base}/error?error=x"), Some("/api/auth/error?error=x")),
        (format!("{}//evil.example/", neon.url()), Some("/.//evil.example/")),
        ("/welcome".to_owned(), Some("/welcome")),
        (format!("{OWN}/welcome"), Some("https://app.test/welcome")),
        ("https://pages.test/welcome".to_owned(), Some("https://pages.test/welcome")),
        ("https://evil.example/".to_owned(), None),
        ("//evil.example/".to_owned(), None),
        ("https://app.test.evil.example/".to_owned(), None),
    ] {
        let said = location.clone();
        neon.respond(move |_| {
            Response::builder().status(302).header("location", &said).body(Body::empty()).unwrap()
        });
        let answer = world.send(asked(Method::GET, "/api/auth/verify-email?token=t", &[])).await;
        assert_eq!((answer.status.as_u16(), answer.one("location")), (302, want), "{location}");
    }
}

#[tokio::test]
async fn no_foreign_page_signs_anybody_in_or_out_and_no_origin_is_made_up() {
    let (world, neon) = with_neon(ok).await;
    let session = ("cookie", "__Secure-neon-auth.session_token=t.s");
    for (headers, want) in [
        (&[("origin", OWN)][..], Ok(Some(OWN))),
        (&[("origin", OWN), session], Ok(Some(OWN))),
        // The browser says that it is the same one, and which it is, we know.
        (&[("sec-fetch-site", "same-origin")], Ok(Some(OWN))),
        // `cors = false`: only our own pages.
        (&[("origin", "https://pages.test")], Err(403)),
        (&[("origin", "https://evil.example")], Err(403)),
        (&[("origin", "https://evil.example"), session], Err(403)),
        (&[("origin", "null")], Err(403)),
        (&[], Err(403)),
        (&[session, ("sec-fetch-site", "none")], Err(403)),
        (&[session, ("sec-fetch-site", "cross-site"), ("referer", "https://app.test/")], Err(403)),
    ] {
        let before = neon.seen().len();
        let answer = world.send(asked(Method::POST, "/api/auth/sign-in/email", headers)).await;
        match want {
            Ok(origin) => {
                assert_eq!(answer.status, 200, "{headers:?}");
                assert_eq!(neon.last().one("origin"), origin, "{headers:?}");
            }
            Err(status) => {
                assert_eq!(answer.status, status, "{headers:?}");
                assert_eq!(answer.problem(), "cross-site");
                assert_eq!(neon.seen().len(), before, "{headers:?}");
            }
        }
    }
    // A link in a mail is followed from anywhere; Neon hears no origin, or the one that it is.
    for (headers, want) in [
        (&[("sec-fetch-site", "cross-site")][..], None),
        (&[], None),
        (&[("sec-fetch-site", "same-origin")], Some(OWN)),
        (&[("origin", "https://evil.example")], Some("https://evil.example")),
    ] {
        assert_eq!(world.send(asked(Method::GET, "/api/auth/magic-link/verify", headers)).await.status, 200);
        assert_eq!(neon.last().one("origin"), want, "{headers:?}");
    }
}

#[tokio::test]
async fn a_foreign_page_loads_nothing_of_neons_and_a_link_is_followed_from_anywhere() {
    let neon = Peer::new(|_| {
        let answer = Response::builder().header("set-cookie", "__Secure-neon-auth.session_token=t.s; Secure");
        answer.body(Body::empty()).unwrap()
    })
    .await;
    let routes = ROUTES.replacen("cors = false\n", "cors = true\n", 1);
    let url = format!("{}/neondb/auth", neon.url());
    let neons = [
        ("NEON_AUTH_BASE_URL", &*url),
        ("GATEWAY_PUBLIC_ORIGINS", OWN),
        ("CORS_ALLOWED_ORIGINS", "https://pages.test"),
    ];
    // As the routes of deploy/neon-auth.toml are; and one whose answers pages of an allowed origin may read.
    for (world, cors) in [(world(&url, &[]).await, false), (World::with_file(&routes, &neons).await, true)] {
        for (site, mode, dest, origin, passes) in [
            ("cross-site", "no-cors", "image", None, false),
            ("cross-site", "no-cors", "script", None, false),
            ("same-site", "no-cors", "image", None, false),
            ("cross-site", "navigate", "iframe", None, false),
            ("cross-site", "cors", "empty", Some("https://evil.example"), false),
            ("cross-site", "cors", "empty", Some("https://pages.test"), cors),
            ("cross-site", "navigate", "document", None, true),
            ("same-site", "navigate", "document", None, true),
            ("none", "navigate", "document", None, true),
            ("same-origin", "cors", "empty", None, true),
            ("same-origin", "no-cors", "image", None, true),
        ] {
            let mut headers =
                vec![("sec-fetch-site", site), ("sec-fetch-mode", mode), ("sec-fetch-dest", dest)];
            headers.extend(origin.map(|origin| ("origin", origin)));
            for method in [Method::GET, Method::HEAD] {
                let before = neon.seen().len();
                let answer = world.send(asked(method, "/api/auth/magic-link/verify?token=t", &headers)).await;
                let want = if passes { 200 } else { 403 };
                assert_eq!(answer.status, want, "{cors} {headers:?}");
                assert_eq!(neon.seen().len() - before, usize::from(passes), "{cors} {headers:?}");
                assert_eq!(set_cookies(&answer).len(), usize::from(passes), "{cors} {headers:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_host_that_is_not_ours_gets_no_cookie() {
    let (world, neon) = with_neon(ok).await;
    for (host, want) in
        [("app.test", 200), ("app.test:443", 200), ("evil.example", 421), ("app.test:80", 421)]
    {
        let request = Request::get("/api/auth/get-session").header("host", host).body(Body::empty()).unwrap();
        assert_eq!(world.send(request).await.status, want, "{host}");
    }
    assert_eq!(neon.seen().len(), 2);
}

#[tokio::test]
async fn a_session_that_came_twice_is_nobodys() {
    let (world, neon) = with_neon(ok).await;
    let name = "__Secure-neon-auth.session_token";
    let tossed = format!("{name}=mine; {name}=tossed; __Secure-neon-auth.session_challenge=c");
    world.send(asked(Method::GET, "/api/auth/get-session", &[("cookie", &tossed)])).await;
    assert_eq!(neon.last().one("cookie"), Some("__Secure-neon-auth.session_challenge=c"));
}

#[tokio::test]
async fn a_sign_out_that_would_end_nothing_says_so() {
    let (world, neon) = with_neon(ok).await;
    let name = "__Secure-neon-auth.session_token";
    let many = |count: usize| (0..count).map(|n| format!("neon-auth.c{n}=x")).collect::<Vec<_>>().join("; ");
    for (cookies, want) in [
        (format!("{name}=mine; {name}=mine"), Ok(())),
        (format!("{name}=mine; theme=a; theme=b"), Ok(())),
        (many(32), Ok(())),
        (format!("{name}=mine; {name}=tossed"), Err((400, "ambiguous-request", name))),
        (
            format!("{name}=mine; neon-auth.x=1; neon-auth.x=2"),
            Err((400, "ambiguous-request", "neon-auth.x")),
        ),
        (many(33), Err((431, "head-too-large", "neon-auth.c32"))),
        (format!("{}; {name}=mine", many(32)), Err((431, "head-too-large", name))),
    ] {
        let before = neon.seen().len();
        let answer = world.send(by_own_page("/api/auth/sign-out", &[("cookie", &cookies)])).await;
        assert_eq!(neon.seen().len() - before, usize::from(want.is_ok()), "{cookies}");
        match want {
            Ok(()) => assert_eq!(answer.status, 200, "{cookies}"),
            Err((status, code, named)) => {
                assert_eq!((answer.status.as_u16(), &*answer.problem()), (status, code), "{cookies}");
                assert!(answer.body.contains(&format!("the cookie {named} ")), "{}", answer.body);
                assert!(!answer.body.contains("mine") && !answer.body.contains("tossed"), "{}", answer.body);
            }
        }
        // Who only asks is nobody, and hears that.
        let answer = world.send(asked(Method::GET, "/api/auth/get-session", &[("cookie", &cookies)])).await;
        assert_eq!(answer.status, 200, "{cookies}");
    }
}

#[tokio::test]
async fn what_came_from_such_a_gateway_is_a_loop_and_ends_at_once() {
    let (world, neon) = with_neon(ok).await;
    for method in [Method::GET, Method::POST] {
        let through = [("x-neon-auth-middleware", "true"), ("origin", OWN)];
        let answer = world.send(asked(method, "/api/auth/get-session", &through)).await;
        assert_eq!((answer.status.as_u16(), &*answer.problem()), (508, "loop"));
    }
    assert!(neon.seen().is_empty());
    // To a service behind the gateway, such as an app's own server, it means nothing here.
    assert_eq!(
        world.send(asked(Method::GET, "/web/x", &[("x-neon-auth-middleware", "true")])).await.status,
        200
    );
}

#[tokio::test]
async fn a_get_is_not_sent_twice() {
    let neon = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/neondb/auth", neon.local_addr().unwrap());
    let world = world(&url, &[]).await;
    let taken = tokio::spawn(async move {
        use tokio::io::AsyncReadExt;
        let mut taken = 0;
        // Each reads a request, and is closed without an answer.
        while let Ok(Ok((mut stream, _))) = tokio::time::timeout(crate::world::PATIENCE, neon.accept()).await
        {
            let mut head = [0; 4096];
            if stream.read(&mut head).await.unwrap_or(0) > 0 {
                taken += 1;
            }
            if head.starts_with(b"GET /neondb/auth/end") {
                break;
            }
        }
        taken
    });
    for path in ["magic-link/verify?token=t", "end"] {
        let answer = world.send(asked(Method::GET, &format!("/api/auth/{path}"), &[])).await;
        assert_eq!(answer.status, 502, "{path}");
    }
    assert_eq!(taken.await.unwrap(), 2);
}

#[tokio::test]
async fn a_neon_that_hangs_holds_its_own_places_and_no_others() {
    // It takes connections and whatever comes, and says nothing.
    let neon = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/neondb/auth", neon.local_addr().unwrap());
    let world = world(
        &url,
        &[
            ("GATEWAY_SERVER__TRUSTED_PROXIES", "127.0.0.0/8"),
            ("GATEWAY_NEON_AUTH__REQUESTS_MAX", "3"),
            ("GATEWAY_NEON_AUTH__REQUESTS_PER_CLIENT_MAX", "2"),
        ],
    )
    .await;
    let (one, other, third) = ("203.0.113.1", "203.0.113.2", "203.0.113.3");
    let ask = |method, path: &'static str, address: &'static str| {
        world.send(asked(method, path, &[("x-forwarded-for", address), ("origin", OWN)]))
    };
    let hanging = |address: &'static str, method: &'static str| {
        let gateway = world.gateway;
        async move {
            use tokio::io::AsyncWriteExt;
            let mut stream = tokio::net::TcpStream::connect(gateway).await.unwrap();
            let asking = format!(
                "{method} /api/auth/x HTTP/1.1\r\nHost: app.test\r\nOrigin: {OWN}\r\nX-Forwarded-For: {address}\r\n\
                 Content-Length: 0\r\n\r\n"
            );
            stream.write_all(asking.as_bytes()).await.unwrap();
            stream
        }
    };
    let mut held = Vec::new();
    for (address, method) in [(one, "GET"), (one, "POST"), (other, "GET")] {
        let client = hanging(address, method).await;
        let (at_neon, _) =
            tokio::time::timeout(crate::world::PATIENCE, neon.accept()).await.unwrap().unwrap();
        held.push((client, at_neon));
    }
    let answer = ask(Method::GET, "/api/auth/get-session", one).await;
    assert_eq!((answer.status.as_u16(), &*answer.problem()), (429, "too-many-requests"));
    for method in [Method::GET, Method::POST] {
        let answer = ask(method, "/api/auth/get-session", third).await;
        assert_eq!((answer.status.as_u16(), &*answer.problem()), (503, "busy"));
        assert_eq!(answer.one("retry-after"), Some("1"));
    }
    for address in [one, third] {
        assert_eq!(ask(Method::GET, "/web/x", address).await.status, 200);
    }
    // Who leaves makes room.
    held.remove(0);
    let freed = async {
        loop {
            let client = hanging(third, "GET").await;
            let wait = std::time::Duration::from_millis(50);
            if let Ok(Ok(at_neon)) = tokio::time::timeout(wait, neon.accept()).await {
                return (client, at_neon);
            }
        }
    };
    drop(tokio::time::timeout(crate::world::PATIENCE, freed).await.unwrap());
}

#[tokio::test]
async fn a_route_below_is_a_part_of_it_with_bounds_of_its_own() {
    let neon = Peer::new(|_| {
        Response::builder().status(302).header("location", "/neondb/auth/error").body(Body::empty()).unwrap()
    })
    .await;
    let own = "[[routes]]\npath = '/api/auth/sign-in/**'\nupstream = 'neon-auth'\naccess = 'public'\ncors = false\n\
               client_per_minute = 1\nclient_burst = 2\n";
    let neons =
        [("NEON_AUTH_BASE_URL", &*format!("{}/neondb/auth", neon.url())), ("GATEWAY_PUBLIC_ORIGINS", OWN)];
    let world = World::with_file(&format!("{own}{ROUTES}"), &neons).await;
    for path in ["sign-in/email", "sign-in/social", "sign-up/email", "get-session"] {
        let answer = world.send(by_own_page(&format!("/api/auth/{path}"), &[])).await;
        assert_eq!(answer.one("location"), Some("/api/auth/error"), "{path}");
        assert_eq!(neon.last().target, format!("/neondb/auth/{path}"));
    }
    assert_eq!(world.send(by_own_page("/api/auth/sign-in/email", &[])).await.problem(), "rate-limited");
    assert_eq!(world.send(by_own_page("/api/auth/sign-up/email", &[])).await.status, 302);
}

#[tokio::test]
async fn neon_is_asked_over_tls_by_its_name_if_its_certificate_is_vouched_for() {
    let neon = Peer::new(ok).await;
    let url = tls_before(&neon).await;
    let authority = shared("authority.pem").display().to_string();
    let by_address = url.replace("localhost", "127.0.0.1");
    for (url, authority, want) in [(&url, &*authority, 200), (&url, "", 502), (&by_address, &authority, 502)]
    {
        let before = neon.seen().len();
        let world = world(&format!("{url}/neondb/auth"), &[("GATEWAY_NEON_AUTH__CA_FILE", authority)]).await;
        let answer = world.send(asked(Method::GET, "/api/auth/get-session", &[])).await;
        assert_eq!(answer.status.is_success(), want == 200, "{url} {authority}: {}", answer.status);
        assert_eq!(neon.seen().len() - before, usize::from(want == 200), "{url} {authority}");
        if want == 200 {
            assert_eq!(neon.last().one("host"), url.strip_prefix("https://"));
        } else {
            assert!(answer.status.is_server_error());
        }
    }
}

#[test]
fn without_its_base_url_no_route_leads_to_neon_and_with_it_none_opens() {
    let load = |text: &str, url: &str, own: &str| {
        let (_file, path) = config(text);
        let variables =
            [("GATEWAY_CONFIG", &*path), ("NEON_AUTH_BASE_URL", url), ("GATEWAY_PUBLIC_ORIGINS", own)];
        let loaded = settings::load::<Settings>(&variables.into_iter().collect());
        loaded.map(|_| ()).map_err(|error| error.to_string())
    };
    let good = "https://ep-x.neonauth.c-2.eu-central-1.aws.neon.tech/neondb/auth";
    assert_eq!(load(ROUTES, good, OWN), Ok(()));
    assert_eq!(load(ROUTES, "http://localhost:4400/neondb/auth", OWN), Ok(()));
    assert_eq!(load("[[routes]]\npath = '/**'\nupstream = 'task-service'\n", good, ""), Ok(()));
    let with =
        |line: &str| ROUTES.replacen("access = 'public'\n", &format!("access = 'public'\n{line}\n"), 1);
    for (text, url, own, want) in [
        (
            ROUTES.to_owned(),
            "",
            OWN,
            "routes[0].upstream: is Neon's own Better Auth, and NEON_AUTH_BASE_URL is not set",
        ),
        (
            ROUTES.to_owned(),
            good,
            "",
            "routes[0].upstream: leads to Neon, and GATEWAY_PUBLIC_ORIGINS is not set",
        ),
        (ROUTES.to_owned(), "http://neon.example/neondb/auth", OWN, "NEON_AUTH_BASE_URL: must be https://"),
        (ROUTES.to_owned(), "neon.example", OWN, "NEON_AUTH_BASE_URL: is not a URL"),
        (
            ROUTES.to_owned(),
            "https://app.test:443/api/auth",
            OWN,
            "NEON_AUTH_BASE_URL: is at the gateway's own origin (GATEWAY_PUBLIC_ORIGINS)",
        ),
        (
            ROUTES.to_owned(),
            "http://localhost:8000",
            "https://app.test, http://localhost:8000",
            "NEON_AUTH_BASE_URL: is at the gateway's own origin",
        ),
        (ROUTES.replacen("access = 'public'\n", "", 1), good, OWN, "routes[0].access: must be \"public\""),
        (with("forward_credentials = true"), good, OWN, "routes[0].forward_credentials: says nothing"),
        (with("csrf = 'off'"), good, OWN, "routes[0].csrf: can't be off"),
        (with("websocket = true"), good, OWN, "routes[0].websocket: has no use"),
        (with("host = 'public'"), good, OWN, "routes[0].host: can't be \"public\""),
        (with("resend = true"), good, OWN, "routes[0].resend: can't be on"),
        (ROUTES.replacen("/api/auth/**", "/api/auth/x", 1), good, OWN, "routes[0].path: must end in /**"),
        (
            format!("[upstreams]\nneon-auth = 'http://127.0.0.1:1'\n{ROUTES}"),
            good,
            OWN,
            "[upstreams] neon-auth: is set by NEON_AUTH_BASE_URL",
        ),
    ] {
        let error = load(&text, url, own).unwrap_err();
        assert!(error.contains(want), "{want}: {error}");
    }
}
