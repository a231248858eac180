//! Header and claims of a well-signed token: whoever is known by it is who another reader of JSON finds in it.

#![no_main]

use std::time::SystemTime;

use auth_verifier::verdict::Verdict;
use fuzz::{another, jws, world::World};
use http::{HeaderMap, header};
use identity::Email;
use serde_json::Value;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Some(end) = input.iter().position(|byte| *byte == b'\n') else { return };
    let (head, claims) = (&input[..end], &input[end + 1..]);
    let value = format!("Bearer {}", jws(head, claims)).parse().expect("it is ASCII");
    let headers: HeaderMap = [(header::AUTHORIZATION, value)].into_iter().collect();
    if let Verdict::Known(caller) = World::get().judge(&headers) {
        let (Some(head), Some(claims)) = (another::read(head), another::read(claims)) else { return };
        assert_eq!(head["alg"], "HS256");
        assert!(["crit", "b64", "zip", "cty"].iter().all(|member| head.get(member).is_none()));
        assert!(
            head.get("typ").is_none_or(|typ| typ.as_str().is_some_and(|typ| typ.eq_ignore_ascii_case("JWT")))
        );

        assert_eq!(claims["sub"], caller.user.as_str());
        let email = caller.email.as_ref().map(Email::as_str);
        assert!(email.is_none() || claims["email"].as_str() == email);
        assert!(
            claims
                .get("iss")
                .is_none_or(|iss| iss.as_str().is_some_and(|iss| iss.starts_with("http://127.0.0.1:36")))
        );
        let ours = |aud: &Value| aud.as_str().is_some_and(|aud| aud.starts_with("http://127.0.0.1:36"));
        assert!(
            claims
                .get("aud")
                .is_none_or(|aud| ours(aud) || aud.as_array().is_some_and(|all| all.iter().any(ours)))
        );
        let now =
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is later").as_secs_f64();
        assert!(claims["exp"].as_f64().is_some_and(|exp| exp > now - 32.0));
        assert!(claims.get("nbf").is_none_or(|nbf| nbf.as_f64().is_some_and(|nbf| nbf < now + 32.0)));
    }
});
