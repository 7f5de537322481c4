//! Aggregation: rows into segments, with a measure or several of each.
//!
//! Every worker has its own segments; they are put together at the end. Values are compared by number: each distinct
//! value is a *cell*, each distinct combination of cells a *segment*. What the fields of one joined table make of a
//! projection is worked out once per projection, not once per event.

use std::sync::Arc;

use super::answer::{Answer, Bucket};
use super::block::{Block, NO_ROW};
use super::field::{Breakdown, Keep};
use super::fold::in_parallel;
use super::interner::Interner;
use super::layout::Column;
use super::measure::{Accumulator, Measure};
use super::memo::{Memo, Recent};
use super::work::{Engine, Units, Worker};
use crate::codec::{self, ValueBytes, ValueKind};
use crate::error::{Error, Result};
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
    memo: Memo,
    recent: Recent,
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
    pub(super) fn new(engine: &Engine, aggregate: &Aggregation) -> Result<Self> {
        let layout = &engine.layout;
        let mut sources: Vec<Source> = Vec::new();
        for (place, breakdown) in aggregate.by.iter().enumerate() {
            let column = layout.column(&breakdown.field);
            let dim = if let Column::Dim { dim, .. } = column { Some(dim) } else { None };
            match sources.iter_mut().find(|source| dim.is_some() && source.dim == dim) {
                Some(source) => source.fields.push((column, place)),
                None => {
                    let fields = vec![(column, place)];
                    sources.push(Source { dim, fields, memo: Memo::default(), recent: Recent::default() });
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
            ids_end_with_unit: matches!(engine.units, Units::Parts(_)),
        })
    }

    /// Takes in what of a block was kept.
    pub(super) fn add(&mut self, block: &Block) -> Result<()> {
        let mut sources = std::mem::take(&mut self.sources);
        for source in &mut sources {
            if let Some(joined) = source.dim.and_then(|dim| block.joined.get(dim)) {
                source.memo.enter(&joined.pool);
            }
        }
        let added = match sources.as_mut_slice() {
            // By fields of the user alone, the segments of a projection are known after the first event.
            [Source { dim: Some(dim), fields, memo, .. }] if block.layout.is_user(*dim) => {
                self.add_by_user(block, *dim, fields, memo)
            }
            sources => self.add_by_all(block, sources),
        };
        self.sources = sources;
        added
    }

    fn add_by_user(&mut self, block: &Block, dim: usize, fields: &[(Column, usize)], memo: &mut Memo) -> Result<()> {
        let Some(joined) = block.joined.get(dim) else { return Ok(()) };
        for slot in &block.kept {
            let run = block.slots.get(*slot as usize).map_or(0, |slot| slot.run as usize);
            let code = joined.codes.get(run).copied().unwrap_or(NO_ROW);
            if memo.place(code).is_some_and(|known| known.is_none()) {
                let cells = self.cells_of(joined.tuple(code), fields)?;
                let segments: Result<_> = cells.chunks(fields.len()).map(|key| self.segment(key)).collect();
                let segments = segments?;
                if let Some(place) = memo.place(code) {
                    *place = Some(segments);
                }
            }
            let known = memo.place(code).and_then(|known| known.as_deref()).unwrap_or_default();
            for segment in known {
                self.measure(block, *slot as usize, *segment)?;
            }
        }
        Ok(())
    }

    fn add_by_all(&mut self, block: &Block, sources: &mut [Source]) -> Result<()> {
        let mut lists: Vec<Vec<u32>> = sources.iter().map(|_| Vec::new()).collect();
        let mut keys: Vec<Vec<u32>> = Vec::new();
        let mut key = vec![NOT_SET; self.by.len()];
        for slot in &block.kept {
            let slot = *slot as usize;
            for (source, list) in sources.iter_mut().zip(&mut lists) {
                list.clear();
                self.cells_of_event(block, slot, source, list)?;
            }
            // Nearly always there is one combination.
            if sources.iter().zip(&lists).all(|(source, list)| source.fields.len() == list.len()) {
                for (source, list) in sources.iter().zip(&lists) {
                    put_cells(source, list, &mut key);
                }
                let segment = self.segment(&key)?;
                self.measure(block, slot, segment)?;
                continue;
            }
            cross(self.by.len(), sources, &lists, &mut keys);
            for key in &keys {
                let segment = self.segment(key)?;
                self.measure(block, slot, segment)?;
            }
        }
        Ok(())
    }

    /// The combinations of cells that one source gives an event, each once, one behind the other.
    fn cells_of_event(&mut self, block: &Block, slot: usize, source: &mut Source, list: &mut Vec<u32>) -> Result<()> {
        let width = source.fields.len();
        let Some((dim, joined)) = source.dim.and_then(|dim| Some((dim, block.joined.get(dim)?))) else {
            let Some((column, place)) = source.fields.first().copied() else { return Ok(()) };
            let Some(bytes) = block.raw(slot, column)? else {
                return self.cells_of_column(block, slot, column, place, list);
            };
            if let Some(cells) = source.recent.get(bytes) {
                list.extend_from_slice(cells);
                return Ok(());
            }
            self.cells_of_column(block, slot, column, place, list)?;
            source.recent.put(bytes, list);
            return Ok(());
        };
        let codes = joined.codes.get(block.codes(slot, dim)).unwrap_or_default();
        // An event of no group at all is not set, as one without a profile is.
        let codes = if codes.is_empty() { &[NO_ROW] } else { codes };
        for code in codes {
            if source.memo.place(*code).is_some_and(|known| known.is_none()) {
                let cells = self.cells_of(joined.tuple(*code), &source.fields)?;
                if let Some(place) = source.memo.place(*code) {
                    *place = Some(cells.into());
                }
            }
            let known = source.memo.place(*code).and_then(|known| known.as_deref()).unwrap_or_default();
            for cells in known.chunks(width) {
                if !list.chunks(width).any(|other| other == cells) {
                    list.extend_from_slice(cells);
                }
            }
        }
        Ok(())
    }

    fn cells_of_column(
        &mut self,
        block: &Block,
        slot: usize,
        column: Column,
        place: usize,
        list: &mut Vec<u32>,
    ) -> Result<()> {
        if let Column::Event(_) = column {
            let value = block.slots.get(slot).and_then(|slot| block.stored(slot, column));
            return self.explode(value, place, list);
        }
        let mut bytes = Vec::new();
        if let Some(value) = block.value(slot, column)? {
            codec::project_value(&value, &mut bytes);
        }
        self.explode(codec::tuple_value(&bytes, 0), place, list)
    }

    /// The combinations of cells that the fields of one projection make.
    fn cells_of(&mut self, tuple: Option<&[u8]>, fields: &[(Column, usize)]) -> Result<Vec<u32>> {
        let mut all: Vec<u32> = Vec::new();
        for (number, (column, place)) in fields.iter().enumerate() {
            let at = if let Column::Dim { at, .. } = column { *at } else { 0 };
            let mut cells = Vec::new();
            self.explode(tuple.and_then(|tuple| codec::tuple_value(tuple, at)), *place, &mut cells)?;
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
        let decode = || bytes.decode().map_err(|_| Error::corrupt("a value that was checked cannot be read"));
        if let Some(keep) = keep
            && !keep(&decode()?)
        {
            return Ok(None);
        }
        if bytes.kind() == ValueKind::Other {
            return self.cells.intern(bytes.as_bytes()).map(Some);
        }
        // Equal numbers may have different bytes.
        let mut normal = Vec::new();
        codec::write_value(&mut normal, &decode()?.without_floats());
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

    fn measure(&mut self, block: &Block, slot: usize, segment: u32) -> Result<()> {
        let first = segment as usize * self.measures.len();
        let new_user = self.counts_users && self.meet(block, slot, segment)?;
        for (at, (measure, column)) in self.measures.iter().enumerate() {
            let Some(accumulator) = self.accumulators.get_mut(first + at) else { continue };
            match measure {
                Measure::Count => accumulator.count(1),
                Measure::Uniques => accumulator.count(u64::from(new_user)),
                _ => match column {
                    Column::Event(_) | Column::Dim { .. } => {
                        let value = block.slots.get(slot).and_then(|slot| block.stored(slot, *column));
                        value.iter().try_for_each(|value| accumulator.take(*value))?;
                    }
                    column => {
                        let value = block.value(slot, *column)?;
                        value.into_iter().for_each(|value| accumulator.take_value(value));
                    }
                },
            }
        }
        Ok(())
    }

    /// Whether this is the first event of its user in a segment. Events of nobody are nobody's.
    fn meet(&mut self, block: &Block, slot: usize, segment: u32) -> Result<bool> {
        let Some(slot) = block.slots.get(slot) else { return Ok(false) };
        let escaped = block.event_key(slot)?.escaped;
        if escaped.is_empty() {
            return Ok(false);
        }
        let id = self.ids.intern(escaped)?;
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
        let decode = |cell: u32| {
            let value = (cell != NOT_SET).then(|| ValueBytes::new(self.cells.get(cell)).decode());
            value.transpose().map_err(|_| Error::corrupt("a value that was checked cannot be read"))
        };
        let mut rows = Vec::with_capacity(self.segments.len());
        for (number, measures) in self.accumulators.chunks(self.measures.len()).enumerate() {
            let by = cells_of_key(self.segments.get(number as u32)).map(decode).collect::<Result<_>>()?;
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
pub(super) fn aggregate(engine: &Arc<Engine>, aggregate: &Aggregation) -> Result<Answer> {
    let work = |mut worker: Worker| -> Result<Aggregator> {
        let mut aggregator = Aggregator::new(engine, aggregate)?;
        let mut block = Block::new(&engine.layout);
        while worker.next(&mut block)?.is_some() {
            aggregator.add(&block)?;
            if worker.unit_ended() {
                aggregator.end_unit();
            }
        }
        Ok(aggregator)
    };
    let mut parts = in_parallel(engine, work)?;
    let mut all = match parts.pop() {
        Some(last) => last,
        None => Aggregator::new(engine, aggregate)?,
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
