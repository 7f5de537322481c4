//! The column segments of a snapshot, as a join reads them: by columns, without rebuilding rows.

use std::sync::Arc;

use super::ordinals::{IdCache, SharedIds, last_ids, ordinals_of};
use super::scan::scan_rows;
use super::segments::{Headers, damaged, has_segments, read_chunks};
use crate::codec::{EventBytes, EventKey, ORDINALS, corrupt_event, unescape_bytes};
use crate::error::{Error, Result};
use crate::join::{ColumnTable, OrdinalReader, RowCursor};
use crate::rocks::{EngineSnapshot, ReadHint};
use crate::segment::{BlockColumn, BlockDamage, BlockTimes, ColumnId, SealedBlock, UserRuns};

/// Users whose ordinals are looked up at once, and rows of users.
const LOOKUPS_MAX: usize = 256;
const ROWS_MAX: usize = 4_096;

/// The sealed events of a snapshot.
pub(crate) struct LogColumns {
    snapshot: EngineSnapshot,
    ids: Arc<SharedIds>,
}

impl LogColumns {
    /// Those of a snapshot, if it may have any.
    pub(crate) fn of(snapshot: &EngineSnapshot) -> Option<Self> {
        has_segments(snapshot).then(|| Self { snapshot: snapshot.clone(), ids: SharedIds::new(snapshot) })
    }
}

impl ColumnTable for LogColumns {
    fn blocks(&self, (from, to): (Option<i32>, Option<i32>)) -> Result<Vec<SealedBlock>> {
        let mut headers = Headers::from_day(&self.snapshot, from.unwrap_or(i32::MIN));
        let mut blocks = Vec::new();
        while let Some((day, segments)) = headers.next_day()? {
            if to.is_some_and(|to| day >= to) {
                break;
            }
            for (segment, header) in segments {
                blocks.extend(header.blocks.into_iter().map(|summary| SealedBlock { segment, summary }));
            }
        }
        Ok(blocks)
    }

    fn read(&self, block: &SealedBlock, columns: &[ColumnId]) -> Result<Vec<Vec<u8>>> {
        let chunks = read_chunks(&self.snapshot, block.segment, &block.summary, columns.iter())?;
        Ok(chunks.into_iter().map(|(_, chunk)| chunk).collect())
    }

    fn replaced(&self, block: &SealedBlock) -> Result<Vec<u32>> {
        let end = [block.summary.last_key.as_slice(), &[0]].concat();
        let mut rows = scan_rows(&self.snapshot, &block.summary.first_key, Some(&end), ReadHint::ShortRange);
        let mut replaced = Vec::new();
        let mut found = None;
        let mut batch = RowBatch::default();
        loop {
            let row = rows.next()?;
            let is_last = row.is_none();
            if let Some((key, value)) = row {
                batch.push(key, value)?;
            }
            let is_full = batch.ids.len() >= LOOKUPS_MAX || batch.rows.len() >= ROWS_MAX;
            if is_full || (is_last && !batch.rows.is_empty()) {
                let found = match &mut found {
                    Some(found) => found,
                    None => found.insert(ReplacedEvents::new(self, block)?),
                };
                found.find(&batch, &mut replaced)?;
                batch = RowBatch::default();
            }
            if is_last {
                break;
            }
        }
        replaced.sort_unstable();
        Ok(replaced)
    }

    fn ordinals(&self) -> Result<Box<dyn RowCursor>> {
        use std::ops::Bound::Unbounded;

        Ok(Box::new(self.snapshot.scan(ORDINALS, Unbounded, Unbounded, ReadHint::FullScan)))
    }

    fn ordinal_count(&self) -> Result<u32> {
        last_ids(&self.snapshot).map(|(count, _)| count)
    }

    fn ordinals_of(&self, ids: &[&[u8]]) -> Result<Vec<Option<u32>>> {
        ordinals_of(&self.snapshot, ids)
    }

    fn ids(&self) -> Box<dyn OrdinalReader> {
        Box::new(IdCache::of(&self.ids))
    }

    fn damaged(&self, block: &SealedBlock, damage: &BlockDamage) -> Error {
        damaged(block.segment, &block.summary, damage)
    }
}

impl OrdinalReader for IdCache {
    fn find_id(&mut self, ordinal: u32, out: &mut Vec<u8>) -> Result<bool> {
        Self::find_id(self, ordinal, out)
    }
}

/// Rows whose users are looked up at once.
#[derive(Default)]
struct RowBatch {
    /// Of consecutive rows of one user, once.
    ids: Vec<Vec<u8>>,
    rows: Vec<BatchedRow>,
}

/// What tells an event of a day from others.
struct BatchedRow {
    /// The position of the id.
    id: usize,
    millis: u32,
    name: Vec<u8>,
    insert_id: Vec<u8>,
}

impl RowBatch {
    fn push(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let parts = EventKey::read(key).map_err(|malformed| corrupt_event(key, malformed))?;
        // What cannot be read is not sealed, and is reported where it is read.
        let (Ok(id), Ok(event)) = (unescape_bytes(parts.escaped), EventBytes::read(value)) else { return Ok(()) };
        if self.ids.last().is_none_or(|last| **last != *id) {
            self.ids.push(id.into_owned());
        }
        let (name, insert_id) = (event.name.to_vec(), event.insert_id_bytes().to_vec());
        self.rows.push(BatchedRow { id: self.ids.len().saturating_sub(1), millis: parts.millis, name, insert_id });
        Ok(())
    }
}

/// Finds the events of a block that rows replace: those of the same user, time, name and `$insert_id`.
struct ReplacedEvents<'c> {
    columns: &'c LogColumns,
    block: &'c SealedBlock,
    runs: UserRuns,
    /// Where the events of each run begin.
    starts: Vec<u32>,
    times: BlockTimes,
    names: BlockColumn,
    insert_ids: BlockColumn,
    text: Vec<u8>,
}

impl<'c> ReplacedEvents<'c> {
    fn new(columns: &'c LogColumns, block: &'c SealedBlock) -> Result<Self> {
        let events = block.summary.events as usize;
        let ids = [ColumnId::Runs, ColumnId::Time, ColumnId::Name, ColumnId::InsertId];
        let mut chunks = columns.read(block, &ids)?.into_iter();
        let mut chunk = || chunks.next().unwrap_or_default();
        let damaged = |column: ColumnId| move |malformed| columns.damaged(block, &BlockDamage { column, malformed });
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
        Ok(Self { columns, block, runs, starts, times, names, insert_ids, text: Vec::new() })
    }

    /// Adds the positions of the events that rows replace.
    fn find(&mut self, batch: &RowBatch, replaced: &mut Vec<u32>) -> Result<()> {
        let ids: Vec<&[u8]> = batch.ids.iter().map(Vec::as_slice).collect();
        let ordinals = ordinals_of(&self.columns.snapshot, &ids)?;
        let run = |ordinal: Option<u32>| self.runs.ordinals.binary_search(&ordinal?).ok();
        let runs: Vec<Option<usize>> = ordinals.into_iter().map(run).collect();
        for row in &batch.rows {
            let run = runs.get(row.id).copied().flatten();
            let start = run.and_then(|run| self.starts.get(run)).copied();
            let count = run.and_then(|run| self.runs.counts.get(run)).copied();
            let Some((start, count)) = start.zip(count) else { continue };
            for at in start..start + count {
                let is_same = self.times.get(at as usize) == row.millis
                    && self.has_text(at, &ColumnId::Name, &row.name)?
                    && self.has_text(at, &ColumnId::InsertId, &row.insert_id)?;
                if is_same {
                    replaced.push(at);
                    break;
                }
            }
        }
        Ok(())
    }

    fn has_text(&mut self, event: u32, column: &ColumnId, text: &[u8]) -> Result<bool> {
        let values = if *column == ColumnId::Name { &self.names } else { &self.insert_ids };
        self.text.clear();
        let written = values.write(event as usize, &mut self.text);
        written.map_err(|malformed| {
            self.columns.damaged(self.block, &BlockDamage { column: column.clone(), malformed })
        })?;
        Ok(self.text == text)
    }
}
