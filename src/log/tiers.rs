//! Size-tiered merges of the segments of a day, so that sealing few events at a time leaves few segments.
//!
//! Segments are in tiers by their events: those of a tier have up to four times as many as those of the one below. Once
//! four are in a tier they become one, which is in a higher tier. So a day has at most three segments in each tier,
//! and an event is written at most once more for each tier above the one that it was sealed in. Segments with as many
//! events as [`SEGMENT_BLOCKS_MAX`] blocks have are not merged any more.
//!
//! A large merge is more than one change: each moves the events up to some key, and leaves the log as it was.

use std::collections::BTreeMap;

use super::ordinals::IdCache;
use super::rewrite::{SegmentRewrite, append_block, push_sealed, put_header, remove_segment};
use super::seal::{GoOn, SEGMENT_BLOCKS_MAX, next_segment};
use super::sealed::SealedScan;
use super::segments::{block_rows, segments_of};
use crate::error::Result;
use crate::rocks::EngineSnapshot;
use crate::segment::{BLOCK_BYTES_MAX, BlockBuilder, SegmentEdit, SegmentHeader, SegmentKey};

/// Segments of a tier that become one.
const TIER_SEGMENTS: usize = 4;

/// The most segments of one merge, each of which has a block in memory.
const MERGED_MAX: usize = 8;

/// Blocks of one change.
const BLOCKS_MAX: usize = 16;

/// The changes that merge segments of one day.
pub(crate) struct DayMerge {
    day: i32,
    block_events: usize,
    /// The merge that was begun.
    current: Option<SegmentMerge>,
}

/// A merge of segments into one.
struct SegmentMerge {
    from: Vec<SegmentKey>,
    into: SegmentKey,
}

impl DayMerge {
    /// In blocks of at most this many events.
    pub(crate) fn new(day: i32, block_events: usize) -> Self {
        Self { day, block_events, current: None }
    }

    /// The next change, prepared from a snapshot that has the one before. If it is not committed, this must not be used
    /// any more.
    pub(crate) fn next(&mut self, snapshot: &EngineSnapshot, go_on: GoOn<'_>) -> Result<Option<SegmentEdit>> {
        let segments = segments_of(snapshot, self.day)?;
        let remains = |merge: &SegmentMerge| merge.from.iter().any(|segment| segments.contains_key(segment));
        if !self.current.as_ref().is_some_and(remains) {
            let from = pick(&segments, |header| size(header, self.block_events));
            let into = next_segment(self.day, &segments)?;
            self.current = (!from.is_empty()).then_some(SegmentMerge { from, into });
        }
        let Some(SegmentMerge { from, into }) = &self.current else { return Ok(None) };
        let with_header = |segment: &SegmentKey| Some((*segment, segments.get(segment)?.clone()));
        let from: Vec<_> = from.iter().filter_map(with_header).collect();
        let header = segments.get(into).cloned().unwrap_or_default();
        self.merge(snapshot, &from, (*into, header), go_on).map(Some)
    }

    /// The change that moves the first events of segments to the end of another one.
    fn merge(
        &self,
        snapshot: &EngineSnapshot,
        from: &[(SegmentKey, SegmentHeader)],
        (into, mut header): (SegmentKey, SegmentHeader),
        go_on: GoOn<'_>,
    ) -> Result<SegmentEdit> {
        let mut edit = SegmentEdit::default();
        let mut builder = BlockBuilder::new(self.block_events);
        let mut rows = SealedScan::of_segments(snapshot, from);
        let mut is_rest = true;
        for block in 0..BLOCKS_MAX {
            go_on()?;
            while !builder.is_full() && rows.next()? {
                if let Some(((key, value), ordinal)) = rows.current().zip(rows.current_ordinal()) {
                    push_sealed(&mut builder, ordinal, key, value)?;
                }
            }
            if builder.is_empty() {
                break;
            }
            is_rest = !builder.is_full();
            append_block(&mut builder, into, &mut header, &mut edit)?;
            if is_rest || block + 1 == BLOCKS_MAX {
                break;
            }
            is_rest = true;
        }
        put_header(&mut edit, into, &header);
        let last = header.blocks.last().map(|block| block.last_key.as_slice()).unwrap_or_default();
        for (segment, header) in from {
            go_on()?;
            if is_rest {
                remove_segment(&mut edit, *segment, header);
            } else {
                edit.writes
                    .extend(remove_through(snapshot, *segment, header, last)?.into_iter().flat_map(|edit| edit.writes));
            }
        }
        Ok(edit)
    }
}

/// Removes the events of a segment up to a key.
fn remove_through(
    snapshot: &EngineSnapshot,
    segment: SegmentKey,
    header: &SegmentHeader,
    last: &[u8],
) -> Result<Option<SegmentEdit>> {
    let mut rewrite = SegmentRewrite::new(segment, header.clone());
    let mut ids = IdCache::new(snapshot);
    for block in header.blocks.iter().filter(|block| block.first_key.as_slice() <= last) {
        if block.last_key.as_slice() <= last {
            rewrite.remove(block.number);
        } else if let Some(rows) = block_rows(snapshot, segment, block, &mut ids, None)? {
            rewrite.retain(block.number, &rows, |_, key| key > last)?;
        }
    }
    Ok(rewrite.finish().0)
}

/// The events of a segment; none of one that is large enough.
fn size(header: &SegmentHeader, block_events: usize) -> Option<u64> {
    let events = header.blocks.iter().map(|block| u64::from(block.events)).sum::<u64>();
    let bytes = header.blocks.iter().map(|block| block.row_bytes).sum::<u64>();
    let is_large = |value: u64, of_block: usize| value >= SEGMENT_BLOCKS_MAX.saturating_mul(of_block) as u64;
    (!is_large(events, block_events) && !is_large(bytes, BLOCK_BYTES_MAX)).then_some(events)
}

/// The segments that are merged next: the first of the lowest tier that has enough of them.
fn pick<S>(segments: &BTreeMap<SegmentKey, S>, size: impl Fn(&S) -> Option<u64>) -> Vec<SegmentKey> {
    let mut tiers: BTreeMap<u32, Vec<SegmentKey>> = BTreeMap::new();
    for (segment, header) in segments {
        if let Some(events) = size(header) {
            tiers.entry(events.checked_ilog(TIER_SEGMENTS as u64).unwrap_or(0)).or_default().push(*segment);
        }
    }
    let mut picked = tiers.into_values().find(|tier| tier.len() >= TIER_SEGMENTS).unwrap_or_default();
    picked.truncate(MERGED_MAX);
    picked
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A day of segments that are only sizes.
    #[derive(Debug, Default)]
    struct Sizes {
        segments: BTreeMap<SegmentKey, u64>,
        last: u32,
        sealed: u64,
        merged: u64,
        most: usize,
    }

    impl Sizes {
        fn add(&mut self, events: u64) {
            self.last += 1;
            self.segments.insert(SegmentKey { day: 0, number: self.last }, events);
        }

        fn seal(&mut self, events: u64, max: u64) {
            self.sealed += events;
            self.add(events);
            loop {
                let from = pick(&self.segments, |events| (*events < max).then_some(*events));
                if from.is_empty() {
                    break;
                }
                let events = from.iter().filter_map(|segment| self.segments.remove(segment)).sum::<u64>();
                self.merged += events;
                self.add(events);
            }
            self.most = self.most.max(self.segments.values().filter(|events| **events < max).count());
        }
    }

    proptest! {
        /// Segments per tier, and what is written again, have the bounds that the head of this file says.
        #[test]
        fn a_day_has_few_segments_and_an_event_is_written_few_times(
            seals in prop::collection::vec(1..2_000_u64, 1..800),
            max in prop::sample::select(vec![500_u64, 60_000, 1 << 40]),
        ) {
            let mut day = Sizes::default();
            seals.iter().for_each(|events| day.seal(*events, max));
            let tiers = max.min(day.sealed).ilog(4) as usize + 1;
            prop_assert!(day.most <= 3 * tiers, "{:?}", day);
            let large = day.segments.values().filter(|events| **events >= max).count() as u64;
            prop_assert!(large * max <= day.sealed, "{:?}", day);
            prop_assert!(day.merged <= day.sealed * tiers as u64, "{:?}", day);
        }
    }

    /// The figures that docs/OPERATIONS.md and the pages of the setting give.
    #[test]
    fn small_seals_leave_few_segments_and_write_few_times() {
        for (seals, events, segments, times) in [(100_000, 1, 24, 8.7), (150, 65_536, 10, 3.9)] {
            let mut day = Sizes::default();
            (0..seals).for_each(|_| day.seal(events, 64 * 65_536));
            assert!(day.most <= segments, "{}", day.most);
            let amplification = (day.sealed + day.merged) as f64 / day.sealed as f64;
            assert!(amplification <= times, "{amplification}");
        }
    }
}
