//! The write batch: the unit of commit, applied atomically.
//!
//! It supports put, merge, delete and range delete. Single deletes are left out, because they are undefined on a key
//! that has operands; range deletes are for column families without operands only.

use rocksdb::WriteBatch as RawWriteBatch;

use super::engine::{Engine, Handle};
use crate::error::{Error, ErrorKind, Result};

/// Operations on any column families, in order.
pub(crate) struct WriteBatch<'e> {
    operations: RawWriteBatch,
    families: FamilyHandles<'e>,
}

impl Engine {
    pub(crate) fn batch(&self) -> WriteBatch<'_> {
        let families = FamilyHandles { engine: self, found: Vec::new(), latest: 0 };
        WriteBatch { operations: RawWriteBatch::default(), families }
    }
}

impl WriteBatch<'_> {
    /// Replaces what is stored under a key, operands included.
    pub(crate) fn put(&mut self, family: &str, key: &[u8], value: &[u8]) -> Result<()> {
        self.operations.put_cf(self.families.get(family)?, key, value);
        Ok(())
    }

    /// Adds an operand to a key.
    pub(crate) fn merge(&mut self, family: &str, key: &[u8], operand: &[u8]) -> Result<()> {
        self.operations.merge_cf(self.families.get(family)?, key, operand);
        Ok(())
    }

    /// Deletes what is stored under a key, operands included.
    pub(crate) fn delete(&mut self, family: &str, key: &[u8]) -> Result<()> {
        self.operations.delete_cf(self.families.get(family)?, key);
        Ok(())
    }

    /// Deletes the keys of the half-open range `from..to`. Only for a column family that never has operands: RocksDB
    /// does not define how operands on both sides of a range tombstone fold, and reads near many of them are slow.
    pub(crate) fn delete_range(&mut self, family: &str, from: &[u8], to: &[u8]) -> Result<()> {
        self.operations.delete_range_cf(self.families.get(family)?, from, to);
        Ok(())
    }

    /// Commits. Without `sync` the batch survives a crash of the process; with `sync`, power loss as well.
    pub(crate) fn commit(self, sync: bool) -> Result<()> {
        self.families.engine.commit(self.operations, sync)
    }
}

/// The handles of the column families of one batch. A lookup takes a lock, so each is done once.
struct FamilyHandles<'e> {
    engine: &'e Engine,
    found: Vec<(String, Handle<'e>)>,
    /// The position of the last answer: consecutive operations mostly use the same family.
    latest: usize,
}

impl<'e> FamilyHandles<'e> {
    fn get(&mut self, family: &str) -> Result<&Handle<'e>> {
        let missing = || Error::new(ErrorKind::NotFound, format!("no such family family={family:?}"));
        if self.found.get(self.latest).is_none_or(|(name, _)| name != family) {
            self.latest = match self.found.iter().position(|(name, _)| name == family) {
                Some(at) => at,
                None => {
                    self.found.push((family.to_owned(), self.engine.handle(family).ok_or_else(missing)?));
                    self.found.len().saturating_sub(1)
                }
            };
        }
        self.found.get(self.latest).map(|(_, handle)| handle).ok_or_else(missing)
    }
}
