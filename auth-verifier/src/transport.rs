//! The protocols that a verdict is spoken in, and what it says in each.

pub mod answer;
pub mod grpc;
pub mod http;
