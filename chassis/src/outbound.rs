//! Connections to other servers: the HTTP client, names and their addresses, a fetched value that is kept fresh,
//! PostgreSQL.

pub mod client;
pub mod resolver;

pub mod refreshed;

#[cfg(feature = "database")]
pub mod database;
