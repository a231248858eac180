//! Any query of a list: it is read in one way, or what is wrong with it is said.

#![no_main]

use task_service::task::listing::Listing;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let query: Vec<(String, String)> = form_urlencoded::parse(input).into_owned().collect();
    match Listing::parse(&query) {
        Ok(listing) => assert_eq!(Listing::parse(&query), Ok(listing), "the same, read twice"),
        Err(errors) => assert!(!errors.is_empty()),
    }
});
