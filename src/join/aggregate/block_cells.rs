//! The cells of one block.

use super::block_columns::{CellKey, KeyValue};
use super::cell_fields::CellField;
use super::cell_lists::CellLists;
use super::selection::SelectedEvent;
use super::totals::{CellSink, CellTotals, code_of};
use crate::error::Result;
use crate::join::block::{ColumnValue, position};
use crate::segment::UserRuns;

/// The cells of a block: groups of users, for each combination of values of the keys.
pub(super) struct BlockCells<'b> {
    /// The number of the group of users, by their code plus one.
    groups: &'b [u32],
    /// For each group one code plus one.
    group_codes: &'b [u32],
    keys: &'b [CellKey],
    /// Combinations of values of the keys.
    width: usize,
    /// By cell.
    events: Vec<u64>,
    /// The users of the events, where they are counted.
    ordinals: CellLists<u32>,
}

impl<'b> BlockCells<'b> {
    /// Of users in groups, unless there are more than `max`.
    pub(super) fn new((groups, group_codes): (&'b [u32], &'b [u32]), keys: &'b [CellKey], max: usize) -> Option<Self> {
        let width = keys.iter().try_fold(1_usize, |width, key| width.checked_mul(key.values.len()))?;
        let cells = width.checked_mul(group_codes.len()).filter(|cells| *cells <= max)?;
        Some(Self { groups, group_codes, keys, width, events: vec![0; cells], ordinals: CellLists::default() })
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    /// How many events each has.
    pub(super) fn counts(&self) -> &[u64] {
        &self.events
    }

    /// Counts events of the block, once. Returns the cell of each.
    pub(super) fn count(&mut self, events: &[SelectedEvent]) -> Vec<u32> {
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
        cells
    }

    /// Lists the users of events that were counted, in these cells. Events of an anonymous user are of none.
    pub(super) fn list_users(
        &mut self,
        runs: &UserRuns,
        events: &[SelectedEvent],
        cells: &[u32],
        anonymous: Option<u32>,
    ) {
        self.ordinals = CellLists::with_room(&self.events);
        let mut events = events.iter().zip(cells).peekable();
        let mut end = 0;
        for (ordinal, count) in runs.ordinals.iter().zip(&runs.counts) {
            end += *count;
            while let Some((_, cell)) = events.next_if(|(selected, _)| selected.event < end) {
                if Some(*ordinal) != anonymous {
                    self.ordinals.push(*cell, *ordinal);
                }
            }
        }
    }

    /// Hands over the cells that have events, with what was measured of fields.
    pub(super) fn flush(&self, fields: &[CellField], sink: &mut dyn CellSink) -> Result<()> {
        for (cell, events) in self.events.iter().enumerate().filter(|(_, events)| **events > 0) {
            let mut rest = cell % self.width;
            let mut values = Vec::with_capacity(self.keys.len());
            for key in self.keys {
                values.push(key.values.get(rest % key.values.len()).map_or(ColumnValue::NotSet, KeyValue::value));
                rest /= key.values.len();
            }
            let fields = fields.iter().map(|field| field.of_cell(cell)).collect();
            let ordinals = self.ordinals.of_cell(cell);
            let totals = CellTotals { events: *events, ordinals, fields, ..CellTotals::default() };
            let code = self.group_codes.get(cell / self.width).copied().unwrap_or_default();
            sink.add_cell(code_of(code), &values, &totals)?;
        }
        Ok(())
    }
}
