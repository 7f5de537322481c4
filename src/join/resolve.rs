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
use std::sync::Arc;

use super::block::{Joined, NO_ROW};
use super::interner::{Interner, are_equal};
use super::layout::{Dim, Via};
use super::plan::Counters;
use super::source::{Source, Table, Tables};
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
}

/// From an id to its number.
#[derive(Debug)]
enum Index {
    /// For ids in any order.
    Hashed(Interner),
    /// For ids that mostly ascend, as those of a day do: a place in the rows goes along with them. That touches memory
    /// in one direction, and far less of it than a hash would.
    Sorted {
        rows: Rows,
        /// How many bytes all ids begin with alike.
        prefix: usize,
        /// What follows, as numbers that order ids unless they are equal.
        heads: Vec<u64>,
    },
}

/// The first eight bytes of an id as a number, which orders ids unless they begin alike.
#[inline]
pub(super) fn head(id: &[u8]) -> u64 {
    match id.first_chunk() {
        Some(head) => u64::from_be_bytes(*head),
        None => id.iter().enumerate().fold(0, |head, (at, byte)| head | u64::from(*byte) << (56 - 8 * at)),
    }
}

impl Build {
    /// Takes rows for ids in any order.
    pub(super) fn hashed(rows: &Rows) -> Result<Self> {
        let mut ids = Interner::default();
        ids.reserve(rows.len());
        rows.iter().try_for_each(|(id, _)| ids.intern(id).map(drop))?;
        Self::new(rows, |_| Index::Hashed(ids))
    }

    /// Takes rows for ids that mostly ascend.
    pub(super) fn sorted(rows: Rows) -> Result<Self> {
        let prefix = match (rows.id(0), rows.id(rows.len().saturating_sub(1))) {
            (Some(first), Some(last)) => first.iter().zip(last).take_while(|(a, b)| a == b).count(),
            _ => 0,
        };
        let heads = rows.iter().map(|(id, _)| head(id.get(prefix..).unwrap_or_default())).collect();
        let codes = Self::new(&rows, |_| Index::Hashed(Interner::default()))?;
        Ok(Self { index: Index::Sorted { rows, prefix, heads }, ..codes })
    }

    fn new(rows: &Rows, index: impl FnOnce(&Rows) -> Index) -> Result<Self> {
        let mut pool = Interner::default();
        let codes = rows.iter().map(|(_, tuple)| pool.intern(tuple)).collect::<Result<_>>()?;
        Ok(Self { index: index(rows), codes, pool: Arc::new(pool) })
    }

    /// The number of the projection of an id: of a user, as it stands in keys of events. `place` is where the last one
    /// was found.
    #[inline]
    pub(super) fn find(&self, id: &[u8], place: &mut usize) -> u32 {
        let number = match &self.index {
            Index::Hashed(ids) => ids.find(id).map(|number| number as usize),
            Index::Sorted { rows, prefix, heads } => find_sorted(rows, *prefix, heads, id, place),
        };
        number.and_then(|number| self.codes.get(number)).copied().unwrap_or(NO_ROW)
    }
}

#[inline]
fn find_sorted(rows: &Rows, prefix: usize, heads: &[u64], id: &[u8], place: &mut usize) -> Option<usize> {
    let (begin, rest) = id.split_at_checked(prefix)?;
    if prefix > 0 && !rows.id(0).and_then(|first| first.get(..prefix)).is_some_and(|first| are_equal(first, begin)) {
        return None;
    }
    let wanted = head(rest);
    // Forward from the last place; from the first one when the id lies behind.
    let is_behind = *place > 0 && heads.get(*place - 1).is_none_or(|head| *head >= wanted);
    let mut low = if is_behind { 0 } else { *place };
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
    low += stride.iter().map(|head| usize::from(*head < wanted)).sum::<usize>();
    *place = low;
    // Of those that begin alike there are few, or, where ids are long, many.
    for at in low..low + ALIKE_MAX {
        if heads.get(at) != Some(&wanted) {
            return None;
        }
        if rows.id(at).is_some_and(|known| are_equal(known, id)) {
            return Some(at);
        }
    }
    let alike = heads.get(low..).unwrap_or_default().partition_point(|head| *head == wanted);
    let (mut low, mut high) = (low + ALIKE_MAX, low + alike);
    while low < high {
        let middle = low + (high - low) / 2;
        match rows.id(middle)?.cmp(id) {
            Ordering::Less => low = middle + 1,
            Ordering::Equal => return Some(middle),
            Ordering::Greater => high = middle,
        }
    }
    None
}

/// Rows that are passed at a time, and how many times before a longer way is taken in one leap.
const STRIDE: usize = 16;
const STRIDES_MAX: usize = 16;

/// Ids that begin alike and are looked at one by one.
const ALIKE_MAX: usize = 4;

/// Rows of a table, projected.
#[derive(Debug, Default)]
pub(super) struct Rows {
    bytes: Vec<u8>,
    /// Where each id and each projection ends.
    ends: Vec<(u32, u32)>,
}

/// What a slot of a build's tables takes besides id and projection, in bytes.
const OVERHEAD: usize = 2 * 16 + 12 + 8;

impl Rows {
    /// Takes a row, if it is that of a profile. Ids of users are kept as they stand in the keys of events.
    pub(super) fn push(&mut self, dim: &Dim, id: &[u8], row: &[u8]) -> Result<()> {
        let start = self.bytes.len();
        match dim.via {
            Via::User => codec::escape(&mut self.bytes, id),
            Via::Group(_) | Via::UserGroup(_) => self.bytes.extend_from_slice(id),
        }
        let between = self.bytes.len();
        if project(dim, id, row, &mut self.bytes)? {
            self.ends.push((between as u32, self.bytes.len() as u32));
        } else {
            self.bytes.truncate(start);
        }
        Ok(())
    }

    /// What a build of these rows takes, in bytes, at most.
    pub(super) fn memory(&self) -> usize {
        self.bytes.len() * 2 + self.ends.len() * OVERHEAD
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The id of a row.
    #[inline]
    fn id(&self, at: usize) -> Option<&[u8]> {
        let (between, _) = self.ends.get(at)?;
        let start = at.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |(_, end)| *end);
        self.bytes.get(start as usize..*between as usize)
    }

    fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let starts = std::iter::once(0).chain(self.ends.iter().map(|(_, end)| *end));
        starts.zip(&self.ends).map(|(start, (between, end))| {
            let part = |from: u32, to: u32| self.bytes.get(from as usize..to as usize).unwrap_or_default();
            (part(start, *between), part(*between, *end))
        })
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
                joined.codes.extend(ids.iter().map(|id| build.find(id, place)));
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
                rows.ends.push({
                    rows.bytes.extend_from_slice(id.as_bytes());
                    let between = rows.bytes.len() as u32;
                    rows.bytes.extend_from_slice(&[1, id.len() as u8]);
                    (between, rows.bytes.len() as u32)
                });
            }
            let hashed = Build::hashed(&rows).unwrap();
            let sorted = Build::sorted(rows).unwrap();
            let asked = asked.iter().map(|id| format!("{prefix}{id}")).chain(asked.iter().cloned());
            let repeated = repeats.iter().filter_map(|at| known.get(*at).cloned());
            let mut place = 0;
            for id in asked.chain(repeated).chain(known.iter().cloned()) {
                let expected = if known.contains(&id) { Some([1, id.len() as u8]) } else { None };
                for build in [&hashed, &sorted] {
                    let code = build.find(id.as_bytes(), &mut place);
                    let found = (code != NO_ROW).then(|| build.pool.get(code));
                    prop_assert_eq!(found, expected.as_ref().map(|tuple| &tuple[..]), "{}", id);
                }
            }
        }
    }
}
