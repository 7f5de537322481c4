//! The part of an execution that reads a log's columns, block by block, and joins users by ordinal.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::Result;
use crate::join::probe::OrdinalCodes;
use crate::join::scan::{ColumnScan, RunFilter, ScanSpec, Tables};
use crate::segment::SealedBlock;

/// The blocks of columns that a join reads, each of which is a task.
#[derive(Default)]
pub(in crate::join) struct SealedTasks {
    pub(in crate::join) blocks: Vec<SealedBlock>,
    pub(in crate::join) next: AtomicUsize,
    /// Whether the log has rows of these days, which replace events of blocks.
    pub(in crate::join) has_rows: bool,
    /// The codes of the tables of users, by their positions in the layout.
    pub(in crate::join) codes: Vec<Option<Arc<OrdinalCodes>>>,
    /// The users that are requested, or whose events can pass, if that is known.
    pub(in crate::join) users: Option<Arc<RunFilter>>,
}

impl SealedTasks {
    /// Takes the next block, with its number.
    pub(in crate::join) fn take(&self) -> Option<(usize, &SealedBlock)> {
        // Looked at first, so that the number cannot overflow.
        if self.next.load(Ordering::Relaxed) >= self.blocks.len() {
            return None;
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.blocks.get(number).map(|block| (number, block))
    }

    /// The codes of a table of users.
    pub(in crate::join) fn codes(&self, dim: usize) -> Option<&Arc<OrdinalCodes>> {
        self.codes.get(dim)?.as_ref()
    }

    /// The events of a block that rows replace.
    pub(in crate::join) fn replaced(&self, tables: &dyn Tables, block: &SealedBlock) -> Result<Vec<u32>> {
        match tables.columns() {
            Some(columns) if self.has_rows => columns.replaced(block),
            _ => Ok(Vec::new()),
        }
    }

    /// Opens the scan of a block.
    pub(super) fn scan(&self, tables: &Arc<dyn Tables>, spec: ScanSpec, block: &SealedBlock) -> Result<ColumnScan> {
        let replaced = self.replaced(&**tables, block)?;
        ColumnScan::new(tables, spec, block.clone(), self.users.clone(), replaced)
    }
}
