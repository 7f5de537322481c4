//! The columns of one block as aggregation reads them, and the fields that are grouped by.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::selection::Selection;
use crate::codec::{ValueBytes, check_text};
use crate::error::Result;
use crate::join::block::{ColumnValue, position};
use crate::join::exec::Execution;
use crate::join::layout::{Column, JoinLayout};
use crate::join::period::PeriodStart;
use crate::join::probe::Dictionary;
use crate::join::scan::ChunkReader;
use crate::segment::{BlockColumn, ColumnId, Numbers, SealedBlock};

/// The most distinct values of a key in a block, where they are not counted already.
const DISTINCT_MAX: usize = 1 << 10;

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
        columns.iter().map(|column| self.key(*column)).collect()
    }

    /// The values of a field of the event, if they are few, or are counted already.
    pub(super) fn key(&self, column: Column) -> Result<Option<CellKey>> {
        let one = |value: KeyValue| Ok(Some(CellKey { codes: KeyCodes::First, values: vec![value] }));
        if let Column::Period(period) = column {
            let (first, last) = self.block.times();
            let zone = &self.layout().zone;
            let [first, last] = [first, last].map(|time| PeriodStart::of(period, time, zone));
            return if first == last { one(KeyValue::Period(first)) } else { Ok(None) };
        }
        let Some(stored) = self.values(column)? else { return one(KeyValue::NotSet) };
        if let Some((entries, _)) = stored.values.dictionary() {
            let values = entries.iter().map(|entry| KeyValue::of(column, entry)).collect();
            return Ok(Some(CellKey { codes: KeyCodes::Stored(stored), values }));
        }
        match stored.values.numbers().and_then(few_numbers) {
            Some(values) => Ok(Some(CellKey { codes: KeyCodes::Stored(stored), values })),
            None => self.distinct_values(column, &stored),
        }
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
