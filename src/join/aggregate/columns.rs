//! Aggregation of blocks of columns: events are counted and summed up where they are, without making rows of them.
//!
//! A *cell* is a combination of a user's dictionary code and of the entries that the fields of the event have in the
//! dictionaries of one block. Events are counted cell by cell, and a cell is looked up in the hash table once. What is
//! not as simple as that is left to the rows of the block: it is never wrong to do so, only slower. So are errors,
//! which name the event then.

use std::sync::Arc;

use super::block_cells::BlockCells;
use super::block_columns::QueryColumns;
use super::column_query::{CELLS_MAX, ColumnQuery, code_at};
use super::predicates::KnownTruths;
use super::seen_users::SeenUsers;
use super::selection::Selection;
use super::totals::{CellSink, CellTotals, code_of};
use crate::error::Result;
use crate::join::exec::Execution;
use crate::join::probe::Codes;
use crate::join::scan::ChunkReader;
use crate::segment::{SealedBlock, UserRuns};

/// What one thread has counted.
pub(super) struct ColumnCounter<'q> {
    query: &'q ColumnQuery,
    execution: &'q Execution,
    /// Events by code plus one, where nothing but users is grouped by, and nothing summed up.
    counts: Vec<u64>,
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
        let (counts, selection) = (vec![0; query.keeps.len()], Selection::default());
        Self { query, execution, counts, truths, selection, seen }
    }

    /// Memory in use, in bytes.
    pub(super) fn memory(&self) -> usize {
        let truths = self.truths.iter().map(KnownTruths::memory).sum::<usize>();
        self.counts.capacity() * size_of::<u64>() + truths + self.selection.memory() + self.seen.memory()
    }

    /// Counts a block, unless its rows have to be looked at.
    pub(super) fn add(&mut self, block: &SealedBlock, sink: &mut dyn CellSink) -> Result<bool> {
        let Self { query, execution, counts, truths, selection, seen } = self;
        let reader = ChunkReader::new(&*execution.tables, block)?;
        let runs = reader.runs()?;
        let replaced = execution.sealed.replaced(&*execution.tables, block)?;
        let counters = &execution.counters;
        counters.events_read.add(u64::from(block.summary.events));
        counters.blocks.add(1);
        let is_plain = query.keys.is_empty() && query.sums.is_empty();
        if is_plain && query.predicates.is_empty() && replaced.is_empty() && execution.predicate.keeps_all(block) {
            counters.rows.add(count_by_user(query, &runs, counts, query.uniques.then_some(seen)));
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
            selection.push_run(0..reader.events(), 0);
            if !truths.filter(predicate, &columns, selection)? {
                return Ok(false);
            }
        }
        selection.clear(reader.events());
        query.each_kept_run(&runs, |run| selection.push_run(run.events, run.code));
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
                counts.get_mut(selected.code as usize).into_iter().for_each(|count| *count += 1);
            }
        } else {
            let Some(keys) = columns.keys(&query.keys)? else { return Ok(false) };
            let Some(numbers) = columns.sums(&query.sums)? else { return Ok(false) };
            let groups = (query.groups.as_slice(), query.group_codes.as_slice());
            let Some(mut cells) = BlockCells::new(groups, &keys, &numbers, CELLS_MAX) else { return Ok(false) };
            cells.count(events);
            cells.flush(sink)?;
        }
        if query.uniques {
            seen.insert_users(&runs, events);
        }
        counters.rows.add(events.len() as u64);
        Ok(true)
    }

    /// Adds what was counted over all blocks.
    pub(super) fn finish(&self, sink: &mut dyn CellSink) -> Result<()> {
        let kept = (0..).zip(&self.counts).zip(&self.query.keeps);
        for ((code, events), _) in kept.filter(|((_, events), keeps)| **events > 0 && **keeps) {
            let totals = CellTotals { events: *events, ..CellTotals::default() };
            sink.add_cell(code_of(code), &[], &totals)?;
        }
        Ok(())
    }
}

/// Counts events by the code plus one of their user, and returns how many pass.
fn count_by_user(query: &ColumnQuery, runs: &UserRuns, counts: &mut [u64], mut seen: Option<&mut SeenUsers>) -> u64 {
    if query.keeps_all && seen.is_none() {
        match query.codes.as_ref().map(|codes| codes.codes()) {
            Some(Codes::U8(codes)) => count_small(codes, runs, counts),
            Some(Codes::U16(codes)) => count_runs(codes, runs, counts),
            Some(Codes::U32(codes)) => count_runs(codes, runs, counts),
            None => counts.first_mut().into_iter().for_each(|count| *count += runs.events() as u64),
        }
        return runs.events() as u64;
    }
    let mut passed = 0;
    query.each_kept_run(runs, |run| {
        let events = run.events.len() as u64;
        passed += events;
        counts.get_mut(run.code).into_iter().for_each(|count| *count += events);
        seen.iter_mut().for_each(|seen| seen.insert(run.ordinal));
    });
    passed
}

/// Adds the events of each run to the count of its user's code plus one, of at most 255.
fn count_small(codes: &[u8], runs: &UserRuns, counts: &mut [u64]) {
    // Two sets of counters, because adding to the one that was added to just before has to wait for that.
    let mut local = [[0_u64; 256]; 2];
    let [even, odd] = &mut local;
    let add = |to: &mut [u64; 256], ordinal: &u32, count: &u32| {
        let code = codes.get(*ordinal as usize).copied().unwrap_or_default();
        if let Some(to) = to.get_mut(usize::from(code)) {
            *to += u64::from(*count);
        }
    };
    let (ordinals, last) = runs.ordinals.as_chunks::<2>();
    let (pairs, last_count) = runs.counts.as_chunks::<2>();
    for ([a, b], [m, n]) in ordinals.iter().zip(pairs) {
        add(even, a, m);
        add(odd, b, n);
    }
    for (ordinal, count) in last.iter().zip(last_count) {
        add(even, ordinal, count);
    }
    for (to, (even, odd)) in counts.iter_mut().zip(even.iter().zip(odd.iter())) {
        *to += even + odd;
    }
}

/// Adds the events of each run to the count of its user's code plus one.
fn count_runs<T: Copy>(codes: &[T], runs: &UserRuns, counts: &mut [u64])
where
    usize: TryFrom<T>,
{
    for (ordinal, count) in runs.ordinals.iter().zip(&runs.counts) {
        if let Some(to) = counts.get_mut(code_at(codes, *ordinal)) {
            *to += u64::from(*count);
        }
    }
}
