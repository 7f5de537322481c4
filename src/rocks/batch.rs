//! A batch: the unit of commit. All of it is stored, or nothing.
//!
//! It knows put, merge and delete. It may not know single deletes, which are undefined on a key that has operands, and
//! deletes of ranges are for families without operands only.

use std::sync::Arc;

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

/// One operation on one family, for rooms that do not see each other to be committed together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Operation {
    pub(crate) family: Arc<str>,
    /// For a range, its first key.
    pub(crate) key: Vec<u8>,
    pub(crate) action: Action,
}

/// What is done with a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// The key gets this value.
    Put(Vec<u8>),
    /// The key gets this operand.
    Merge(Vec<u8>),
    /// The key goes.
    Delete,
    /// The keys up to this one go, in a family that has no operands.
    DeleteRange(Vec<u8>),
}

impl Operation {
    /// Its size, for those who bound what waits.
    pub(crate) fn bytes(&self) -> usize {
        let action = match &self.action {
            Action::Put(bytes) | Action::Merge(bytes) | Action::DeleteRange(bytes) => bytes.len(),
            Action::Delete => 0,
        };
        self.key.len().saturating_add(action)
    }

    /// Whether it removes something, so that it does nothing to a family that is not there.
    pub(crate) fn removes(&self) -> bool {
        matches!(self.action, Action::Delete | Action::DeleteRange(_))
    }
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

    /// Removes the keys from one up to another, without the latter. Only for a family that never has operands: RocksDB
    /// does not define what a fold makes of operands on both sides of such an end, and a read next to many of them is
    /// slow.
    pub(crate) fn delete_range(&mut self, family: &str, from: &[u8], to: &[u8]) -> Result<()> {
        let at = self.find(family)?;
        if let Some((_, handle)) = self.handles.get(at) {
            self.operations.delete_range_cf(handle, from, to);
        }
        Ok(())
    }

    /// Adds an operation.
    pub(crate) fn add(&mut self, operation: &Operation) -> Result<()> {
        let Operation { family, key, action } = operation;
        match action {
            Action::Put(value) => self.put(family, key, value),
            Action::Merge(operand) => self.merge(family, key, operand),
            Action::Delete => self.delete(family, key),
            Action::DeleteRange(to) => self.delete_range(family, key, to),
        }
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
