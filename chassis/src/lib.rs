//! What every service stands on: its settings, its life as a process, its listeners, the layers around its own
//! stack, and its connections to others.
//!
//! The chassis knows no route, no token and no task. Something enters it only when it has two users.

#![cfg_attr(test, expect(clippy::disallowed_methods, reason = "a test reads what we made"))]

pub mod settings;

pub mod metrics;
pub mod process;
pub mod telemetry;

pub mod http1;
pub mod layer;
pub mod serve;

pub mod outbound;

pub mod backoff;

pub mod cache_key;

pub mod json;

pub mod header;

pub mod address;

pub mod clock;

mod body;

pub use body::{Body, BodyError};

/// An error that is only ever logged, never shown to a client.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
