//! Row scan: events from the keys and values of a log of rows, in the order of day, `distinct_id` and time.

use super::{EventScan, READS_PER_FILL, ScanSpec, UserRange};
use crate::codec::{self, EventKey};
use crate::error::Result;
use crate::join::block::Block;
use crate::join::probe::{FilterCursor, Probe, head};
use crate::join::tables::RowCursor;

/// A scan over rows of a log.
pub(crate) struct RowScan<C> {
    rows: C,
    spec: ScanSpec,
    /// The first bytes of the ends of the range of users, which settle nearly every comparison.
    heads: (u64, u64),
    filter: FilterCursor,
}

/// Where an id lies relative to a range.
enum Position {
    Before,
    Within,
    After,
}

#[inline]
fn position(users: &UserRange, heads: (u64, u64), id: &[u8]) -> Position {
    let at = head(id);
    if (at > heads.0 || users.from.is_empty()) && at < heads.1 {
        Position::Within
    } else if id < users.from.as_slice() {
        Position::Before
    } else if users.to.as_deref().is_some_and(|to| id >= to) {
        Position::After
    } else {
        Position::Within
    }
}

impl<C: RowCursor> RowScan<C> {
    /// Takes a cursor over the [`keys`](ScanSpec::keys) of the spec.
    pub(crate) fn new(rows: C, spec: ScanSpec) -> Self {
        let heads = (head(&spec.users.from), spec.users.to.as_deref().map_or(u64::MAX, head));
        let filter = FilterCursor::new(spec.users.filter.clone());
        Self { rows, spec, heads, filter }
    }

    /// As [`fill`](EventScan::fill), reading at most this many events.
    pub(super) fn fill_reading(&mut self, block: &mut Block, max: usize, reads: u64) -> Result<bool> {
        let Self { rows, spec, heads, filter } = self;
        let predicate = &*spec.predicate;
        let mut read = 0;
        let more = loop {
            if read == reads || block.is_full(max) {
                break true;
            }
            let Some((key, value)) = rows.next()? else { break false };
            read += 1;
            let corrupt = |malformed| codec::corrupt_event(key, malformed);
            let parts = EventKey::read(key).map_err(corrupt)?;
            // An id that cannot be read is in every range, and an error if the event is requested.
            let id = codec::unescape_bytes(parts.escaped);
            let seek = match &id {
                Err(_) => None,
                Ok(id) => match position(&spec.users, *heads, id) {
                    Position::Before => Some((0, None)),
                    Position::After => Some((1, None)),
                    Position::Within => match filter.probe(id) {
                        Probe::Hit => None,
                        Probe::Miss => continue,
                        Probe::Seek(Some(next)) => Some((0, Some(next))),
                        Probe::Seek(None) => Some((1, None)),
                    },
                },
            };
            if let Some((days, id)) = seek {
                // On to that id today, or to where the range begins, today or tomorrow.
                let Some(day) = codec::day_of(parts.day).checked_add(days) else { break false };
                let mut target = codec::day_prefix(day).to_vec();
                codec::escape(&mut target, id.unwrap_or(&spec.users.from));
                rows.seek(&target)?;
                block.scanned.seeks += 1;
                continue;
            }
            let time = parts.time();
            let Some(event) = predicate.read(key, time, value)? else { continue };
            block.push_row(&id.map_err(corrupt)?, time, &event, value)?;
            predicate.filter_last(block)?;
        };
        block.scanned.events += read;
        Ok(more)
    }
}

impl<C: RowCursor> EventScan for RowScan<C> {
    fn fill(&mut self, block: &mut Block, max: usize) -> Result<bool> {
        self.fill_reading(block, max, READS_PER_FILL)
    }
}
