//! Open files: each connection is one, and none may be missing for what goes inward.

use tracing::warn;

use super::ServerSettings;

/// What a process holds besides connections: standard streams, listeners, the runtime's own, files that are read anew.
const OWN_FILES: usize = 32;

/// The operator's connections: whoever fills the front door must not close this one.
pub const OPS_CONNECTIONS_MAX: usize = 64;

/// Of each so many files that are left, one is for a connection inward: an upstream, the database, the verifier.
const INWARD_SHARE: usize = 3;

/// Fewer than these and a service can't keep its bounds apart: it does not start.
pub const FILES_MIN: usize = 256;

/// How many connections each of `listeners` may hold in a process that may open `files`.
pub fn connections(files: usize, listeners: usize) -> usize {
    let left = files.saturating_sub(OWN_FILES + OPS_CONNECTIONS_MAX);
    ((left - left / INWARD_SHARE) / listeners.max(1)).max(1)
}

impl ServerSettings {
    /// These bounds, for each of `listeners` in a process that may open `files`: fewer connections, if need be.
    #[must_use]
    pub fn within_files(mut self, files: usize, listeners: usize, prefix: &str) -> Self {
        let fit = connections(files, listeners);
        if self.connections_max > fit {
            // An address has the same share of fewer.
            let share = self.connections_per_address_max.min(self.connections_max);
            let share = (share * fit / self.connections_max).max(1);
            warn!(
                files,
                connections_max = self.connections_max,
                lowered_to = fit,
                per_address = share,
                "{prefix}SERVER__CONNECTIONS_MAX is more than the limit of open files allows, since a share of them \
                 is kept for what goes inward: it is lowered; raise the limit (ulimit -n, LimitNOFILE) or set fewer",
            );
            self.connections_max = fit;
            self.connections_per_address_max = share;
        }
        self
    }

    /// The same bounds for the operator's listener, which is small; an address that has half of it makes room for itself.
    #[must_use]
    pub fn for_operator(mut self) -> Self {
        self.connections_max = OPS_CONNECTIONS_MAX;
        self.connections_per_address_max = OPS_CONNECTIONS_MAX / 2;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::tests::settings;

    #[test]
    fn a_share_of_the_files_is_kept_for_what_goes_inward() {
        for (files, listeners, want) in
            [(1024, 1, 619), (1024, 2, 309), (FILES_MIN, 1, 107), (65_536, 1, 43_627), (0, 1, 1)]
        {
            let fit = connections(files, listeners);
            assert_eq!(fit, want, "{files} files");
            if files > 0 {
                let rest = files - fit * listeners - OPS_CONNECTIONS_MAX - OWN_FILES;
                assert!(rest >= fit * listeners / INWARD_SHARE, "{rest} of {files} go inward");
            }
        }
    }

    #[test]
    fn connections_that_files_allow_are_left_as_set_and_shares_are_of_what_is_left() {
        for (max, share, want) in [
            (619, 619, (619, 619)),
            (619, 10_000, (619, 10_000)),
            (620, 620, (619, 619)),
            (10_000, 2000, (619, 123)),
            (10_000, 20_000, (619, 619)),
            (1_000_000, 1, (619, 1)),
        ] {
            let set =
                ServerSettings { connections_max: max, connections_per_address_max: share, ..settings() };
            let ServerSettings { connections_max, connections_per_address_max, .. } =
                set.within_files(1024, 1, "X_");
            assert_eq!((connections_max, connections_per_address_max), want, "{max}, {share}");
        }
    }
}
