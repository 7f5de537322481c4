//! The profiles of one kind.

use super::{Batch, Db};
#[cfg(doc)]
use crate::error::ErrorKind;
use crate::error::Result;
use crate::model::{Kind, Profile, ProfileKey, Timestamp, Value};
use crate::ops::{Change, Update};
use crate::store::{Commit, Durability, KnownIds, Profiles, View};

/// The profiles of one kind: the verbs to write them, and those to read them as they are at each call.
#[derive(Clone, Debug)]
pub struct Table {
    pub(super) db: Db,
    pub(super) view: View,
}

impl Table {
    fn batch(&self, id: &str, change: Change) -> Result<Batch> {
        let key = ProfileKey::new(self.view.kind().clone(), id)?;
        Ok(Batch { changes: vec![(key, change)], events: Vec::new() })
    }

    /// Applies an update to a profile. It is a blind write: nothing is read.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) for an empty id, a reserved name or a number that is not finite;
    /// [`LimitExceeded`](ErrorKind::LimitExceeded) for values that are too large or too many properties;
    /// [`Io`](ErrorKind::Io) or [`ReadOnly`](ErrorKind::ReadOnly) when the engine cannot write. The profile is
    /// unchanged then.
    pub fn update(&self, id: &str, update: Update) -> Result<()> {
        self.db.write(self.batch(id, Change::Update(update))?)
    }

    /// Applies an update with a durability of its own.
    ///
    /// # Errors
    ///
    /// As [`update`](Self::update).
    pub fn update_with(&self, id: &str, update: Update, durability: Durability) -> Result<()> {
        self.db.write_with(self.batch(id, Change::Update(update))?, durability)
    }

    /// Hands an update over and returns at once, so that one thread can keep many synced updates in flight.
    ///
    /// # Errors
    ///
    /// As [`Db::submit`].
    pub fn submit(&self, id: &str, update: Update) -> Result<Commit> {
        self.db.submit(self.batch(id, Change::Update(update))?)
    }

    /// Removes a profile with all its properties. Removing one that is not there succeeds.
    ///
    /// # Errors
    ///
    /// As [`update`](Self::update).
    pub fn delete(&self, id: &str) -> Result<()> {
        self.db.write(self.batch(id, Change::Delete)?)
    }

    /// Makes the table, unless it is there, without writing a profile. From then on, events that carry the group key as
    /// a property count for the `$mp_first_event_time` of its groups. Durable when it returns.
    ///
    /// # Errors
    ///
    /// [`ReadOnly`](ErrorKind::ReadOnly) when the store was opened for reading, [`Io`](ErrorKind::Io) when the engine
    /// cannot write.
    pub fn create(&self) -> Result<()> {
        self.db.store.create_table(self.view.kind())
    }

    /// The read verbs alone.
    #[must_use]
    pub fn view(&self) -> &View {
        &self.view
    }

    /// The kind of profile that this is about.
    #[must_use]
    pub fn kind(&self) -> &Kind {
        self.view.kind()
    }

    /// As [`View::get`].
    ///
    /// # Errors
    ///
    /// As [`View::get`].
    pub fn get(&self, id: &str) -> Result<Option<Profile>> {
        self.view.get(id)
    }

    /// As [`View::get_property`].
    ///
    /// # Errors
    ///
    /// As [`View::get`].
    pub fn get_property(&self, id: &str, name: &str) -> Result<Option<Value>> {
        self.view.get_property(id, name)
    }

    /// As [`View::get_many`].
    ///
    /// # Errors
    ///
    /// As [`View::get_many`].
    pub fn get_many<I: AsRef<str>>(&self, ids: &[I]) -> Result<Vec<Option<Profile>>> {
        self.view.get_many(ids)
    }

    /// As [`View::contains`].
    ///
    /// # Errors
    ///
    /// As [`View::get`].
    pub fn contains(&self, id: &str) -> Result<bool> {
        self.view.contains(id)
    }

    /// As [`View::first_event_time`].
    ///
    /// # Errors
    ///
    /// As [`View::first_event_time`].
    pub fn first_event_time(&self, id: &str) -> Result<Option<Timestamp>> {
        self.view.first_event_time(id)
    }

    /// As [`View::known`].
    #[must_use]
    pub fn known(&self) -> KnownIds {
        self.view.known()
    }

    /// As [`View::iter`].
    #[must_use]
    pub fn iter(&self) -> Profiles {
        self.view.iter()
    }

    /// As [`View::range`].
    #[must_use]
    pub fn range<'a>(&self, range: impl std::ops::RangeBounds<&'a str>) -> Profiles {
        self.view.range(range)
    }

    /// As [`View::prefix`].
    #[must_use]
    pub fn prefix(&self, prefix: &str) -> Profiles {
        self.view.prefix(prefix)
    }
}
