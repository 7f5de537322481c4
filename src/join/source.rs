//! What a join reads: sorted rows, from a store or from anywhere else.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::codec;
use crate::error::{Error, Result};
use crate::model::{Event, Kind, ProfileKey};

/// Sorted rows of bytes: keys that ascend, with their values.
///
/// A join is a function of two of these. The store has them as scans; a program that keeps its events elsewhere
/// implements this and hands it to [`Join::events_from`](super::Join::events_from). Keys and values are those of
/// [`encode`]: in the order of day (in UTC), `distinct_id` and time.
///
/// ```
/// use profiledb::join::{self, Sorted, Source};
/// use profiledb::{Event, Timestamp};
///
/// let event = |id| Event::new("visit", id, Timestamp::from_seconds(1_700_000_000));
/// let mut source = Sorted::events([event("bob"), event("alice")]);
/// let (key, _) = join::encode(&event("bob"));
/// source.seek(&key)?;
/// assert_eq!(source.next()?.expect("bob's event").0, key);
/// assert!(source.next()?.is_none());
/// # Ok::<(), profiledb::Error>(())
/// ```
pub trait Source: Send {
    /// The next row, or nothing after the last.
    ///
    /// # Errors
    ///
    /// Whatever keeps the rows from being read. The join ends with it; it is never taken for the end.
    fn next(&mut self) -> Result<Option<(&[u8], &[u8])>>;

    /// Moves forward, so that the next row is the first whose key is not less than `key`. Never moves back.
    ///
    /// # Errors
    ///
    /// As [`next`](Self::next).
    fn seek(&mut self, key: &[u8]) -> Result<()>;
}

/// The key and the value of an event, as the store keeps them. `docs/FORMAT.md` shows every byte.
#[must_use]
pub fn encode(event: &Event) -> (Vec<u8>, Vec<u8>) {
    (codec::event_key(event), codec::encode_event(event))
}

/// Rows in memory.
type Rows = Arc<Vec<(Vec<u8>, Vec<u8>)>>;

/// Rows in memory as a [`Source`].
#[derive(Clone, Debug)]
pub struct Sorted {
    rows: Rows,
    next: usize,
    end: usize,
}

impl Sorted {
    /// Sorts rows. Of two with one key the later one stays.
    #[must_use]
    pub fn new(mut rows: Vec<(Vec<u8>, Vec<u8>)>) -> Self {
        rows.reverse();
        rows.sort_by(|a, b| a.0.cmp(&b.0));
        rows.dedup_by(|later, kept| later.0 == kept.0);
        Self::of(&Arc::new(rows), &[], None)
    }

    /// Sorts events. Of two that are one event sent twice the later one stays.
    #[must_use]
    pub fn events(events: impl IntoIterator<Item = Event>) -> Self {
        Self::new(events.into_iter().map(|event| encode(&event)).collect())
    }

    fn of(rows: &Rows, from: &[u8], to: Option<&[u8]>) -> Self {
        let place = |key: &[u8]| rows.partition_point(|(candidate, _)| candidate.as_slice() < key);
        Self { rows: Arc::clone(rows), next: place(from), end: to.map_or(rows.len(), place) }
    }
}

impl Source for Sorted {
    fn next(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        let row = if self.next < self.end { self.rows.get(self.next) } else { None };
        self.next += usize::from(row.is_some());
        Ok(row.map(|(key, value)| (key.as_slice(), value.as_slice())))
    }

    fn seek(&mut self, key: &[u8]) -> Result<()> {
        let ahead = self.rows.get(self.next..self.end).unwrap_or_default();
        self.next += ahead.partition_point(|(candidate, _)| candidate.as_slice() < key);
        Ok(())
    }
}

/// What is joined onto events.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Table {
    /// The rows of profiles of a kind, by id.
    Profiles(Kind),
    /// The times of first events of profiles of a kind, by id.
    FirstEvents(Kind),
}

impl Table {
    pub(super) fn kind(&self) -> &Kind {
        match self {
            Self::Profiles(kind) | Self::FirstEvents(kind) => kind,
        }
    }
}

/// Called with the place of an id among those asked for, and its row if it has one.
pub type Each<'e> = dyn FnMut(usize, Option<&[u8]>) -> Result<()> + 'e;

/// One moment of everything that a join reads.
///
/// The store implements it; [`Memory`] does for harnesses that have no store.
pub trait Tables: Send + Sync {
    /// The events whose keys lie in a range.
    ///
    /// # Errors
    ///
    /// When they cannot be read.
    fn events(&self, from: &[u8], to: Option<&[u8]>) -> Result<Box<dyn Source>>;

    /// The rows of a table whose ids lie in a range.
    ///
    /// # Errors
    ///
    /// When they cannot be read.
    fn rows(&self, table: &Table, from: &[u8], to: Option<&[u8]>) -> Result<Box<dyn Source>>;

    /// The rows of these ids, in the order of the ids. An id may come more than once.
    ///
    /// # Errors
    ///
    /// When they cannot be read, and what `each` returns.
    fn lookup(&self, table: &Table, ids: &[&[u8]], each: &mut Each<'_>) -> Result<()>;

    /// Whether a table exists.
    fn has(&self, table: &Table) -> bool;

    /// Roughly how many rows a table has.
    fn estimate_rows(&self, table: &Table) -> u64;

    /// Roughly how many events have keys in a range.
    fn estimate_events(&self, from: &[u8], to: Option<&[u8]>) -> u64;
}

/// Tables in memory: joins without a store, for tests and harnesses.
///
/// ```
/// use std::sync::Arc;
/// use profiledb::join::{Join, Memory};
/// use profiledb::{Event, ProfileKey, Timestamp, Update, merge};
///
/// let mut memory = Memory::new();
/// memory.event(&Event::new("visit", "alice", Timestamp::from_seconds(1_700_000_000)));
/// memory.row(&ProfileKey::user("alice")?, merge::full(None, &[&merge::operand(&Update::new().set("plan", "pro"))]));
///
/// let row = Join::new(Arc::new(memory)).select(["user.plan"]).rows()?.next().expect("one event")?;
/// assert_eq!(row.get(0), Some("pro".into()));
/// # Ok::<(), profiledb::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Memory {
    events: Rows,
    tables: BTreeMap<Table, Rows>,
}

impl Memory {
    /// No events and no tables.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an event, or replaces the one with its key.
    pub fn event(&mut self, event: &Event) {
        let (key, value) = encode(event);
        put(&mut self.events, key, value);
    }

    /// Adds the row of a profile, as [`merge::full`](crate::merge::full) makes it, or replaces it.
    pub fn row(&mut self, key: &ProfileKey, row: Vec<u8>) {
        self.put(Table::Profiles(key.kind().clone()), key.id().as_bytes(), row);
    }

    /// Adds any row to a table, or replaces it.
    pub fn put(&mut self, table: Table, id: &[u8], row: Vec<u8>) {
        put(self.tables.entry(table).or_default(), id.to_vec(), row);
    }

    fn table(&self, table: &Table) -> Rows {
        self.tables.get(table).map(Arc::clone).unwrap_or_default()
    }
}

fn put(rows: &mut Rows, key: Vec<u8>, value: Vec<u8>) {
    let rows = Arc::make_mut(rows);
    match rows.binary_search_by(|(candidate, _)| candidate.cmp(&key)) {
        Ok(at) => rows.get_mut(at).into_iter().for_each(|row| row.1.clone_from(&value)),
        Err(at) => rows.insert(at, (key, value)),
    }
}

impl Tables for Memory {
    fn events(&self, from: &[u8], to: Option<&[u8]>) -> Result<Box<dyn Source>> {
        Ok(Box::new(Sorted::of(&self.events, from, to)))
    }

    fn rows(&self, table: &Table, from: &[u8], to: Option<&[u8]>) -> Result<Box<dyn Source>> {
        Ok(Box::new(Sorted::of(&self.table(table), from, to)))
    }

    fn lookup(&self, table: &Table, ids: &[&[u8]], each: &mut Each<'_>) -> Result<()> {
        let rows = self.table(table);
        ids.iter().enumerate().try_for_each(|(at, id)| {
            let found = rows.binary_search_by(|(candidate, _)| candidate.as_slice().cmp(id)).ok();
            each(at, found.and_then(|found| rows.get(found)).map(|(_, row)| row.as_slice()))
        })
    }

    fn has(&self, table: &Table) -> bool {
        self.tables.contains_key(table)
    }

    fn estimate_rows(&self, table: &Table) -> u64 {
        self.table(table).len() as u64
    }

    fn estimate_events(&self, from: &[u8], to: Option<&[u8]>) -> u64 {
        let range = Sorted::of(&self.events, from, to);
        range.end.saturating_sub(range.next) as u64
    }
}

/// A source of a caller, watched: what does not ascend would join wrongly without a word.
pub(super) struct Watched {
    source: Box<dyn Source>,
    last: Vec<u8>,
}

impl Watched {
    pub(super) fn new(source: Box<dyn Source>) -> Self {
        Self { source, last: Vec::new() }
    }
}

impl Source for Watched {
    fn next(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        let row = self.source.next()?;
        if let Some((key, _)) = row {
            if key <= self.last.as_slice() && !self.last.is_empty() {
                let place = |key: &[u8]| match codec::EventKey::read(key) {
                    Ok(key) => format!("{} {:?}", key.time(), String::from_utf8_lossy(key.escaped)),
                    Err(_) => format!("{key:02x?}"),
                };
                let (key, last) = (place(key), place(&self.last));
                return Err(Error::invalid(format!("the events do not ascend event=({key}) after=({last})")));
            }
            self.last.clear();
            self.last.extend_from_slice(key);
        }
        Ok(row)
    }

    fn seek(&mut self, key: &[u8]) -> Result<()> {
        self.source.seek(key)
    }
}
