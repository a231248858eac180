//! The types of settings that more than one service has.

use std::{net::SocketAddr, time::Duration};

use serde::{Deserialize, Deserializer, de::DeserializeOwned};

/// `on` or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Switch {
    On,
    Off,
}

/// `None` if the setting is empty.
pub fn optional<'de, D: Deserializer<'de>, T: DeserializeOwned>(from: D) -> Result<Option<T>, D::Error> {
    let text = String::deserialize(from)?;
    if text.is_empty() {
        return Ok(None);
    }
    T::deserialize(serde::de::value::StringDeserializer::new(text)).map(Some)
}

/// A list, written `a, b` in a variable and `["a", "b"]` or `"a, b"` in TOML.
pub fn list<'de, D: Deserializer<'de>, T: DeserializeOwned>(from: D) -> Result<Vec<T>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a list of texts")]
    enum Form {
        Text(String),
        Items(Vec<String>),
    }
    let items = match Form::deserialize(from)? {
        Form::Text(text) => text.split(',').map(|item| item.trim().to_owned()).collect(),
        Form::Items(items) => items,
    };
    items
        .into_iter()
        .filter(|item| !item.is_empty())
        .map(|item| T::deserialize(serde::de::value::StringDeserializer::new(item)))
        .collect()
}

/// A wait in whole seconds; for settings whose name ends in `_secs`. Zero is allowed.
pub fn secs<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    units(from).map(|secs| Duration::from_secs(secs.into()))
}

/// A wait in whole milliseconds, at least one; for settings whose name ends in `_ms`.
pub fn millis<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    match units(from)? {
        0 => Err(serde::de::Error::custom("must be at least 1")),
        millis => Ok(Duration::from_millis(millis.into())),
    }
}

/// Few enough that now plus the wait is always a valid time. The setting's own bounds say what makes sense.
fn units<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    let most = || serde::de::Error::custom(format_args!("must be at most {}", u32::MAX));
    u64::deserialize(from)?.try_into().map_err(|_| most())
}

/// Where a service listens.
pub fn address<'de, D: Deserializer<'de>>(from: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(from)?;
    text.parse().map_err(|_| {
        serde::de::Error::custom(format!("`{text}` is not an address with a port, such as 127.0.0.1:8000"))
    })
}

/// Where a service listens; `None` if the setting is empty.
pub fn optional_address<'de, D: Deserializer<'de>>(from: D) -> Result<Option<SocketAddr>, D::Error> {
    #[derive(Deserialize)]
    #[serde(transparent)]
    struct Address(#[serde(deserialize_with = "address")] SocketAddr);
    Ok(optional(from)?.map(|Address(address)| address))
}
