//! Fork-join over workers: every thread of a join works on its own, and the results come back together. The calling
//! thread is one of them: it is running already, where others may have to wait for a core.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::execution::Execution;
use super::worker::Worker;
use crate::error::{Error, ErrorKind, Result};

/// Gives every thread of a join a worker. The first failure stops all of them, and so does a panic.
pub(in crate::join) fn in_parallel<T: Send>(
    execution: &Arc<Execution>,
    work: impl Fn(Worker) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    /// Stops the other threads on every way out but the good one.
    struct StopOthers<'e>(Option<&'e Execution>);
    impl Drop for StopOthers<'_> {
        fn drop(&mut self) {
            if let Some(execution) = self.0 {
                execution.stop.store(true, Ordering::Relaxed);
            }
        }
    }
    let guarded = || {
        let mut guard = StopOthers(Some(execution));
        let done = work(Worker::new(execution))?;
        guard.0 = None;
        Ok(done)
    };
    if execution.plan.threads == 1 {
        return Ok(vec![guarded()?]);
    }
    let panicked = || Error::new(ErrorKind::Closed, "a worker of the join panicked");
    crossbeam::thread::scope(|scope| {
        let others: Vec<_> = (1..execution.plan.threads).map(|_| scope.spawn(|_| guarded())).collect();
        // Its state is not used after a panic: `work` is over, and the others are told to stop.
        let own = catch_unwind(AssertUnwindSafe(guarded));
        let others = others.into_iter().map(|other| other.join());
        std::iter::once(own).chain(others).map(|done| done.unwrap_or_else(|_| Err(panicked()))).collect()
    })
    .unwrap_or_else(|_| Err(panicked()))
}
