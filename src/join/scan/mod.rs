//! Scans of events, with projection and predicate pushdown: which columns of which events get into a block.
//!
//! A [`ScanSpec`] says what a scan reads, an [`EventScan`] does it. The join knows no more of an event log than these
//! two, so a log may keep events as rows, as columns or not at all.
//!
//! ```text
//! row   keys and values of a log of rows     own   an iterator of the caller's events     profile   rows of profiles
//! column   blocks of a log that keeps events in columns      tail   what such a log has besides, in memory
//! estimate   cardinality estimation for a log of rows, by sampling
//! ```

use std::sync::Arc;

use super::block::Block;
use super::estimate::Estimates;
use super::filter::Filter;
use super::layout::JoinLayout;
use super::ordinal_cache::CodeHistory;
use super::probe::RuntimeFilter;
use super::tables::{ProfileTables, RowCursor};
use crate::codec::{self, EventBytes};
use crate::error::{Error, Result};
use crate::model::Timestamp;
use crate::segment::{BlockDamage, ColumnId, OrdinalIds, SealedBlock};

mod column;
mod estimate;
mod own;
mod profile;
mod row;
mod sorted_parts;
mod tail;

pub(super) use column::{ChunkReader, ColumnScan, RunFilter};
pub(crate) use estimate::{EventRows, estimate};
pub(super) use own::OwnEvents;
pub(super) use profile::ProfileRows;
pub(crate) use row::RowScan;
pub(crate) use tail::{
    BlockEvents, ChangedRow, KnownTail, LogTail, RowBytes, RowState, TailCache, TailOrdinals, UnsealedRow, block_id,
    hash_of,
};
pub(super) use tail::{TailRows, TailScan};

/// A scan returns after this many events, so that it can be stopped when hardly any passes.
const READS_PER_FILL: u64 = 4_096;

/// The first and the last day that have events, if there are any.
pub(crate) type Days = Option<(i32, i32)>;

/// An event log, as of one snapshot.
pub(crate) trait EventTable: Send + Sync {
    /// Opens a scan.
    fn scan(&self, spec: ScanSpec) -> Result<Box<dyn EventScan>>;

    /// What a scan would yield, estimated, and the first and the last day that have events for it.
    fn estimate(&self, spec: &ScanSpec) -> Result<(Estimates, Days)>;

    /// What other joins have read.
    fn code_history(&self) -> Option<&dyn CodeHistory> {
        None
    }

    /// The events that are kept in columns, if there are any.
    fn columns(&self) -> Option<&dyn ColumnTable> {
        None
    }
}

/// Events that a log keeps in columns, as of one snapshot. Users have ordinals there.
pub(crate) trait ColumnTable: Send + Sync {
    /// The blocks that have events of these days: from this one on, up to that one, exclusive.
    fn blocks(&self, days: (Option<i32>, Option<i32>)) -> Result<Vec<SealedBlock>>;

    /// The chunks of some columns of a block, which it has.
    fn read(&self, block: &SealedBlock, columns: &[ColumnId]) -> Result<Vec<Vec<u8>>>;

    /// What the log has besides columns, if that is in memory.
    fn tail(&self) -> Result<Option<Arc<LogTail>>> {
        Ok(None)
    }

    /// The events of a block that rows of the log replace, by their positions, ascending.
    fn replaced(&self, block: &SealedBlock) -> Result<Vec<u32>>;

    /// The ids in a range that have ordinals, ascending, each with its encoded ordinal.
    fn ordinals(&self, from: &[u8], to: Option<&[u8]>) -> Result<Box<dyn RowCursor>>;

    /// How many ordinals were given, those of ids that were erased and those of the tail included.
    fn ordinal_count(&self) -> Result<u32>;

    /// The ordinals of ids, in their order, of those that have one.
    fn ordinals_of(&self, ids: &[&[u8]]) -> Result<Vec<Option<u32>>>;

    /// Reads the ids of ordinals.
    fn ids(&self) -> Box<dyn OrdinalReader>;

    /// The error for a block that cannot be read.
    fn damaged(&self, block: &SealedBlock, damage: &BlockDamage) -> Error;
}

/// Reads the ids of ordinals.
pub(crate) trait OrdinalReader: Send {
    /// Appends the id of an ordinal, which is text, and says whether it has one: it has none once it was erased.
    fn find_id(&mut self, ordinal: u32, out: &mut Vec<u8>) -> Result<bool>;

    /// The ids of a stored ordinal and its neighbors.
    fn page(&mut self, ordinal: u32) -> Result<&Arc<OrdinalIds>>;

    /// The ids of a stored ordinal that has one, and its neighbors.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](crate::ErrorKind::Corrupt) when it has none.
    #[inline]
    fn page_with(&mut self, ordinal: u32) -> Result<&Arc<OrdinalIds>> {
        let page = self.page(ordinal)?;
        if page.has(OrdinalIds::key_of(ordinal).1) {
            return Ok(page);
        }
        Err(Error::corrupt(format!("a column segment has an ordinal without an id ordinal={ordinal}")))
    }
}

/// Everything that a join reads, as of one snapshot.
pub(crate) trait Tables: EventTable + ProfileTables {}

impl<T: EventTable + ProfileTables> Tables for T {}

/// Puts events into blocks.
pub(crate) trait EventScan: Send {
    /// Appends the next events to a block until it has `max`, and says whether there may be more. It may return
    /// earlier, so that a caller who reads on until there is something can still be stopped.
    fn fill(&mut self, block: &mut Block, max: usize) -> Result<bool>;
}

/// What a scan reads, and which events it yields.
#[derive(Clone, Debug)]
pub(crate) struct ScanSpec {
    /// The days that are read: from this one on, up to that one, exclusive. The times of the predicate may be narrower.
    pub(super) days: (Option<i32>, Option<i32>),
    pub(super) predicate: Arc<EventPredicate>,
    pub(super) users: UserRange,
    /// Without those that are kept in columns, which are read in another way.
    pub(crate) rows_only: bool,
    /// The columns that are put into blocks are the events of this layout.
    pub(super) layout: Arc<JoinLayout>,
}

impl ScanSpec {
    /// The keys that the days begin and end with in a log of rows.
    pub(crate) fn keys(&self) -> (Vec<u8>, Option<Vec<u8>>) {
        let key = |day: i32| codec::day_prefix(day).to_vec();
        (self.days.0.map(key).unwrap_or_default(), self.days.1.map(key))
    }
}

/// A range of ids of users, and which of them are requested.
#[derive(Clone, Debug, Default)]
pub(super) struct UserRange {
    /// From this id on, up to that one, exclusive.
    pub(super) from: Vec<u8>,
    pub(super) to: Option<Vec<u8>>,
    /// Only these, if it is known that other events would not pass.
    pub(super) filter: Option<Arc<RuntimeFilter>>,
}

/// The predicates on the event alone, which are evaluated before anything is joined.
#[derive(Debug, Default)]
pub(super) struct EventPredicate {
    /// From here on.
    pub(super) from: Option<Timestamp>,
    /// Up to here, exclusive.
    pub(super) to: Option<Timestamp>,
    /// Only these names.
    pub(super) names: Option<Vec<Box<[u8]>>>,
    /// The conjuncts of the filter, of which those on the event alone are meant here.
    pub(super) filter: Filter,
}

impl EventPredicate {
    /// The days that its times touch.
    pub(super) fn days(&self) -> (Option<i32>, Option<i32>) {
        let last = self.to.map(|to| Timestamp::from_millis(to.millis().saturating_sub(1)));
        let end = last.and_then(|last| last.day_and_millis().0.checked_add(1));
        (self.from.map(|from| from.day_and_millis().0), end)
    }

    /// Whether a block may have events of these times.
    pub(super) fn may_keep(&self, block: &SealedBlock) -> bool {
        let (first, last) = block.times();
        self.from.is_none_or(|from| last >= from) && self.to.is_none_or(|to| first < to)
    }

    /// Whether it has all times and names.
    pub(super) fn has_all(&self) -> bool {
        self.from.is_none() && self.to.is_none() && self.names.is_none()
    }

    /// Whether every event of a block is of its times, and all names are requested.
    pub(super) fn keeps_all(&self, block: &SealedBlock) -> bool {
        let (first, last) = block.times();
        self.has_time(first) && self.has_time(last) && self.names.is_none()
    }

    #[inline]
    pub(super) fn has_time(&self, time: Timestamp) -> bool {
        self.from.is_none_or(|from| time >= from) && self.to.is_none_or(|to| time < to)
    }

    #[inline]
    pub(super) fn has_name(&self, name: &[u8]) -> bool {
        self.names.as_ref().is_none_or(|names| names.iter().any(|known| **known == *name))
    }

    /// Reads the value of a row, unless it is of a time or name that is not requested.
    #[inline]
    fn read<'v>(&self, key: &[u8], time: Timestamp, value: &'v [u8]) -> Result<Option<EventBytes<'v>>> {
        if !self.has_time(time) {
            return Ok(None);
        }
        let event = EventBytes::read(value).map_err(|malformed| codec::corrupt_event(key, malformed))?;
        Ok(Some(event).filter(|event| self.has_name(event.name)))
    }

    /// Removes the last event of a block again unless it passes the filter.
    #[inline]
    fn filter_last(&self, block: &mut Block) -> Result<()> {
        if !self.filter.keeps_event(block)? {
            block.pop();
        }
        Ok(())
    }
}
