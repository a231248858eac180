//! What a route may say for itself.

use chassis::Body;
use http::{Method, Request, Response};

use crate::world::{Peer, Seen, World, as_u1, config, echo, get, known};

/// A gateway with a service of its own, `web`, on `/web/**` with those keys; and task-service on `/api/**`.
async fn world(keys: &str, variables: &[(&str, &str)]) -> (World, Peer) {
    let web = Peer::new(echo).await;
    let file = format!(
        "[upstreams]\nweb = \"http://localhost:{}\"\n[[routes]]\npath = \"/web/**\"\nupstream = \"web\"\n{keys}\n\
         [[routes]]\npath = \"/api/**\"\nupstream = \"task-service\"\n",
        web.address.port()
    );
    (World::with_file(&file, variables).await, web)
}

fn anonymous(method: Method, target: &str) -> http::request::Builder {
    Request::builder().method(method).uri(target)
}

fn empty(request: http::request::Builder) -> Request<Body> {
    request.body(Body::empty()).unwrap()
}

/// The verdict that the cookie `sid=good` is `u1`'s, and the token `good`.
fn by_cookie(seen: &Seen) -> Response<Body> {
    let by_token = match seen.one("authorization") {
        Some("Bearer good") => Some(true),
        Some(_) => None,
        None => seen.one("cookie").is_some_and(|cookies| cookies.contains("sid=good")).then_some(false),
    };
    match by_token {
        Some(by_token) => {
            let mut known = known("u1");
            let credential = if by_token { "bearer" } else { "cookie" };
            known.headers_mut().insert("x-credential", credential.parse().unwrap());
            known
        }
        None => Response::builder().status(401).body(Body::empty()).unwrap(),
    }
}

#[tokio::test]
async fn a_method_that_a_route_does_not_list_is_answered_with_those_that_it_does() {
    let (world, web) = world("methods = [\"GET\", \"POST\"]", &[]).await;
    for (method, want) in [
        (Method::GET, 200),
        (Method::HEAD, 200),
        (Method::POST, 200),
        (Method::PUT, 405),
        (Method::PATCH, 405),
        (Method::DELETE, 405),
        (Method::OPTIONS, 405),
    ] {
        let answer = world.send(empty(as_u1(method.clone(), "/web/x"))).await;
        assert_eq!(answer.status, want, "{method}");
        if want == 405 {
            assert_eq!(
                (answer.one("allow"), &*answer.problem()),
                (Some("GET, POST, HEAD"), "method-not-allowed")
            );
        }
        assert_eq!(world.send(empty(as_u1(method, "/api/x"))).await.status, 200, "other routes serve all");
    }
    assert_eq!(web.seen().len(), 3);
}

#[tokio::test]
async fn where_authentication_is_optional_whoever_is_known_is_and_nobody_is_taken_for_another() {
    let (world, web) = world("access = \"optional\"", &[]).await;
    world.verifier.respond(by_cookie);
    for (fields, want, user) in [
        (&[][..], 200, None),
        (&[("x-user-id", "u2")], 200, None),
        (&[("authorization", "Bearer good")], 200, Some("u1")),
        (&[("authorization", "Bearer good"), ("x-user-id", "u2")], 200, Some("u1")),
        (&[("cookie", "sid=good")], 200, Some("u1")),
        // Its client means to be somebody.
        (&[("authorization", "Bearer old")], 401, None),
        (&[("authorization", "Bearer old"), ("cookie", "sid=good")], 401, None),
        // A browser sends what it has, also when the session is over.
        (&[("cookie", "sid=old; theme=dark")], 200, None),
        (&[("cookie", "theme=dark")], 200, None),
    ] {
        let before = web.seen().len();
        let request = fields
            .iter()
            .fold(anonymous(Method::GET, "/web/x"), |request, (name, value)| request.header(*name, *value));
        let answer = world.send(empty(request)).await;
        assert_eq!(answer.status, want, "{fields:?}");
        assert_eq!(web.seen().len() - before, usize::from(want == 200), "{fields:?}");
        if want == 200 {
            let seen = web.last();
            assert_eq!(seen.one("x-user-id"), user, "{fields:?}");
            assert_eq!(seen.one("x-identity-assertion").is_some(), user.is_some());
            assert_eq!((seen.one("authorization"), seen.one("cookie")), (None, None), "{fields:?}");
        }
    }
    // What can't be known now is nobody's guess, and who is known and barred is not let in as nobody.
    for status in [503, 403] {
        world.verifier.respond(move |_| Response::builder().status(status).body(Body::empty()).unwrap());
        let request = anonymous(Method::GET, "/web/x").header("cookie", "sid=other");
        assert_eq!(world.send(empty(request)).await.status, status);
    }
}

#[tokio::test]
async fn a_service_is_asked_by_its_own_name_or_by_the_public_one() {
    for (keys, public) in [("", false), ("host = \"upstream\"", false), ("host = \"public\"", true)] {
        let own = [("GATEWAY_PUBLIC_ORIGINS", "https://app.example:8443, http://gateway.test")];
        let (world, web) = world(keys, &own).await;
        let request = as_u1(Method::GET, "/web/x").header("host", "app.example:8443");
        assert_eq!(world.send(empty(request)).await.status, 200);
        let own = format!("localhost:{}", web.address.port());
        let seen = web.last();
        assert_eq!(seen.one("host"), Some(if public { "app.example:8443" } else { &*own }));
        assert_eq!(seen.one("x-forwarded-host"), Some("app.example:8443"));
        // Over HTTP/2 there is an authority in its stead.
        assert_eq!(world.send_h2(get("/web/x")).await.status, 200);
        assert_eq!(web.last().one("host"), Some(if public { "gateway.test" } else { &*own }));
        // A host that a client has made up would stand in the links that a service mails.
        let before = web.seen().len();
        for (host, is_ours) in [
            ("GATEWAY.test", true),
            ("gateway.test:80", true),
            ("gateway.test:443", false),
            ("app.example", false),
            ("evil.example", false),
        ] {
            let answer = world.send(empty(as_u1(Method::GET, "/web/x").header("host", host))).await;
            let want = if public && !is_ours { 421 } else { 200 };
            assert_eq!(answer.status, want, "{host} {keys}");
        }
        assert_eq!(web.seen().len() - before, if public { 2 } else { 5 });
    }
}

#[tokio::test]
async fn credentials_go_on_only_where_a_route_says_so() {
    let all = "theme=dark; better-auth.session_token=s; sid=x";
    for access in ["public", "optional", "authenticated"] {
        let keys = format!("access = \"{access}\"\nforward_credentials = true");
        let (world, web) = world(&keys, &[]).await;
        let request = |target| empty(as_u1(Method::GET, target).header("cookie", all));
        assert_eq!(world.send(request("/web/x")).await.status, 200);
        let seen = web.last();
        assert_eq!(
            (seen.one("authorization"), seen.one("cookie")),
            (Some("Bearer good"), Some(all)),
            "{access}"
        );
        assert_eq!(seen.one("x-user-id"), (access != "public").then_some("u1"), "{access}");
        // HTTP/2 may cut them up.
        let cut_up = as_u1(Method::GET, "/web/x").header("cookie", "a=1").header("cookie", "b=2");
        assert_eq!(world.send_h2(empty(cut_up)).await.status, 200);
        assert_eq!(web.last().one("cookie"), Some("a=1; b=2"));
        assert_eq!(world.send(request("/api/x")).await.status, 200);
        let seen = world.service.last();
        assert_eq!((seen.one("authorization"), seen.one("cookie")), (None, Some("theme=dark")));
    }
}

#[tokio::test]
async fn only_a_service_that_sees_credentials_sets_them() {
    let sets = |_: &Seen| {
        let mut answer = Response::builder();
        for cookie in [
            "theme=dark; Path=/",
            "better-auth.session_token=evil; Path=/; HttpOnly",
            "__Secure-better-auth.session_data=evil",
            "=better-auth.session_token=evil",
            "sid=evil",
            "lang=de",
        ] {
            answer = answer.header("set-cookie", cookie);
        }
        answer.body(Body::empty()).unwrap()
    };
    for (keys, want) in [
        ("", &["theme=dark; Path=/", "lang=de"][..]),
        // Nobody says there that `sid` is one.
        ("access = \"public\"", &["theme=dark; Path=/", "sid=evil", "lang=de"]),
    ] {
        let (world, web) = world(keys, &[]).await;
        web.respond(sets);
        let answer = world.send(get("/web/x")).await;
        let cookies: Vec<_> =
            answer.headers.get_all("set-cookie").iter().map(|cookie| cookie.to_str().unwrap()).collect();
        assert_eq!(cookies, want, "{keys}");
    }
    let (world, web) = world("access = \"public\"\nforward_credentials = true", &[]).await;
    web.respond(sets);
    assert_eq!(world.send(get("/web/x")).await.headers.get_all("set-cookie").iter().count(), 6);
}

#[tokio::test]
async fn no_inner_address_gets_out_in_a_location() {
    let (world, web) = world("", &[]).await;
    let port = web.address.port();
    for (location, want) in [
        (format!("http://localhost:{port}/web/items/?page=2#top"), "/web/items/?page=2#top".to_owned()),
        (format!("http://127.0.0.1:{port}/web/items/"), "/web/items/".to_owned()),
        (format!("http://localhost:{port}//evil.example/x"), "/.//evil.example/x".to_owned()),
        ("https://accounts.example/login".to_owned(), "https://accounts.example/login".to_owned()),
        ("http://gateway.test/web/x".to_owned(), "http://gateway.test/web/x".to_owned()),
        ("/web/x".to_owned(), "/web/x".to_owned()),
    ] {
        for status in [201, 307] {
            let said = location.clone();
            web.respond(move |_| {
                let answer = Response::builder().status(status);
                answer
                    .header("location", &said)
                    .header("content-location", &said)
                    .body(Body::empty())
                    .unwrap()
            });
            let answer = world.send(get("/web/x")).await;
            assert_eq!(answer.status, status);
            assert_eq!(answer.one("location"), Some(&*want));
            assert_eq!(answer.one("content-location"), Some(&*want));
        }
    }
}

#[tokio::test]
async fn a_route_without_cors_tells_no_page_anything() {
    let (world, web) = world("cors = false", &[]).await;
    let origin = "http://localhost:3000";
    for (target, has_cors) in [("/web/x", false), ("/%77eb/x", false), ("/api/x", true), ("/nowhere", true)] {
        for token in ["Bearer good", "Bearer bad"] {
            let request =
                anonymous(Method::GET, target).header("authorization", token).header("origin", origin);
            let answer = world.send(empty(request)).await;
            assert_eq!(answer.one("access-control-allow-origin"), has_cors.then_some(origin), "{target}");
            assert_eq!(
                answer.one("access-control-allow-credentials"),
                has_cors.then_some("true"),
                "{target}"
            );
            assert_eq!(answer.one("access-control-expose-headers").is_some(), has_cors, "{target}");
            assert!(answer.one("vary").is_some_and(|vary| vary.contains("Origin")), "{target}");
        }
        let before = web.seen().len() + world.service.seen().len();
        let preflight = anonymous(Method::OPTIONS, target)
            .header("origin", origin)
            .header("access-control-request-method", "PUT")
            .header("access-control-request-headers", "x-own");
        let answer = world.send(empty(preflight)).await;
        assert_eq!(answer.one("access-control-allow-origin"), has_cors.then_some(origin), "{target}");
        assert_eq!(answer.one("access-control-allow-methods").is_some(), has_cors, "{target}");
        assert_eq!(web.seen().len() + world.service.seen().len(), before, "nobody behind was asked");
    }
}

#[tokio::test]
async fn where_pages_of_other_origins_may_not_call_they_change_nothing_by_a_cookie() {
    for (keys, want) in [("", 200), ("cors = false", 403)] {
        let (world, web) = world(keys, &[]).await;
        world.verifier.respond(by_cookie);
        for (origin, want) in [("http://localhost:3000", want), ("http://gateway.test", 200)] {
            let write =
                anonymous(Method::POST, "/web/x").header("host", "gateway.test").header("cookie", "sid=good");
            let answer = world.send(empty(write.header("origin", origin))).await;
            assert_eq!(answer.status, want, "{keys} {origin}");
        }
        let by_token = as_u1(Method::POST, "/web/x").header("origin", "http://localhost:3000");
        assert_eq!(world.send(empty(by_token)).await.status, 200, "{keys}: no page can send a token along");
        assert_eq!(web.seen().len(), if want == 200 { 3 } else { 2 });
    }
}

#[tokio::test]
async fn a_route_lets_pages_read_further_headers() {
    let (world, web) = world("expose_headers = [\"X-Total\", \"etag\"]", &[]).await;
    web.respond(|_| {
        Response::builder().header("access-control-expose-headers", "x-page").body(Body::empty()).unwrap()
    });
    let exposed = async |target| {
        let request = as_u1(Method::GET, target).header("origin", "http://localhost:3000");
        let answer = world.send(empty(request)).await;
        answer.one("access-control-expose-headers").unwrap().to_owned()
    };
    let own = exposed("/web/x").await;
    assert!(own.ends_with(",x-page,x-total") && own.matches("etag").count() == 1, "{own}");
    assert!(!exposed("/api/x").await.contains("x-total"));
}

#[tokio::test]
async fn how_a_request_is_taken_that_names_no_page_is_the_routes_to_say() {
    let status = async |world: &World, target: &str, fields: &[(&str, &str)]| {
        let request = anonymous(Method::POST, target).header("cookie", "sid=good");
        let request = fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        world.send(empty(request)).await
    };
    let (strict, _) = world("csrf = \"fetch-metadata\"", &[]).await;
    let (lenient, _) = world("csrf = \"strict\"", &[("GATEWAY_CSRF__MODE", "fetch-metadata")]).await;
    for (world, says_nothing, other) in [(&strict, "/web/x", "/api/x"), (&lenient, "/api/x", "/web/x")] {
        world.verifier.respond(by_cookie);
        assert_eq!(status(world, says_nothing, &[]).await.status, 200);
        let refused = status(world, other, &[]).await;
        assert_eq!((refused.status.as_u16(), &*refused.problem()), (403, "cross-site"));
        assert!(
            refused.body.contains("GATEWAY_CSRF__MODE=fetch-metadata"),
            "it says what to set: {}",
            refused.body
        );
        for target in [says_nothing, other] {
            for foreign in [
                ("origin", "https://evil.example"),
                ("origin", "null"),
                ("sec-fetch-site", "cross-site"),
                ("sec-fetch-site", "none"),
            ] {
                assert_eq!(status(world, target, &[foreign]).await.status, 403, "{target} {foreign:?}");
            }
        }
    }
}

#[tokio::test]
async fn cookies_that_go_on_to_a_service_count_though_the_gateway_asks_nobody_about_them() {
    for (keys, by_page, by_foreign_page) in [
        ("access = \"public\"\nforward_credentials = true", 200, 403),
        ("access = \"optional\"\nforward_credentials = true", 200, 403),
        // The service checks by itself.
        ("access = \"public\"\nforward_credentials = true\ncsrf = \"off\"", 200, 200),
        // No cookie goes on.
        ("access = \"public\"", 200, 200),
    ] {
        let (world, _) = world(keys, &[]).await;
        for (origin, want) in [("http://gateway.test", by_page), ("https://evil.example", by_foreign_page)] {
            let request =
                anonymous(Method::POST, "/web/x").header("cookie", "sid=x").header("origin", origin);
            assert_eq!(world.send(empty(request)).await.status, want, "{keys} {origin}");
        }
        // A browser sends what it knows of Basic by itself, too; a token is the page's own.
        for (authorization, want) in
            [("Basic dTpw", if keys.contains("forward") { by_foreign_page } else { 200 }), ("Bearer t", 200)]
        {
            if keys.contains("optional") {
                continue;
            }
            let request = anonymous(Method::POST, "/web/x").header("authorization", authorization);
            let answer = world.send(empty(request.header("origin", "https://evil.example"))).await;
            assert_eq!(answer.status, want, "{keys} {authorization}");
        }
        // Without any there is nothing to forge with, and a link may always lead here.
        let without = anonymous(Method::POST, "/web/x").header("origin", "https://evil.example");
        assert_eq!(world.send(empty(without)).await.status, 200, "{keys}");
        let link =
            anonymous(Method::GET, "/web/x").header("cookie", "sid=x").header("sec-fetch-site", "cross-site");
        assert_eq!(world.send(empty(link)).await.status, 200, "{keys}");
    }
}

#[tokio::test]
async fn the_gateways_own_origins_are_those_that_are_set() {
    let (world, _) = world("", &[("GATEWAY_PUBLIC_ORIGINS", "https://app.test, https://www.app.test")]).await;
    world.verifier.respond(by_cookie);
    for (host, origin, site, want) in [
        ("app.test", "https://app.test", None, 200),
        ("gateway.internal", "https://www.app.test", Some("same-origin"), 200),
        ("app.test", "http://app.test", None, 403),
        ("evil.example", "http://evil.example", None, 403),
        ("app.test", "https://app.test", Some("cross-site"), 403),
        ("app.test", "http://localhost:3000", Some("cross-site"), 200),
    ] {
        let mut request = anonymous(Method::POST, "/api/x").header("host", host).header("cookie", "sid=good");
        request = request.header("origin", origin);
        if let Some(site) = site {
            request = request.header("sec-fetch-site", site);
        }
        assert_eq!(world.send(empty(request)).await.status, want, "{host} {origin} {site:?}");
    }
}

#[test]
fn a_route_that_would_open_what_must_stay_closed_does_not_start() {
    let web = "[upstreams]\nweb = \"http://web\"\n[[routes]]\npath = \"/w\"\nupstream = \"web\"\n";
    for (keys, want) in [
        ("csrf = \"off\"", "routes[0].csrf: may be off only where access is public"),
        ("access = \"optional\"\ncsrf = \"off\"", "routes[0].csrf: may be off only where access is public"),
        ("csrf = \"none\"", "csrf"),
        ("methods = []", "routes[0].methods: must be at least one method"),
        ("methods = [\"get\"]", "routes[0].methods: `get` is not one of GET, HEAD"),
        ("methods = [\"TRACE\"]", "routes[0].methods: `TRACE` is not one of"),
        ("expose_headers = [\"*\"]", "routes[0].expose_headers: `*` is not the name of a header"),
        ("expose_headers = [\"x y\"]", "routes[0].expose_headers: `x y` is not"),
        ("idle_secs = 0", "routes[0].idle_secs: must be 1 to 86400"),
        ("idle_secs = 86401", "routes[0].idle_secs: must be 1 to 86400"),
        ("timeout_secs = 0", "routes[0].timeout_secs: must be 1 to 3600"),
        ("timeout_secs = 3601", "routes[0].timeout_secs: must be 1 to 3600"),
        ("host = \"both\"", "host"),
        ("host = \"public\"", "routes[0].host: is \"public\", and GATEWAY_PUBLIC_ORIGINS is not set"),
        ("websocket = \"yes\"", "websocket"),
        ("credential = \"token\"", "routes[0].credential: must be bearer or cookie"),
        (
            "access = \"public\"\ncredential = \"bearer\"",
            "routes[0].credential: says nothing where access is public",
        ),
        ("access = \"public\"\nscopes = [\"a\"]", "routes[0].scopes: demands something of whoever is known"),
        (
            "access = \"optional\"\nscopes = [\"a\"]",
            "routes[0].scopes: demands something of whoever is known",
        ),
        ("credential = \"cookie\"\nscopes = [\"a\"]", "routes[0].scopes: lets nobody in beside"),
        ("scopes = []", "routes[0].scopes: must be at least one scope"),
        ("scopes = [\"a b\"]", "routes[0].scopes: `a b` is no scope"),
        ("scopes = [\"a\", \"a\"]", "routes[0].scopes: `a` stands there twice"),
        ("scopes = \"a\"", "scopes"),
    ] {
        let (_file, path) = config(&format!("{web}{keys}\n"));
        let error = load(&[("GATEWAY_CONFIG", &path)]).unwrap_err();
        assert!(error.contains(want), "{keys}: {error}");
    }
    let task_service = "[[routes]]\npath = \"/w\"\nupstream = \"task-service\"\nforward_credentials = true\n";
    let (_file, path) = config(task_service);
    let error = load(&[("GATEWAY_CONFIG", &path)]).unwrap_err();
    assert!(error.contains("routes[0].forward_credentials: is not for task-service"), "{error}");
    let alias = "[upstreams]\nalias = \"http://tasks:8002\"\n[[routes]]\npath = \"/w\"\nupstream = \"alias\"\n\
                 forward_credentials = true\n";
    let (_file, path) = config(alias);
    let error =
        load(&[("GATEWAY_CONFIG", &path), ("GATEWAY_TASK_SERVICE_URL", "http://tasks:8002")]).unwrap_err();
    assert!(error.contains("routes[0].forward_credentials: is not for task-service"), "{error}");
    for keys in [
        "websocket = true",
        "forward_credentials = true",
        "host = \"public\"",
        "timeout_secs = 1",
        "idle_secs = 1",
        "methods = [\"GET\"]",
        "csrf = \"strict\"",
        "credential = \"bearer\"",
        "scopes = [\"a\"]",
        "expose_headers = [\"x\"]",
    ] {
        let (_file, path) = config(&format!("[[routes]]\npath = \"/h\"\nanswer = \"health\"\n{keys}\n"));
        let error = load(&[("GATEWAY_CONFIG", &path)]).unwrap_err();
        assert!(error.contains("says nothing beside `answer`"), "{keys}: {error}");
    }
    for (name, value) in [
        ("GATEWAY_CSRF__MODE", "off"),
        ("GATEWAY_CSRF__MODE", "lax"),
        ("GATEWAY_PUBLIC_ORIGINS", "capacitor://localhost"),
        ("GATEWAY_PUBLIC_ORIGINS", "https://a.test/"),
    ] {
        let error = load(&[(name, value)]).unwrap_err();
        assert!(error.contains(name), "{error}");
    }
}

fn load(variables: &[(&str, &str)]) -> Result<(), String> {
    let variables = variables.iter().copied().collect();
    chassis::settings::load::<gateway::settings::Settings>(&variables)
        .map(drop)
        .map_err(|error| error.to_string())
}
