//! A scan: a forward cursor over a range of keys at one moment.
//!
//! It owns its snapshot. A scan that ended and a scan that failed are different answers, and both stay what they are:
//! an ended scan goes on saying "no more", a failed one goes on failing.

use std::ops::Bound;

use rocksdb::{DBRawIteratorWithThreadMode, ReadOptions};
use self_cell::self_cell;

use super::engine::{Handle, Raw, unread};
use super::options;
use super::snapshot::Snapshot;
use crate::error::{Error, Result};

/// How much a scan will read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// A few rows, which others may want as well: blocks go through the cache.
    Short,
    /// A stretch of middling size, as one of many: leaves the cache to others, and reads ahead as far as it turns out
    /// to go.
    Stretch,
    /// Most of a range: reads ahead in large steps and leaves the cache to others.
    Bulk,
}

/// A forward cursor over the rows of a family.
pub(crate) struct Scan {
    /// None when there is nothing to scan: no such family, or an empty range.
    cell: Option<Cell>,
    family: String,
    state: State,
}

/// ```text
/// Ahead --step--> On --step--> On ... --> Ended | Failed
///   ^-------------seek-----------------------'
/// ```
enum State {
    /// The cursor stands before or on a row that was not handed out.
    Ahead,
    /// The row under the cursor was handed out.
    On,
    Ended,
    Failed(Error),
}

self_cell!(
    struct Cell {
        owner: Snapshot,

        #[covariant]
        dependent: Cursor,
    }
);

struct Cursor<'s> {
    rows: DBRawIteratorWithThreadMode<'s, Raw>,
    /// The family may be dropped meanwhile; its handle must not.
    _handle: Handle<'s>,
}

impl Snapshot {
    /// A cursor over the keys of a family between two bounds, before the first.
    pub(crate) fn scan(&self, family: &str, from: Bound<&[u8]>, to: Bound<&[u8]>, extent: Extent) -> Scan {
        let (from, to) = (first(from), end(to));
        let empty = to.as_ref().is_some_and(|to| *to <= from);
        let handle_exists = self.engine().has_family(family);
        if empty || !handle_exists {
            return Scan { cell: None, family: family.to_owned(), state: State::Ended };
        }
        let mut reads = match extent {
            Extent::Short => ReadOptions::default(),
            Extent::Stretch => options::stretch_reads(),
            Extent::Bulk => options::bulk_reads(),
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
            Ok::<_, ()>(Cursor { rows, _handle: handle })
        });
        // A family that was dropped since the look above is as empty as one that was never there.
        let state = if cell.is_ok() { State::Ahead } else { State::Ended };
        Scan { cell: cell.ok(), family: family.to_owned(), state }
    }
}

impl Scan {
    /// The next row, or nothing after the last.
    pub(crate) fn next(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        let Some(cell) = &mut self.cell else { return Ok(None) };
        match &self.state {
            State::Ended => return Ok(None),
            State::Failed(error) => return Err(error.clone()),
            State::On => cell.with_dependent_mut(|_, cursor| cursor.rows.next()),
            State::Ahead => {}
        }
        // A row, the end, or a failure, which RocksDB shows as an end.
        let rows = &cell.borrow_dependent().rows;
        if let Some(row) = rows.item() {
            self.state = State::On;
            return Ok(Some(row));
        }
        match rows.status() {
            Ok(()) => {
                self.state = State::Ended;
                Ok(None)
            }
            Err(error) => {
                let error = unread(error, &self.family);
                self.state = State::Failed(error.clone());
                Err(error)
            }
        }
    }

    /// Moves, so that the next row is the first whose key is not less than `key`, forward or back, within the bounds.
    /// A failed scan stays failed.
    pub(crate) fn seek(&mut self, key: &[u8]) {
        if let Some(cell) = &mut self.cell
            && !matches!(self.state, State::Failed(_))
        {
            cell.with_dependent_mut(|_, cursor| cursor.rows.seek(key));
            self.state = State::Ahead;
        }
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

/// The least key beyond an upper bound.
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
