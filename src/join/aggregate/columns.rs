//! Aggregation of blocks of columns: events are counted and measured where they are, without making rows of them.
//!
//! A *cell* is a combination of a user's dictionary code and of the entries that the fields of the event have in the
//! dictionaries of one block. Events are counted cell by cell, and a cell is looked up in the hash table once. What is
//! not as simple as that is left to the rows of the block: it is never wrong to do so, only slower. So are errors,
//! which name the event then.

use std::sync::Arc;

use super::block_cells::BlockCells;
use super::block_columns::QueryColumns;
use super::cell_fields::CellField;
use super::column_query::{CELLS_MAX, ColumnQuery};
use super::counted_runs::CountedRuns;
use super::predicates::KnownTruths;
use super::seen_users::SeenUsers;
use super::selection::Selection;
use super::totals::{CellSink, CellTotals, code_of};
use crate::error::Result;
use crate::join::block::position;
use crate::join::exec::Execution;
use crate::join::scan::{ChunkReader, TailRows};
use crate::segment::{ColumnId, SealedBlock};

/// What one thread has counted.
pub(super) struct ColumnCounter<'q> {
    query: &'q ColumnQuery,
    execution: &'q Execution,
    /// Events by code plus one, where nothing but users is grouped by, and no field measured.
    runs: CountedRuns,
    /// What the predicates of the query are known to say.
    truths: Vec<KnownTruths>,
    /// The events of the last block.
    selection: Selection,
    pub(super) seen: SeenUsers,
}

impl<'q> ColumnCounter<'q> {
    pub(super) fn new(query: &'q ColumnQuery, execution: &'q Execution) -> Self {
        let seen = SeenUsers::with_room(query.ordinals);
        let truths = query.predicates.iter().map(|_| KnownTruths::default()).collect();
        let (runs, selection) = (CountedRuns::new(query), Selection::default());
        Self { query, execution, runs, truths, selection, seen }
    }

    /// Memory in use, in bytes.
    pub(super) fn memory(&self) -> usize {
        let truths = self.truths.iter().map(KnownTruths::memory).sum::<usize>();
        self.runs.memory() + truths + self.selection.memory() + self.seen.memory()
    }

    /// Counts a block, unless its rows have to be looked at.
    pub(super) fn add(&mut self, block: &SealedBlock, sink: &mut dyn CellSink) -> Result<bool> {
        let Self { query, execution, runs, truths, selection, seen } = self;
        let reader = ChunkReader::new(&*execution.tables, block)?;
        let chunk = reader.run_chunk()?;
        let mut packs = reader.run_packs(&chunk)?;
        let damaged = |malformed| reader.damaged(&ColumnId::Runs, malformed);
        let replaced = execution.sealed.replaced(&*execution.tables, block)?;
        let counters = &execution.counters;
        counters.events_read.add(u64::from(block.summary.events));
        counters.blocks.add(1);
        let is_plain = query.keys.is_empty() && query.fields.is_empty();
        if is_plain && query.predicates.is_empty() && replaced.is_empty() && execution.predicate.keeps_all(block) {
            counters.rows.add(runs.count(query, &mut packs, query.uniques.then_some(seen)).map_err(damaged)?);
            return Ok(true);
        }
        let dictionary = query.codes.as_ref().map(|codes| Arc::clone(&codes.dictionary)).unwrap_or_default();
        let columns = QueryColumns::new(&reader, execution, block, &dictionary);
        // A predicate that may fail is evaluated for all events, also of users who do not pass.
        for (predicate, truths) in query.predicates.iter().zip(truths.iter_mut()) {
            if !predicate.may_fail() {
                continue;
            }
            selection.clear(reader.events());
            selection.push_run(block.summary.events, 0, true);
            if !truths.filter(predicate, &columns, selection)? {
                return Ok(false);
            }
        }
        selection.clear(reader.events());
        query.select(&mut packs, selection).map_err(damaged)?;
        if !selection.as_slice().is_empty() && !columns.filter_events(&replaced, selection)? {
            return Ok(false);
        }
        for (predicate, truths) in query.predicates.iter().zip(truths.iter_mut()) {
            if !selection.as_slice().is_empty() && !truths.filter(predicate, &columns, selection)? {
                return Ok(false);
            }
        }
        let events = selection.as_slice();
        if events.is_empty() {
            return Ok(true);
        }
        if is_plain {
            for selected in events {
                runs.add(selected.code, 1);
            }
        } else {
            let Some(keys) = columns.keys(&query.keys)? else { return Ok(false) };
            let groups = (query.groups.as_slice(), query.group_codes.as_slice());
            let Some(mut cells) = BlockCells::new(groups, &keys, CELLS_MAX) else { return Ok(false) };
            let Some(mut fields) = CellField::all(&columns, &query.fields, cells.len())? else { return Ok(false) };
            let by_event = cells.count(events);
            for field in &mut fields {
                field.measure(events, &by_event, cells.counts());
            }
            if query.cell_uniques {
                cells.list_users(&reader.runs()?, events, &by_event, query.anonymous);
            }
            cells.flush(&fields, sink)?;
        }
        if query.uniques {
            seen.insert_users(&reader.runs()?, events);
        }
        counters.rows.add(events.len() as u64);
        Ok(true)
    }

    /// Whether rows in memory can be counted by their users, without a look at their properties.
    pub(super) fn counts_rows(&self) -> bool {
        let query = self.query;
        query.keys.is_empty() && query.fields.is_empty() && query.predicates.is_empty()
    }

    /// Counts rows in memory, unless one cannot be read.
    pub(super) fn add_rows(&mut self, rows: &TailRows) -> Result<bool> {
        let Self { query, execution, runs, seen, .. } = self;
        let mut ordinals = Vec::with_capacity(rows.len());
        if !rows.visit_ordinals(&execution.predicate, |ordinal| ordinals.push(ordinal))? {
            return Ok(false);
        }
        let mut passed = 0;
        for ordinal in ordinals {
            let code = query.code(ordinal);
            if query.keeps.get(code).copied().unwrap_or(false) {
                passed += 1;
                runs.add(position(code), 1);
                if query.uniques {
                    seen.insert(ordinal);
                }
            }
        }
        let counters = &execution.counters;
        counters.events_read.add(rows.len() as u64);
        counters.rows.add(passed);
        counters.blocks.add(1);
        Ok(true)
    }

    /// Adds what was counted over all blocks.
    pub(super) fn finish(&self, sink: &mut dyn CellSink) -> Result<()> {
        let counts = self.runs.totals();
        let kept = (0..).zip(counts).zip(&self.query.keeps);
        for ((code, events), _) in kept.filter(|((_, events), keeps)| *events > 0 && **keeps) {
            let totals = CellTotals { events, ..CellTotals::default() };
            sink.add_cell(code_of(code), &[], &totals)?;
        }
        Ok(())
    }
}
