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

    /// How many updates, deletions and events there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.changes.len() + self.events.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.events.is_empty()
    }
}

impl FromIterator<(ProfileKey, Change)> for Batch {
    fn from_iter<I: IntoIterator<Item = (ProfileKey, Change)>>(changes: I) -> Self {
        Self { changes: changes.into_iter().collect(), events: Vec::new() }
    }
}

impl FromIterator<Event> for Batch {
    fn from_iter<I: IntoIterator<Item = Event>>(events: I) -> Self {
        Self { changes: Vec::new(), events: events.into_iter().collect() }
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
