//! Where sessions are looked up: in Better Auth's tables, or by its own endpoint.

pub mod database;
pub mod lookups;
