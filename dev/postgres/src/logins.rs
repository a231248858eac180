//! Who may log in to a server that keeps data, and as whom.
//!
//! The server's own superuser can run commands as the server's user, so a service has a role without such rights, and must not be
//! able to become the superuser by asking for it. We ourselves are known by the user that we run as (`peer`); a role is by its
//! password, and gets to the database of its own name and to no other.

use std::{
    fmt,
    io::{Read, Seek, Write},
};

use aws_lc_rs::{hmac, rand};

use crate::{
    StartError, account,
    folder::Folder,
    folders::{LOGIN_NAMES, LOGINS, SECRET},
    session,
};

/// Writes the server's rules. They lie outside of its data, where it can't change them itself.
pub(crate) fn write_rules(home: &Folder) -> Result<(), StartError> {
    let superuser = session::SUPERUSER;
    let us = account::own_name().ok_or(StartError::NoName)?;
    home.write(LOGINS, &format!("local all {superuser} peer map=owner\nlocal sameuser all scram-sha-256\n"))?;
    home.write(LOGIN_NAMES, &format!("owner \"{us}\" {superuser}\n"))
}

/// What the passwords of a server's roles are made of.
pub(crate) struct Secret([u8; Self::BYTES]);

impl Secret {
    const BYTES: usize = 32;

    /// One that is forgotten with this process.
    pub(crate) fn new() -> Self {
        let mut bytes = [0; Self::BYTES];
        rand::fill(&mut bytes).expect("the system has random numbers");
        Self(bytes)
    }

    /// The one that is kept in a server's folder, made if there is none.
    pub(crate) fn of(home: &Folder) -> Result<Self, StartError> {
        let failed = |what| StartError::io(what, home.path().join(SECRET));
        let mut file = home.file(SECRET)?;
        let mut kept = Vec::new();
        file.read_to_end(&mut kept).map_err(failed("read"))?;
        if let Ok(bytes) = kept.try_into() {
            return Ok(Self(bytes));
        }
        // None yet, or half of one: the roles get new passwords.
        let new = Self::new();
        file.set_len(0).and_then(|()| file.rewind()).map_err(failed("empty"))?;
        file.write_all(&new.0).and_then(|()| file.sync_all()).map_err(failed("write"))?;
        Ok(new)
    }

    /// The password of a role.
    pub(crate) fn password(&self, role: &str) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.0);
        let tag = hmac::sign(&key, role.as_bytes());
        tag.as_ref().iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}
