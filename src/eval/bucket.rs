//! Deterministic assignment of entities to 10,000 buckets (M1).
//!
//! The function is part of the format: it never changes, and other languages can check themselves against the
//! vectors in `docs/manifest.md`.

use crate::manifest::model::Bucket;

/// Returns the bucket of `entity_id` under `salt`: 0 to 9999.
///
/// `seed = murmur3_x86_32(salt, 0)`, `h = murmur3_x86_32(entity_id, seed)`, `bucket = h × 10000 ÷ 2³²`. An empty id
/// belongs to no bucket; segments check that before they ask.
///
/// # Examples
/// ```
/// use leverframe::eval::bucket;
/// assert_eq!(bucket("user-1", "checkout-2026"), bucket("user-1", "checkout-2026"));
/// assert!(bucket("user-1", "checkout-2026") < 10_000);
/// ```
#[must_use]
pub fn bucket(entity_id: &str, salt: &str) -> u16 {
    bucket_seeded(entity_id, bucket_seed(salt))
}

/// Hashes a salt into the seed of its assignment space; done once, when a manifest is compiled.
pub(crate) fn bucket_seed(salt: &str) -> u32 {
    murmur3_x86_32(salt.as_bytes(), 0)
}

/// Returns the bucket of `entity_id` in the space of `seed`.
#[inline]
pub(crate) fn bucket_seeded(entity_id: &str, seed: u32) -> u16 {
    let scaled = u64::from(murmur3_x86_32(entity_id.as_bytes(), seed)) * u64::from(Bucket::COUNT);
    // The upper half of a product of 2³² and 10,000 is below 10,000.
    (scaled >> 32) as u16
}

/// MurmurHash3, 32-bit variant for x86, by Austin Appleby (public domain).
#[inline]
fn murmur3_x86_32(data: &[u8], seed: u32) -> u32 {
    const C1: u32 = 0xcc9e_2d51;
    const C2: u32 = 0x1b87_3593;
    let scramble = |k: u32| k.wrapping_mul(C1).rotate_left(15).wrapping_mul(C2);

    let mut h = seed;
    let (blocks, tail) = data.as_chunks::<4>();
    for block in blocks {
        h = (h ^ scramble(u32::from_le_bytes(*block)))
            .rotate_left(13)
            .wrapping_mul(5)
            .wrapping_add(0xe654_6b64);
    }
    if !tail.is_empty() {
        let k = tail.iter().rev().fold(0, |k, byte| k << 8 | u32::from(*byte));
        h ^= scramble(k);
    }
    // The algorithm takes the length modulo 2³².
    h ^= data.len() as u32;
    h = (h ^ (h >> 16)).wrapping_mul(0x85eb_ca6b);
    h = (h ^ (h >> 13)).wrapping_mul(0xc2b2_ae35);
    h ^ (h >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn murmur3_agrees_with_the_published_vectors() {
        let vectors: [(&str, u32, u32); 8] = [
            ("", 0, 0),
            ("", 1, 0x514E_28B7),
            ("", 0xffff_ffff, 0x81F1_6F39),
            ("hello", 0, 0x248b_fa47),
            ("test", 0, 0xba6b_d213),
            ("test", 0x9747_b28c, 0x704b_81dc),
            ("Hello, world!", 0x9747_b28c, 0x2488_4CBA),
            ("The quick brown fox jumps over the lazy dog", 0x9747_b28c, 0x2FA8_26CD),
        ];

        for (text, seed, expected) in vectors {
            assert_eq!(murmur3_x86_32(text.as_bytes(), seed), expected, "{text:?} {seed:#x}");
        }
    }

    #[test]
    fn buckets_spread_evenly_enough_for_a_rollout() {
        let inside = (0..100_000).filter(|i| bucket(&format!("user-{i}"), "spread") < 1000).count();

        assert!((9_600..=10_400).contains(&inside), "{inside} of 100000 in a tenth");
    }

    #[test]
    fn different_salts_assign_independently() {
        let both = (0..100_000)
            .filter(|i| bucket(&format!("u{i}"), "a") < 5000 && bucket(&format!("u{i}"), "b") < 5000)
            .count();

        assert!((24_000..=26_000).contains(&both), "{both} of 100000 in both halves");
    }
}
