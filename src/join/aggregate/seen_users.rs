//! The users of events that were counted by columns, by ordinal.

use super::column_query::ColumnQuery;
use super::selection::SelectedEvent;
use super::totals::{CellSink, CellTotals, code_of};
use crate::error::Result;
use crate::join::block::position;
use crate::segment::UserRuns;

/// A set of ordinals.
#[derive(Debug, Default)]
pub(super) struct SeenUsers(Vec<u64>);

impl SeenUsers {
    /// An empty one with room for ordinals below this number.
    pub(super) fn with_room(ordinals: u32) -> Self {
        Self(vec![0; ordinals.div_ceil(64) as usize])
    }

    #[inline]
    pub(super) fn insert(&mut self, ordinal: u32) {
        let word = ordinal as usize / 64;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        if let Some(bits) = self.0.get_mut(word) {
            *bits |= 1 << (ordinal % 64);
        }
    }

    /// Adds many.
    #[inline]
    pub(super) fn insert_all(&mut self, ordinals: &[u32]) {
        ordinals.iter().for_each(|ordinal| self.insert(*ordinal));
    }

    /// Adds the users of events of a block.
    pub(super) fn insert_users(&mut self, runs: &UserRuns, events: &[SelectedEvent]) {
        let mut events = events.iter().map(|selected| selected.event).peekable();
        let mut end = 0;
        for (ordinal, count) in runs.ordinals.iter().zip(&runs.counts) {
            end += *count;
            let mut has_events = false;
            while events.next_if(|event| *event < end).is_some() {
                has_events = true;
            }
            if has_events {
                self.insert(*ordinal);
            }
        }
    }

    /// Adds those of another set.
    pub(super) fn merge(&mut self, other: &Self) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        self.0.iter_mut().zip(&other.0).for_each(|(to, bits)| *to |= bits);
    }

    fn iter(&self) -> impl Iterator<Item = u32> {
        (0..).step_by(64).zip(&self.0).flat_map(|(first, bits)| SetBits(*bits).map(move |bit| first + bit))
    }

    /// Memory in use, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.0.capacity() * size_of::<u64>()
    }

    /// Adds them to the cells of their codes; one by one where others were counted by rows.
    pub(super) fn count(&self, query: &ColumnQuery, one_by_one: bool, sink: &mut dyn CellSink) -> Result<()> {
        if one_by_one {
            for ordinal in self.iter() {
                let ordinal = Some(ordinal).filter(|ordinal| Some(*ordinal) != query.anonymous);
                let code = ordinal.or(query.anonymous).map_or(0, |ordinal| query.code(ordinal));
                let totals = CellTotals { users: u64::from(ordinal.is_some()), ordinal, ..CellTotals::default() };
                sink.add_cell(code_of(position(code)), &[], &totals)?;
            }
            return Ok(());
        }
        let mut users = vec![None; query.keeps.len()];
        for ordinal in self.iter() {
            let user = u64::from(Some(ordinal) != query.anonymous);
            let users = users.get_mut(query.code(ordinal)).into_iter();
            users.for_each(|users: &mut Option<u64>| *users = Some(users.unwrap_or_default() + user));
        }
        for (code, users) in (0..).zip(users).filter_map(|(code, users)| Some((code, users?))) {
            let totals = CellTotals { users, ..CellTotals::default() };
            sink.add_cell(code_of(code), &[], &totals)?;
        }
        Ok(())
    }
}

/// The positions of the bits of a word that are set.
struct SetBits(u64);

impl Iterator for SetBits {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let bit = self.0.trailing_zeros();
        // Without the least bit that is set.
        self.0 &= self.0.wrapping_sub(1);
        (bit < 64).then_some(bit)
    }
}
