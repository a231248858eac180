//! Every body on its way through the gateway: the one home of `http_body::Body` implementations.
//!
//! A request's body is [`bounded`] (size, time, rate), an answer's is [`guarded`] (its reader's rate); both pass through
//! [`idle`], which ends a body whose sender pauses for too long.

pub mod bounded;
pub(crate) mod guarded;
pub mod idle;
