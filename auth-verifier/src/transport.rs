//! The protocols that carry verdicts, and the answer to each.

pub mod answer;
pub mod grpc;
pub mod http;
