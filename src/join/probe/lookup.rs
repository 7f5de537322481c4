//! Index nested-loop join in batches: the ids of a block of events are looked up by key, many at once.

use std::sync::Arc;

use super::arena::Arena;
use super::build_rows::project;
use super::dictionary::{Dictionary, DictionaryBuilder, NO_ROW};
use crate::error::Result;
use crate::join::block::JOINED_BYTES_MAX;
use crate::join::layout::Dim;
use crate::join::stats::Counters;
use crate::join::tables::ProfileTables;

/// Keys of the first batch, and of any.
const KEYS_FIRST: usize = 32;
const KEYS_MAX: usize = 1_024;

/// The size of batches, which follows that of the rows: all rows of a batch are in memory at once.
pub(in crate::join) struct LookupBatch {
    keys: usize,
}

impl Default for LookupBatch {
    fn default() -> Self {
        Self { keys: KEYS_FIRST }
    }
}

impl LookupBatch {
    /// Appends the dictionary codes of ids. The empty id has no row. After `least` of them it stops when what was
    /// joined is many bytes.
    pub(super) fn probe(
        &mut self,
        tables: &dyn ProfileTables,
        dim: &Dim,
        ids: &Arena,
        least: usize,
        codes: &mut Vec<u32>,
        counters: &Counters,
    ) -> Result<Arc<Dictionary>> {
        let keys: Vec<&[u8]> = ids.iter().filter(|id| !id.is_empty()).collect();
        let mut dictionary = DictionaryBuilder::new(dim.names.len());
        let mut tuple = Vec::new();
        let mut found = Vec::with_capacity(keys.len());
        while found.len() < keys.len() && (found.len() < least || dictionary.size_bytes() < JOINED_BYTES_MAX) {
            let batch = keys.get(found.len()..).unwrap_or_default();
            let batch = batch.get(..self.keys).unwrap_or(batch);
            let mut bytes = 0;
            tables.lookup(&dim.table, batch, &mut |at, row| {
                tuple.clear();
                // The position is one of the keys; it is only for the message of an error.
                let id = batch.get(at).copied().unwrap_or_default();
                bytes += row.map_or(0, <[u8]>::len);
                let exists = row.map_or(Ok(false), |row| project(dim, id, row, &mut tuple))?;
                found.push(if exists { dictionary.code(&tuple)? } else { NO_ROW });
                Ok(())
            })?;
            counters.lookups.add(batch.len() as u64);
            let fitting = batch.len().saturating_mul(JOINED_BYTES_MAX) / bytes.max(1);
            self.keys = fitting.clamp(1, (self.keys * 2).min(KEYS_MAX));
        }
        let mut found = found.into_iter();
        // Without a code for a key, those of all ids from there on are missing.
        let code = |id: &[u8]| if id.is_empty() { Some(NO_ROW) } else { found.next() };
        codes.extend(ids.iter().map_while(code));
        Ok(dictionary.finish())
    }
}
