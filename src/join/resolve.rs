//! From ids to projections of rows: the three ways.
//!
//! | strategy | how | good for |
//! |---|---|---|
//! | lookup | the ids of a block at once, by key | few events, or few of many profiles |
//! | merge | the table beside the events, both sorted by id, day by day | one or a few days, most profiles, any size |
//! | hash | the table, or the part of it between two ids, read once into memory | many days |
//!
//! A part is searched as what it is, a sorted run beside the sorted ids of a day, rather than hashed.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

use super::block::{Joined, NO_ROW};
use super::interner::{Interner, are_equal};
use super::layout::{Dim, Via};
use super::source::{Source, Table, Tables};
use super::stats::Counters;
use crate::codec;
use crate::error::{Error, Result};
use crate::model::Value;

/// Appends the projection of a row, unless it is that of an absent profile.
pub(super) fn project(dim: &Dim, id: &[u8], row: &[u8], out: &mut Vec<u8>) -> Result<bool> {
    let projected = match &dim.table {
        Table::Profiles(_) => codec::project_row(row, &dim.names, out),
        Table::FirstEvents(_) => codec::decode_stamp(row).map(|time| {
            // It is the only property in there.
            codec::project_value(&Value::from(time.to_string()), out);
            true
        }),
    };
    projected.map_err(|error| {
        let (table, id) = (dim.table.kind(), String::from_utf8_lossy(id));
        Error::new(error.kind(), format!("{} table={table} id={id:?}", error.message()))
    })
}

/// A table, or the part of one between two ids, in memory. Ids of users stand there as they do in keys of events.
#[derive(Debug)]
pub(super) struct Build {
    index: Index,
    /// By the number of the id, the number of the projection.
    codes: Vec<u32>,
    pub(super) pool: Arc<Interner>,
    /// The ids that events are kept of, when those are few; other events need not be looked at.
    wanted: Option<Wanted>,
}

/// From an id to its number.
#[derive(Debug)]
enum Index {
    /// For ids in any order.
    Hashed(Interner),
    /// For ids that mostly ascend, as those of a day do.
    Sorted(SortedIds),
}

impl Build {
    /// Takes rows for ids in any order.
    pub(super) fn hashed(rows: &Rows) -> Result<Self> {
        let mut ids = Interner::default();
        ids.reserve(rows.len());
        rows.ids.iter().try_for_each(|id| ids.intern(id).map(drop))?;
        Self::new(&rows.tuples, Index::Hashed(ids))
    }

    /// Takes rows for ids that mostly ascend.
    pub(super) fn sorted(rows: Rows) -> Result<Self> {
        Self::new(&rows.tuples, Index::Sorted(SortedIds::new(rows.ids)))
    }

    fn new(tuples: &Strings, index: Index) -> Result<Self> {
        let mut pool = Interner::default();
        let codes = tuples.iter().map(|tuple| pool.intern(tuple)).collect::<Result<_>>()?;
        Ok(Self { index, codes, pool: Arc::new(pool), wanted: None })
    }

    /// Notes the ids of the projections that are wanted, unless those are more than a few, and how many events to pass
    /// for their share of all. For ids that ascend.
    pub(super) fn narrow(&mut self, wants: impl Fn(&[u8]) -> bool, patience: impl Fn(f64) -> u32) {
        let wanted: Vec<bool> = (0..self.pool.len() as u32).map(|code| wants(self.pool.get(code))).collect();
        let is_wanted = |code: &u32| wanted.get(*code as usize).copied().unwrap_or(true);
        let count = self.codes.iter().filter(|code| is_wanted(code)).count();
        if count > self.codes.len() / WANTED_SHARE {
            return;
        }
        let mut ids = Strings::default();
        for (number, _) in self.codes.iter().enumerate().filter(|(_, code)| is_wanted(code)) {
            let id = match &self.index {
                Index::Hashed(known) => Some(known.get(number as u32)),
                Index::Sorted(known) => known.ids.get(number),
            };
            ids.bytes.extend_from_slice(id.unwrap_or_default());
            ids.end();
        }
        let patience = patience(count as f64 / self.codes.len().max(1) as f64);
        self.wanted = Some(Wanted { ids: SortedIds::new(ids), patience });
    }

    /// Appends the numbers of the projections of ids: of users, as they stand in keys of events. `place` is where the
    /// last one was found.
    #[inline]
    pub(super) fn find_all<'i>(
        &self,
        ids: impl Iterator<Item = &'i [u8]> + Clone,
        place: &mut usize,
        found: &mut Vec<u32>,
    ) {
        let code = |number: usize| self.codes.get(number).copied().unwrap_or(NO_ROW);
        match &self.index {
            Index::Hashed(known) => {
                found.extend(ids.map(|id| known.find(id).map_or(NO_ROW, |number| code(number as usize))));
            }
            Index::Sorted(sorted) => {
                // Placed first and compared afterwards, so that no comparison waits for another: what they look at is
                // rarely in a cache.
                let first = found.len();
                found.extend(ids.clone().map(|id| sorted.first_alike(id, place).map_or(NO_ROW, |at| at as u32)));
                for (found, id) in found.get_mut(first..).into_iter().flatten().zip(ids) {
                    if *found != NO_ROW {
                        *found = sorted.find_from(*found as usize, id).map_or(NO_ROW, code);
                    }
                }
            }
        }
    }
}

/// The few ids that events are kept of.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) ids: SortedIds,
    /// Events of others that are passed one by one before the next one of these is sought.
    pub(super) patience: u32,
}

/// One in so many rows may be wanted for those to be few.
const WANTED_SHARE: usize = 4;

/// Ids in their order. A place in them goes along with ids that ascend as well, which touches memory in one direction,
/// and far less of it than a hash would.
#[derive(Debug)]
pub(super) struct SortedIds {
    ids: Strings,
    /// What all of them begin with.
    prefix: Vec<u8>,
    /// How each goes on, as a number that orders ids unless they are equal; and how each ends.
    heads: Vec<u64>,
    tails: Vec<u64>,
}

/// The first eight bytes of an id as a number, which orders ids unless they begin alike.
#[inline]
pub(super) fn head(id: &[u8]) -> u64 {
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
    fn new(ids: Strings) -> Self {
        let ends = ids.get(0).zip(ids.get(ids.ends.len().saturating_sub(1)));
        let prefix: Vec<u8> = ends.map_or_else(Vec::new, |(first, last)| {
            first.iter().zip(last).take_while(|(a, b)| a == b).map(|(byte, _)| *byte).collect()
        });
        let rests = || ids.iter().map(|id| id.get(prefix.len()..).unwrap_or_default());
        let (heads, tails) = (rests().map(head).collect(), rests().map(tail).collect());
        Self { ids, prefix, heads, tails }
    }

    /// The number of the first id that begins as this one does: forward from a place, or from the first when the id
    /// lies behind.
    #[inline]
    fn first_alike(&self, id: &[u8], place: &mut usize) -> Option<usize> {
        let (begin, rest) = id.split_at_checked(self.prefix.len())?;
        if !are_equal(begin, &self.prefix) {
            return None;
        }
        let wanted = head(rest);
        *place = self.first_at(wanted, *place);
        (self.heads.get(*place) == Some(&wanted)).then_some(*place)
    }

    /// The number of the first head that is not before this one: forward from a place, or from the first when it lies
    /// behind.
    #[inline]
    fn first_at(&self, wanted: u64, place: usize) -> usize {
        let heads = self.heads.as_slice();
        let is_behind = place > 0 && heads.get(place - 1).is_none_or(|head| *head >= wanted);
        let mut low = if is_behind { 0 } else { place };
        let mut strides = 0;
        while let Some(last) = heads.get(low + STRIDE - 1)
            && *last < wanted
        {
            low += STRIDE;
            strides += 1;
            if strides == STRIDES_MAX {
                low += heads.get(low..).unwrap_or_default().partition_point(|head| *head < wanted);
                break;
            }
        }
        // To count is faster than to guess, step by step, where to go.
        let stride = heads.get(low..heads.len().min(low + STRIDE)).unwrap_or_default();
        low + stride.iter().map(|head| usize::from(*head < wanted)).sum::<usize>()
    }

    /// The first id that is not before this one, if there is one. `place` is as above.
    #[inline]
    pub(super) fn not_before(&self, id: &[u8], place: &mut usize) -> Option<&[u8]> {
        let Some(rest) = id.strip_prefix(self.prefix.as_slice()) else {
            return if id < self.prefix.as_slice() { self.ids.get(0) } else { None };
        };
        let wanted = head(rest);
        *place = self.first_at(wanted, *place);
        let alike = self.heads.get(*place..)?.partition_point(|head| *head == wanted);
        let (mut low, mut high) = (*place, *place + alike);
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

    /// The number of an id among those that begin alike, of which the first is known.
    #[inline]
    fn find_from(&self, first: usize, id: &[u8]) -> Option<usize> {
        let rest = id.get(self.prefix.len()..)?;
        let range = self.ids.range(first)?;
        // Head and tail are all of a short one, and its bytes are far away.
        let is_equal = range.len() == id.len() && self.tails.get(first) == Some(&tail(rest));
        if is_equal && (rest.len() <= 16 || self.ids.bytes.get(range)? == id) {
            return Some(first);
        }
        // There are few, or, where ids are long, many.
        let alike = self.heads.get(first..)?;
        let wanted = alike.first()?;
        let (mut low, mut high) = (first, first + alike.partition_point(|head| head == wanted));
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

/// Rows that are passed at a time, and how many times before a longer way is taken in one leap.
const STRIDE: usize = 16;
const STRIDES_MAX: usize = 16;

/// Byte strings behind each other.
#[derive(Debug, Default)]
struct Strings {
    bytes: Vec<u8>,
    /// Where each of them ends.
    ends: Vec<u32>,
}

impl Strings {
    /// Makes a string of what was appended to the bytes since the last one.
    fn end(&mut self) {
        self.ends.push(self.bytes.len() as u32);
    }

    #[inline]
    fn range(&self, at: usize) -> Option<Range<usize>> {
        let end = *self.ends.get(at)? as usize;
        Some(at.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |start| *start as usize)..end)
    }

    #[inline]
    fn get(&self, at: usize) -> Option<&[u8]> {
        self.bytes.get(self.range(at)?)
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(&0).chain(&self.ends);
        starts.zip(&self.ends).map(|(start, end)| self.bytes.get(*start as usize..*end as usize).unwrap_or_default())
    }
}

/// Rows of a table, projected.
#[derive(Debug, Default)]
pub(super) struct Rows {
    ids: Strings,
    tuples: Strings,
}

/// What a slot of a build's tables takes besides id and projection, in bytes.
const OVERHEAD: usize = 2 * 16 + 12 + 8;

impl Rows {
    /// Takes a row, if it is that of a profile. Ids of users are kept as they stand in the keys of events.
    pub(super) fn push(&mut self, dim: &Dim, id: &[u8], row: &[u8]) -> Result<()> {
        let start = self.tuples.bytes.len();
        if !project(dim, id, row, &mut self.tuples.bytes)? {
            self.tuples.bytes.truncate(start);
            return Ok(());
        }
        self.tuples.end();
        match dim.via {
            Via::User => codec::escape(&mut self.ids.bytes, id),
            Via::Group(_) | Via::UserGroup(_) => self.ids.bytes.extend_from_slice(id),
        }
        self.ids.end();
        Ok(())
    }

    /// What a build of these rows takes, in bytes, at most.
    pub(super) fn memory(&self) -> usize {
        (self.ids.bytes.len() + self.tuples.bytes.len()) * 2 + self.len() * OVERHEAD
    }

    pub(super) fn len(&self) -> usize {
        self.ids.ends.len()
    }
}

/// Reads the rows of a table between two ids, or gives up when they take more memory than allowed.
pub(super) fn read_rows(
    tables: &dyn Tables,
    dim: &Dim,
    range: (&[u8], Option<&[u8]>),
    memory: usize,
    counters: &Counters,
) -> Result<Option<Rows>> {
    let mut source = tables.rows(&dim.table, range.0, range.1)?;
    let mut rows = Rows::default();
    let mut read = 0;
    while let Some((id, row)) = source.next()? {
        rows.push(dim, id, row)?;
        read += 1;
        if rows.memory() > memory {
            counters.rows_read.add(read);
            return Ok(None);
        }
    }
    counters.rows_read.add(read);
    Ok(Some(rows))
}

/// How a worker finds the rows of one table.
pub(super) enum Resolver {
    Lookup,
    /// In memory, and where the last one was found.
    Hash(Arc<Build>, usize),
    Merge(Cursor),
}

impl Resolver {
    /// The ids that are wanted, if they are few and known.
    pub(super) fn wanted(&self) -> Option<&Wanted> {
        match self {
            Self::Hash(build, _) => build.wanted.as_ref(),
            _ => None,
        }
    }

    /// Appends one number for each of `ids` to the joined codes. For a merge, ids that ascend are fast.
    pub(super) fn resolve(
        &mut self,
        tables: &dyn Tables,
        dim: &Dim,
        ids: &[Cow<'_, [u8]>],
        joined: &mut Joined,
        counters: &Counters,
    ) -> Result<()> {
        match self {
            Self::Hash(build, place) => {
                joined.pool = Arc::clone(&build.pool);
                build.find_all(ids.iter().map(|id| &**id), place, &mut joined.codes);
            }
            Self::Lookup => {
                let wanted: Vec<&[u8]> = ids.iter().map(|id| &**id).filter(|id| !id.is_empty()).collect();
                let mut pool = Interner::default();
                let mut tuple = Vec::new();
                let mut found = Vec::with_capacity(wanted.len());
                tables.lookup(&dim.table, &wanted, &mut |at, row| {
                    tuple.clear();
                    let id = wanted.get(at).copied().unwrap_or_default();
                    let there = row.map_or(Ok(false), |row| project(dim, id, row, &mut tuple))?;
                    found.push(if there { pool.intern(&tuple)? } else { NO_ROW });
                    Ok(())
                })?;
                counters.lookups.add(wanted.len() as u64);
                let mut found = found.into_iter();
                let codes = ids.iter().map(|id| if id.is_empty() { None } else { found.next() });
                joined.codes.extend(codes.map(|code| code.unwrap_or(NO_ROW)));
                joined.pool = Arc::new(pool);
            }
            Self::Merge(cursor) => {
                let mut pool = Interner::default();
                let mut tuple = Vec::new();
                for id in ids {
                    tuple.clear();
                    let row = if id.is_empty() { None } else { cursor.find(tables, dim, id, counters)? };
                    let there = row.map_or(Ok(false), |row| project(dim, id, row, &mut tuple))?;
                    joined.codes.push(if there { pool.intern(&tuple)? } else { NO_ROW });
                }
                joined.pool = Arc::new(pool);
            }
        }
        Ok(())
    }
}

/// After so many steps that did not get there, a cursor seeks.
const STEPS_BEFORE_SEEK: u32 = 16;

/// A cursor over a table that follows the events of a day.
#[derive(Default)]
pub(super) struct Cursor {
    rows: Option<Box<dyn Source>>,
    /// The id that was asked for last.
    last: Vec<u8>,
    /// The row under the cursor, if it stands on one.
    on: bool,
    key: Vec<u8>,
    row: Vec<u8>,
}

impl Cursor {
    fn find(&mut self, tables: &dyn Tables, dim: &Dim, id: &[u8], counters: &Counters) -> Result<Option<&[u8]>> {
        if self.rows.is_none() || id < self.last.as_slice() {
            // Another day begins.
            self.rows = Some(tables.rows(&dim.table, id, None)?);
            self.on = false;
            self.key.clear();
            counters.passes.add(1);
        }
        self.last.clear();
        self.last.extend_from_slice(id);
        let mut steps = 0;
        loop {
            if self.on {
                match self.key.as_slice().cmp(id) {
                    Ordering::Less => self.on = false,
                    Ordering::Equal => return Ok(Some(&self.row)),
                    Ordering::Greater => return Ok(None),
                }
            }
            let Some(rows) = &mut self.rows else { return Ok(None) };
            if steps == STEPS_BEFORE_SEEK {
                rows.seek(id)?;
                counters.seeks.add(1);
            }
            steps += 1;
            let Some((key, row)) = rows.next()? else {
                // The end is behind every id that comes before the next day.
                self.key.clear();
                return Ok(None);
            };
            counters.rows_read.add(1);
            self.key.clear();
            self.key.extend_from_slice(key);
            self.row.clear();
            self.row.extend_from_slice(row);
            self.on = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_id_is_found_in_any_order(
            prefix in "[a-z]{0,12}",
            known in prop::collection::btree_set("(cccccccc)?[ab]{0,12}", 0..60),
            asked in prop::collection::vec("[a-c]{0,12}", 0..60),
            repeats in prop::collection::vec(0..60_usize, 0..60),
        ) {
            let known: Vec<String> = known.into_iter().map(|id| format!("{prefix}{id}")).collect();
            let mut rows = Rows::default();
            for id in &known {
                rows.ids.bytes.extend_from_slice(id.as_bytes());
                rows.ids.end();
                rows.tuples.bytes.extend_from_slice(&[1, id.len() as u8]);
                rows.tuples.end();
            }
            let hashed = Build::hashed(&rows).unwrap();
            let sorted = Build::sorted(rows).unwrap();
            let asked = asked.iter().map(|id| format!("{prefix}{id}")).chain(asked.iter().cloned());
            let repeated = repeats.iter().filter_map(|at| known.get(*at).cloned());
            let mut place = 0;
            let asked: Vec<String> = asked.chain(repeated).chain(known.iter().cloned()).collect();
            for (build, chunk) in [(&hashed, 64), (&sorted, 1), (&sorted, 5), (&sorted, 64)] {
                let mut codes = Vec::new();
                for ids in asked.chunks(chunk) {
                    build.find_all(ids.iter().map(String::as_bytes), &mut place, &mut codes);
                }
                prop_assert_eq!(codes.len(), asked.len());
                for (id, code) in asked.iter().zip(codes) {
                    let expected = if known.contains(id) { Some([1, id.len() as u8]) } else { None };
                    let found = (code != NO_ROW).then(|| build.pool.get(code));
                    prop_assert_eq!(found, expected.as_ref().map(|tuple| &tuple[..]), "{}", id);
                }
            }
        }
    }
}
