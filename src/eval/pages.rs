//! A table that shares most of itself with the one it was made from.

use std::sync::Arc;

/// Entries that are shared or copied together. Copying a table copies a pointer a page, changing an entry copies its
/// page: with 10,000 entries both are about as much work.
const PAGE: usize = 64;

/// Entries by number, in pages.
#[derive(Clone, Debug)]
pub(super) struct Pages<T> {
    pages: Vec<Arc<[T; PAGE]>>,
    len: usize,
    /// Stands where nothing stands yet.
    vacant: T,
}

impl<T: Clone> Pages<T> {
    pub(super) fn new(vacant: T) -> Self {
        Self { pages: Vec::new(), len: 0, vacant }
    }

    pub(super) fn of(entries: Vec<T>, vacant: T) -> Self {
        let len = entries.len();
        let mut pages = Vec::with_capacity(len.div_ceil(PAGE));
        let mut entries = entries.into_iter();
        while entries.len() > 0 {
            pages.push(Arc::new(std::array::from_fn(|_| entries.next().unwrap_or_else(|| vacant.clone()))));
        }
        Self { pages, len, vacant }
    }

    #[inline]
    pub(super) fn get(&self, at: u32) -> &T {
        &self.pages[at as usize / PAGE][at as usize % PAGE]
    }

    pub(super) fn set(&mut self, at: u32, entry: T) {
        Arc::make_mut(&mut self.pages[at as usize / PAGE])[at as usize % PAGE] = entry;
    }

    /// Adds an entry and returns its number.
    pub(super) fn push(&mut self, entry: T) -> u32 {
        if self.len == self.pages.len() * PAGE {
            self.pages.push(Arc::new(std::array::from_fn(|_| self.vacant.clone())));
        }
        let at = self.len as u32;
        self.len += 1;
        self.set(at, entry);
        at
    }

    pub(super) fn vacate(&mut self, at: u32) {
        self.set(at, self.vacant.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_copy_leaves_the_original_as_it_was() {
        let original = Pages::of((0..200).collect(), -1);
        let mut copy = original.clone();

        copy.set(70, 7);
        copy.vacate(3);
        let added = copy.push(8);

        assert_eq!((*copy.get(70), *copy.get(3), *copy.get(added), added), (7, -1, 8, 200));
        assert_eq!((*original.get(70), *original.get(3)), (70, 3));
        assert!(Arc::ptr_eq(&original.pages[2], &Pages::clone(&original).pages[2]));
    }

    #[test]
    fn a_table_grows_from_nothing() {
        let mut pages = Pages::new(0);
        let numbers: Vec<u32> = (1..=130).map(|n| pages.push(n)).collect();

        assert_eq!(numbers, (0..130).collect::<Vec<_>>());
        assert_eq!((*pages.get(0), *pages.get(129)), (1, 130));
    }
}
