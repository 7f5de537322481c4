//! Statistics of tables and of writes.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use super::request::Request;

/// The size of a table, or of the log, as the engine estimates it.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct TableStats {
    /// `users`, or `group:` and the group key, or `events` and `segments`, which are the log: events that are rows, and
    /// those that are sealed.
    pub table: String,
    /// Profiles, estimated: every pending operand counts as one more. In the log, events.
    pub profiles_estimate: u64,
    /// Bytes in SST files.
    pub sst_bytes: u64,
    /// Bytes in memtables, which are not flushed yet.
    pub memtable_bytes: u64,
    /// Bytes that compactions are estimated to rewrite.
    pub pending_compaction_bytes: u64,
    /// Files on each level, newest data first.
    pub files_per_level: Vec<u64>,
    /// Distinct property names that were ever written, without those of a [place](crate::PLACE_PROPERTIES). 0 in a
    /// store that is open for reading, which does not load them.
    pub names: usize,
    /// Whether the table is over its name budget, so that updates which may create properties read their profile
    /// first.
    pub wide: bool,
}

/// What was written since the store was opened.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct WriteStats {
    /// Writes to single profiles.
    pub changes: u64,
    /// Events, including those that were sent again.
    pub events: u64,
    /// Calls that brought them; a batch is one.
    pub requests: u64,
    /// Group commits: batches of the engine that carried them.
    pub commits: u64,
    /// Keys in those batches: fewer than changes where operands of one key were composed.
    pub keys: u64,
}

/// Counts for [`WriteStats`].
#[derive(Default)]
pub(super) struct WriteCounters {
    changes: AtomicU64,
    events: AtomicU64,
    requests: AtomicU64,
    commits: AtomicU64,
    keys: AtomicU64,
}

impl WriteCounters {
    /// Counts requests that were committed together, without `refused` of their changes.
    pub(super) fn count(&self, requests: &[&Request], refused: usize, keys: usize) {
        let changes: usize = requests.iter().map(|request| request.profiles.len()).sum();
        let events: usize = requests.iter().map(|request| request.events.len()).sum();
        self.changes.fetch_add(changes.saturating_sub(refused) as u64, Ordering::Relaxed);
        self.events.fetch_add(events as u64, Ordering::Relaxed);
        self.requests.fetch_add(requests.len() as u64, Ordering::Relaxed);
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.keys.fetch_add(keys as u64, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> WriteStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        WriteStats {
            changes: read(&self.changes),
            events: read(&self.events),
            requests: read(&self.requests),
            commits: read(&self.commits),
            keys: read(&self.keys),
        }
    }
}
