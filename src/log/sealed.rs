//! Sealed events as rows: a scan over column segments in the order of the log.
//!
//! It is a merge of the blocks of a day, each of which is rebuilt into rows when the scan gets to its first key. The
//! blocks of one segment do not overlap, so as many are in memory as the day has segments.

use std::sync::Arc;

use super::ordinals::{IdCache, ordinal_of};
use super::segments::{Headers, block_rows};
use crate::codec::{day_of, day_prefix};
use crate::error::Result;
use crate::rocks::EngineSnapshot;
use crate::segment::{BlockRows, SealedBlock, SegmentHeader, SegmentKey};

/// A forward cursor over the rows of sealed events.
pub(super) struct SealedScan {
    snapshot: EngineSnapshot,
    /// The days to come.
    headers: Option<Headers>,
    ids: IdCache,
    /// Only rows of this user.
    only: Option<u32>,
    /// No row below this key.
    from: Vec<u8>,
    /// No row at this key or above.
    to: Option<Vec<u8>>,
    day: Option<i32>,
    /// The blocks of the day, descending by first key, and how many from the front are not open.
    blocks: Vec<SealedBlock>,
    unopened: usize,
    open: Vec<OpenBlock>,
    /// The position in `open` of the row that was returned last.
    current: Option<usize>,
}

struct OpenBlock {
    rows: BlockRows,
    /// The next row, or the one that was returned last.
    at: usize,
    /// The segment that a row is read from when two have it.
    segment: SegmentKey,
}

impl OpenBlock {
    fn key(&self) -> &[u8] {
        self.rows.get(self.at).map_or(&[], |(key, _)| key)
    }
}

impl SealedScan {
    /// Over a range of keys of rows.
    pub(super) fn new(snapshot: &EngineSnapshot, from: &[u8], to: Option<&[u8]>) -> Self {
        Self {
            headers: Some(Headers::from_day(snapshot, from.first_chunk().map_or(i32::MIN, |day| day_of(*day)))),
            ids: IdCache::new(snapshot),
            snapshot: snapshot.clone(),
            only: None,
            from: from.to_vec(),
            to: to.map(<[u8]>::to_vec),
            day: None,
            blocks: Vec::new(),
            unopened: 0,
            open: Vec::new(),
            current: None,
        }
    }

    /// Over the rows of one user; none when the user has no ordinal.
    pub(super) fn of_user(snapshot: &EngineSnapshot, id: &str) -> Result<Option<Self>> {
        let ordinal = ordinal_of(snapshot, id.as_bytes())?;
        Ok(ordinal.map(|ordinal| Self { only: Some(ordinal), ..Self::new(snapshot, &[], None) }))
    }

    /// Over the rows of some blocks of one day.
    pub(super) fn of_segments(snapshot: &EngineSnapshot, segments: &[(SegmentKey, SegmentHeader)]) -> Self {
        let mut scan = Self { headers: None, ..Self::new(snapshot, &[], None) };
        scan.set_blocks(segments.to_vec());
        scan
    }

    /// Moves to the next row, and says whether there is one.
    pub(super) fn next(&mut self) -> Result<bool> {
        if let Some(at) = self.current.take() {
            self.step(at);
        }
        loop {
            let least = self.least();
            let first = self.unopened.checked_sub(1).and_then(|at| self.blocks.get(at));
            let least_key = least.and_then(|at| self.open.get(at)).map(OpenBlock::key);
            match (first, least_key) {
                (Some(block), key) if key.is_none_or(|key| block.summary.first_key.as_slice() <= key) => {
                    self.unopened -= 1;
                    self.open_block(self.unopened)?;
                }
                (_, Some(key)) => {
                    if self.to.as_deref().is_some_and(|to| key >= to) {
                        return Ok(false);
                    }
                    self.current = least;
                    return Ok(true);
                }
                (_, None) => {
                    let days = self.headers.as_mut().map(Headers::next_day).transpose()?.flatten();
                    let Some((day, segments)) = days else { return Ok(false) };
                    if self.to.as_deref().is_some_and(|to| to <= day_prefix(day).as_slice()) {
                        return Ok(false);
                    }
                    self.day = Some(day);
                    self.set_blocks(segments);
                }
            }
        }
    }

    /// The row that [`next`](Self::next) moved to.
    pub(super) fn current(&self) -> Option<(&[u8], &[u8])> {
        let block = self.open.get(self.current?)?;
        block.rows.get(block.at)
    }

    /// The ordinal of the user of that row.
    pub(super) fn current_ordinal(&self) -> Option<u32> {
        self.open.get(self.current?).map(|block| block.rows.ordinal(block.at))
    }

    /// Moves forward, so that the next row is the first whose key is not less than `key`.
    pub(super) fn seek(&mut self, key: &[u8]) {
        let day = key.first_chunk().map(|day| day_of(*day));
        self.current = None;
        self.from = key.to_vec();
        if day.is_none() || day != self.day {
            self.headers = Some(Headers::from_day(&self.snapshot, day.unwrap_or(i32::MIN)));
            self.day = None;
            self.set_blocks(Vec::new());
        } else {
            for block in &mut self.open {
                block.at = block.rows.lower_bound(key);
            }
            self.open.retain(|block| block.at < block.rows.len());
            let from = self.from.as_slice();
            while let Some(block) = self.unopened.checked_sub(1).and_then(|at| self.blocks.get(at))
                && block.summary.last_key.as_slice() < from
            {
                self.unopened -= 1;
            }
        }
    }

    fn set_blocks(&mut self, segments: Vec<(SegmentKey, SegmentHeader)>) {
        let blocks = segments.into_iter().flat_map(|(segment, header)| {
            header.blocks.into_iter().map(move |summary| SealedBlock { segment, summary: Arc::new(summary) })
        });
        self.blocks = blocks.collect();
        self.blocks.sort_unstable_by(|a, b| b.summary.first_key.cmp(&a.summary.first_key));
        self.unopened = self.blocks.len();
        self.open.clear();
    }

    fn open_block(&mut self, at: usize) -> Result<()> {
        let Some(SealedBlock { segment, summary }) = self.blocks.get(at) else { return Ok(()) };
        let out_of_range = summary.last_key < self.from
            || self.to.as_ref().is_some_and(|to| summary.first_key.as_slice() >= to.as_slice());
        if out_of_range {
            return Ok(());
        }
        let Some(rows) = block_rows(&self.snapshot, *segment, summary, &mut self.ids, self.only)? else {
            return Ok(());
        };
        let at = rows.lower_bound(&self.from);
        if at < rows.len() {
            self.open.push(OpenBlock { rows, at, segment: *segment });
        }
        Ok(())
    }

    /// The open block with the least key; of equal ones that of the latest segment.
    fn least(&self) -> Option<usize> {
        let order = |at: &usize| self.open.get(*at).map(|block| (block.key(), std::cmp::Reverse(block.segment)));
        (0..self.open.len()).min_by(|a, b| order(a).cmp(&order(b)))
    }

    /// Moves past the row of an open block, and past the same key in others.
    fn step(&mut self, at: usize) {
        let key = if self.open.len() > 1 { self.open.get(at).map(|block| block.key().to_vec()) } else { None };
        for (position, block) in self.open.iter_mut().enumerate() {
            if position == at || key.as_deref().is_some_and(|key| block.key() == key) {
                block.at += 1;
            }
        }
        self.open.retain(|block| block.at < block.rows.len());
    }
}
