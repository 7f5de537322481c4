//! The columns of one block as aggregation reads them: predicates on events, fields that are grouped by, and numbers
//! that are summed up.

use std::collections::BTreeMap;

use crate::codec::{ValueBytes, ValueKind, check_text};
use crate::error::Result;
use crate::join::block::{ColumnValue, decoded, position};
use crate::join::exec::Execution;
use crate::join::layout::{Column, JoinLayout};
use crate::join::period::PeriodStart;
use crate::join::scan::ChunkReader;
use crate::model::{Number, Value};
use crate::segment::{BlockColumn, ColumnId, Numbers, SealedBlock, power};

/// The most distinct values of a key in a block, where they are not counted already.
const DISTINCT_MAX: usize = 1 << 10;

/// Bits that the sum of a block may have more than its values.
const SUM_BITS: u32 = 17;

/// A predicate on the events of a block.
pub(super) enum EventTest {
    /// By the code of each event in a dictionary.
    Codes(BlockColumn, Vec<bool>),
    /// By event.
    Events(Vec<bool>),
}

impl EventTest {
    /// It as slices, for many events.
    pub(super) fn slices(&self) -> TestSlices<'_> {
        match self {
            Self::Codes(column, keeps) => TestSlices::Codes(column.dictionary().map_or(&[], |(_, codes)| codes), keeps),
            Self::Events(keeps) => TestSlices::Events(keeps),
        }
    }
}

/// A predicate on the events of a block, as slices.
#[derive(Clone, Copy)]
pub(super) enum TestSlices<'t> {
    Codes(&'t [u32], &'t [bool]),
    Events(&'t [bool]),
}

impl TestSlices<'_> {
    #[inline]
    pub(super) fn passes(self, event: usize) -> bool {
        let passes = match self {
            Self::Codes(codes, keeps) => codes.get(event).and_then(|code| keeps.get(*code as usize)),
            Self::Events(keeps) => keeps.get(event),
        };
        passes.copied().unwrap_or(false)
    }
}

/// The most numbers whose verdicts are remembered, of one predicate on one thread.
const VERDICTS_MAX: usize = 1 << 20;

/// What a predicate says of decimals: those of one exponent, from the least one on, integers and floats.
#[derive(Default)]
pub(super) struct KnownVerdicts {
    exponent: u8,
    least: i64,
    known: Vec<[Option<bool>; 2]>,
}

impl KnownVerdicts {
    /// Makes room for the numbers of a column, if they are few enough, and forgets others that are too far away.
    fn cover(&mut self, numbers: &Numbers<'_>) {
        let (least, greatest) = numbers.bounds();
        let distinct =
            |least: i64| usize::try_from(greatest.abs_diff(least)).map_or(usize::MAX, |far| far.saturating_add(1));
        if distinct(least) > VERDICTS_MAX {
            *self = Self::default();
            return;
        }
        let is_other = self.known.is_empty() || self.exponent != numbers.exponent() || least < self.least;
        if is_other || distinct(self.least) > VERDICTS_MAX {
            // A little further down, because the next block may have a number that is less.
            *self = Self { exponent: numbers.exponent(), least: least.saturating_sub(1 << 8), known: Vec::new() };
        }
        if distinct(self.least) <= VERDICTS_MAX && self.known.len() < distinct(self.least) {
            self.known.resize(distinct(self.least), [None; 2]);
        }
    }

    /// Memory in use, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.known.capacity() * size_of::<[Option<bool>; 2]>()
    }

    /// What is known of a number, if it is remembered.
    #[inline]
    fn place(&mut self, integer: i64, is_float: bool) -> Option<&mut Option<bool>> {
        let at = usize::try_from(integer.checked_sub(self.least)?).ok()?;
        self.known.get_mut(at)?.get_mut(usize::from(is_float))
    }
}

/// A field of the event that is grouped by: its values in a block, and which of them each event has.
pub(super) struct CellKey {
    codes: KeyCodes,
    pub(super) values: Vec<KeyValue>,
}

/// Which of the values of a key each event has.
enum KeyCodes {
    /// All have the first.
    First,
    /// The codes of the dictionary of a column.
    Dictionary(BlockColumn),
    /// Those of a column without one.
    Own(Vec<u32>),
}

/// A value of a key.
pub(super) enum KeyValue {
    NotSet,
    /// An entry of the dictionary of the column, a value or a text.
    Stored(Vec<u8>),
    Text(String),
    Period(PeriodStart),
}

impl CellKey {
    /// Which of its values each event has; without codes all have the first.
    pub(super) fn codes(&self) -> Option<&[u32]> {
        match &self.codes {
            KeyCodes::First => None,
            KeyCodes::Dictionary(column) => column.dictionary().map(|(_, codes)| codes),
            KeyCodes::Own(codes) => Some(codes),
        }
    }
}

impl KeyValue {
    /// A value of a column, or a name, that was checked.
    fn of(column: Column, bytes: &[u8]) -> Self {
        match column {
            Column::Name => Self::Text(String::from_utf8_lossy(bytes).into_owned()),
            _ if bytes.is_empty() => Self::NotSet,
            _ => Self::Stored(bytes.to_vec()),
        }
    }

    pub(super) fn value(&self) -> ColumnValue<'_> {
        match self {
            Self::NotSet => ColumnValue::NotSet,
            Self::Stored(bytes) => ColumnValue::Stored(ValueBytes::new(bytes)),
            Self::Text(text) => ColumnValue::Text(text),
            Self::Period(start) => ColumnValue::Period(*start),
        }
    }
}

/// A field of the event that is summed up.
pub(super) enum CellNumbers {
    /// No event has it.
    Absent,
    /// Decimals, as integers times two to the power of an exponent.
    Decimals(BlockColumn, i16),
    /// By the code of each event in a dictionary.
    Entries(BlockColumn, Vec<Option<(i128, bool)>>, i16),
}

impl CellNumbers {
    pub(super) fn exponent(&self) -> i16 {
        match self {
            Self::Absent => 0,
            Self::Decimals(_, exponent) | Self::Entries(_, _, exponent) => *exponent,
        }
    }

    /// The number of an event, and whether it is a float.
    #[inline]
    pub(super) fn get(&self, event: usize) -> Option<(i128, bool)> {
        match self {
            Self::Absent => None,
            Self::Decimals(column, exponent) => {
                let numbers = column.numbers()?;
                let (integer, is_float) = numbers.get(event)?;
                Some((scaled(numbers, integer, is_float, *exponent), is_float))
            }
            Self::Entries(column, entries, _) => {
                let code = column.dictionary().and_then(|(_, codes)| codes.get(event))?;
                *entries.get(*code as usize)?
            }
        }
    }
}

/// A decimal as an integer times two to the power of an exponent.
#[inline]
fn scaled(numbers: &Numbers<'_>, integer: i64, is_float: bool, exponent: i16) -> i128 {
    if is_float {
        let (mantissa, power) = parts(integer as f64 / power(numbers.exponent()));
        return mantissa << (power - i32::from(exponent)).max(0);
    }
    let value = integer / 10_i64.pow(u32::from(numbers.exponent()));
    i128::from(value) << exponent.unsigned_abs()
}

/// A float as an integer times two to the power of an exponent.
#[inline]
fn parts(float: f64) -> (i128, i32) {
    let bits = float.to_bits();
    let fraction = i128::from(bits & ((1 << 52) - 1));
    let biased = i32::try_from((bits >> 52) & 0x7ff).unwrap_or_default();
    let (mantissa, exponent) = if biased == 0 { (fraction, -1_074) } else { (fraction | 1 << 52, biased - 1_075) };
    (if float.is_sign_negative() { -mantissa } else { mantissa }, exponent)
}

/// The columns of a block that a query needs.
pub(super) struct QueryColumns<'c> {
    pub(super) reader: &'c ChunkReader<'c>,
    pub(super) execution: &'c Execution,
    pub(super) block: &'c SealedBlock,
}

impl QueryColumns<'_> {
    fn layout(&self) -> &JoinLayout {
        &self.execution.layout
    }

    /// The values of a field of the event, and the column that they are stored in, if any event has one.
    fn values(&self, column: Column) -> Result<Option<(ColumnId, BlockColumn)>> {
        match column {
            Column::Name => Ok(Some((ColumnId::Name, self.reader.texts(&ColumnId::Name)?))),
            Column::Event(at) => {
                let Some(name) = self.layout().events.properties.get(at) else { return Ok(None) };
                self.reader.property(name)
            }
            _ => Ok(None),
        }
    }

    /// The predicates on events, without those that all pass; none if one fails for a value that events have.
    pub(super) fn tests(
        &self,
        conjuncts: &[(usize, Column)],
        known: &mut [KnownVerdicts],
        replaced: &[u32],
    ) -> Result<Option<Vec<EventTest>>> {
        let predicate = &self.execution.predicate;
        let events = self.reader.events();
        let mut tests = Vec::new();
        if !replaced.is_empty() {
            let is_replaced = |event: usize| replaced.binary_search(&position(event)).is_ok();
            tests.push(EventTest::Events((0..events).map(|event| !is_replaced(event)).collect()));
        }
        let (first, last) = self.block.times();
        if !(predicate.has_time(first) && predicate.has_time(last)) {
            let times = self.reader.times()?;
            let keeps = (0..events).map(|event| predicate.has_time(self.block.time(times.get(event)))).collect();
            tests.push(EventTest::Events(keeps));
        }
        if predicate.names.is_some() {
            let names = self.reader.texts(&ColumnId::Name)?;
            let Some((entries, _)) = names.dictionary() else { return Ok(None) };
            let keeps = entries.iter().map(|name| predicate.has_name(name)).collect();
            tests.push(EventTest::Codes(names, keeps));
        }
        for ((conjunct, column), known) in conjuncts.iter().zip(known) {
            match self.test(*conjunct, *column, known)? {
                Some(test) => tests.push(test),
                None => return Ok(None),
            }
        }
        Ok(Some(tests))
    }

    fn test(&self, conjunct: usize, column: Column, known: &mut KnownVerdicts) -> Result<Option<EventTest>> {
        let filter = &self.execution.predicate.filter;
        let events = self.reader.events();
        let keeps = |value: Option<&Value>| filter.keeps_value(conjunct, value).ok();
        let Some((id, values)) = self.values(column)? else {
            return Ok(keeps(None).map(|keeps| EventTest::Events(vec![keeps; events])));
        };
        if let Some((entries, _)) = values.dictionary() {
            let keeps = entries.iter().map(|entry| match column {
                Column::Name => keeps(Some(&Value::from(String::from_utf8_lossy(entry).as_ref()))),
                _ if entry.is_empty() => keeps(None),
                _ => keeps(Some(&decoded(ValueBytes::new(entry)))),
            });
            let keeps: Option<Vec<bool>> = keeps.collect();
            return Ok(keeps.map(|keeps| EventTest::Codes(values, keeps)));
        }
        let Some(numbers) = values.numbers() else { return Ok(None) };
        known.cover(numbers);
        let mut of_absent = None;
        let mut of_events = Vec::with_capacity(events);
        let mut bytes = Vec::new();
        for event in 0..events {
            let place = match numbers.get(event) {
                None => Some(&mut of_absent),
                Some((integer, is_float)) => known.place(integer, is_float),
            };
            if let Some(Some(verdict)) = place {
                of_events.push(*verdict);
                continue;
            }
            bytes.clear();
            let written = values.write(event, &mut bytes);
            written.map_err(|malformed| self.reader.damaged(&id, malformed))?;
            let value = (!bytes.is_empty()).then(|| decoded(ValueBytes::new(&bytes)));
            let Some(verdict) = keeps(value.as_ref()) else { return Ok(None) };
            if let Some(place) = place {
                *place = Some(verdict);
            }
            of_events.push(verdict);
        }
        Ok(Some(EventTest::Events(of_events)))
    }

    /// The fields that are grouped by, if all have few values.
    pub(super) fn keys(&self, columns: &[Column]) -> Result<Option<Vec<CellKey>>> {
        let mut keys = Vec::with_capacity(columns.len());
        for column in columns {
            if let Column::Period(period) = column {
                let (first, last) = self.block.times();
                let zone = &self.layout().zone;
                let starts = [first, last].map(|time| PeriodStart::of(*period, time, zone));
                if starts[0] != starts[1] {
                    return Ok(None);
                }
                keys.push(CellKey { codes: KeyCodes::First, values: vec![KeyValue::Period(starts[0])] });
                continue;
            }
            let Some((id, values)) = self.values(*column)? else {
                keys.push(CellKey { codes: KeyCodes::First, values: vec![KeyValue::NotSet] });
                continue;
            };
            let Some((entries, _)) = values.dictionary() else {
                match self.distinct_values(*column, &id, &values)? {
                    Some(key) => keys.push(key),
                    None => return Ok(None),
                }
                continue;
            };
            let known = entries.iter().map(|entry| KeyValue::of(*column, entry)).collect();
            keys.push(CellKey { codes: KeyCodes::Dictionary(values), values: known });
        }
        Ok(Some(keys))
    }

    /// The distinct values of a column without a dictionary, if they are few.
    fn distinct_values(&self, column: Column, id: &ColumnId, values: &BlockColumn) -> Result<Option<CellKey>> {
        let events = self.reader.events();
        let mut known: BTreeMap<Vec<u8>, u32> = BTreeMap::new();
        let mut distinct = Vec::new();
        let mut codes: Vec<u32> = Vec::with_capacity(events);
        let mut bytes = Vec::new();
        for event in 0..events {
            bytes.clear();
            let written = values.write(event, &mut bytes);
            written.map_err(|malformed| self.reader.damaged(id, malformed))?;
            if let Some(code) = known.get(&bytes) {
                codes.push(*code);
                continue;
            }
            if distinct.len() >= DISTINCT_MAX {
                return Ok(None);
            }
            let checked = match column {
                Column::Name => check_text(&bytes),
                _ if bytes.is_empty() => Ok(()),
                _ => ValueBytes::checked(&bytes).map(|_| ()),
            };
            checked.map_err(|malformed| self.reader.damaged(id, malformed))?;
            let code = position(distinct.len());
            distinct.push(KeyValue::of(column, &bytes));
            known.insert(bytes.clone(), code);
            codes.push(code);
        }
        Ok(Some(CellKey { codes: KeyCodes::Own(codes), values: distinct }))
    }

    /// The fields that are summed up, if their sums fit into 128 bits.
    pub(super) fn sums(&self, columns: &[Column]) -> Result<Option<Vec<CellNumbers>>> {
        let mut sums = Vec::with_capacity(columns.len());
        for column in columns {
            let Some((_, values)) = self.values(*column)? else {
                sums.push(CellNumbers::Absent);
                continue;
            };
            let numbers = if values.numbers().is_some() { decimals(values) } else { dictionary_numbers(values) };
            match numbers {
                Some(numbers) => sums.push(numbers),
                None => return Ok(None),
            }
        }
        Ok(Some(sums))
    }
}

fn decimals(values: BlockColumn) -> Option<CellNumbers> {
    let numbers = values.numbers()?;
    let (least, greatest) = numbers.bounds();
    let bits = 64 - least.unsigned_abs().max(greatest.unsigned_abs()).leading_zeros();
    // The least float that is not 0 is one over the power of ten, and has 53 bits at most.
    let exponent = if numbers.has_floats() { parts(1.0 / power(numbers.exponent())).1 } else { 0 };
    let fits = if numbers.has_floats() { bits + 54 + SUM_BITS < 127 } else { bits + SUM_BITS < 127 };
    let exponent = i16::try_from(exponent).ok()?;
    fits.then(|| CellNumbers::Decimals(values, exponent))
}

fn dictionary_numbers(values: BlockColumn) -> Option<CellNumbers> {
    let (entries, _) = values.dictionary()?;
    let number = |entry: &&[u8]| -> Option<Option<Number>> {
        let value = ValueBytes::new(entry);
        if entry.is_empty() || value.kind() != ValueKind::Number {
            return Some(None);
        }
        value.number().ok().map(Some)
    };
    let numbers: Vec<Option<Number>> = entries.iter().map(number).collect::<Option<_>>()?;
    let exponent = numbers.iter().flatten().map(|number| number.parts().1).min().unwrap_or_default().min(0);
    let scaled = |number: &Number| -> Option<(i128, bool)> {
        let (mantissa, own) = number.small_parts()?;
        let shift = u32::from(own.abs_diff(exponent));
        let bits = 128 - mantissa.unsigned_abs().leading_zeros();
        (bits + shift + SUM_BITS < 127).then(|| (mantissa << shift, number.is_float()))
    };
    let entries = numbers.iter().map(|number| number.as_ref().map(scaled));
    // One that does not fit, and not one that is no number.
    let entries: Vec<Option<(i128, bool)>> =
        entries.map(|entry| entry.map_or(Some(None), |scaled| scaled.map(Some))).collect::<Option<_>>()?;
    Some(CellNumbers::Entries(values, entries, exponent))
}
