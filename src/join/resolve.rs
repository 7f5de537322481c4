//! From ids to projections of rows: the three ways.
//!
//! | strategy | how | good for |
//! |---|---|---|
//! | lookup | the ids of a block at once, by key | few events, or few of many profiles |
//! | merge | the table beside the events, both sorted by id, day by day | one or a few days, most profiles, any size |
//! | hash | the table, or the part of it between two ids, read once into memory | many days |

use std::borrow::Cow;
use std::cmp::Ordering;
use std::sync::Arc;

use super::block::{Joined, NO_ROW};
use super::interner::Interner;
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

/// The part of a table between two ids, in memory. Ids of users stand there as they do in keys of events.
#[derive(Debug, Default)]
pub(super) struct Build {
    ids: Interner,
    /// By the number of the id, the number of the projection.
    codes: Vec<u32>,
    pub(super) pool: Arc<Interner>,
}

impl Build {
    /// Takes rows that were read: length and bytes of the id, length and bytes of the projection.
    pub(super) fn new(rows: &Rows) -> Result<Self> {
        let mut build = Self::default();
        let mut pool = Interner::default();
        build.ids.reserve(rows.ends.len());
        build.codes.reserve(rows.ends.len());
        for (id, tuple) in rows.iter() {
            build.ids.intern(id)?;
            build.codes.push(pool.intern(tuple)?);
        }
        build.pool = Arc::new(pool);
        Ok(build)
    }

    /// The number of the projection of an id: of a user, as it stands in keys of events.
    #[inline]
    pub(super) fn find(&self, id: &[u8]) -> u32 {
        self.ids.find(id).and_then(|number| self.codes.get(number as usize)).copied().unwrap_or(NO_ROW)
    }
}

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
    Hash(Arc<Build>),
    Merge(Cursor),
}

impl Resolver {
    /// The table in memory, if that is where it is.
    pub(super) fn build(&self) -> Option<&Arc<Build>> {
        if let Self::Hash(build) = self { Some(build) } else { None }
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
            Self::Hash(build) => {
                joined.pool = Arc::clone(&build.pool);
                joined.codes.extend(ids.iter().map(|id| build.find(id)));
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
