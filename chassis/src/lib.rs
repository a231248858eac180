//! What every service stands on.
//!
//! The chassis knows no route, no token and no task: it loads settings, listens and drains, names each request,
//! writes its access line, turns problems into answers, and holds the words of the contract by which the
//! services meet ([`identity`]). For those that keep or look up something, it asks PostgreSQL (`database`).

#![cfg_attr(test, expect(clippy::disallowed_methods, reason = "a test reads what we made"))]

pub mod client;
#[cfg(feature = "database")]
pub mod database;
pub mod document;
pub mod identity;
pub mod json;
pub mod lines;
mod memory;
pub mod names;
pub mod ops;
pub mod problem;
pub mod process;
pub mod request_id;
pub mod serve;
pub mod settings;
pub mod signals;
pub mod telemetry;
pub mod trace;
pub mod trusted_proxies;

/// The one boxed body that travels through every service.
pub use axum::body::Body;

/// An error that is only ever logged, never shown to a client.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What breaks while [`Body`] is read.
pub use axum::Error as BodyError;
