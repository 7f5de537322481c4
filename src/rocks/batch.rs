//! A batch: the unit of commit. All of it is stored, or nothing.
//!
//! It knows put, merge and delete. It may not know single deletes, which are undefined on a key that has operands.

use rocksdb::WriteBatch;

use super::engine::{Engine, Handle};
use crate::error::{Error, ErrorKind, Result};

/// Operations on any families, in order.
pub(crate) struct Batch<'e> {
    engine: &'e Engine,
    operations: WriteBatch,
    /// Looking a family up takes a lock, so each is looked up once.
    handles: Vec<(String, Handle<'e>)>,
    latest: usize,
}

impl Engine {
    pub(crate) fn batch(&self) -> Batch<'_> {
        Batch { engine: self, operations: WriteBatch::default(), handles: Vec::new(), latest: 0 }
    }
}

impl Batch<'_> {
    /// Replaces what is stored under a key, operands included.
    pub(crate) fn put(&mut self, family: &str, key: &[u8], value: &[u8]) -> Result<()> {
        let at = self.find(family)?;
        if let Some((_, handle)) = self.handles.get(at) {
            self.operations.put_cf(handle, key, value);
        }
        Ok(())
    }

    /// Adds an operand to a key.
    pub(crate) fn merge(&mut self, family: &str, key: &[u8], operand: &[u8]) -> Result<()> {
        let at = self.find(family)?;
        if let Some((_, handle)) = self.handles.get(at) {
            self.operations.merge_cf(handle, key, operand);
        }
        Ok(())
    }

    /// Removes what is stored under a key, operands included.
    pub(crate) fn delete(&mut self, family: &str, key: &[u8]) -> Result<()> {
        let at = self.find(family)?;
        if let Some((_, handle)) = self.handles.get(at) {
            self.operations.delete_cf(handle, key);
        }
        Ok(())
    }

    /// Commits. Without `sync` it survives a crash of the process; with `sync`, power loss.
    pub(crate) fn commit(self, sync: bool) -> Result<()> {
        self.engine.commit(self.operations, sync)
    }

    fn find(&mut self, family: &str) -> Result<usize> {
        // Runs of one family are the rule.
        if self.handles.get(self.latest).is_some_and(|(name, _)| name == family) {
            return Ok(self.latest);
        }
        let known = self.handles.iter().position(|(name, _)| name == family);
        self.latest = match known {
            Some(at) => at,
            None => {
                let handle = self
                    .engine
                    .handle(family)
                    .ok_or_else(|| Error::new(ErrorKind::NotFound, format!("no such family family={family:?}")))?;
                self.handles.push((family.to_owned(), handle));
                self.handles.len().saturating_sub(1)
            }
        };
        Ok(self.latest)
    }
}
