//! Which events of a block of columns rows of the log replace: those of the same user, time, name and `$insert_id`.

use super::ordinals::ordinals_of;
use super::segments::{damaged, read_chunks};
use crate::codec::{EventBytes, EventKey, corrupt_event, unescape_bytes};
use crate::error::Result;
use crate::join::BlockEvents;
use crate::rocks::EngineSnapshot;
use crate::segment::{BlockColumn, BlockDamage, BlockTimes, ColumnId, SealedBlock, UserRuns};

/// Users whose ordinals are looked up at once.
const LOOKUPS_MAX: usize = 256;

/// Reads the users and times of the events of a block.
pub(super) fn read_block_events(snapshot: &EngineSnapshot, block: &SealedBlock) -> Result<BlockEvents> {
    let columns = [ColumnId::Runs, ColumnId::Time];
    let chunks = read_chunks(snapshot, block.segment, &block.summary, columns.iter())?;
    let mut chunks = chunks.into_iter().map(|(_, chunk)| chunk);
    let mut chunk = || chunks.next().unwrap_or_default();
    let damaged =
        |column: ColumnId| move |malformed| damaged(block.segment, &block.summary, &BlockDamage { column, malformed });
    let runs = UserRuns::decode(&chunk()).map_err(damaged(ColumnId::Runs))?;
    let times = BlockTimes::decode(&chunk(), block.summary.events as usize).map_err(damaged(ColumnId::Time))?;
    let users = runs.ordinals.iter().zip(&runs.counts);
    let users = users.flat_map(|(ordinal, count)| std::iter::repeat_n(*ordinal, *count as usize));
    let mut events: Vec<u64> =
        users.enumerate().map(|(at, ordinal)| BlockEvents::event(ordinal, times.get(at))).collect();
    // They are in this order, if the block is as it was written.
    events.sort_unstable();
    Ok(BlockEvents { events, last_use: 0 })
}

/// Finds the events of a block that rows replace.
pub(super) struct ReplacedEvents<'b> {
    snapshot: &'b EngineSnapshot,
    block: &'b SealedBlock,
    runs: UserRuns,
    /// Where the events of each run begin.
    starts: Vec<u32>,
    times: BlockTimes,
    names: BlockColumn,
    insert_ids: BlockColumn,
    text: Vec<u8>,
}

impl<'b> ReplacedEvents<'b> {
    pub(super) fn new(snapshot: &'b EngineSnapshot, block: &'b SealedBlock) -> Result<Self> {
        let events = block.summary.events as usize;
        let ids = [ColumnId::Runs, ColumnId::Time, ColumnId::Name, ColumnId::InsertId];
        let chunks = read_chunks(snapshot, block.segment, &block.summary, ids.iter())?;
        let mut chunks = chunks.into_iter().map(|(_, chunk)| chunk);
        let mut chunk = || chunks.next().unwrap_or_default();
        let damaged = |column: ColumnId| {
            move |malformed| damaged(block.segment, &block.summary, &BlockDamage { column, malformed })
        };
        let runs = UserRuns::decode(&chunk()).map_err(damaged(ColumnId::Runs))?;
        let times = BlockTimes::decode(&chunk(), events).map_err(damaged(ColumnId::Time))?;
        let names = BlockColumn::of_texts(chunk(), events).map_err(damaged(ColumnId::Name))?;
        let insert_ids = BlockColumn::of_texts(chunk(), events).map_err(damaged(ColumnId::InsertId))?;
        let mut starts = Vec::with_capacity(runs.counts.len());
        let mut end = 0;
        for count in &runs.counts {
            starts.push(end);
            end += count;
        }
        Ok(Self { snapshot, block, runs, starts, times, names, insert_ids, text: Vec::new() })
    }

    /// The positions of the events that rows replace.
    pub(super) fn find_all(&mut self, rows: &[(Vec<u8>, Vec<u8>)]) -> Result<Vec<u32>> {
        // The ids of consecutive rows of one user once.
        let mut ids: Vec<Vec<u8>> = Vec::new();
        let mut users = Vec::with_capacity(rows.len());
        for (key, _) in rows {
            let parts = EventKey::read(key).map_err(|malformed| corrupt_event(key, malformed))?;
            // What cannot be read is not sealed, and is reported where it is read.
            users.push(unescape_bytes(parts.escaped).ok().map(|id| {
                if ids.last().is_none_or(|last| **last != *id) {
                    ids.push(id.into_owned());
                }
                ids.len() - 1
            }));
        }
        let mut ordinals = Vec::with_capacity(ids.len());
        for ids in ids.chunks(LOOKUPS_MAX) {
            let ids: Vec<&[u8]> = ids.iter().map(Vec::as_slice).collect();
            ordinals.extend(ordinals_of(self.snapshot, &ids)?);
        }
        let mut found = Vec::new();
        for ((key, value), user) in rows.iter().zip(users) {
            let ordinal = user.and_then(|user| ordinals.get(user).copied().flatten());
            found.extend(self.find(ordinal, key, value)?);
        }
        Ok(found)
    }

    /// The position of the event that a row replaces, if there is one.
    pub(super) fn find(&mut self, ordinal: Option<u32>, key: &[u8], value: &[u8]) -> Result<Option<u32>> {
        let run = ordinal.and_then(|ordinal| self.runs.ordinals.binary_search(&ordinal).ok());
        let start = run.and_then(|run| self.starts.get(run)).copied();
        let count = run.and_then(|run| self.runs.counts.get(run)).copied();
        let (Some((start, count)), Ok(key), Ok(event)) =
            (start.zip(count), EventKey::read(key), EventBytes::read(value))
        else {
            return Ok(None);
        };
        for at in start..start + count {
            let is_same = self.times.get(at as usize) == key.millis
                && self.has_text(at, &ColumnId::Name, event.name)?
                && self.has_text(at, &ColumnId::InsertId, event.insert_id_bytes())?;
            if is_same {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    fn has_text(&mut self, event: u32, column: &ColumnId, text: &[u8]) -> Result<bool> {
        let values = if *column == ColumnId::Name { &self.names } else { &self.insert_ids };
        self.text.clear();
        let written = values.write(event as usize, &mut self.text);
        written.map_err(|malformed| {
            damaged(self.block.segment, &self.block.summary, &BlockDamage { column: column.clone(), malformed })
        })?;
        Ok(self.text == text)
    }
}
