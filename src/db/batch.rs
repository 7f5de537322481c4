//! Many changes at once.

use crate::model::{Event, ProfileKey};
use crate::ops::{Change, Update};

/// Changes of any profiles of any kinds, and events, that are committed together or not at all.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// use profiledb::{Batch, Db, ProfileKey, Update};
///
/// let db = Db::open(dir.path().join("store"))?;
/// let mut batch = Batch::new();
/// batch.update(ProfileKey::user("alice")?, Update::new().union("company", ["acme"]));
/// batch.update(ProfileKey::group("company", "acme")?, Update::new().set("tier", "gold"));
/// db.write(batch)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub(super) changes: Vec<(ProfileKey, Change)>,
    pub(super) events: Vec<Event>,
}

impl Batch {
    /// A batch without anything in it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an update of a profile.
    pub fn update(&mut self, key: ProfileKey, update: Update) {
        self.change(key, Change::Update(update));
    }

    /// Adds the end of a profile.
    pub fn delete(&mut self, key: ProfileKey) {
        self.change(key, Change::Delete);
    }

    /// Adds a change of a profile.
    pub fn change(&mut self, key: ProfileKey, change: Change) {
        self.changes.push((key, change));
    }

    /// Adds an event.
    pub fn event(&mut self, event: Event) {
        self.events.push(event);
    }

    /// How many changes and events there are.
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
