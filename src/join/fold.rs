//! Parallel fold: every thread has a state of its own, and no row is handed over.

use std::sync::Arc;

use super::exec::{Execution, in_parallel};
use super::rows::Row;
use crate::error::Result;

/// Shows every row to `each`, with the state of the thread that made it. Returns one state per thread.
pub(super) fn fold<T: Send>(
    execution: &Arc<Execution>,
    new: impl Fn() -> T + Sync,
    each: impl Fn(&mut T, &Row) -> Result<()> + Sync,
) -> Result<Vec<T>> {
    in_parallel(execution, |mut worker| {
        let mut state = new();
        worker.run(|block, _| {
            let block = Row::show(Arc::new(block), &mut 0, |row| each(&mut state, row))?;
            // It is filled again unless a row of it was kept.
            Ok(Arc::into_inner(block))
        })?;
        Ok(state)
    })
}
