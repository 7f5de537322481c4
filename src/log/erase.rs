//! What makes events go, in pieces that are committed one by one.

use std::sync::Arc;

use super::events::UserKeys;
use super::scan::{scan_all, scan_days};
use crate::codec::{EVENTS, EventKey, day_prefix, first_family_of};
use crate::error::Result;
use crate::model::{Kind, Timestamp};
use crate::rocks::{Action, EngineScan, EngineSnapshot, Operation, ReadHint};

/// How many events go at once.
const PIECE: usize = 4096;

/// The operation that removes all days before the one of this time, at once.
pub(crate) fn whole_days_before(time: Timestamp) -> Operation {
    let (day, _) = time.day_and_millis();
    Operation { family: EVENTS.into(), key: Vec::new(), action: Action::DeleteRange(day_prefix(day).to_vec()) }
}

/// Removes the events of the day of a time that lie before it.
pub(crate) struct DayErasure {
    scan: EngineScan,
    before: Timestamp,
    events: Arc<str>,
}

impl DayErasure {
    pub(crate) fn new(snapshot: &EngineSnapshot, before: Timestamp) -> Self {
        Self { scan: scan_days(snapshot, before..=before), before, events: EVENTS.into() }
    }

    /// The next piece; none is empty.
    pub(crate) fn next(&mut self) -> Result<Option<Vec<Operation>>> {
        let mut piece = Vec::new();
        while piece.len() < PIECE
            && let Some((key, _)) = self.scan.next()?
        {
            if EventKey::read(key).is_ok_and(|key| key.time() < self.before) {
                piece.push(gone(&self.events, key.to_vec()));
            }
        }
        Ok((!piece.is_empty()).then_some(piece))
    }
}

/// Removes the events of a user.
pub(crate) struct UserErasure {
    keys: UserKeys,
    events: Arc<str>,
}

impl UserErasure {
    pub(crate) fn new(snapshot: &EngineSnapshot, id: &str) -> Self {
        Self { keys: UserKeys::new(scan_all(snapshot, ReadHint::ShortRange), id), events: EVENTS.into() }
    }

    /// The next piece; none is empty.
    pub(crate) fn next(&mut self) -> Result<Option<Vec<Operation>>> {
        let mut piece = Vec::new();
        while piece.len() < PIECE
            && let Some(key) = self.keys.next()?
        {
            piece.push(gone(&self.events, key));
        }
        Ok((!piece.is_empty()).then_some(piece))
    }
}

/// The operation that forgets when an id had its first event.
pub(crate) fn forget(kind: &Kind, id: &str) -> Operation {
    Operation { family: first_family_of(kind), key: id.as_bytes().to_vec(), action: Action::Delete }
}

fn gone(events: &Arc<str>, key: Vec<u8>) -> Operation {
    Operation { family: Arc::clone(events), key, action: Action::Delete }
}
