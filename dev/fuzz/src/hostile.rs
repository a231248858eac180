//! What somebody sends who means harm; the build script makes seeds of it.

use serde_json::json;

/// What serde takes for something else than an object where certain features are on.
pub const PRIVATE: [&str; 2] = ["$serde_json::private::RawValue", "$serde_json::private::Number"];

/// Values that somebody sends who means harm: deep, huge, and text in text, each level of which begins anew to count how
/// deep it is for whoever takes it for JSON.
pub fn values() -> impl Iterator<Item = String> {
    let deep = [("[", "]"), ("{\"a\":", "}")]
        .map(|(open, close)| format!("{}1{}", open.repeat(5000), close.repeat(5000)));
    let nested = PRIVATE.map(|name| {
        let (open, close) = ("[".repeat(100), "]".repeat(100));
        let (mut value, mut next) = (String::new(), "1".to_owned());
        while next.len() <= 60_000 {
            value = next;
            let escaped = value.replace('\\', "\\u005c").replace('"', "\\u0022");
            let hidden = name.replace('$', "\\u0024");
            next = format!("{{\"{hidden}\":\"{open}{escaped}{close}\"}}");
        }
        value
    });
    let plain = PRIVATE.map(|name| json!({name: "1"}).to_string());
    deep.into_iter().chain(nested).chain(plain).chain(["1e999".to_owned(), "\"\\ud800\"".to_owned()])
}
