//! Typed write operations on column segments: what `log` prepares and `store` commits in one batch.

/// Writes to the column families of segments, and the rows that they replace. One batch.
#[derive(Debug, Default)]
pub(crate) struct SegmentEdit {
    /// Puts, and deletions where there is no value.
    pub(crate) writes: Vec<SegmentWrite>,
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

/// Rows whose events are in a block now.
#[derive(Debug, Default)]
pub(crate) struct SealedRows {
    /// Their keys, ascending.
    pub(crate) keys: Vec<Vec<u8>>,
    /// The keys of rows between them that stay, ascending.
    pub(crate) kept: Vec<Vec<u8>>,
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
    /// neither of those that stay nor of those that were committed since. The keys of the latter ascend.
    pub(crate) fn deletions<'k>(&'k self, committed: impl Iterator<Item = &'k [u8]>) -> Vec<RowDeletion<'k>> {
        let mut exceptions: Vec<&[u8]> = self.kept.iter().map(Vec::as_slice).chain(committed).collect();
        exceptions.sort_unstable();
        let mut deletions = Vec::new();
        let mut keys = self.keys.as_slice();
        for end in exceptions.into_iter().map(Some).chain([None]) {
            let count = end.map_or(keys.len(), |end| keys.partition_point(|key| key.as_slice() < end));
            let (run, rest) = keys.split_at(count);
            match run {
                [first, .., last] if run.len() >= RANGE_ROWS_MIN => deletions.push(RowDeletion::Range(first, last)),
                run => deletions.extend(run.iter().map(|key| RowDeletion::Row(key))),
            }
            // A row that was committed again is another one.
            let is_exception = |key: &Vec<u8>| end == Some(key.as_slice());
            keys = if rest.first().is_some_and(is_exception) { rest.get(1..).unwrap_or_default() } else { rest };
        }
        deletions
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn keys(numbers: impl IntoIterator<Item = u32>) -> Vec<Vec<u8>> {
        numbers.into_iter().map(|number| number.to_be_bytes().to_vec()).collect()
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
            let deletions = rows.deletions(since.iter().map(Vec::as_slice));
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
