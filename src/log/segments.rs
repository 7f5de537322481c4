//! Column segments of a snapshot: their headers, and the rows of one of their blocks.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::ordinals::IdCache;
use crate::codec::{CHUNKS, Malformed, SEGMENTS, day_prefix};
use crate::error::{Error, Result};
use crate::model::Timestamp;
use crate::rocks::{EngineScan, EngineSnapshot, ReadHint, SalvagedRow};
use crate::segment::{
    BlockDamage, BlockRows, BlockSummary, ColumnId, MISSING, SegmentHeader, SegmentKey, UserRuns, chunk_key,
};

/// A day, and its segments by number.
pub(super) type DaySegments = (i32, Vec<(SegmentKey, SegmentHeader)>);

/// The headers of segments, by day.
pub(super) struct Headers {
    scan: EngineScan,
    /// The first header of the next day.
    ahead: Option<(SegmentKey, SegmentHeader)>,
}

impl Headers {
    /// Those of the days from one on.
    pub(super) fn from_day(snapshot: &EngineSnapshot, day: i32) -> Self {
        let from = day_prefix(day);
        let scan = snapshot.scan(SEGMENTS, Bound::Included(&from), Bound::Unbounded, ReadHint::ShortRange);
        Self { scan, ahead: None }
    }

    /// The segments of the next day that has any.
    pub(super) fn next_day(&mut self) -> Result<Option<DaySegments>> {
        let first = match self.ahead.take() {
            Some(first) => first,
            None => match self.next()? {
                Some(first) => first,
                None => return Ok(None),
            },
        };
        let day = first.0.day;
        let mut segments = vec![first];
        while let Some(next) = self.next()? {
            if next.0.day != day {
                self.ahead = Some(next);
                break;
            }
            segments.push(next);
        }
        Ok(Some((day, segments)))
    }

    fn next(&mut self) -> Result<Option<(SegmentKey, SegmentHeader)>> {
        self.scan.next()?.map(|(key, value)| read_header(key, value)).transpose()
    }
}

/// The segments of a day.
pub(super) fn segments_of(snapshot: &EngineSnapshot, day: i32) -> Result<BTreeMap<SegmentKey, SegmentHeader>> {
    let found = Headers::from_day(snapshot, day).next_day()?;
    Ok(found.filter(|(found, _)| *found == day).map(|(_, segments)| segments.into_iter().collect()).unwrap_or_default())
}

/// How many segments there are, and how many events are sealed, those included that rows replace.
pub(crate) fn count_sealed(snapshot: &EngineSnapshot) -> Result<(u64, u64)> {
    let (mut count, mut events) = (0, 0);
    let mut headers = Headers::from_day(snapshot, i32::MIN);
    while let Some((_, segments)) = headers.next_day()? {
        let blocks = segments.iter().flat_map(|(_, header)| &header.blocks);
        count += segments.len() as u64;
        events += blocks.map(|block| u64::from(block.events)).sum::<u64>();
    }
    Ok((count, events))
}

/// Calls `each` with the key of every chunk that belongs to no block, and its segment if it names one. The chunks of a
/// segment whose header cannot be read are left out, and those that cannot be read.
pub(super) fn orphaned_chunks(
    snapshot: &EngineSnapshot,
    mut each: impl FnMut(Option<SegmentKey>, &[u8]) -> Result<()>,
) -> Result<()> {
    // Of the segment at hand, ascending; none if its header cannot be read.
    let (mut current, mut known) = (None, None::<Vec<Vec<u8>>>);
    snapshot.salvage(CHUNKS, |item| {
        let SalvagedRow::Row(key, _) = item else { return Ok(()) };
        let Ok(segment) = SegmentKey::of_chunk(key) else { return each(None, key) };
        if current != Some(segment) {
            current = Some(segment);
            known = chunks_of(snapshot, segment)?;
        }
        let is_known = |known: &Vec<Vec<u8>>| known.binary_search_by(|known| known.as_slice().cmp(key)).is_ok();
        if known.as_ref().is_none_or(is_known) { Ok(()) } else { each(Some(segment), key) }
    })
}

/// The keys of the chunks of a segment, ascending; none if its header cannot be read.
fn chunks_of(snapshot: &EngineSnapshot, segment: SegmentKey) -> Result<Option<Vec<Vec<u8>>>> {
    let blocks = match header_of(snapshot, segment) {
        Ok(header) => header.map(|header| header.blocks).unwrap_or_default(),
        Err(error) if error.is_corrupt() => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut keys: Vec<Vec<u8>> = blocks
        .iter()
        .flat_map(|block| block.columns.iter().map(|(column, _)| chunk_key(segment, column, block.number)))
        .collect();
    keys.sort_unstable();
    Ok(Some(keys))
}

/// Whether there are any segments.
pub(super) fn has_segments(snapshot: &EngineSnapshot) -> bool {
    snapshot.engine().has_family(SEGMENTS)
}

/// The header of a segment, if there is that segment.
pub(super) fn header_of(snapshot: &EngineSnapshot, segment: SegmentKey) -> Result<Option<SegmentHeader>> {
    let key = segment.to_bytes();
    let header = snapshot.read(SEGMENTS, &key, |value| value.map(|value| read_header(&key, value)).transpose())??;
    Ok(header.map(|(_, header)| header))
}

pub(super) fn read_header(key: &[u8], value: &[u8]) -> Result<(SegmentKey, SegmentHeader)> {
    let segment = SegmentKey::read(key).map_err(|Malformed(what)| {
        Error::corrupt(format!("the key of a column segment cannot be read: {what} key={key:02x?}"))
    })?;
    let header = SegmentHeader::decode(segment.day, value).map_err(|Malformed(what)| {
        let day = Timestamp::of_day(segment.day);
        let number = segment.number;
        Error::corrupt(format!("the header of a column segment cannot be read: {what} day={day} segment={number}"))
    })?;
    Ok((segment, header))
}

/// Reads chunks of a block, in the order of the columns.
pub(super) fn read_chunks<'c>(
    snapshot: &EngineSnapshot,
    segment: SegmentKey,
    block: &BlockSummary,
    columns: impl Iterator<Item = &'c ColumnId>,
) -> Result<Vec<(&'c ColumnId, Vec<u8>)>> {
    let columns: Vec<&ColumnId> = columns.collect();
    let keys: Vec<Vec<u8>> = columns.iter().map(|column| chunk_key(segment, column, block.number)).collect();
    let chunks = snapshot.read_many(CHUNKS, &keys, |_, value| value.map(<[u8]>::to_vec))?;
    let chunks = columns.into_iter().zip(chunks);
    let missing = |column| damaged(segment, block, &BlockDamage { column, malformed: MISSING });
    chunks.map(|(column, chunk)| Ok((column, chunk.ok_or_else(|| missing(column.clone()))?))).collect()
}

/// Whether a block has events of a user.
pub(super) fn has_user(
    snapshot: &EngineSnapshot,
    segment: SegmentKey,
    block: &BlockSummary,
    ordinal: u32,
) -> Result<bool> {
    let (least, greatest) = block.ordinals;
    if !(least..=greatest).contains(&ordinal) {
        return Ok(false);
    }
    let runs = read_chunks(snapshot, segment, block, [&ColumnId::Runs].into_iter())?;
    let bytes = runs.first().map_or(&[][..], |(_, bytes)| bytes.as_slice());
    let damage = |malformed| damaged(segment, block, &BlockDamage { column: ColumnId::Runs, malformed });
    UserRuns::find(bytes, ordinal).map(|found| found.is_some()).map_err(damage)
}

/// The rows of a block, in the order of their keys; with `only`, those of one user, if there are any.
pub(super) fn block_rows(
    snapshot: &EngineSnapshot,
    segment: SegmentKey,
    block: &BlockSummary,
    ids: &mut IdCache,
    only: Option<u32>,
) -> Result<Option<BlockRows>> {
    if let Some(ordinal) = only
        && !has_user(snapshot, segment, block, ordinal)?
    {
        return Ok(None);
    }
    let chunks = read_chunks(snapshot, segment, block, block.columns.iter().map(|(column, _)| column))?;
    let chunk = |column: &ColumnId| {
        let at = chunks.binary_search_by(|(known, _)| (*known).cmp(column)).ok()?;
        chunks.get(at).map(|(_, bytes)| bytes.as_slice())
    };
    // What went wrong with an id is not damage of the block.
    let mut failure = None;
    let rows = BlockRows::rebuild(segment.day, block, chunk, only, |ordinal, out| match ids.find_id(ordinal, out) {
        Ok(true) => true,
        Ok(false) => {
            let malformed = Malformed("an ordinal without an id");
            let damage = damaged(segment, block, &BlockDamage { column: ColumnId::Runs, malformed });
            failure.get_or_insert(Error::corrupt(format!("{} ordinal={ordinal}", damage.message())));
            false
        }
        Err(error) => {
            failure.get_or_insert(error);
            false
        }
    });
    match (rows, failure) {
        (_, Some(error)) => Err(error),
        (rows, None) => rows.map(Some).map_err(|damage| damaged(segment, block, &damage)),
    }
}

/// The error for a block that cannot be read.
pub(super) fn damaged(segment: SegmentKey, block: &BlockSummary, damage: &BlockDamage) -> Error {
    let BlockDamage { column, malformed: Malformed(what) } = damage;
    let (day, number) = (Timestamp::of_day(segment.day), segment.number);
    let block = block.number;
    Error::corrupt(format!(
        "a column segment cannot be read: {what} day={day} segment={number} block={block} column={column}"
    ))
}
