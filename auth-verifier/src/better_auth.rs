//! Better Auth itself: how it is reached, its tables, its keys, and whether a session that it handed out is still
//! alive.

pub(crate) mod address;
pub mod database;
pub(crate) mod key_source;
pub mod lookups;
