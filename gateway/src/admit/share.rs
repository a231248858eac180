//! Nobody has more than a share of the requests in flight.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
};

/// How many requests each holder has in flight. One that has none is forgotten, so that there are never more entries than
/// permits.
#[derive(Clone)]
pub(crate) struct Shares<K> {
    held: Arc<Mutex<HashMap<K, usize>>>,
    max: usize,
}

/// One request of a holder's share, until this is dropped.
pub(crate) struct Share<K: Clone + Eq + Hash> {
    shares: Shares<K>,
    holder: K,
}

impl<K: Clone + Eq + Hash> Shares<K> {
    /// At most `max` for each holder.
    #[cfg(test)]
    pub(crate) fn new(max: usize) -> Self {
        Self::default().bounded(max)
    }

    /// What the same holders hold, and `max` for each from now on.
    pub(crate) fn bounded(&self, max: usize) -> Self {
        Self { held: self.held.clone(), max }
    }

    /// Takes one for `holder`, unless it has its share already.
    pub(crate) fn take(&self, holder: K) -> Option<Share<K>> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        match held.entry(holder.clone()) {
            Entry::Occupied(entry) if *entry.get() >= self.max => return None,
            Entry::Occupied(mut entry) => *entry.get_mut() += 1,
            Entry::Vacant(_) if self.max == 0 => return None,
            Entry::Vacant(entry) => {
                entry.insert(1);
            }
        }
        Some(Share { shares: self.clone(), holder })
    }
}

impl<K: Clone + Eq + Hash> Share<K> {
    /// Whose it is.
    pub(crate) fn holder(&self) -> &K {
        &self.holder
    }
}

/// None for anybody.
impl<K> Default for Shares<K> {
    fn default() -> Self {
        Self { held: Arc::default(), max: 0 }
    }
}

impl<K: Clone + Eq + Hash> Drop for Share<K> {
    fn drop(&mut self) {
        let mut held = self.shares.held.lock().unwrap_or_else(PoisonError::into_inner);
        // By one look-up: a holder is cheap to clone.
        if let Entry::Occupied(mut entry) = held.entry(self.holder.clone()) {
            if *entry.get() > 1 {
                *entry.get_mut() -= 1;
            } else {
                entry.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_counts_to_other_bounds_too() {
        let shares = Shares::new(2);
        let held = [shares.take("a").unwrap(), shares.take("a").unwrap()];
        let more = shares.bounded(3);
        let third = more.take("a").unwrap();
        assert!(more.take("a").is_none());
        drop(held);
        assert!(shares.bounded(1).take("a").is_none());
        drop(third);
        assert!(shares.bounded(1).take("a").is_some());
    }

    #[test]
    fn a_share_is_given_back_and_its_holder_forgotten() {
        let shares = Shares::new(2);
        let first = shares.take("a").unwrap();
        let second = shares.take("a").unwrap();
        assert!(shares.take("a").is_none());
        assert!(shares.take("b").is_some(), "somebody else has a share of its own");
        drop(first);
        let third = shares.take("a").unwrap();
        assert!(shares.take("a").is_none());
        drop((second, third));
        assert!(shares.held.lock().unwrap().is_empty());
    }
}
