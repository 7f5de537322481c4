//! Typed write operations on column segments: what `log` prepares and `store` commits in one batch.

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
    /// Their keys, ascending.
    pub(crate) keys: KeyList,
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

/// A deletion of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowDeletion<'k> {
    Row(&'k [u8]),
    /// From the first key to the last, both included.
    Range(&'k [u8], &'k [u8]),
}

/// Fewer consecutive rows than this are deleted one by one: reads near many ranges are slow.
const RANGE_ROWS_MIN: usize = 1_024;

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
        let mut exceptions: Vec<&[u8]> = self.kept.iter().chain(committed).collect();
        exceptions.sort_unstable();
        let mut deletions = Vec::new();
        let mut start = 0;
        for exception in exceptions.into_iter().map(Some).chain([None]) {
            let end = exception.map_or(self.keys.len(), |key| self.keys.lower_bound(key)).max(start);
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
        deletions
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
            committed in prop::collection::btree_set(0..4_100_u32, 0..4),
        ) {
            let sealed: BTreeSet<u32> = (first..first + count).filter(|key| !kept.contains(key)).collect();
            let rows = SealedRows { keys: keys(sealed.iter().copied()), kept: keys(kept.iter().copied()) };
            let since = keys(committed.iter().copied());
            let deletions = rows.deletions(since.iter());
            prop_assert!(deletions.len() < 10 * RANGE_ROWS_MIN);
            let mut deleted = BTreeSet::new();
            for deletion in deletions {
                let number = |key: &[u8]| u32::from_be_bytes(key.try_into().unwrap());
                let range = match deletion {
                    RowDeletion::Row(key) => number(key)..=number(key),
                    RowDeletion::Range(first, last) => number(first)..=number(last),
                };
                deleted.extend(range);
            }
            prop_assert_eq!(deleted, &sealed - &committed);
        }
    }
}
