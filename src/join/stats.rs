//! Execution statistics: what a join has read, probed and produced so far.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

/// A statistic that workers add to.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The statistics of a join while it runs.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) events_read: Counter,
    pub(super) rows_read: Counter,
    pub(super) lookups: Counter,
    pub(super) seeks: Counter,
    pub(super) passes: Counter,
    pub(super) partitions: Counter,
    pub(super) tasks: Counter,
    pub(super) blocks: Counter,
    pub(super) rows: Counter,
}

impl Counters {
    pub(super) fn stats(&self) -> JoinStats {
        JoinStats {
            events_read: self.events_read.read(),
            rows: self.rows.read(),
            rows_read: self.rows_read.read(),
            lookups: self.lookups.read(),
            seeks: self.seeks.read(),
            passes: self.passes.read(),
            partitions: self.partitions.read(),
            tasks: self.tasks.read(),
            blocks: self.blocks.read(),
        }
    }
}

/// Statistics of a join so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct JoinStats {
    /// Events read from the log, including those filtered out and the sample of the planner.
    pub events_read: u64,
    /// Rows that passed every filter.
    pub rows: u64,
    /// Rows of tables read sequentially, by merge joins and for build sides.
    pub rows_read: u64,
    /// Ids looked up by key.
    pub lookups: u64,
    /// Seeks in the log or in a table.
    pub seeks: u64,
    /// Scans of a table that merge joins started: roughly one per day.
    pub passes: u64,
    /// Partitions of tables that were read into memory.
    pub partitions: u64,
    /// Tasks that were handed to workers.
    pub tasks: u64,
    /// Blocks of events that were joined.
    pub blocks: u64,
}
