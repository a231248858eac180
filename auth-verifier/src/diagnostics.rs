//! Explanations for people: what is wrong with the settings, or with a credential. The verifier doesn't know this part.

mod catalog;
pub mod dev_token;
pub(crate) mod doctor;
pub(crate) mod inspect;
mod neon;
mod pasted;
