//! Queries on the event log: range scans and skip scans of a snapshot.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::ops::RangeBounds;

use super::check::damage;
use super::events::Events;
use super::salvage::{SalvagedBlock, salvage_blocks};
use super::scan::{LogScan, scan_all, scan_days, scan_keys, scan_rows, scan_user};
use super::segments::{Headers, has_segments};
use crate::codec::{EVENTS, day_of, day_prefix, decode_event};
use crate::error::{Error, Result};
use crate::model::{Event, Salvaged, Timestamp};
use crate::rocks::{DamagedKeys, EngineScan, EngineSnapshot, ReadHint, SalvagedRow};

/// The read verbs on a snapshot of the event log. [`EventLog`](crate::EventLog) has them on the log as it is at each
/// call, [`Snapshot`](crate::Snapshot) together with the profiles of the same snapshot.
///
/// The log is sorted by day in UTC, then by `distinct_id`, then by time.
#[derive(Clone)]
pub struct EventView(EngineSnapshot);

impl EventView {
    pub(crate) fn new(snapshot: EngineSnapshot) -> Self {
        Self(snapshot)
    }

    /// All events, in the order of the log.
    #[must_use]
    pub fn iter(&self) -> Events {
        Events::all(scan_all(&self.0, ReadHint::FullScan))
    }

    /// Reads every event that can be read, past damage: first those that are not sealed, in the order of the log, then
    /// those that are. `each` gets the events, and what cannot be read, where it is. Ends with its first error.
    ///
    /// # Errors
    ///
    /// Those of `each`.
    pub fn salvage<E>(&self, mut each: impl FnMut(Salvaged<Event>) -> Result<(), E>) -> Result<(), E> {
        self.0.salvage(EVENTS, |item| {
            each(match item {
                SalvagedRow::Row(key, value) => match decode_event(key, value) {
                    Ok(event) => Salvaged::Item(event),
                    Err(error) => {
                        let keys = Some(key.to_vec());
                        Salvaged::Damage(damage(DamagedKeys { after: keys.clone(), before: keys, error }))
                    }
                },
                SalvagedRow::Damage(keys) => Salvaged::Damage(damage(keys)),
            })
        })?;
        salvage_blocks(&self.0, |item| {
            let rows = match item {
                SalvagedBlock::Damage(damage) => return each(Salvaged::Damage(damage)),
                SalvagedBlock::Rows(rows) => rows,
            };
            for (key, value) in (0..rows.len()).filter_map(|at| rows.get(at)) {
                // Where the row cannot be read, the event that it may have replaced is what is left.
                if self.0.read(EVENTS, key, |row| row.is_some()).unwrap_or(false) {
                    continue;
                }
                match decode_event(key, value) {
                    Ok(event) => each(Salvaged::Item(event))?,
                    Err(error) => {
                        let keys = Some(key.to_vec());
                        each(Salvaged::Damage(damage(DamagedKeys { after: keys.clone(), before: keys, error })))?;
                    }
                }
            }
            Ok(())
        })
    }

    /// The events in a range of time, in the order of the log. Whole days are read, so a minute costs as much as its
    /// day.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use profiledb::{Db, Event, Timestamp};
    ///
    /// let log = Db::open(dir.path().join("store"))?.events();
    /// for day in ["2024-01-01", "2024-01-02", "2024-01-03"] {
    ///     log.append(Event::new("visit", "alice", Timestamp::parse(day)?))?;
    /// }
    /// let second = Timestamp::parse("2024-01-02")?;
    /// assert_eq!(log.range(second..).count(), 2);
    /// assert_eq!(log.range(..second).count(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn range(&self, range: impl RangeBounds<Timestamp>) -> Events {
        let range = (range.start_bound().cloned(), range.end_bound().cloned());
        Events::within(scan_days(&self.0, range), range.0, range.1)
    }

    /// The events of one user, in the order of time. It is a skip scan: one seek for each day that has any events.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use profiledb::{Db, Event, Timestamp};
    ///
    /// let log = Db::open(dir.path().join("store"))?.events();
    /// for (id, day) in [("alice", "2024-01-02"), ("bob", "2024-01-02"), ("alice", "2024-01-01")] {
    ///     log.append(Event::new("visit", id, Timestamp::parse(day)?))?;
    /// }
    /// let days: Result<Vec<_>, _> = log.of_user("alice").map(|event| event.map(|event| event.time())).collect();
    /// assert_eq!(days?, [Timestamp::parse("2024-01-01")?, Timestamp::parse("2024-01-02")?]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn of_user(&self, distinct_id: &str) -> Events {
        Events::of_user(scan_user(&self.0, distinct_id), distinct_id)
    }

    /// How many events each day has that has any, with the start of the day. It counts, which is a scan of the keys of
    /// all events that are not sealed, and of the whole day where only some of them are.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use profiledb::{Db, Event, Timestamp};
    ///
    /// let log = Db::open(dir.path().join("store"))?.events();
    /// log.append(Event::new("visit", "alice", Timestamp::parse("2024-01-02T03:04:05")?))?;
    /// assert_eq!(log.days()?, [(Timestamp::parse("2024-01-02")?, 1)]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Io`](crate::ErrorKind::Io) or [`Corrupt`](crate::ErrorKind::Corrupt) when the engine cannot read.
    pub fn days(&self) -> Result<Vec<(Timestamp, u64)>> {
        let mut days = count_days(|| scan_rows(&self.0, &[], None, ReadHint::FullScan), EngineScan::next)?;
        if has_segments(&self.0) {
            let mut headers = Headers::from_day(&self.0, i32::MIN);
            while let Some((day, segments)) = headers.next_day()? {
                let blocks = segments.iter().flat_map(|(_, header)| &header.blocks);
                let sealed = blocks.map(|block| u64::from(block.events)).sum();
                match days.entry(day) {
                    Entry::Vacant(place) => {
                        place.insert(sealed);
                    }
                    // Rows may replace events that are sealed.
                    Entry::Occupied(mut place) => {
                        let end = day.checked_add(1).map(day_prefix);
                        let end = end.as_ref().map(<[u8; 4]>::as_slice);
                        let both = count_days(|| scan_keys(&self.0, &day_prefix(day), end), LogScan::next)?;
                        place.insert(both.values().sum());
                    }
                }
            }
        }
        Ok(days.into_iter().map(|(day, count)| (Timestamp::of_day(day), count)).collect())
    }
}

/// Counts the keys that a scan yields, by day.
fn count_days<S>(
    scan: impl FnOnce() -> S,
    next: impl Fn(&mut S) -> Result<Option<(&[u8], &[u8])>>,
) -> Result<BTreeMap<i32, u64>> {
    let mut scan = scan();
    let mut days = BTreeMap::new();
    let mut last: Option<([u8; 4], u64)> = None;
    while let Some((key, _)) = next(&mut scan)? {
        let Some(day) = key.first_chunk() else {
            return Err(Error::corrupt(format!("the key of an event is too short key={key:02x?}")));
        };
        match &mut last {
            Some((known, count)) if known == day => *count += 1,
            _ => {
                days.extend(last.replace((*day, 1)).map(|(day, count)| (day_of(day), count)));
            }
        }
    }
    days.extend(last.map(|(day, count)| (day_of(day), count)));
    Ok(days)
}

impl fmt::Debug for EventView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventView").field("sequence", &self.0.sequence()).finish()
    }
}
