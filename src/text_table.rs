//! Look-ups by short text: the hash and comparison that evaluation and gates share, and a table of them.

use std::sync::Arc;

/// Hashes an attribute or flag key.
///
/// Only ever compared with hashes made by the same process, so the function may change between versions; buckets
/// use their own, fixed one. Keys are equal only if their text is, whatever the hashes say.
#[inline]
pub(crate) fn hash_key(key: &str) -> u64 {
    const K: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut bytes = key.as_bytes();
    let mut h = (bytes.len() as u64).wrapping_mul(K);
    while let Some((chunk, rest)) = bytes.split_first_chunk::<8>() {
        h = fold(h ^ u64::from_le_bytes(*chunk), K);
        bytes = rest;
    }
    if !bytes.is_empty() {
        let tail = if let Some((low, _)) = bytes.split_first_chunk::<4>() {
            // Two reads that overlap cover four to seven bytes; the length is already mixed in.
            let high = bytes.last_chunk::<4>().map_or(0, |c| u32::from_le_bytes(*c));
            u64::from(u32::from_le_bytes(*low)) | u64::from(high) << 32
        } else {
            bytes.iter().fold(0, |acc, b| acc << 8 | u64::from(*b))
        };
        h = fold(h ^ tail, K);
    }
    h
}

/// Compares texts; short ones without the call to `memcmp` that a comparison of slices of unknown length costs.
#[inline]
pub(crate) fn same_text(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    // Two reads that overlap cover every length between one and two of them.
    if let (Some(low), Some(high)) = (a.first_chunk::<8>(), a.last_chunk::<8>())
        && let (Some(other_low), Some(other_high)) = (b.first_chunk::<8>(), b.last_chunk::<8>())
    {
        if a.len() > 16 {
            return a == b;
        }
        return (u64::from_ne_bytes(*low) ^ u64::from_ne_bytes(*other_low))
            | (u64::from_ne_bytes(*high) ^ u64::from_ne_bytes(*other_high))
            == 0;
    }
    if let (Some(low), Some(high)) = (a.first_chunk::<4>(), a.last_chunk::<4>())
        && let (Some(other_low), Some(other_high)) = (b.first_chunk::<4>(), b.last_chunk::<4>())
    {
        return (u32::from_ne_bytes(*low) ^ u32::from_ne_bytes(*other_low))
            | (u32::from_ne_bytes(*high) ^ u32::from_ne_bytes(*other_high))
            == 0;
    }
    if let (Some(low), Some(high)) = (a.first_chunk::<2>(), a.last_chunk::<2>())
        && let (Some(other_low), Some(other_high)) = (b.first_chunk::<2>(), b.last_chunk::<2>())
    {
        return low == other_low && high == other_high;
    }
    a.first() == b.first()
}

/// Multiplies to 128 bits and folds the halves: one `mul`, and every input bit reaches every output bit.
#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let wide = u128::from(a) * u128::from(b);
    (wide as u64) ^ ((wide >> 64) as u64)
}

/// Values by text, looked up by one hash and, as a rule, one comparison.
///
/// For tables that are built once and read often; nothing is ever moved by a look-up, and copies share the texts.
#[derive(Clone, Debug)]
pub(crate) struct TextTable<V> {
    entries: Vec<Entry<V>>,
    /// Places of entries plus one, open-addressed by hash; a power of two, at most half full.
    slots: Box<[u32]>,
}

#[derive(Clone, Debug)]
struct Entry<V> {
    hash: u64,
    key: Arc<str>,
    value: V,
}

impl<V> Default for TextTable<V> {
    fn default() -> Self {
        Self { entries: Vec::new(), slots: Box::new([]) }
    }
}

impl<V> TextTable<V> {
    #[inline]
    pub(crate) fn get(&self, key: &str) -> Option<&V> {
        self.find(hash_key(key), key).map(|(_, entry)| &entry.value)
    }

    /// Finds the entry of a key, and where it stands.
    #[inline]
    fn find(&self, hash: u64, key: &str) -> Option<(usize, &Entry<V>)> {
        let mask = self.slots.len().checked_sub(1)?;
        let mut at = hash as usize & mask;
        loop {
            // A slot is always in reach and one is always empty, so this ends; the checks keep it from panicking.
            let place = (*self.slots.get(at)? as usize).wrapping_sub(1);
            let entry = self.entries.get(place)?;
            if entry.hash == hash && same_text(&entry.key, key) {
                return Some((place, entry));
            }
            at = (at + 1) & mask;
        }
    }

    /// Sets the value of a key and returns the one before.
    pub(crate) fn insert(&mut self, key: &str, value: V) -> Option<V> {
        let hash = hash_key(key);
        let held = self.find(hash, key).map(|(place, _)| place);
        if let Some(held) = held.and_then(|place| self.entries.get_mut(place)) {
            return Some(std::mem::replace(&mut held.value, value));
        }
        self.entries.push(Entry { hash, key: key.into(), value });
        if self.entries.len() * 2 > self.slots.len() {
            self.place_all();
        } else {
            let place = self.entries.len() as u32;
            place_at(&mut self.slots, hash, place);
        }
        None
    }

    pub(crate) fn remove(&mut self, key: &str) -> Option<V> {
        let (at, _) = self.find(hash_key(key), key)?;
        let entry = self.entries.swap_remove(at);
        self.place_all();
        Some(entry.value)
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns keys and values in the order they came.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &V)> {
        self.entries.iter().map(|e| (&*e.key, &e.value))
    }

    fn place_all(&mut self) {
        let size = (self.entries.len() * 4).next_power_of_two().max(8);
        let mut slots = vec![0; size].into_boxed_slice();
        for (at, entry) in self.entries.iter().enumerate() {
            place_at(&mut slots, entry.hash, at as u32 + 1);
        }
        self.slots = slots;
    }
}

fn place_at(slots: &mut [u32], hash: u64, place: u32) {
    let mask = slots.len() - 1;
    let mut at = hash as usize & mask;
    while slots.get(at).is_some_and(|held| *held != 0) {
        at = (at + 1) & mask;
    }
    if let Some(slot) = slots.get_mut(at) {
        *slot = place;
    }
}

impl<V: PartialEq> PartialEq for TextTable<V> {
    /// Equal if both hold the same values under the same keys, in whatever order.
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().all(|(key, value)| other.get(key) == Some(value))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn texts_of_every_length_compare_as_strings_do() {
        for len in 0..40 {
            let text = "abcdefghij".repeat(4)[..len].to_owned();
            assert!(same_text(&text, &text.clone()), "{len}");
            assert!(!same_text(&text, &format!("{text}x")), "{len}");
            for at in 0..len {
                let mut other = text.clone().into_bytes();
                other[at] = b'X';
                assert!(!same_text(&text, std::str::from_utf8(&other).unwrap()), "{len} at {at}");
            }
        }
    }

    proptest! {
        #[test]
        fn a_table_answers_as_a_map_does(
            steps in prop::collection::vec((0_u8..3, "[a-d]{0,3}", 0_u32..9), 0..200),
        ) {
            let mut table = TextTable::default();
            let mut map: HashMap<String, u32> = HashMap::new();
            for (step, key, value) in steps {
                match step {
                    0 => prop_assert_eq!(table.remove(&key), map.remove(&key)),
                    _ => prop_assert_eq!(table.insert(&key, value), map.insert(key.clone(), value)),
                }
                prop_assert_eq!(table.get(&key), map.get(&key));
                prop_assert_eq!(table.len(), map.len());
            }
            for (key, value) in &map {
                prop_assert_eq!(table.get(key), Some(value));
            }
            prop_assert_eq!(table.get("nobody"), None);
        }
    }
}
