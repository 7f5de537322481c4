//! The users of events that were counted by columns, by ordinal.

use super::column_query::{ColumnQuery, code_at};
use super::selection::SelectedEvent;
use super::totals::{CellSink, CellTotals, code_of};
use crate::error::Result;
use crate::join::block::position;
use crate::join::probe::Codes;
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
        let users = match query.codes.as_ref().map(|codes| codes.codes()) {
            Some(Codes::U8(codes)) => self.by_code(codes, query.keeps.len()),
            Some(Codes::U16(codes)) => self.by_code(codes, query.keeps.len()),
            Some(Codes::U32(codes)) => self.by_code(codes, query.keeps.len()),
            None => self.by_code::<u8>(&[], query.keeps.len()),
        };
        let anonymous = query.anonymous.filter(|ordinal| self.contains(*ordinal)).map(|ordinal| query.code(ordinal));
        for (code, users) in users.into_iter().enumerate().filter(|(_, users)| *users > 0) {
            // Who has no id is no user, and yet there is a bucket.
            let users = users - u64::from(anonymous == Some(code));
            let totals = CellTotals { users, ..CellTotals::default() };
            sink.add_cell(code_of(position(code)), &[], &totals)?;
        }
        Ok(())
    }

    fn contains(&self, ordinal: u32) -> bool {
        self.0.get(ordinal as usize / 64).is_some_and(|word| word >> (ordinal % 64) & 1 == 1)
    }

    /// How many there are of each code plus one, below `count`.
    fn by_code<T: Copy>(&self, codes: &[T], count: usize) -> Vec<u64>
    where
        usize: TryFrom<T>,
    {
        // Two sets of counters, because adding to the one that was added to just before has to wait for that.
        let mut users = [vec![0_u64; count], vec![0_u64; count]];
        let [even, odd] = &mut users;
        for (first, word) in (0..).step_by(64).zip(&self.0).filter(|(_, word)| **word != 0) {
            let add = |to: &mut [u64], bit: u32| {
                // Also those that are not seen, as none: they are few.
                let seen = word >> bit & 1;
                to.get_mut(code_at(codes, first + bit)).into_iter().for_each(|users| *users += seen);
            };
            for bit in (0..64).step_by(2) {
                add(even, bit);
                add(odd, bit + 1);
            }
        }
        even.iter_mut().zip(odd.iter()).for_each(|(even, odd)| *even += odd);
        std::mem::take(even)
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
