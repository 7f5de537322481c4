//! The values of a field of the event in order, within one block: they are compared by their *places*, as integers.
//!
//! A place is twice the rank of a value among those of the block, and one more if it is a float: of an integer and a
//! float that are equal, the integer is in front.

use std::rc::Rc;

use super::block_columns::{CellKey, KeyValue, LoadedColumn, QueryColumns};
use super::decimals::DecimalKind;
use crate::error::Result;
use crate::join::block::ColumnValue;
use crate::join::layout::Column;
use crate::model::{Timestamp, Value};
use crate::segment::{BlockTimes, Numbers};

/// Places are less than this: the integers of a column of numbers spread over 32 bits.
pub(super) const PLACES: u64 = 1 << 33;

/// Which values have a place. Lists and objects never do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ranked {
    Numbers,
    /// Truth values, numbers and texts.
    Plain,
}

impl Ranked {
    fn has(self, value: &Value) -> bool {
        match value {
            Value::Number(_) => true,
            Value::Bool(_) | Value::String(_) => self == Self::Plain,
            Value::Null | Value::List(_) | Value::Object(_) => false,
        }
    }
}

/// The values of a field.
pub(super) enum OrderedColumn {
    /// Numbers as they are stored: the rank is the integer, less the least one.
    Decimals(Rc<LoadedColumn>),
    /// For each code its place, and the values by their places, ascending.
    Codes { key: CellKey, places: Vec<Option<u64>>, values: Vec<(u64, Value)> },
    /// Times: the rank is the millisecond of the day, which is the one of the first time here.
    Times(BlockTimes, Timestamp),
}

impl OrderedColumn {
    /// That of a field, if it has few values, or they can be compared as they are stored.
    pub(super) fn new(columns: &QueryColumns<'_>, column: Column, ranked: Ranked) -> Result<Option<Self>> {
        if column == Column::Time {
            // Texts are in the order of times only where there are texts.
            let (first, last) = columns.block.times();
            let start = columns.block.time(0);
            let has_texts = first.has_text() && last.has_text();
            return if has_texts { Ok(Some(Self::Times(columns.reader.times()?, start))) } else { Ok(None) };
        }
        let stored = if matches!(column, Column::Event(_)) { columns.values(column)? } else { None };
        if let Some(stored) = stored
            && let Some(numbers) = stored.values.numbers()
        {
            // Beyond, floats need not be in the order of what is stored.
            let kind = DecimalKind { exponent: numbers.exponent(), is_float: numbers.has_floats() };
            return Ok(kind.covers(numbers.bounds()).then(|| Self::Decimals(Rc::clone(&stored))));
        }
        Ok(columns.key(column)?.map(|key| Self::of_key(key, ranked)))
    }

    fn of_key(key: CellKey, ranked: Ranked) -> Self {
        let value = |(code, value): (usize, &KeyValue)| Some((value.value().value().filter(|v| ranked.has(v))?, code));
        let is_float = |value: &Value| value.as_number().is_some_and(crate::model::Number::is_float);
        let mut sorted: Vec<(Value, usize)> = key.values.iter().enumerate().filter_map(value).collect();
        sorted.sort_by(|(a, _), (b, _)| a.cmp(b).then(is_float(a).cmp(&is_float(b))));
        let mut places = vec![None; key.values.len()];
        let mut values: Vec<(u64, Value)> = Vec::with_capacity(sorted.len());
        for (value, code) in sorted {
            let rank = values.last().map_or(0, |(last, known)| last / 2 + u64::from(*known != value));
            let place = rank * 2 + u64::from(is_float(&value));
            places.get_mut(code).into_iter().for_each(|of_code| *of_code = Some(place));
            if values.last().is_none_or(|(last, _)| *last != place) {
                values.push((place, value));
            }
        }
        Self::Codes { key, places, values }
    }

    /// Calls a function with the place of the value of each event, if it has one, and with what goes with the event.
    #[inline]
    pub(super) fn visit<T>(&self, events: impl Iterator<Item = (usize, T)>, mut each: impl FnMut(u64, T)) {
        match self {
            Self::Decimals(column) => {
                let Some(numbers) = column.values.numbers() else { return };
                match numbers.dense().filter(|_| numbers.has_integers() != numbers.has_floats()) {
                    Some(dense) => {
                        let float = u64::from(numbers.has_floats());
                        for (event, of) in events {
                            each(u64::from(dense.get(event).copied().unwrap_or_default()) * 2 + float, of);
                        }
                    }
                    None => {
                        let least = numbers.bounds().0;
                        for (event, of) in events {
                            if let Some((integer, is_float)) = numbers.get(event) {
                                each(integer.abs_diff(least) * 2 + u64::from(is_float), of);
                            }
                        }
                    }
                }
            }
            Self::Codes { key, places, .. } => {
                let codes = key.codes();
                for (event, of) in events {
                    let code = codes.map_or(0, |codes| codes.get(event).map_or(usize::MAX, |code| *code as usize));
                    if let Some(place) = places.get(code).copied().flatten() {
                        each(place, of);
                    }
                }
            }
            Self::Times(times, _) => events.for_each(|(event, of)| each(u64::from(times.get(event)) * 2, of)),
        }
    }

    /// The value at a place.
    pub(super) fn value(&self, place: u64) -> Option<Value> {
        match self {
            Self::Decimals(column) => decimal(column.values.numbers()?, place),
            Self::Codes { values, .. } => {
                let at = values.binary_search_by_key(&place, |(known, _)| *known).ok()?;
                values.get(at).map(|(_, value)| value.clone())
            }
            Self::Times(_, start) => {
                let millis = start.millis().checked_add_unsigned(place / 2)?;
                ColumnValue::Time(Timestamp::from_millis(millis)).value()
            }
        }
    }
}

/// The value of a place in a column of numbers.
fn decimal(numbers: &Numbers<'_>, place: u64) -> Option<Value> {
    let integer = numbers.bounds().0.checked_add_unsigned(place / 2)?;
    let kind = DecimalKind { exponent: numbers.exponent(), is_float: place % 2 == 1 };
    Some(Value::Number(kind.decimal(integer)))
}
