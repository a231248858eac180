//! Nobody has more than a share of the requests in flight.

use std::{
    collections::HashMap,
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
    pub(crate) fn new(max: usize) -> Self {
        Self { held: Arc::default(), max }
    }

    /// Takes one for `holder`, unless it has its share already.
    pub(crate) fn take(&self, holder: K) -> Option<Share<K>> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let count = held.get(&holder).copied().unwrap_or(0);
        if count >= self.max {
            return None;
        }
        held.insert(holder.clone(), count + 1);
        Some(Share { shares: self.clone(), holder })
    }
}

impl<K: Clone + Eq + Hash> Drop for Share<K> {
    fn drop(&mut self) {
        let mut held = self.shares.held.lock().unwrap_or_else(PoisonError::into_inner);
        match held.get_mut(&self.holder) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                held.remove(&self.holder);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
