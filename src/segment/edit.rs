//! Typed write operations on column segments: what `log` prepares and `store` commits in one batch.

use std::ops::Range;
use std::sync::Arc;

/// Writes to the column families of segments, and the rows that they replace. One batch.
#[derive(Debug, Default)]
pub(crate) struct SegmentEdit {
    /// Puts, and deletions where there is no value.
    pub(crate) writes: Vec<SegmentWrite>,
    pub(crate) ordinals: GivenOrdinals,
    /// The rows whose events are in a block now.
    pub(crate) sealed: Option<SealedRows>,
}

/// A put, or a deletion where there is no value.
#[derive(Debug)]
pub(crate) struct SegmentWrite {
    pub(crate) family: &'static str,
    pub(crate) key: Vec<u8>,
    pub(crate) value: Option<Vec<u8>>,
}

/// Ids that get consecutive ordinals.
#[derive(Debug, Default)]
pub(crate) struct GivenOrdinals {
    /// That of the first id.
    pub(crate) first: u32,
    /// Ascending, which is fast to insert.
    pub(crate) ids: KeyList,
}

impl GivenOrdinals {
    /// The ids with their ordinals.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], u32)> {
        self.ids.iter().zip(self.first..)
    }
}

/// Rows whose events are in a block now.
#[derive(Debug, Default)]
pub(crate) struct SealedRows {
    /// Their keys, ascending. Shared with what takes note of their deletion.
    pub(crate) keys: Arc<KeyList>,
    /// The keys of rows between them that stay, ascending.
    pub(crate) kept: KeyList,
}

/// Keys in one buffer.
#[derive(Debug, Default)]
pub(crate) struct KeyList {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl KeyList {
    pub(crate) fn push(&mut self, key: &[u8]) {
        self.bytes.extend_from_slice(key);
        self.ends.push(self.bytes.len());
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The length of all keys together.
    pub(crate) fn len_bytes(&self) -> usize {
        self.bytes.len()
    }

    #[inline]
    pub(crate) fn get(&self, at: usize) -> Option<&[u8]> {
        let start = at.checked_sub(1).map_or(Some(0), |before| self.ends.get(before).copied())?;
        self.bytes.get(start..*self.ends.get(at)?)
    }

    pub(crate) fn first(&self) -> Option<&[u8]> {
        self.get(0)
    }

    pub(crate) fn last(&self) -> Option<&[u8]> {
        self.get(self.len().checked_sub(1)?)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).filter_map(|at| self.get(at))
    }

    /// The position of the first key that is not less than this one. The keys must ascend.
    pub(crate) fn lower_bound(&self, key: &[u8]) -> usize {
        let (mut from, mut to) = (0, self.len());
        while from < to {
            let middle = from.midpoint(to);
            if self.get(middle).is_some_and(|known| known < key) {
                from = middle + 1;
            } else {
                to = middle;
            }
        }
        from
    }
}

/// A step of the deletion of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowDeletion<'k> {
    Row(&'k [u8]),
    /// From the first key to the last, both included.
    Range(&'k [u8], &'k [u8]),
    /// A row in the range before that stays: it is put again as it is.
    Restore(&'k [u8]),
}

/// Fewer consecutive rows than this are deleted one by one: reads near many ranges are slow.
const RANGE_ROWS_MIN: usize = 1_024;

/// A range is deleted only if at most one row in this many has to be restored within it. Reading and writing a row
/// takes about seven times as long as deleting one, but commits do not wait for most of that, and a single deletion
/// costs again when it is flushed and compacted.
const ROWS_PER_RESTORED_MIN: usize = 4;

impl SegmentEdit {
    pub(crate) fn put(&mut self, family: &'static str, key: Vec<u8>, value: Vec<u8>) {
        self.writes.push(SegmentWrite { family, key, value: Some(value) });
    }

    pub(crate) fn delete(&mut self, family: &'static str, key: Vec<u8>) {
        self.writes.push(SegmentWrite { family, key, value: None });
    }
}

impl SealedRows {
    /// The deletions of these rows, but for those that were committed again since they were read, and of no others:
    /// neither of those that stay nor of those that were committed since. The latter come in any order.
    pub(crate) fn deletions<'k>(&'k self, committed: impl Iterator<Item = &'k [u8]>) -> Vec<RowDeletion<'k>> {
        let mut committed: Vec<&[u8]> = committed.collect();
        committed.sort_unstable();
        let mut deletions = Vec::new();
        let mut start = 0;
        for kept in self.kept.iter().map(Some).chain([None]) {
            let end = kept.map_or(self.keys.len(), |key| self.keys.lower_bound(key)).max(start);
            let (Some(first), Some(last)) = (self.keys.get(start), end.checked_sub(1).and_then(|at| self.keys.get(at)))
            else {
                continue;
            };
            let from = committed.partition_point(|key| *key < first);
            let to = committed.partition_point(|key| *key <= last);
            let within = committed.get(from..to).unwrap_or_default();
            let rows = end - start;
            if rows >= RANGE_ROWS_MIN && within.len().saturating_mul(ROWS_PER_RESTORED_MIN) <= rows {
                deletions.push(RowDeletion::Range(first, last));
                deletions.extend(within.iter().map(|key| RowDeletion::Restore(key)));
            } else {
                self.delete_between(start..end, within, &mut deletions);
            }
            start = end;
        }
        deletions
    }

    /// The deletions of consecutive rows, but for keys between them, which ascend.
    fn delete_between<'k>(&'k self, rows: Range<usize>, except: &[&[u8]], deletions: &mut Vec<RowDeletion<'k>>) {
        let mut start = rows.start;
        for exception in except.iter().copied().map(Some).chain([None]) {
            let end = exception.map_or(rows.end, |key| self.keys.lower_bound(key)).max(start);
            let mut run = (start..end).filter_map(|at| self.keys.get(at));
            if end - start < RANGE_ROWS_MIN {
                deletions.extend(run.map(RowDeletion::Row));
            } else if let (Some(first), Some(last)) = (run.next(), run.next_back()) {
                deletions.push(RowDeletion::Range(first, last));
            }
            // A row that was committed again is another one.
            let is_exception = exception.is_some() && self.keys.get(end) == exception;
            start = if is_exception { end + 1 } else { end };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn keys(numbers: impl IntoIterator<Item = u32>) -> KeyList {
        let mut keys = KeyList::default();
        numbers.into_iter().for_each(|number| keys.push(&number.to_be_bytes()));
        keys
    }

    proptest! {
        /// Against sets of keys: the rows are deleted but for those that were committed again, and no other key is.
        #[test]
        fn deletions_leave_what_stays_and_what_was_committed(
            first in 0..20_u32,
            count in 1..4_000_u32,
            kept in prop::collection::btree_set(0..4_000_u32, 0..4),
            committed in prop::collection::btree_set(0..4_100_u32, 0..200),
        ) {
            let sealed: BTreeSet<u32> = (first..first + count).filter(|key| !kept.contains(key)).collect();
            let rows = SealedRows { keys: Arc::new(keys(sealed.iter().copied())), kept: keys(kept.iter().copied()) };
            let since = keys(committed.iter().copied());
            let deletions = rows.deletions(since.iter());
            let due: BTreeSet<u32> = &sealed - &committed;
            let mut left: BTreeSet<u32> = (0..4_100).collect();
            for deletion in deletions {
                let number = |key: &[u8]| u32::from_be_bytes(key.try_into().unwrap());
                match deletion {
                    RowDeletion::Row(key) => left.retain(|row| *row != number(key)),
                    RowDeletion::Range(first, last) => left.retain(|row| !(number(first)..=number(last)).contains(row)),
                    RowDeletion::Restore(key) => prop_assert!(left.insert(number(key)), "was not deleted"),
                }
            }
            let deleted: BTreeSet<u32> = (0..4_100).filter(|row| !left.contains(row)).collect();
            // What is in neither list is no row.
            prop_assert_eq!(&(&deleted - &due) & &(&(&sealed | &kept) | &committed), BTreeSet::new());
            prop_assert!(due.is_subset(&deleted));
        }
    }
}
