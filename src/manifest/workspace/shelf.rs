//! A sorted map whose copies share what they have in common.

use std::{borrow::Borrow, sync::Arc};

/// Entries that are shared or copied together: copying a map copies a pointer a board, changing an entry its board.
const BOARD: usize = 64;

/// A sorted map on boards of entries.
#[derive(Debug)]
pub(super) struct Shelf<K, V> {
    /// None is empty.
    boards: Vec<Arc<Vec<(K, V)>>>,
    len: usize,
}

impl<K, V> Clone for Shelf<K, V> {
    fn clone(&self) -> Self {
        Self { boards: self.boards.clone(), len: self.len }
    }
}

impl<K, V> Default for Shelf<K, V> {
    fn default() -> Self {
        Self { boards: Vec::new(), len: 0 }
    }
}

impl<K: Ord + Clone, V: Clone> Shelf<K, V> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let board = self.boards.get(self.board_of(key))?;
        let at = board.binary_search_by(|(k, _)| k.borrow().cmp(key)).ok()?;
        Some(&board[at].1)
    }

    pub(super) fn contains<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.get(key).is_some()
    }

    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let index = self.board_of(&key);
        let Some(board) = self.boards.get_mut(index) else {
            self.boards.push(Arc::new(vec![(key, value)]));
            self.len += 1;
            return None;
        };
        let board = Arc::make_mut(board);
        match board.binary_search_by(|(k, _)| k.cmp(&key)) {
            Ok(at) => Some(std::mem::replace(&mut board[at].1, value)),
            Err(at) => {
                board.insert(at, (key, value));
                self.len += 1;
                if board.len() > 2 * BOARD {
                    let rest = board.split_off(BOARD);
                    self.boards.insert(index + 1, Arc::new(rest));
                }
                None
            }
        }
    }

    pub(super) fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let index = self.board_of(key);
        let board = self.boards.get_mut(index)?;
        let at = board.binary_search_by(|(k, _)| k.borrow().cmp(key)).ok()?;
        let (_, value) = Arc::make_mut(board).remove(at);
        self.len -= 1;
        if self.boards[index].is_empty() {
            self.boards.remove(index);
        } else if index > 0 && self.boards[index - 1].len() + self.boards[index].len() <= BOARD {
            // Else removals would leave a shelf of boards with one entry each.
            let rest = self.boards.remove(index);
            Arc::make_mut(&mut self.boards[index - 1]).extend(rest.iter().cloned());
        }
        Some(value)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.boards.iter().flat_map(|board| board.iter().map(|(key, value)| (key, value)))
    }

    /// Returns the entries from `key` on.
    pub(super) fn from<'s, Q: Ord + ?Sized>(
        &'s self,
        key: &Q,
    ) -> impl Iterator<Item = (&'s K, &'s V)> + use<'s, K, V, Q>
    where
        K: Borrow<Q>,
    {
        let index = self.board_of(key);
        let skipped = self.boards.get(index).map_or(0, |b| b.partition_point(|(k, _)| k.borrow() < key));
        let boards = self.boards.get(index..).unwrap_or_default();
        boards.iter().flat_map(|board| board.iter().map(|(key, value)| (key, value))).skip(skipped)
    }

    /// Returns the board that holds `key`, or would.
    fn board_of<Q: Ord + ?Sized>(&self, key: &Q) -> usize
    where
        K: Borrow<Q>,
    {
        self.boards.partition_point(|board| board[0].0.borrow() <= key).saturating_sub(1)
    }
}

impl<K: Ord + Clone, V: Clone> FromIterator<(K, V)> for Shelf<K, V> {
    /// Takes entries in ascending order of their keys fastest, and any other.
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut shelf = Self::default();
        for (key, value) in entries {
            shelf.insert(key, value);
        }
        shelf
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_shelf_is_a_sorted_map_and_its_copies_stay(
            steps in prop::collection::vec((0u16..600, any::<bool>()), 0..1_500),
            from in 0u16..600,
        ) {
            let mut shelf = Shelf::default();
            let mut map = BTreeMap::new();
            let mut copy = (shelf.clone(), map.clone());
            for (at, (key, put)) in steps.into_iter().enumerate() {
                if put {
                    prop_assert_eq!(shelf.insert(key, at), map.insert(key, at));
                } else {
                    prop_assert_eq!(shelf.remove(&key), map.remove(&key));
                }
                if at == 700 {
                    copy = (shelf.clone(), map.clone());
                }
            }
            for (shelf, map) in [(&shelf, &map), (&copy.0, &copy.1)] {
                prop_assert!(shelf.iter().eq(map.iter()));
                prop_assert_eq!(shelf.len(), map.len());
                prop_assert!(shelf.from(&from).eq(map.range(from..)));
                prop_assert_eq!(shelf.get(&from), map.get(&from));
            }
        }
    }
}
