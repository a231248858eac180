//! Connections to others: who is asked, where they are, and what they said last.

pub mod client;
pub mod resolver;

pub mod refreshed;

#[cfg(feature = "database")]
pub mod database;
