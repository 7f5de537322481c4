//! Row scans of the event log for joins, and its statistics for cardinality estimation.

use super::scan::scan_keys;
use crate::codec::EVENTS;
use crate::error::Result;
use crate::join::{self, Days, Estimates, EventRows, RowScan, ScanSpec};
use crate::rocks::{EngineScan, EngineSnapshot};

/// Upper bound of all keys of events: no year is that late.
const KEY_END: &[u8] = &[0xff; 16];

/// Opens a scan of events for a join.
pub(crate) fn scan_events(snapshot: &EngineSnapshot, spec: ScanSpec) -> RowScan<EngineScan> {
    let (from, to) = spec.keys();
    RowScan::new(scan_keys(snapshot, &from, to.as_deref()), spec)
}

/// Estimates what a scan of events would yield.
pub(crate) fn estimate_events(snapshot: &EngineSnapshot, spec: &ScanSpec) -> Result<(Estimates, Days)> {
    join::estimate(&LogStatistics::new(snapshot), spec)
}

/// What the engine knows about the log, as of when it was opened.
struct LogStatistics<'s> {
    snapshot: &'s EngineSnapshot,
    /// Keys of the whole log, and bytes of its files.
    keys: u64,
    bytes: u64,
}

impl<'s> LogStatistics<'s> {
    fn new(snapshot: &'s EngineSnapshot) -> Self {
        let keys = snapshot.engine().keys_estimate(EVENTS);
        Self { snapshot, keys, bytes: bytes_between(snapshot, &[], KEY_END) }
    }
}

fn bytes_between(snapshot: &EngineSnapshot, from: &[u8], to: &[u8]) -> u64 {
    snapshot.engine().approximate_bytes(EVENTS, &[(from, to)]).iter().sum()
}

impl EventRows for LogStatistics<'_> {
    type Cursor = EngineScan;

    fn cursor(&self, from: &[u8], to: Option<&[u8]>) -> Result<EngineScan> {
        Ok(scan_keys(self.snapshot, from, to))
    }

    /// The engine knows how many bytes of its files are in a range; what is in memory is assumed to be distributed as
    /// the files are.
    fn estimate_rows(&self, from: &[u8], to: Option<&[u8]>) -> u64 {
        if self.bytes == 0 {
            return self.keys;
        }
        let part = bytes_between(self.snapshot, from, to.unwrap_or(KEY_END));
        let rows = u128::from(self.keys) * u128::from(part) / u128::from(self.bytes);
        u64::try_from(rows).unwrap_or(u64::MAX)
    }
}
