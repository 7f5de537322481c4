//! The columns of one block as aggregation reads them: fields that are grouped by, and numbers that are summed up.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::selection::{SelectedEvent, Selection};
use super::totals::CellSum;
use crate::codec::{ValueBytes, ValueKind, check_text};
use crate::error::Result;
use crate::join::block::{ColumnValue, position};
use crate::join::exec::Execution;
use crate::join::layout::{Column, JoinLayout};
use crate::join::period::PeriodStart;
use crate::join::probe::Dictionary;
use crate::join::scan::ChunkReader;
use crate::model::Number;
use crate::segment::{BlockColumn, ColumnId, Numbers, SealedBlock, power};

/// The most distinct values of a key in a block, where they are not counted already.
const DISTINCT_MAX: usize = 1 << 10;

/// Bits that the sum of a block may have more than its values.
const SUM_BITS: u32 = 17;

/// A field of the event that is grouped by: its values in a block, and which of them each event has.
pub(super) struct CellKey {
    codes: KeyCodes,
    pub(super) values: Vec<KeyValue>,
}

/// Which of the values of a key each event has.
enum KeyCodes {
    /// All have the first.
    First,
    /// The codes of the dictionary of a column, or its numbers less the least one.
    Stored(Rc<LoadedColumn>),
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
            KeyCodes::Stored(column) => match column.values.dictionary() {
                Some((_, codes)) => Some(codes),
                None => column.values.numbers().and_then(Numbers::dense),
            },
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
    Decimals(Rc<LoadedColumn>, i16),
    /// By the code of each event in a dictionary.
    Entries(Rc<LoadedColumn>, Vec<Option<(i128, bool)>>, i16),
}

impl CellNumbers {
    pub(super) fn exponent(&self) -> i16 {
        match self {
            Self::Absent => 0,
            Self::Decimals(_, exponent) | Self::Entries(_, _, exponent) => *exponent,
        }
    }

    /// Adds the numbers of events to the sums of their cells, which have these many events.
    pub(super) fn add(&self, events: &[SelectedEvent], cells: &[u32], counts: &[u64], sums: &mut [CellSum]) {
        match self {
            Self::Absent => {}
            Self::Decimals(column, exponent) => {
                let Some(numbers) = column.values.numbers() else { return };
                let decimals = Decimals { numbers, exponent: *exponent };
                match numbers.dense() {
                    Some(dense) if numbers.has_integers() != numbers.has_floats() => {
                        if numbers.has_floats() {
                            decimals.add_floats(dense, events, cells, sums);
                        } else {
                            decimals.add_integers(dense, events, cells, sums);
                        }
                        for (sum, count) in sums.iter_mut().zip(counts) {
                            sum.count = *count;
                            sum.has_floats = numbers.has_floats() && *count > 0;
                        }
                    }
                    _ => add_each(events, cells, sums, |event| {
                        let (integer, is_float) = numbers.get(event)?;
                        Some((decimals.scaled(integer, is_float), is_float))
                    }),
                }
            }
            Self::Entries(column, entries, _) => {
                let Some((_, codes)) = column.values.dictionary() else { return };
                add_each(events, cells, sums, |event| *entries.get(*codes.get(event)? as usize)?);
            }
        }
    }
}

/// Adds a number of each event, if it has one, to the sum of its cell.
#[inline]
fn add_each(
    events: &[SelectedEvent],
    cells: &[u32],
    sums: &mut [CellSum],
    number: impl Fn(usize) -> Option<(i128, bool)>,
) {
    for (selected, cell) in events.iter().zip(cells) {
        if let Some((number, is_float)) = number(selected.event as usize)
            && let Some(sum) = sums.get_mut(*cell as usize)
        {
            sum.sum += number;
            sum.count += 1;
            sum.has_floats |= is_float;
        }
    }
}

/// A column of decimals that are summed up in units of two to the power of an exponent.
#[derive(Clone, Copy)]
struct Decimals<'c> {
    numbers: &'c Numbers<'c>,
    exponent: i16,
}

impl Decimals<'_> {
    #[inline]
    fn scaled(self, integer: i64, is_float: bool) -> i128 {
        if is_float {
            return self.scaled_float(integer, power(self.numbers.exponent()));
        }
        let value = integer / 10_i64.pow(u32::from(self.numbers.exponent()));
        i128::from(value) << self.exponent.unsigned_abs()
    }

    #[inline]
    fn scaled_float(self, integer: i64, divisor: f64) -> i128 {
        let (mantissa, power) = parts(integer as f64 / divisor);
        i128::from(mantissa) << (power - i32::from(self.exponent)).max(0)
    }

    fn add_floats(self, dense: &[u32], events: &[SelectedEvent], cells: &[u32], sums: &mut [CellSum]) {
        let divisor = power(self.numbers.exponent());
        self.add_dense(dense, events, cells, sums, |integer| self.scaled_float(integer, divisor));
    }

    fn add_integers(self, dense: &[u32], events: &[SelectedEvent], cells: &[u32], sums: &mut [CellSum]) {
        let divisor = 10_i64.pow(u32::from(self.numbers.exponent()));
        let value = |integer: i64| if divisor == 1 { integer } else { integer / divisor };
        self.add_dense(dense, events, cells, sums, |integer| i128::from(value(integer)));
    }

    /// Adds the numbers of events, of which every one has one.
    #[inline]
    fn add_dense(
        self,
        dense: &[u32],
        events: &[SelectedEvent],
        cells: &[u32],
        sums: &mut [CellSum],
        number: impl Fn(i64) -> i128,
    ) {
        let least = self.numbers.bounds().0;
        for (selected, cell) in events.iter().zip(cells) {
            let above = dense.get(selected.event as usize).copied().unwrap_or_default();
            if let Some(sum) = sums.get_mut(*cell as usize) {
                sum.sum += number(least.wrapping_add(i64::from(above)));
            }
        }
    }
}

/// A float as an integer times two to the power of an exponent.
#[inline]
fn parts(float: f64) -> (i64, i32) {
    let bits = float.to_bits();
    let fraction = (bits & ((1 << 52) - 1)).cast_signed();
    let biased = i32::try_from((bits >> 52) & 0x7ff).unwrap_or_default();
    let (mantissa, exponent) = if biased == 0 { (fraction, -1_074) } else { (fraction | 1 << 52, biased - 1_075) };
    (if float.is_sign_negative() { -mantissa } else { mantissa }, exponent)
}

/// A decoded column, and where it is stored.
pub(super) struct LoadedColumn {
    pub(super) id: ColumnId,
    pub(super) values: BlockColumn,
}

/// The columns of a block that a query needs, each of which is read once.
pub(super) struct QueryColumns<'c> {
    pub(super) reader: &'c ChunkReader<'c>,
    pub(super) execution: &'c Execution,
    pub(super) block: &'c SealedBlock,
    /// Of the users that are joined.
    pub(super) dictionary: &'c Dictionary,
    /// Those that were read; none where no event has the property.
    read: RefCell<Vec<(Column, Option<Rc<LoadedColumn>>)>>,
}

impl<'c> QueryColumns<'c> {
    pub(super) fn new(
        reader: &'c ChunkReader<'c>,
        execution: &'c Execution,
        block: &'c SealedBlock,
        dictionary: &'c Dictionary,
    ) -> Self {
        Self { reader, execution, block, dictionary, read: RefCell::default() }
    }

    fn layout(&self) -> &JoinLayout {
        &self.execution.layout
    }

    /// The values of a field of the event, if any event has one.
    pub(super) fn values(&self, column: Column) -> Result<Option<Rc<LoadedColumn>>> {
        if let Some((_, known)) = self.read.borrow().iter().find(|(known, _)| *known == column) {
            return Ok(known.clone());
        }
        let stored = match column {
            Column::Name => Some((ColumnId::Name, self.reader.texts(&ColumnId::Name)?)),
            Column::Event(at) => match self.layout().events.properties.get(at) {
                Some(name) => self.reader.property(name)?,
                None => None,
            },
            _ => None,
        };
        let stored = stored.map(|(id, values)| Rc::new(LoadedColumn { id, values }));
        self.read.borrow_mut().push((column, stored.clone()));
        Ok(stored)
    }

    /// Removes the events of a selection that rows replace, or that are not of the times and names of the query.
    /// Returns whether that could be done.
    pub(super) fn filter_events(&self, replaced: &[u32], selection: &mut Selection) -> Result<bool> {
        let predicate = &self.execution.predicate;
        if !replaced.is_empty() {
            selection.retain(|selected| replaced.binary_search(&selected.event).is_err());
        }
        let (first, last) = self.block.times();
        if !(predicate.has_time(first) && predicate.has_time(last)) {
            let times = self.reader.times()?;
            let time = |event: u32| self.block.time(times.get(event as usize));
            selection.retain(|selected| predicate.has_time(time(selected.event)));
        }
        if predicate.names.is_some() {
            let Some(names) = self.values(Column::Name)? else { return Ok(false) };
            let Some((entries, codes)) = names.values.dictionary() else { return Ok(false) };
            let keeps: Vec<bool> = entries.iter().map(|name| predicate.has_name(name)).collect();
            let has_name = |event: u32| keeps.get(*codes.get(event as usize)? as usize).copied();
            selection.retain(|selected| has_name(selected.event).unwrap_or(false));
        }
        Ok(true)
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
            let Some(stored) = self.values(*column)? else {
                keys.push(CellKey { codes: KeyCodes::First, values: vec![KeyValue::NotSet] });
                continue;
            };
            if let Some((entries, _)) = stored.values.dictionary() {
                let values = entries.iter().map(|entry| KeyValue::of(*column, entry)).collect();
                keys.push(CellKey { codes: KeyCodes::Stored(stored), values });
                continue;
            }
            let few = stored.values.numbers().and_then(few_numbers);
            match few {
                Some(values) => keys.push(CellKey { codes: KeyCodes::Stored(stored), values }),
                None => match self.distinct_values(*column, &stored)? {
                    Some(key) => keys.push(key),
                    None => return Ok(None),
                },
            }
        }
        Ok(Some(keys))
    }

    /// The distinct values of a column without a dictionary, if they are few.
    fn distinct_values(&self, column: Column, stored: &LoadedColumn) -> Result<Option<CellKey>> {
        let LoadedColumn { id, values } = stored;
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
            let Some(stored) = self.values(*column)? else {
                sums.push(CellNumbers::Absent);
                continue;
            };
            let numbers = if stored.values.numbers().is_some() { decimals(stored) } else { entry_numbers(stored) };
            match numbers {
                Some(numbers) => sums.push(numbers),
                None => return Ok(None),
            }
        }
        Ok(Some(sums))
    }
}

/// The numbers of a column where every event has one of the same kind, from the least on, if they are few.
fn few_numbers(numbers: &Numbers<'_>) -> Option<Vec<KeyValue>> {
    let (least, greatest) = numbers.bounds();
    let is_few = usize::try_from(greatest.abs_diff(least)).is_ok_and(|spread| spread < DISTINCT_MAX);
    // An integer is stored as it is where there are no floats: what is divided is then of the exponent 0.
    let is_uniform =
        numbers.has_floats() != numbers.has_integers() && (numbers.has_floats() || numbers.exponent() == 0);
    if !is_few || !is_uniform || numbers.dense().is_none() {
        return None;
    }
    let value = |integer: i64| {
        let mut bytes = Vec::new();
        numbers.put(integer, numbers.has_floats(), &mut bytes);
        KeyValue::Stored(bytes)
    };
    Some((least..=greatest).map(value).collect())
}

fn decimals(stored: Rc<LoadedColumn>) -> Option<CellNumbers> {
    let numbers = stored.values.numbers()?;
    let (least, greatest) = numbers.bounds();
    let bits = 64 - least.unsigned_abs().max(greatest.unsigned_abs()).leading_zeros();
    // The least float that is not 0 is one over the power of ten, and has 53 bits at most.
    let exponent = if numbers.has_floats() { parts(1.0 / power(numbers.exponent())).1 } else { 0 };
    let fits = if numbers.has_floats() { bits + 54 + SUM_BITS < 127 } else { bits + SUM_BITS < 127 };
    let exponent = i16::try_from(exponent).ok()?;
    fits.then_some(CellNumbers::Decimals(stored, exponent))
}

fn entry_numbers(stored: Rc<LoadedColumn>) -> Option<CellNumbers> {
    let (entries, _) = stored.values.dictionary()?;
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
    Some(CellNumbers::Entries(stored, entries, exponent))
}
