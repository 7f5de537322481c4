//! Events counted by their users alone: a run at a time.

use super::column_query::{ColumnQuery, code_at};
use super::seen_users::SeenUsers;
use crate::codec::Read;
use crate::join::probe::Codes;
use crate::segment::RunPacks;

/// Counters of codes of at most 255.
const SMALL: usize = 256;

/// Events by the code plus one of their user, on one thread.
pub(super) struct CountedRuns {
    counts: Vec<u64>,
    /// Two sets of counters for small codes, because adding to the one that was added to just before has to wait for
    /// that.
    small: Box<[[u64; SMALL]; 2]>,
}

impl CountedRuns {
    pub(super) fn new(query: &ColumnQuery) -> Self {
        Self { counts: vec![0; query.keeps.len()], small: Box::new([[0; SMALL]; 2]) }
    }

    /// Memory in use, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.counts.capacity() * size_of::<u64>() + size_of_val(&*self.small)
    }

    /// Adds events of users of a code plus one.
    #[inline]
    pub(super) fn add(&mut self, code: u32, events: u64) {
        self.counts.get_mut(code as usize).into_iter().for_each(|count| *count += events);
    }

    /// All counts, by code plus one.
    pub(super) fn totals(&self) -> impl Iterator<Item = u64> {
        let [even, odd] = &*self.small;
        let small = even.iter().zip(odd).map(|(even, odd)| even + odd).chain(std::iter::repeat(0));
        self.counts.iter().zip(small).map(|(count, small)| count + small)
    }

    /// Counts the events of a block, and returns how many pass.
    pub(super) fn count(
        &mut self,
        query: &ColumnQuery,
        packs: &mut RunPacks<'_>,
        seen: Option<&mut SeenUsers>,
    ) -> Read<u64> {
        match query.codes.as_ref().map(|codes| codes.codes()) {
            Some(Codes::U8(codes)) => self.count_of(codes, query, packs, seen),
            Some(Codes::U16(codes)) => self.count_of(codes, query, packs, seen),
            Some(Codes::U32(codes)) => self.count_of(codes, query, packs, seen),
            None => self.count_of::<u8>(&[], query, packs, seen),
        }
    }

    fn count_of<T: Copy>(
        &mut self,
        codes: &[T],
        query: &ColumnQuery,
        packs: &mut RunPacks<'_>,
        mut seen: Option<&mut SeenUsers>,
    ) -> Read<u64>
    where
        usize: TryFrom<T>,
    {
        let is_small = size_of::<T>() == 1;
        let mut passed = 0;
        while packs.advance()? {
            if query.keeps_all {
                seen.iter_mut().for_each(|seen| seen.insert_all(packs.ordinals()));
                if !query.counts_events {
                    continue;
                }
                let (ordinals, counts) = packs.runs()?;
                if is_small {
                    self.add_small(codes, ordinals, counts);
                } else {
                    self.add_runs(codes, ordinals, counts);
                }
                continue;
            }
            if let Some(kept) = &query.kept_users {
                if kept.find(packs.ordinals()).next().is_none() {
                    continue;
                }
                let (ordinals, counts) = packs.runs()?;
                for at in kept.find(ordinals) {
                    let (Some(ordinal), Some(count)) = (ordinals.get(at), counts.get(at)) else { continue };
                    passed += u64::from(*count);
                    self.counts.get_mut(code_at(codes, *ordinal)).into_iter().for_each(|to| *to += u64::from(*count));
                    seen.iter_mut().for_each(|seen| seen.insert(*ordinal));
                }
                continue;
            }
            let (ordinals, counts) = packs.runs()?;
            for (ordinal, count) in ordinals.iter().zip(counts) {
                let code = code_at(codes, *ordinal);
                if query.keeps.get(code).copied().unwrap_or(false) {
                    passed += u64::from(*count);
                    self.counts.get_mut(code).into_iter().for_each(|total| *total += u64::from(*count));
                    seen.iter_mut().for_each(|seen| seen.insert(*ordinal));
                }
            }
        }
        Ok(if query.keeps_all { packs.events() as u64 } else { passed })
    }

    /// Adds the events of runs of users with small codes.
    #[inline]
    fn add_small<T: Copy>(&mut self, codes: &[T], ordinals: &[u32], counts: &[u32])
    where
        usize: TryFrom<T>,
    {
        let [even, odd] = &mut *self.small;
        let add = |to: &mut [u64; SMALL], ordinal: u32, count: u32| {
            if let Some(to) = to.get_mut(code_at(codes, ordinal)) {
                *to += u64::from(count);
            }
        };
        let (pairs, last) = ordinals.as_chunks::<2>();
        let (pairs_of_counts, last_count) = counts.as_chunks::<2>();
        for ([a, b], [m, n]) in pairs.iter().zip(pairs_of_counts) {
            add(even, *a, *m);
            add(odd, *b, *n);
        }
        for (ordinal, count) in last.iter().zip(last_count) {
            add(even, *ordinal, *count);
        }
    }

    #[inline]
    fn add_runs<T: Copy>(&mut self, codes: &[T], ordinals: &[u32], counts: &[u32])
    where
        usize: TryFrom<T>,
    {
        for (ordinal, count) in ordinals.iter().zip(counts) {
            if let Some(to) = self.counts.get_mut(code_at(codes, *ordinal)) {
                *to += u64::from(*count);
            }
        }
    }
}
