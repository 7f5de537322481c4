//! Erasure of events, in chunks that are committed one by one.
//!
//! Sealed events are erased first: as long as its row is there, a sealed event is not what readers see.

use super::events::UserKeys;
use super::ordinals::{IdCache, ordinal_of, read_ids};
use super::rewrite::SegmentRewrite;
use super::scan::{Tier, day_keys, scan_rows, scan_user};
use super::segments::{Headers, block_rows, has_user};
use crate::codec::{Erasure, EventKey, ORDINAL_IDS, ORDINALS, day_prefix, first_family_of};
use crate::error::Result;
use crate::model::{Kind, Timestamp};
use crate::rocks::{EngineScan, EngineSnapshot, ReadHint};
use crate::segment::{BlockSummary, OrdinalIds, SegmentEdit, SegmentHeader, SegmentKey};

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

/// Which sealed events are erased.
#[derive(Clone, Copy)]
enum SealedEvents {
    /// Those of a user.
    Of(u32),
    /// Those on one day before this millisecond of it.
    Before(i32, u32),
}

/// Erases sealed events, a segment at a time.
pub(crate) struct SealedErasure<'s> {
    snapshot: &'s EngineSnapshot,
    ids: IdCache,
    events: SealedEvents,
    headers: Headers,
    segments: Vec<(SegmentKey, SegmentHeader)>,
    /// Then the ordinal of this user.
    user: Option<String>,
}

impl<'s> SealedErasure<'s> {
    /// Of a user, whose ordinal is erased last. None if the user has none.
    pub(crate) fn of_user(snapshot: &'s EngineSnapshot, id: &str) -> Result<Option<Self>> {
        let ordinal = ordinal_of(snapshot, id.as_bytes())?;
        Ok(ordinal.map(|ordinal| Self::new(snapshot, SealedEvents::Of(ordinal), i32::MIN, Some(id.to_owned()))))
    }

    /// Of those on the day of a time that are before it.
    pub(crate) fn before(snapshot: &'s EngineSnapshot, time: Timestamp) -> Self {
        let (day, millis) = time.day_and_millis();
        Self::new(snapshot, SealedEvents::Before(day, millis), day, None)
    }

    fn new(snapshot: &'s EngineSnapshot, events: SealedEvents, day: i32, user: Option<String>) -> Self {
        let (ids, headers) = (IdCache::new(snapshot), Headers::from_day(snapshot, day));
        Self { snapshot, ids, events, headers, segments: Vec::new(), user }
    }

    /// The next change.
    pub(crate) fn next(&mut self) -> Result<Option<SegmentEdit>> {
        loop {
            while let Some((segment, header)) = self.segments.pop() {
                if let Some(edit) = self.erase(segment, header)? {
                    return Ok(Some(edit));
                }
            }
            match (self.headers.next_day()?, self.events) {
                (Some((day, _)), SealedEvents::Before(last, _)) if day != last => return Ok(None),
                (Some((_, segments)), _) => self.segments = segments,
                (None, SealedEvents::Of(ordinal)) => {
                    return self.user.take().map(|id| self.erase_ordinal(&id, ordinal)).transpose();
                }
                (None, SealedEvents::Before(..)) => return Ok(None),
            }
        }
    }

    fn erase(&mut self, segment: SegmentKey, header: SegmentHeader) -> Result<Option<SegmentEdit>> {
        let mut rewrite = SegmentRewrite::new(segment, header.clone());
        for block in &header.blocks {
            if !self.touches(segment, block)? {
                continue;
            }
            let Some(rows) = block_rows(self.snapshot, segment, block, &mut self.ids, None)? else { continue };
            let events = self.events;
            rewrite.retain(block.number, &rows, |at, key| match events {
                SealedEvents::Of(ordinal) => rows.ordinal(at) != ordinal,
                SealedEvents::Before(_, millis) => EventKey::read(key).is_ok_and(|key| key.millis >= millis),
            })?;
        }
        Ok(rewrite.finish().0)
    }

    fn touches(&self, segment: SegmentKey, block: &BlockSummary) -> Result<bool> {
        match self.events {
            SealedEvents::Of(ordinal) => has_user(self.snapshot, segment, block, ordinal),
            SealedEvents::Before(_, millis) => Ok(block.millis.0 < millis),
        }
    }

    fn erase_ordinal(&self, id: &str, ordinal: u32) -> Result<SegmentEdit> {
        let mut edit = SegmentEdit::default();
        edit.delete(ORDINALS, id.as_bytes().to_vec());
        let (key, at) = OrdinalIds::key_of(ordinal);
        if let Some(mut ids) = read_ids(self.snapshot, key)? {
            ids.erase(at);
            edit.put(ORDINAL_IDS, key.to_vec(), ids.encode());
        }
        Ok(edit)
    }
}

/// Erases the rows on the day of a time that are before it.
pub(crate) struct DayErasure {
    scan: EngineScan,
    before: Timestamp,
}

impl DayErasure {
    pub(crate) fn new(snapshot: &EngineSnapshot, before: Timestamp) -> Self {
        let (from, to) = day_keys(before..=before);
        Self { scan: scan_rows(snapshot, &from, to.as_deref(), ReadHint::LongRange), before }
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

/// Erases the rows of a user, and counts the events of the user, those included that are only sealed.
pub(crate) struct UserErasure {
    keys: UserKeys,
    events: u64,
}

impl UserErasure {
    pub(crate) fn new(snapshot: &EngineSnapshot, id: &str) -> Self {
        Self { keys: UserKeys::new(scan_user(snapshot, id), id), events: 0 }
    }

    /// How many events the user had, once there is no next chunk.
    pub(crate) fn events(&self) -> u64 {
        self.events
    }

    /// The next chunk; none is empty.
    pub(crate) fn next(&mut self) -> Result<Option<Vec<Erasure>>> {
        let mut chunk = Vec::new();
        while chunk.len() < CHUNK
            && let Some((key, tier)) = self.keys.next()?
        {
            self.events += 1;
            if tier == Tier::Rows {
                chunk.push(Erasure::Event(key));
            }
        }
        Ok((!chunk.is_empty()).then_some(chunk))
    }
}
