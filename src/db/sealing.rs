//! A pass over the event log that seals its rows, one change at a time.

use serde::Serialize;

use crate::error::Result;
use crate::log::{DayMerge, DaySealing, GoOn, check_ordinals, next_day_with_rows};
use crate::rocks::EngineSnapshot;
use crate::segment::BlockBuilder;
use crate::store::SegmentWriter;

/// What [`EventLog::seal`](super::EventLog::seal) did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Sealed {
    /// Days that had rows.
    pub days: u64,
    /// Events that were moved into segments.
    pub events: u64,
    /// Sealed events that were removed, because the same event was sent again after they were sealed.
    pub replaced: u64,
    /// Events that stay rows, because they cannot be read.
    pub left: u64,
}

/// A pass. After a failure of [`step`](Self::step) it can only be given up, or [restarted](Self::restart).
pub(super) struct SealPass {
    block_events: usize,
    builder: BlockBuilder,
    stage: PassStage,
    pub(super) sealed: Sealed,
}

/// Day by day, rows are sealed and then segments merged.
enum PassStage {
    /// The next day with rows is this one or a later one.
    From(i32),
    Seal(i32, DaySealing),
    Merge(i32, DayMerge),
    Done,
}

impl SealPass {
    pub(super) fn new(writer: &SegmentWriter<'_>, block_events: usize) -> Result<Self> {
        check_ordinals(&writer.snapshot()?)?;
        let (builder, stage) = (BlockBuilder::new(block_events), PassStage::From(i32::MIN));
        Ok(Self { block_events, builder, stage, sealed: Sealed::default() })
    }

    /// Begins the current day again, after others have changed segments, or a change was not committed.
    pub(super) fn restart(&mut self, writer: &SegmentWriter<'_>) -> Result<()> {
        check_ordinals(&writer.snapshot()?)?;
        match self.stage {
            PassStage::Seal(day, _) => self.seal(day),
            PassStage::Merge(day, _) => self.merge(day),
            PassStage::From(_) | PassStage::Done => {}
        }
        Ok(())
    }

    /// Leaves the current day as it is, and says which that is.
    pub(super) fn skip_day(&mut self) -> Option<i32> {
        let (PassStage::Seal(day, _) | PassStage::Merge(day, _)) = self.stage else { return None };
        self.end_day(day);
        Some(day)
    }

    fn seal(&mut self, day: i32) {
        self.stage = PassStage::Seal(day, DaySealing::new(day));
    }

    fn merge(&mut self, day: i32) {
        self.stage = PassStage::Merge(day, DayMerge::new(day, self.block_events));
    }

    fn end_day(&mut self, day: i32) {
        self.stage = day.checked_add(1).map_or(PassStage::Done, PassStage::From);
    }

    /// Seals the rows of one more block, or merges some segments, and says whether there was anything left to do.
    pub(super) fn step(&mut self, writer: &SegmentWriter<'_>, go_on: GoOn<'_>) -> Result<bool> {
        let snapshot = writer.snapshot()?;
        loop {
            match &mut self.stage {
                PassStage::Done => return Ok(false),
                PassStage::From(from) => match next_day_with_rows(&snapshot, *from)? {
                    Some(day) => {
                        self.sealed.days += 1;
                        self.seal(day);
                    }
                    None => self.stage = PassStage::Done,
                },
                PassStage::Seal(day, sealing) => {
                    let day = *day;
                    if seal_block(sealing, &snapshot, writer, &mut self.builder, &mut self.sealed, go_on)? {
                        return Ok(true);
                    }
                    self.sealed.left += sealing.left();
                    self.merge(day);
                }
                PassStage::Merge(day, merge) => {
                    let day = *day;
                    if let Some(edit) = merge.next(&snapshot, go_on)? {
                        writer.commit(&edit)?;
                        return Ok(true);
                    }
                    self.end_day(day);
                }
            }
        }
    }
}

/// Seals the rows of one block, and says whether there were any.
fn seal_block(
    sealing: &mut DaySealing,
    snapshot: &EngineSnapshot,
    writer: &SegmentWriter<'_>,
    builder: &mut BlockBuilder,
    sealed: &mut Sealed,
    go_on: GoOn<'_>,
) -> Result<bool> {
    let Some(mut block) = sealing.next(snapshot, writer.ordinal_index(), builder, go_on)? else { return Ok(false) };
    while let Some(edit) = block.next_removal(go_on)? {
        writer.commit(&edit)?;
    }
    sealed.replaced += block.replaced();
    sealed.events += block.events();
    writer.commit(&block.finish())?;
    Ok(true)
}
