//! The cells of one block.

use super::block_columns::{CellKey, CellNumbers, KeyValue};
use super::selection::SelectedEvent;
use super::totals::{CellSink, CellSum, CellTotals, code_of};
use crate::error::Result;
use crate::join::block::{ColumnValue, position};

/// The cells of a block: groups of users, for each combination of values of the keys.
pub(super) struct BlockCells<'b> {
    /// The number of the group of users, by their code plus one.
    groups: &'b [u32],
    /// For each group one code plus one.
    group_codes: &'b [u32],
    keys: &'b [CellKey],
    numbers: &'b [CellNumbers],
    /// Combinations of values of the keys.
    width: usize,
    events: Vec<u64>,
    /// For each field that is summed up, by cell.
    sums: Vec<Vec<CellSum>>,
}

impl<'b> BlockCells<'b> {
    /// Of users in groups, unless there are more than `max`.
    pub(super) fn new(
        (groups, group_codes): (&'b [u32], &'b [u32]),
        keys: &'b [CellKey],
        numbers: &'b [CellNumbers],
        max: usize,
    ) -> Option<Self> {
        let width = keys.iter().try_fold(1_usize, |width, key| width.checked_mul(key.values.len()))?;
        let cells = width.checked_mul(group_codes.len()).filter(|cells| *cells <= max)?;
        let sums = numbers.iter().map(|_| vec![CellSum::default(); cells]).collect();
        Some(Self { groups, group_codes, keys, numbers, width, events: vec![0; cells], sums })
    }

    /// Counts events of the block, once.
    pub(super) fn count(&mut self, events: &[SelectedEvent]) {
        let width = position(self.width);
        let group = |code: u32| self.groups.get(code as usize).copied().unwrap_or_default();
        let mut cells: Vec<u32> = events.iter().map(|selected| group(selected.code) * width).collect();
        let mut place = 1;
        for key in self.keys {
            if let Some(codes) = key.codes() {
                for (cell, selected) in cells.iter_mut().zip(events) {
                    *cell += codes.get(selected.event as usize).copied().unwrap_or_default() * place;
                }
            }
            place *= position(key.values.len());
        }
        for cell in &cells {
            self.events.get_mut(*cell as usize).into_iter().for_each(|count| *count += 1);
        }
        for (numbers, sums) in self.numbers.iter().zip(&mut self.sums) {
            numbers.add(events, &cells, &self.events, sums);
        }
    }

    /// Hands over the cells that have events.
    pub(super) fn flush(&self, sink: &mut dyn CellSink) -> Result<()> {
        for (cell, events) in self.events.iter().enumerate().filter(|(_, events)| **events > 0) {
            let mut rest = cell % self.width;
            let mut values = Vec::with_capacity(self.keys.len());
            for key in self.keys {
                values.push(key.values.get(rest % key.values.len()).map_or(ColumnValue::NotSet, KeyValue::value));
                rest /= key.values.len();
            }
            let sum = |(numbers, sums): (&CellNumbers, &Vec<CellSum>)| CellSum {
                exponent: numbers.exponent(),
                ..sums.get(cell).copied().unwrap_or_default()
            };
            let sums = self.numbers.iter().zip(&self.sums).map(sum).collect();
            let totals = CellTotals { events: *events, sums, ..CellTotals::default() };
            let code = self.group_codes.get(cell / self.width).copied().unwrap_or_default();
            sink.add_cell(code_of(code), &values, &totals)?;
        }
        Ok(())
    }
}
