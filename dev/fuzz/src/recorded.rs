//! What a real Better Auth handed out; the build script reads it too.

use std::sync::OnceLock;

use serde_json::Value;

/// The session that the `compact` cache is for, and a minute after it was recorded, in seconds since 1970.
pub const CACHED_TOKEN: &str = "8iyNFDBCxaBuQJrLBipZOsOXqX2nqpTr";
pub const CACHED_NOW: u64 = 1_795_406_640;

/// The recording.
pub fn recorded() -> &'static Value {
    static RECORDED: OnceLock<Value> = OnceLock::new();
    RECORDED.get_or_init(|| {
        serde_json::from_str(include_str!("../../../auth-verifier/tests/vectors/better-auth.json"))
            .expect("the recording is JSON")
    })
}

/// Its cases of one kind.
pub fn cases(kind: &str) -> impl Iterator<Item = &'static Value> {
    recorded()[kind].as_object().expect("cases stand by their names").values()
}

/// A text of it.
pub fn text(value: &Value) -> &str {
    value.as_str().expect("the recording has it as text")
}

/// One of its issuers, which is also the audience.
pub fn issuer() -> &'static str {
    text(&recorded()["api_jwt"]["EdDSA"]["issuer"])
}
