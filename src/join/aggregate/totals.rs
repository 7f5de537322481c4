//! What is counted of events by columns, before it is in a hash table.

use super::cell_sums::CellSum;
use super::ordered::OrderedColumn;
use crate::error::Result;
use crate::join::block::ColumnValue;
use crate::join::probe::NO_ROW;
use crate::model::Value;

/// What was counted of a cell.
#[derive(Default)]
pub(super) struct CellTotals<'c> {
    pub(super) events: u64,
    pub(super) users: u64,
    /// The user, where it is one that other blocks may have counted by rows.
    pub(super) ordinal: Option<u32>,
    /// The users of its events, one or more times each, where those of each bucket are known.
    pub(super) ordinals: &'c [u32],
    /// What was measured of the fields of the query, in their order.
    pub(super) fields: Vec<CellMeasure<'c>>,
}

/// What was measured of a field.
pub(super) enum CellMeasure<'c> {
    Nothing,
    Sum(CellSum),
    /// The least value, or the greatest one.
    Value(Value),
    Numbers(CountedNumbers<'c>),
}

/// Numbers of a cell, each as often as events have it: by their places, ascending.
pub(super) struct CountedNumbers<'c> {
    pub(super) ordered: &'c OrderedColumn,
    pub(super) places: &'c [u64],
}

impl CountedNumbers<'_> {
    /// The distinct numbers, with the count of each.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Value, u64)> {
        let same = self.places.chunk_by(|a, b| a == b);
        same.filter_map(|places| Some((self.ordered.value(*places.first()?)?, places.len() as u64)))
    }
}

/// Where cells go.
pub(super) trait CellSink {
    /// Adds what was counted for a dictionary code of the users, or [`NO_ROW`], and values of the keys.
    fn add_cell(&mut self, code: u32, keys: &[ColumnValue<'_>], totals: &CellTotals<'_>) -> Result<()>;
}

/// The dictionary code of a code plus one.
pub(super) fn code_of(place: u32) -> u32 {
    place.checked_sub(1).unwrap_or(NO_ROW)
}
