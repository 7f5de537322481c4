//! Deletions of users that a crash does not end.

use super::Db;
#[cfg(doc)]
use crate::error::ErrorKind;
use crate::error::{Error, Result};
use crate::model::ProfileKey;
use crate::store::Deletion;

impl Db {
    /// Deletes everything about users, as [`delete_user`](Self::delete_user) does for one, and returns the number of
    /// the deletion, for [`deletion`](Self::deletion).
    ///
    /// It is recorded in the store before it begins, and durable on return. When the process dies before that,
    /// [`resume_deletions`](Self::resume_deletions) completes it. The ids are kept with the record: the store remembers
    /// the last thousand deletions.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use profiledb::{Db, Update};
    ///
    /// let db = Db::open(dir.path().join("store"))?;
    /// db.users().update("alice", Update::new().set("plan", "pro"))?;
    /// let number = db.delete_users(["alice", "bob"])?;
    /// assert_eq!(db.users().get("alice")?, None);
    /// let deletion = db.deletion(number)?.expect("it was just made");
    /// assert!(deletion.is_done && deletion.distinct_ids == ["alice", "bob"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) when there is no id, or one is empty or too long, and
    /// [`ReadOnly`](ErrorKind::ReadOnly) when the store was opened for reading: nothing was done then. The others of
    /// [`delete_user`](Self::delete_user): some of the users may be deleted, and the deletion is pending.
    pub fn delete_users(&self, distinct_ids: impl IntoIterator<Item = impl Into<String>>) -> Result<u64> {
        let distinct_ids: Vec<String> = distinct_ids.into_iter().map(Into::into).collect();
        if distinct_ids.is_empty() {
            return Err(Error::invalid("there is no user to delete"));
        }
        distinct_ids.iter().try_for_each(|id| ProfileKey::user(id).map(drop))?;
        let deletion = self.store.begin_deletion(distinct_ids)?;
        self.complete(&deletion)?;
        Ok(deletion.number)
    }

    /// A deletion of [`delete_users`](Self::delete_users), if it is among the last thousand or pending.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](ErrorKind::Corrupt) when its record cannot be decoded, [`Io`](ErrorKind::Io) when it cannot be read.
    pub fn deletion(&self, number: u64) -> Result<Option<Deletion>> {
        self.store.deletion(number)
    }

    /// Completes the deletions that were interrupted, the oldest first, and returns how many. It deletes what was
    /// written about these users since, too. [`Server::serve`](crate::server::Server::serve) does this when it starts.
    ///
    /// # Errors
    ///
    /// Those of [`delete_user`](Self::delete_user), and [`Corrupt`](ErrorKind::Corrupt) when a record cannot be
    /// decoded. What is not completed stays pending.
    pub fn resume_deletions(&self) -> Result<usize> {
        let pending = self.store.pending_deletions()?;
        pending.iter().try_for_each(|deletion| self.complete(deletion))?;
        Ok(pending.len())
    }

    fn complete(&self, deletion: &Deletion) -> Result<()> {
        for id in &deletion.distinct_ids {
            self.delete_user(id)?;
        }
        self.store.end_deletion(deletion)
    }
}
