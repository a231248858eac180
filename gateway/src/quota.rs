//! One user has a share of the requests in flight, by however many addresses.
//!
//! Only after authentication is the user known; until then `admit` counts the request to its client.

use identity::UserId;
use thiserror::Error;

use crate::{admit::share::Shares, csrf::CsrfChecked};

/// How many requests each user has in flight.
pub struct UserQuota(Shares<UserId>);

/// A request that is counted to its user, if it has one. Only this file makes one.
pub struct Counted(CsrfChecked);

/// As many of this user's requests are in flight as may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the user has its share of requests in flight")]
pub struct QuotaExceeded;

impl UserQuota {
    /// At most `per_user_max` of one user.
    pub fn new(per_user_max: usize) -> Self {
        Self(Shares::new(per_user_max))
    }

    /// Counts a request to its user, for as long as it has its permit.
    pub fn count(&self, mut checked: CsrfChecked) -> Result<Counted, QuotaExceeded> {
        let authenticated = checked.authenticated_mut();
        if let Some(user) = authenticated.caller().map(|caller| caller.user().clone()) {
            let share = self.0.take(user).ok_or(QuotaExceeded)?;
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
