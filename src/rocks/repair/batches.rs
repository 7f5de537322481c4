//! The write batches in a WAL file, counted: which column families they write to, and how often.

use super::report::LoggedCommits;
use crate::rocks::framing::FragmentSink;
use crate::rocks::logged_batch::LoggedBatch;

/// The batches of a log so far.
#[derive(Default)]
pub(super) struct Batches {
    record: Vec<u8>,
    /// The sequence number of the first operation.
    pub(super) first: Option<u64>,
    /// What follows the last operation.
    pub(super) next: Option<u64>,
    pub(super) counted: LoggedCommits,
}

impl FragmentSink for Batches {
    fn fragment(&mut self, bytes: &[u8], ends: bool) -> Result<(), &'static str> {
        self.record.extend_from_slice(bytes);
        if !ends {
            return Ok(());
        }
        let record = std::mem::take(&mut self.record);
        self.add(&record).ok_or("a record that is no write batch")
    }
}

impl Batches {
    /// Counts a batch. None if it is none.
    pub(super) fn add(&mut self, batch: &[u8]) -> Option<()> {
        let batch = LoggedBatch::read(batch)?;
        self.first.get_or_insert(batch.sequence);
        self.next = Some(batch.next());
        self.counted.commits += 1;
        for family in batch.families {
            *self.counted.operations.entry(family).or_default() += 1;
        }
        Some(())
    }
}
