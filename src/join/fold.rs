//! Rows folded where they are made: every thread has a state of its own, and nothing is handed over.
//!
//! Aggregations run on this as well.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::block::Block;
use super::rows::Row;
use super::work::{Engine, Worker};
use crate::error::{Error, ErrorKind, Result};

/// Shows every row to `each`, with the state of the thread that it was made on. One state per thread comes back.
pub(super) fn fold<T: Send>(
    engine: &Arc<Engine>,
    new: impl Fn() -> T + Sync,
    each: impl Fn(&mut T, &Row) -> Result<()> + Sync,
) -> Result<Vec<T>> {
    in_parallel(engine, |mut worker| {
        let mut state = new();
        let mut used = None;
        loop {
            let mut block = used.take().unwrap_or_else(|| Block::new(&engine.layout));
            if worker.next(&mut block)?.is_none() {
                return Ok(state);
            }
            let block = Row::show(Arc::new(block), &mut 0, |row| each(&mut state, row))?;
            // Unless a row of it was kept.
            used = Arc::into_inner(block);
        }
    })
}

/// Gives every thread of a join a worker. The first failure ends the work of all, and so does a panic.
pub(super) fn in_parallel<T: Send>(engine: &Arc<Engine>, work: impl Fn(Worker) -> Result<T> + Sync) -> Result<Vec<T>> {
    /// Ends the work of the others on every way out but the good one.
    struct StopsOthers<'e>(Option<&'e Engine>);
    impl Drop for StopsOthers<'_> {
        fn drop(&mut self) {
            if let Some(engine) = self.0 {
                engine.stop.store(true, Ordering::Relaxed);
            }
        }
    }
    let watched = || {
        let mut watch = StopsOthers(Some(engine));
        let done = work(Worker::new(engine))?;
        watch.0 = None;
        Ok(done)
    };
    if engine.plan.threads == 1 {
        return Ok(vec![watched()?]);
    }
    let panicked = || Error::new(ErrorKind::Closed, "a worker of the join panicked");
    crossbeam::thread::scope(|scope| {
        let workers: Vec<_> = (0..engine.plan.threads).map(|_| scope.spawn(|_| watched())).collect();
        workers.into_iter().map(|worker| worker.join().unwrap_or_else(|_| Err(panicked()))).collect()
    })
    .unwrap_or_else(|_| Err(panicked()))
}
