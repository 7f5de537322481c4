//! Admission: validates an update and encodes it as a write, on the caller's thread.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::request::ProfileWrite;
use super::shared::Shared;
use crate::codec::{FirstEvent, family_of, first_family_of};
use crate::error::{Error, Result};
use crate::limits::is_counted;
use crate::merge;
use crate::model::{Kind, ProfileKey, Timestamp};
use crate::ops::{Change, Excess, Op, Update};

impl Shared {
    /// Admits a change: validates it against the limits, sets its time and encodes it. An update without operators is
    /// no write.
    ///
    /// `now` is the time of an update without one, and the upper bound of all others, except for those that restore an
    /// exported profile.
    pub(crate) fn admit(
        &self,
        key: ProfileKey,
        change: Change,
        now: Timestamp,
        excess: &mut Excess<'_>,
    ) -> Result<Option<ProfileWrite>> {
        let update = match change {
            Change::Delete => None,
            Change::Update(update) => {
                let with_id = |error: Error| if error.field().is_some() { error } else { error.at(key.id()) };
                let limits = &self.options.limits;
                let mut update = update.admit_as(limits, self.limits_id, excess).map_err(with_id)?;
                if update.is_empty() {
                    return Ok(None);
                }
                if update.restored().is_none() {
                    update.clamp_time(now);
                }
                Some(update)
            }
        };
        let family = match key.kind() {
            Kind::User => Arc::clone(&self.users),
            kind @ Kind::Group(_) => family_of(kind),
        };
        let operand = update.as_ref().map(merge::operand);
        // Read before the names: a drop clears the names first.
        let drops = self.drops.load(Ordering::Acquire);
        let restored = update.as_ref().and_then(Update::restored);
        let first_event = restored.and_then(|restored| restored.first_event);
        let first_event =
            first_event.map(|time| Box::new(FirstEvent::new(&first_family_of(key.kind()), key.id(), time)));
        let (key, names, restores) = (key.into_id().into(), Vec::new(), restored.is_some());
        let mut write = ProfileWrite { family, key, operand, creates: false, names, restores, first_event, drops };
        if let Some(update) = update {
            self.note_names(&mut write, &update);
        }
        Ok(Some(write))
    }

    /// Collects the property names of an update that the table has not seen yet.
    fn note_names(&self, write: &mut ProfileWrite, update: &Update) {
        let names = self.names.read();
        let seen = names.get(&write.family);
        // Also without operators, as `$set` of nothing does.
        write.creates = update.creates();
        for (name, op) in update.ops() {
            let creates = !matches!(op, Op::Remove(_) | Op::Unset) && is_counted(name.as_bytes());
            if creates && !seen.is_some_and(|seen| seen.contains(name)) {
                write.names.push(name.as_str().into());
            }
        }
    }
}
