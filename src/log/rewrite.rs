//! Rewrites of blocks of column segments without some of their events.
//!
//! A block never changes: what is left of it becomes another block of its segment, with a number of its own.

use crate::codec::{CHUNKS, SEGMENTS};
use crate::error::{Error, Result};
use crate::segment::{
    BLOCK_EVENTS_MAX, BlockBuilder, BlockRows, EncodedBlock, SegmentEdit, SegmentHeader, SegmentKey, chunk_key,
};

/// Adds the chunks of a block to a change.
pub(super) fn put_block(edit: &mut SegmentEdit, segment: SegmentKey, block: EncodedBlock) {
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
    for block in &header.blocks {
        for (column, _) in &block.columns {
            edit.delete(CHUNKS, chunk_key(segment, column, block.number));
        }
    }
    edit.delete(SEGMENTS, segment.to_bytes().to_vec());
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

    /// Removes the rows of a block, given by its number, that are not to be kept.
    pub(super) fn retain(&mut self, block: u32, rows: &BlockRows, keep: impl Fn(usize, &[u8]) -> bool) -> Result<()> {
        let row = |at: usize| rows.get(at).map(|(key, value)| (at, key, value));
        let kept: Vec<_> = (0..rows.len()).filter_map(row).filter(|(at, key, _)| keep(*at, key)).collect();
        if kept.len() == rows.len() {
            return Ok(());
        }
        self.removed += rows.len().saturating_sub(kept.len()) as u64;
        let blocks = &mut self.header.blocks;
        let Some(place) = blocks.iter().position(|known| known.number == block) else { return Ok(()) };
        let mut builder = BlockBuilder::new(BLOCK_EVENTS_MAX);
        for (at, key, value) in kept {
            let refused =
                |_| Error::corrupt(format!("a row of a column segment cannot be sealed again key={key:02x?}"));
            builder.push(rows.ordinal(at), key, value).map_err(refused)?;
        }
        let next = blocks.iter().map(|known| known.number).max().unwrap_or(0).saturating_add(1);
        let old = blocks.remove(place);
        for (column, _) in &old.columns {
            self.edit.delete(CHUNKS, chunk_key(self.segment, column, old.number));
        }
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
