//! Writes what the fuzzers start from: the recording, in pieces, as `corpus/<target>/<n>`.

use std::{fs, io, path::Path};

use serde_json::{Value, json};

use hostile::PRIVATE;
use recorded::{CACHED_NOW, CACHED_TOKEN, cases, issuer, text};

#[path = "src/hostile.rs"]
mod hostile;
#[path = "src/recorded.rs"]
mod recorded;

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=../../auth-verifier/tests/vectors/better-auth.json");
    println!("cargo::rerun-if-changed=src/recorded.rs");
    println!("cargo::rerun-if-changed=src/hostile.rs");

    let (servers, caches) = (|| cases("api_jwt"), || cases("cookie_cache"));
    let cookies = || caches().chain(cases("session_cookie")).map(|case| text(&case["cookie_request_header"]));
    let data = || caches().map(|case| text(&case["session_data"]).to_owned());

    let tokens = servers().map(|server| &server["token_long_lived"]).chain(cases("must_be_rejected"));
    let bearer = tokens.filter_map(Value::as_str).map(|token| format!("authorization: Bearer {token}"));
    let sent = cases("bearer_cases").filter_map(|case| case["authorization"].as_str());
    let sent = sent.map(|value| format!("authorization: {value}"));
    write("verdict", bearer.chain(sent).chain(cookies().map(|cookie| format!("cookie: {cookie}"))))?;
    write("cookies", cookies().map(str::to_owned))?;

    let hs256 = json!({"alg": "HS256"});
    let claims = servers().map(|server| server["decoded"]["payload"].clone());
    let lasting = claims.map(|mut claims| {
        claims["exp"] = 4_000_000_000_u64.into();
        (claims["iss"], claims["aud"]) = (issuer().into(), issuer().into());
        format!("{hs256}\n{claims}")
    });
    let first = servers().next().map(|server| server["decoded"]["payload"].clone()).unwrap_or_default();
    let email = PRIVATE.map(|name| json!({name: "\"eve@example.com\""}).to_string());
    let odd = hostile::values().chain(email).flat_map(|value| {
        ["email", "sub", "aud", "other"].map(|name| {
            let mut claims = first.clone();
            claims["exp"] = 4_000_000_000_u64.into();
            (claims["iss"], claims["aud"]) = (issuer().into(), issuer().into());
            claims[name].take();
            format!(
                "{hs256}\n{}",
                claims.to_string().replacen(&format!("\"{name}\":null"), &format!("\"{name}\":{value}"), 1)
            )
        })
    });
    write("claims", lasting.chain(odd))?;

    let task =
        r#"{"title":"Buy milk","description":null,"completed":false,"priority":"low","tags":["a","b"]"#;
    let tasks =
        ["2026-01-31", "2026-01-31T09:30:00.000Z"].map(|due| format!("{task},\"due_date\":\"{due}\"}}"));
    let other = [r#"{"is_completed":true}"#, "[]", "null", r#"{"title":"\ud83e\udd80"}"#].map(str::to_owned);
    let inside = PRIVATE.map(|name| json!({name: r#"{"title":"x"}"#}).to_string());
    let odd = hostile::values()
        .flat_map(|value| [format!("{task},\"other\":{value}}}"), format!("{{\"title\":{value}}}"), value]);
    write("bodies", tasks.into_iter().chain(other).chain(inside).chain(odd))?;
    let lists = [
        "status=pending&priority=high&tag=a&search=milk",
        "sort=due_date&order=desc&limit=20&offset=40",
        "completed=true",
    ];
    write("lists", lists.into_iter().map(str::to_owned))?;

    let get = "GET /a?b=c HTTP/1.1\r\nHost: a.test\r\nCookie: a=b\r\n\r\n";
    let sized = "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello";
    let chunked =
        "PUT http://a.test/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nx: y\r\n\r\n";
    let upgrade = "GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    let old = "\r\nGET * HTTP/1.0\r\nExpect: 100-continue\r\n\r\nCONNECT a.test:1 HTTP/1.1\r\n\r\n";
    let several = [get, sized, chunked, get].concat();
    let fields = [
        "Content-Length: 2\r\nContent-Length: 2",
        "Content-Length:\t02 ",
        "Transfer-Encoding: Chunked",
        "Transfer-Encoding:CHUNKED\t",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: ,chunked",
        "Content-Length: 2\r\nTransfer-Encoding: chunked",
        "Connection: Upgrade, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nContent-Length: 2",
        "Expect: 100-continue\r\nContent-Length: 2",
        "Connection: TE, keep-alive\r\nTE: gzip\r\nKeep-Alive: 1\r\nContent-Length: 2",
        "Host: b\r\nX_User_Id:\r\nX-Own: \u{e9}\r\nContent-Length: 2",
    ];
    let lines =
        ["POST /", "GET /a;b//../%2e?x=/../\"{}", "OPTIONS *", "CONNECT a.test:1", "get http://a.test"];
    let bodies = ["hi", "00002;a=\"b\" ; c\r\nhi\r\n000\r\nContent-Length: 9\r\nHost: b\r\n\r\n"];
    let odd = lines.iter().flat_map(|line| {
        fields.iter().map(move |field| format!("{line} HTTP/1.1\r\nHost: a.test\r\n{field}\r\n\r\n"))
    });
    let odd = odd.flat_map(|head| bodies.map(|body| format!("{head}{body}{get}")));
    let heads: Vec<_> =
        [get, sized, chunked, upgrade, old, &several].map(str::to_owned).into_iter().chain(odd).collect();
    write("heads", heads.iter().cloned())?;
    write("readers", heads.into_iter())?;

    for target in ["cache_compact", "cache_jwt", "cache_jwe"] {
        let ends = [CACHED_NOW + 60, 0, u64::MAX];
        let payloads = caches().zip(ends.into_iter().cycle()).map(|(case, end)| {
            let mut payload = case["library_session_answer"].clone();
            payload["session"]["token"] = CACHED_TOKEN.into();
            (payload["version"], payload["exp"]) = ("1".into(), end.into());
            payload.to_string()
        });
        write(target, data().chain(payloads))?;
    }
    let public = || servers().filter_map(|server| server["jwks"]["keys"].as_array()).flatten();
    let sets = public().map(|jwk| {
        let with = |member: &str, value: &str| {
            let mut jwk = jwk.clone();
            jwk[member] = value.into();
            jwk
        };
        let secret = json!({"kty": "oct", "kid": "k1", "alg": "HS256", "k": "AAAA"});
        json!({"keys": [jwk, with("d", "AAAA"), with("kty", "oct"), with("use", "enc"), secret]})
    });
    let alone = public().map(|jwk| json!({"keys": [jwk]}));
    write("keys", alone.chain(sets).map(|set| set.to_string()))
}

fn write(target: &str, seeds: impl Iterator<Item = String>) -> io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    fs::create_dir_all(&folder)?;
    for (n, seed) in seeds.enumerate() {
        fs::write(folder.join(n.to_string()), seed)?;
    }
    Ok(())
}
