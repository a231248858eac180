//! Sessions looked up in Better Auth's own tables.

use chassis::settings::SettingsError;

use super::Live;
use crate::{Unavailable, session::SessionToken, settings::SessionDatabase};

/// Better Auth's tables.
pub struct Database;

impl Database {
    /// Connects when it is first asked.
    pub fn new(_: &SessionDatabase) -> Result<Self, SettingsError> {
        Ok(Self)
    }

    /// The session of `token`, if it is alive.
    pub async fn find(&self, _: &SessionToken) -> Result<Option<Live>, Unavailable> {
        Err(Unavailable::Sessions)
    }
}
