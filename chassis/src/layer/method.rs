//! The methods that anybody here speaks, in one table. On the wire a method is free text; a label or a list must not be.

use http::Method;

/// Our methods: those of RFC 9110 but `CONNECT` and `TRACE`, which speak to proxies, and `PATCH` (RFC 5789).
pub const KNOWN: [Method; 7] =
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];

/// The same as the value of an `Allow` header.
pub const ALLOW: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// How many labels there are for methods.
pub const LABELS: usize = OTHER + 1;

/// The label of all others.
pub const OTHER: usize = KNOWN.len();

/// Which label a method has: its place in [`KNOWN`], or the one after them.
pub fn index(method: &Method) -> usize {
    KNOWN.iter().position(|known| known == method).unwrap_or(OTHER)
}

/// The label of that number, as it stands in a metric.
pub fn label(index: usize) -> &'static str {
    ALLOW.split(", ").nth(index).unwrap_or("OTHER")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_has_its_name_and_all_others_have_one() {
        for (at, method) in KNOWN.iter().enumerate() {
            assert_eq!((index(method), label(at)), (at, method.as_str()));
        }
        assert_eq!(ALLOW.split(", ").count(), KNOWN.len());
        assert_eq!(label(index(&Method::TRACE)), "OTHER");
        assert_eq!(label(index(&Method::from_bytes(b"get").unwrap())), "OTHER");
        assert_eq!(LABELS, 8);
    }
}
