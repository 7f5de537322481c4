//! Projection of rows: what is kept of the rows of a table, before they become a build side.

use super::arena::Arena;
use crate::codec;
use crate::error::{Error, Result};
use crate::join::layout::Dim;
use crate::join::tables::JoinTable;
use crate::model::Value;

/// Appends the projection of a row, unless it is that of an absent profile.
pub(super) fn project(dim: &Dim, id: &[u8], row: &[u8], out: &mut Vec<u8>) -> Result<bool> {
    let projected = match &dim.table {
        JoinTable::Profiles(_) => codec::project_row(row, &dim.names, out),
        JoinTable::FirstEvents(_) => codec::decode_stamp(row).map(|time| {
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

/// Rows of a table, projected, before they become a build side.
#[derive(Debug, Default)]
pub(in crate::join) struct BuildRows {
    pub(super) ids: Arena,
    pub(super) tuples: Arena,
    /// How many properties a tuple has.
    pub(super) properties: usize,
}

/// What a row takes in a build side besides its id and its projection, in bytes.
const ROW_OVERHEAD: usize = 2 * 16 + 12 + 8;

impl BuildRows {
    pub(in crate::join) fn new(dim: &Dim) -> Self {
        Self { properties: dim.names.len(), ..Self::default() }
    }

    /// Takes a row, if it is that of a profile that exists.
    pub(in crate::join) fn push(&mut self, dim: &Dim, id: &[u8], row: &[u8]) -> Result<()> {
        if !project(dim, id, row, self.tuples.buffer())? {
            self.tuples.discard();
            return Ok(());
        }
        self.tuples.finish()?;
        self.ids.push(id)
    }

    /// Upper bound of what a build side of these rows takes, in bytes.
    pub(in crate::join) fn memory_bytes(&self) -> usize {
        (self.ids.size_bytes() + self.tuples.size_bytes()) * 2 + self.len() * ROW_OVERHEAD
    }

    pub(in crate::join) fn len(&self) -> usize {
        self.ids.len()
    }
}
