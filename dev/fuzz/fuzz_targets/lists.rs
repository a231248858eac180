//! Any query of a list: it is read in one way, or what is wrong with it is said.

#![no_main]

use task_service::task::listing::Listing;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let query: Vec<(String, String)> = form_urlencoded::parse(input).into_owned().collect();
    match Listing::parse(&query, "u1") {
        Ok(listing) => {
            assert_eq!(Listing::parse(&query, "u1").as_ref(), Ok(&listing), "the same, read twice");
            // What leads to the next page is a query for the same list.
            let written: Vec<_> = form_urlencoded::parse(listing.query().as_bytes()).into_owned().collect();
            assert_eq!(Listing::parse(&written, "u1").map(|list| list.query()), Ok(listing.query()));
        }
        Err(errors) => assert!(!errors.is_empty()),
    }
});
