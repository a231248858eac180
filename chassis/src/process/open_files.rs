//! How many files the process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

/// A connection is a file; the usual soft limit of 1024 would be reached long before any bound of ours.
pub(super) fn raise_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum && setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_err() {
        warn!(
            ?current,
            ?maximum,
            "the limit of open files can't be raised to its maximum: fewer connections can be served (ulimit -n, LimitNOFILE)"
        );
    }
}

/// How many files this process may have open.
pub(super) fn limit() -> usize {
    getrlimit(Resource::Nofile)
        .current
        .map_or(usize::MAX, |files| usize::try_from(files).unwrap_or(usize::MAX))
}
