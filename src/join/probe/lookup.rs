//! Index nested-loop join in batches: the ids of a block of events are looked up by key, all at once.

use std::sync::Arc;

use super::arena::Arena;
use super::build_rows::project;
use super::dictionary::{Dictionary, DictionaryBuilder, NO_ROW};
use crate::error::Result;
use crate::join::layout::Dim;
use crate::join::stats::Counters;
use crate::join::tables::ProfileTables;

/// Appends the dictionary codes of ids. The empty id has no row.
pub(super) fn probe(
    tables: &dyn ProfileTables,
    dim: &Dim,
    ids: &Arena,
    codes: &mut Vec<u32>,
    counters: &Counters,
) -> Result<Arc<Dictionary>> {
    let keys: Vec<&[u8]> = ids.iter().filter(|id| !id.is_empty()).collect();
    let mut dictionary = DictionaryBuilder::new(dim.names.len());
    let mut tuple = Vec::new();
    let mut found = Vec::with_capacity(keys.len());
    tables.lookup(&dim.table, &keys, &mut |at, row| {
        tuple.clear();
        // The position is one of the keys; it is only for the message of an error.
        let id = keys.get(at).copied().unwrap_or_default();
        let exists = row.map_or(Ok(false), |row| project(dim, id, row, &mut tuple))?;
        found.push(if exists { dictionary.code(&tuple)? } else { NO_ROW });
        Ok(())
    })?;
    counters.lookups.add(keys.len() as u64);
    let mut found = found.into_iter();
    codes.extend(ids.iter().map(|id| if id.is_empty() { NO_ROW } else { found.next().unwrap_or(NO_ROW) }));
    Ok(dictionary.finish())
}
