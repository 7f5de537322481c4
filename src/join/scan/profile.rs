//! Sequential scan of profiles: each takes the place of an event in a block.

use super::{EventPredicate, EventScan, ScanSpec};
use crate::codec;
use crate::error::{Error, Result};
use crate::join::block::Block;
use crate::join::layout::{Dim, Via};
use crate::join::probe::project;
use crate::join::tables::{JoinTable, RowCursor};
use crate::model::Kind;

/// A scan returns after this many rows, so that it can be stopped when hardly any passes.
const READS_PER_FILL: u64 = 4_096;

/// A scan over the rows of a table.
pub(in crate::join) struct ProfileRows {
    rows: Box<dyn RowCursor>,
    spec: ScanSpec,
    /// The table, with the properties that are requested.
    table: Dim,
    tuple: Vec<u8>,
}

impl ProfileRows {
    pub(in crate::join) fn new(rows: Box<dyn RowCursor>, kind: Kind, spec: ScanSpec) -> Self {
        let names = spec.layout.events.properties.clone();
        let table = Dim { via: Via::User, table: JoinTable::Profiles(kind), ids: None, names };
        Self { rows, spec, table, tuple: Vec::new() }
    }
}

impl EventScan for ProfileRows {
    fn fill(&mut self, block: &mut Block, max: usize) -> Result<bool> {
        let Self { rows, spec, table, tuple } = self;
        let predicate: &EventPredicate = &spec.predicate;
        for _ in 0..READS_PER_FILL {
            if block.is_full(max) {
                break;
            }
            let Some((id, row)) = rows.next()? else { return Ok(false) };
            block.scanned.events += 1;
            tuple.clear();
            if !project(table, id, row, tuple)? {
                continue;
            }
            if std::str::from_utf8(id).is_err() {
                let (kind, id) = (table.table.kind(), String::from_utf8_lossy(id));
                return Err(Error::corrupt(format!("an id that is not UTF-8 table={kind} id={id:?}")));
            }
            block.push_profile(id, codec::tuple_values(tuple))?;
            predicate.filter_last(block)?;
        }
        Ok(true)
    }
}
