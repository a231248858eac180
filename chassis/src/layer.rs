//! The layers around the stack of every service, outermost first.

pub mod request_id;

pub mod trace_context;

pub mod access_log;

pub mod problem;

pub mod method;
