//! Sealing: the rows of a day become blocks of a column segment.
//!
//! A day is sealed from one snapshot, in changes that are committed one by one, each of which leaves the log as it was
//! for every reader:
//!
//! ```text
//! 1  events that rows replace leave their blocks     the row is what readers see, before and after
//! 2  rows become blocks of a new segment             up to 16 blocks in one change, with the deletion of their rows
//! 3  small segments of the day become one            once there are eight of them
//! ```
//!
//! Rows that could not be rebuilt byte for byte stay rows.

use std::collections::BTreeMap;

use super::ordinals::{IdCache, OrdinalMap, last_ids};
use super::rewrite::{SegmentRewrite, append_block, push_sealed, put_header, remove_segment};
use super::scan::scan_rows;
use super::sealed::SealedScan;
use super::segments::{Headers, block_rows, damaged, segments_of};
use crate::codec::{EventKey, Malformed, ORDINAL_IDS, ORDINALS, day_of, day_prefix, unescape_bytes};
use crate::error::{Error, Result};
use crate::rocks::{EngineScan, EngineSnapshot, ReadHint};
use crate::segment::{
    BlockBuilder, BlockDamage, ColumnId, OrdinalIds, SealedRows, SegmentEdit, SegmentHeader, SegmentKey, encode_ordinal,
};

/// Blocks of one change.
const BLOCKS_MAX: usize = 16;

/// Segments of a day with fewer events than a block are merged once there are this many.
const SMALL_SEGMENTS_MAX: usize = 8;

/// Rows whose ids are looked up at once.
const LOOKUPS_MAX: usize = 8_192;

/// What sealing did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SealCounts {
    /// Rows that became part of a block.
    pub(crate) sealed: u64,
    /// Events that left a block, because a row had replaced them.
    pub(crate) replaced: u64,
    /// Rows that stay rows.
    pub(crate) left: u64,
}

/// The first day from one on that has rows.
pub(crate) fn next_day_with_rows(snapshot: &EngineSnapshot, from: i32) -> Result<Option<i32>> {
    let mut rows = scan_rows(snapshot, &day_prefix(from), None, ReadHint::ShortRange);
    loop {
        match rows.next()? {
            None => return Ok(None),
            Some((key, _)) => {
                if let Some(day) = key.first_chunk() {
                    return Ok(Some(day_of(*day)));
                }
            }
        }
    }
}

/// Fails if a block has an ordinal without an id that is beyond those that were given away, as after damage: it would
/// be given to another id, whose events those of the block would then be. Returns what is known of ordinals.
///
/// # Errors
///
/// [`Corrupt`](crate::ErrorKind::Corrupt), with the block.
pub(crate) fn check_ordinals(snapshot: &EngineSnapshot) -> Result<OrdinalMap> {
    let next = NewOrdinals::load(snapshot)?.next;
    let mut headers = Headers::from_day(snapshot, i32::MIN);
    while let Some((_, segments)) = headers.next_day()? {
        for (segment, header) in &segments {
            if let Some(block) = header.blocks.iter().find(|block| block.ordinals.1 >= next) {
                let ordinal = block.ordinals.1;
                let malformed = Malformed("an ordinal without an id");
                let damage = damaged(*segment, block, &BlockDamage { column: ColumnId::Runs, malformed });
                return Err(Error::corrupt(format!("{} ordinal={ordinal} ordinals={next}", damage.message())));
            }
        }
    }
    Ok(OrdinalMap::new(next == 0))
}

/// The changes that seal one day.
pub(crate) struct DaySealing<'s> {
    snapshot: &'s EngineSnapshot,
    day: i32,
    block_events: usize,
    ids: IdCache,
    /// The segments of the day.
    segments: BTreeMap<SegmentKey, SegmentHeader>,
    /// Segments that may have events that rows replace.
    unchecked: Vec<SegmentKey>,
    rows: EngineScan,
    known: &'s mut OrdinalMap,
    new: NewOrdinals,
    pub(crate) counts: SealCounts,
}

impl<'s> DaySealing<'s> {
    /// In blocks of at most this many events. `known` has ordinals of this snapshot or of changes since.
    pub(crate) fn new(
        snapshot: &'s EngineSnapshot,
        day: i32,
        block_events: usize,
        known: &'s mut OrdinalMap,
    ) -> Result<Self> {
        let segments = segments_of(snapshot, day)?;
        Ok(Self {
            snapshot,
            day,
            block_events,
            ids: IdCache::new(snapshot),
            unchecked: segments.keys().copied().collect(),
            segments,
            rows: day_rows(snapshot, day),
            known,
            new: NewOrdinals::load(snapshot)?,
            counts: SealCounts::default(),
        })
    }

    /// The next change, to be committed before the one after it is prepared.
    pub(crate) fn next(&mut self) -> Result<Option<SegmentEdit>> {
        while let Some(segment) = self.unchecked.pop() {
            if let Some(edit) = self.drop_replaced(segment)? {
                return Ok(Some(edit));
            }
        }
        self.seal_rows()
    }

    /// Removes the events of a segment that rows replace.
    fn drop_replaced(&mut self, segment: SegmentKey) -> Result<Option<SegmentEdit>> {
        let Some(header) = self.segments.get(&segment) else { return Ok(None) };
        let mut rewrite = SegmentRewrite::new(segment, header.clone());
        for block in &header.blocks {
            let end = [block.last_key.as_slice(), &[0]].concat();
            let mut rows = scan_rows(self.snapshot, &block.first_key, Some(&end), ReadHint::LongRange);
            let mut sealed = None;
            let mut replaced = Vec::new();
            while let Some((key, _)) = rows.next()? {
                if sealed.is_none() {
                    sealed = block_rows(self.snapshot, segment, block, &mut self.ids, None)?;
                }
                let Some(sealed) = &sealed else { break };
                let at = sealed.lower_bound(key);
                if sealed.get(at).is_some_and(|(known, _)| known == key) {
                    replaced.push(at);
                }
            }
            if let Some(sealed) = sealed.filter(|_| !replaced.is_empty()) {
                rewrite.retain(block.number, &sealed, |at, _| replaced.binary_search(&at).is_err())?;
            }
        }
        self.counts.replaced += rewrite.removed;
        let (edit, header) = rewrite.finish();
        if edit.is_some() {
            if header.blocks.is_empty() {
                self.segments.remove(&segment);
            } else {
                self.segments.insert(segment, header);
            }
        }
        Ok(edit)
    }

    /// Makes the next rows into a segment.
    fn seal_rows(&mut self) -> Result<Option<SegmentEdit>> {
        let segment = self.next_segment()?;
        let mut edit = SegmentEdit::default();
        let mut header = SegmentHeader::default();
        let mut sealed = SealedRows::default();
        let mut builder = BlockBuilder::new(self.block_events);
        loop {
            let rows = self.read_rows()?;
            let is_last = rows.len() < LOOKUPS_MAX;
            let ordinals = self.ordinals(&rows, &mut edit)?;
            for ((key, value), ordinal) in rows.into_iter().zip(ordinals) {
                match ordinal.map(|ordinal| builder.push(ordinal, &key, &value)) {
                    Some(Ok(())) => {
                        self.counts.sealed += 1;
                        sealed.keys.push(key);
                    }
                    Some(Err(_)) | None => {
                        self.counts.left += 1;
                        sealed.kept.push(key);
                    }
                }
                if builder.is_full() {
                    append_block(&mut builder, segment, &mut header, &mut edit)?;
                }
            }
            if is_last || header.blocks.len() >= BLOCKS_MAX {
                break;
            }
        }
        if !builder.is_empty() {
            append_block(&mut builder, segment, &mut header, &mut edit)?;
        }
        if header.blocks.is_empty() {
            // The ordinals that were given away are not committed.
            *self.known = OrdinalMap::new(false);
            return Ok(None);
        }
        self.new.write(&mut edit);
        put_header(&mut edit, segment, &header);
        self.segments.insert(segment, header);
        edit.sealed = Some(sealed);
        Ok(Some(edit))
    }

    fn read_rows(&mut self) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut rows = Vec::new();
        while rows.len() < LOOKUPS_MAX
            && let Some((key, value)) = self.rows.next()?
        {
            rows.push((key.to_vec(), value.to_vec()));
        }
        Ok(rows)
    }

    /// The ordinals of the users of rows, new ones where they have none; none for a row whose id cannot be read.
    fn ordinals(&mut self, rows: &[(Vec<u8>, Vec<u8>)], edit: &mut SegmentEdit) -> Result<Vec<Option<u32>>> {
        let mut ids: Vec<Vec<u8>> = Vec::new();
        let mut places: Vec<Option<usize>> = Vec::with_capacity(rows.len());
        for (key, _) in rows {
            let id = EventKey::read(key).ok().and_then(|key| unescape_bytes(key.escaped).ok());
            let id = id.filter(|id| std::str::from_utf8(id).is_ok());
            places.push(id.map(|id| {
                if ids.last().is_none_or(|last| last.as_slice() != &*id) {
                    ids.push(id.into_owned());
                }
                ids.len().saturating_sub(1)
            }));
        }
        let keys: Vec<&[u8]> = ids.iter().map(Vec::as_slice).collect();
        let known = self.known.look_up(self.snapshot, &keys)?;
        let mut ordinals = Vec::with_capacity(ids.len());
        let mut given = Vec::new();
        for (id, known) in ids.iter().zip(known) {
            ordinals.push(match known {
                Some(ordinal) => ordinal,
                None => {
                    let ordinal = self.new.give(id, edit)?;
                    given.push((id, ordinal));
                    ordinal
                }
            });
        }
        given.dedup();
        given.into_iter().for_each(|(id, ordinal)| self.known.insert(id, ordinal));
        Ok(places.into_iter().map(|place| place.and_then(|at| ordinals.get(at).copied())).collect())
    }

    fn next_segment(&self) -> Result<SegmentKey> {
        let last = self.segments.last_key_value().map_or(0, |(segment, _)| segment.number);
        let number = last.checked_add(1).ok_or_else(|| Error::limit("a day has too many column segments"))?;
        Ok(SegmentKey { day: self.day, number })
    }
}

fn day_rows(snapshot: &EngineSnapshot, day: i32) -> EngineScan {
    let end = day.checked_add(1).map(day_prefix);
    scan_rows(snapshot, &day_prefix(day), end.as_ref().map(<[u8; 4]>::as_slice), ReadHint::FullScan)
}

/// Ordinals that are given away while a day is being sealed.
struct NewOrdinals {
    next: u32,
    /// The ids of the last 1024 ordinals, as far as they are given away.
    tail: OrdinalIds,
    /// Whether it differs from what is stored or in the change.
    is_dirty: bool,
    /// The id that got the last one: its rows may go on in the next change.
    last: Option<(Vec<u8>, u32)>,
}

impl NewOrdinals {
    fn load(snapshot: &EngineSnapshot) -> Result<Self> {
        let (next, tail) = last_ids(snapshot)?;
        Ok(Self { next, tail, is_dirty: false, last: None })
    }

    /// Gives an id the next ordinal.
    fn give(&mut self, id: &[u8], edit: &mut SegmentEdit) -> Result<u32> {
        if let Some((_, ordinal)) = self.last.as_ref().filter(|(last, _)| last == id) {
            return Ok(*ordinal);
        }
        let ordinal = self.next;
        self.next = ordinal.checked_add(1).ok_or_else(|| Error::limit("there are as many ordinals as there can be"))?;
        let (_, at) = OrdinalIds::key_of(ordinal);
        if at == 0 {
            self.tail = OrdinalIds::default();
        }
        self.tail.push(id);
        self.is_dirty = true;
        edit.put(ORDINALS, id.to_vec(), encode_ordinal(ordinal));
        let (_, next_at) = OrdinalIds::key_of(self.next);
        if next_at == 0 {
            self.write(edit);
        }
        self.last = Some((id.to_vec(), ordinal));
        Ok(ordinal)
    }

    /// Adds the ids that were not written yet to a change.
    fn write(&mut self, edit: &mut SegmentEdit) {
        if std::mem::take(&mut self.is_dirty)
            && let Some(last) = self.next.checked_sub(1)
        {
            let (key, _) = OrdinalIds::key_of(last);
            edit.put(ORDINAL_IDS, key.to_vec(), self.tail.encode());
        }
    }
}

/// The change that merges the small segments of a day, if there are many.
pub(crate) fn merge_small_segments(
    snapshot: &EngineSnapshot,
    day: i32,
    block_events: usize,
) -> Result<Option<SegmentEdit>> {
    let segments = segments_of(snapshot, day)?;
    let events = |header: &SegmentHeader| header.blocks.iter().map(|block| block.events as usize).sum::<usize>();
    let last = segments.last_key_value().map_or(0, |(segment, _)| segment.number);
    let small: Vec<_> = segments.into_iter().filter(|(_, header)| events(header) < block_events).collect();
    if small.len() < SMALL_SEGMENTS_MAX {
        return Ok(None);
    }
    let number = last.checked_add(1).ok_or_else(|| Error::limit("a day has too many column segments"))?;
    let segment = SegmentKey { day, number };
    let mut edit = SegmentEdit::default();
    let mut header = SegmentHeader::default();
    let mut builder = BlockBuilder::new(block_events);
    let mut rows = SealedScan::of_segments(snapshot, &small);
    loop {
        let more = rows.next()?;
        if more && let Some(((key, value), ordinal)) = rows.current().zip(rows.current_ordinal()) {
            push_sealed(&mut builder, ordinal, key, value)?;
        }
        if builder.is_full() || (!more && !builder.is_empty()) {
            append_block(&mut builder, segment, &mut header, &mut edit)?;
        }
        if !more {
            break;
        }
    }
    small.iter().for_each(|(segment, header)| remove_segment(&mut edit, *segment, header));
    put_header(&mut edit, segment, &header);
    Ok(Some(edit))
}
