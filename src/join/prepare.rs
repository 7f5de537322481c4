//! From a plan to its execution: the range is cut into tasks (morsels), and build sides that fit into memory are read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use parking_lot::Mutex;

use super::codes::{codes_of, current_codes};
use super::exec::{Execution, Partitioner, Tasks};
use super::layout::JoinLayout;
use super::plan::{Plan, Strategy};
use super::probe::{BuildSide, CodesContext, read_rows};
use super::scan::{ColumnTable, Days, EventPredicate, RunFilter};
use super::tables::ProfileTables;
use crate::error::Result;

/// The rows of at most this many requested users are looked up. For more, those of all users are read, or kept from
/// another join.
const LOOKED_UP_MAX: usize = 1_024;

/// Tasks of days per thread, so that threads finish at about the same time.
const TASKS_PER_THREAD: usize = 8;

/// Cuts the range into tasks: partitions of the tables of users where the plan has them, else days.
pub(super) fn tasks(
    tables: &dyn ProfileTables,
    layout: &JoinLayout,
    plan: &Plan,
    predicate: &EventPredicate,
    days: Days,
) -> Result<Tasks> {
    let partitioned: Vec<usize> =
        plan.tables.iter().enumerate().filter(|(_, table)| table.partitioned).map(|(dim, _)| dim).collect();
    if !partitioned.is_empty() {
        return Ok(Tasks::Partitions(Mutex::new(Partitioner::new(tables, layout, &partitioned)?)));
    }
    let mut starts = Vec::new();
    let (from, end) = predicate.days();
    if let Some((first, last)) = days {
        let count = i64::from(last).abs_diff(i64::from(first)) + 1;
        let tasks = if plan.threads == 1 { 1 } else { (plan.threads * TASKS_PER_THREAD) as u64 };
        let step = count.div_ceil(tasks).max(1);
        starts.push(from);
        // Within the range of days that both ends are in.
        let day = |task: u64| i32::try_from(i64::from(first).checked_add_unsigned(task.checked_mul(step)?)?).ok();
        let days = (1..count.div_ceil(step)).filter_map(day);
        starts.extend(days.map(Some));
    }
    let ends = starts.iter().skip(1).copied().chain([end]);
    let ranges = starts.iter().copied().zip(ends).collect();
    Ok(Tasks::Days { ranges, next: AtomicUsize::new(0) })
}

/// Reads the codes of the tables of users for blocks of columns, and finds out which users are requested. Returns
/// whether the codes fit into the memory.
pub(super) fn read_sealed(execution: &mut Execution, users: Option<&[String]>, memory: usize) -> Result<bool> {
    let tables = Arc::clone(&execution.tables);
    let Some(columns) = tables.columns().filter(|_| !execution.sealed.blocks.is_empty()) else { return Ok(true) };
    let share = memory / execution.layout.dims.len().max(1);
    let requested = users.map(|ids| requested_users(columns, ids)).transpose()?;
    let few = requested.as_ref().filter(|users| users.len() <= LOOKED_UP_MAX);
    let mut codes = Vec::new();
    for dim in &execution.layout.dims {
        let (counters, interrupt) = (&execution.counters, &execution.interrupt);
        let context = CodesContext { threads: execution.plan.threads, counters, interrupt };
        let known = match few {
            _ if dim.ids.is_some() => None,
            Some(users) => codes_of(&*tables, columns, dim, users, share, context)?,
            None => current_codes(&*tables, columns, dim, share, context)?,
        };
        if known.is_none() && dim.ids.is_none() {
            return Ok(false);
        }
        codes.push(known);
    }
    let filter = match requested {
        Some(users) => Some(RunFilter::Ordinals(users.into_keys().collect())),
        None => codes.iter().enumerate().find_map(|(dim, codes)| execution.run_filter(dim, codes.as_ref()?)),
    };
    execution.sealed.codes = codes;
    execution.sealed.users = filter.map(Arc::new);
    Ok(true)
}

/// The ids of the requested users by their ordinals. A user without an ordinal has no events.
fn requested_users(columns: &dyn ColumnTable, ids: &[String]) -> Result<BTreeMap<u32, Vec<u8>>> {
    let ids: Vec<&[u8]> = ids.iter().map(String::as_bytes).collect();
    let found = columns.ordinals_of(&ids)?.into_iter().zip(ids);
    Ok(found.filter_map(|(ordinal, id)| Some((ordinal?, id.to_vec()))).collect())
}

/// Reads the build sides that the plan hashes as a whole. A table that turns out too large is looked up instead.
pub(super) fn build(execution: &mut Execution, memory: usize) -> Result<()> {
    let share = memory / execution.layout.dims.len().max(1);
    let mut builds = Vec::new();
    for (dim, table) in execution.layout.dims.iter().zip(&mut execution.plan.tables) {
        builds.push(None);
        if table.strategy != Strategy::Hash || table.partitioned {
            continue;
        }
        match read_rows(&*execution.tables, dim, share, &execution.counters, &execution.interrupt)? {
            Some(rows) => {
                if let Some(last) = builds.last_mut() {
                    *last = Some(BuildSide::hashed(rows));
                }
            }
            None => {
                table.strategy = Strategy::Lookup;
                table.reason.push_str("; larger than its share of the memory, looked up instead");
            }
        }
    }
    for (dim, build) in builds.iter_mut().enumerate() {
        build.iter_mut().try_for_each(|build| execution.derive_filter(dim, build))?;
    }
    execution.builds = builds.into_iter().map(|build| build.map(Arc::new)).collect();
    Ok(())
}
