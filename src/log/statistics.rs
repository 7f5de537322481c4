//! Row scans of the event log for joins, and its statistics for cardinality estimation.

use super::scan::{LogScan, scan_keys, scan_rows};
use super::segments::Headers;
use crate::codec::EVENTS;
use crate::error::Result;
use crate::join::{self, Days, Estimates, EventRows, RowScan, ScanSpec};
use crate::rocks::{EngineSnapshot, ReadHint};

/// Upper bound of all keys of events: no year is that late.
const KEY_END: &[u8] = &[0xff; 16];

/// Opens a scan of events for a join.
pub(crate) fn scan_events(snapshot: &EngineSnapshot, spec: ScanSpec) -> RowScan<LogScan> {
    let (from, to) = spec.keys();
    RowScan::new(open(snapshot, &from, to.as_deref(), spec.rows_only), spec)
}

fn open(snapshot: &EngineSnapshot, from: &[u8], to: Option<&[u8]>, rows_only: bool) -> LogScan {
    if rows_only {
        return LogScan::of_rows(scan_rows(snapshot, from, to, ReadHint::LongRange));
    }
    scan_keys(snapshot, from, to)
}

/// Estimates what a scan of events would yield.
pub(crate) fn estimate_events(snapshot: &EngineSnapshot, spec: &ScanSpec) -> Result<(Estimates, Days)> {
    join::estimate(&LogStatistics::new(snapshot, spec.rows_only)?, spec)
}

/// What the engine knows about the log, as of when it was opened.
struct LogStatistics<'s> {
    snapshot: &'s EngineSnapshot,
    /// Keys of the whole log, and bytes of its files.
    keys: u64,
    bytes: u64,
    /// The first and the last key of each sealed block, and how many events it has.
    sealed: Vec<(Vec<u8>, Vec<u8>, u64)>,
    /// Whether only rows are meant.
    rows_only: bool,
}

impl<'s> LogStatistics<'s> {
    fn new(snapshot: &'s EngineSnapshot, rows_only: bool) -> Result<Self> {
        let keys = snapshot.engine().keys_estimate(EVENTS);
        let mut sealed = Vec::new();
        if !rows_only {
            let mut headers = Headers::from_day(snapshot, i32::MIN);
            while let Some((_, segments)) = headers.next_day()? {
                let blocks = segments.into_iter().flat_map(|(_, header)| header.blocks);
                sealed.extend(blocks.map(|block| (block.first_key, block.last_key, u64::from(block.events))));
            }
        }
        Ok(Self { snapshot, keys, bytes: bytes_between(snapshot, &[], KEY_END), sealed, rows_only })
    }
}

fn bytes_between(snapshot: &EngineSnapshot, from: &[u8], to: &[u8]) -> u64 {
    snapshot.engine().approximate_bytes(EVENTS, &[(from, to)]).iter().sum()
}

impl EventRows for LogStatistics<'_> {
    type Cursor = LogScan;

    fn cursor(&self, from: &[u8], to: Option<&[u8]>) -> Result<LogScan> {
        Ok(open(self.snapshot, from, to, self.rows_only))
    }

    /// Blocks are counted where they begin. Of rows, the engine knows how many bytes of its files are in a range; what
    /// is in memory is assumed to be distributed as the files are.
    fn estimate_rows(&self, from: &[u8], to: Option<&[u8]>) -> u64 {
        let begins = |key: &[u8]| key >= from && to.is_none_or(|to| key < to);
        let sealed = self.sealed.iter().filter(|(first, ..)| begins(first)).map(|(_, _, events)| events).sum::<u64>();
        sealed.saturating_add(self.estimate_unsealed(from, to))
    }

    fn has_rows(&self, from: &[u8], to: Option<&[u8]>) -> Result<bool> {
        let within = |key: &[u8]| key >= from && to.is_none_or(|to| key < to);
        if self.sealed.iter().any(|(first, last, _)| within(first) || within(last)) {
            return Ok(true);
        }
        Ok(open(self.snapshot, from, to, self.rows_only).next()?.is_some())
    }
}

impl LogStatistics<'_> {
    fn estimate_unsealed(&self, from: &[u8], to: Option<&[u8]>) -> u64 {
        if self.bytes == 0 {
            return self.keys;
        }
        let part = bytes_between(self.snapshot, from, to.unwrap_or(KEY_END));
        let rows = u128::from(self.keys) * u128::from(part) / u128::from(self.bytes);
        u64::try_from(rows).unwrap_or(u64::MAX)
    }
}
