//! Tail scan: the events of a log that are not in columns yet, from memory. Their users have ordinals as those in
//! columns have, so no id is looked up.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, LazyLock};

use parking_lot::{Mutex, MutexGuard};

use super::sorted_parts::{SortedItem, SortedParts};
use super::{EventPredicate, EventScan, READS_PER_FILL, RunFilter, ScanSpec};
use crate::codec::{self, EventBytes, EventKey, SeededHash};
use crate::error::Result;
use crate::join::block::Block;
use crate::segment::{SealedBlock, SegmentKey};

/// The ordinal of a row whose id cannot be read.
const UNREADABLE: u32 = u32::MAX;

/// The first bytes of a key, padded with zeros.
const PREFIX: usize = 16;

/// The key and the value of a row, in one allocation. Clones share it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct RowBytes {
    /// The key, and the value.
    bytes: Arc<[u8]>,
    key_len: u32,
}

impl RowBytes {
    pub(crate) fn new(key: &[u8], value: &[u8]) -> Self {
        // No key is that long.
        Self { bytes: [key, value].concat().into(), key_len: u32::try_from(key.len()).unwrap_or(u32::MAX) }
    }

    #[inline]
    fn parts(&self) -> (&[u8], &[u8]) {
        self.bytes.split_at_checked(self.key_len as usize).unwrap_or_default()
    }

    #[inline]
    pub(crate) fn key(&self) -> &[u8] {
        self.parts().0
    }

    #[inline]
    pub(crate) fn value(&self) -> &[u8] {
        self.parts().1
    }
}

impl fmt::Debug for RowBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RowBytes").field(&self.key()).field(&self.value()).finish()
    }
}

/// A row of the log, with the ordinal of its user. What nearly every use needs is found without following a pointer.
#[derive(Clone, Debug)]
pub(crate) struct UnsealedRow {
    prefix: [u8; PREFIX],
    row: RowBytes,
    ordinal: u32,
    /// Of the key.
    hash: u32,
    is_readable: bool,
}

impl UnsealedRow {
    pub(crate) fn new(ordinal: Option<u32>, row: RowBytes) -> Self {
        let (key, value) = row.parts();
        let is_readable = ordinal.is_some() && EventKey::read(key).is_ok() && EventBytes::read(value).is_ok();
        let (prefix, hash) = (prefix_of(key), hash_of(key));
        Self { prefix, row, ordinal: ordinal.unwrap_or(UNREADABLE), hash, is_readable }
    }

    /// None where the id cannot be read.
    #[inline]
    pub(crate) fn ordinal(&self) -> Option<u32> {
        Some(self.ordinal).filter(|ordinal| *ordinal != UNREADABLE)
    }

    pub(crate) fn row(&self) -> &RowBytes {
        &self.row
    }

    #[inline]
    pub(crate) fn key(&self) -> &[u8] {
        self.row.key()
    }

    #[inline]
    pub(crate) fn value(&self) -> &[u8] {
        self.row.value()
    }

    /// Whether its key is less than another one.
    #[inline]
    pub(crate) fn is_before(&self, key: &[u8]) -> bool {
        match self.prefix.cmp(&prefix_of(key)) {
            // The keys, or what they are padded with, go on with the same bytes.
            Ordering::Equal => self.key() < key,
            other => other.is_lt(),
        }
    }

    /// How its key compares to another one.
    pub(crate) fn cmp_key(&self, key: &[u8]) -> Ordering {
        self.prefix.cmp(&prefix_of(key)).then_with(|| self.key().cmp(key))
    }

    pub(crate) fn size_bytes(&self) -> usize {
        self.row.bytes.len() + size_of::<Self>() + 2 * size_of::<usize>()
    }
}

impl SortedItem for UnsealedRow {
    fn cmp_items(&self, other: &Self) -> Ordering {
        self.prefix.cmp(&other.prefix).then_with(|| self.key().cmp(other.key()))
    }

    fn hash(&self) -> u32 {
        self.hash
    }
}

/// The hash of a key or an id, for filters.
pub(crate) fn hash_of(bytes: &[u8]) -> u32 {
    static HASH: LazyLock<SeededHash> = LazyLock::new(SeededHash::random);
    (HASH.of(bytes) >> 32) as u32
}

/// A row of the log that may differ between two states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ChangedRow {
    /// The value is empty unless the row is known to be present.
    pub(crate) row: RowBytes,
    pub(crate) state: RowState,
}

/// What is known of a row of the log without reading it, in the later of two states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowState {
    Unknown,
    /// There is no such row.
    Absent,
    Present,
}

#[inline]
fn prefix_of(key: &[u8]) -> [u8; PREFIX] {
    key.first_chunk().copied().unwrap_or_else(|| {
        let mut prefix = [0; PREFIX];
        prefix.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
        prefix
    })
}

/// A block, within its log.
pub(crate) type BlockId = (SegmentKey, u32);

/// Which block this is.
pub(crate) fn block_id(block: &SealedBlock) -> BlockId {
    (block.segment, block.summary.number)
}

/// Ordinals of users that have none in the log yet, because none of their events are in columns.
#[derive(Clone, Debug, Default)]
pub(crate) struct TailOrdinals {
    /// They begin with this one: as many are in the log.
    pub(crate) base: u32,
    /// Those of two numberings have nothing in common. Within one, users are added and keep their ordinals.
    pub(crate) numbering: u64,
    /// In the order of the ordinals, [`IDS_PER_CHUNK`] in each but the last.
    ids: Vec<Arc<Vec<Arc<[u8]>>>>,
    by_id: SortedParts<IdOrdinal>,
}

/// Ids that are cloned at once, where a reader has them.
const IDS_PER_CHUNK: usize = 256;

/// An id, and its ordinal.
type IdOrdinal = (Arc<[u8]>, u32);

impl SortedItem for IdOrdinal {
    fn cmp_items(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0)
    }

    fn hash(&self) -> u32 {
        hash_of(&self.0)
    }
}

impl TailOrdinals {
    pub(crate) fn new(base: u32, numbering: u64) -> Self {
        Self { base, numbering, ..Self::default() }
    }

    /// How many ordinals there are with these.
    pub(crate) fn end(&self) -> u32 {
        self.base.saturating_add(u32::try_from(self.by_id.len()).unwrap_or(u32::MAX))
    }

    pub(crate) fn get(&self, id: &[u8]) -> Option<u32> {
        self.by_id.find(hash_of(id), |(known, _)| (**known).cmp(id)).map(|(_, ordinal)| *ordinal)
    }

    /// None where there are as many ordinals as there can be.
    pub(crate) fn get_or_add(&mut self, id: &[u8]) -> Option<u32> {
        if let Some(ordinal) = self.get(id) {
            return Some(ordinal);
        }
        let ordinal = Some(self.end()).filter(|ordinal| *ordinal < UNREADABLE)?;
        let id: Arc<[u8]> = id.into();
        match self.ids.last_mut() {
            Some(chunk) if chunk.len() < IDS_PER_CHUNK => Arc::make_mut(chunk).push(Arc::clone(&id)),
            _ => self.ids.push(Arc::new(vec![Arc::clone(&id)])),
        }
        self.by_id.insert(vec![(id, ordinal)]);
        Some(ordinal)
    }

    /// The id of one of these ordinals.
    pub(crate) fn id(&self, ordinal: u32) -> Option<&[u8]> {
        let at = ordinal.checked_sub(self.base)? as usize;
        self.ids.get(at / IDS_PER_CHUNK)?.get(at % IDS_PER_CHUNK).map(|id| &**id)
    }
}

/// The positions of events of a block, by the keys of the rows that replace them.
type ReplacedByKey = BTreeMap<Box<[u8]>, u32>;

/// What a log has besides columns, as of one snapshot.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogTail {
    /// The engine and its sequence number that it is as of.
    pub(crate) stamp: (u64, u64),
    /// By their keys.
    pub(crate) rows: SortedParts<UnsealedRow>,
    /// Memory of the rows, in bytes.
    pub(crate) bytes: usize,
    /// All blocks of columns.
    pub(crate) blocks: Arc<Vec<SealedBlock>>,
    /// The events in columns that rows replace, by the keys of those.
    pub(crate) replaced: BTreeMap<BlockId, Arc<ReplacedByKey>>,
    pub(crate) new_ordinals: TailOrdinals,
}

impl LogTail {
    /// The rows that a scan reads: the positions of those in each part.
    pub(in crate::join) fn ranges(&self, spec: &ScanSpec) -> impl Iterator<Item = Range<usize>> {
        let (from, to) = spec.keys();
        self.rows.parts().map(move |rows| {
            let start = rows.partition_point(|row| row.is_before(&from));
            let end = to.as_ref().map_or(rows.len(), |to| rows.partition_point(|row| row.is_before(to)));
            start..end.max(start)
        })
    }

    /// The events of a block that rows replace, by their positions, ascending.
    pub(crate) fn replaced(&self, block: &SealedBlock) -> Vec<u32> {
        let replaced = self.replaced.get(&block_id(block));
        let mut replaced: Vec<u32> = replaced.into_iter().flat_map(|events| events.values()).copied().collect();
        replaced.sort_unstable();
        replaced
    }
}

/// The tail that was read last.
#[derive(Debug, Default)]
pub(crate) struct TailCache(Mutex<KnownTail>);

/// What is known of the tail.
#[derive(Debug, Default)]
pub(crate) struct KnownTail {
    pub(crate) tail: Option<Arc<LogTail>>,
    /// The engine and the sequence number at which it had too many rows.
    pub(crate) too_large: Option<(u64, u64)>,
    /// How many numberings there have been.
    pub(crate) numberings: u64,
    /// The events of blocks that rows were looked for in.
    pub(crate) blocks: BTreeMap<BlockId, BlockEvents>,
    /// How often.
    pub(crate) uses: u64,
}

/// The users and times of the events of a block.
#[derive(Debug)]
pub(crate) struct BlockEvents {
    /// The ordinal times 2^32, plus the time in the day in milliseconds; ascending.
    pub(crate) events: Vec<u64>,
    pub(crate) last_use: u64,
}

impl BlockEvents {
    /// What is kept of one event.
    pub(crate) fn event(ordinal: u32, millis: u32) -> u64 {
        u64::from(ordinal) << 32 | u64::from(millis)
    }

    /// Whether the block has an event of this user and time.
    pub(crate) fn contains(&self, event: u64) -> bool {
        self.events.binary_search(&event).is_ok()
    }
}

impl TailCache {
    /// Who holds this brings the tail up to a snapshot, while others that need it wait.
    pub(crate) fn lock(&self) -> MutexGuard<'_, KnownTail> {
        self.0.lock()
    }
}

/// Some rows of a tail, all in one part.
pub(in crate::join) struct TailRows {
    tail: Arc<LogTail>,
    part: usize,
    rows: Range<usize>,
}

impl TailRows {
    pub(in crate::join) fn new(tail: &Arc<LogTail>, part: usize, rows: Range<usize>) -> Self {
        Self { tail: Arc::clone(tail), part, rows }
    }

    /// How many there are.
    pub(in crate::join) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Calls `each` with the ordinals of the rows that are of a requested time and name, unless one cannot be read.
    pub(in crate::join) fn visit_ordinals(
        &self,
        predicate: &EventPredicate,
        mut each: impl FnMut(u32),
    ) -> Result<bool> {
        let rows = self.tail.rows.part(self.part).get(self.rows.clone()).unwrap_or_default();
        if !rows.iter().all(|row| row.is_readable) {
            return Ok(false);
        }
        if predicate.has_all() {
            rows.iter().for_each(|row| each(row.ordinal));
            return Ok(true);
        }
        for row in rows {
            let (key, value) = row.row().parts();
            let corrupt = |malformed| codec::corrupt_event(key, malformed);
            let time = EventKey::read(key).map_err(corrupt)?.time();
            if predicate.read(key, time, value)?.is_some() {
                each(row.ordinal);
            }
        }
        Ok(true)
    }
}

/// A scan over some rows of a tail.
pub(in crate::join) struct TailScan {
    rows: TailRows,
    spec: ScanSpec,
    users: Option<Arc<RunFilter>>,
}

impl TailScan {
    pub(in crate::join) fn new(rows: TailRows, spec: ScanSpec, users: Option<Arc<RunFilter>>) -> Self {
        Self { rows, spec, users }
    }
}

impl EventScan for TailScan {
    fn fill(&mut self, block: &mut Block, max: usize) -> Result<bool> {
        let Self { rows: TailRows { tail, part, rows }, spec, users } = self;
        let part = tail.rows.part(*part);
        let mut read = 0;
        let more = loop {
            if read == READS_PER_FILL || block.is_full(max) {
                break true;
            }
            let Some(row) = rows.next().and_then(|at| part.get(at)) else { break false };
            read += 1;
            let ordinal = row.ordinal();
            if let (Some(users), Some(ordinal)) = (&*users, ordinal)
                && !users.keeps(ordinal)
            {
                continue;
            }
            let (key, value) = row.row().parts();
            let corrupt = |malformed| codec::corrupt_event(key, malformed);
            let parts = EventKey::read(key).map_err(corrupt)?;
            let time = parts.time();
            let Some(event) = spec.predicate.read(key, time, value)? else { continue };
            let id = codec::unescape_bytes(parts.escaped).map_err(corrupt)?;
            block.push_row_of(ordinal.unwrap_or(UNREADABLE), &id, time, &event, value)?;
            spec.predicate.filter_last(block)?;
        };
        block.scanned.events += read;
        Ok(more)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{encode_event, event_key};
    use crate::model::Event;

    #[test]
    fn rows_are_not_counted_where_one_cannot_be_read() {
        let event = Event::new("visit", "a", crate::model::Timestamp::from_millis(5)).id("i");
        let (key, value) = (event_key(&event), encode_event(&event));
        let rows = |rows: Vec<UnsealedRow>| {
            let count = rows.len();
            let mut tail = LogTail::default();
            tail.rows.insert(rows);
            TailRows::new(&Arc::new(tail), 0, 0..count)
        };
        let row = |ordinal: Option<u32>, key: &[u8], value: &[u8]| UnsealedRow::new(ordinal, RowBytes::new(key, value));
        let good = row(Some(3), &key, &value);
        let visited = |bad: Option<UnsealedRow>| {
            let mut ordinals = Vec::new();
            let rows = rows([good.clone()].into_iter().chain(bad).collect());
            let is_visited = rows.visit_ordinals(&EventPredicate::default(), |ordinal| ordinals.push(ordinal)).unwrap();
            (is_visited, ordinals)
        };
        assert_eq!(visited(None), (true, vec![3]));
        assert_eq!(visited(Some(row(Some(4), &key, &[0xff]))), (false, vec![]));
        assert_eq!(visited(Some(row(Some(4), &key[..3], &value))), (false, vec![]));
        assert_eq!(visited(Some(row(None, &key, &value))), (false, vec![]));
    }
}
