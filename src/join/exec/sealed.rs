//! The part of an execution that reads a log's columns, block by block, and joins users by ordinal.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::Result;
use crate::join::probe::OrdinalCodes;
use crate::join::scan::{ColumnScan, LogTail, RunFilter, ScanSpec, Tables, TailRows, TailScan};
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
    /// The rows besides the blocks, where they are in memory: then nothing else is read of the log.
    pub(in crate::join) tail: Option<TailTasks>,
}

/// Rows in memory.
pub(in crate::join) struct TailTasks {
    tail: Arc<LogTail>,
    /// The rows of each task: a part of the tail, and positions in it.
    tasks: Vec<(usize, Range<usize>)>,
    /// How many were taken.
    taken: AtomicUsize,
}

/// The most rows of one task.
const TAIL_ROWS: usize = 1_024;

impl TailTasks {
    pub(in crate::join) fn new(tail: &Arc<LogTail>, spec: &ScanSpec) -> Self {
        let tasks = tail.ranges(spec).enumerate().flat_map(|(part, Range { start, end })| {
            let starts = (start..end).step_by(TAIL_ROWS);
            starts.map(move |start| (part, start..end.min(start.saturating_add(TAIL_ROWS))))
        });
        Self { tail: Arc::clone(tail), tasks: tasks.collect(), taken: AtomicUsize::new(0) }
    }

    /// How many rows there are.
    pub(in crate::join) fn len(&self) -> usize {
        self.tasks.iter().map(|(_, rows)| rows.len()).sum()
    }

    /// Takes the next rows, with the number of the task.
    fn take(&self) -> Option<(usize, TailRows)> {
        // Looked at first, so that the number cannot overflow.
        if self.taken.load(Ordering::Relaxed) >= self.tasks.len() {
            return None;
        }
        let number = self.taken.fetch_add(1, Ordering::Relaxed);
        self.tasks.get(number).map(|(part, rows)| (number, TailRows::new(&self.tail, *part, rows.clone())))
    }
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
            Some(columns) if self.has_rows || self.tail.is_some() => columns.replaced(block),
            _ => Ok(Vec::new()),
        }
    }

    /// Takes the next rows in memory, with the number of the task.
    pub(super) fn next_rows(&self) -> Option<(usize, TailRows)> {
        let (number, rows) = self.tail.as_ref()?.take()?;
        Some((self.blocks.len() + number, rows))
    }

    /// The scan of rows in memory.
    pub(super) fn scan_rows(&self, rows: TailRows, spec: ScanSpec) -> TailScan {
        TailScan::new(rows, spec, self.users.clone())
    }

    /// Opens the scan of a block.
    pub(super) fn scan(&self, tables: &Arc<dyn Tables>, spec: ScanSpec, block: &SealedBlock) -> Result<ColumnScan> {
        let replaced = self.replaced(&**tables, block)?;
        ColumnScan::new(tables, spec, block.clone(), self.users.clone(), replaced)
    }
}
