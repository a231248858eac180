//! Sessions as the browser has them: the token with its signature, the cookie cache beside it, and cookies whose name
//! is not the expected one. Nothing is looked up here.

pub mod carried;
pub mod cookie_cache;
pub(crate) mod misnamed;
pub(crate) mod session_data;
pub mod token;
