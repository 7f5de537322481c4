//! A block: some events that passed the filters on events, and what was joined onto them.
//!
//! Events are read, joined and handed on by the block. All bytes of its events stand in one vector; consecutive events
//! of one user are a *run* and are joined once. What is joined is a number: the place of the row's projection among the
//! distinct projections of its pool.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use super::interner::{Interner, are_equal};
use super::layout::{Column, Layout};
use crate::codec::{self, EventBytes, EventKey, Malformed, ValueBytes};
use crate::error::Result;
use crate::model::{Timestamp, Value};

/// Bytes of the day at the beginning of a key.
const DAY: usize = 4;

/// In place of the number of a projection: there is no row.
pub(super) const NO_ROW: u32 = u32::MAX;

/// Where an event stands in the bytes of its block: key, projection, and its value when that is needed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub(super) at: usize,
    pub(super) key: u32,
    pub(super) tuple: u32,
    pub(super) value: u32,
    pub(super) run: u32,
}

/// Events of one user behind each other.
#[derive(Clone, Debug)]
pub(super) struct Run {
    /// The first of them.
    pub(super) slot: u32,
    /// Where the id stands in the bytes of the block, as in keys.
    pub(super) id: Range<usize>,
}

/// What was joined from one table.
#[derive(Debug, Default)]
pub(super) struct Joined {
    /// Distinct projections.
    pub(super) pool: Arc<Interner>,
    /// Numbers in the pool: one per run for users, any number per event or run for groups.
    pub(super) codes: Vec<u32>,
    /// For groups: where the numbers of each event (or run, for groups of users) end.
    pub(super) ends: Vec<u32>,
    /// For groups: their ids behind each other, and where each ends.
    pub(super) ids: Vec<u8>,
    pub(super) id_ends: Vec<u32>,
}

impl Joined {
    pub(super) fn clear(&mut self) {
        self.codes.clear();
        self.ends.clear();
        self.ids.clear();
        self.id_ends.clear();
    }

    /// Which numbers belong to an event or run.
    pub(super) fn range(&self, at: usize) -> Range<usize> {
        let end = |at: usize| self.ends.get(at).map_or(0, |end| *end as usize);
        at.checked_sub(1).map_or(0, end)..end(at)
    }

    pub(super) fn id(&self, at: usize) -> &str {
        let end = |at: usize| self.id_ends.get(at).map_or(0, |end| *end as usize);
        let bytes = self.ids.get(at.checked_sub(1).map_or(0, end)..end(at)).unwrap_or_default();
        std::str::from_utf8(bytes).unwrap_or_default()
    }

    pub(super) fn tuple(&self, code: u32) -> Option<&[u8]> {
        (code != NO_ROW).then(|| self.pool.get(code))
    }
}

/// Events and what was joined onto them.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) layout: Arc<Layout>,
    pub(super) bytes: Vec<u8>,
    pub(super) slots: Vec<Slot>,
    pub(super) runs: Vec<Run>,
    /// Table by table, as the layout has them.
    pub(super) joined: Vec<Joined>,
    /// The slots that passed every filter.
    pub(super) kept: Vec<u32>,
}

impl Block {
    pub(super) fn new(layout: &Arc<Layout>) -> Self {
        let joined = layout.dims.iter().map(|_| Joined::default()).collect();
        Self {
            layout: Arc::clone(layout),
            bytes: Vec::new(),
            slots: Vec::new(),
            runs: Vec::new(),
            joined,
            kept: Vec::new(),
        }
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.slots.clear();
        self.runs.clear();
        self.joined.iter_mut().for_each(Joined::clear);
        self.kept.clear();
    }

    /// Appends an event, of which the id stands in the key as `escaped`.
    #[inline]
    pub(super) fn push(
        &mut self,
        key: &[u8],
        escaped: &[u8],
        event: &EventBytes<'_>,
        value: &[u8],
    ) -> Result<(), Malformed> {
        let at = self.bytes.len();
        let same = |run: &Run| self.bytes.get(run.id.clone()).is_some_and(|id| are_equal(id, escaped));
        // The name and the id of every row are read without a failure: what cannot be read does not get in.
        event.name()?;
        if !self.runs.last().is_some_and(same) {
            codec::check_id(escaped)?;
            let id = at + DAY..at + DAY + escaped.len();
            self.runs.push(Run { slot: self.slots.len() as u32, id });
        }
        self.bytes.extend_from_slice(key);
        codec::project_event(event, &self.layout.event_names, &mut self.bytes)?;
        let tuple = self.bytes.len() - at - key.len();
        let mut whole = 0;
        if self.layout.whole_events {
            self.bytes.extend_from_slice(value);
            whole = value.len();
        }
        let run = (self.runs.len() as u32).wrapping_sub(1);
        self.slots.push(Slot { at, key: key.len() as u32, tuple: tuple as u32, value: whole as u32, run });
        Ok(())
    }

    /// Takes the last event out again.
    pub(super) fn pop(&mut self) {
        if let Some(slot) = self.slots.pop() {
            self.bytes.truncate(slot.at);
            if self.runs.last().is_some_and(|run| run.slot as usize == self.slots.len()) {
                self.runs.pop();
            }
        }
    }

    fn part(&self, from: usize, len: u32) -> &[u8] {
        self.bytes.get(from..from + len as usize).unwrap_or_default()
    }

    pub(super) fn key(&self, slot: &Slot) -> &[u8] {
        self.part(slot.at, slot.key)
    }

    pub(super) fn tuple(&self, slot: &Slot) -> &[u8] {
        self.part(slot.at + slot.key as usize, slot.tuple)
    }

    pub(super) fn value_bytes(&self, slot: &Slot) -> &[u8] {
        self.part(slot.at + slot.key as usize + slot.tuple as usize, slot.value)
    }

    pub(super) fn event_key(&self, slot: &Slot) -> Result<EventKey<'_>> {
        let key = self.key(slot);
        EventKey::read(key).map_err(|malformed| codec::corrupt_event(key, malformed))
    }

    pub(super) fn event_bytes(&self, slot: &Slot) -> Result<EventBytes<'_>> {
        EventBytes::read(self.value_bytes(slot)).map_err(|malformed| self.corrupt(slot, malformed))
    }

    pub(super) fn distinct_id(&self, slot: &Slot) -> Result<Cow<'_, str>> {
        self.event_key(slot)?.id().map_err(|malformed| self.corrupt(slot, malformed))
    }

    pub(super) fn corrupt(&self, slot: &Slot, malformed: Malformed) -> crate::error::Error {
        codec::corrupt_event(self.key(slot), malformed)
    }

    /// The value of a column that has one at most: of the event, or of its user.
    pub(super) fn stored(&self, slot: &Slot, column: Column) -> Option<ValueBytes<'_>> {
        match column {
            Column::Event(at) => codec::tuple_value(self.tuple(slot), at),
            Column::Dim { dim, at } if self.layout.is_user(dim) => {
                let joined = self.joined.get(dim)?;
                let tuple = joined.tuple(*joined.codes.get(slot.run as usize)?)?;
                codec::tuple_value(tuple, at)
            }
            _ => None,
        }
    }

    /// Bytes that say what the value of a column of the event is, for the columns that have few enough values to ask:
    /// none means that it is not set.
    pub(super) fn raw(&self, slot_number: usize, column: Column) -> Result<Option<&[u8]>> {
        let Some(slot) = self.slots.get(slot_number) else { return Ok(None) };
        Ok(match column {
            Column::Event(_) => Some(self.stored(slot, column).map_or(&[][..], ValueBytes::as_bytes)),
            Column::Name => Some(self.event_bytes(slot)?.name),
            Column::Day => self.key(slot).get(..DAY),
            _ => None,
        })
    }

    /// The numbers that a table gave an event, as a range of its `codes`.
    pub(super) fn codes(&self, slot_number: usize, dim: usize) -> Range<usize> {
        let (Some(slot), Some(joined), Some(table)) =
            (self.slots.get(slot_number), self.joined.get(dim), self.layout.dims.get(dim))
        else {
            return 0..0;
        };
        match &table.ids {
            None => slot.run as usize..slot.run as usize + 1,
            Some(Column::Event(_)) => joined.range(slot_number),
            Some(_) => joined.range(slot.run as usize),
        }
    }

    /// The value of any column, decoded. Of groups it is the list of their values, null where there is none.
    pub(super) fn value(&self, slot_number: usize, column: Column) -> Result<Option<Value>> {
        let Some(slot) = self.slots.get(slot_number) else { return Ok(None) };
        let decoded = |bytes: ValueBytes<'_>| bytes.decode().map_err(|malformed| self.corrupt(slot, malformed));
        Ok(match column {
            Column::Nowhere => None,
            Column::Name => {
                let name = self.event_bytes(slot)?.name().map_err(|malformed| self.corrupt(slot, malformed))?;
                Some(name.into())
            }
            Column::InsertId => {
                let id = self.event_bytes(slot)?.insert_id().map_err(|malformed| self.corrupt(slot, malformed))?;
                Some(id.into())
            }
            Column::DistinctId => Some(self.distinct_id(slot)?.into_owned().into()),
            Column::Time => Some(self.event_key(slot)?.time().to_string().into()),
            Column::Day => Some(day_text(self.event_key(slot)?.time()).into()),
            Column::Dim { dim, at } if !self.layout.is_user(dim) => {
                let Some(joined) = self.joined.get(dim) else { return Ok(None) };
                let codes = joined.codes.get(self.codes(slot_number, dim)).unwrap_or_default();
                let values = codes.iter().map(|code| {
                    let value = joined.tuple(*code).and_then(|tuple| codec::tuple_value(tuple, at));
                    value.map_or(Ok(Value::Null), decoded)
                });
                Some(Value::List(values.collect::<Result<_>>()?))
            }
            Column::Event(_) | Column::Dim { .. } => self.stored(slot, column).map(decoded).transpose()?,
        })
    }
}

/// The day of a time in UTC, as text.
pub(super) fn day_text(time: Timestamp) -> String {
    let mut text = time.to_string();
    text.truncate(10);
    text
}
