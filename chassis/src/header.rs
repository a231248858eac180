//! Reading headers that must not be ambiguous.

use http::{HeaderMap, HeaderName, HeaderValue};

/// Why a header has not one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotSingle {
    /// It is not there.
    Missing,
    /// It is there more than once. Of two values the next reader might believe the other.
    Repeated,
}

/// The value of a header that stands exactly once.
pub fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<&'a HeaderValue, NotSingle> {
    let mut values = headers.get_all(name).into_iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Ok(value),
        (None, _) => Err(NotSingle::Missing),
        (Some(_), Some(_)) => Err(NotSingle::Repeated),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_counts_only_where_it_stands_once() {
        let name = HeaderName::from_static("x-user-id");
        let mut headers = HeaderMap::new();
        assert_eq!(single(&headers, &name), Err(NotSingle::Missing));
        headers.append(&name, HeaderValue::from_static("a"));
        assert_eq!(single(&headers, &name).unwrap(), "a");
        headers.append(&name, HeaderValue::from_static("a"));
        assert_eq!(single(&headers, &name), Err(NotSingle::Repeated), "the same twice is two");
    }
}
