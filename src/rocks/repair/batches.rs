//! The write batches in a WAL file, counted: which column families they write to, and how often.
//!
//! ```text
//! batch    u64 sequence number of the first operation, u32 number of operations, little-endian; then the operations
//!          tag, id of the column family (a varint, with some tags), length and bytes of the key, the same of the value
//! ```

use super::report::LoggedCommits;
use crate::rocks::framing::FragmentSink;
use crate::rocks::manifest::EditFields;

/// A batch begins with its sequence number and the number of its operations.
const BATCH_HEAD: usize = 8 + 4;

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
        let (&[s0, s1, s2, s3, s4, s5, s6, s7, c0, c1, c2, c3], operations) =
            batch.split_first_chunk::<BATCH_HEAD>()?;
        let sequence = u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]);
        let count = u64::from(u32::from_le_bytes([c0, c1, c2, c3]));
        let mut found = LoggedCommits::default();
        add_operations(&mut found, operations)?;
        if found.operations.values().sum::<u64>() != count {
            return None;
        }
        self.first.get_or_insert(sequence);
        self.next = Some(sequence.saturating_add(count));
        self.counted.commits += 1;
        for (family, count) in found.operations {
            *self.counted.operations.entry(family).or_default() += count;
        }
        Some(())
    }
}

fn add_operations(found: &mut LoggedCommits, operations: &[u8]) -> Option<()> {
    let mut fields = EditFields(operations);
    while let Some((&tag, rest)) = fields.0.split_first() {
        fields.0 = rest;
        let (has_family, has_value) = match tag {
            // Delete, put, merge, single delete, range delete; and the same with a column family.
            0 | 7 => (false, false),
            1 | 2 | 15 => (false, true),
            4 | 8 => (true, false),
            5 | 6 | 14 => (true, true),
            _ => return None,
        };
        let family = if has_family { fields.number()? } else { 0 };
        fields.slice()?;
        if has_value {
            fields.slice()?;
        }
        *found.operations.entry(family).or_default() += 1;
    }
    Some(())
}
