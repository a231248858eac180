//! The services inside: which of their addresses is asked, and how.

pub mod balance;
pub mod forward;
