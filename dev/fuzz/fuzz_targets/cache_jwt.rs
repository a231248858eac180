//! The cookie cache, `jwt`.

#![no_main]

use auth_verifier::credential::kind::Strategy;

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::cache::check(Strategy::Jwt, input));
