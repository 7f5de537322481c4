//! Sorted ids with galloping search: the index of a build side that is probed by ids that mostly ascend.
//!
//! The ids of a partition are probed by the ids of one day after the other. A cursor moves along with them, which
//! touches memory in one direction only, and less of it than a hash table would.

use std::cmp::Ordering;

use super::arena::Arena;
use super::interner::are_equal;

/// Distinct ids in ascending order.
#[derive(Debug)]
pub(in crate::join) struct SortedIds {
    ids: Arena,
    /// What all of them begin with.
    prefix: Vec<u8>,
    /// Of each id, what follows the prefix: the first eight bytes, which order ids unless they are equal, and the last.
    heads: Vec<u64>,
    tails: Vec<u64>,
}

/// The first eight bytes of an id as a number, which orders ids unless they begin alike.
#[inline]
pub(in crate::join) fn head(id: &[u8]) -> u64 {
    match id.first_chunk() {
        Some(head) => u64::from_be_bytes(*head),
        None => id.iter().enumerate().fold(0, |head, (at, byte)| head | u64::from(*byte) << (56 - 8 * at)),
    }
}

/// The last eight bytes of an id as a number, if it has more than those of its head.
#[inline]
fn tail(id: &[u8]) -> u64 {
    if id.len() <= 8 { 0 } else { id.last_chunk().map_or(0, |tail| u64::from_be_bytes(*tail)) }
}

impl SortedIds {
    /// Takes ids that ascend.
    pub(in crate::join) fn new(ids: Arena) -> Self {
        let ends = ids.get(0).zip(ids.get(ids.len().saturating_sub(1)));
        let prefix: Vec<u8> = ends.map_or_else(Vec::new, |(first, last)| {
            first.iter().zip(last).take_while(|(a, b)| a == b).map(|(byte, _)| *byte).collect()
        });
        // All begin with what the first and the last have in common.
        let rests = || ids.iter().map(|id| id.get(prefix.len()..).unwrap_or_default());
        let (heads, tails) = (rests().map(head).collect(), rests().map(tail).collect());
        Self { ids, prefix, heads, tails }
    }

    pub(in crate::join) fn get(&self, at: usize) -> Option<&[u8]> {
        self.ids.get(at)
    }

    /// The number of the first id with the same head as this one. The search starts at a cursor, or at the first id
    /// when the cursor is already past this one.
    #[inline]
    pub(in crate::join) fn first_alike(&self, id: &[u8], cursor: &mut usize) -> Option<usize> {
        let (begin, rest) = id.split_at_checked(self.prefix.len())?;
        if !are_equal(begin, &self.prefix) {
            return None;
        }
        let target = head(rest);
        *cursor = self.first_at(target, *cursor);
        (self.heads.get(*cursor) == Some(&target)).then_some(*cursor)
    }

    /// The number of the first head that is not less than a target.
    #[inline]
    fn first_at(&self, target: u64, cursor: usize) -> usize {
        let heads = self.heads.as_slice();
        let is_past = cursor > 0 && heads.get(cursor - 1).is_none_or(|head| *head >= target);
        let mut low = if is_past { 0 } else { cursor };
        let mut strides = 0;
        while let Some(last) = heads.get(low + STRIDE - 1)
            && *last < target
        {
            low += STRIDE;
            strides += 1;
            if strides == STRIDES_MAX {
                low += heads.get(low..).unwrap_or_default().partition_point(|head| *head < target);
                break;
            }
        }
        // Counting is faster than a binary search over so few, whose branches cannot be predicted.
        let stride = heads.get(low..heads.len().min(low + STRIDE)).unwrap_or_default();
        low + stride.iter().map(|head| usize::from(*head < target)).sum::<usize>()
    }

    /// The first id that is not less than this one, if there is one. The cursor is as above.
    #[inline]
    pub(in crate::join) fn lower_bound(&self, id: &[u8], cursor: &mut usize) -> Option<&[u8]> {
        let Some(rest) = id.strip_prefix(self.prefix.as_slice()) else {
            return if id < self.prefix.as_slice() { self.ids.get(0) } else { None };
        };
        let target = head(rest);
        *cursor = self.first_at(target, *cursor);
        let alike = self.heads.get(*cursor..)?.partition_point(|head| *head == target);
        let (mut low, mut high) = (*cursor, *cursor + alike);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.ids.get(middle)? < id {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        self.ids.get(low)
    }

    /// The number of an id among those with the same head, of which the first is given.
    #[inline]
    pub(in crate::join) fn find_from(&self, first: usize, id: &[u8]) -> Option<usize> {
        let rest = id.get(self.prefix.len()..)?;
        let is_equal = self.ids.len_of(first)? == id.len() && self.tails.get(first) == Some(&tail(rest));
        // Head and tail cover the whole of a short id, and its bytes are rarely in a CPU cache.
        if is_equal && (rest.len() <= 16 || self.ids.get(first)? == id) {
            return Some(first);
        }
        // There are few with this head, or, where ids are long, many.
        let alike = self.heads.get(first..)?;
        let target = alike.first()?;
        let (mut low, mut high) = (first, first + alike.partition_point(|head| head == target));
        while low < high {
            let middle = low + (high - low) / 2;
            match self.ids.get(middle)?.cmp(id) {
                Ordering::Less => low = middle + 1,
                Ordering::Equal => return Some(middle),
                Ordering::Greater => high = middle,
            }
        }
        None
    }
}

/// Ids that are compared at a time, and how many times before a binary search over the rest takes over.
const STRIDE: usize = 16;
const STRIDES_MAX: usize = 16;
