//! Rewrites of blocks of column segments without some of their events.
//!
//! A block never changes: what is left of it becomes another block of its segment, with a number of its own.

use crate::codec::{CHUNKS, SEGMENTS};
use crate::error::{Error, Result};
use crate::segment::{
    BLOCK_EVENTS_MAX, BlockBuilder, BlockRows, BlockSummary, EncodedBlock, SegmentEdit, SegmentHeader, SegmentKey,
    chunk_key,
};

/// Adds a row of a block to another block.
pub(super) fn push_sealed(builder: &mut BlockBuilder, ordinal: u32, key: &[u8], value: &[u8]) -> Result<()> {
    let refused = |_| Error::corrupt(format!("a row of a column segment cannot be sealed again key={key:02x?}"));
    builder.push(ordinal, key, value).map_err(refused)
}

/// Encodes rows as the next block of a new segment.
pub(super) fn append_block(
    builder: &mut BlockBuilder,
    segment: SegmentKey,
    header: &mut SegmentHeader,
    edit: &mut SegmentEdit,
) -> Result<()> {
    let last = header.blocks.iter().map(|block| block.number).max();
    let block = builder.finish(last.map_or(0, |last| last.saturating_add(1)))?;
    header.blocks.push(block.summary.clone());
    put_block(edit, segment, block);
    Ok(())
}

/// Adds the chunks of a block to a change.
fn put_block(edit: &mut SegmentEdit, segment: SegmentKey, block: EncodedBlock) {
    let number = block.summary.number;
    for (column, chunk) in block.chunks {
        edit.put(CHUNKS, chunk_key(segment, &column, number), chunk);
    }
}

/// Adds the header of a segment to a change: without blocks there is no segment.
pub(super) fn put_header(edit: &mut SegmentEdit, segment: SegmentKey, header: &SegmentHeader) {
    let key = segment.to_bytes().to_vec();
    if header.blocks.is_empty() {
        edit.delete(SEGMENTS, key);
    } else {
        edit.put(SEGMENTS, key, header.encode());
    }
}

/// Adds the removal of all blocks of a segment, and of the segment, to a change.
pub(super) fn remove_segment(edit: &mut SegmentEdit, segment: SegmentKey, header: &SegmentHeader) {
    header.blocks.iter().for_each(|block| remove_chunks(edit, segment, block));
    edit.delete(SEGMENTS, segment.to_bytes().to_vec());
}

fn remove_chunks(edit: &mut SegmentEdit, segment: SegmentKey, block: &BlockSummary) {
    for (column, _) in &block.columns {
        edit.delete(CHUNKS, chunk_key(segment, column, block.number));
    }
}

/// A segment that is being rewritten.
pub(super) struct SegmentRewrite {
    segment: SegmentKey,
    header: SegmentHeader,
    edit: SegmentEdit,
    /// How many events were removed.
    pub(super) removed: u64,
}

impl SegmentRewrite {
    pub(super) fn new(segment: SegmentKey, header: SegmentHeader) -> Self {
        Self { segment, header, edit: SegmentEdit::default(), removed: 0 }
    }

    /// Removes a block, given by its number.
    pub(super) fn remove(&mut self, block: u32) {
        let blocks = &mut self.header.blocks;
        let Some(place) = blocks.iter().position(|known| known.number == block) else { return };
        let old = blocks.remove(place);
        self.removed += u64::from(old.events);
        remove_chunks(&mut self.edit, self.segment, &old);
    }

    /// Removes the rows of a block, given by its number, that are not to be kept.
    pub(super) fn retain(&mut self, block: u32, rows: &BlockRows, keep: impl Fn(usize, &[u8]) -> bool) -> Result<()> {
        let row = |at: usize| rows.get(at).map(|(key, value)| (at, key, value));
        let kept: Vec<_> = (0..rows.len()).filter_map(row).filter(|(at, key, _)| keep(*at, key)).collect();
        if kept.len() == rows.len() {
            return Ok(());
        }
        let blocks = &mut self.header.blocks;
        let Some(place) = blocks.iter().position(|known| known.number == block) else { return Ok(()) };
        self.removed += rows.len().saturating_sub(kept.len()) as u64;
        let mut builder = BlockBuilder::new(BLOCK_EVENTS_MAX);
        for (at, key, value) in kept {
            push_sealed(&mut builder, rows.ordinal(at), key, value)?;
        }
        let next = blocks.iter().map(|known| known.number).max().unwrap_or(0).saturating_add(1);
        let old = blocks.remove(place);
        remove_chunks(&mut self.edit, self.segment, &old);
        if !builder.is_empty() {
            let encoded = builder.finish(next)?;
            blocks.insert(place, encoded.summary.clone());
            put_block(&mut self.edit, self.segment, encoded);
        }
        Ok(())
    }

    /// The change, unless there is none, and the header afterwards.
    pub(super) fn finish(mut self) -> (Option<SegmentEdit>, SegmentHeader) {
        if self.removed == 0 {
            return (None, self.header);
        }
        put_header(&mut self.edit, self.segment, &self.header);
        (Some(self.edit), self.header)
    }
}
