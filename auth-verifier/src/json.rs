//! JSON from outside.

use serde::Deserialize;

/// Reads a JSON object; `None` for anything else. serde would fill a structure from an array too, member by member, and
/// let bytes that are not UTF-8 pass in members that nobody asks for.
pub(crate) fn object<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Option<T> {
    let json = str::from_utf8(json).ok()?;
    json.trim_ascii_start().starts_with('{').then(|| serde_json::from_str(json).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_is_no_object() {
        #[derive(Debug, PartialEq, Deserialize)]
        struct Named {
            name: String,
        }
        let named = Some(Named { name: "a".into() });
        assert_eq!(object(br#" {"name":"a"}"#), named);
        for bad in [r#"["a"]"#, r#""a""#, "null", "", "{", "\u{feff}{\"name\":\"a\"}", r#"{"name":"a"} x"#] {
            assert_eq!(object::<Named>(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(object::<Named>(b"{\"name\":\"a\",\"other\":\"\xff\"}"), None);
    }
}
