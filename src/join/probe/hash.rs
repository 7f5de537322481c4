//! Hash join: the build side is a table, or a partition of it by ranges of ids, in memory, and events probe it.
//!
//! A table that is held as a whole has a hash table as its index. A partition is probed by ids that ascend day by day,
//! so its index is the sorted ids themselves.

use std::sync::Arc;

use super::arena::Arena;
use super::build_rows::BuildRows;
use super::dictionary::{Dictionary, NO_ROW};
use super::interner::Interner;
use super::runtime_filter::RuntimeFilter;
use super::sorted::SortedIds;
use crate::error::Result;
use crate::join::cancel::Interrupt;
use crate::join::layout::Dim;
use crate::join::stats::Counters;
use crate::join::tables::ProfileTables;

/// The build side: for each id of a table, or of a partition of it, a dictionary code.
#[derive(Debug)]
pub(in crate::join) struct BuildSide {
    index: Index,
    /// By the number of the id.
    codes: Vec<u32>,
    pub(in crate::join) dictionary: Arc<Dictionary>,
    /// The ids whose events can pass the predicates, when those are few.
    pub(in crate::join) filter: Option<Arc<RuntimeFilter>>,
}

/// From an id to its number.
#[derive(Debug)]
enum Index {
    /// For ids in any order.
    Hashed(Interner),
    /// For ids that mostly ascend.
    Sorted(SortedIds),
}

/// A runtime filter is derived when it keeps at most one in this many rows.
const FILTER_SHARE: usize = 4;

impl BuildSide {
    /// Builds a hash table, for probes in any order.
    pub(in crate::join) fn hashed(rows: BuildRows) -> Self {
        let BuildRows { ids, codes, dictionary, .. } = rows;
        Self { index: Index::Hashed(Interner::of(ids)), codes, dictionary: dictionary.finish(), filter: None }
    }

    /// Takes rows as they are, sorted by id, for probes that mostly ascend.
    pub(in crate::join) fn sorted(rows: BuildRows) -> Self {
        let BuildRows { ids, codes, dictionary, .. } = rows;
        Self { index: Index::Sorted(SortedIds::new(ids)), codes, dictionary: dictionary.finish(), filter: None }
    }

    /// Derives a runtime filter from a predicate on the rows of this table: the ids of the rows that it keeps, unless
    /// those are more than a few. `threshold` says how many events to skip one by one for that many ids.
    pub(in crate::join) fn derive_filter(
        &mut self,
        keeps: impl Fn(&Dictionary, u32) -> bool,
        threshold: impl Fn(f64) -> u32,
    ) -> Result<()> {
        let kept: Vec<bool> = self.dictionary.codes().map(|code| keeps(&self.dictionary, code)).collect();
        // Every code is one of the dictionary.
        let is_kept = |code: &u32| kept.get(*code as usize).copied().unwrap_or(true);
        let count = self.codes.iter().filter(|code| is_kept(code)).count();
        if count > self.codes.len() / FILTER_SHARE {
            return Ok(());
        }
        let mut ids = Arena::default();
        for (number, _) in (0_u32..).zip(&self.codes).filter(|(_, code)| is_kept(code)) {
            let id = match &self.index {
                Index::Hashed(known) => Some(known.get(number)),
                Index::Sorted(known) => known.get(number as usize),
            };
            // There are as many ids as codes.
            ids.push(id.unwrap_or_default())?;
        }
        let share = count as f64 / self.codes.len().max(1) as f64;
        self.filter = Some(Arc::new(RuntimeFilter::new(SortedIds::new(ids), threshold(share))));
        Ok(())
    }

    /// Appends the dictionary codes of ids. `cursor` is where the last one was found.
    #[inline]
    pub(in crate::join) fn probe(&self, ids: &Arena, cursor: &mut usize, codes: &mut Vec<u32>) {
        let code = |number: usize| self.codes.get(number).copied().unwrap_or(NO_ROW);
        match &self.index {
            Index::Hashed(known) => {
                codes.extend(ids.iter().map(|id| known.find(id).map_or(NO_ROW, |number| code(number as usize))));
            }
            Index::Sorted(sorted) => {
                // An arena has fewer ids than 32 bits can count, for none is empty.
                // All are located first and compared afterwards, so that cache misses of the comparisons overlap.
                let first = codes.len();
                codes.extend(
                    ids.iter().map(|id| {
                        sorted.first_alike(id, cursor).map_or(NO_ROW, |at| u32::try_from(at).unwrap_or(NO_ROW))
                    }),
                );
                for (found, id) in codes.get_mut(first..).into_iter().flatten().zip(ids.iter()) {
                    if *found != NO_ROW {
                        *found = sorted.find_from(*found as usize, id).map_or(NO_ROW, code);
                    }
                }
            }
        }
    }
}

/// Reads a whole table for the build side, unless its rows take more memory than this many bytes.
pub(in crate::join) fn read_rows(
    tables: &dyn ProfileTables,
    dim: &Dim,
    memory_bytes: usize,
    counters: &Counters,
    interrupt: &Interrupt,
) -> Result<Option<BuildRows>> {
    let mut cursor = tables.rows(&dim.table, &[], None)?;
    let mut rows = BuildRows::new(dim);
    let mut read = 0;
    while let Some((id, row)) = cursor.next()? {
        rows.push(dim, id, row)?;
        read += 1;
        interrupt.check_each(read)?;
        if rows.memory_bytes() > memory_bytes {
            counters.rows_read.add(read);
            return Ok(None);
        }
    }
    counters.rows_read.add(read);
    Ok(Some(rows))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;
    use crate::model::Value;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_id_is_found_in_any_order(
            prefix in "[a-z]{0,12}",
            known in prop::collection::btree_set("(cccccccc)?[ab]{0,12}", 0..60),
            probed in prop::collection::vec("[a-c]{0,12}", 0..60),
            repeats in prop::collection::vec(0..60_usize, 0..60),
        ) {
            let known: Vec<String> = known.into_iter().map(|id| format!("{prefix}{id}")).collect();
            let rows = || {
                let mut rows = BuildRows::with_properties(1);
                for id in &known {
                    let mut tuple = Vec::new();
                    codec::project_value(&Value::from(id.len() as u64), &mut tuple);
                    rows.push_tuple(id.as_bytes(), &tuple).unwrap();
                }
                rows
            };
            let (hashed, sorted) = (BuildSide::hashed(rows()), BuildSide::sorted(rows()));
            let probed = probed.iter().map(|id| format!("{prefix}{id}")).chain(probed.iter().cloned());
            let repeated = repeats.iter().filter_map(|at| known.get(*at).cloned());
            let mut cursor = 0;
            let probed: Vec<String> = probed.chain(repeated).chain(known.iter().cloned()).collect();
            for (build, chunk) in [(&hashed, 64), (&sorted, 1), (&sorted, 5), (&sorted, 64)] {
                let mut codes = Vec::new();
                for chunk in probed.chunks(chunk) {
                    let mut ids = Arena::default();
                    chunk.iter().for_each(|id| ids.push(id.as_bytes()).unwrap());
                    build.probe(&ids, &mut cursor, &mut codes);
                }
                prop_assert_eq!(codes.len(), probed.len());
                for (id, code) in probed.iter().zip(codes) {
                    let expected = known.contains(id).then(|| Value::from(id.len() as u64));
                    let found = build.dictionary.value(code, 0).map(|value| value.decode().unwrap());
                    prop_assert_eq!(found, expected, "{}", id);
                }
            }
        }
    }
}
