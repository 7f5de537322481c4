//! Runs a join into buckets: on every thread a hash table of its own, all of which are merged at the end.

use std::sync::Arc;

use super::aggregator::{Aggregation, Aggregator};
use super::column_query::ColumnQuery;
use super::columns::ColumnCounter;
use super::seen_users::SeenUsers;
use crate::error::Result;
use crate::join::answer::Answer;
use crate::join::budget::{Budget, Reservation};
use crate::join::exec::{Execution, Worker, on_pool};

/// How the blocks of an execution are aggregated, for people; none without blocks.
pub(in crate::join) fn explain(execution: &Execution, aggregation: &Arc<Aggregation>) -> Result<Option<String>> {
    Ok(Aggregator::new(execution, aggregation, &Budget::new(aggregation.memory_bytes))?.explain(execution))
}

/// Runs a join into buckets.
pub(in crate::join) fn aggregate(execution: &Arc<Execution>, aggregation: &Arc<Aggregation>) -> Result<Answer> {
    let budget = Budget::new(aggregation.memory_bytes);
    let query = Aggregator::new(execution, aggregation, &budget)?.column_query(execution)?.map(Arc::new);
    let mut shared = budget.reservation();
    shared.resize(query.as_deref().map_or(0, ColumnQuery::memory))?;
    let mut parts = {
        let (execution, aggregation) = (Arc::clone(execution), Arc::clone(aggregation));
        let (budget, query) = (Arc::clone(&budget), query.clone());
        on_pool(&Arc::clone(&execution), move |worker| {
            aggregate_tasks(worker, &execution, query.as_deref(), Aggregator::new(&execution, &aggregation, &budget)?)
        })?
    };
    let (mut all, mut seen, _reservation) = match parts.pop() {
        Some(last) => last,
        None => (Aggregator::new(execution, aggregation, &budget)?, SeenUsers::default(), budget.reservation()),
    };
    for (part, users, _reservation) in parts {
        execution.interrupt.check()?;
        all.merge(&part)?;
        seen.merge(&users);
    }
    if let Some(query) = &query {
        let one_by_one = all.has_users();
        seen.count(query, one_by_one, &mut query.table(&mut all))?;
    }
    // Without a field to group by there is one bucket, even without an event.
    if aggregation.by.is_empty() && all.keys.len() == 0 {
        all.bucket(&[])?;
    }
    all.answer()
}

/// Aggregates what one thread takes: its buckets, and what was counted by columns, with its memory.
fn aggregate_tasks(
    mut worker: Worker,
    execution: &Execution,
    query: Option<&ColumnQuery>,
    mut aggregator: Aggregator,
) -> Result<(Aggregator, SeenUsers, Reservation)> {
    let mut seen = SeenUsers::default();
    // Of what is counted by columns, until all threads are merged.
    let mut reservation = aggregator.budget.reservation();
    if let Some(query) = query {
        aggregator.users_by_ordinal = query.uniques;
        aggregator.users_by_bucket = query.cell_uniques;
        reservation.resize(query.counter_memory())?;
        let mut counter = ColumnCounter::new(query, execution);
        while let Some((number, block)) = execution.next_block()? {
            let is_counted = counter.add(block, &mut query.table(&mut aggregator))?;
            reservation.resize(counter.memory())?;
            if !is_counted {
                worker.begin_block(number, block)?;
                worker.finish_block(|block| aggregator.add(&block).map(|()| block))?;
            }
        }
        while counter.counts_rows()
            && let Some((number, rows)) = execution.next_rows()
        {
            if !counter.add_rows(&rows)? {
                worker.begin_rows(number, rows);
                worker.finish_block(|block| aggregator.add(&block).map(|()| block))?;
            }
        }
        reservation.resize(counter.memory())?;
        counter.finish(&mut query.table(&mut aggregator))?;
        seen = counter.seen;
    }
    worker.run(|block, task| {
        aggregator.add(&block)?;
        if task.has_ended {
            aggregator.end_task();
        }
        Ok(Some(block))
    })?;
    Ok((aggregator, seen, reservation))
}
