//! Gives up root's rights, for good.
//!
//! A launcher that runs as root starts a service as root, too, because the program, the settings, and the files of secrets that
//! these name may be root's alone. The service reads them, becomes the user that it was told, and only then listens: whatever
//! a request may bring about, there is nothing left that root may.

use std::io;

use thiserror::Error;

/// Why a service doesn't become another user. It must not serve then.
#[derive(Debug, Error)]
#[error("{what}: {source}; start it as somebody else than root")]
pub struct RightsError {
    what: &'static str,
    source: io::Error,
}

/// Becomes user and group `id`, without supplementary groups, in a session of its own, and with no way back. For root, while the
/// process has one thread: the system changes the rights of a thread. The process must not lead a group.
#[cfg(target_os = "linux")]
pub(super) fn give_up(id: u32) -> Result<(), RightsError> {
    use rustix::{
        process::{Gid, Uid, geteuid, getgid, getuid, setsid},
        thread::{
            set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid, set_thread_uid,
        },
    };

    let failed = |what| move |source: rustix::io::Errno| RightsError { what, source: source.into() };
    let refused = |what, why: &str| Err(RightsError { what, source: io::Error::other(why) });
    let threads = std::fs::read_dir("/proc/self/task").map(Iterator::count);
    if !matches!(threads, Ok(1)) {
        return refused("count this process's threads", "there must be one");
    }
    let (user, group) = (Uid::from_raw(id), Gid::from_raw(id));
    // Whoever has a terminal in common with root could type into it.
    setsid().map_err(failed("leave root's terminal"))?;
    // Groups first: only root may change them.
    set_thread_groups(&[]).map_err(failed("give up root's groups"))?;
    set_thread_res_gid(group, group, group).map_err(failed("give up root's group"))?;
    set_thread_res_uid(user, user, user).map_err(failed("give up root's rights"))?;
    // Not by a program that makes its caller root either.
    set_no_new_privs(true).map_err(failed("give up gaining rights"))?;
    if user.is_root()
        || (getuid(), geteuid(), getgid()) != (user, user, group)
        || set_thread_uid(Uid::ROOT).is_ok()
    {
        return refused("give up root's rights", "they are still there");
    }
    Ok(())
}

/// The system's calls are known for Linux alone.
#[cfg(not(target_os = "linux"))]
pub(super) fn give_up(_id: u32) -> Result<(), RightsError> {
    let source = io::Error::new(io::ErrorKind::Unsupported, "only Linux's way is known");
    Err(RightsError { what: "give up root's rights", source })
}
