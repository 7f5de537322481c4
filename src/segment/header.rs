//! The header of a segment: its blocks, and what is known of each without reading it.
//!
//! ```text
//! | 0xC1 | block | ...
//! block  | number | events | runs | bytes of rows | least and greatest millisecond | least and greatest ordinal |
//!        | length and bytes of the first key | of the last key | count of columns, each: length and bytes, size |
//! ```
//!
//! Integers are varints; keys are those of rows without their day; columns are as in keys of chunks, ascending, each
//! with the size of its chunk in bytes. Blocks ascend by key and do not overlap.

use std::sync::Arc;

use super::key::{BLOCK_EVENTS_MAX, ColumnId, SegmentKey};
use crate::codec::{Malformed, Read, Reader, day_prefix, put_slice, put_varint};
use crate::model::Timestamp;

/// Tag and version of headers.
const VERSION_1: u8 = 0xC1;

/// The blocks of a segment, ascending by key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) blocks: Vec<BlockSummary>,
}

/// What is known of a block without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BlockSummary {
    /// Its number in the segment, which is in the keys of its chunks.
    pub(crate) number: u32,
    pub(crate) events: u32,
    /// Distinct users.
    pub(crate) runs: u32,
    /// Bytes of the keys and values of its rows.
    pub(crate) row_bytes: u64,
    /// The first and the last key of its rows.
    pub(crate) first_key: Vec<u8>,
    pub(crate) last_key: Vec<u8>,
    /// The least and the greatest millisecond of the day.
    pub(crate) millis: (u32, u32),
    /// The least and the greatest ordinal.
    pub(crate) ordinals: (u32, u32),
    /// Its chunks, ascending, with their sizes in bytes.
    pub(crate) columns: Vec<(ColumnId, u32)>,
}

/// A block of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SealedBlock {
    pub(crate) segment: SegmentKey,
    pub(crate) summary: Arc<BlockSummary>,
}

impl SealedBlock {
    /// The time of an event at this millisecond of its day.
    #[inline]
    pub(crate) fn time(&self, millis: u32) -> Timestamp {
        let day = Timestamp::of_day(self.segment.day).millis();
        Timestamp::from_millis(day.saturating_add(i64::from(millis)))
    }

    /// The times of its first and its last event.
    pub(crate) fn times(&self) -> (Timestamp, Timestamp) {
        (self.time(self.summary.millis.0), self.time(self.summary.millis.1))
    }

    /// Whether it has a column.
    pub(crate) fn has_column(&self, column: &ColumnId) -> bool {
        self.summary.columns.binary_search_by(|(known, _)| known.cmp(column)).is_ok()
    }
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION_1];
        let mut column = Vec::new();
        for block in &self.blocks {
            let BlockSummary { number, events, runs, millis, ordinals, .. } = *block;
            let numbers = [number, events, runs].map(u64::from);
            let zones = [millis.0, millis.1, ordinals.0, ordinals.1].map(u64::from);
            for number in numbers.into_iter().chain([block.row_bytes]).chain(zones) {
                put_varint(&mut out, number);
            }
            for key in [&block.first_key, &block.last_key] {
                put_slice(&mut out, key.get(4..).unwrap_or_default());
            }
            put_varint(&mut out, block.columns.len() as u64);
            for (id, bytes) in &block.columns {
                column.clear();
                id.write(&mut column);
                put_slice(&mut out, &column);
                put_varint(&mut out, u64::from(*bytes));
            }
        }
        out
    }

    /// Reads the header of a segment of a day.
    pub(crate) fn decode(day: i32, value: &[u8]) -> Read<Self> {
        let mut reader = Reader::new(value);
        reader.version(VERSION_1, "not the header of a segment")?;
        let mut blocks: Vec<BlockSummary> = Vec::new();
        while !reader.is_empty() {
            let block = read_block(day, &mut reader)?;
            if blocks.last().is_some_and(|last| last.last_key >= block.first_key) {
                return Err(Malformed("blocks out of order"));
            }
            blocks.push(block);
        }
        Ok(Self { blocks })
    }
}

fn read_block(day: i32, reader: &mut Reader<'_>) -> Read<BlockSummary> {
    let mut number = || u32::try_from(reader.varint()?).map_err(|_| Malformed("a number of a block out of range"));
    let (block, events, runs) = (number()?, number()?, number()?);
    let row_bytes = u64::try_from(reader.varint()?).map_err(|_| Malformed("a number of a block out of range"))?;
    let mut number = || u32::try_from(reader.varint()?).map_err(|_| Malformed("a number of a block out of range"));
    let (millis, ordinals) = ((number()?, number()?), (number()?, number()?));
    let mut key = || Ok([&day_prefix(day), reader.slice()?].concat());
    let (first_key, last_key) = (key()?, key()?);
    if events == 0 || events as usize > BLOCK_EVENTS_MAX || first_key > last_key {
        return Err(Malformed("a block without events, or with too many"));
    }
    let count = reader.len()?;
    let mut columns: Vec<(ColumnId, u32)> = Vec::new();
    for _ in 0..count {
        let column = ColumnId::read(reader.slice()?)?;
        let bytes = u32::try_from(reader.varint()?).map_err(|_| Malformed("a chunk of 4 GB"))?;
        if columns.last().is_some_and(|(last, _)| *last >= column) {
            return Err(Malformed("columns out of order"));
        }
        columns.push((column, bytes));
    }
    Ok(BlockSummary { number: block, events, runs, row_bytes, first_key, last_key, millis, ordinals, columns })
}
