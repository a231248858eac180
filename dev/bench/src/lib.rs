//! What a verdict costs.
//!
//! [`cost`]: in the process, by [`kinds`] of credential, beside the raw check of the same signature. [`capacity`]: over
//! sockets, on one core, beside servers that check nothing. Both in a [`world`] of their own.

pub mod issuer;
pub mod kinds;
pub mod world;

pub mod capacity;
pub mod cost;

pub mod table;

/// The middle one of them.
///
/// # Panics
///
/// Where there is none.
pub fn median(of: impl IntoIterator<Item = f64>) -> f64 {
    let mut all: Vec<_> = of.into_iter().collect();
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}
