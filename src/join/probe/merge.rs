//! Sort-merge join: a cursor over the sorted table follows the events of a day, which are sorted by id as well.

use std::cmp::Ordering;
use std::sync::Arc;

use super::arena::Arena;
use super::build_rows::project;
use super::dictionary::{Dictionary, DictionaryBuilder, NO_ROW};
use crate::error::Result;
use crate::join::block::JOINED_BYTES_MAX;
use crate::join::layout::Dim;
use crate::join::stats::Counters;
use crate::join::tables::{ProfileTables, RowCursor};

/// After this many steps that did not reach an id, the cursor seeks.
const STEPS_BEFORE_SEEK: u32 = 16;

/// A cursor over a table.
#[derive(Default)]
pub(in crate::join) struct TableCursor {
    rows: Option<Box<dyn RowCursor>>,
    /// The id that was probed last.
    last: Vec<u8>,
    /// Whether `key` and `row` are those of a row that was read and not passed yet.
    is_on_row: bool,
    key: Vec<u8>,
    row: Vec<u8>,
}

impl TableCursor {
    /// Appends the dictionary codes of ids, of which those that ascend are fast. The empty id has no row. After `least`
    /// of them it stops when what was joined is many bytes.
    pub(super) fn probe(
        &mut self,
        tables: &dyn ProfileTables,
        dim: &Dim,
        ids: &Arena,
        least: usize,
        codes: &mut Vec<u32>,
        counters: &Counters,
    ) -> Result<Arc<Dictionary>> {
        let mut dictionary = DictionaryBuilder::new(dim.names.len());
        let mut tuple = Vec::new();
        for (at, id) in ids.iter().enumerate() {
            if at >= least && dictionary.size_bytes() >= JOINED_BYTES_MAX {
                break;
            }
            tuple.clear();
            let row = if id.is_empty() { None } else { self.find(tables, dim, id, counters)? };
            let exists = row.map_or(Ok(false), |row| project(dim, id, row, &mut tuple))?;
            codes.push(if exists { dictionary.code(&tuple)? } else { NO_ROW });
        }
        Ok(dictionary.finish())
    }

    fn find(&mut self, tables: &dyn ProfileTables, dim: &Dim, id: &[u8], counters: &Counters) -> Result<Option<&[u8]>> {
        if self.rows.is_none() || id < self.last.as_slice() {
            // Another day begins.
            self.rows = Some(tables.rows(&dim.table, id, None)?);
            self.is_on_row = false;
            self.key.clear();
            counters.passes.add(1);
        }
        self.last.clear();
        self.last.extend_from_slice(id);
        let mut steps = 0;
        loop {
            if self.is_on_row {
                match self.key.as_slice().cmp(id) {
                    Ordering::Less => self.is_on_row = false,
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
                // The end of the table is after every id that comes before the next day.
                self.key.clear();
                return Ok(None);
            };
            counters.rows_read.add(1);
            self.key.clear();
            self.key.extend_from_slice(key);
            self.row.clear();
            self.row.extend_from_slice(row);
            self.is_on_row = true;
        }
    }
}
