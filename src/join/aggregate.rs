//! Aggregation: rows into segments, with a measure or several of each.
//!
//! Every worker has its own segments; they are put together at the end. Values are compared by number: each distinct
//! value is a *cell*, each distinct combination of cells a *segment*. What the fields of one joined table make of a
//! projection is worked out once per projection, not once per event.

use std::sync::Arc;

use super::answer::{Answer, Bucket};
use super::block::{Block, ColumnValue, decoded};
use super::cache::{CodeCache, LossyCache};
use super::exec::{Execution, Tasks, Worker, in_parallel};
use super::field::{Breakdown, Keep};
use super::layout::Column;
use super::measure::{Accumulator, Measure};
use super::probe::{Dictionary, Interner, NO_ROW};
use crate::codec::{self, ValueBytes, ValueKind};
use crate::error::Result;
use crate::model::Value;

/// What to compute: buckets by some fields, with measures. Without a measure events are counted.
#[derive(Clone, Debug)]
pub(super) struct Aggregation {
    pub(super) by: Vec<Breakdown>,
    pub(super) measures: Vec<Measure>,
    pub(super) top: Option<usize>,
}

/// In place of the number of a value: it is not set.
const NOT_SET: u32 = 0;

/// Fields that come from one place and so belong together: of one joined table, or one of the event.
struct Source {
    /// The table, if it is one.
    dim: Option<usize>,
    /// For each field: its column, and its place among the fields.
    fields: Vec<(Column, usize)>,
    /// What projections of the table, or values of the event, were found to mean.
    codes: CodeCache<Box<[u32]>>,
    recent: LossyCache,
}

/// The segments of one worker.
pub(super) struct Aggregator {
    by: Vec<Breakdown>,
    measures: Vec<(Measure, Column)>,
    sources: Vec<Source>,
    /// Distinct values. The first is of no value at all.
    cells: Interner,
    /// Distinct combinations of cells.
    segments: Interner,
    /// Bucket by segment, the measures.
    accumulators: Vec<Accumulator>,
    /// Users, and pairs of segment and user that were met.
    ids: Interner,
    met: Interner,
    counts_users: bool,
    /// Whether no user is in two units, so that a unit's users may be forgotten with it.
    ids_end_with_unit: bool,
}

impl Aggregator {
    pub(super) fn new(execution: &Execution, aggregate: &Aggregation) -> Result<Self> {
        let layout = &execution.layout;
        let mut sources: Vec<Source> = Vec::new();
        for (place, breakdown) in aggregate.by.iter().enumerate() {
            let column = layout.column(&breakdown.field);
            let dim = if let Column::Dim { dim, .. } = column { Some(dim) } else { None };
            match sources.iter_mut().find(|source| dim.is_some() && source.dim == dim) {
                Some(source) => source.fields.push((column, place)),
                None => {
                    let fields = vec![(column, place)];
                    sources.push(Source { dim, fields, codes: CodeCache::default(), recent: LossyCache::default() });
                }
            }
        }
        let measure = |measure: &Measure| {
            let column = measure.field().map_or(Column::Nowhere, |field| layout.column(field));
            (measure.clone(), column)
        };
        let mut measures: Vec<(Measure, Column)> = aggregate.measures.iter().map(measure).collect();
        if measures.is_empty() {
            measures.push((Measure::Count, Column::Nowhere));
        }
        let mut cells = Interner::default();
        cells.intern(&[])?;
        Ok(Self {
            by: aggregate.by.clone(),
            counts_users: measures.iter().any(|(measure, _)| *measure == Measure::Uniques),
            measures,
            sources,
            cells,
            segments: Interner::default(),
            accumulators: Vec::new(),
            ids: Interner::default(),
            met: Interner::default(),
            ids_end_with_unit: matches!(execution.tasks, Tasks::Partitions(_)),
        })
    }

    /// Takes in what of a block was kept.
    pub(super) fn add(&mut self, block: &Block) -> Result<()> {
        let mut sources = std::mem::take(&mut self.sources);
        for source in &mut sources {
            if let Some(joined) = source.dim.and_then(|dim| block.joined.get(dim)) {
                source.codes.enter(&joined.dictionary);
            }
        }
        let added = match sources.as_mut_slice() {
            // By fields of the user alone, the segments of a projection are known after the first event.
            [Source { dim: Some(dim), fields, codes, .. }] if block.layout.is_user(*dim) => {
                self.add_by_user(block, *dim, fields, codes)
            }
            sources => self.add_by_all(block, sources),
        };
        self.sources = sources;
        added
    }

    fn add_by_user(
        &mut self,
        block: &Block,
        dim: usize,
        fields: &[(Column, usize)],
        codes: &mut CodeCache<Box<[u32]>>,
    ) -> Result<()> {
        let Some(joined) = block.joined.get(dim) else { return Ok(()) };
        for event in &block.kept {
            let event = *event as usize;
            let code = block.user_code(event, dim);
            if codes.get(code).is_none() {
                let cells = self.cells_of(&joined.dictionary, code, fields)?;
                let segments: Result<_> = cells.chunks(fields.len()).map(|key| self.segment(key)).collect();
                codes.insert(code, segments?);
            }
            for segment in codes.get(code).map(|known| &**known).unwrap_or_default() {
                self.measure(block, event, *segment)?;
            }
        }
        Ok(())
    }

    fn add_by_all(&mut self, block: &Block, sources: &mut [Source]) -> Result<()> {
        let mut lists: Vec<Vec<u32>> = sources.iter().map(|_| Vec::new()).collect();
        let mut keys: Vec<Vec<u32>> = Vec::new();
        let mut key = vec![NOT_SET; self.by.len()];
        for event in &block.kept {
            let event = *event as usize;
            for (source, list) in sources.iter_mut().zip(&mut lists) {
                list.clear();
                self.cells_of_event(block, event, source, list)?;
            }
            // Nearly always there is one combination.
            if sources.iter().zip(&lists).all(|(source, list)| source.fields.len() == list.len()) {
                for (source, list) in sources.iter().zip(&lists) {
                    put_cells(source, list, &mut key);
                }
                let segment = self.segment(&key)?;
                self.measure(block, event, segment)?;
                continue;
            }
            cross(self.by.len(), sources, &lists, &mut keys);
            for key in &keys {
                let segment = self.segment(key)?;
                self.measure(block, event, segment)?;
            }
        }
        Ok(())
    }

    /// The combinations of cells that one source gives an event, each once, one after the other.
    fn cells_of_event(&mut self, block: &Block, event: usize, source: &mut Source, list: &mut Vec<u32>) -> Result<()> {
        let width = source.fields.len();
        let Some((dim, joined)) = source.dim.and_then(|dim| Some((dim, block.joined.get(dim)?))) else {
            let Some((column, place)) = source.fields.first().copied() else { return Ok(()) };
            return self.cells_of_column(block.cell(event, column), place, &mut source.recent, list);
        };
        let codes = block.codes(event, dim);
        // An event of no group at all is not set, as one without a profile is.
        let codes = if codes.is_empty() { &[NO_ROW] } else { codes };
        for code in codes {
            if source.codes.get(*code).is_none() {
                let cells = self.cells_of(&joined.dictionary, *code, &source.fields)?;
                source.codes.insert(*code, cells.into());
            }
            for cells in source.codes.get(*code).map(|known| &**known).unwrap_or_default().chunks(width) {
                if !list.chunks(width).any(|other| other == cells) {
                    list.extend_from_slice(cells);
                }
            }
        }
        Ok(())
    }

    /// The cells of a column of the event itself.
    fn cells_of_column(
        &mut self,
        cell: ColumnValue<'_>,
        place: usize,
        recent: &mut LossyCache,
        list: &mut Vec<u32>,
    ) -> Result<()> {
        let day;
        let key = match cell {
            ColumnValue::NotSet => &[][..],
            ColumnValue::Stored(bytes) => bytes.as_bytes(),
            ColumnValue::Text(text) => text.as_bytes(),
            ColumnValue::Day(time) => {
                day = time.day_and_millis().0.to_le_bytes();
                &day
            }
            // Nearly every event has a time of its own.
            ColumnValue::Time(_) | ColumnValue::Groups(..) => return self.explode_computed(cell, place, list),
        };
        if let Some(cells) = recent.get(key) {
            list.extend_from_slice(cells);
            return Ok(());
        }
        match cell {
            ColumnValue::Stored(bytes) => self.explode(Some(bytes), place, list)?,
            cell => self.explode_computed(cell, place, list)?,
        }
        recent.put(key, list);
        Ok(())
    }

    /// The cells of a value that is computed.
    fn explode_computed(&mut self, cell: ColumnValue<'_>, place: usize, list: &mut Vec<u32>) -> Result<()> {
        let mut bytes = Vec::new();
        match cell {
            ColumnValue::Text(text) => codec::write_text(&mut bytes, text),
            cell => match cell.value() {
                Some(value) => codec::write_value(&mut bytes, &value),
                None => return self.explode(None, place, list),
            },
        }
        self.explode(Some(ValueBytes::new(&bytes)), place, list)
    }

    /// The combinations of cells that the fields of one dictionary code make.
    fn cells_of(&mut self, dictionary: &Dictionary, code: u32, fields: &[(Column, usize)]) -> Result<Vec<u32>> {
        let mut all: Vec<u32> = Vec::new();
        for (number, (column, place)) in fields.iter().enumerate() {
            let at = if let Column::Dim { at, .. } = column { *at } else { 0 };
            let mut cells = Vec::new();
            self.explode(dictionary.value(code, at), *place, &mut cells)?;
            if number == 0 {
                all = cells;
                continue;
            }
            let longer = all.chunks(number).flat_map(|key| cells.iter().map(move |cell| (key, *cell)));
            all = longer.flat_map(|(key, cell)| key.iter().copied().chain([cell])).collect();
        }
        Ok(all)
    }

    /// The cells of one value: its own, or those of the distinct elements of a list.
    fn explode(&mut self, value: Option<ValueBytes<'_>>, place: usize, list: &mut Vec<u32>) -> Result<()> {
        let keep = self.by.get(place).and_then(|breakdown| breakdown.keep.clone());
        let start = list.len();
        match value {
            Some(value) if value.kind() == ValueKind::List => match value.elements(usize::MAX) {
                Some(elements) if !elements.is_empty() => {
                    for element in elements {
                        let cell = self.cell(Some(element), keep.as_ref())?;
                        if let Some(cell) = cell
                            && !list.get(start..).unwrap_or_default().contains(&cell)
                        {
                            list.push(cell);
                        }
                    }
                }
                _ => list.extend(self.cell(None, keep.as_ref())?),
            },
            value => list.extend(self.cell(value, keep.as_ref())?),
        }
        Ok(())
    }

    fn cell(&mut self, value: Option<ValueBytes<'_>>, keep: Option<&Keep>) -> Result<Option<u32>> {
        let Some(bytes) = value.filter(|value| !value.is_null()) else {
            return Ok(if keep.is_none_or(|keep| keep(&Value::Null)) { Some(NOT_SET) } else { None });
        };
        if let Some(keep) = keep
            && !keep(&decoded(bytes))
        {
            return Ok(None);
        }
        if bytes.kind() == ValueKind::Other {
            return self.cells.intern(bytes.as_bytes()).map(Some);
        }
        // Equal numbers may have different bytes.
        let mut normal = Vec::new();
        codec::write_value(&mut normal, &decoded(bytes).without_floats());
        self.cells.intern(&normal).map(Some)
    }

    fn segment(&mut self, cells: &[u32]) -> Result<u32> {
        let mut key = [0_u8; 4 * 8];
        let wide: Vec<u8>;
        let key = match key.get_mut(..cells.len() * 4) {
            Some(key) => {
                key.chunks_exact_mut(4).zip(cells).for_each(|(to, cell)| to.copy_from_slice(&cell.to_le_bytes()));
                &*key
            }
            None => {
                wide = cells.iter().flat_map(|cell| cell.to_le_bytes()).collect();
                wide.as_slice()
            }
        };
        let segment = self.segments.intern(key)?;
        let wanted = self.segments.len() * self.measures.len();
        if self.accumulators.len() < wanted {
            self.accumulators.extend(self.measures.iter().map(|(measure, _)| Accumulator::new(measure)));
        }
        Ok(segment)
    }

    fn measure(&mut self, block: &Block, event: usize, segment: u32) -> Result<()> {
        let first = segment as usize * self.measures.len();
        let new_user = self.counts_users && self.meet(block, event, segment)?;
        for (at, (measure, column)) in self.measures.iter().enumerate() {
            let Some(accumulator) = self.accumulators.get_mut(first + at) else { continue };
            match measure {
                Measure::Count => accumulator.count(1),
                Measure::Uniques => accumulator.count(u64::from(new_user)),
                _ => match block.cell(event, *column) {
                    ColumnValue::Stored(value) => accumulator.take(value),
                    cell => cell.value().into_iter().for_each(|value| accumulator.take_value(value)),
                },
            }
        }
        Ok(())
    }

    /// Whether this is the first event of its user in a segment. Events of nobody are nobody's.
    fn meet(&mut self, block: &Block, event: usize, segment: u32) -> Result<bool> {
        let id = block.id_bytes(event);
        if id.is_empty() {
            return Ok(false);
        }
        let id = self.ids.intern(id)?;
        self.meet_user(segment, id)
    }

    fn meet_user(&mut self, segment: u32, id: u32) -> Result<bool> {
        let before = self.met.len();
        let mut pair = [0; 8];
        let (to_segment, to_id) = pair.split_at_mut(4);
        to_segment.copy_from_slice(&segment.to_le_bytes());
        to_id.copy_from_slice(&id.to_le_bytes());
        self.met.intern(&pair)?;
        Ok(self.met.len() > before)
    }

    /// What is to be done when a unit is through.
    fn end_unit(&mut self) {
        if self.ids_end_with_unit && self.counts_users {
            self.ids.clear();
            self.met.clear();
        }
    }

    /// Takes in the segments of another worker.
    fn merge(&mut self, other: &Self) -> Result<()> {
        let width = self.by.len();
        let mut numbers = Vec::with_capacity(other.segments.len());
        for segment in 0..other.segments.len() as u32 {
            let mut cells = Vec::with_capacity(width);
            for cell in cells_of_key(other.segments.get(segment)) {
                cells.push(self.cells.intern(other.cells.get(cell))?);
            }
            let number = self.segment(&cells)?;
            numbers.push(number);
            for (at, (measure, _)) in self.measures.iter().enumerate() {
                let place = |segment: u32| segment as usize * self.measures.len() + at;
                // Users that both have met must not count twice.
                let met = *measure == Measure::Uniques && !self.ids_end_with_unit;
                if let (false, Some(to), Some(from)) =
                    (met, self.accumulators.get_mut(place(number)), other.accumulators.get(place(segment)))
                {
                    to.merge(from);
                }
            }
        }
        for pair in 0..other.met.len() as u32 {
            let mut parts = cells_of_key(other.met.get(pair));
            let (Some(segment), Some(id)) = (parts.next(), parts.next()) else { continue };
            let Some(segment) = numbers.get(segment as usize).copied() else { continue };
            let id = self.ids.intern(other.ids.get(id))?;
            if self.meet_user(segment, id)? {
                for (at, (measure, _)) in self.measures.iter().enumerate() {
                    let place = segment as usize * self.measures.len() + at;
                    if *measure == Measure::Uniques {
                        self.accumulators.get_mut(place).into_iter().for_each(|users| users.count(1));
                    }
                }
            }
        }
        Ok(())
    }

    fn answer(self, top: Option<usize>) -> Result<Answer> {
        let decode = |cell: u32| (cell != NOT_SET).then(|| decoded(ValueBytes::new(self.cells.get(cell))));
        let mut rows = Vec::with_capacity(self.segments.len());
        for (number, measures) in self.accumulators.chunks(self.measures.len()).enumerate() {
            let by = cells_of_key(self.segments.get(number as u32)).map(decode).collect();
            rows.push(Bucket { by, measures: measures.iter().map(Accumulator::value).collect() });
        }
        rows.sort_by(|a, b| {
            // Not set sorts behind everything that is set.
            let by = |row: &Bucket| -> Vec<(bool, Option<Value>)> {
                row.by.iter().map(|value| (value.is_none(), value.clone())).collect()
            };
            b.measures.first().cmp(&a.measures.first()).then_with(|| by(a).cmp(&by(b)))
        });
        let total = rows.len();
        rows.truncate(top.unwrap_or(usize::MAX));
        Ok(Answer {
            by: self.by.iter().map(|breakdown| breakdown.field.to_string()).collect(),
            measures: self.measures.iter().map(|(measure, _)| measure.to_string()).collect(),
            buckets: rows,
            total,
        })
    }
}

fn cells_of_key(key: &[u8]) -> impl Iterator<Item = u32> {
    key.chunks_exact(4).filter_map(|cell| cell.try_into().ok().map(u32::from_le_bytes))
}

/// Puts the cells of a source into the places of their fields.
#[inline]
fn put_cells(source: &Source, cells: &[u32], key: &mut [u32]) {
    for ((_, place), cell) in source.fields.iter().zip(cells) {
        key.get_mut(*place).into_iter().for_each(|to| *to = *cell);
    }
}

/// Every combination of one entry of each list, its cells in the places of their fields.
fn cross(width: usize, sources: &[Source], lists: &[Vec<u32>], keys: &mut Vec<Vec<u32>>) {
    keys.clear();
    keys.push(vec![NOT_SET; width]);
    for (source, list) in sources.iter().zip(lists) {
        let fields = source.fields.len();
        let entries = list.chunks(fields);
        let widened = keys.iter().flat_map(|key| {
            entries.clone().map(move |entry| {
                let mut key = key.clone();
                put_cells(source, entry, &mut key);
                key
            })
        });
        *keys = widened.collect();
    }
}

/// Runs a join into segments.
pub(super) fn aggregate(execution: &Arc<Execution>, aggregate: &Aggregation) -> Result<Answer> {
    let work = |mut worker: Worker| -> Result<Aggregator> {
        let mut aggregator = Aggregator::new(execution, aggregate)?;
        worker.run(|block, task| {
            aggregator.add(&block)?;
            if task.has_ended {
                aggregator.end_unit();
            }
            Ok(Some(block))
        })?;
        Ok(aggregator)
    };
    let mut parts = in_parallel(execution, work)?;
    let mut all = match parts.pop() {
        Some(last) => last,
        None => Aggregator::new(execution, aggregate)?,
    };
    for part in parts {
        all.merge(&part)?;
    }
    // Without a field to group by there is one segment, also when nothing happened.
    if all.by.is_empty() && all.segments.len() == 0 {
        all.segment(&[])?;
    }
    all.answer(aggregate.top)
}
