//! Write batches: many writes, committed atomically.

use crate::error::Result;
use crate::model::{Event, Kind, ProfileKey};
use crate::ops::{Change, Update};

/// Updates of any profiles of any kinds, and events, that are committed together or not at all.
///
/// Its methods take a [`Table`](crate::Table) or a [`Kind`] and an id. Only what could not be an id fails there; limits
/// are checked when the batch is written.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// use profiledb::{Batch, Db, Event, Timestamp, Update};
///
/// let db = Db::open(dir.path().join("store"))?;
/// let (users, companies) = (db.users(), db.groups("company")?);
/// let mut batch = Batch::new();
/// batch.update(&users, "alice", Update::new().union("company", ["acme"]))?;
/// batch.update(&companies, "acme", Update::new().set("tier", "gold"))?;
/// batch.delete(&users, "bob")?;
/// batch.append(Event::new("signup", "alice", Timestamp::parse("2024-01-02")?));
/// db.write(batch)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub(super) changes: Vec<(ProfileKey, Change)>,
    pub(super) events: Vec<Event>,
    pub(super) skips_refused: bool,
}

impl Batch {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an update of a profile.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) when the id is empty or too long.
    pub fn update(&mut self, table: &impl AsRef<Kind>, id: impl Into<String>, update: Update) -> Result<()> {
        self.change(ProfileKey::new(table.as_ref().clone(), id)?, update);
        Ok(())
    }

    /// Adds the deletion of a profile.
    ///
    /// # Errors
    ///
    /// As [`update`](Self::update).
    pub fn delete(&mut self, table: &impl AsRef<Kind>, id: impl Into<String>) -> Result<()> {
        self.change(ProfileKey::new(table.as_ref().clone(), id)?, Change::Delete);
        Ok(())
    }

    /// Adds an update or a deletion of the profile with this key: what [`ingest`](crate::ingest) reads.
    ///
    /// ```
    /// use profiledb::{Batch, ProfileKey, Update};
    ///
    /// let mut batch = Batch::new();
    /// batch.change(ProfileKey::group("company", "acme")?, Update::new().set("tier", "gold"));
    /// assert_eq!(batch.len(), 1);
    /// # Ok::<(), profiledb::Error>(())
    /// ```
    pub fn change(&mut self, key: ProfileKey, change: impl Into<Change>) {
        self.changes.push((key, change.into()));
    }

    /// Adds an event.
    pub fn append(&mut self, event: Event) {
        self.events.push(event);
    }

    /// Whether a change that its profile cannot take, because it would have too many properties or because there are
    /// too many group keys, is left out and reported by [`Commit::refused`](crate::Commit::refused), while the others
    /// are committed together. Default: no, it fails the batch. For batches of changes by senders that do not know of
    /// each other, as in a request to a server. [`Db::write`](crate::Db::write) cannot report what is left out, so it
    /// never skips.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use profiledb::{Batch, Db, Limits, Update};
    ///
    /// let mut limits = Limits::mixpanel();
    /// limits.properties_max = 1;
    /// let db = Db::builder().limits(limits).open(dir.path().join("store"))?;
    /// let mut batch = Batch::new().skip_refused(true);
    /// batch.update(&db.users(), "alice", Update::new().set("a", 1))?;
    /// batch.update(&db.users(), "bob", Update::new().set("a", 1).set("b", 2))?;
    /// batch.update(&db.users(), "carol", Update::new().set("b", 2))?;
    /// let commit = db.submit(batch)?;
    /// while commit.outcome().is_none() {}
    /// assert_eq!(commit.refused().iter().map(|(at, _)| *at).collect::<Vec<_>>(), [1]);
    /// assert!(!db.users().contains("bob")? && db.users().contains("carol")?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn skip_refused(mut self, skip: bool) -> Self {
        self.skips_refused = skip;
        self
    }

    /// How many updates, deletions and events there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.changes.len() + self.events.len()
    }

    /// How many changes of profiles, and how many events.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        (self.changes.len(), self.events.len())
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.events.is_empty()
    }
}

impl FromIterator<(ProfileKey, Change)> for Batch {
    fn from_iter<I: IntoIterator<Item = (ProfileKey, Change)>>(changes: I) -> Self {
        Self { changes: changes.into_iter().collect(), ..Self::default() }
    }
}

impl FromIterator<Event> for Batch {
    fn from_iter<I: IntoIterator<Item = Event>>(events: I) -> Self {
        Self { events: events.into_iter().collect(), ..Self::default() }
    }
}

impl Extend<(ProfileKey, Change)> for Batch {
    fn extend<I: IntoIterator<Item = (ProfileKey, Change)>>(&mut self, changes: I) {
        self.changes.extend(changes);
    }
}

impl Extend<Event> for Batch {
    fn extend<I: IntoIterator<Item = Event>>(&mut self, events: I) {
        self.events.extend(events);
    }
}
