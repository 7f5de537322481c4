//! The tail of a log with column segments: its rows in memory, each with the ordinal of its user, and the events in
//! columns that they replace. Joins keep it from one to the next, and bring it up to their own snapshot by reading the
//! rows again that commits changed in between, in whichever direction.

use std::borrow::Cow;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use super::ordinals::{last_ids, look_up};
use super::replaced::{ReplacedEvents, read_block_events};
use super::scan::scan_rows;
use super::segments::{Headers, header_of};
use crate::codec::{EVENTS, EventKey, unescape_bytes};
use crate::error::{Error, Result};
use crate::join::{
    BlockEvents, ChangedRow, KnownTail, LogTail, RowBytes, RowState, TailCache, TailOrdinals, UnsealedRow, block_id,
    hash_of,
};
use crate::rocks::{EngineSnapshot, ReadHint};
use crate::segment::{OrdinalIndex, SealedBlock, SegmentHeader, SegmentKey};

/// A tail of more rows or bytes than this is not kept in memory.
const ROWS_MAX: usize = 1 << 17;
const BYTES_MAX: usize = 32 << 20;

/// The events of this many blocks are kept: half a megabyte for each block of the usual size.
const BLOCKS_MAX: usize = 64;

/// Rows and ids that are looked up at once.
const LOOKUPS_MAX: usize = 1_024;

/// What was read of a log before, and what changed since.
pub(crate) trait LogHistory: Send + Sync {
    /// The tail that joins of the same store have read.
    fn tail_cache(&self) -> &TailCache;

    /// The ordinals of ids that are known in memory.
    fn ordinal_index(&self) -> &OrdinalIndex;

    /// What may differ between a sequence number and a snapshot of the same engine, before or after it; none if that
    /// is not known.
    fn log_changes(&self, snapshot: &EngineSnapshot, sequence: u64) -> Option<LogChanges>;
}

/// What may differ in a log.
pub(crate) struct LogChanges {
    /// Rows by their keys, ascending, and what the snapshot has of them.
    pub(crate) rows: Vec<ChangedRow>,
    /// The keys of headers of column segments, ascending. There may be more ordinals, unless there are none of these.
    /// The empty key says that ids may have lost their ordinals.
    pub(crate) headers: Vec<Box<[u8]>>,
}

/// The tail of the log of a snapshot, unless it is too large.
pub(super) fn current_tail(snapshot: &EngineSnapshot, history: &dyn LogHistory) -> Result<Option<Arc<LogTail>>> {
    let stamp = (snapshot.engine().number(), snapshot.sequence());
    let mut known = history.tail_cache().lock();
    if let Some((engine, sequence)) = known.too_large
        && engine == stamp.0
        && let Some(changes) = history.log_changes(snapshot, sequence)
        && changes.headers.is_empty()
        && changes.rows.len() < ROWS_MAX
    {
        // Hardly any rows can have been deleted since.
        return Ok(None);
    }
    known.numberings += 1;
    let numbering = known.numberings;
    if let Some(tail) = known.tail.clone().filter(|tail| tail.stamp.0 == stamp.0) {
        if tail.stamp == stamp {
            return Ok(Some(tail));
        }
        let is_earlier = stamp.1 < tail.stamp.1;
        let changes = history.log_changes(snapshot, tail.stamp.1).filter(|changes| changes.rows.len() < ROWS_MAX);
        if let Some(changes) = changes {
            // An earlier snapshot gets a copy of its own, whose new ordinals go their own way.
            let mut tail = tail;
            if is_earlier {
                Arc::make_mut(&mut tail).new_ordinals.numbering = numbering;
            } else {
                known.tail = None;
            }
            let mut update =
                TailUpdate::new(snapshot, history.ordinal_index(), numbering, &mut known, Arc::make_mut(&mut tail));
            let updated = update.apply(changes);
            update.tail.stamp = stamp;
            if is_earlier {
                // What was read of blocks is of that snapshot, and the tail that is kept is not.
                known.blocks.clear();
            }
            updated?;
            let tail = Some(tail).filter(|tail| fits(tail));
            if !is_earlier {
                known.too_large = tail.is_none().then_some(stamp);
                known.tail.clone_from(&tail);
            }
            return Ok(tail);
        }
    }
    let tail = read_tail(snapshot, history.ordinal_index(), numbering, &mut known)?.map(Arc::new);
    if known.tail.as_ref().is_none_or(|other| other.stamp.0 != stamp.0 || other.stamp.1 < stamp.1) {
        known.too_large = tail.is_none().then_some(stamp);
        known.tail.clone_from(&tail);
    }
    Ok(tail)
}

fn fits(tail: &LogTail) -> bool {
    tail.rows.len() <= ROWS_MAX && tail.bytes <= BYTES_MAX
}

/// Reads all rows, unless they are too many.
fn read_tail(
    snapshot: &EngineSnapshot,
    index: &OrdinalIndex,
    numbering: u64,
    known: &mut KnownTail,
) -> Result<Option<LogTail>> {
    let mut rows = scan_rows(snapshot, &[], None, ReadHint::LongRange);
    let (mut found, mut bytes) = (Vec::new(), 0);
    while let Some((key, value)) = rows.next()? {
        bytes += key.len() + value.len();
        if found.len() >= ROWS_MAX || bytes > BYTES_MAX {
            return Ok(None);
        }
        found.push(FoundRow { row: RowBytes::new(key, value), is_present: true });
    }
    let stamp = (snapshot.engine().number(), snapshot.sequence());
    let mut tail = LogTail { stamp, ..LogTail::default() };
    let mut update = TailUpdate::new(snapshot, index, numbering, known, &mut tail);
    let read = update.put(found, Some(ChangedSegments::All));
    // The tail that is kept may be another one.
    known.blocks.clear();
    read?;
    Ok(Some(tail).filter(fits))
}

/// A row, or the key of one that there is not.
struct FoundRow {
    row: RowBytes,
    is_present: bool,
}

/// A row, or the key of one that there is not, and the row with its ordinal if there is one.
type KeyedRow = (RowBytes, Option<UnsealedRow>);

/// Segments that may differ.
enum ChangedSegments {
    All,
    /// Ascending.
    Some(Vec<SegmentKey>),
}

impl ChangedSegments {
    fn contains(&self, segment: SegmentKey) -> bool {
        match self {
            Self::All => true,
            Self::Some(segments) => segments.binary_search(&segment).is_ok(),
        }
    }
}

/// Brings a tail to the state of a snapshot.
struct TailUpdate<'t> {
    snapshot: &'t EngineSnapshot,
    index: &'t OrdinalIndex,
    /// Of new ordinals, where those that are known do not hold any more.
    numbering: u64,
    /// From this ordinal on they do not hold.
    settled: u32,
    known: &'t mut KnownTail,
    tail: &'t mut LogTail,
}

impl<'t> TailUpdate<'t> {
    fn new(
        snapshot: &'t EngineSnapshot,
        index: &'t OrdinalIndex,
        numbering: u64,
        known: &'t mut KnownTail,
        tail: &'t mut LogTail,
    ) -> Self {
        Self { snapshot, index, numbering, settled: u32::MAX, known, tail }
    }

    /// Reads rows and headers of segments again.
    fn apply(&mut self, LogChanges { rows, headers }: LogChanges) -> Result<()> {
        let mut found: Vec<FoundRow> = Vec::with_capacity(rows.len());
        let mut unknown: Vec<RowBytes> = Vec::new();
        for ChangedRow { row, state } in rows {
            match state {
                RowState::Unknown => unknown.push(row),
                RowState::Absent => found.push(FoundRow { row, is_present: false }),
                RowState::Present => found.push(FoundRow { row, is_present: true }),
            }
        }
        if !unknown.is_empty() {
            for rows in unknown.chunks(LOOKUPS_MAX) {
                let keys: Vec<&[u8]> = rows.iter().map(RowBytes::key).collect();
                let read = self.snapshot.read_many(EVENTS, &keys, |at, value| {
                    let key = keys.get(at).copied().unwrap_or_default();
                    FoundRow { row: RowBytes::new(key, value.unwrap_or_default()), is_present: value.is_some() }
                })?;
                found.extend(read);
            }
            found.sort_unstable_by(|one, other| one.row.key().cmp(other.row.key()));
        }
        if headers.first().is_some_and(|key| key.is_empty()) {
            self.settled = 0;
        }
        // The empty key is that of no segment, and no other is written that cannot be read.
        let segments = headers.iter().filter_map(|key| SegmentKey::read(key).ok()).collect();
        self.put(found, Some(ChangedSegments::Some(segments)).filter(|_| !headers.is_empty()))
    }

    /// Puts rows in the place of those with the same keys, which ascend, and finds what they replace in columns.
    fn put(&mut self, found: Vec<FoundRow>, segments: Option<ChangedSegments>) -> Result<()> {
        let added_blocks = match &segments {
            Some(segments) => {
                // A block that is gone leaves its number to another one, also between two states that were read.
                self.known.blocks.retain(|(segment, _), _| !segments.contains(*segment));
                self.tail.replaced.retain(|(segment, _), _| !segments.contains(*segment));
                self.read_ordinals()?;
                self.read_segments(segments)?
            }
            None => Vec::new(),
        };
        let rows = self.with_ordinals(found)?;
        self.replace(&rows);
        if segments.is_some() {
            self.renumber()?;
        }
        for replaced in self.tail.replaced.values_mut() {
            for (row, _) in &rows {
                if replaced.contains_key(row.key()) {
                    Arc::make_mut(replaced).remove(row.key());
                }
            }
        }
        self.tail.replaced.retain(|_, replaced| !replaced.is_empty());
        let added: Vec<UnsealedRow> = rows.into_iter().filter_map(|(_, row)| row).collect();
        if let (Some(first), Some(last)) = (added.first(), added.last()) {
            let blocks = Arc::clone(&self.tail.blocks);
            let may_meet = |block: &&SealedBlock| {
                first.key() <= block.summary.last_key.as_slice() && !last.is_before(&block.summary.first_key)
            };
            blocks.iter().filter(may_meet).try_for_each(|block| self.find_replaced(block, Some(&added)))?;
        }
        added_blocks.iter().try_for_each(|block| self.find_replaced(block, None))
    }

    /// Reads which blocks there are in these segments. Returns them.
    fn read_segments(&mut self, changed: &ChangedSegments) -> Result<Vec<SealedBlock>> {
        let mut added = Vec::new();
        let mut add = |(segment, header): (SegmentKey, SegmentHeader)| {
            added.extend(header.blocks.into_iter().map(|summary| SealedBlock { segment, summary: Arc::new(summary) }));
        };
        match changed {
            ChangedSegments::All => {
                let mut headers = Headers::from_day(self.snapshot, i32::MIN);
                while let Some((_, segments)) = headers.next_day()? {
                    segments.into_iter().for_each(&mut add);
                }
            }
            ChangedSegments::Some(changed) => {
                for segment in changed {
                    header_of(self.snapshot, *segment)?.into_iter().for_each(|header| add((*segment, header)));
                }
            }
        }
        let kept = self.tail.blocks.iter().filter(|block| !changed.contains(block.segment));
        let mut blocks: Vec<SealedBlock> = kept.chain(&added).cloned().collect();
        blocks.sort_by_key(block_id);
        self.tail.blocks = Arc::new(blocks);
        Ok(added)
    }

    /// Reads how many ordinals there are.
    fn read_ordinals(&mut self) -> Result<()> {
        let (count, _) = last_ids(self.snapshot)?;
        let ordinals = &mut self.tail.new_ordinals;
        if count != ordinals.base || ordinals.numbering == 0 {
            self.settled = self.settled.min(ordinals.base).min(count);
            *ordinals = TailOrdinals::new(count, self.numbering);
        }
        Ok(())
    }

    /// Gives other ordinals to the rows whose users had none in the log, or have none there any more.
    fn renumber(&mut self) -> Result<()> {
        let is_stale = |row: &&UnsealedRow| row.ordinal().is_some_and(|ordinal| ordinal >= self.settled);
        let stale = self.tail.rows.parts().flatten().filter(is_stale);
        let stale = stale.map(|row| FoundRow { row: row.row().clone(), is_present: true });
        let mut stale: Vec<FoundRow> = stale.collect();
        stale.sort_unstable_by(|one, other| one.row.key().cmp(other.row.key()));
        let rows = self.with_ordinals(stale)?;
        self.replace(&rows);
        Ok(())
    }

    /// Looks up the ordinals of rows.
    fn with_ordinals(&mut self, found: Vec<FoundRow>) -> Result<Vec<KeyedRow>> {
        let mut ordinals: Vec<Option<u32>> = Vec::with_capacity(found.len());
        for found in found.chunks(LOOKUPS_MAX) {
            let ids: Vec<Option<Cow<'_, [u8]>>> = found.iter().map(id_of).collect();
            let known: Vec<&[u8]> = ids.iter().flatten().map(|id| &**id).collect();
            let count = self.tail.new_ordinals.base;
            let mut stored = look_up(self.index, self.snapshot, count, &known)?.into_iter();
            for id in &ids {
                ordinals.push(match id {
                    Some(id) => Some(match stored.next().flatten() {
                        Some(ordinal) => ordinal,
                        None => self.tail.new_ordinals.get_or_add(id).ok_or_else(too_many)?,
                    }),
                    None => None,
                });
            }
        }
        let row = |(FoundRow { row, is_present }, ordinal): (FoundRow, Option<u32>)| {
            let unsealed = is_present.then(|| UnsealedRow::new(ordinal, row.clone()));
            (row, unsealed)
        };
        Ok(found.into_iter().zip(ordinals).map(row).collect())
    }

    /// Puts rows in the place of those with the same keys.
    fn replace(&mut self, rows: &[KeyedRow]) {
        let LogTail { rows: known, bytes, .. } = &mut *self.tail;
        let keys: Vec<(u32, &[u8])> = rows.iter().map(|(row, _)| (hash_of(row.key()), row.key())).collect();
        known.remove(&keys, |row, key| row.cmp_key(key), |old| *bytes -= old.size_bytes());
        let added: Vec<UnsealedRow> = rows.iter().filter_map(|(_, row)| row.clone()).collect();
        *bytes += added.iter().map(UnsealedRow::size_bytes).sum::<usize>();
        known.insert(added);
    }

    /// Finds the events of a block that rows replace: some rows, or all.
    fn find_replaced(&mut self, block: &SealedBlock, rows: Option<&[UnsealedRow]>) -> Result<()> {
        let rows: Vec<&[UnsealedRow]> = match rows {
            Some(rows) => vec![rows],
            None => self.tail.rows.parts().collect(),
        };
        let (first, last) = block.times();
        let may_replace = |row: &&UnsealedRow| {
            row.ordinal().is_some_and(|ordinal| ordinal < self.tail.new_ordinals.base)
                && EventKey::read(row.key()).is_ok_and(|key| (first..=last).contains(&key.time()))
        };
        let within = rows.into_iter().flat_map(|rows| {
            let start = rows.partition_point(|row| row.is_before(&block.summary.first_key));
            let end = rows.partition_point(|row| row.key() <= block.summary.last_key.as_slice());
            rows.get(start..end).unwrap_or_default()
        });
        let candidates: Vec<&UnsealedRow> = within.filter(may_replace).collect();
        if candidates.is_empty() {
            return Ok(());
        }
        let known = block_events(self.known, self.snapshot, block)?;
        // Nearly all are other events of the same users.
        let has_event = |row: &&UnsealedRow| {
            let time = EventKey::read(row.key()).map_or(0, |key| key.millis);
            row.ordinal().is_some_and(|ordinal| known.contains(BlockEvents::event(ordinal, time)))
        };
        let mut events = None;
        let mut found = Vec::new();
        for row in candidates.into_iter().filter(has_event) {
            let events = match &mut events {
                Some(events) => events,
                None => events.insert(ReplacedEvents::new(self.snapshot, block)?),
            };
            if let Some(event) = events.find(row.ordinal(), row.key(), row.value())? {
                found.push((row.key().into(), event));
            }
        }
        if !found.is_empty() {
            let replaced = self.tail.replaced.entry(block_id(block)).or_default();
            Arc::make_mut(replaced).extend(found);
        }
        Ok(())
    }
}

/// The users and times of the events of a block, which are kept for the next rows.
fn block_events<'k>(
    known: &'k mut KnownTail,
    snapshot: &EngineSnapshot,
    block: &SealedBlock,
) -> Result<&'k BlockEvents> {
    let id = block_id(block);
    known.uses += 1;
    if !known.blocks.contains_key(&id) && known.blocks.len() >= BLOCKS_MAX {
        let oldest = known.blocks.iter().min_by_key(|(_, events)| events.last_use).map(|(id, _)| *id);
        oldest.and_then(|oldest| known.blocks.remove(&oldest));
    }
    let events = match known.blocks.entry(id) {
        Entry::Occupied(known) => known.into_mut(),
        Entry::Vacant(place) => place.insert(read_block_events(snapshot, block)?),
    };
    events.last_use = known.uses;
    Ok(events)
}

/// The id of the user of a row that is there, unless it cannot be read.
fn id_of(found: &FoundRow) -> Option<Cow<'_, [u8]>> {
    let key = Some(found.row.key()).filter(|_| found.is_present)?;
    unescape_bytes(EventKey::read(key).ok()?.escaped).ok()
}

fn too_many() -> Error {
    Error::limit("there are as many ordinals as there can be")
}
