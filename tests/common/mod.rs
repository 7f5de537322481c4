//! Shared by the tests of the log and of the join: a place for a store, and a seeded source of random numbers.

use std::path::PathBuf;

use profiledb::{Builder, Db};

/// A place for a store that is always opened in the same way.
pub struct Bench {
    dir: tempfile::TempDir,
    builder: fn() -> Builder,
}

impl Bench {
    pub fn new(builder: fn() -> Builder) -> Self {
        Self { dir: tempfile::tempdir().unwrap(), builder }
    }

    pub fn path(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    pub fn open(&self) -> Db {
        (self.builder)().open(self.path()).unwrap()
    }
}

/// Xorshift: the same numbers from the same seed.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }

    pub fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }
}
