//! Sealing: the rows of a day become blocks of a column segment.
//!
//! Changes are committed one by one, and each leaves the log as it was for every reader:
//!
//! ```text
//! 1  events that the rows of the next block replace leave their blocks    readers see the rows, before and after
//! 2  the rows become a block, the last of a segment of this day           in one change with their deletion
//! ```
//!
//! A change is prepared from a snapshot of its own, and has the rows after those of the one before. So the memory that
//! it takes is that of a block, and sealing can end after any of them. Rows that could not be rebuilt byte for byte
//! stay rows.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::ordinals::{IdCache, last_ids, look_up};
use super::rewrite::{SegmentRewrite, append_block, put_header};
use super::scan::scan_rows;
use super::segments::{Headers, block_rows, damaged, read_chunks, segments_of};
use crate::codec::{EventKey, Malformed, ORDINAL_IDS, day_of, day_prefix, unescape_bytes};
use crate::error::{Error, Result};
use crate::rocks::{EngineScan, EngineSnapshot, ReadHint};
use crate::segment::{
    BlockBuilder, BlockDamage, BlockSummary, BlockTimes, ColumnId, KeyList, OrdinalIds, OrdinalIndex, SealedRows,
    SegmentEdit, SegmentHeader, SegmentKey, UserRuns,
};

/// The most blocks of a segment, each of which has a part of its header.
pub(super) const SEGMENT_BLOCKS_MAX: usize = 64;

/// Rows whose ids are looked up at once.
const LOOKUPS_MAX: usize = 8_192;

/// Says between steps of some milliseconds whether to go on: an error ends what is being prepared.
pub(crate) type GoOn<'g> = &'g dyn Fn() -> Result<()>;

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

/// How many rows there are, counted up to a maximum.
pub(crate) fn count_rows(snapshot: &EngineSnapshot, max: u64, go_on: GoOn<'_>) -> Result<u64> {
    let mut rows = scan_rows(snapshot, &[], None, ReadHint::LongRange);
    let mut count = 0;
    while count < max && rows.next()?.is_some() {
        count += 1;
        if count % LOOKUPS_MAX as u64 == 0 {
            go_on()?;
        }
    }
    Ok(count)
}

/// Fails if a block has an ordinal without an id that is beyond those that were given away, as after damage: it would
/// be given to another id, whose events those of the block would then be.
///
/// # Errors
///
/// [`Corrupt`](crate::ErrorKind::Corrupt), with the block.
pub(crate) fn check_ordinals(snapshot: &EngineSnapshot) -> Result<()> {
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
    Ok(())
}

/// The changes that seal one day.
pub(crate) struct DaySealing {
    day: i32,
    /// The rows from this key on are next.
    from: Vec<u8>,
    /// The segment that blocks are added to.
    segment: Option<SegmentKey>,
    /// Rows that stay rows.
    left: u64,
}

impl DaySealing {
    pub(crate) fn new(day: i32) -> Self {
        Self { day, from: day_prefix(day).to_vec(), segment: None, left: 0 }
    }

    /// The next block, as large as one of the builder, whose rows are dropped. It is prepared from a snapshot that has
    /// the one before. If it is not committed, this must not be used any more.
    pub(crate) fn next<'s>(
        &mut self,
        snapshot: &'s EngineSnapshot,
        known: &OrdinalIndex,
        builder: &mut BlockBuilder,
        go_on: GoOn<'_>,
    ) -> Result<Option<BlockSealing<'s>>> {
        builder.clear();
        let segments = segments_of(snapshot, self.day)?;
        let (segment, mut header) = self.segment_for_block(&segments)?;
        let mut new = NewOrdinals::load(snapshot)?;
        let (mut edit, mut keys, mut kept) = (SegmentEdit::default(), KeyList::default(), KeyList::default());
        let mut events = Vec::new();
        let mut scan = day_rows(snapshot, self.day, &self.from);
        let mut batch = UnsealedRows::default();
        while !builder.is_full() && batch.read(&mut scan, builder.room())? {
            go_on()?;
            let ordinals = batch.ordinals(snapshot, known, &mut new, &mut edit)?;
            for (at, ordinal) in ordinals.into_iter().enumerate() {
                let (key, value) = batch.row(at);
                match ordinal.and_then(|ordinal| builder.push(ordinal, key, value).ok().map(|()| ordinal)) {
                    Some(ordinal) => {
                        keys.push(key);
                        events.push((ordinal, EventKey::read(key).map_or(0, |key| key.millis)));
                    }
                    None => {
                        self.left += 1;
                        kept.push(key);
                    }
                }
            }
            if let Some((key, _)) = batch.rows.len().checked_sub(1).map(|last| batch.row(last)) {
                self.from = [key, &[0]].concat();
            }
        }
        if builder.is_empty() {
            return Ok(None);
        }
        self.segment = Some(segment);
        append_block(builder, segment, &mut header, &mut edit)?;
        new.write(&mut edit);
        put_header(&mut edit, segment, &header);
        edit.sealed = Some(SealedRows { keys: Arc::new(keys), kept });
        let unchecked = segments.into_iter().collect();
        Ok(Some(BlockSealing { snapshot, edit, events, unchecked, ids: IdCache::new(snapshot), replaced: 0 }))
    }

    /// How many rows stay rows.
    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    /// The segment that the next block is added to, as it is.
    fn segment_for_block(&self, segments: &BTreeMap<SegmentKey, SegmentHeader>) -> Result<(SegmentKey, SegmentHeader)> {
        let last = self.segment.and_then(|segment| segments.get_key_value(&segment));
        if let Some((segment, header)) = last.filter(|(_, header)| header.blocks.len() < SEGMENT_BLOCKS_MAX) {
            return Ok((*segment, header.clone()));
        }
        Ok((next_segment(self.day, segments)?, SegmentHeader::default()))
    }
}

/// The segment of a day after those that there are.
pub(super) fn next_segment(day: i32, segments: &BTreeMap<SegmentKey, SegmentHeader>) -> Result<SegmentKey> {
    let last = segments.last_key_value().map_or(0, |(segment, _)| segment.number);
    let number = last.checked_add(1).ok_or_else(|| Error::limit("a day has too many column segments"))?;
    Ok(SegmentKey { day, number })
}

/// The changes that seal the rows of one block, of the same snapshot.
pub(crate) struct BlockSealing<'s> {
    snapshot: &'s EngineSnapshot,
    /// The last change.
    edit: SegmentEdit,
    /// The ordinal and the millisecond of each row, in the order of keys.
    events: Vec<(u32, u32)>,
    /// Segments that may have events that the rows replace.
    unchecked: Vec<(SegmentKey, SegmentHeader)>,
    ids: IdCache,
    /// Events that the changes before the last one remove.
    replaced: u64,
}

impl BlockSealing<'_> {
    /// The next change that is to be committed before [`finish`](Self::finish): the removal of events that the rows
    /// replace from a segment.
    pub(crate) fn next_removal(&mut self, go_on: GoOn<'_>) -> Result<Option<SegmentEdit>> {
        while let Some((segment, header)) = self.unchecked.pop() {
            go_on()?;
            let mut rewrite = SegmentRewrite::new(segment, header.clone());
            for block in &header.blocks {
                let candidates = self.candidates(segment, block)?;
                let keys = self.edit.sealed.as_ref().map(|rows| &rows.keys);
                let Some(keys) = keys.filter(|_| !candidates.is_empty()) else { continue };
                let Some(sealed) = block_rows(self.snapshot, segment, block, &mut self.ids, None)? else { continue };
                let mut replaced = Vec::new();
                for key in candidates.into_iter().filter_map(|at| keys.get(at)) {
                    let at = sealed.lower_bound(key);
                    if sealed.get(at).is_some_and(|(known, _)| known == key) {
                        replaced.push(at);
                    }
                }
                rewrite.retain(block.number, &sealed, |at, _| replaced.binary_search(&at).is_err())?;
            }
            self.replaced += rewrite.removed;
            if let (Some(edit), _) = rewrite.finish() {
                return Ok(Some(edit));
            }
        }
        Ok(None)
    }

    /// The rows that a block has an event of the same user and time as, ascending. Reads no more of it than that takes.
    fn candidates(&self, segment: SegmentKey, block: &BlockSummary) -> Result<Vec<usize>> {
        let Some(keys) = self.edit.sealed.as_ref().map(|rows| &rows.keys) else { return Ok(Vec::new()) };
        let range = keys.lower_bound(&block.first_key)..keys.lower_bound(&[block.last_key.as_slice(), &[0]].concat());
        let within = |zone: (u32, u32), value: u32| (zone.0..=zone.1).contains(&value);
        let mut found: Vec<(usize, (u32, u32))> = range
            .filter_map(|at| self.events.get(at).map(|event| (at, *event)))
            .filter(|(_, event)| within(block.ordinals, event.0) && within(block.millis, event.1))
            .collect();
        if found.is_empty() {
            return Ok(Vec::new());
        }
        let columns = [ColumnId::Runs, ColumnId::Time];
        let chunks = read_chunks(self.snapshot, segment, block, columns.iter())?;
        let chunk = |at: usize| chunks.get(at).map_or(&[][..], |(_, bytes)| bytes.as_slice());
        let damage = |column| move |malformed| damaged(segment, block, &BlockDamage { column, malformed });
        let runs = UserRuns::decode(chunk(0)).map_err(damage(ColumnId::Runs))?;
        let times = BlockTimes::decode(chunk(1), block.events as usize).map_err(damage(ColumnId::Time))?;
        let starts: Vec<usize> =
            runs.counts.iter().scan(0, |sum, count| Some(std::mem::replace(sum, *sum + *count as usize))).collect();
        found.retain(|(_, (ordinal, millis))| {
            let Ok(run) = runs.ordinals.binary_search(ordinal) else { return false };
            let start = starts.get(run).copied().unwrap_or_default();
            let count = runs.counts.get(run).map_or(0, |count| *count as usize);
            (start..start + count).any(|event| times.get(event) == *millis)
        });
        Ok(found.into_iter().map(|(at, _)| at).collect())
    }

    /// How many events were removed, because rows replace them.
    pub(crate) fn replaced(&self) -> u64 {
        self.replaced
    }

    /// How many rows are sealed.
    pub(crate) fn events(&self) -> u64 {
        self.events.len() as u64
    }

    /// The change that seals the rows.
    pub(crate) fn finish(self) -> SegmentEdit {
        self.edit
    }
}

fn day_rows(snapshot: &EngineSnapshot, day: i32, from: &[u8]) -> EngineScan {
    let end = day.checked_add(1).map(day_prefix);
    scan_rows(snapshot, from, end.as_ref().map(<[u8; 4]>::as_slice), ReadHint::LongRange)
}

/// Rows that are read at once, in one buffer.
#[derive(Default)]
struct UnsealedRows {
    bytes: Vec<u8>,
    /// The key of each, and then its value.
    rows: Vec<(Range<usize>, Range<usize>)>,
}

impl UnsealedRows {
    /// Reads the next rows, no more than these, and says whether there were any.
    fn read(&mut self, scan: &mut EngineScan, (rows_max, bytes_max): (usize, usize)) -> Result<bool> {
        self.bytes.clear();
        self.rows.clear();
        while self.rows.len() < LOOKUPS_MAX.min(rows_max)
            && self.bytes.len() < bytes_max
            && let Some((key, value)) = scan.next()?
        {
            let start = self.bytes.len();
            self.bytes.extend_from_slice(key);
            self.bytes.extend_from_slice(value);
            let middle = start + key.len();
            self.rows.push((start..middle, middle..self.bytes.len()));
        }
        Ok(!self.rows.is_empty())
    }

    fn row(&self, at: usize) -> (&[u8], &[u8]) {
        let slice = |range: &Range<usize>| self.bytes.get(range.clone()).unwrap_or_default();
        self.rows.get(at).map_or((&[], &[]), |(key, value)| (slice(key), slice(value)))
    }

    /// The ordinals of the users of the rows, new ones where they have none; none for a row whose id cannot be read.
    fn ordinals(
        &self,
        snapshot: &EngineSnapshot,
        known: &OrdinalIndex,
        new: &mut NewOrdinals,
        edit: &mut SegmentEdit,
    ) -> Result<Vec<Option<u32>>> {
        let mut ids: Vec<Cow<'_, [u8]>> = Vec::new();
        let mut places: Vec<Option<usize>> = Vec::with_capacity(self.rows.len());
        for at in 0..self.rows.len() {
            let id = EventKey::read(self.row(at).0).ok().and_then(|key| unescape_bytes(key.escaped).ok());
            let id = id.filter(|id| std::str::from_utf8(id).is_ok());
            places.push(id.map(|id| {
                if ids.last().is_none_or(|last| *last != id) {
                    ids.push(id);
                }
                ids.len().saturating_sub(1)
            }));
        }
        let keys: Vec<&[u8]> = ids.iter().map(|id| &**id).collect();
        let found = look_up(known, snapshot, new.count, &keys)?;
        let given = keys.iter().zip(found).map(|(id, found)| found.map_or_else(|| new.give(id, edit), Ok));
        let ordinals = given.collect::<Result<Vec<u32>>>()?;
        Ok(places.into_iter().map(|place| place.and_then(|at| ordinals.get(at).copied())).collect())
    }
}

/// Ordinals that are given away by one change.
struct NewOrdinals {
    /// How many the snapshot has.
    count: u32,
    next: u32,
    /// The ids of the last 1024 ordinals, as far as they are given away.
    tail: OrdinalIds,
    /// Whether it differs from what is stored or in the change.
    is_dirty: bool,
}

impl NewOrdinals {
    fn load(snapshot: &EngineSnapshot) -> Result<Self> {
        let (next, tail) = last_ids(snapshot)?;
        Ok(Self { count: next, next, tail, is_dirty: false })
    }

    /// Gives an id the next ordinal. Ids ascend; one that comes again keeps its ordinal.
    fn give(&mut self, id: &[u8], edit: &mut SegmentEdit) -> Result<u32> {
        let ordinal = self.next;
        if edit.ordinals.ids.last() == Some(id) {
            return Ok(ordinal.saturating_sub(1));
        }
        if edit.ordinals.ids.is_empty() {
            edit.ordinals.first = ordinal;
        }
        self.next = ordinal.checked_add(1).ok_or_else(|| Error::limit("there are as many ordinals as there can be"))?;
        let (_, at) = OrdinalIds::key_of(ordinal);
        if at == 0 {
            self.tail = OrdinalIds::default();
        }
        self.tail.push(id);
        self.is_dirty = true;
        edit.ordinals.ids.push(id);
        let (_, next_at) = OrdinalIds::key_of(self.next);
        if next_at == 0 {
            self.write(edit);
        }
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
