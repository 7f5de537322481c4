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
        while let Some((key, value)) = rows.next()? {
            let found = match &mut found {
                Some(found) => found,
                None => found.insert(ReplacedEvents::new(self, block)?),
            };
            found.find(key, value, &mut replaced)?;
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
    /// The id of the last row, and the run of its user, if the block has one.
    last: Option<(Vec<u8>, Option<usize>)>,
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
        Ok(Self { columns, block, runs, starts, times, names, insert_ids, last: None, text: Vec::new() })
    }

    /// Adds the position of the event that a row replaces, if there is one.
    fn find(&mut self, key: &[u8], value: &[u8], replaced: &mut Vec<u32>) -> Result<()> {
        let corrupt = |malformed| corrupt_event(key, malformed);
        let parts = EventKey::read(key).map_err(corrupt)?;
        // What cannot be read is not sealed, and is reported where it is read.
        let Ok(id) = unescape_bytes(parts.escaped) else { return Ok(()) };
        let Ok(event) = EventBytes::read(value) else { return Ok(()) };
        let run = match &self.last {
            Some((last, run)) if *last == *id => *run,
            _ => {
                let ordinal = ordinals_of(&self.columns.snapshot, &[&id])?.into_iter().next().flatten();
                let run = ordinal.and_then(|ordinal| self.runs.ordinals.binary_search(&ordinal).ok());
                self.last = Some((id.into_owned(), run));
                run
            }
        };
        let start = run.and_then(|run| self.starts.get(run)).copied();
        let count = run.and_then(|run| self.runs.counts.get(run)).copied();
        let Some((start, count)) = start.zip(count) else { return Ok(()) };
        for at in start..start + count {
            let is_same = self.times.get(at as usize) == parts.millis
                && self.has_text(at, &ColumnId::Name, event.name)?
                && self.has_text(at, &ColumnId::InsertId, event.insert_id_bytes())?;
            if is_same {
                replaced.push(at);
                break;
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
