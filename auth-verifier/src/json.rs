//! JSON from outside.

use serde::Deserialize;

/// Reads a JSON object; `None` for anything else. serde would fill a structure from an array too, member by member.
pub(crate) fn object<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Option<T> {
    json.trim_ascii_start().starts_with(b"{").then(|| serde_json::from_slice(json).ok())?
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
    }
}
