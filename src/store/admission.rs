//! From an update to a write: what happens on the caller's thread, before anyone else waits.

use std::sync::Arc;

use super::family::family_of;
use super::open::Store;
use crate::error::Result;
use crate::merge;
use crate::model::{ProfileKey, Timestamp};
use crate::ops::{Change, Op, Update};

/// What a write survives once it is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// A crash of the process, not of the machine: the log is handed to the operating system.
    Buffered,
    /// Power loss: the log is synced. Callers that write at the same time share one sync.
    #[default]
    Synced,
}

/// One change of one profile, ready to be committed.
pub(crate) struct Write {
    pub(super) family: Arc<str>,
    pub(super) key: Box<[u8]>,
    /// The operand; none deletes the profile.
    pub(super) operand: Option<Vec<u8>>,
    /// Whether properties may come into being by it.
    pub(super) creates: bool,
    /// Names that the table had not seen when the update was admitted.
    pub(super) names: Vec<Box<str>>,
}

impl Write {
    pub(super) fn bytes(&self) -> usize {
        self.key.len() + self.operand.as_ref().map_or(0, Vec::len)
    }
}

impl Store {
    /// Admits a change: checks it against the limits, stamps it and encodes it. An update without any operator is none.
    pub(crate) fn admit(&self, key: &ProfileKey, change: Change) -> Result<Option<Write>> {
        let family = family_of(key.kind());
        let mut write =
            Write { family, key: key.id().as_bytes().into(), operand: None, creates: false, names: Vec::new() };
        let update = match change {
            Change::Delete => return Ok(Some(write)),
            Change::Update(update) => self.stamped(update.admit(&self.options.limits)?),
        };
        if update.is_empty() {
            return Ok(None);
        }
        let names = self.names.read();
        let seen = names.get(&write.family);
        for (name, op) in update.ops() {
            if !matches!(op, Op::Remove(_) | Op::Unset) {
                write.creates = true;
                if !seen.is_some_and(|seen| seen.contains(name)) {
                    write.names.push(name.as_str().into());
                }
            }
        }
        drop(names);
        write.operand = Some(merge::operand(&update));
        Ok(Some(write))
    }

    fn stamped(&self, mut update: Update) -> Update {
        let now: Timestamp = (self.options.clock)();
        update.clamp_time(now);
        update
    }
}
