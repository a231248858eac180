//! Any bytes of an HTTP/1 connection: where our reader finds the end of a request, hyper finds it, too.

#![no_main]

use chassis::http1::requests::RequestReader;
use fuzz::http1::{BOUNDS, by_hyper, by_us, is_last};
use http::header;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let requests = by_us(input);
    let mut each = Vec::new();
    for bytes in &requests {
        let read = by_hyper(bytes);
        let [request] = &read[..] else { panic!("{} requests in what we take for one", read.len()) };
        assert!(request.body.is_some(), "a body that we take for whole");
        let coding = request.headers.get(header::TRANSFER_ENCODING);
        assert!(coding.is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked")));
        assert!(coding.is_none() || !request.headers.contains_key(header::CONTENT_LENGTH));
        let target = bytes.split(|byte| *byte == b' ').nth(1).expect("a request line has a target");
        let is_url = !target.starts_with(b"/") && target != b"*";
        assert!(is_url || request.target.to_string().as_bytes() == target, "nothing of it is cut off");
        each.push(request.clone());
    }
    let all = by_hyper(&requests.concat());
    // hyper ends where a request says that it is the last.
    assert_eq!(all[..], each[..all.len()], "one after the other, and each by itself");
    assert!(all.len() == each.len() || all.last().is_some_and(is_last), "{} of {}", all.len(), each.len());
    // In whatever pieces it comes, it is read alike.
    let mut whole = RequestReader::new(BOUNDS);
    let end: usize = requests.iter().map(|request| request.len()).sum();
    let mut at = 0;
    while at < end {
        let read = whole.read(&input[at..end]).expect("it was let through before");
        assert!(read > 0);
        at += read;
        if whole.awaits_answer().is_some() {
            whole.answered(false);
        }
    }
});
