//! Lists of what the events of each cell have, one after another in one vector.

use crate::join::block::position;

/// For each cell a list.
#[derive(Debug, Default)]
pub(super) struct CellLists<T> {
    /// Where the list of each cell is: from the first to the end of what it has.
    ranges: Vec<(u32, u32)>,
    items: Vec<T>,
}

impl<T: Copy + Default + Ord> CellLists<T> {
    /// Empty ones, with room for an item of each event of the cells, which have these many.
    pub(super) fn with_room(counts: &[u64]) -> Self {
        let mut end = 0_usize;
        let range = |count: &u64| {
            let start = position(end);
            // The count of some events of one block, which fits anywhere.
            end += usize::try_from(*count).unwrap_or_default();
            (start, start)
        };
        let ranges = counts.iter().map(range).collect();
        Self { ranges, items: vec![T::default(); end] }
    }

    /// Adds an item to the list of a cell. There is room for each event that the cell was counted with; nothing else is
    /// added.
    #[inline]
    pub(super) fn push(&mut self, cell: u32, item: T) {
        let Some((_, end)) = self.ranges.get_mut(cell as usize) else { return };
        if let Some(place) = self.items.get_mut(*end as usize) {
            *place = item;
            *end += 1;
        }
    }

    /// Sorts each list.
    pub(super) fn sort(&mut self) {
        for (start, end) in &self.ranges {
            self.items.get_mut(*start as usize..*end as usize).into_iter().for_each(<[T]>::sort_unstable);
        }
    }

    /// The list of a cell.
    pub(super) fn of_cell(&self, cell: usize) -> &[T] {
        let (start, end) = self.ranges.get(cell).copied().unwrap_or_default();
        self.items.get(start as usize..end as usize).unwrap_or_default()
    }
}
