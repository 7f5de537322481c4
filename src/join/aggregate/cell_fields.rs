//! What is measured of a field of the event, for all cells of a block.

use super::block_columns::QueryColumns;
use super::cell_lists::CellLists;
use super::cell_sums::{CellNumbers, CellSum};
use super::ordered::{OrderedColumn, PLACES, Ranked};
use super::selection::SelectedEvent;
use super::totals::{CellMeasure, CountedNumbers};
use crate::error::Result;
use crate::join::layout::Column;
use crate::join::measure::Measure;

/// What is found out of a field of the event. Several measures may have it in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FieldMeasure {
    kind: FieldKind,
    column: Column,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FieldKind {
    Sum,
    Least,
    Greatest,
    /// All numbers.
    Numbers,
}

impl FieldMeasure {
    /// What a measure needs, if that can be found out by columns.
    pub(super) fn new(measure: &Measure, column: Column) -> Option<Self> {
        let kind = match measure {
            Measure::Sum(_) | Measure::Avg(_) => FieldKind::Sum,
            Measure::Min(_) => FieldKind::Least,
            Measure::Max(_) => FieldKind::Greatest,
            Measure::Percentile(..) => FieldKind::Numbers,
            Measure::Count | Measure::Uniques => return None,
        };
        let is_known = match kind {
            FieldKind::Sum | FieldKind::Numbers => matches!(column, Column::Event(_)),
            FieldKind::Least | FieldKind::Greatest => {
                matches!(column, Column::Name | Column::Time | Column::Period(_) | Column::Event(_))
            }
        };
        is_known.then_some(Self { kind, column })
    }
}

/// What is measured of a field, by cell.
pub(super) enum CellField {
    /// No event has it.
    Absent,
    Sum(CellNumbers, Vec<CellSum>),
    /// The place of the least value, or [`NO_PLACE`].
    Least(OrderedColumn, Vec<u64>),
    /// That of the greatest value, [`reversed`], or [`NO_PLACE`].
    Greatest(OrderedColumn, Vec<u64>),
    /// The places of all numbers.
    Numbers(OrderedColumn, CellLists<u64>),
}

/// More than every place.
const NO_PLACE: u64 = u64::MAX;

/// A place as the greatest value is looked for, and back: the last one is the least. Of an integer and a float that are
/// equal, the integer is in front here as well.
#[inline]
fn reversed(place: u64) -> u64 {
    place ^ (PLACES - 2)
}

impl CellField {
    /// The fields of a block, if they can be measured in these many cells.
    pub(super) fn all(columns: &QueryColumns<'_>, fields: &[FieldMeasure], cells: usize) -> Result<Option<Vec<Self>>> {
        fields.iter().map(|field| Self::new(columns, *field, cells)).collect()
    }

    fn new(columns: &QueryColumns<'_>, field: FieldMeasure, cells: usize) -> Result<Option<Self>> {
        let FieldMeasure { kind, column } = field;
        if kind == FieldKind::Sum {
            let Some(stored) = columns.values(column)? else { return Ok(Some(Self::Absent)) };
            return Ok(CellNumbers::new(stored).map(|numbers| Self::Sum(numbers, vec![CellSum::default(); cells])));
        }
        let ranked = if kind == FieldKind::Numbers { Ranked::Numbers } else { Ranked::Plain };
        let Some(ordered) = OrderedColumn::new(columns, column, ranked)? else { return Ok(None) };
        Ok(Some(match kind {
            FieldKind::Least => Self::Least(ordered, vec![NO_PLACE; cells]),
            FieldKind::Greatest => Self::Greatest(ordered, vec![NO_PLACE; cells]),
            FieldKind::Sum | FieldKind::Numbers => Self::Numbers(ordered, CellLists::default()),
        }))
    }

    /// Measures events of the block, each in its cell, once. `counts` is how many each cell has.
    pub(super) fn measure(&mut self, events: &[SelectedEvent], cells: &[u32], counts: &[u64]) {
        let in_cells = || events.iter().zip(cells).map(|(selected, cell)| (selected.event as usize, *cell));
        match self {
            Self::Absent => {}
            Self::Sum(numbers, sums) => numbers.add(events, cells, counts, sums),
            Self::Least(ordered, least) => ordered.visit(in_cells(), |place, cell| keep_least(least, cell, place)),
            Self::Greatest(ordered, greatest) => {
                ordered.visit(in_cells(), |place, cell| keep_least(greatest, cell, reversed(place)));
            }
            Self::Numbers(ordered, lists) => {
                *lists = CellLists::with_room(counts);
                ordered.visit(in_cells(), |place, cell| lists.push(cell, place));
                lists.sort();
            }
        }
    }

    /// What was measured in a cell.
    pub(super) fn of_cell(&self, cell: usize) -> CellMeasure<'_> {
        let value = |ordered: &OrderedColumn, place: Option<u64>| {
            place.and_then(|place| ordered.value(place)).map_or(CellMeasure::Nothing, CellMeasure::Value)
        };
        let known = |places: &[u64]| places.get(cell).copied().filter(|place| *place != NO_PLACE);
        match self {
            Self::Absent => CellMeasure::Nothing,
            Self::Sum(numbers, sums) => {
                let exponent = numbers.exponent();
                // There is a sum for each cell, zero where no event has a number.
                CellMeasure::Sum(CellSum { exponent, ..sums.get(cell).copied().unwrap_or_default() })
            }
            Self::Least(ordered, least) => value(ordered, known(least)),
            Self::Greatest(ordered, greatest) => value(ordered, known(greatest).map(reversed)),
            Self::Numbers(ordered, lists) => {
                CellMeasure::Numbers(CountedNumbers { ordered, places: lists.of_cell(cell) })
            }
        }
    }
}

/// There is a place for each cell that events are in.
#[inline]
fn keep_least(least: &mut [u64], cell: u32, place: u64) {
    if let Some(known) = least.get_mut(cell as usize) {
        *known = (*known).min(place);
    }
}
