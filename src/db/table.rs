//! The table of one kind of profile: blind writes, and through its view the reads.

use std::ops::Deref;

use super::{Batch, Db};
#[cfg(doc)]
use crate::error::ErrorKind;
use crate::error::Result;
use crate::model::{Kind, Profile, ProfileKey};
use crate::ops::{Change, Update};
use crate::store::{Commit, Durability, Profiles, View};

/// The profiles of one kind: the verbs to write them, and those of [`View`] to read them as they are at each call.
///
/// Every write comes in the same forms: plain, which waits until it is as durable as the store's default; `_with`, with
/// a [`Durability`] of its own; [`submit`](Self::submit), which returns a [`Commit`] to wait on later; and
/// [`try_submit`](Self::try_submit), which never blocks.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// use profiledb::{Change, Db, Durability, Update};
///
/// let users = Db::open(dir.path().join("store"))?.users();
/// users.update("alice", Update::new().set("plan", "pro"))?;
/// users.update_with("alice", Update::new().add("logins", 1), Durability::Buffered)?;
/// let commits = [users.submit("bob", Update::new().add("logins", 1))?, users.submit("alice", Change::Delete)?];
/// for commit in commits {
///     commit.wait()?;
/// }
/// assert!(users.get("alice")?.is_none());
/// assert_eq!(users.iter().count(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Table {
    pub(super) db: Db,
    pub(super) view: View,
}

impl Table {
    fn batch(&self, id: &str, change: impl Into<Change>) -> Result<Batch> {
        let key = ProfileKey::new(self.kind().clone(), id)?;
        Ok(Batch { changes: vec![(key, change.into())], ..Batch::default() })
    }

    /// Applies an update to a profile. It is a blind write: nothing is read.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) for an empty id, a reserved name or a number that is not finite;
    /// [`LimitExceeded`](ErrorKind::LimitExceeded) for values that are too large, too many properties or too many group
    /// keys;
    /// [`Io`](ErrorKind::Io), [`ReadOnly`](ErrorKind::ReadOnly) or [`Closed`](ErrorKind::Closed) when the engine cannot
    /// write. The profile is unchanged then. [`OutcomeUnknown`](ErrorKind::OutcomeUnknown) when the disk failed during
    /// the commit: the update may or may not be stored, so reopen the store and read before writing again.
    pub fn update(&self, id: &str, update: Update) -> Result<()> {
        self.db.write(self.batch(id, update)?)
    }

    /// As [`update`](Self::update), with a durability of its own.
    ///
    /// # Errors
    ///
    /// As [`update`](Self::update).
    pub fn update_with(&self, id: &str, update: Update, durability: Durability) -> Result<()> {
        self.db.write_with(self.batch(id, update)?, durability)
    }

    /// Deletes a profile with all its properties. To delete one that does not exist succeeds.
    ///
    /// # Errors
    ///
    /// As [`update`](Self::update).
    pub fn delete(&self, id: &str) -> Result<()> {
        self.db.write(self.batch(id, Change::Delete)?)
    }

    /// As [`delete`](Self::delete), with a durability of its own.
    ///
    /// # Errors
    ///
    /// As [`update`](Self::update).
    pub fn delete_with(&self, id: &str, durability: Durability) -> Result<()> {
        self.db.write_with(self.batch(id, Change::Delete)?, durability)
    }

    /// Queues an [`Update`] or a [`Change::Delete`] and returns, so that one thread can have many synced writes in
    /// flight. It blocks while the queue is full, as [`Db::submit`] says.
    ///
    /// # Errors
    ///
    /// As [`Db::submit`].
    pub fn submit(&self, id: &str, change: impl Into<Change>) -> Result<Commit> {
        self.db.submit(self.batch(id, change)?)
    }

    /// As [`submit`](Self::submit), with a durability of its own.
    ///
    /// # Errors
    ///
    /// As [`Db::submit`].
    pub fn submit_with(&self, id: &str, change: impl Into<Change>, durability: Durability) -> Result<Commit> {
        self.db.submit_with(self.batch(id, change)?, durability)
    }

    /// As [`submit`](Self::submit), but it never blocks.
    ///
    /// # Errors
    ///
    /// As [`Db::try_submit`].
    pub fn try_submit(&self, id: &str, change: impl Into<Change>) -> Result<Commit> {
        self.db.try_submit(self.batch(id, change)?)
    }

    /// As [`try_submit`](Self::try_submit), with a durability of its own.
    ///
    /// # Errors
    ///
    /// As [`Db::try_submit`].
    pub fn try_submit_with(&self, id: &str, change: impl Into<Change>, durability: Durability) -> Result<Commit> {
        self.db.try_submit_with(self.batch(id, change)?, durability)
    }

    /// Creates the table unless it exists, without writing a profile. From then on, events that have the group key as a
    /// property count for the `$mp_first_event_time` of its groups. Durable when it returns.
    ///
    /// # Errors
    ///
    /// [`ReadOnly`](ErrorKind::ReadOnly) when the store was opened for reading,
    /// [`LimitExceeded`](ErrorKind::LimitExceeded) when there are as many group keys as
    /// [`group_keys_max`](crate::Limits::group_keys_max) allows, [`Io`](ErrorKind::Io) when the engine cannot write.
    pub fn create(&self) -> Result<()> {
        self.db.store.create_table(self.kind())
    }
}

/// The read verbs.
impl Deref for Table {
    type Target = View;

    fn deref(&self) -> &View {
        &self.view
    }
}

impl AsRef<Kind> for Table {
    fn as_ref(&self) -> &Kind {
        self.kind()
    }
}

impl IntoIterator for &Table {
    type Item = Result<(String, Profile)>;
    type IntoIter = Profiles;

    fn into_iter(self) -> Profiles {
        self.iter()
    }
}
