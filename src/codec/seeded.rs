//! The hash of tables over input, with a seed that is random in each process, because keys can be made to collide for a
//! known one. Nothing that is stored may depend on it.

use std::hash::{BuildHasher, RandomState};

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// A hash function: XXH3 with a random seed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SeededHash(u64);

impl SeededHash {
    /// One with a seed of its own.
    pub(crate) fn random() -> Self {
        // The keys of the state are random, so its hash of anything is.
        Self(RandomState::new().hash_one(0))
    }

    #[inline]
    pub(crate) fn of(self, bytes: &[u8]) -> u64 {
        xxh3_64_with_seed(bytes, self.0)
    }

    /// The hash of a pair. It depends on where the first ends.
    #[inline]
    pub(crate) fn of_pair(self, first: &[u8], second: &[u8]) -> u64 {
        xxh3_64_with_seed(first, self.of(second))
    }
}

impl Default for SeededHash {
    fn default() -> Self {
        Self::random()
    }
}
