//! Reads of profile tables for joins: scans and batched point lookups of one snapshot.

use std::ops::Bound;
use std::sync::Arc;

use crate::codec;
use crate::error::Result;
use crate::join::{Each, JoinTable};
use crate::rocks::{EngineScan, EngineSnapshot, ReadHint};

/// The column family of a table.
pub(super) fn family_of_table(table: &JoinTable) -> Arc<str> {
    match table {
        JoinTable::Profiles(kind) => codec::family_of(kind),
        JoinTable::FirstEvents(kind) => codec::first_family_of(kind),
    }
}

/// Opens a scan over the rows whose ids lie in a range.
pub(crate) fn scan_rows(snapshot: &EngineSnapshot, table: &JoinTable, from: &[u8], to: Option<&[u8]>) -> EngineScan {
    let to = to.map_or(Bound::Unbounded, Bound::Excluded);
    snapshot.scan(&family_of_table(table), Bound::Included(from), to, ReadHint::LongRange)
}

/// Looks up the rows of these ids, in the order of the ids.
pub(crate) fn lookup_rows(
    snapshot: &EngineSnapshot,
    table: &JoinTable,
    ids: &[&[u8]],
    each: &mut Each<'_>,
) -> Result<()> {
    snapshot.read_many(&family_of_table(table), ids, each)?.into_iter().collect()
}

pub(crate) fn has_table(snapshot: &EngineSnapshot, table: &JoinTable) -> bool {
    snapshot.engine().has_family(&family_of_table(table))
}

/// Roughly how many rows a table has.
pub(crate) fn estimate_rows(snapshot: &EngineSnapshot, table: &JoinTable) -> u64 {
    snapshot.engine().keys_estimate(&family_of_table(table))
}
