//! Any `Cookie` headers.

#![no_main]

use auth_verifier::{
    credential::{
        self,
        cookies::{CookieNames, Cookies},
    },
    session::token::SigningKey,
};
use fuzz::secret;
use http::{HeaderMap, HeaderValue, header};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let lines = input.split(|byte| *byte == b'\n').filter_map(|line| HeaderValue::from_bytes(line).ok());
    let headers: HeaderMap = lines.map(|line| (header::COOKIE, line)).collect();
    let cookies = Cookies::of(&headers);
    let names = ["__Secure-better-auth", "better-auth"].map(|prefix| CookieNames {
        token: format!("{prefix}.session_token"),
        data: format!("{prefix}.session_data"),
    });
    let found = credential::session_cookie(&headers, &names);
    assert_eq!(credential::session_cookie(&headers, &names), found, "the same, read twice");

    assert_eq!(found.is_some(), names.iter().any(|names| cookies.get(&names.token).is_some()));
    if let Some(cookie) = &found {
        assert!(!cookie.token.is_empty());
        let first = names.iter().find(|names| cookies.get(&names.token).is_some());
        let CookieNames { token, data } = first.expect("there is one");
        assert_eq!(cookies.get(token), Some(&*cookie.token));
        assert_eq!(cookies.get_whole(data), cookie.data);
        let data = cookie.data.as_ref().map_or(0, |data| data.len());
        assert!(cookie.token.len() + data <= input.len(), "more than was sent");
        if let Some(token) = SigningKey::new(secret()).verify(&cookie.token) {
            assert!(cookie.token.starts_with(token.expose()));
        }
    }
    // Whatever stands behind a cookie does not change it.
    let mut longer = headers.clone();
    for CookieNames { token: name, .. } in &names {
        longer.append(header::COOKIE, format!("{name}=other").parse().expect("it is ASCII"));
    }
    for CookieNames { token: name, .. } in &names {
        let before = cookies.get(name).map(str::to_owned);
        assert!(before.is_none() || Cookies::of(&longer).get(name) == before.as_deref());
    }
});
