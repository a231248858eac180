//! One table of attacks: the gateway withstands it, and so does each proxy with its file.

use std::net::SocketAddr;

use gateway::sanitize::names::{
    FORWARDING, FORWARDING_PREFIXES, HOP_BY_HOP, INTERNAL_PREFIXES, is_forwarding, is_internal, is_odd,
};
use http::{Method, Request};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{
    house::{House, doors, knows_ada, open, subject, token, verifier},
    peer::{Heard, Peer, Switching},
    program::{Program, installed},
};
use crate::world::PATIENCE;

/// What a request is allowed to become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It passes as Ada's, who sent it.
    Adas,
    /// It passes as nobody's.
    Nobodys,
    /// It is turned away, and the application hears nothing.
    Refused,
    /// It is answered at the door.
    AnsweredHere,
}

use Fate::{Adas, AnsweredHere, Nobodys, Refused};

struct Attack {
    /// By which the table of threats knows it.
    id: &'static str,
    /// What is sent, before `Host` and `Connection: close`. `{ada}` is her credential.
    lines: &'static [&'static str],
    may: &'static [Fate],
}

const fn attack(id: &'static str, lines: &'static [&'static str], may: &'static [Fate]) -> Attack {
    Attack { id, lines, may }
}

const ATTACKS: [Attack; 32] = [
    attack("A1", &["GET /api HTTP/1.1", "{ada}", "X-User-Id: eve"], &[Adas]),
    attack(
        "A2",
        &["GET /api HTTP/1.1", "{ada}", "x-USER-iD: eve", "X-User-Id: eve,ada", "x-user-id: eve"],
        &[Adas],
    ),
    attack("A3", &["GET /api HTTP/1.1", "{ada}", "X_User_Id: eve"], &[Adas, Refused]),
    attack("A3", &["GET /api HTTP/1.1", "{ada}", "X-User_Id: eve"], &[Adas, Refused]),
    attack("A3", &["GET /api HTTP/1.1", "{ada}", "x_user-id: eve"], &[Adas, Refused]),
    attack("A4", &["GET /api HTTP/1.1", "{ada}", "X.User.Id: eve"], &[Adas, Refused]),
    attack("A4", &["GET /api HTTP/1.1", "{ada}", "X-User-Id\u{a0}: eve"], &[Adas, Refused]),
    attack("A4", &["GET /api HTTP/1.1", "{ada}", "X-User-Id : eve"], &[Adas, Refused]),
    attack("A4", &["GET /api HTTP/1.1", "{ada}", "X-User-Id\t: eve"], &[Adas, Refused]),
    attack("A4", &["GET /api HTTP/1.1", " X-User-Id: eve", "{ada}"], &[Adas, Refused]),
    attack("A5", &["GET /health HTTP/1.1", "X-User-Id: eve"], &[Nobodys]),
    attack("A5", &["GET /health HTTP/1.1", "X_User_Id: eve"], &[Nobodys, Refused]),
    attack("A6", &["GET /health HTTP/1.1", "X-User-Id: eve", "Authorization: Bearer eve"], &[Nobodys]),
    attack("A6", &["GET /health HTTP/1.1", "X-User-Id: eve", "{ada}"], &[Nobodys]),
    attack(
        "A9",
        &["GET /api HTTP/1.1", "{ada}", "Connection: X-User-Id, X-Identity-Assertion", "X-User-Id: eve"],
        &[Adas, Refused],
    ),
    attack("A9", &["GET /health HTTP/1.1", "Connection: X-User-Id", "X-User-Id: eve"], &[Nobodys, Refused]),
    attack("A10", &["GET /api HTTP/1.1", "{ada}", "Connection: Authorization"], &[Adas, Refused]),
    attack(
        "A11",
        &["GET /api HTTP/1.1", "{ada}", "Connection: x-forwarded-for", "X-Forwarded-For: eve"],
        &[Adas, Refused],
    ),
    attack(
        "A13",
        &[
            "GET /api HTTP/1.1",
            "{ada}",
            "X-User-Id: eve",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        ],
        &[Adas, Refused],
    ),
    attack(
        "A14",
        &["GET /api HTTP/1.1", "X-User-Id: eve", "Connection: Upgrade", "Upgrade: websocket"],
        &[Refused],
    ),
    attack(
        "A15",
        &[
            "OPTIONS /api HTTP/1.1",
            "{ada}",
            "X-User-Id: eve",
            "Origin: http://localhost:3000",
            "Access-Control-Request-Method: PUT",
        ],
        &[AnsweredHere],
    ),
    attack("A16", &["OPTIONS /api HTTP/1.1", "X-User-Id: eve", "Origin: http://localhost:3000"], &[Refused]),
    attack("A16", &["OPTIONS /api HTTP/1.1", "X-User-Id: eve", "{ada}"], &[Adas]),
    attack(
        "A21",
        &["GET /api HTTP/1.1", "{ada}", "X-Gateway-Assertion: eve", "X-Internal-Secret: eve"],
        &[Adas],
    ),
    attack("A22", &["GET /api HTTP/1.1", "User-Agent: GoogleHC/1.0", "X-User-Id: eve"], &[Refused]),
    attack("A22", &["GET /api HTTP/1.1", "User-Agent: kube-probe/1.30"], &[Refused]),
    attack("B2", &["GET /api HTTP/1.1", "X-Forwarded-Uri: /health", "X-Original-URL: /health"], &[Refused]),
    attack("B2", &["GET /api HTTP/1.1", "X-Rewrite-URL: /health", "X-Forwarded-Method: OPTIONS"], &[Refused]),
    attack("B2", &["GET /api HTTP/1.1", "{ada}", "X-Forwarded-Uri: /eve", "X-Original-Uri: /eve"], &[Adas]),
    attack("B3", &["GET /api HTTP/1.1", "{ada}", "X_Forwarded_For: eve", "X_Real_Ip: eve"], &[Adas, Refused]),
    attack("B4", &["GET /api HTTP/1.1", "{ada}", "X-Forwarded-For: eve, 127.0.0.1"], &[Adas]),
    attack(
        "B5",
        &["GET /api HTTP/1.1", "{ada}", "X-HTTP-Method-Override: DELETE", "X-Method-Override: DELETE"],
        &[Adas],
    ),
];

/// What the doors themselves say of where a request came from.
const SAID_BY_DOORS: [&str; 8] = [
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-forwarded-method",
    "x-forwarded-uri",
    "x-forwarded-port",
    "x-forwarded-server",
    "x-real-ip",
];

/// Every name of the list, and some that begin as a name of it does.
fn names() -> Vec<String> {
    let mut names = Vec::new();
    // These three the doors need for themselves.
    let needed = ["connection", "transfer-encoding", "upgrade"];
    names.extend(HOP_BY_HOP.iter().filter(|name| !needed.contains(name)).map(|name| (*name).to_owned()));
    names.extend(FORWARDING.map(str::to_owned));
    for begin in FORWARDING_PREFIXES.into_iter().chain(INTERNAL_PREFIXES) {
        names.extend([format!("{begin}zz"), format!("{}-user", begin.trim_end_matches('-'))]);
        if !begin.ends_with('-') {
            names.push(begin.to_owned());
        }
    }
    let known = [
        "x-original-url",
        "x-original-uri",
        "x-original-method",
        "x-rewrite-url",
        "x-user-roles",
        "x-username",
        "x-authenticated-user",
        "x-auth-request-user",
        "x-auth-request-email",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-forwarded-port",
        "x-forwarded-prefix",
        "x-forwarded-method",
        "x-forwarded-uri",
        "x-forwarded-server",
        "x-forwarded-ssl",
        "x-forwarded-scheme",
        "x-forwarded-email",
        "x-forwarded-groups",
        "x-forwarded-client-cert",
        "x-envoy-original-path",
        "x-envoy-external-address",
        "x-envoy-upstream-rq-timeout-ms",
    ];
    names.extend(known.map(str::to_owned));
    names.extend(identity::ALL.iter().map(|name| name.as_str().to_owned()));
    names
}

/// How somebody might write a name, and somebody else read it.
fn spellings(name: &str) -> Vec<String> {
    let others = ["_", ".", "!", "~", "+", "^", "|", "'", "*", "$", "&", "%", "#", "`"];
    let mut all: Vec<_> = others.map(|other| name.replace('-', other)).into();
    all.extend([name.to_owned(), name.to_uppercase(), name.replacen('-', "_", 1)]);
    all.sort();
    all.dedup();
    all
}

/// Nothing of what a client says of itself, or of where it comes from, is left.
fn check_clean(heard: &Heard, context: &str) {
    for (name, value) in heard.headers.iter().chain(&heard.trailers) {
        let name = name.as_str();
        let value = String::from_utf8_lossy(value.as_bytes());
        assert!(!value.contains("eve"), "{context}: {name}: {value}");
        assert!(!is_odd(name), "{context}: {name}: {value}");
        let ours = SAID_BY_DOORS.contains(&name) || identity::ALL.iter().any(|ours| ours == name);
        assert!(ours || !(is_forwarding(name) || is_internal(name)), "{context}: {name}: {value}");
    }
    assert_eq!(heard.one("x-forwarded-for"), Some("127.0.0.1"), "{context}");
    assert_eq!(heard.one("authorization"), None, "{context}");
    assert_eq!(heard.one("upgrade"), None, "{context}");
}

fn check_named(heard: &Heard, context: &str) {
    assert_eq!(heard.one("x-user-id"), Some("ada"), "{context}");
    assert!(heard.one("x-identity-assertion").is_some(), "{context}");
}

fn check_nameless(heard: &Heard, context: &str) {
    assert!(
        identity::ALL.iter().all(|name| heard.one(name.as_str()).is_none()),
        "{context}: {:?}",
        heard.headers
    );
}

/// Runs the whole table against one door.
async fn withstand(name: &str, house: &House) {
    let ada = format!("Authorization: Bearer {}", token("ada"));
    for Attack { id, lines, may } in &ATTACKS {
        let mut lines: Vec<_> = lines.iter().map(|line| line.replace("{ada}", &ada)).collect();
        lines.push("Host: a".to_owned());
        // It is either closed by what the attack says, or by us.
        match lines.iter_mut().find(|line| line.starts_with("Connection:")) {
            Some(line) => *line = line.replace("Connection:", "Connection: close,"),
            None => lines.push("Connection: close".to_owned()),
        }
        let lines: Vec<_> = lines.iter().map(String::as_str).chain(["", ""]).collect();
        let context = format!("{id} at {name}: {lines:?}");
        let status = house.say(&lines).await;
        let heard = house.application.heard();
        let fate = match &heard[..] {
            [] if (200..300).contains(&status) => AnsweredHere,
            [] => {
                assert!((400..500).contains(&status), "{context}: {status}");
                Refused
            }
            [one] => {
                assert_eq!(status, 200, "{context}");
                check_clean(one, &context);
                if one.target == "/health" {
                    check_nameless(one, &context);
                    Nobodys
                } else {
                    check_named(one, &context);
                    assert_eq!(subject(one.one("x-identity-assertion").unwrap()), json!("ada"), "{context}");
                    Adas
                }
            }
            _ => panic!("{context}: {heard:?}"),
        };
        assert!(may.contains(&fate), "{context} became {fate:?} with {status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_in_as_somebody_else_through_any_door() {
    let verifier = verifier();
    for door in doors() {
        let house = House::of(door, door.place_of(&verifier)).await;
        withstand(door.name(), &house).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_more_line_in_a_proxys_file_opens_nothing() {
    let verifier = verifier();
    for program in installed() {
        let house = House::edited(program, program.place_of(&verifier), Program::with_a_line_more).await;
        withstand(program.name, &house).await;
        house.client.call(house.get("/api", &token("ada")), None).await;
        let heard = house.application.only();
        check_named(&heard, program.name);
        assert_eq!(heard.one("x-other"), Some("other"), "{}", program.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_holds_where_it_is_not_the_default_of_its_address_and_where_a_location_forgets() {
    let verifier = verifier();
    for program in installed().filter(|program| program.name == "nginx") {
        // Of the lax server that stands first, nginx takes how it reads names.
        let house = House::edited(program, program.place_of(&verifier), |_, file| {
            let lax = "server { listen 127.0.0.1:8000 default_server; underscores_in_headers on; ignore_invalid_headers off; return 421; }\n";
            let named = file.replace(
                "    listen 127.0.0.1:8000;\n",
                "    listen 127.0.0.1:8000;\n    server_name 127.0.0.1 a;\n",
            );
            assert_ne!(named, file);
            format!("{lax}{named}")
        });
        withstand("nginx beside another", &house.await).await;

        // As somebody would write it who knows nothing of this file.
        let house = House::edited(program, program.place_of(&verifier), |_, file| {
            let place = "    # For anybody.";
            assert!(file.contains(place));
            let more =
                "    location /more { proxy_pass http://application; proxy_set_header X-Other other; }\n";
            file.replace(place, &format!("{more}{place}"))
        });
        let house = house.await;
        let more = [
            "GET /more HTTP/1.1",
            "X-User-Id: eve",
            "X_User_Id: eve",
            "Host: a",
            "Connection: close",
            "",
            "",
        ];
        assert_eq!(house.say(&more).await, 200);
        let heard = house.application.only();
        check_nameless(&heard, "a new location");
        assert!(heard.headers.values().all(|value| value != "eve"), "{:?}", heard.headers);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_name_of_the_list_is_passed_on_in_any_spelling() {
    let verifier = Peer::start(knows_ada).await;
    let names: Vec<_> = names().iter().flat_map(|name| spellings(name)).collect();
    for door in doors() {
        let house = House::of(door, verifier.address).await;
        // In parts, since a head has room for about a hundred fields.
        for names in names.chunks(40) {
            let claims: Vec<_> = names.iter().map(|name| format!("{name}: eve\r\n{name}: eve")).collect();
            let claims = claims.join("\r\n");
            for target in ["/api", "/health"] {
                let line = format!("GET {target} HTTP/1.1");
                let end = ["Authorization: Bearer t", &claims, "Host: a", "Connection: close", "", ""];
                let status = house.say(&[&[&*line][..], &end[..]].concat()).await;
                let context = format!("{target} at {}: {names:?}", door.name());
                assert_eq!(status, 200, "{context}");
                let heard = house.application.only();
                check_clean(&heard, &context);
                if target == "/api" {
                    check_named(&heard, &context);
                } else {
                    check_nameless(&heard, &context);
                }
                for asked in verifier.heard() {
                    assert!(
                        asked.headers.values().all(|value| value != "eve"),
                        "{context}: {:?}",
                        asked.headers
                    );
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http_2_no_name_of_the_list_is_passed_on_either() {
    let verifier = Peer::start(knows_ada).await;
    // What HTTP/2 forbids a client to say at all is not asked here.
    let names: Vec<_> = names().iter().filter(|name| !HOP_BY_HOP.contains(&name.as_str())).cloned().collect();
    let names: Vec<_> = names.iter().flat_map(|name| spellings(&name.to_lowercase())).collect();
    let names: Vec<_> = names.iter().filter(|name| **name == name.to_lowercase()).collect();
    for door in doors().filter(|door| door.http2()) {
        let house = House::of(door, verifier.address).await;
        for names in names.chunks(40) {
            for target in ["/api", "/health"] {
                let request = names.iter().fold(house.get(target, "t"), |request, name| {
                    request.header(name.as_str(), "eve").header(name.as_str(), "eve")
                });
                let status = house.say_http2(request.body(()).unwrap()).await;
                let context = format!("{target} at {}: {names:?}", door.name());
                assert_eq!(status.map(|status| status.as_u16()), Some(200), "{context}");
                let heard = house.application.only();
                check_clean(&heard, &context);
                if target == "/api" {
                    check_named(&heard, &context);
                } else {
                    check_nameless(&heard, &context);
                }
            }
            verifier.heard();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_method_that_no_application_needs_is_refused() {
    let verifier = verifier();
    let ada = token("ada");
    let bearer = format!("Authorization: Bearer {ada}");
    for door in doors() {
        let house = House::of(door, door.place_of(&verifier)).await;
        for line in [
            "CONNECT a:80 HTTP/1.1",
            "CONNECT /api HTTP/1.1",
            "connect a:80 HTTP/1.1",
            "connect /api HTTP/1.1",
            "TRACE /api HTTP/1.1",
            "TRACK /api HTTP/1.1",
            "PROPFIND /api HTTP/1.1",
            "CONNECT a:80 HTTP/1.0",
        ] {
            let status = house.say(&[line, "Host: a:80", &bearer, "Connection: close", "", ""]).await;
            assert!((400..=501).contains(&status), "{line} at {}: {status}", door.name());
            assert!(house.application.heard().is_empty(), "{line} at {}", door.name());
        }
        if door.http2() {
            for (method, uri) in [
                (Method::CONNECT, "a:80".to_owned()),
                (Method::TRACE, format!("http://{}/api", house.listen)),
                (Method::from_bytes(b"PROPFIND").unwrap(), format!("http://{}/api", house.listen)),
            ] {
                let request = Request::builder()
                    .method(&method)
                    .uri(uri)
                    .header("authorization", bearer.split_at(15).1);
                let status = house.say_http2(request.body(()).unwrap()).await;
                assert!(status.is_none_or(|status| status.as_u16() >= 400), "{method} at {}", door.name());
                assert!(house.application.heard().is_empty(), "{method} at {}", door.name());
            }
        }
        for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS]
        {
            let answer = house
                .client
                .call(
                    house.request(method.clone(), "/api").header("authorization", format!("Bearer {ada}")),
                    None,
                )
                .await;
            assert_eq!(answer.status, 200, "{method} at {}", door.name());
            assert_eq!(house.application.only().method, method);
        }
        let head = house
            .client
            .head(house.request(Method::HEAD, "/api").header("authorization", format!("Bearer {ada}")))
            .await;
        assert_eq!(head, 200);
    }
}

/// The application does as the client wishes and switches; whoever let that through has dug a tunnel.
#[tokio::test(flavor = "multi_thread")]
async fn after_one_verdict_no_more_bytes_pass_than_were_asked_about() {
    let verifier = Peer::start(knows_ada).await;
    let heads = [
        "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n",
        "CONNECT /api HTTP/1.1\r\nHost: a\r\n",
        "GET /api HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        "GET /api HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n",
        "GET /api HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: anything\r\n",
        "POST /api HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n",
    ];
    for door in doors() {
        for answer in [
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
        ] {
            let application = Switching::start(answer).await;
            let (_front, listen) = open(door, verifier.address, application.address).await;
            let said = heads.map(|head| say_and_go_on(listen, head));
            futures_util::future::join_all(said).await;
            let heard = application.heard();
            assert!(!heard.contains("X-User-Id: eve"), "{}: {heard}", door.name());
        }
    }
}

/// Says a head with a good credential, and once there is an answer, what nobody shall be asked about.
async fn say_and_go_on(listen: SocketAddr, head: &str) {
    let mut stream = TcpStream::connect(listen).await.unwrap();
    stream.write_all(format!("{head}Authorization: Bearer t\r\n\r\n").as_bytes()).await.unwrap();
    let mut some = [0; 1024];
    let _ = timeout(PATIENCE, stream.read(&mut some)).await.unwrap();
    let more = b"GET /tunnel HTTP/1.1\r\nHost: a\r\nX-User-Id: eve\r\nConnection: close\r\n\r\n";
    let _ = stream.write_all(more).await;
    let mut rest = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.unwrap();
}
