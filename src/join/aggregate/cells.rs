//! What was counted by columns, into the hash table of a worker.

use std::sync::Arc;

use super::aggregator::{Aggregator, KeySource, put_combination};
use super::column_query::ColumnQuery;
use super::totals::{CellMeasure, CellSink, CellTotals, CountedNumbers};
use crate::error::Result;
use crate::join::block::ColumnValue;
use crate::join::exec::Execution;
use crate::join::layout::Column;
use crate::join::measure::Measure;
use crate::join::probe::Dictionary;
use crate::model::Value;

/// The most codes of which the group keys are cached.
const CACHED_MAX: usize = 1 << 16;

/// The hash table, with the dictionary of the codes that cells have.
pub(super) struct CellTable<'t> {
    pub(super) aggregator: &'t mut Aggregator,
    pub(super) dictionary: Option<&'t Arc<Dictionary>>,
    /// For each measure, where the field is that it is of.
    field_places: &'t [usize],
}

impl CellSink for CellTable<'_> {
    fn add_cell(&mut self, code: u32, keys: &[ColumnValue<'_>], totals: &CellTotals<'_>) -> Result<()> {
        let aggregator = &mut *self.aggregator;
        let mut sources = std::mem::take(&mut aggregator.sources);
        let mut lists: Vec<Vec<u32>> = Vec::with_capacity(sources.len());
        let mut keys = keys.iter();
        let mut gathered = Ok(());
        for source in &mut sources {
            let mut list = Vec::new();
            let done = match (source.dim, self.dictionary) {
                (Some(_), Some(dictionary)) => keys_of_code(aggregator, dictionary, code, source, &mut list),
                (Some(_), None) => Ok(()),
                (None, _) => {
                    let position = source.fields.first().map_or(0, |(_, position)| *position);
                    let value = keys.next().copied().unwrap_or(ColumnValue::NotSet);
                    aggregator.codes_of_column(value, position, &mut source.recent, &mut list)
                }
            };
            if gathered.is_ok() {
                gathered = done;
            }
            lists.push(list);
        }
        let added = gathered.and_then(|()| {
            let mut key = vec![0; aggregator.aggregation.by.len()];
            let lengths = sources.iter().zip(&lists).map(|(source, list)| list.len() / source.fields.len().max(1));
            for number in 0..aggregator.combinations(lengths)? {
                put_combination(number, &sources, &lists, &mut key);
                let bucket = aggregator.bucket(&key)?;
                aggregator.add_totals(bucket, totals, self.field_places)?;
            }
            Ok(())
        });
        aggregator.sources = sources;
        added
    }
}

/// Appends the partial group keys of a dictionary code, which are found out once.
fn keys_of_code(
    aggregator: &mut Aggregator,
    dictionary: &Arc<Dictionary>,
    code: u32,
    source: &mut KeySource,
    list: &mut Vec<u32>,
) -> Result<()> {
    // Where users alone are grouped by, rows of this query may have cached buckets there instead.
    if aggregator.aggregation.by.len() == source.fields.len() || dictionary.len() > CACHED_MAX {
        list.extend(aggregator.keys_of_code(dictionary, code, &source.fields)?);
        return Ok(());
    }
    aggregator.enter(source, dictionary)?;
    if source.cache.get(code).is_none() {
        let keys = aggregator.keys_of_code(dictionary, code, &source.fields)?;
        aggregator.remember(source, code, keys.into())?;
    }
    list.extend_from_slice(source.cache.get(code).map(|known| &**known).unwrap_or_default());
    Ok(())
}

impl ColumnQuery {
    /// The hash table of a worker, for the cells of this query.
    pub(super) fn table<'t>(&'t self, aggregator: &'t mut Aggregator) -> CellTable<'t> {
        CellTable { aggregator, dictionary: self.dictionary(), field_places: &self.field_places }
    }
}

impl Aggregator {
    /// The columns that are grouped by, in the order in which keys are looked for.
    fn keys_by(&self) -> impl Iterator<Item = Column> {
        self.sources.iter().flat_map(|source| &source.fields).map(|(column, _)| *column)
    }

    /// How the blocks of an execution are aggregated, for people; none without blocks.
    pub(super) fn explain(&self, execution: &Execution) -> Option<String> {
        ColumnQuery::explain(execution, self.keys_by(), &self.measures)
    }

    /// The query, if it can be answered by columns.
    pub(super) fn column_query(mut self, execution: &Execution) -> Result<Option<ColumnQuery>> {
        let Some(mut query) = ColumnQuery::new(execution, self.keys_by(), &self.measures)? else { return Ok(None) };
        let fields = self.sources.iter().find(|source| source.dim.is_some()).map(|source| source.fields.clone());
        let (fields, dictionary) = (fields.unwrap_or_default(), query.dictionary().cloned().unwrap_or_default());
        query.group(|code| self.keys_of_code(&dictionary, code, &fields).ok());
        Ok(Some(query))
    }

    /// Adds what was counted to a bucket. `field_places` has for each measure where its field is, if it has one.
    fn add_totals(&mut self, bucket: u32, totals: &CellTotals<'_>, field_places: &[usize]) -> Result<()> {
        let first = bucket as usize * self.measures.len();
        let users = match totals.ordinal {
            Some(ordinal) => u64::from(self.add_ordinal(bucket, ordinal)?),
            None => totals.users,
        };
        for at in 0..self.measures.len() {
            let (Some((measure, _)), Some(accumulator)) =
                (self.measures.get(at), self.accumulators.get_mut(first + at))
            else {
                continue;
            };
            let before = accumulator.held_bytes();
            match measure {
                Measure::Count => accumulator.count(totals.events),
                Measure::Uniques => {
                    accumulator.count(users);
                    accumulator.take_users(totals.ordinals);
                }
                _ => match field_places.get(at).and_then(|place| totals.fields.get(*place)) {
                    Some(CellMeasure::Sum(sum)) if sum.count > 0 => {
                        accumulator.take_sum(sum.sum, sum.exponent, sum.has_floats, sum.count);
                    }
                    Some(CellMeasure::Value(value)) => accumulator.take_value(value.clone()),
                    Some(CellMeasure::Numbers(numbers)) => {
                        self.add_numbers(first + at, numbers)?;
                        continue;
                    }
                    Some(CellMeasure::Nothing | CellMeasure::Sum(_)) | None => {}
                },
            }
            self.held = self.held - before + accumulator.held_bytes();
        }
        if self.held > self.reserved_held { self.reserve(0) } else { Ok(()) }
    }

    /// Adds numbers to an accumulator, which holds each distinct one.
    fn add_numbers(&mut self, place: usize, numbers: &CountedNumbers<'_>) -> Result<()> {
        for (value, count) in numbers.iter() {
            let (Some(accumulator), Value::Number(number)) = (self.accumulators.get_mut(place), value) else {
                continue;
            };
            self.held -= accumulator.held_bytes();
            accumulator.take_number(number, count);
            self.held += accumulator.held_bytes();
            if self.held > self.reserved_held {
                self.reserve(0)?;
            }
        }
        Ok(())
    }
}
