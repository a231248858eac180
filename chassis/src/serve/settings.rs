//! The bounds of a listener, as an operator sets them.

use std::{ops::RangeInclusive, time::Duration};

use serde::Deserialize;

use crate::{
    outbound::client::POOL_IDLE,
    serve::trusted_proxies::TrustedProxies,
    settings::{self, Switch},
};

/// More connections than a machine holds; `SERVER__CONNECTIONS_MAX` stays below.
const CONNECTIONS_LIMIT: u64 = 1_000_000;

/// Beyond it a map of headers would not take one more (`http` holds 24,576, and panics), and every head that is read
/// makes room for that many first.
const FIELDS_LIMIT: u64 = 4096;

/// A head of an ordinary browser must fit.
const HEAD_BYTES: RangeInclusive<u64> = 8192..=1_048_576;

/// Each stream may hold a request's memory.
const STREAMS_LIMIT: u64 = 1000;

/// Each is remembered until it is looked at.
const RESETS_LIMIT: u64 = 10_000;

/// A client of ours must never write into a connection that is being closed for having idled.
const IDLE_SECS_MIN: u64 = 10;
const _: () = assert!(IDLE_SECS_MIN > POOL_IDLE.as_secs() + 1);

/// A peer that is slower than a megabyte a second is nobody's attack.
const RATE_LIMIT: u64 = 1_048_576;

/// The bounds of a listener.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerSettings {
    /// Connections held at once; further ones wait in the kernel's queue. When they are nearly all taken, those that
    /// have idled longest are closed.
    pub connections_max: usize,
    /// Connections that one address may hold, for IPv6 one network of 64 bits; trusted proxies may hold more.
    pub connections_per_address_max: usize,
    /// How long a request's head may take, from its first byte; a new connection's first head, from the start.
    #[serde(rename = "head_secs", deserialize_with = "settings::secs")]
    pub head: Duration,
    /// How long a connection without a request is kept.
    #[serde(rename = "idle_secs", deserialize_with = "settings::secs")]
    pub idle: Duration,
    /// How long a peer may take none of what we have for it, or send nothing of a body that is waited for.
    #[serde(rename = "write_secs", deserialize_with = "settings::secs")]
    pub write: Duration,
    /// Who takes or sends fewer bytes a second than this has `write` altogether.
    pub bytes_per_sec_min: u32,
    /// The proxies in front that are believed about whom they speak for.
    pub trusted_proxies: TrustedProxies,
    /// The largest head of a request, in bytes.
    pub head_bytes: usize,
    /// The most header fields of a request.
    pub head_fields: usize,
    /// Streams that one HTTP/2 connection may have open.
    pub streams_max: u32,
    /// Streams that an HTTP/2 peer may take back before they are looked at; beyond them its connection goes.
    pub resets_max: usize,
    /// Whether other processes of the same user may listen at the same addresses.
    pub reuse_port: Switch,
    /// How long a service that was told to stop still accepts, so that whoever balances can look elsewhere.
    #[serde(rename = "drain_delay_secs", deserialize_with = "settings::secs")]
    pub drain_delay: Duration,
    /// How long requests in flight may then take to finish.
    #[serde(rename = "drain_secs", deserialize_with = "settings::secs")]
    pub drain: Duration,
}

impl ServerSettings {
    /// The bounds of its numbers.
    pub const BOUNDS: settings::Bounds = &[
        ("connections_max", 1..=CONNECTIONS_LIMIT),
        ("connections_per_address_max", 1..=CONNECTIONS_LIMIT),
        ("head_secs", 1..=300),
        ("idle_secs", IDLE_SECS_MIN..=3600),
        ("write_secs", 1..=3600),
        ("bytes_per_sec_min", 1..=RATE_LIMIT),
        ("head_bytes", HEAD_BYTES),
        ("head_fields", 1..=FIELDS_LIMIT),
        ("streams_max", 1..=STREAMS_LIMIT),
        ("resets_max", 1..=RESETS_LIMIT),
        ("drain_delay_secs", 0..=300),
        ("drain_secs", 0..=3600),
    ];

    /// The same, but for heads of up to twice the size: for a service that refuses by itself what is beyond the bounds, in
    /// words that a page can read. hyper's own refusal is a bare status.
    #[must_use]
    pub fn with_room_to_refuse(self) -> Self {
        Self { head_bytes: self.head_bytes * 2, head_fields: self.head_fields * 2, ..self }
    }
}
