//! Every body on its way through the gateway: the one home of `http_body::Body` implementations.
//!
//! A request's body is [`bounded`] (size, time, rate), and [`replay`] has a copy of a small one. An answer's is [`held`] if it is there already, in one chunk, else
//! [`guarded`] (its reader's rate). [`idle`] ends a body whose sender pauses for too long.

pub mod bounded;
pub(crate) mod guarded;
pub(crate) mod held;
pub mod idle;
mod replay;
