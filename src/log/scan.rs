//! Range scans of the event log, over both of its tiers: rows, and column segments. Every scan of the log is opened
//! here.
//!
//! A scan merges the two by key. Where both have an event the row is later, and is what the log has.

use std::ops::{Bound, RangeBounds};

use super::sealed::SealedScan;
use super::segments::has_segments;
use crate::codec::{EVENTS, day_prefix};
use crate::error::{Error, Result};
use crate::join::RowCursor;
use crate::model::Timestamp;
use crate::rocks::{EngineScan, EngineSnapshot, ReadHint};

/// Where an event is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tier {
    Rows,
    Segments,
}

/// A forward cursor over the events of a snapshot, as rows.
///
/// The end and a failure are both final, as in [`EngineScan`].
pub(crate) struct LogScan {
    rows: EngineScan,
    sealed: Option<SealedScan>,
    /// Which tiers have a current row that was not returned yet; the others are moved before they are compared.
    has_row: bool,
    has_sealed: bool,
    /// Of the row that was returned last.
    tier: Tier,
    failure: Option<Error>,
}

impl LogScan {
    /// Of rows alone.
    pub(super) fn of_rows(rows: EngineScan) -> Self {
        Self { rows, sealed: None, has_row: false, has_sealed: false, tier: Tier::Rows, failure: None }
    }

    fn of_both(rows: EngineScan, sealed: SealedScan) -> Self {
        Self { sealed: Some(sealed), ..Self::of_rows(rows) }
    }

    /// The next row, or none after the last.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        if self.sealed.is_none() { self.rows.next() } else { self.merge() }
    }

    fn merge(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        if let Err(error) = self.step() {
            self.failure = Some(error.clone());
            return Err(error);
        }
        let row = if self.has_row { self.rows.current() } else { None };
        let sealed = if self.has_sealed { self.sealed.as_ref().and_then(SealedScan::current) } else { None };
        match (row, sealed) {
            (Some(row), Some(sealed)) if row.0 > sealed.0 => {
                self.has_sealed = false;
                self.tier = Tier::Segments;
                Ok(Some(sealed))
            }
            (Some(row), sealed) => {
                self.has_row = false;
                self.tier = Tier::Rows;
                if sealed.is_some_and(|sealed| sealed.0 == row.0) {
                    self.has_sealed = false;
                }
                Ok(Some(row))
            }
            (None, sealed) => {
                self.has_sealed = false;
                self.tier = Tier::Segments;
                Ok(sealed)
            }
        }
    }

    /// Where the event is stored that was returned last.
    pub(super) fn tier(&self) -> Tier {
        self.tier
    }

    /// Moves the tiers whose rows were returned.
    fn step(&mut self) -> Result<()> {
        if !self.has_row {
            self.has_row = self.rows.next()?.is_some();
        }
        if !self.has_sealed
            && let Some(sealed) = &mut self.sealed
        {
            self.has_sealed = sealed.next()?;
        }
        Ok(())
    }

    /// Moves forward, so that the next row is the first whose key is not less than `key`.
    pub(crate) fn seek(&mut self, key: &[u8]) {
        self.rows.seek(key);
        self.has_row = false;
        if let Some(sealed) = &mut self.sealed {
            let is_before = |(at, _): (&[u8], &[u8])| at < key;
            // A row that was not returned yet, and is not before the key, is where the seek would end.
            if !self.has_sealed || sealed.current().is_none_or(is_before) {
                sealed.seek(key);
                self.has_sealed = false;
            }
        }
    }
}

impl RowCursor for LogScan {
    fn next(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        Self::next(self)
    }

    fn seek(&mut self, key: &[u8]) -> Result<()> {
        Self::seek(self, key);
        Ok(())
    }
}

/// Opens a scan over the whole log.
pub(crate) fn scan_all(snapshot: &EngineSnapshot, hint: ReadHint) -> LogScan {
    scan(snapshot, &[], None, hint)
}

/// Opens a scan over the events whose keys lie in `from..to`; without `to`, over all from `from` on.
pub(crate) fn scan_keys(snapshot: &EngineSnapshot, from: &[u8], to: Option<&[u8]>) -> LogScan {
    scan(snapshot, from, to, ReadHint::LongRange)
}

fn scan(snapshot: &EngineSnapshot, from: &[u8], to: Option<&[u8]>, hint: ReadHint) -> LogScan {
    let rows = scan_rows(snapshot, from, to, hint);
    if !has_segments(snapshot) {
        return LogScan::of_rows(rows);
    }
    LogScan::of_both(rows, SealedScan::new(snapshot, from, to))
}

/// Opens a scan over the rows in a range of keys, without what is sealed.
pub(super) fn scan_rows(snapshot: &EngineSnapshot, from: &[u8], to: Option<&[u8]>, hint: ReadHint) -> EngineScan {
    snapshot.scan(EVENTS, Bound::Included(from), to.map_or(Bound::Unbounded, Bound::Excluded), hint)
}

/// Opens a scan for the events of one user. It may yield others.
pub(super) fn scan_user(snapshot: &EngineSnapshot, id: &str) -> LogScan {
    let rows = scan_rows(snapshot, &[], None, ReadHint::ShortRange);
    match SealedScan::of_user(snapshot, id) {
        Ok(None) => LogScan::of_rows(rows),
        Ok(Some(sealed)) => LogScan::of_both(rows, sealed),
        Err(error) => LogScan { failure: Some(error), ..LogScan::of_both(rows, SealedScan::new(snapshot, &[], None)) },
    }
}

/// Opens a scan over the days that a range of time touches, each of them whole.
pub(crate) fn scan_days(snapshot: &EngineSnapshot, range: impl RangeBounds<Timestamp>) -> LogScan {
    let (from, to) = day_keys(range);
    scan_keys(snapshot, &from, to.as_deref())
}

/// The keys that the days of a range of time begin and end with.
pub(super) fn day_keys(range: impl RangeBounds<Timestamp>) -> (Vec<u8>, Option<Vec<u8>>) {
    let day = |bound: Bound<&Timestamp>| match bound {
        Bound::Included(time) | Bound::Excluded(time) => Some(time.day_and_millis().0),
        Bound::Unbounded => None,
    };
    let from = day(range.start_bound()).map(|day| day_prefix(day).to_vec());
    // There is no day after the last: the scan runs to the end of the log.
    let to = day(range.end_bound()).and_then(|day| day.checked_add(1)).map(|day| day_prefix(day).to_vec());
    (from.unwrap_or_default(), to)
}
