//! For people: what is wrong with the settings, or with a credential. The verifier doesn't know this part.

pub mod catalog;
pub mod dev_token;
pub mod doctor;
pub mod inspect;
pub mod misnamed;
pub mod pasted;
