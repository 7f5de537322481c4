//! The probe side of one table: ids in, dictionary codes out, by the strategy that the planner chose.

use std::sync::Arc;

use super::arena::Arena;
use super::dictionary::Dictionary;
use super::hash::BuildSide;
use super::lookup::LookupBatch;
use super::merge::TableCursor;
use crate::error::Result;
use crate::join::layout::Dim;
use crate::join::stats::Counters;
use crate::join::tables::ProfileTables;

/// How a worker probes one table.
pub(in crate::join) enum Prober {
    Lookup(LookupBatch),
    /// With the position of the last id that was found.
    Hash(Arc<BuildSide>, usize),
    Merge(TableCursor),
}

impl Prober {
    /// Appends one dictionary code for each id, and returns the dictionary. After the first ids, `least` of them, it
    /// may stop before the last: when what was joined is many bytes.
    pub(in crate::join) fn probe(
        &mut self,
        tables: &dyn ProfileTables,
        dim: &Dim,
        ids: &Arena,
        least: usize,
        codes: &mut Vec<u32>,
        counters: &Counters,
    ) -> Result<Arc<Dictionary>> {
        match self {
            Self::Hash(build, cursor) => {
                build.probe(ids, cursor, codes);
                Ok(Arc::clone(&build.dictionary))
            }
            Self::Lookup(batch) => batch.probe(tables, dim, ids, least, codes, counters),
            Self::Merge(cursor) => cursor.probe(tables, dim, ids, least, codes, counters),
        }
    }
}
