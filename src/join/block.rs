//! A block: a batch of events in columns, and what was joined onto them.
//!
//! Events are read, joined and handed on in blocks. Consecutive events of one user are a *run*, and are joined once.
//! What is joined is a dictionary code (late materialization). Everything is checked when it enters a block, so that
//! reading it cannot fail: texts are UTF-8 and values are canonical.
//!
//! ```text
//! of each run      id, number of its first event
//! of each event    run, time, code of its name, one value of each requested property
//! of each table    one code per run for users; any number of ids and codes per event (or run) for groups
//! ```

use std::ops::Range;
use std::sync::Arc;

use super::layout::{Column, JoinLayout};
use super::name_codes::NameCodes;
use super::period::PeriodStart;
use super::probe::{Arena, Dictionary, NO_ROW, are_equal};
use crate::codec::{self, EventBytes, Malformed, ValueBytes};
use crate::error::{Error, Result};
use crate::model::{Event, Timestamp, Value};
use crate::segment::OrdinalIds;

/// Bytes of the events of a block, roughly: an event that exceeds them is its last.
const BYTES_MAX: usize = 512 << 10;

/// Bytes of what is joined onto a block from one table by key, roughly: a row that exceeds them is its last.
pub(super) const JOINED_BYTES_MAX: usize = 2 << 20;

/// Bytes of the pages of ids that a block refers to, roughly. With more, it copies the ids of its own users.
const PAGES_BYTES_MAX: usize = 4 << 20;

/// What was joined from one table.
#[derive(Debug, Default)]
pub(super) struct Joined {
    pub(super) dictionary: Arc<Dictionary>,
    /// One per run for users, any number per event or run for groups.
    pub(super) codes: Vec<u32>,
    /// For groups: where the codes of each event (or run, for groups of users) end.
    pub(super) ends: Vec<u32>,
    /// For groups: their ids, one for each code.
    pub(super) ids: Arena,
}

impl Joined {
    fn clear(&mut self) {
        self.codes.clear();
        self.ends.clear();
        self.ids.clear();
    }

    /// Keeps what belongs to the first events, or runs.
    fn truncate(&mut self, places: usize, is_group: bool) {
        if !is_group {
            return self.codes.truncate(places);
        }
        self.ends.truncate(places);
        let end = self.ends.last().map_or(0, |end| *end as usize);
        self.codes.truncate(end);
        self.ids.truncate(end);
    }

    /// Which codes belong to an event or run.
    fn range(&self, at: usize) -> Range<usize> {
        let end = |at: usize| self.ends.get(at).map_or(0, |end| *end as usize);
        at.checked_sub(1).map_or(0, end)..end(at)
    }
}

/// Pages of ids of users by their ordinals. Ids are looked up when they are read: most never are.
#[derive(Clone, Debug, Default)]
struct BlockIds {
    /// With their numbers, ascending.
    pages: Vec<(u32, Arc<OrdinalIds>)>,
    bytes: usize,
}

impl BlockIds {
    fn clear(&mut self) {
        self.pages.clear();
        self.bytes = 0;
    }

    /// Adds the page of an ordinal, unless that is less than others before it, or there are too many bytes already.
    #[inline]
    fn add(&mut self, ordinal: u32, page: &Arc<OrdinalIds>) -> bool {
        let number = u32::from_be_bytes(OrdinalIds::key_of(ordinal).0);
        match self.pages.last() {
            Some((last, _)) if *last == number => true,
            Some((last, _)) if *last > number || self.bytes >= PAGES_BYTES_MAX => false,
            _ => {
                self.bytes += page.size_bytes();
                self.pages.push((number, Arc::clone(page)));
                true
            }
        }
    }

    fn get(&self, ordinal: u32) -> Option<&[u8]> {
        let (key, at) = OrdinalIds::key_of(ordinal);
        let number = u32::from_be_bytes(key);
        let page = self.pages.binary_search_by_key(&number, |(number, _)| *number).ok()?;
        self.pages.get(page).and_then(|(_, page)| page.get(at))
    }
}

/// What a scan did to fill a block.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Scanned {
    pub(super) events: u64,
    pub(super) seeks: u64,
}

/// Events and what was joined onto them. There are few enough that positions among them fit into 32 bits.
#[derive(Debug)]
pub(crate) struct Block {
    pub(super) layout: Arc<JoinLayout>,
    /// The ids of users, run by run, unless they are in pages.
    ids: Arena,
    pages: BlockIds,
    /// The ordinals of users, run by run, where events were read from columns.
    ordinals: Vec<u32>,
    /// The first event of each run.
    firsts: Vec<u32>,
    /// The run of each event.
    runs: Vec<u32>,
    times: Vec<Timestamp>,
    /// Names, dictionary-encoded, where they are requested.
    names: Vec<u32>,
    name_codes: NameCodes,
    insert_ids: Arena,
    /// The value of each requested property; the empty string means that it is not set.
    properties: Vec<Arena>,
    /// Whole events, where they are requested.
    events: Arena,
    /// Table by table, as the layout has them.
    pub(super) joined: Vec<Joined>,
    /// The events that passed every predicate.
    pub(super) kept: Vec<u32>,
    pub(super) scanned: Scanned,
}

/// The value of a column of one event.
#[derive(Clone, Copy, Debug)]
pub(super) enum ColumnValue<'b> {
    NotSet,
    Stored(ValueBytes<'b>),
    /// What is computed, as text.
    Text(&'b str),
    Time(Timestamp),
    Period(PeriodStart),
    /// Of groups: the values of all of them.
    Groups(&'b Dictionary, &'b [u32], usize),
}

impl<'b> ColumnValue<'b> {
    fn stored(bytes: Option<ValueBytes<'b>>) -> Self {
        bytes.map_or(Self::NotSet, Self::Stored)
    }

    /// The value, decoded. Of groups it is the list of their values, null where there is none.
    pub(super) fn value(self) -> Option<Value> {
        match self {
            Self::NotSet => None,
            Self::Stored(bytes) => Some(decoded(bytes)),
            Self::Text(text) => Some(text.into()),
            Self::Time(time) => Some(time.to_string().into()),
            Self::Period(start) => Some(start.to_string().into()),
            Self::Groups(dictionary, codes, at) => {
                let value = |code: &u32| dictionary.value(*code, at).map_or(Value::Null, decoded);
                Some(Value::List(codes.iter().map(value).collect()))
            }
        }
    }

    /// The text, where it is stored as one.
    pub(super) fn text(self) -> Option<&'b str> {
        match self {
            Self::Stored(bytes) => bytes.text(),
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// Decodes bytes that were checked when they entered a block or a dictionary.
pub(super) fn decoded(bytes: ValueBytes<'_>) -> Value {
    let value = bytes.decode();
    debug_assert!(value.is_ok(), "what a check accepts can be decoded");
    value.unwrap_or_default()
}

impl Block {
    pub(super) fn new(layout: &Arc<JoinLayout>) -> Self {
        Self {
            layout: Arc::clone(layout),
            ids: Arena::default(),
            pages: BlockIds::default(),
            ordinals: Vec::new(),
            firsts: Vec::new(),
            runs: Vec::new(),
            times: Vec::new(),
            names: Vec::new(),
            name_codes: NameCodes::default(),
            insert_ids: Arena::default(),
            properties: layout.events.properties.iter().map(|_| Arena::default()).collect(),
            events: Arena::default(),
            joined: layout.dims.iter().map(|_| Joined::default()).collect(),
            kept: Vec::new(),
            scanned: Scanned::default(),
        }
    }

    pub(super) fn clear(&mut self) {
        self.ids.clear();
        self.pages.clear();
        self.ordinals.clear();
        self.firsts.clear();
        self.runs.clear();
        self.times.clear();
        self.names.clear();
        self.name_codes.clear_if_many();
        self.insert_ids.clear();
        self.properties.iter_mut().for_each(Arena::clear);
        self.events.clear();
        self.joined.iter_mut().for_each(Joined::clear);
        self.kept.clear();
        self.scanned = Scanned::default();
    }

    /// How many events there are.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.runs.len()
    }

    /// How many runs there are.
    pub(super) fn runs(&self) -> usize {
        self.firsts.len()
    }

    /// Whether it has this many events, or enough bytes.
    #[inline]
    pub(super) fn is_full(&self, max: usize) -> bool {
        let properties = self.properties.iter().map(Arena::size_bytes).sum::<usize>();
        let texts = self.ids.size_bytes() + self.name_codes.size_bytes() + self.insert_ids.size_bytes();
        self.len() >= max || texts + properties + self.events.size_bytes() >= BYTES_MAX
    }

    /// Appends an event from the bytes of its row.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](crate::ErrorKind::Corrupt) when its id, its name or a requested property cannot be read.
    #[inline]
    pub(super) fn push_row(&mut self, id: &[u8], time: Timestamp, event: &EventBytes<'_>, bytes: &[u8]) -> Result<()> {
        self.push(id, time, event.name)?;
        self.push_requested(id, time, event, bytes)
    }

    /// As [`push_row`](Self::push_row), where the user has an ordinal.
    ///
    /// # Errors
    ///
    /// As there.
    #[inline]
    pub(super) fn push_row_of(
        &mut self,
        ordinal: u32,
        id: &[u8],
        time: Timestamp,
        event: &EventBytes<'_>,
        bytes: &[u8],
    ) -> Result<()> {
        self.push(id, time, event.name)?;
        if self.ordinals.len() < self.firsts.len() {
            self.ordinals.push(ordinal);
        }
        self.push_requested(id, time, event, bytes)
    }

    /// Appends what is requested of an event besides its user, time and name.
    #[inline]
    fn push_requested(&mut self, id: &[u8], time: Timestamp, event: &EventBytes<'_>, bytes: &[u8]) -> Result<()> {
        let corrupt = |malformed| codec::corrupt_event_of(time, id, malformed);
        let columns = &self.layout.events;
        if !columns.properties.is_empty() {
            let properties = &mut self.properties;
            let put = |at: usize, value: ValueBytes<'_>| {
                properties.get_mut(at).into_iter().for_each(|to| to.buffer().extend_from_slice(value.as_bytes()));
            };
            event.pick(&columns.properties, put).map_err(corrupt)?;
            self.properties.iter_mut().try_for_each(Arena::finish)?;
        }
        if columns.insert_id {
            self.insert_ids.push(event.insert_id().map_err(corrupt)?.as_bytes())?;
        }
        if columns.whole {
            self.events.push(bytes)?;
        }
        Ok(())
    }

    /// Appends an event of the caller's.
    ///
    /// # Errors
    ///
    /// [`LimitExceeded`](crate::ErrorKind::LimitExceeded) when it takes more than 4 GB.
    pub(super) fn push_event(&mut self, event: &Event) -> Result<()> {
        self.push(event.distinct_id().as_bytes(), event.time(), event.name().as_bytes())?;
        let columns = &self.layout.events;
        for (name, to) in columns.properties.iter().zip(&mut self.properties) {
            if let Some(value) = event.get(name) {
                codec::write_value(to.buffer(), value);
            }
            to.finish()?;
        }
        if columns.insert_id {
            // An event without one has the empty one in a log, too.
            self.insert_ids.push(event.insert_id().unwrap_or_default().as_bytes())?;
        }
        if columns.whole {
            self.events.push(&codec::encode_event(event))?;
        }
        Ok(())
    }

    /// Appends a profile in place of an event, with the values of the requested properties. Its id is text.
    pub(super) fn push_profile<'t>(&mut self, id: &[u8], values: impl Iterator<Item = &'t [u8]>) -> Result<()> {
        self.push(id, Timestamp::from_millis(0), b"")?;
        self.properties.iter_mut().zip(values).try_for_each(|(to, value)| to.push(value))
    }

    /// Begins a run of events of one user, whose id is in this page if it is needed.
    #[inline]
    pub(super) fn begin_run(&mut self, ordinal: u32, page: Option<&Arc<OrdinalIds>>) -> Result<()> {
        if let Some(page) = page
            && (self.ids.len() > 0 || !self.pages.add(ordinal, page))
        {
            self.copy_ids()?;
            self.ids.push(page.get(OrdinalIds::key_of(ordinal).1).unwrap_or_default())?;
        }
        self.ordinals.push(ordinal);
        self.firsts.push(position(self.runs.len()));
        Ok(())
    }

    /// Copies the ids of users from their pages.
    fn copy_ids(&mut self) -> Result<()> {
        let pages = std::mem::take(&mut self.pages);
        if !pages.pages.is_empty() {
            self.ordinals.iter().try_for_each(|ordinal| self.ids.push(pages.get(*ordinal).unwrap_or_default()))?;
        }
        Ok(())
    }

    /// The code of a name, which is text. It is the same until the block is cleared.
    pub(super) fn name_code(&mut self, name: &[u8]) -> Result<u32> {
        self.name_codes.of_text(name)
    }

    /// Appends an event of the run that was begun last, without its properties, and with the code of its name.
    #[inline]
    pub(super) fn push_of_run(&mut self, time: Timestamp, name: u32) {
        if self.layout.events.name {
            self.names.push(name);
        }
        self.runs.push(position(self.firsts.len()).wrapping_sub(1));
        self.times.push(time);
    }

    /// The ordinal of the run that was begun last, if there is one.
    #[inline]
    pub(super) fn last_ordinal(&self) -> Option<u32> {
        self.ordinals.last().copied()
    }

    /// The ordinals of users, run by run, where events were read from columns.
    pub(super) fn ordinals(&self) -> &[u32] {
        &self.ordinals
    }

    /// Appends the values of the requested properties and the `$insert_id` of the event that was appended last.
    #[inline]
    pub(super) fn push_values(
        &mut self,
        mut property: impl FnMut(usize, &mut Vec<u8>) -> Result<()>,
        insert_id: impl FnOnce(&mut Vec<u8>) -> Result<()>,
    ) -> Result<()> {
        for (at, to) in self.properties.iter_mut().enumerate() {
            property(at, to.buffer())?;
            to.finish()?;
        }
        if self.layout.events.insert_id {
            insert_id(self.insert_ids.buffer())?;
            self.insert_ids.finish()?;
        }
        Ok(())
    }

    /// Appends an event without its properties.
    #[inline]
    fn push(&mut self, id: &[u8], time: Timestamp, name: &[u8]) -> Result<()> {
        const NO_TEXT: Malformed = Malformed("text that is not UTF-8");
        let event = position(self.runs.len());
        let is_same_user = self.ids.len().checked_sub(1).and_then(|last| self.ids.get(last));
        if !is_same_user.is_some_and(|last| are_equal(last, id)) {
            if !is_text(id) {
                return Err(codec::corrupt_event_of(time, id, Malformed("an id that is not UTF-8")));
            }
            self.ids.push(id)?;
            self.firsts.push(event);
        }
        // A name is checked also where it is not needed.
        if !self.layout.events.name {
            if !is_text(name) {
                return Err(codec::corrupt_event_of(time, id, NO_TEXT));
            }
        } else if let Some(code) = self.name_codes.code_of(name)? {
            self.names.push(code);
        } else {
            return Err(codec::corrupt_event_of(time, id, NO_TEXT));
        }
        self.runs.push(position(self.firsts.len()).wrapping_sub(1));
        self.times.push(time);
        Ok(())
    }

    /// Removes the last event.
    pub(super) fn pop(&mut self) {
        if self.runs.pop().is_some() {
            let len = self.runs.len();
            self.times.truncate(len);
            self.names.truncate(len);
            self.insert_ids.truncate(len);
            self.properties.iter_mut().for_each(|property| property.truncate(len));
            self.events.truncate(len);
            if self.firsts.last().is_some_and(|first| *first as usize == len) {
                self.firsts.pop();
                self.ids.truncate(self.firsts.len());
                self.ordinals.truncate(self.firsts.len());
            }
        }
    }

    /// Moves the events from one on to a new block, onto which nothing is joined yet.
    pub(super) fn split_off(&mut self, event: usize) -> Result<Self> {
        let mut rest = Self::new(&self.layout);
        rest.pages = self.pages.clone();
        for at in event..self.len() {
            let run = self.run(at);
            match self.ordinals.get(run) {
                Some(ordinal) => {
                    if at == event || self.firsts.get(run).is_some_and(|first| *first as usize == at) {
                        self.ids.get(run).map_or(Ok(()), |id| rest.ids.push(id))?;
                        rest.begin_run(*ordinal, None)?;
                    }
                    let name = rest.name_code(self.name(at).as_bytes())?;
                    rest.push_of_run(self.time(at), name);
                }
                None => rest.push(self.id_bytes(at), self.time(at), self.name(at).as_bytes())?,
            }
            let texts = [(&self.insert_ids, &mut rest.insert_ids), (&self.events, &mut rest.events)];
            let properties = self.properties.iter().zip(&mut rest.properties);
            for (from, to) in texts.into_iter().chain(properties) {
                from.get(at).map_or(Ok(()), |bytes| to.push(bytes))?;
            }
        }
        self.runs.truncate(event);
        self.times.truncate(event);
        self.names.truncate(event);
        self.insert_ids.truncate(event);
        self.properties.iter_mut().for_each(|property| property.truncate(event));
        self.events.truncate(event);
        let runs = self.firsts.partition_point(|first| (*first as usize) < event);
        self.firsts.truncate(runs);
        self.ids.truncate(runs);
        self.ordinals.truncate(runs);
        for (joined, dim) in self.joined.iter_mut().zip(&self.layout.dims) {
            joined.truncate(if matches!(dim.ids, Some(Column::Event(_))) { event } else { runs }, dim.ids.is_some());
        }
        Ok(rest)
    }

    /// How many of the first events are joined with a table, of which fewer than all were.
    pub(super) fn joined_events(&self, dim: usize) -> usize {
        let (Some(joined), Some(spec)) = (self.joined.get(dim), self.layout.dims.get(dim)) else { return self.len() };
        let places = match spec.ids {
            None => joined.codes.len(),
            Some(_) => joined.ends.partition_point(|end| *end as usize <= joined.codes.len()),
        };
        if matches!(spec.ids, Some(Column::Event(_))) {
            return places.min(self.len());
        }
        self.firsts.get(places).map_or(self.len(), |first| *first as usize)
    }

    /// The run of an event.
    #[inline]
    pub(super) fn run(&self, event: usize) -> usize {
        self.runs.get(event).map_or(usize::MAX, |run| *run as usize)
    }

    pub(super) fn time(&self, event: usize) -> Timestamp {
        self.times.get(event).copied().unwrap_or(Timestamp::from_millis(0))
    }

    pub(super) fn distinct_id(&self, event: usize) -> &str {
        // It was checked when it was put into the block, or into its page.
        std::str::from_utf8(self.id_bytes(event)).unwrap_or_default()
    }

    /// The id of the user, as bytes.
    #[inline]
    pub(super) fn id_bytes(&self, event: usize) -> &[u8] {
        let run = self.run(event);
        let in_page = || self.pages.get(*self.ordinals.get(run)?);
        self.ids.get(run).or_else(in_page).unwrap_or_default()
    }

    pub(super) fn name(&self, event: usize) -> &str {
        let name = self.names.get(event).map(|code| self.name_codes.get(*code));
        // It was checked when it was interned.
        name.and_then(|name| std::str::from_utf8(name).ok()).unwrap_or_default()
    }

    /// The whole event, where events are requested.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](crate::ErrorKind::Corrupt) when a property cannot be read.
    pub(super) fn event(&self, event: usize) -> Option<Result<Event>> {
        let (id, time) = (self.distinct_id(event), self.time(event));
        let bytes = self.events.get(event)?;
        Some(
            codec::event_of(id, time, bytes)
                .map_err(|malformed| codec::corrupt_event_of(time, id.as_bytes(), malformed)),
        )
    }

    /// An error about an event, with which event it is.
    pub(super) fn with_context(&self, event: usize, error: &Error) -> Error {
        let place = codec::event_place(self.time(event), self.id_bytes(event));
        Error::new(error.kind(), format!("{} {place}", error.message()))
    }

    /// The code of the user's row in a table.
    #[inline]
    pub(super) fn user_code(&self, event: usize, dim: usize) -> u32 {
        let codes = self.joined.get(dim).map(|joined| joined.codes.as_slice()).unwrap_or_default();
        codes.get(self.run(event)).copied().unwrap_or(NO_ROW)
    }

    /// The codes that a table gave an event, as a range.
    pub(super) fn codes_range(&self, event: usize, dim: usize) -> Range<usize> {
        let (Some(joined), Some(table)) = (self.joined.get(dim), self.layout.dims.get(dim)) else { return 0..0 };
        let run = self.run(event);
        match &table.ids {
            None => run..run.saturating_add(1),
            Some(Column::Event(_)) => joined.range(event),
            Some(_) => joined.range(run),
        }
    }

    /// The codes that a table gave an event.
    pub(super) fn codes(&self, event: usize, dim: usize) -> &[u32] {
        let codes = self.joined.get(dim).and_then(|joined| joined.codes.get(self.codes_range(event, dim)));
        codes.unwrap_or_default()
    }

    /// The value of any column of an event.
    #[inline]
    pub(super) fn cell(&self, event: usize, column: Column) -> ColumnValue<'_> {
        match column {
            Column::Nowhere => ColumnValue::NotSet,
            Column::Event(at) => {
                let bytes = self.properties.get(at).and_then(|property| property.get(event));
                ColumnValue::stored(bytes.filter(|bytes| !bytes.is_empty()).map(ValueBytes::new))
            }
            Column::Dim { dim, at } => {
                let Some(joined) = self.joined.get(dim) else { return ColumnValue::NotSet };
                if self.layout.is_user(dim) {
                    ColumnValue::stored(joined.dictionary.value(self.user_code(event, dim), at))
                } else {
                    ColumnValue::Groups(&joined.dictionary, self.codes(event, dim), at)
                }
            }
            Column::Name => ColumnValue::Text(self.name(event)),
            Column::InsertId => ColumnValue::Text(self.insert_ids.text(event)),
            Column::DistinctId => ColumnValue::Text(self.distinct_id(event)),
            Column::Time => ColumnValue::Time(self.time(event)),
            Column::Period(period) => ColumnValue::Period(PeriodStart::of(period, self.time(event), &self.layout.zone)),
        }
    }

    /// The ids of the users, run by run.
    pub(super) fn run_ids(&mut self) -> Result<&Arena> {
        self.copy_ids()?;
        Ok(&self.ids)
    }

    /// Collects the ids of the groups that each event lists, or each user where `by_run`, until they are many bytes. An
    /// id that is listed twice counts once.
    pub(super) fn group_ids(&self, column: Column, by_run: bool, joined: &mut Joined) -> Result<()> {
        let count = if by_run { self.runs() } else { self.len() };
        for at in 0..count {
            if joined.ids.size_bytes() >= JOINED_BYTES_MAX {
                break;
            }
            let event = if by_run { self.firsts.get(at).map(|first| *first as usize) } else { Some(at) };
            let first = joined.ids.len();
            let mut pushed = Ok(());
            if let Some(ColumnValue::Stored(value)) = event.map(|event| self.cell(event, column)) {
                value.group_ids(|id| {
                    let is_known = (first..joined.ids.len()).any(|at| joined.ids.get(at) == Some(id.as_bytes()));
                    if !is_known && pushed.is_ok() {
                        pushed = joined.ids.push(id.as_bytes());
                    }
                });
            }
            pushed?;
            joined.ends.push(position(joined.ids.len()));
        }
        Ok(())
    }
}

/// A position in a block, which has at most 1,024 events, and fewer group ids than an arena has bytes.
#[inline]
pub(super) fn position(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// Whether bytes are UTF-8. Most are ASCII, which is checked many bytes at a time.
#[inline]
fn is_text(bytes: &[u8]) -> bool {
    bytes.is_ascii() || std::str::from_utf8(bytes).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pages of long ids, and one with an id that was erased.
    fn page(number: u32) -> Arc<OrdinalIds> {
        let mut page = OrdinalIds::default();
        (0..1_024).for_each(|at| page.push(format!("{number} {at} {}", "x".repeat(1_024)).as_bytes()));
        page.erase(7);
        // As it is read, without room for more ids.
        Arc::new(OrdinalIds::decode(&page.encode()).unwrap())
    }

    fn fill(block: &mut Block, ordinals: &[u32]) -> Vec<String> {
        for ordinal in ordinals {
            let number = u32::from_be_bytes(OrdinalIds::key_of(*ordinal).0);
            block.begin_run(*ordinal, Some(&page(number))).unwrap();
            (0..2).for_each(|_| block.push_of_run(Timestamp::from_millis(0), 0));
        }
        let id = |ordinal: &u32| format!("{} {} {}", ordinal / 1_024, ordinal % 1_024, "x".repeat(1_024));
        ordinals.iter().flat_map(|ordinal| [id(ordinal), id(ordinal)]).collect()
    }

    fn ids(block: &Block) -> Vec<&str> {
        (0..block.len()).map(|event| block.distinct_id(event)).collect()
    }

    #[test]
    fn ids_are_those_of_the_pages_whether_they_are_copied_or_not() {
        let few = [3, 8, 1_023, 1_024, 3_000];
        let many: Vec<u32> = (0..12).map(|number| number * 1_024 + 9).collect();
        // They are not read in this order, but it would be no reason to lose one.
        let descending = [5_000, 4_999, 1];
        for (ordinals, is_copied) in [(&few[..], false), (&many, true), (&descending, true)] {
            let mut block = Block::new(&Arc::default());
            let expected = fill(&mut block, ordinals);
            assert_eq!(ids(&block), expected);
            assert_eq!((block.ids.len() > 0, block.pages.pages.is_empty()), (is_copied, is_copied));
            // In the middle of a run.
            let rest = block.split_off(3).unwrap();
            assert_eq!(
                (ids(&block), ids(&rest)),
                (expected[..3].iter().map(|id| &**id).collect(), {
                    expected[3..].iter().map(|id| &**id).collect::<Vec<&str>>()
                })
            );
            block.pop();
            assert_eq!(ids(&block), expected[..2]);
            assert_eq!(block.run_ids().unwrap().iter().collect::<Vec<_>>(), [expected[0].as_bytes()]);
            assert_eq!(ids(&block), expected[..2]);
            block.clear();
            let again = fill(&mut block, &few);
            assert_eq!(ids(&block), again);
        }
    }
}
