//! Whom the services run as.
//!
//! They run as we do; but where we are root, each runs as a user of its own that has no name, no group with anybody, and no file.
//! The service becomes that user by itself (`--as-user`), once it has read its settings and before it listens: the program, the
//! TOML files and those of secrets may be root's alone.

use rustix::process::geteuid;

use crate::{
    demo,
    plan::{AUTH_VERIFIER, GATEWAY, TASK_SERVICE, Which},
};

/// The numbers of those users. systemd leaves 60578 to 61183 unused (<https://systemd.io/UIDS-GIDS/>), and Debian has given none of
/// these away (base-passwd's registry). They are below 65536, so that root of most containers may become them, too. Each
/// service has one of its own, so that none can look into another.
const USERS: [(&str, u32); 4] =
    [(GATEWAY, 61_000), (AUTH_VERIFIER, 61_001), (TASK_SERVICE, 61_002), (demo::NAME, 61_003)];

/// The user that a service becomes; `None` where it runs as we do.
pub(crate) fn user_of(service: &str) -> Option<u32> {
    let user = || USERS.iter().find_map(|(name, user)| (*name == service).then_some(*user));
    geteuid().is_root().then(user).flatten()
}

/// What a person is told of it; nothing where it goes without saying.
pub(crate) fn told(which: Which) -> Option<String> {
    let are_run = USERS.iter().filter(|(name, _)| *name != demo::NAME || which == Which::ServicesAndDemo);
    let users: Vec<_> = are_run.map(|(name, user)| format!("{name} as user {user}")).collect();
    geteuid().is_root().then(|| format!("the services have none of root's: {}", users.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_service_runs_as_root_and_no_two_as_the_same_user() {
        let users = [GATEWAY, AUTH_VERIFIER, TASK_SERVICE, demo::NAME].map(user_of);
        if !geteuid().is_root() {
            return assert_eq!(users, [None; 4]);
        }
        for (n, user) in users.iter().enumerate() {
            assert!(user.is_some_and(|user| user > 0) && !users[..n].contains(user), "{users:?}");
        }
    }
}
