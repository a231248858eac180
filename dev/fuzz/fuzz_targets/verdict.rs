//! Any `Authorization` and `Cookie` headers: nobody is known who does not send what Better Auth handed out.

#![no_main]

use auth_verifier::verdict::Verdict;
use fuzz::world::{World, good};
use http::{HeaderMap, HeaderValue, header};

/// One header a line, of those two.
fn headers(input: &[u8]) -> HeaderMap {
    let lines = input.split(|byte| *byte == b'\n').filter_map(|line| {
        let (name, value) = [header::AUTHORIZATION, header::COOKIE].into_iter().find_map(|name| {
            let value = line.strip_prefix(name.as_str().as_bytes())?.strip_prefix(b": ")?;
            Some((name, value))
        })?;
        Some((name, HeaderValue::from_bytes(value).ok()?))
    });
    lines.collect()
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let headers = headers(input);
    if let Verdict::Known(caller) = World::get().judge(&headers) {
        let sent: String = headers.values().filter_map(|value| value.to_str().ok()).collect();
        let by = good().iter().find(|(_, user)| user == caller.user.as_str());
        let (token, _) = by.expect("it is somebody");
        assert!(sent.contains(token), "{} is known by something else", caller.user.as_str());
    }
});
