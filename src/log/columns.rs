//! The column segments of a snapshot, as a join reads them: by columns, without rebuilding rows.

use std::mem;
use std::ops::Bound;
use std::sync::{Arc, OnceLock};

use super::ordinals::{IdCache, SharedIds, last_ids, look_up, ordinals_of};
use super::replaced::ReplacedEvents;
use super::scan::scan_rows;
use super::segments::{Headers, damaged, has_segments, read_chunks};
use super::tail::{LogHistory, current_tail};
use crate::codec::ORDINALS;
use crate::error::{Error, Result};
use crate::join::{ColumnTable, LogTail, OrdinalReader, RowCursor};
use crate::rocks::{EngineSnapshot, ReadHint};
use crate::segment::{BlockDamage, ColumnId, OrdinalIds, SealedBlock};

/// Rows that are looked for in a block at once.
const ROWS_MAX: usize = 4_096;

/// The sealed events of a snapshot.
pub(crate) struct LogColumns {
    snapshot: EngineSnapshot,
    ids: Arc<SharedIds>,
    history: Arc<dyn LogHistory>,
    /// Read when it is needed.
    tail: OnceLock<Option<Arc<LogTail>>>,
}

impl LogColumns {
    /// Those of a snapshot, if it may have any.
    pub(crate) fn of(snapshot: &EngineSnapshot, history: Arc<dyn LogHistory>) -> Option<Self> {
        let ids = || SharedIds::new(snapshot);
        has_segments(snapshot).then(|| Self { snapshot: snapshot.clone(), ids: ids(), history, tail: OnceLock::new() })
    }

    /// The tail of the log, unless it is too large for memory.
    fn current_tail(&self) -> Option<&Arc<LogTail>> {
        // A segment that cannot be read is reported by joins of its days. Others go on without the tail.
        let read = || current_tail(&self.snapshot, &*self.history).unwrap_or_default();
        self.tail.get_or_init(read).as_ref()
    }
}

impl ColumnTable for LogColumns {
    fn blocks(&self, (from, to): (Option<i32>, Option<i32>)) -> Result<Vec<SealedBlock>> {
        if let Some(tail) = self.current_tail() {
            let has = |day: i32| from.is_none_or(|from| day >= from) && to.is_none_or(|to| day < to);
            return Ok(tail.blocks.iter().filter(|block| has(block.segment.day)).cloned().collect());
        }
        let mut headers = Headers::from_day(&self.snapshot, from.unwrap_or(i32::MIN));
        let mut blocks = Vec::new();
        while let Some((day, segments)) = headers.next_day()? {
            if to.is_some_and(|to| day >= to) {
                break;
            }
            for (segment, header) in segments {
                blocks.extend(
                    header.blocks.into_iter().map(|summary| SealedBlock { segment, summary: Arc::new(summary) }),
                );
            }
        }
        Ok(blocks)
    }

    fn read(&self, block: &SealedBlock, columns: &[ColumnId]) -> Result<Vec<Vec<u8>>> {
        let chunks = read_chunks(&self.snapshot, block.segment, &block.summary, columns.iter())?;
        Ok(chunks.into_iter().map(|(_, chunk)| chunk).collect())
    }

    fn tail(&self) -> Result<Option<Arc<LogTail>>> {
        Ok(self.current_tail().cloned())
    }

    fn replaced(&self, block: &SealedBlock) -> Result<Vec<u32>> {
        if let Some(tail) = self.current_tail() {
            return Ok(tail.replaced(block));
        }
        let end = [block.summary.last_key.as_slice(), &[0]].concat();
        let mut rows = scan_rows(&self.snapshot, &block.summary.first_key, Some(&end), ReadHint::ShortRange);
        let mut events = None;
        let mut replaced = Vec::new();
        let mut batch: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        loop {
            let row = rows.next()?;
            let is_last = row.is_none();
            batch.extend(row.map(|(key, value)| (key.to_vec(), value.to_vec())));
            if batch.len() >= ROWS_MAX || (is_last && !batch.is_empty()) {
                let events = match &mut events {
                    Some(events) => events,
                    None => events.insert(ReplacedEvents::new(&self.snapshot, block)?),
                };
                replaced.extend(events.find_all(&mem::take(&mut batch))?);
            }
            if is_last {
                break;
            }
        }
        replaced.sort_unstable();
        Ok(replaced)
    }

    fn ordinals(&self, from: &[u8], to: Option<&[u8]>) -> Result<Box<dyn RowCursor>> {
        let to = to.map_or(Bound::Unbounded, Bound::Excluded);
        Ok(Box::new(self.snapshot.scan(ORDINALS, Bound::Included(from), to, ReadHint::FullScan)))
    }

    fn ordinal_count(&self) -> Result<u32> {
        match self.current_tail() {
            Some(tail) => Ok(tail.new_ordinals.end()),
            None => last_ids(&self.snapshot).map(|(count, _)| count),
        }
    }

    fn ordinals_of(&self, ids: &[&[u8]]) -> Result<Vec<Option<u32>>> {
        let Some(tail) = self.current_tail() else { return ordinals_of(&self.snapshot, ids) };
        let index = self.history.ordinal_index();
        let mut ordinals = look_up(index, &self.snapshot, tail.new_ordinals.base, ids)?;
        let unknown = ordinals.iter_mut().zip(ids).filter(|(ordinal, _)| ordinal.is_none());
        unknown.for_each(|(ordinal, id)| *ordinal = tail.new_ordinals.get(id));
        Ok(ordinals)
    }

    fn ids(&self) -> Box<dyn OrdinalReader> {
        Box::new(LogIds { stored: IdCache::of(&self.ids), tail: self.current_tail().cloned() })
    }

    fn damaged(&self, block: &SealedBlock, damage: &BlockDamage) -> Error {
        damaged(block.segment, &block.summary, damage)
    }
}

/// Reads the ids of ordinals, those of the tail included.
struct LogIds {
    stored: IdCache,
    tail: Option<Arc<LogTail>>,
}

impl OrdinalReader for LogIds {
    fn find_id(&mut self, ordinal: u32, out: &mut Vec<u8>) -> Result<bool> {
        match self.tail.as_ref().and_then(|tail| tail.new_ordinals.id(ordinal)) {
            Some(id) => {
                out.extend_from_slice(id);
                Ok(true)
            }
            None => self.stored.find_id(ordinal, out),
        }
    }

    #[inline]
    fn page(&mut self, ordinal: u32) -> Result<&Arc<OrdinalIds>> {
        self.stored.page(ordinal)
    }
}
