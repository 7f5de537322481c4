//! Runtime filter (semi-join reduction): the sorted ids whose events can pass, and a skip scan over all others.
//!
//! It is derived from predicates that touch the user side only, once the build side is known, or requested by the
//! caller. Events of other users are skipped one by one up to a threshold, and then with a seek.

use std::sync::Arc;

use super::arena::Arena;
use super::interner::are_equal;
use super::sorted::SortedIds;
use crate::error::Result;

/// The ids whose events can pass.
#[derive(Debug)]
pub(crate) struct RuntimeFilter {
    ids: SortedIds,
    /// Events of others that are skipped one by one before a seek.
    seek_threshold: u32,
}

impl RuntimeFilter {
    pub(in crate::join) fn new(ids: SortedIds, seek_threshold: u32) -> Self {
        Self { ids, seek_threshold }
    }

    /// Of ids in any order, any of which may occur more than once.
    pub(in crate::join) fn of(ids: &[String], seek_threshold: u32) -> Result<Self> {
        let mut sorted: Vec<&str> = ids.iter().map(String::as_str).collect();
        sorted.sort_unstable();
        sorted.dedup();
        let mut ids = Arena::default();
        sorted.iter().try_for_each(|id| ids.push(id.as_bytes()))?;
        Ok(Self::new(SortedIds::new(ids), seek_threshold))
    }
}

/// The position of a scan in a runtime filter.
pub(in crate::join) struct FilterCursor {
    filter: Option<Arc<RuntimeFilter>>,
    /// Where the last id was found.
    at: usize,
    /// Events that may still be skipped one by one.
    skips_left: u32,
}

/// What the filter says of an id.
pub(in crate::join) enum Probe<'f> {
    /// Its events can pass.
    Hit,
    /// They cannot: skip this one.
    Miss,
    /// They cannot: seek this id, which is the next that can, if there is one.
    Seek(Option<&'f [u8]>),
}

impl FilterCursor {
    pub(in crate::join) fn new(filter: Option<Arc<RuntimeFilter>>) -> Self {
        let skips_left = filter.as_ref().map_or(0, |filter| filter.seek_threshold);
        Self { filter, at: 0, skips_left }
    }

    #[inline]
    pub(in crate::join) fn probe(&mut self, id: &[u8]) -> Probe<'_> {
        match &self.filter {
            None => Probe::Hit,
            Some(filter) => Self::search(filter, &mut self.at, &mut self.skips_left, id),
        }
    }

    #[inline]
    fn search<'f>(filter: &'f RuntimeFilter, at: &mut usize, skips_left: &mut u32, id: &[u8]) -> Probe<'f> {
        let next = filter.ids.lower_bound(id, at);
        if next.is_some_and(|next| are_equal(next, id)) {
            *skips_left = filter.seek_threshold;
            return Probe::Hit;
        }
        if *skips_left == 0 {
            return Probe::Seek(next);
        }
        *skips_left -= 1;
        Probe::Miss
    }
}
