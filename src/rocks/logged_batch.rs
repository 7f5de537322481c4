//! Write batches as RocksDB logs them.
//!
//! ```text
//! batch    u64 sequence number of the first operation, u32 number of operations, little-endian; then the operations
//!          tag, id of the column family (a varint, with some tags), length and bytes of the key, the same of the value
//! ```

use super::manifest::EditFields;

/// A batch begins with its sequence number and the number of its operations.
pub(super) const BATCH_HEAD: usize = 8 + 4;

/// What a batch writes to.
pub(super) struct LoggedBatch {
    /// The sequence number of the first operation. Each takes one.
    pub(super) sequence: u64,
    /// Of each operation its column family, by id.
    pub(super) families: Vec<u64>,
}

impl LoggedBatch {
    /// None if it is none.
    pub(super) fn read(batch: &[u8]) -> Option<Self> {
        let (head, operations) = batch.split_first_chunk::<BATCH_HEAD>()?;
        let (sequence, count) = read_head(*head);
        let mut families = Vec::new();
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
            families.push(if has_family { fields.number()? } else { 0 });
            fields.slice()?;
            if has_value {
                fields.slice()?;
            }
        }
        (families.len() as u64 == count).then_some(Self { sequence, families })
    }

    /// The sequence number after it.
    pub(super) fn next(&self) -> u64 {
        self.sequence.saturating_add(self.families.len() as u64)
    }
}

/// The sequence number and the number of operations of a batch.
pub(super) fn read_head(head: [u8; BATCH_HEAD]) -> (u64, u64) {
    let [s0, s1, s2, s3, s4, s5, s6, s7, c0, c1, c2, c3] = head;
    let sequence = u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]);
    (sequence, u64::from(u32::from_le_bytes([c0, c1, c2, c3])))
}
