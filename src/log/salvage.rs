//! Sealed events past damage: every block that can be read, and where the others are.

use super::ordinals::IdCache;
use super::segments::{block_rows, read_header};
use crate::codec::SEGMENTS;
use crate::error::Error;
use crate::model::{Damage, Timestamp};
use crate::rocks::{DamagedKeys, EngineSnapshot, SalvagedRow};
use crate::segment::{BlockRows, SegmentKey};

/// An item of a scan of sealed events that goes on after damage.
pub(super) enum SalvagedBlock {
    /// The events of a block.
    Rows(BlockRows),
    Damage(Damage),
}

/// Calls `each` with every block of every segment. Ends with its first error.
pub(super) fn salvage_blocks<E>(
    snapshot: &EngineSnapshot,
    mut each: impl FnMut(SalvagedBlock) -> Result<(), E>,
) -> Result<(), E> {
    let mut ids = IdCache::new(snapshot);
    snapshot.salvage(SEGMENTS, |item| {
        let (segment, header) = match item {
            SalvagedRow::Row(key, value) => match read_header(key, value) {
                Ok(header) => header,
                Err(error) => return each(SalvagedBlock::Damage(damage_of_segments(Some(key), Some(key), &error))),
            },
            SalvagedRow::Damage(DamagedKeys { after, before, error }) => {
                let damage = damage_of_segments(after.as_deref(), before.as_deref(), &error);
                return each(SalvagedBlock::Damage(damage));
            }
        };
        for block in &header.blocks {
            let key = segment.to_bytes();
            match block_rows(snapshot, segment, block, &mut ids, None) {
                Ok(rows) => rows.map_or(Ok(()), |rows| each(SalvagedBlock::Rows(rows)))?,
                // It names the day, the segment, the block and the column.
                Err(error) => each(SalvagedBlock::Damage(damage_of_segments(Some(&key), Some(&key), &error)))?,
            }
        }
        Ok(())
    })
}

/// Damage between two keys of headers or chunks.
pub(super) fn damage_of_segments(after: Option<&[u8]>, before: Option<&[u8]>, error: &Error) -> Damage {
    let text = |key: &[u8]| match SegmentKey::of_chunk(key) {
        Ok(SegmentKey { day, number }) => format!("{} segment {number}", Timestamp::of_day(day)),
        Err(_) => format!("{key:02x?}"),
    };
    Damage {
        table: SEGMENTS.to_owned(),
        after: after.map(text),
        before: before.map(text),
        reason: error.with_sources(),
    }
}
