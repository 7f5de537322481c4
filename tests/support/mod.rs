//! Shared by the tests of the public API: a store in a temporary directory, and a seeded random number generator.

#![allow(dead_code, reason = "no test target uses all of it")]

use std::path::PathBuf;

use profiledb::{Builder, Db};

/// A temporary directory with a store in it, which is always opened with the same settings. Deleted when dropped.
pub(crate) struct TempStore {
    dir: tempfile::TempDir,
    builder: fn() -> Builder,
}

impl TempStore {
    pub(crate) fn new(builder: fn() -> Builder) -> Self {
        Self { dir: tempfile::tempdir().unwrap(), builder }
    }

    /// The directory of the store.
    pub(crate) fn store(&self) -> PathBuf {
        self.path("store")
    }

    /// Another path in the temporary directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn open(&self) -> Db {
        (self.builder)().open(self.store()).unwrap()
    }
}

/// Xorshift64. The seed must not be 0.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub(crate) fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }
}

/// Makes a record of what was synced (`PROFILEDB.synced`) one of an earlier boot of the machine, as power loss does.
#[cfg(feature = "rocksdb")]
pub(crate) fn reboot(record: &mut [u8]) {
    for slot in record.chunks_exact_mut(1_024) {
        let (text, sum) = slot.split_last_chunk_mut::<4>().unwrap();
        // A slot that power loss tore stays torn.
        if crc32c::crc32c(text).to_le_bytes() != *sum {
            continue;
        }
        let boot = text.windows(5).position(|at| at == b"boot ").unwrap() + 5;
        text[boot] = if text[boot] == b'0' { b'1' } else { b'0' };
        *sum = crc32c::crc32c(text).to_le_bytes();
    }
}
