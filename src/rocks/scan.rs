//! A range scan: a forward cursor over a range of keys of a snapshot, fused.
//!
//! It owns its snapshot. The end of the range and a failure are different results, and both are final: a scan that
//! ended keeps returning none, one that failed keeps returning its error.

use std::ops::Bound;

use rocksdb::{DBRawIteratorWithThreadMode, ReadOptions};
use self_cell::self_cell;

use super::engine::{Handle, Raw, unread};
use super::options;
use super::snapshot::EngineSnapshot;
use crate::error::{Error, Result};
use crate::join::RowCursor;

/// The expected access pattern of a scan, for read-ahead and the block cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadHint {
    /// A few rows that may be read again: blocks are cached.
    ShortRange,
    /// One of many ranges of moderate size: does not fill the cache; the automatic read-ahead grows with the scan.
    LongRange,
    /// Most of a column family: does not fill the cache, and reads ahead in large steps.
    FullScan,
}

/// A forward cursor over the rows of a column family.
pub(crate) struct EngineScan {
    /// None when there is nothing to scan: the family does not exist, or the range is empty.
    cell: Option<Cell>,
    family: String,
    state: ScanState,
}

/// ```text
/// Ahead --step--> On --step--> On ... --> Ended | Failed
///   ^-------------seek-----------------------'
/// ```
enum ScanState {
    /// The iterator is at a row that was not returned yet, or at the end.
    Ahead,
    /// The row at the iterator was returned.
    On,
    Ended,
    Failed(Error),
}

self_cell!(
    struct Cell {
        owner: EngineSnapshot,

        #[covariant]
        dependent: RawCursor,
    }
);

struct RawCursor<'s> {
    rows: DBRawIteratorWithThreadMode<'s, Raw>,
    /// Keeps the handle alive: the family may be dropped meanwhile.
    _handle: Handle<'s>,
}

impl EngineSnapshot {
    /// A cursor over a range of keys of a column family, positioned before the first.
    pub(crate) fn scan(&self, family: &str, from: Bound<&[u8]>, to: Bound<&[u8]>, hint: ReadHint) -> EngineScan {
        let (from, to) = (first(from), end(to));
        let empty = to.as_ref().is_some_and(|to| *to <= from);
        let handle_exists = self.engine().has_family(family);
        if empty || !handle_exists {
            let state = self.still_has(family).map_or_else(ScanState::Failed, |()| ScanState::Ended);
            return EngineScan { cell: None, family: family.to_owned(), state };
        }
        let mut reads = match hint {
            ReadHint::ShortRange => ReadOptions::default(),
            ReadHint::LongRange => options::long_range_reads(),
            ReadHint::FullScan => options::full_scan_reads(),
        };
        self.bind(&mut reads);
        if let Some(to) = to {
            reads.set_iterate_upper_bound(to);
        }
        reads.set_iterate_lower_bound(from.clone());
        let cell = Cell::try_new(self.clone(), |snapshot| {
            let engine = snapshot.engine();
            let handle = engine.handle(family).ok_or(())?;
            let mut rows = engine.raw().raw_iterator_cf_opt(&handle, reads);
            rows.seek(&from);
            Ok::<_, ()>(RawCursor { rows, _handle: handle })
        });
        let state = match self.still_has(family) {
            Ok(()) if cell.is_ok() => ScanState::Ahead,
            Ok(()) => ScanState::Ended,
            Err(error) => ScanState::Failed(error),
        };
        EngineScan { cell: cell.ok(), family: family.to_owned(), state }
    }
}

impl EngineScan {
    /// The next row, or none after the last.
    pub(crate) fn next(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        self.step(|rows, state| {
            if matches!(state, ScanState::On) {
                rows.next();
            }
        })
    }

    /// The next row from the end of the range backwards, or none before the first. A scan is read in one direction
    /// only.
    pub(crate) fn next_back(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        self.step(|rows, state| if matches!(state, ScanState::On) { rows.prev() } else { rows.seek_to_last() })
    }

    /// The row that was returned last, unless the scan has ended since.
    pub(crate) fn current(&self) -> Option<(&[u8], &[u8])> {
        self.cell.as_ref().filter(|_| matches!(self.state, ScanState::On))?.borrow_dependent().rows.item()
    }

    fn step(
        &mut self,
        advance: impl FnOnce(&mut DBRawIteratorWithThreadMode<'_, Raw>, &ScanState),
    ) -> Result<Option<(&[u8], &[u8])>> {
        let cell = match (&self.state, &mut self.cell) {
            (ScanState::Failed(error), _) => return Err(error.clone()),
            (ScanState::Ended, _) | (_, None) => return Ok(None),
            (_, Some(cell)) => cell,
        };
        let state = &self.state;
        cell.with_dependent_mut(|_, cursor| advance(&mut cursor.rows, state));
        // A row, the end, or a failure, which looks like the end until the status is checked.
        let rows = &cell.borrow_dependent().rows;
        if let Some(row) = rows.item() {
            self.state = ScanState::On;
            return Ok(Some(row));
        }
        match rows.status() {
            Ok(()) => {
                self.state = ScanState::Ended;
                Ok(None)
            }
            Err(error) => {
                let error = unread(error, &self.family);
                self.state = ScanState::Failed(error.clone());
                Err(error)
            }
        }
    }

    /// Seeks, forwards or backwards, to the first row with a key not less than `key`, within the bounds. A failed scan
    /// stays failed.
    pub(crate) fn seek(&mut self, key: &[u8]) {
        if let Some(cell) = &mut self.cell
            && !matches!(self.state, ScanState::Failed(_))
        {
            cell.with_dependent_mut(|_, cursor| cursor.rows.seek(key));
            self.state = ScanState::Ahead;
        }
    }
}

impl RowCursor for EngineScan {
    fn next(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        Self::next(self)
    }

    fn seek(&mut self, key: &[u8]) -> Result<()> {
        Self::seek(self, key);
        Ok(())
    }
}

/// The least key within a lower bound.
fn first(from: Bound<&[u8]>) -> Vec<u8> {
    match from {
        Bound::Unbounded => Vec::new(),
        Bound::Included(key) => key.to_vec(),
        Bound::Excluded(key) => after(key),
    }
}

/// The least key above an upper bound.
fn end(to: Bound<&[u8]>) -> Option<Vec<u8>> {
    match to {
        Bound::Unbounded => None,
        Bound::Included(key) => Some(after(key)),
        Bound::Excluded(key) => Some(key.to_vec()),
    }
}

/// The next key in byte order.
fn after(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}
