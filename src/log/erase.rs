//! Erasure of events, in chunks that are committed one by one.

use super::events::UserKeys;
use super::scan::{scan_all, scan_days};
use crate::codec::{Erasure, EventKey, day_prefix, first_family_of};
use crate::error::Result;
use crate::model::{Kind, Timestamp};
use crate::rocks::{EngineScan, EngineSnapshot, ReadHint};

/// How many events are erased at once.
const CHUNK: usize = 4096;

/// Erases all days before the one of this time, as one range.
pub(crate) fn whole_days_before(time: Timestamp) -> Erasure {
    let (day, _) = time.day_and_millis();
    Erasure::EventsBelow(day_prefix(day).to_vec())
}

/// Erases the first-event time of an id.
pub(crate) fn first_event_of(kind: &Kind, id: &str) -> Erasure {
    Erasure::FirstEvent { family: first_family_of(kind), id: id.as_bytes().into() }
}

/// Erases the events on the day of a time that are before it.
pub(crate) struct DayErasure {
    scan: EngineScan,
    before: Timestamp,
}

impl DayErasure {
    pub(crate) fn new(snapshot: &EngineSnapshot, before: Timestamp) -> Self {
        Self { scan: scan_days(snapshot, before..=before), before }
    }

    /// The next chunk; none is empty.
    pub(crate) fn next(&mut self) -> Result<Option<Vec<Erasure>>> {
        let mut chunk = Vec::new();
        while chunk.len() < CHUNK
            && let Some((key, _)) = self.scan.next()?
        {
            // A key that cannot be read has no time. The checker reports it.
            if EventKey::read(key).is_ok_and(|key| key.time() < self.before) {
                chunk.push(Erasure::Event(key.to_vec()));
            }
        }
        Ok((!chunk.is_empty()).then_some(chunk))
    }
}

/// Erases the events of a user.
pub(crate) struct UserErasure(UserKeys);

impl UserErasure {
    pub(crate) fn new(snapshot: &EngineSnapshot, id: &str) -> Self {
        Self(UserKeys::new(scan_all(snapshot, ReadHint::ShortRange), id))
    }

    /// The next chunk; none is empty.
    pub(crate) fn next(&mut self) -> Result<Option<Vec<Erasure>>> {
        let mut chunk = Vec::new();
        while chunk.len() < CHUNK
            && let Some(key) = self.0.next()?
        {
            chunk.push(Erasure::Event(key));
        }
        Ok((!chunk.is_empty()).then_some(chunk))
    }
}
