//! A queue that has one entry a key.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// First come, first served, one entry a key; a merged entry keeps its place.
pub(super) struct Queue<K, V> {
    order: BTreeMap<i64, K>,
    entries: HashMap<K, (i64, V)>,
    first: i64,
    next: i64,
}

impl<K: Clone + Eq + Hash, V> Queue<K, V> {
    pub(super) fn new() -> Self {
        Queue {
            order: BTreeMap::new(),
            entries: HashMap::new(),
            first: 0,
            next: 0,
        }
    }

    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.entries.get_mut(key).map(|(_, value)| value)
    }

    pub(super) fn insert(&mut self, key: K, value: V) {
        match self.entries.get_mut(&key) {
            Some((_, old)) => *old = value,
            None => {
                self.order.insert(self.next, key.clone());
                self.entries.insert(key, (self.next, value));
                self.next += 1;
            }
        }
    }

    /// Before all others; it is not there yet.
    pub(super) fn insert_first(&mut self, key: K, value: V) {
        self.first -= 1;
        self.order.insert(self.first, key.clone());
        self.entries.insert(key, (self.first, value));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    pub(super) fn first(&self) -> Option<&V> {
        let (_, key) = self.order.first_key_value()?;
        self.entries.get(key).map(|(_, value)| value)
    }

    pub(super) fn pop(&mut self) -> Option<V> {
        let (_, key) = self.order.pop_first()?;
        self.entries.remove(&key).map(|(_, value)| value)
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let (place, value) = self.entries.remove(key)?;
        self.order.remove(&place);
        Some(value)
    }

    pub(super) fn retain(&mut self, keep: impl Fn(&K) -> bool) {
        self.entries.retain(|key, _| keep(key));
        self.order.retain(|_, key| keep(key));
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.entries.values().map(|(_, value)| value)
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &K> {
        self.entries.keys()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter().map(|(key, (_, value))| (key, value))
    }
}
