//! Projection of rows: what is kept of the rows of a table, before they become a build side.

use super::arena::Arena;
use super::dictionary::DictionaryBuilder;
use crate::codec;
use crate::error::{Error, Result};
use crate::join::layout::Dim;
use crate::join::tables::JoinTable;
use crate::model::Value;

/// Appends the projection of a row, unless it is that of an absent profile.
pub(in crate::join) fn project(dim: &Dim, id: &[u8], row: &[u8], out: &mut Vec<u8>) -> Result<bool> {
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

/// Rows of a table, projected and dictionary-encoded, before they become a build side.
#[derive(Debug)]
pub(in crate::join) struct BuildRows {
    pub(super) ids: Arena,
    /// The dictionary code of each id.
    pub(super) codes: Vec<u32>,
    pub(super) dictionary: DictionaryBuilder,
    tuple: Vec<u8>,
}

/// What an id takes in an index, in bytes: at most four slots of a hash table, which is more than head and tail of a
/// sorted one.
const INDEX_BYTES: usize = 4 * 8;

/// The bytes that another id, and another value, are assumed to take.
const ROW_BYTES: usize = 64;

impl BuildRows {
    pub(in crate::join) fn new(dim: &Dim) -> Self {
        Self::with_properties(dim.names.len())
    }

    pub(super) fn with_properties(properties: usize) -> Self {
        let dictionary = DictionaryBuilder::new(properties);
        Self { ids: Arena::default(), codes: Vec::new(), dictionary, tuple: Vec::new() }
    }

    /// Takes a row, if it is that of a profile that exists.
    pub(in crate::join) fn push(&mut self, dim: &Dim, id: &[u8], row: &[u8]) -> Result<()> {
        let mut tuple = std::mem::take(&mut self.tuple);
        tuple.clear();
        if project(dim, id, row, &mut tuple)? {
            self.push_tuple(id, &tuple)?;
        }
        self.tuple = tuple;
        Ok(())
    }

    pub(super) fn push_tuple(&mut self, id: &[u8], tuple: &[u8]) -> Result<()> {
        self.codes.push(self.dictionary.code(tuple)?);
        self.ids.push(id)
    }

    /// What a build side of these rows takes, in bytes, also while the next row is added, for which parts of it may
    /// have to be copied.
    pub(in crate::join) fn memory_bytes(&self) -> usize {
        let (_, ids) = self.ids.memory_with(ROW_BYTES);
        let codes = self.codes.capacity() * size_of::<u32>();
        ids + codes * if self.codes.len() == self.codes.capacity() { 3 } else { 1 }
            + self.dictionary.memory_with(ROW_BYTES)
            + self.len() * INDEX_BYTES
    }

    pub(in crate::join) fn len(&self) -> usize {
        self.ids.len()
    }
}
