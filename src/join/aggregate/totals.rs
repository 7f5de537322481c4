//! What is counted of events by columns, before it is in a hash table.

use crate::error::Result;
use crate::join::block::ColumnValue;
use crate::join::probe::NO_ROW;

/// What was counted of a cell.
#[derive(Clone, Debug, Default)]
pub(super) struct CellTotals {
    pub(super) events: u64,
    pub(super) users: u64,
    /// The user, where it is one that other blocks may have counted by rows.
    pub(super) ordinal: Option<u32>,
    /// For each field that is summed up.
    pub(super) sums: Vec<CellSum>,
}

/// The sum of numbers: an integer times two to the power of an exponent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CellSum {
    pub(super) sum: i128,
    pub(super) exponent: i16,
    pub(super) has_floats: bool,
    pub(super) count: u64,
}

/// Where cells go.
pub(super) trait CellSink {
    /// Adds what was counted for a dictionary code of the users, or [`NO_ROW`], and values of the keys.
    fn add_cell(&mut self, code: u32, keys: &[ColumnValue<'_>], totals: &CellTotals) -> Result<()>;
}

/// The dictionary code of a code plus one.
pub(super) fn code_of(place: u32) -> u32 {
    place.checked_sub(1).unwrap_or(NO_ROW)
}
