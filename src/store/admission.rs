//! From an update to a write: what happens on the caller's thread, before anyone else waits.

use std::sync::Arc;

use super::open::Store;
use crate::codec::family_of;
use crate::error::{Error, Result};
use crate::merge;
use crate::model::{Kind, ProfileKey, Timestamp};
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
    pub(super) key: Vec<u8>,
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
    ///
    /// `now` is the time of an update that brings none, and the latest that any may bring.
    pub(crate) fn admit(&self, key: ProfileKey, change: Change, now: Timestamp) -> Result<Option<Write>> {
        let update = match change {
            Change::Delete => None,
            Change::Update(update) => {
                let named = |error: Error| if error.field().is_some() { error } else { error.at(key.id()) };
                let mut update = update.admit(&self.options.limits).map_err(named)?;
                if update.is_empty() {
                    return Ok(None);
                }
                update.clamp_time(now);
                Some(update)
            }
        };
        let family = match key.kind() {
            Kind::User => Arc::clone(&self.users),
            kind @ Kind::Group(_) => family_of(kind),
        };
        let operand = update.as_ref().map(merge::operand);
        let mut write = Write { family, key: key.into_id().into(), operand, creates: false, names: Vec::new() };
        if let Some(update) = update {
            self.note_names(&mut write, &update);
        }
        Ok(Some(write))
    }

    /// Notes which names of an update the table has not seen yet.
    fn note_names(&self, write: &mut Write, update: &Update) {
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
    }
}
