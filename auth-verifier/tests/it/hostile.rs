//! Tokens made by somebody who means harm, and knows how verifiers were fooled before.

use std::fmt::Write;

use auth_verifier::session::token::{SessionToken, SigningKey};
use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use chassis::Body;
use http::Request;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::json;

use crate::{
    issuer::{Endpoint, Signing},
    world::{ISSUER, SECRET, World, claims, claims_with, now, with_key},
};

const HEADER: &str = r#"{"alg":"EdDSA","kid":"k1"}"#;

fn base64(text: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(text)
}

/// A PEM block, its lines as long as they are wont to be.
fn pem(label: &str, der: &[u8], line_end: &str) -> String {
    let text = BASE64_STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| str::from_utf8(line).unwrap()).collect();
    let lines = lines.join(line_end);
    format!("-----BEGIN {label}-----{line_end}{lines}{line_end}-----END {label}-----{line_end}")
}

#[tokio::test]
async fn a_public_key_in_no_spelling_is_a_secret() {
    for alg in ["RS256", "ES256", "ES512", "EdDSA"] {
        let world = World::new(&[]).await;
        let key = Signing::new("k1", alg);
        world.endpoint.publish(&[key.jwk()]);
        let (jwk, der) = (key.jwk(), key.der());
        let mut spellings = vec![der.clone(), BASE64_STANDARD.encode(&der).into(), base64(&der).into()];
        for text in [
            pem("PUBLIC KEY", &der, "\n"),
            pem("PUBLIC KEY", &der, "\r\n"),
            pem("RSA PUBLIC KEY", &der, "\n"),
            jwk.to_string(),
            serde_json::to_string_pretty(&jwk).unwrap(),
            json!({"keys": [jwk]}).to_string(),
        ] {
            let spaced =
                [format!(" {text}"), format!("\n{text}"), format!("{text}\n"), text.trim().to_owned()];
            spellings.extend(spaced.into_iter().chain([text]).map(String::into_bytes));
        }
        for member in ["n", "x", "y"] {
            let number = jwk[member].as_str().unwrap_or_default();
            spellings.extend([number.into(), BASE64_URL_SAFE_NO_PAD.decode(number).unwrap()]);
        }
        for secret in spellings {
            let secret = EncodingKey::from_secret(&secret);
            for kid in [None, Some("k1".to_owned())] {
                let header = Header { kid, ..Header::default() };
                world.rejects(&jsonwebtoken::encode(&header, &claims(), &secret).unwrap()).await;
            }
        }
        assert_eq!(world.bearer(&key.token(&claims())).await.status, 200, "{alg}");
    }
}

#[tokio::test]
async fn a_key_that_a_token_brings_along_is_not_used_nor_fetched() {
    let (world, _) = with_key(&[]).await;
    let theirs = Endpoint::new().await;
    let own = Signing::new("k1", "EdDSA");
    theirs.publish(&[own.jwk()]);
    let certificate = BASE64_STANDARD.encode(own.der());
    for (member, value) in [
        ("jwk", own.jwk()),
        ("jku", json!(theirs.url)),
        ("x5u", json!(theirs.url)),
        ("x5c", json!([certificate])),
        ("x5t", json!("AAAA")),
        ("iss", json!(theirs.url)),
    ] {
        let mut header = json!({"alg": "EdDSA", "kid": "k1"});
        header[member] = value;
        world.rejects(&own.token_with(&header, &claims())).await;
        world.rejects(&own.token_with(&header, &claims_with(json!({"iss": theirs.url})))).await;
    }
    // A name that is nobody's yet.
    let named = own.token_with(&json!({"alg": "EdDSA", "kid": theirs.url}), &claims());
    assert_eq!(world.bearer(&named).await.status, 503);
    assert_eq!(theirs.asked(), 0);
}

#[tokio::test]
async fn a_key_id_is_a_name_and_nothing_else() {
    let (world, key) = with_key(&[("AUTH_VERIFIER_TOKEN_BYTES_MAX", "200000")]).await;
    let long = "x".repeat(64 * 1024);
    for kid in [
        json!(""),
        json!(" k1"),
        json!("K1"),
        json!("k1\u{0}"),
        json!("k1%00"),
        json!("../../../../dev/null"),
        json!("/proc/self/environ"),
        json!("x' or '1'='1"),
        json!("x' union select 'AA'; -- "),
        json!("$(id)|id"),
        json!("\u{202e}k1"),
        json!(long),
        json!(1),
        json!(true),
        json!(["k1"]),
        json!({"kid": "k1"}),
    ] {
        // A name may be a key's that is published soon; what is no text is no name.
        let answer = world.bearer(&key.token_with(&json!({"alg": "EdDSA", "kid": kid}), &claims())).await;
        let (named, status) = (kid.is_string(), answer.status.as_u16());
        assert!(if named { [401, 503].contains(&status) } else { status == 401 }, "{kid}: {status}");
        assert_eq!(answer.user(), None);
        let header = json!({"alg": "HS256", "kid": kid});
        let signed = format!("{}.{}", base64(header.to_string()), base64(claims().to_string()));
        world.rejects(&format!("{signed}.{}", base64([0; 32]))).await;
    }
    assert_eq!(world.endpoint.asked(), 1, "the rest is left to the cool-down");
    assert_eq!(world.bearer(&key.token(&claims())).await.status, 200);
}

#[tokio::test]
async fn what_readers_of_json_read_differently_is_rejected() {
    let (world, key) = with_key(&[]).await;
    let good = claims().to_string();
    let inner = &good[1..good.len() - 1];
    let mut texts: Vec<Vec<u8>> = vec![
        format!("\u{feff}{good}").into(),
        format!("{good}{{}}").into(),
        format!("{good},").into(),
        format!("{good}\0").into(),
        format!("[{good}]").into(),
        format!("{{{inner},}}").into(),
        format!("{{{inner},/**/\"a\":1}}").into(),
        format!("{{{inner},\"a\":NaN}}").into(),
        format!("{{{inner},\"a\":01}}").into(),
        format!("{{{inner},'a':1}}").into(),
        format!("{{{inner},\"a\":\"\\u12\"}}").into(),
        format!("{{{inner},\"a\":\"line\nend\"}}").into(),
        good[..good.len() - 1].into(),
        good.encode_utf16().flat_map(u16::to_le_bytes).collect(),
    ];
    for bytes in [&b"\xff"[..], b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"] {
        texts.push([b"{", inner.as_bytes(), b",\"a\":\"", bytes, b"\"}"].concat());
        texts.push([b"{", inner.as_bytes(), b",\"", bytes, b"\":1}"].concat());
    }
    for member in ["iss", "aud", "sub", "exp", "iat", "email"] {
        let value = &claims()[member];
        texts.push(format!("{{{inner},\"{member}\":{value}}}").into());
        let escaped = format!("\\u{:04x}{}", u32::from(member.as_bytes()[0]), &member[1..]);
        texts.push(format!("{{{inner},\"{escaped}\":{value}}}").into());
    }
    texts.push(format!("{{{inner},\"nbf\":1,\"nbf\":1}}").into());
    for text in texts {
        world.rejects(&key.sign(HEADER, text)).await;
    }

    for header in [
        "\u{feff}{\"alg\":\"EdDSA\",\"kid\":\"k1\"}".as_bytes(),
        br#"{"alg":"EdDSA","kid":"k1"}{}"#,
        br#"{"alg":"EdDSA","kid":"k1","kid":"k1"}"#,
        br#"{"alg":"EdDSA","kid":"k1","alg":"EdDSA"}"#,
        br#"{"alg":"EdDSA","kid":"k1","\u0061lg":"EdDSA"}"#,
        br#"{"alg":"EdDSA","kid":"k1","typ":"JWT","typ":"JWT"}"#,
        b"{\"alg\":\"EdDSA\",\"kid\":\"k1\",\"a\":\"\xff\"}",
        b"{\"alg\":\"EdDSA\",\"kid\":\"k1\",\"\xff\":1}",
        br#"["EdDSA","k1"]"#,
        br#""EdDSA""#,
    ] {
        world.rejects(&key.sign(header, &good)).await;
    }
    assert_eq!(world.bearer(&key.sign(HEADER, &good)).await.status, 200);
}

/// Padded with spaces, which JSON allows, so that its last letter in base64url has four bits left over.
fn leaving_bits_over(text: &str) -> String {
    base64(format!("{text}{}", " ".repeat((4 - text.len() % 3) % 3)))
}

#[tokio::test]
async fn each_part_has_one_spelling() {
    let (world, key) = with_key(&[]).await;
    let header = leaving_bits_over(HEADER);
    let (claims, token) = (0..1000)
        .map(|n| leaving_bits_over(&claims_with(json!({"name": "~~~>>>???", "n": n})).to_string()))
        .map(|claims| (claims.clone(), key.seal(&format!("{header}.{claims}"))))
        .find(|(_, token)| token.rsplit('.').take(2).all(|part| part.contains(['-', '_'])))
        .unwrap();
    assert_eq!(world.bearer(&token).await.status, 200);
    let (signed, signature) = token.rsplit_once('.').unwrap();

    let odd = |part: &str| {
        let (start, last) = part.split_at(part.len() - 1);
        let next = char::from(last.as_bytes()[0] + 1);
        let mut odd = vec![
            format!("{part}="),
            format!("{part}=="),
            format!("{part}%3D%3D"),
            format!("{part}A"),
            format!("{part}~"),
            format!(" {part}"),
            format!("{part} "),
            format!("{start} {last}"),
            format!("{start}{next}"),
        ];
        odd.extend(part.contains(['-', '_']).then(|| part.replace('-', "+").replace('_', "/")));
        odd
    };
    for header in odd(&header) {
        world.rejects(&key.seal(&format!("{header}.{claims}"))).await;
    }
    for claims in odd(&claims) {
        world.rejects(&key.seal(&format!("{header}.{claims}"))).await;
    }
    for signature in odd(signature) {
        world.rejects(&format!("{signed}.{signature}")).await;
    }
}

#[tokio::test]
async fn an_encrypted_token_or_one_in_json_is_rejected() {
    let (world, key) = with_key(&[]).await;
    let token = key.token(&claims());
    let [header, payload, signature] = token.split('.').collect::<Vec<_>>()[..] else {
        panic!("three parts")
    };
    let signed = json!({"protected": header, "signature": signature});
    for bad in [
        json!({"payload": payload, "protected": header, "signature": signature}).to_string(),
        json!({"payload": payload, "signatures": [signed]}).to_string(),
        format!("{header}.{payload}.{signature}.{payload}.{signature}"),
        format!("{header}..{payload}.{signature}.{signature}"),
        format!("{token}~{token}~"),
        format!("{token},{token}"),
        base64(&token),
    ] {
        world.rejects(&bad).await;
    }
    // A good token around another, and one that a good key encrypted: neither is an API token.
    for header in [
        json!({"alg": "EdDSA", "kid": "k1", "cty": "JWT"}),
        json!({"alg": "dir", "enc": "A256GCM", "kid": "k1"}),
        json!({"alg": "ECDH-ES", "enc": "A256CBC-HS512", "kid": "k1"}),
    ] {
        world.rejects(&key.sign(header.to_string(), &token)).await;
    }
}

#[tokio::test]
async fn the_size_of_a_token_is_bounded_before_it_is_read() {
    let (world, key) = with_key(&[]).await;
    let (mega, dots) = ("a".repeat(1 << 20), ".".repeat(1 << 20));
    let long = key.token(&claims_with(json!({"pad": mega})));
    for bad in [&*long, &mega, &dots, &"a.".repeat(1000), &format!("{long}{dots}")] {
        world.rejects(bad).await;
    }
    assert_eq!(world.endpoint.asked(), 0);
}

#[tokio::test]
async fn depth_and_number_of_claims_overflow_nothing() {
    let (world, key) = with_key(&[("AUTH_VERIFIER_TOKEN_BYTES_MAX", "1000000")]).await;
    let good = claims().to_string();
    let with = |text: &str| format!("{},{text}}}", &good[..good.len() - 1]);
    // What nobody asks for is skipped, however deep; what is read has a depth.
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let (open, close) = (open.repeat(10_000), format!("1{}", close.repeat(10_000)));
        let deep = key.sign(HEADER, with(&format!("\"a\":{open}{close}")));
        assert_eq!(world.bearer(&deep).await.user(), Some("u1"));
        let email = good.replace("\"ada@example.com\"", &format!("{open}{close}"));
        world.rejects(&key.sign(HEADER, email)).await;
        let aud = good.replace(&format!("\"aud\":\"{ISSUER}\""), &format!("\"aud\":{open}{close}"));
        assert!(aud != good);
        world.rejects(&key.sign(HEADER, aud)).await;
        for header in [format!("{{\"alg\":{open}{close}}}"), format!("{open}{close}"), open.clone()] {
            world.rejects(&key.sign(header, &good)).await;
        }
        world.rejects(&key.sign(HEADER, open.repeat(5))).await;
    }
    let many = (0..10_000).fold(String::from("\"a\":0"), |mut many, n| {
        write!(many, ",\"a{n}\":{n}").unwrap();
        many
    });
    assert_eq!(world.bearer(&key.sign(HEADER, with(&many))).await.user(), Some("u1"));
    let audiences: Vec<String> = (0..10_000).map(|n| format!("https://{n}.example")).collect();
    world.rejects(&key.token(&claims_with(json!({"aud": audiences})))).await;
    let ours = [&audiences[..], &[ISSUER.to_owned()]].concat();
    assert_eq!(world.bearer(&key.token(&claims_with(json!({"aud": ours})))).await.user(), Some("u1"));
}

#[tokio::test]
async fn a_time_is_a_number_of_seconds_that_can_be() {
    let (world, key) = with_key(&[]).await;
    let sign = |member: &str, number: &str| {
        let text = claims_with(json!({member: null})).to_string();
        key.sign(HEADER, format!("{},\"{member}\":{number}}}", &text[..text.len() - 1]))
    };
    for member in ["exp", "nbf", "iat"] {
        for number in [
            "1e309",
            "-1e309",
            "1e308",
            "-1",
            "-0.001",
            "253402300800",
            "18446744073709551615",
            "18446744073709551616",
            "9223372036854775808",
            "99999999999999999999999999999999999999",
            "0x7fffffff",
            "01",
            "1.",
            ".5",
            "+1",
            "1_000",
            "\"9999999999\"",
            "[9999999999]",
            "{\"t\":9999999999}",
            "true",
        ] {
            world.rejects(&sign(member, number)).await;
        }
    }
    for number in ["0", "-0", "-0.0", "1e-300", "1"] {
        world.rejects(&sign("exp", number)).await;
        for member in ["nbf", "iat"] {
            assert_eq!(world.bearer(&sign(member, number)).await.status, 200, "{member} {number}");
        }
    }
    for number in ["253402300799", "2.5e9", "2500000000.999", "2500000000e0"] {
        assert_eq!(world.bearer(&sign("exp", number)).await.status, 200, "{number}");
        world.rejects(&sign("nbf", number)).await;
    }
    let second = now();
    world.rejects(&sign("exp", &format!("{}.999", second - 31))).await;
    world.rejects(&sign("nbf", &format!("{}.001", second + 40))).await;
}

#[tokio::test]
async fn a_subject_is_whole_or_nobody() {
    let (world, key) = with_key(&[("AUTH_VERIFIER_TOKEN_BYTES_MAX", "1000000")]).await;
    for sub in ["u1\0", "u1\n", "\tu1", "u1 ", "ü1", "u1\u{200b}", "u1\u{7f}", "u1,u2", &"x".repeat(1 << 20)]
    {
        world.rejects(&key.token(&claims_with(json!({"sub": sub})))).await;
    }
    for sub in [json!(true), json!([]), json!(["u1"]), json!({"id": "u1"}), json!(1.5)] {
        world.rejects(&key.token(&claims_with(json!({"sub": sub})))).await;
    }
}

const TOKEN: &str = "D9XCRDDrH9v3FZ10lmGAzfSKKCzXFnSv";

async fn by_cookies(world: &World, cookies: &[String]) -> (u16, Option<String>) {
    let request =
        cookies.iter().fold(Request::get("/verify"), |request, cookie| request.header("cookie", cookie));
    let answer = world.get(request.body(Body::empty()).unwrap()).await;
    (answer.status.as_u16(), answer.user().map(str::to_owned))
}

#[tokio::test]
async fn of_several_session_cookies_the_first_counts_and_no_other_is_tried() {
    let world = World::new(&[("AUTH_VERIFIER_SESSION__TIMEOUT_MS", "20000")]).await;
    let user = json!({"id": "u1", "email": "ada@example.com"});
    let session = json!({"token": TOKEN, "userId": "u1", "expiresAt": "2099-01-01T00:00:00.000Z"});
    world.endpoint.answer(200, &json!({"session": session, "user": user}).to_string());
    let good = SigningKey::new(SECRET).sign(&SessionToken::bare(TOKEN).unwrap());
    let named = |name: &str, value: &str| format!("{name}.session_token={value}");
    let (good, bad) = (named("better-auth", &good), named("better-auth", "x.AAAA"));

    for first in [bad.clone(), named("better-auth", "%"), named("better-auth", ""), format!("{bad};{good}")] {
        assert_eq!(by_cookies(&world, &[first.clone(), good.clone()]).await, (401, None), "{first}");
        assert_eq!(by_cookies(&world, &[format!("{first}; {good}")]).await, (401, None), "{first}");
    }
    for other in ["__Host-better-auth", "__Secure-better-auth", "Better-Auth", "better_auth", "xbetter-auth"]
    {
        let other = good.replacen("better-auth", other, 1);
        assert_eq!(by_cookies(&world, std::slice::from_ref(&other)).await, (401, None), "{other}");
    }
    let padded = good.replacen("session_token=", &format!("session_token={}", "x".repeat(8 * 1024)), 1);
    assert_eq!(by_cookies(&world, &[padded]).await, (401, None));
    assert_eq!(world.endpoint.asked(), 0, "none of them is looked up");

    let known = (200, Some("u1".to_owned()));
    assert_eq!(by_cookies(&world, &[good.clone(), bad.clone()]).await, known);
    assert_eq!(by_cookies(&world, &[format!("{good}; {bad}")]).await, known);
    for theirs in [&"x".repeat(8 * 1024), "dämmerung", "=; ;;; a"] {
        let beside = format!("theme={theirs}; {good}");
        assert_eq!(by_cookies(&world, &[beside]).await, known, "what isn't ours is passed over");
    }
}
