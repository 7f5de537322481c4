//! The event log.

use std::fmt;
use std::ops::RangeBounds;

use super::{Batch, Db};
use crate::codec::Erasure;
#[cfg(doc)]
use crate::error::ErrorKind;
use crate::error::Result;
use crate::log::{DayErasure, EventView, Events, UserErasure, first_event_of, whole_days_before};
use crate::model::{Event, Kind, ProfileKey, Timestamp};
use crate::ops::Change;
use crate::store::{Commit, Durability, Request};

/// The event log: the verbs to append and to erase, and those to read it as it is at each call.
///
/// Events are kept as they came. An event that is sent again, with the same name, user, time and `$insert_id`, replaces
/// the one that is there.
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
    /// As [`Event::admit`]; [`Io`](ErrorKind::Io) or [`ReadOnly`](ErrorKind::ReadOnly) when the engine cannot write.
    /// Nothing was stored then.
    pub fn append(&self, event: Event) -> Result<()> {
        self.0.write(one(event))
    }

    /// Appends an event with a durability of its own.
    ///
    /// # Errors
    ///
    /// As [`append`](Self::append).
    pub fn append_with(&self, event: Event, durability: Durability) -> Result<()> {
        self.0.write_with(one(event), durability)
    }

    /// Hands an event over and returns at once, so that one thread can keep many synced events in flight. Many events
    /// at once, or together with changes of profiles, are a [`Batch`].
    ///
    /// # Errors
    ///
    /// As [`Event::admit`], and [`ReadOnly`](ErrorKind::ReadOnly) or [`Closed`](ErrorKind::Closed) when the store takes
    /// no writes.
    pub fn submit(&self, event: Event) -> Result<Commit> {
        self.0.submit(one(event))
    }

    /// Removes all events before this time: whole days at once, the day of the time event by event. The space comes
    /// back as files are compacted. Times of first events stay, because they are of the first event ever seen.
    ///
    /// An event that is appended meanwhile may survive. Removing is done in steps: when it fails, or the process dies,
    /// some events are gone and others are not, and it can be repeated.
    ///
    /// # Errors
    ///
    /// [`ReadOnly`](ErrorKind::ReadOnly) when the store was opened for reading, [`Io`](ErrorKind::Io) when the engine
    /// cannot read or write.
    pub fn delete_before(&self, time: Timestamp) -> Result<()> {
        self.0.store.writable()?;
        self.erase(vec![whole_days_before(time)])?;
        let mut erasure = DayErasure::new(&self.0.store.shared.engine().snapshot(), time);
        while let Some(chunk) = erasure.next()? {
            self.erase(chunk)?;
        }
        self.0.synced_by_default()
    }

    /// Removes all that there is of a user, as data protection laws ask for: all events, and then, at once, the profile
    /// and the time of the first event. It says how many events those were.
    ///
    /// An event that is appended meanwhile may survive, so stop sending first. When it fails, or the process dies, some
    /// events are gone and the profile is still there; it can be repeated. What groups know from the events of the user
    /// stays: their profiles, and the times of their first events. Backups stay as they are.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) when the id is empty or too long, [`ReadOnly`](ErrorKind::ReadOnly) when the
    /// store was opened for reading, [`Io`](ErrorKind::Io) when the engine cannot read or write.
    pub fn delete_user(&self, distinct_id: &str) -> Result<u64> {
        let key = ProfileKey::user(distinct_id)?;
        let store = &self.0.store;
        store.writable()?;
        let mut erasure = UserErasure::new(&store.shared.engine().snapshot(), distinct_id);
        let mut count = 0;
        while let Some(chunk) = erasure.next()? {
            count += chunk.len() as u64;
            self.erase(chunk)?;
        }
        // Last: as long as the profile is there, it is visible that the erasure is not complete.
        let profile = store.shared.admit(key, Change::Delete, (store.shared.options.clock)())?;
        let erasures = vec![first_event_of(&Kind::User, distinct_id)];
        let request = Request { profiles: profile.into_iter().collect(), erasures, ..Request::default() };
        store.write(request, store.shared.options.durability)?;
        Ok(count)
    }

    fn erase(&self, erasures: Vec<Erasure>) -> Result<()> {
        self.0.store.write(Request { erasures, ..Request::default() }, Durability::Buffered)
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

fn one(event: Event) -> Batch {
    Batch { changes: Vec::new(), events: vec![event] }
}

impl fmt::Debug for EventLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EventLog").field(&self.0).finish()
    }
}
