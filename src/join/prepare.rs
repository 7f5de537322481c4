//! From a plan to its execution: the range is cut into tasks (morsels), and build sides that fit into memory are read.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use parking_lot::Mutex;

use super::estimate::Days;
use super::layout::Layout;
use super::plan::{HINTED, Plan, Strategy};
use super::query::MEMORY_MAX;
use super::resolve::{Build, read_rows};
use super::source::Tables;
use super::work::{Engine, Scope, Splitter, Units};
use crate::codec;
use crate::error::Result;

/// Tasks of days per thread, so that threads finish at about the same time.
const TASKS_PER_THREAD: usize = 8;

/// Cuts the range into tasks: partitions of the tables of users where the plan has them, else days.
pub(super) fn tasks(tables: &dyn Tables, layout: &Layout, plan: &Plan, scope: &Scope, days: Days) -> Result<Units> {
    let partitioned: Vec<usize> =
        plan.tables.iter().enumerate().filter(|(_, table)| table.partitioned).map(|(dim, _)| dim).collect();
    if !partitioned.is_empty() {
        return Ok(Units::Parts(Mutex::new(Splitter::new(tables, layout, &partitioned)?)));
    }
    let mut starts = Vec::new();
    if let Some((first, last)) = days {
        let count = i64::from(last).abs_diff(i64::from(first)) + 1;
        let tasks = if plan.threads == 1 { 1 } else { (plan.threads * TASKS_PER_THREAD) as u64 };
        let step = count.div_ceil(tasks).max(1);
        starts.push(scope.first_key());
        let days =
            (1..count.div_ceil(step)).filter_map(|task| i32::try_from(i64::from(first) + (task * step) as i64).ok());
        starts.extend(days.map(|day| codec::day_prefix(day).to_vec()));
    }
    Ok(Units::Days { starts, next: AtomicUsize::new(0) })
}

/// Reads the build sides that the plan hashes as a whole. A table that turns out too large is looked up instead.
pub(super) fn build(engine: &mut Engine, memory: usize) -> Result<()> {
    let share = memory / engine.layout.dims.len().max(1);
    let mut builds = Vec::new();
    for (dim, table) in engine.layout.dims.iter().zip(&mut engine.plan.tables) {
        builds.push(None);
        if table.strategy != Strategy::Hash || table.partitioned {
            continue;
        }
        let memory = if table.reason == HINTED { MEMORY_MAX } else { share };
        match read_rows(&*engine.tables, dim, (&[], None), memory, &engine.counters)? {
            Some(rows) => {
                if let Some(last) = builds.last_mut() {
                    *last = Some(Build::hashed(&rows)?);
                }
            }
            None => {
                table.strategy = Strategy::Lookup;
                table.reason.push_str("; larger than estimated, looked up instead");
            }
        }
    }
    for (dim, build) in builds.iter_mut().enumerate() {
        build.iter_mut().for_each(|build| engine.narrow(dim, build));
    }
    engine.builds = builds.into_iter().map(|build| build.map(Arc::new)).collect();
    Ok(())
}
