//! Partitioned hash join: tables of users are cut into ranges of ids that fit into memory, and read once.
//!
//! Workers take turns at reading, so while one reads a partition the others join theirs.

use crate::error::Result;
use crate::join::cancel::Interrupt;
use crate::join::layout::JoinLayout;
use crate::join::plan::Plan;
use crate::join::probe::BuildRows;
use crate::join::stats::Counters;
use crate::join::tables::{ProfileTables, RowCursor};

/// Cuts tables into partitions.
pub(in crate::join) struct Partitioner {
    tables: Vec<PartitionedTable>,
    /// Where the next partition begins.
    from: Vec<u8>,
    number: usize,
    /// Rows in the partitions so far.
    taken: u64,
    ended: bool,
}

/// A table that is read in partitions.
struct PartitionedTable {
    dim: usize,
    rows: Box<dyn RowCursor>,
    /// A row that was read and is not in a partition yet. It may be the first of the next one.
    carried: Option<(Vec<u8>, Vec<u8>)>,
}

/// A partition, read: the rows of each table between two ids.
#[derive(Default)]
pub(super) struct Partition {
    pub(super) number: usize,
    pub(super) rows: Vec<(usize, BuildRows)>,
    pub(super) from: Vec<u8>,
    pub(super) to: Option<Vec<u8>>,
}

/// A partition has at least this many rows, however large they are, because each costs a pass over the days.
const ROWS_MIN: u64 = 8;

/// When a partition is full.
#[derive(Clone, Copy)]
struct Bounds<'i> {
    rows: u64,
    bytes: usize,
    interrupt: &'i Interrupt,
}

impl Partitioner {
    /// For the tables at these positions of the layout.
    pub(in crate::join) fn new(tables: &dyn ProfileTables, layout: &JoinLayout, dims: &[usize]) -> Result<Self> {
        let table = |dim: &usize| -> Result<Option<PartitionedTable>> {
            let Some(spec) = layout.dims.get(*dim) else { return Ok(None) };
            let rows = tables.rows(&spec.table, &[], None)?;
            Ok(Some(PartitionedTable { dim: *dim, rows, carried: None }))
        };
        let tables = dims.iter().filter_map(|dim| table(dim).transpose()).collect::<Result<_>>()?;
        Ok(Self { tables, from: Vec::new(), number: 0, taken: 0, ended: false })
    }
}

impl Partitioner {
    /// Reads the next partition of all tables.
    pub(super) fn next(
        &mut self,
        layout: &JoinLayout,
        plan: &Plan,
        counters: &Counters,
        interrupt: &Interrupt,
    ) -> Result<Option<Partition>> {
        if self.ended {
            return Ok(None);
        }
        let dims = self.tables.iter().filter_map(|table| Some((table.dim, layout.dims.get(table.dim)?)));
        let mut rows: Vec<(usize, BuildRows)> = dims.map(|(dim, spec)| (dim, BuildRows::new(spec))).collect();
        let bounds = self.bounds(plan, interrupt);
        let mut read = 0;
        let to = match self.tables.as_mut_slice() {
            [table] => fill_from_one(table, layout, &mut rows, bounds, &mut read)?,
            tables => fill_from_many(tables, layout, &mut rows, bounds, &mut read)?,
        };
        counters.rows_read.add(read);
        self.taken += rows.iter().map(|(_, rows)| rows.len() as u64).sum::<u64>();
        let from = std::mem::replace(&mut self.from, to.clone().unwrap_or_default());
        let number = self.number;
        self.number += 1;
        self.ended = to.is_none();
        Ok(Some(Partition { number, rows, from, to }))
    }

    /// Partitions are smaller towards the end, so that workers finish at about the same time.
    fn bounds<'i>(&self, plan: &Plan, interrupt: &'i Interrupt) -> Bounds<'i> {
        let (rows, bytes) = (plan.partition_rows, plan.partition_bytes);
        if plan.threads == 1 {
            return Bounds { rows, bytes, interrupt };
        }
        let tables = self.tables.iter().filter_map(|table| plan.tables.get(table.dim));
        let left = tables.map(|table| table.rows).sum::<u64>().saturating_sub(self.taken);
        let share = left / (plan.threads as u64 * 2);
        Bounds { rows: share.clamp((rows / 8).max(1), rows), bytes, interrupt }
    }
}

/// Of one table. Returns where the next partition begins, if there is one.
fn fill_from_one(
    table: &mut PartitionedTable,
    layout: &JoinLayout,
    rows: &mut [(usize, BuildRows)],
    bounds: Bounds<'_>,
    read: &mut u64,
) -> Result<Option<Vec<u8>>> {
    let (Some(dim), Some((_, rows))) = (layout.dims.get(table.dim), rows.first_mut()) else {
        return Ok(None);
    };
    if let Some((id, row)) = table.carried.take() {
        rows.push(dim, &id, &row)?;
    }
    while let Some((id, row)) = table.rows.next()? {
        *read += 1;
        bounds.interrupt.check_each(*read)?;
        if bounds.are_reached(rows) {
            table.carried = Some((id.to_vec(), row.to_vec()));
            break;
        }
        rows.push(dim, id, row)?;
    }
    Ok(table.carried.as_ref().map(|(id, _)| id.clone()))
}

/// Of several tables, id by id, so that the partitions of all of them end with the same id.
fn fill_from_many(
    tables: &mut [PartitionedTable],
    layout: &JoinLayout,
    rows: &mut [(usize, BuildRows)],
    bounds: Bounds<'_>,
    read: &mut u64,
) -> Result<Option<Vec<u8>>> {
    loop {
        bounds.interrupt.check_each(*read)?;
        for table in tables.iter_mut().filter(|table| table.carried.is_none()) {
            table.carried = table.rows.next()?.map(|(id, row)| (id.to_vec(), row.to_vec()));
            *read += u64::from(table.carried.is_some());
        }
        let next = tables.iter().filter_map(|table| table.carried.as_ref().map(|(id, _)| id)).min().cloned();
        let is_full = bounds.are_reached_by_all(rows);
        let Some(next) = next.filter(|_| !is_full) else {
            return Ok(tables.iter().filter_map(|table| table.carried.as_ref().map(|(id, _)| id.clone())).min());
        };
        for (table, (_, rows)) in tables.iter_mut().zip(rows.iter_mut()) {
            let Some(dim) = layout.dims.get(table.dim) else { continue };
            if let Some((id, row)) = table.carried.take_if(|(id, _)| *id == next) {
                rows.push(dim, &id, &row)?;
            }
        }
    }
}

impl Bounds<'_> {
    #[inline]
    fn are_reached(self, rows: &BuildRows) -> bool {
        let len = rows.len() as u64;
        len >= self.rows || (len >= ROWS_MIN && rows.memory_bytes() >= self.bytes)
    }

    fn are_reached_by_all(self, rows: &[(usize, BuildRows)]) -> bool {
        let count = rows.iter().map(|(_, rows)| rows.len() as u64).sum::<u64>();
        let bytes = || rows.iter().map(|(_, rows)| rows.memory_bytes()).sum::<usize>();
        count >= self.rows || (count >= ROWS_MIN && bytes() >= self.bytes)
    }
}
