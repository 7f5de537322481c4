//! Queries on the event log: range scans and skip scans of a snapshot.

use std::fmt;
use std::ops::RangeBounds;

use super::check::damage;
use super::events::Events;
use super::scan::{scan_all, scan_days};
use crate::codec::{EVENTS, day_of, decode_event};
use crate::error::{Error, Result};
use crate::model::{Event, Salvaged, Timestamp};
use crate::rocks::{DamagedKeys, EngineSnapshot, ReadHint, SalvagedRow};

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

    /// Reads every event that can be read, past damage, in the order of the log. `each` gets the events, and what
    /// cannot be read, where it is. Ends with its first error.
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
        Events::of_user(scan_all(&self.0, ReadHint::ShortRange), distinct_id)
    }

    /// How many events each day has that has any, with the start of the day. It counts, which is a scan of the keys of
    /// the whole log.
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
        let mut days: Vec<([u8; 4], u64)> = Vec::new();
        let mut scan = scan_all(&self.0, ReadHint::FullScan);
        while let Some((key, _)) = scan.next()? {
            let Some(day) = key.first_chunk() else {
                return Err(Error::corrupt(format!("the key of an event is too short key={key:02x?}")));
            };
            match days.last_mut() {
                Some((last, count)) if last == day => *count += 1,
                _ => days.push((*day, 1)),
            }
        }
        Ok(days.into_iter().map(|(day, count)| (Timestamp::of_day(day_of(day)), count)).collect())
    }
}

impl fmt::Debug for EventView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventView").field("sequence", &self.0.sequence()).finish()
    }
}
