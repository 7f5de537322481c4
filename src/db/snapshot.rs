//! A snapshot: a consistent point-in-time view of profiles and events.

use std::fmt;
use std::sync::Arc;

#[cfg(doc)]
use crate::error::ErrorKind;
use crate::error::Result;
use crate::log::EventView;
use crate::model::Kind;
use crate::rocks;
use crate::store::{ReadSource, Shared, View};

/// A consistent point-in-time view of the whole store: what was acknowledged before it was taken, and nothing after.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let db = profiledb::Db::open(dir.path().join("store"))?;
/// use profiledb::Update;
///
/// db.users().update("alice", Update::new().set("plan", "free"))?;
/// let before = db.snapshot();
/// db.users().update("alice", Update::new().set("plan", "pro"))?;
/// assert_eq!(before.users().get_property("alice", "plan")?, Some("free".into()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Snapshot {
    /// The column families, as of one sequence number.
    pub(super) engine: rocks::EngineSnapshot,
    /// What the store knows of changes since.
    pub(super) shared: Arc<Shared>,
}

impl Snapshot {
    /// The sequence number of the last change that it sees. Every change of one key takes the next number.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.engine.sequence()
    }

    /// The profiles of users.
    #[must_use]
    pub fn users(&self) -> View {
        self.table(&Kind::User)
    }

    /// The profiles of the groups under a group key.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) when the key is empty, longer than 255 bytes or has a NUL in it.
    pub fn groups(&self, group_key: impl Into<String>) -> Result<View> {
        Ok(self.table(&Kind::group(group_key)?))
    }

    /// The profiles of a kind.
    #[must_use]
    pub fn table(&self, kind: &Kind) -> View {
        View::new(ReadSource::Snapshot(self.engine.clone()), kind.clone())
    }

    /// The event log.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let db = profiledb::Db::open(dir.path().join("store"))?;
    /// use profiledb::{Event, Timestamp};
    ///
    /// let before = db.snapshot();
    /// db.events().append(Event::new("visit", "alice", Timestamp::parse("2024-01-02")?))?;
    /// assert_eq!((before.events().iter().count(), db.snapshot().events().iter().count()), (0, 1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn events(&self) -> EventView {
        EventView::new(self.engine.clone())
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").field("sequence", &self.sequence()).finish()
    }
}
