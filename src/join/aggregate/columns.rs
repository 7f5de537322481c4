//! Aggregation of blocks of columns: events are counted and summed up where they are, without making rows of them.
//!
//! A *cell* is a combination of a user's dictionary code and of the entries that the fields of the event have in the
//! dictionaries of one block. Events are counted cell by cell, and a cell is looked up in the hash table once. What is
//! not as simple as that is left to the rows of the block: it is never wrong to do so, only slower. So are errors,
//! which name the event then.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::block_columns::{CellKey, CellNumbers, EventTest, KeyValue, KnownVerdicts, QueryColumns, TestSlices};
use crate::error::Result;
use crate::join::block::{ColumnValue, position};
use crate::join::exec::Execution;
use crate::join::layout::{Column, Dim, Driver};
use crate::join::measure::Measure;
use crate::join::probe::{Codes, Dictionary, NO_ROW, OrdinalCodes};
use crate::join::scan::ChunkReader;
use crate::join::tables::JoinTable;
use crate::segment::{SealedBlock, UserRuns};

/// The most cells of a block.
const CELLS_MAX: usize = 1 << 16;

/// A query that can be answered by columns, and what is the same for all its blocks.
pub(super) struct ColumnQuery {
    /// The codes of the table of users, if one is joined.
    codes: Option<Arc<OrdinalCodes>>,
    /// Whether users pass: by code plus one, first those without a row.
    keeps: Vec<bool>,
    keeps_all: bool,
    /// Codes with the same values of the fields that are grouped by are one group: by code plus one, the number of its
    /// group, and for each group one code plus one.
    groups: Vec<u32>,
    group_codes: Vec<u32>,
    /// The fields of the event that are grouped by, in their order.
    keys: Vec<Column>,
    /// Conjuncts of the filter, and the column that each is on.
    tests: Vec<(usize, Column)>,
    /// Whether one of them may fail.
    may_fail: bool,
    /// The fields of the event that are summed up.
    sums: Vec<Column>,
    pub(super) uniques: bool,
    /// The ordinal of events without a user.
    anonymous: Option<u32>,
    /// How many ordinals there are, where users are counted.
    ordinals: u32,
}

/// What was counted of a cell.
#[derive(Clone, Debug, Default)]
pub(super) struct CellTotals {
    pub(super) events: u64,
    pub(super) users: u64,
    /// The user, where it is one that other blocks may have counted by rows.
    pub(super) ordinal: Option<u32>,
    /// For each field that is summed up.
    pub(super) sums: Vec<CellSum>,
}

/// The sum of numbers: an integer times two to the power of an exponent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CellSum {
    pub(super) sum: i128,
    pub(super) exponent: i16,
    pub(super) has_floats: bool,
    pub(super) count: u64,
}

/// Where cells go.
pub(super) trait CellSink {
    /// Adds what was counted for a dictionary code of the users, or [`NO_ROW`], and values of the keys.
    fn add_cell(&mut self, code: u32, keys: &[ColumnValue<'_>], totals: &CellTotals) -> Result<()>;
}

impl ColumnQuery {
    /// The query of an execution, if it can be answered by columns.
    pub(super) fn new(
        execution: &Execution,
        by: impl Iterator<Item = Column>,
        measures: &[(Measure, Column)],
    ) -> Result<Option<Self>> {
        let layout = &execution.layout;
        let sealed = &execution.sealed;
        let dims = layout.dims.as_slice();
        let has_groups = dims.len() > 1 || dims.iter().any(|dim| dim.ids.is_some());
        if sealed.blocks.is_empty() || has_groups || layout.driver != Driver::Events || execution.has_requested_users()
        {
            return Ok(None);
        }
        let filter = &execution.predicate.filter;
        let Some(tests) = filter.by_columns() else { return Ok(None) };
        let may_fail = tests.iter().any(|(conjunct, _)| filter.may_fail(*conjunct));
        let keys: Vec<Column> = by.filter(|column| !matches!(column, Column::Dim { .. })).collect();
        let is_key = |column: &Column| matches!(column, Column::Name | Column::Event(_) | Column::Period(_));
        let is_test = |column: &Column| matches!(column, Column::Name | Column::Event(_));
        if !keys.iter().all(is_key) || !tests.iter().all(|(_, column)| is_test(column)) {
            return Ok(None);
        }
        let (mut sums, mut uniques) = (Vec::new(), false);
        for (measure, column) in measures {
            match (measure, column) {
                (Measure::Count, _) => {}
                (Measure::Uniques, _) => uniques = true,
                (Measure::Sum(_) | Measure::Avg(_), Column::Event(_)) => sums.push(*column),
                _ => return Ok(None),
            }
        }
        // Users of rows are known by id, those of columns by ordinal.
        if uniques && (sealed.has_rows || !keys.is_empty()) {
            return Ok(None);
        }
        let codes = sealed.codes(0).cloned();
        let Some(keeps) = kept_codes(execution, codes.as_deref()) else { return Ok(None) };
        let (anonymous, ordinals) = match execution.tables.columns().filter(|_| uniques) {
            Some(columns) => (columns.ordinals_of(&[b""])?.into_iter().next().flatten(), columns.ordinal_count()?),
            None => (None, 0),
        };
        let keeps_all = keeps.iter().all(|keeps| *keeps);
        // Every code a group of its own, until they are known to be fewer.
        let groups: Vec<u32> = (0..).take(keeps.len()).collect();
        let group_codes = groups.clone();
        Ok(Some(Self {
            codes,
            keeps,
            keeps_all,
            keys,
            tests,
            may_fail,
            sums,
            uniques,
            anonymous,
            ordinals,
            groups,
            group_codes,
        }))
    }

    /// The dictionary of the users that are joined, if they are.
    pub(super) fn dictionary(&self) -> Option<&Arc<Dictionary>> {
        self.codes.as_ref().map(|codes| &codes.dictionary)
    }

    /// What a thread allocates before it counts, in bytes.
    pub(super) fn counter_memory(&self) -> usize {
        (self.keeps.len() + self.ordinals.div_ceil(64) as usize).saturating_mul(size_of::<u64>())
    }

    /// Makes one group of the codes for which `key` gives the same, unless there are too many.
    pub(super) fn group(&mut self, mut key: impl FnMut(u32) -> Option<Vec<u32>>) {
        if self.groups.len() > CELLS_MAX {
            return;
        }
        let mut known: BTreeMap<Vec<u32>, u32> = BTreeMap::new();
        let (mut groups, mut group_codes) = (Vec::with_capacity(self.groups.len()), Vec::new());
        for place in 0..position(self.groups.len()) {
            let Some(key) = key(code_of(place)) else { return };
            let group = *known.entry(key).or_insert_with(|| {
                group_codes.push(place);
                position(group_codes.len()).saturating_sub(1)
            });
            groups.push(group);
        }
        (self.groups, self.group_codes) = (groups, group_codes);
    }

    /// The code plus one of an ordinal.
    #[inline]
    fn code(&self, ordinal: u32) -> usize {
        self.codes.as_ref().map_or(0, |codes| codes.get(ordinal).wrapping_add(1) as usize)
    }
}

/// Which users pass the predicates on users, by code plus one; none if that fails for one of them.
fn kept_codes(execution: &Execution, codes: Option<&OrdinalCodes>) -> Option<Vec<bool>> {
    let filter = &execution.predicate.filter;
    let Some(codes) = codes else { return Some(vec![true]) };
    let is_profile = |dim: &Dim| matches!(dim.table, JoinTable::Profiles(_));
    let drops_absent = execution.inner && execution.layout.dims.iter().any(is_profile);
    let mut keeps = Vec::with_capacity(codes.dictionary.len() + 1);
    keeps.push(!drops_absent && filter.keeps_code(&codes.dictionary, NO_ROW).ok()?);
    for code in codes.dictionary.codes() {
        keeps.push(filter.keeps_code(&codes.dictionary, code).ok()?);
    }
    Some(keeps)
}

/// A set of ordinals.
#[derive(Debug, Default)]
pub(super) struct SeenUsers(Vec<u64>);

impl SeenUsers {
    /// An empty one with room for ordinals below this number.
    fn with_room(ordinals: u32) -> Self {
        Self(vec![0; ordinals.div_ceil(64) as usize])
    }

    #[inline]
    fn insert(&mut self, ordinal: u32) {
        let word = ordinal as usize / 64;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        if let Some(bits) = self.0.get_mut(word) {
            *bits |= 1 << (ordinal % 64);
        }
    }

    /// Adds those of another set.
    pub(super) fn merge(&mut self, other: &Self) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        self.0.iter_mut().zip(&other.0).for_each(|(to, bits)| *to |= bits);
    }

    fn iter(&self) -> impl Iterator<Item = u32> {
        (0..).step_by(64).zip(&self.0).flat_map(|(first, bits)| SetBits(*bits).map(move |bit| first + bit))
    }

    /// Memory in use, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.0.capacity() * size_of::<u64>()
    }

    /// Adds them to the cells of their codes; one by one where others were counted by rows.
    pub(super) fn count(&self, query: &ColumnQuery, one_by_one: bool, sink: &mut dyn CellSink) -> Result<()> {
        if one_by_one {
            for ordinal in self.iter().filter(|ordinal| Some(*ordinal) != query.anonymous) {
                let totals = CellTotals { users: 1, ordinal: Some(ordinal), ..CellTotals::default() };
                sink.add_cell(code_of(position(query.code(ordinal))), &[], &totals)?;
            }
            return Ok(());
        }
        let mut users = vec![0_u64; query.keeps.len()];
        for ordinal in self.iter().filter(|ordinal| Some(*ordinal) != query.anonymous) {
            users.get_mut(query.code(ordinal)).into_iter().for_each(|users| *users += 1);
        }
        for (code, users) in (0..).zip(users).filter(|(_, users)| *users > 0) {
            let totals = CellTotals { users, ..CellTotals::default() };
            sink.add_cell(code_of(code), &[], &totals)?;
        }
        Ok(())
    }
}

/// The positions of the bits of a word that are set.
struct SetBits(u64);

impl Iterator for SetBits {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let bit = self.0.trailing_zeros();
        // Without the least bit that is set.
        self.0 &= self.0.wrapping_sub(1);
        (bit < 64).then_some(bit)
    }
}

/// The dictionary code of a code plus one.
fn code_of(place: u32) -> u32 {
    place.checked_sub(1).unwrap_or(NO_ROW)
}

/// What one thread has counted.
pub(super) struct ColumnCounter<'q> {
    query: &'q ColumnQuery,
    execution: &'q Execution,
    /// Events by code plus one, where nothing but users is grouped by, and nothing summed up.
    counts: Vec<u64>,
    /// What the tests of the query say of numbers.
    verdicts: Vec<KnownVerdicts>,
    pub(super) seen: SeenUsers,
}

impl<'q> ColumnCounter<'q> {
    pub(super) fn new(query: &'q ColumnQuery, execution: &'q Execution) -> Self {
        let seen = SeenUsers::with_room(query.ordinals);
        let verdicts = query.tests.iter().map(|_| KnownVerdicts::default()).collect();
        Self { query, execution, counts: vec![0; query.keeps.len()], verdicts, seen }
    }

    /// Memory in use, in bytes.
    pub(super) fn memory(&self) -> usize {
        let verdicts = self.verdicts.iter().map(KnownVerdicts::memory).sum::<usize>();
        self.counts.capacity() * size_of::<u64>() + verdicts + self.seen.memory()
    }

    /// Counts a block, unless its rows have to be looked at.
    pub(super) fn add(&mut self, block: &SealedBlock, sink: &mut dyn CellSink) -> Result<bool> {
        let Self { query, execution, counts, verdicts, seen } = self;
        let reader = ChunkReader::new(&*execution.tables, block)?;
        let runs = reader.runs()?;
        let replaced = execution.sealed.replaced(&*execution.tables, block)?;
        let counters = &execution.counters;
        counters.events_read.add(u64::from(block.summary.events));
        let is_plain = query.keys.is_empty() && query.sums.is_empty();
        // Unless a predicate on events may fail, which is then said also of events of others.
        if !query.keeps_all && !query.may_fail && !query.has_kept_run(&runs) {
            return Ok(true);
        }
        let columns = QueryColumns { reader: &reader, execution, block };
        let Some(tests) = columns.tests(&query.tests, verdicts, &replaced)? else { return Ok(false) };
        let tests: Vec<TestSlices<'_>> = tests.iter().map(EventTest::slices).collect();
        if is_plain {
            let users = query.uniques.then_some(seen);
            let passed = count_by_user(query, &runs, &tests, counts, users);
            counters.rows.add(passed);
            counters.blocks.add(1);
            return Ok(true);
        }
        let Some(keys) = columns.keys(&query.keys)? else { return Ok(false) };
        let Some(sums) = columns.sums(&query.sums)? else { return Ok(false) };
        let width = keys.iter().map(|key| key.values.len()).product::<usize>();
        if width.saturating_mul(query.group_codes.len()) > CELLS_MAX {
            return Ok(false);
        }
        let users = query.uniques.then_some(seen);
        let mut cells = Cells::new(query, &keys, &sums, width);
        let passed = cells.count(&runs, &tests, users);
        counters.rows.add(passed);
        counters.blocks.add(1);
        cells.flush(sink)?;
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
fn count_by_user(
    query: &ColumnQuery,
    runs: &UserRuns,
    tests: &[TestSlices<'_>],
    counts: &mut [u64],
    seen: Option<&mut SeenUsers>,
) -> u64 {
    if query.keeps_all && tests.is_empty() && seen.is_none() {
        match query.codes.as_ref().map(|codes| codes.codes()) {
            Some(Codes::U8(codes)) => count_small(codes, runs, counts),
            Some(Codes::U16(codes)) => count_runs(codes, runs, counts),
            Some(Codes::U32(codes)) => count_runs(codes, runs, counts),
            None => counts.first_mut().into_iter().for_each(|count| *count += runs.events() as u64),
        }
        return runs.events() as u64;
    }
    let mut seen = seen;
    let mut passed = 0;
    query.each_kept_run(runs, |run| {
        let passing = match tests {
            [] => run.events.len() as u64,
            tests => run.events.filter(|event| tests.iter().all(|test| test.passes(*event))).count() as u64,
        };
        if passing > 0 {
            passed += passing;
            counts.get_mut(run.code).into_iter().for_each(|count| *count += passing);
            seen.iter_mut().for_each(|seen| seen.insert(run.ordinal));
        }
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

/// The code plus one of an ordinal.
#[inline]
fn code_at<T: Copy>(codes: &[T], ordinal: u32) -> usize
where
    usize: TryFrom<T>,
{
    codes.get(ordinal as usize).map_or(0, |code| usize::try_from(*code).unwrap_or_default())
}

/// A run of events of a user who passes.
struct KeptRun {
    ordinal: u32,
    /// The code plus one.
    code: usize,
    events: Range<usize>,
}

impl ColumnQuery {
    /// Whether the user of any run passes.
    fn has_kept_run(&self, runs: &UserRuns) -> bool {
        let keeps = |code: usize| self.keeps.get(code).copied().unwrap_or(false);
        let mut ordinals = runs.ordinals.iter();
        match self.codes.as_ref().map(|codes| codes.codes()) {
            Some(Codes::U8(codes)) => ordinals.any(|ordinal| keeps(code_at(codes, *ordinal))),
            Some(Codes::U16(codes)) => ordinals.any(|ordinal| keeps(code_at(codes, *ordinal))),
            Some(Codes::U32(codes)) => ordinals.any(|ordinal| keeps(code_at(codes, *ordinal))),
            None => keeps(0),
        }
    }

    /// Calls `each` with the runs whose users pass.
    #[inline]
    fn each_kept_run(&self, runs: &UserRuns, each: impl FnMut(KeptRun)) {
        match self.codes.as_ref().map(|codes| codes.codes()) {
            Some(Codes::U8(codes)) => self.each_kept(runs, |ordinal| code_at(codes, ordinal), each),
            Some(Codes::U16(codes)) => self.each_kept(runs, |ordinal| code_at(codes, ordinal), each),
            Some(Codes::U32(codes)) => self.each_kept(runs, |ordinal| code_at(codes, ordinal), each),
            None => self.each_kept(runs, |_| 0, each),
        }
    }

    #[inline]
    fn each_kept(&self, runs: &UserRuns, code: impl Fn(u32) -> usize, mut each: impl FnMut(KeptRun)) {
        let mut start = 0;
        for (ordinal, count) in runs.ordinals.iter().zip(&runs.counts) {
            let events = start..start + *count as usize;
            start = events.end;
            let code = code(*ordinal);
            if self.keeps.get(code).copied().unwrap_or(false) {
                each(KeptRun { ordinal: *ordinal, code, events });
            }
        }
    }
}

/// The cells of a block.
struct Cells<'b> {
    query: &'b ColumnQuery,
    keys: &'b [CellKey],
    sums: &'b [CellNumbers],
    /// Combinations of values of the keys.
    width: usize,
    events: Vec<u64>,
    totals: Vec<CellSum>,
}

impl<'b> Cells<'b> {
    fn new(query: &'b ColumnQuery, keys: &'b [CellKey], sums: &'b [CellNumbers], width: usize) -> Self {
        let cells = width * query.group_codes.len();
        let totals = vec![CellSum::default(); cells * sums.len()];
        Self { query, keys, sums, width, events: vec![0; cells], totals }
    }

    /// Counts the events of a block, and returns how many pass.
    fn count(&mut self, runs: &UserRuns, tests: &[TestSlices<'_>], mut seen: Option<&mut SeenUsers>) -> u64 {
        let codes: Vec<(Option<&[u32]>, usize)> = self.keys.iter().map(|key| (key.codes(), key.values.len())).collect();
        let Self { query, sums, width, events: counts, totals, .. } = self;
        let mut passed = 0;
        query.each_kept_run(runs, |run| {
            let before = passed;
            let group = query.groups.get(run.code).map_or(0, |group| *group as usize);
            for event in run.events {
                if !tests.iter().all(|test| test.passes(event)) {
                    continue;
                }
                passed += 1;
                let mut cell = group * *width;
                let mut place = 1;
                for (codes, values) in &codes {
                    let entry = codes.and_then(|codes| codes.get(event)).map_or(0, |code| *code as usize);
                    cell += entry * place;
                    place *= values;
                }
                counts.get_mut(cell).into_iter().for_each(|count| *count += 1);
                for (at, numbers) in sums.iter().enumerate() {
                    if let Some((number, is_float)) = numbers.get(event)
                        && let Some(total) = totals.get_mut(cell * sums.len() + at)
                    {
                        total.sum += number;
                        total.count += 1;
                        total.has_floats |= is_float;
                    }
                }
            }
            if passed > before {
                seen.iter_mut().for_each(|seen| seen.insert(run.ordinal));
            }
        });
        passed
    }

    /// Hands over the cells that have events.
    fn flush(&self, sink: &mut dyn CellSink) -> Result<()> {
        let sums = self.sums.len();
        for (cell, events) in self.events.iter().enumerate().filter(|(_, events)| **events > 0) {
            let mut rest = cell % self.width;
            let mut values = Vec::with_capacity(self.keys.len());
            for key in self.keys {
                values.push(key.values.get(rest % key.values.len()).map_or(ColumnValue::NotSet, KeyValue::value));
                rest /= key.values.len();
            }
            let totals = self.totals.get(cell * sums..(cell + 1) * sums).unwrap_or_default();
            let exponents = self.sums.iter().map(CellNumbers::exponent);
            let totals = totals.iter().zip(exponents).map(|(total, exponent)| CellSum { exponent, ..*total });
            let totals = CellTotals { events: *events, sums: totals.collect(), ..CellTotals::default() };
            let code = self.query.group_codes.get(cell / self.width).copied().unwrap_or_default();
            sink.add_cell(code_of(code), &values, &totals)?;
        }
        Ok(())
    }
}
