//! The bodies of requests and answers on their way: bounded, waited for, held.

pub mod bounded;
pub mod held;
pub mod idle;
