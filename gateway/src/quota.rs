//! One user has a share of the requests in flight, by however many addresses, and a rate at which they may come.
//!
//! Only after authentication is the user known; until then `admit` counts the request to its client.

use identity::UserId;
use thiserror::Error;

use crate::{
    admit::share::Shares,
    counts::Counts,
    csrf::CsrfChecked,
    rate_limit::{RateExceeded, Standings},
};

/// How many requests each user has in flight.
pub struct UserQuota(Shares<UserId>);

/// A request that is counted to its user, if it has one. Only this file makes one.
pub struct Counted(CsrfChecked);

/// Why no more of a user's requests are served now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum QuotaExceeded {
    /// As many are in flight as may be.
    #[error("the user has its share of requests in flight")]
    Share,
    /// The user makes more than the route allows in a while.
    #[error("the user makes {0}")]
    Rate(RateExceeded),
}

impl UserQuota {
    /// At most `per_user_max` of one user.
    pub fn new(per_user_max: usize, counts: &Counts) -> Self {
        Self(counts.users.bounded(per_user_max))
    }

    /// Counts a request to its user, for as long as it has its permit.
    pub(crate) fn count(
        &self,
        mut checked: CsrfChecked,
        standings: &mut Standings,
    ) -> Result<Counted, QuotaExceeded> {
        let authenticated = checked.authenticated_mut();
        if let Some(user) = authenticated.caller().map(|caller| caller.user().clone()) {
            if let Some(limit) = &authenticated.sanitized().admitted().routed().route().user_rate {
                standings.count_user(limit, &user).map_err(QuotaExceeded::Rate)?;
            }
            let share = self.0.take(user).ok_or(QuotaExceeded::Share)?;
            authenticated.sanitized_mut().admitted_mut().permit_mut().count_to(share);
        }
        Ok(Counted(checked))
    }
}

impl Counted {
    /// The request, and the permit that it holds.
    pub(crate) fn into_inner(self) -> CsrfChecked {
        self.0
    }
}
