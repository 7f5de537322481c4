//! The event log: appends, erasure, and through its view the reads.

use std::fmt;
use std::ops::RangeBounds;

use super::sealing::{SealPass, Sealed};
use super::{Batch, Db};
use crate::codec::Erasure;
#[cfg(doc)]
use crate::error::ErrorKind;
use crate::error::Result;
use crate::log::{DayErasure, EventView, Events, SealedErasure, UserErasure, first_event_of, whole_days_before};
use crate::model::{Event, Kind, ProfileKey, Timestamp};
use crate::ops::{Change, Excess};
use crate::segment::BLOCK_EVENTS_MAX;
use crate::store::{Commit, Durability, Request};

/// The event log: the verbs to append and to erase, and those of [`EventView`] to read it as it is at each call.
///
/// Events are stored as they came. An event that is sent again, with the same name, user, time and `$insert_id`,
/// replaces the earlier one.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// use profiledb::{Db, Event, Timestamp, Update};
///
/// let db = Db::open(dir.path().join("store"))?;
/// let log = db.events();
/// let time = Timestamp::parse("2023-11-14T22:13:20")?;
/// let purchase = || Event::new("purchase", "alice", time).id("a-1");
/// log.append(purchase().set("amount", 12.5))?;
/// log.append(purchase().set("amount", 13))?;
/// assert_eq!(log.of_user("alice").collect::<Result<Vec<_>, _>>()?, [purchase().set("amount", 13)]);
///
/// db.users().update("alice", Update::new().set("plan", "pro"))?;
/// let alice = db.users().get("alice")?.expect("she was just written");
/// assert_eq!(alice.first_event_time(), Some(time));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct EventLog(Db);

impl EventLog {
    pub(super) fn new(db: Db) -> Self {
        Self(db)
    }

    /// Appends an event. It is a blind write: nothing is read.
    ///
    /// # Errors
    ///
    /// As [`Event::admit`]; [`Io`](ErrorKind::Io), [`ReadOnly`](ErrorKind::ReadOnly) or [`Closed`](ErrorKind::Closed)
    /// when the engine cannot write. Nothing was stored then. [`OutcomeUnknown`](ErrorKind::OutcomeUnknown) when the
    /// disk failed during the commit: the event may or may not be stored. To append it again, with the same
    /// `$insert_id`, is harmless.
    pub fn append(&self, event: Event) -> Result<()> {
        self.0.write(one(event))
    }

    /// As [`append`](Self::append), with a durability of its own.
    ///
    /// # Errors
    ///
    /// As [`append`](Self::append).
    pub fn append_with(&self, event: Event, durability: Durability) -> Result<()> {
        self.0.write_with(one(event), durability)
    }

    /// Appends events, all of them or none.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use profiledb::{Db, Event, Timestamp};
    ///
    /// let log = Db::open(dir.path().join("store"))?.events();
    /// let time = Timestamp::parse("2023-11-14T22:13:20")?;
    /// log.append_all(["alice", "bob"].map(|id| Event::new("visit", id, time)))?;
    /// assert_eq!(log.iter().count(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`append`](Self::append); the first event that is refused fails the call.
    pub fn append_all(&self, events: impl IntoIterator<Item = Event>) -> Result<()> {
        self.0.write(events.into_iter().collect())
    }

    /// As [`append_all`](Self::append_all), with a durability of its own.
    ///
    /// # Errors
    ///
    /// As [`append_all`](Self::append_all).
    pub fn append_all_with(&self, events: impl IntoIterator<Item = Event>, durability: Durability) -> Result<()> {
        self.0.write_with(events.into_iter().collect(), durability)
    }

    /// Queues an event and returns, so that one thread can have many synced events in flight. It blocks while the queue
    /// is full, as [`Db::submit`] says. Many events at once, or together with updates of profiles, are a [`Batch`].
    ///
    /// # Errors
    ///
    /// As [`Event::admit`] and [`Db::submit`].
    pub fn submit(&self, event: Event) -> Result<Commit> {
        self.0.submit(one(event))
    }

    /// As [`submit`](Self::submit), with a durability of its own.
    ///
    /// # Errors
    ///
    /// As [`submit`](Self::submit).
    pub fn submit_with(&self, event: Event, durability: Durability) -> Result<Commit> {
        self.0.submit_with(one(event), durability)
    }

    /// As [`submit`](Self::submit), but it never blocks.
    ///
    /// # Errors
    ///
    /// As [`Event::admit`] and [`Db::try_submit`].
    pub fn try_submit(&self, event: Event) -> Result<Commit> {
        self.0.try_submit(one(event))
    }

    /// As [`try_submit`](Self::try_submit), with a durability of its own.
    ///
    /// # Errors
    ///
    /// As [`try_submit`](Self::try_submit).
    pub fn try_submit_with(&self, event: Event, durability: Durability) -> Result<Commit> {
        self.0.try_submit_with(one(event), durability)
    }

    /// Deletes all events before this time: whole days as one range, those on the day of the time one by one. The space
    /// is reclaimed by compaction. First-event times stay, because they are of the first event ever appended.
    ///
    /// An event that is appended concurrently may survive. It works in steps: when it fails, or the process dies, some
    /// of the events are deleted, and it can be repeated.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use profiledb::{Db, Event, Timestamp};
    ///
    /// let log = Db::open(dir.path().join("store"))?.events();
    /// for time in ["2023-01-01", "2024-01-01T08:00:00", "2024-01-01T20:00:00"] {
    ///     log.append(Event::new("visit", "alice", Timestamp::parse(time)?))?;
    /// }
    /// log.delete_before(Timestamp::parse("2024-01-01T12:00:00")?)?;
    /// assert_eq!(log.iter().count(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ReadOnly`](ErrorKind::ReadOnly) when the store was opened for reading, [`Io`](ErrorKind::Io) when the engine
    /// cannot read or write.
    pub fn delete_before(&self, time: Timestamp) -> Result<()> {
        let writer = self.0.store.segment_writer()?;
        self.0.erase(vec![whole_days_before(time)])?;
        let snapshot = writer.snapshot()?;
        let mut sealed = SealedErasure::before(&snapshot, time);
        while let Some(edit) = sealed.next()? {
            writer.commit(&edit)?;
        }
        let mut erasure = DayErasure::new(&snapshot, time);
        while let Some(chunk) = erasure.next()? {
            self.0.erase(chunk)?;
        }
        self.0.synced_by_default()
    }

    /// Seals the events that are rows: moves them into column segments, which take about two fifths of the space.
    /// Nothing that reads the log sees a difference. Events may be appended meanwhile, and stay rows until the next
    /// time; an event that is sent again replaces one that is sealed.
    ///
    /// A join reads the columns that it needs, and finds the profiles of users without comparing ids, which makes it
    /// several times faster than one of rows. What reads events in the order of the log rebuilds rows from columns, and
    /// is slower: iterators, exports, joins that are [ordered](crate::join::Join::ordered) or of
    /// [whole events](crate::join::Join::with_events).
    ///
    /// A writer seals in the background as well, as [`Builder::seal_after`](super::Builder::seal_after) says. This is
    /// for a program that wants all events sealed now, such as before it closes the store.
    ///
    /// It works in steps, each of which is atomic, so that it can be interrupted and repeated at any time. Deleting
    /// events waits for it, and the other way round.
    ///
    /// A store with segments cannot be opened by versions that do not know them.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use profiledb::{Db, Event, Timestamp};
    ///
    /// let log = Db::open(dir.path().join("store"))?.events();
    /// let time = Timestamp::parse("2024-01-02T03:04:05")?;
    /// log.append_all(["alice", "bob"].map(|id| Event::new("visit", id, time)))?;
    /// let sealed = log.seal()?;
    /// assert_eq!((sealed.events, sealed.days, log.iter().count()), (2, 1, 2));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ReadOnly`](ErrorKind::ReadOnly) when the store was opened for reading, [`Io`](ErrorKind::Io) when the engine
    /// cannot read or write, [`Corrupt`](ErrorKind::Corrupt) when a segment cannot be read,
    /// [`Busy`](ErrorKind::Busy) when more than a million events were appended while one block was being sealed. What
    /// was sealed before stays sealed.
    pub fn seal(&self) -> Result<Sealed> {
        self.seal_in(BLOCK_EVENTS_MAX)
    }

    /// As [`seal`](Self::seal), in blocks of fewer events, so that tests have many of them.
    ///
    /// # Errors
    ///
    /// As [`seal`](Self::seal).
    #[cfg(any(test, feature = "laws"))]
    #[doc(hidden)]
    pub fn seal_in_blocks_of(&self, events: usize) -> Result<Sealed> {
        self.seal_in(events)
    }

    fn seal_in(&self, block_events: usize) -> Result<Sealed> {
        let store = &self.0.store;
        let writer = store.segment_writer()?;
        let committed = store.shared.unsealed.committed();
        // No other call changes segments meanwhile, so ordinals stay what they are.
        let mut pass = SealPass::new(&writer, block_events)?;
        while pass.step(&writer, &|| Ok(()))? {}
        store.shared.unsealed.sealed(committed);
        drop(writer);
        self.0.synced_by_default()?;
        Ok(pass.sealed)
    }

    /// The log as it is now, to be read more than once.
    #[must_use]
    pub fn view(&self) -> EventView {
        EventView::new(self.0.store.shared.engine().snapshot())
    }

    /// As [`EventView::iter`].
    #[must_use]
    pub fn iter(&self) -> Events {
        self.view().iter()
    }

    /// As [`EventView::range`].
    #[must_use]
    pub fn range(&self, range: impl RangeBounds<Timestamp>) -> Events {
        self.view().range(range)
    }

    /// As [`EventView::of_user`].
    #[must_use]
    pub fn of_user(&self, distinct_id: &str) -> Events {
        self.view().of_user(distinct_id)
    }

    /// As [`EventView::days`].
    ///
    /// # Errors
    ///
    /// As [`EventView::days`].
    pub fn days(&self) -> Result<Vec<(Timestamp, u64)>> {
        self.view().days()
    }
}

impl Db {
    /// Deletes everything about a user, as data protection laws require: all events, and then, atomically, the profile
    /// and the first-event time. Returns how many events were deleted.
    ///
    /// An event that is appended concurrently may survive, so stop sending first. When it fails, or the process dies,
    /// some events are deleted and the profile is still there; it can be repeated. What groups have from the events of
    /// the user stays: their profiles, and their first-event times. Backups are not touched.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use profiledb::{Db, Event, Timestamp, Update};
    ///
    /// let db = Db::open(dir.path().join("store"))?;
    /// db.users().update("alice", Update::new().set("plan", "pro"))?;
    /// db.events().append(Event::new("visit", "alice", Timestamp::parse("2024-01-02")?))?;
    /// assert_eq!(db.delete_user("alice")?, 1);
    /// assert_eq!((db.users().known().count(), db.events().iter().count()), (0, 0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) when the id is empty or too long, [`ReadOnly`](ErrorKind::ReadOnly) when the
    /// store was opened for reading, [`Io`](ErrorKind::Io) when the engine cannot read or write.
    pub fn delete_user(&self, distinct_id: &str) -> Result<u64> {
        let key = ProfileKey::user(distinct_id)?;
        let shared = &self.store.shared;
        let writer = self.store.segment_writer()?;
        let snapshot = writer.snapshot()?;
        let mut erasure = UserErasure::new(&snapshot, distinct_id);
        if let Some(mut sealed) = SealedErasure::of_user(&snapshot, distinct_id)? {
            while let Some(edit) = sealed.next()? {
                writer.commit(&edit)?;
            }
        }
        while let Some(chunk) = erasure.next()? {
            self.erase(chunk)?;
        }
        // Last: as long as the profile is there, it is visible that the erasure is not complete.
        let profile = shared.admit(key, Change::Delete, (shared.options.clock)(), &mut Excess::Refused)?;
        let erasures = vec![first_event_of(&Kind::User, distinct_id)];
        let request = Request { profiles: profile.into_iter().collect(), erasures, ..Request::default() };
        self.store.write(request, shared.options.durability)?;
        Ok(erasure.events())
    }

    fn erase(&self, erasures: Vec<Erasure>) -> Result<()> {
        self.store.write(Request { erasures, ..Request::default() }, Durability::Buffered)
    }
}

fn one(event: Event) -> Batch {
    Batch { events: vec![event], ..Batch::default() }
}

impl IntoIterator for &EventLog {
    type Item = Result<Event>;
    type IntoIter = Events;

    fn into_iter(self) -> Events {
        self.iter()
    }
}

impl fmt::Debug for EventLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EventLog").field(&self.0).finish()
    }
}
