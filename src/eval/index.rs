//! The open-addressed index of flags by key, and how a change goes into it.

use std::sync::Arc;

use super::{
    pages::Pages,
    program::{CompiledFlag, Program, Slot},
};
use crate::text_table::hash_key;

/// Indexes flags that stand in this order.
///
/// Fills at most half of a power of two, so that probing ends soon and always ends.
pub(super) fn of(flags: &[Arc<CompiledFlag>]) -> Arc<[Slot]> {
    let mut slots = empty(flags.len());
    for (at, flag) in (0..).zip(flags) {
        insert(&mut slots, hash_key(&flag.key), at);
    }
    slots.into()
}

/// The flags of a program while a change goes in. What the change does not touch stays shared.
pub(super) struct Table {
    pub(super) flags: Pages<Arc<CompiledFlag>>,
    pub(super) order: Arc<[u32]>,
    pub(super) index: Arc<[Slot]>,
    pub(super) free: Vec<u32>,
}

impl Table {
    pub(super) fn of(program: &Program) -> Self {
        Self {
            flags: program.flags.clone(),
            order: Arc::clone(&program.order),
            index: Arc::clone(&program.index),
            free: program.free_flags.clone(),
        }
    }

    /// Puts a flag in the place of the one with its key, or takes that one out.
    pub(super) fn replace(&mut self, key: &str, flag: Option<Arc<CompiledFlag>>) {
        let place = self.order.binary_search_by(|at| (*self.flags.get(*at).key).cmp(key));
        match (place, flag) {
            (Ok(place), Some(flag)) => self.flags.set(self.order[place], flag),
            (Ok(place), None) => self.remove(place, key),
            (Err(place), Some(flag)) => self.add(place, key, flag),
            (Err(_), None) => {}
        }
    }

    fn add(&mut self, place: usize, key: &str, flag: Arc<CompiledFlag>) {
        let at = match self.free.pop() {
            Some(at) => {
                self.flags.set(at, flag);
                at
            }
            None => self.flags.push(flag),
        };
        let (before, after) = self.order.split_at(place);
        self.order = before.iter().chain(&[at]).chain(after).copied().collect();
        if self.order.len() * 2 <= self.index.len() {
            insert(Arc::make_mut(&mut self.index), hash_key(key), at);
            return;
        }
        let mut slots = empty(self.order.len());
        for at in &*self.order {
            insert(&mut slots, hash_key(&self.flags.get(*at).key), *at);
        }
        self.index = slots.into();
    }

    fn remove(&mut self, place: usize, key: &str) {
        let at = self.order[place];
        let (before, after) = self.order.split_at(place);
        self.order = before.iter().chain(&after[1..]).copied().collect();
        let slots = Arc::make_mut(&mut self.index);
        let mask = slots.len() - 1;
        let mut hole = hash_key(key) as usize & mask;
        while slots[hole].flag != at + 1 {
            hole = (hole + 1) & mask;
        }
        // What follows in the run moves up where the hole would cut it off from where its probing begins.
        let mut next = (hole + 1) & mask;
        while slots[next].flag != 0 {
            let home = hash_key(&self.flags.get(slots[next].flag - 1).key) as usize & mask;
            if next.wrapping_sub(home) & mask >= next.wrapping_sub(hole) & mask {
                slots[hole] = slots[next];
                hole = next;
            }
            next = (next + 1) & mask;
        }
        slots[hole] = Slot::default();
        self.flags.vacate(at);
        self.free.push(at);
    }
}

fn empty(flags: usize) -> Vec<Slot> {
    vec![Slot::default(); (flags * 2).max(1).next_power_of_two().max(2)]
}

fn insert(slots: &mut [Slot], hash: u64, at: u32) {
    let mask = slots.len() - 1;
    let mut slot = hash as usize & mask;
    while slots[slot].flag != 0 {
        slot = (slot + 1) & mask;
    }
    slots[slot] = Slot { tag: (hash >> 32) as u32, flag: at + 1 };
}
