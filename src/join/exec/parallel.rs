//! Fork-join over workers: every thread of a join works on its own, and the results come back together. The calling
//! thread is one of them: it is running already, where others may have to wait for a core.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crossbeam::channel::bounded;
use parking_lot::Mutex;

use super::execution::Execution;
use super::thread_pool;
use super::worker::Worker;
use crate::error::{Error, ErrorKind, Result};

/// Gives every thread of a join a worker. The first failure stops all of them, and so does a panic.
pub(in crate::join) fn in_parallel<T: Send>(
    execution: &Arc<Execution>,
    work: impl Fn(Worker) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    if execution.plan.threads == 1 {
        return Ok(vec![guarded(execution, &work)?]);
    }
    let caught = || catch_panic(execution, &work);
    crossbeam::thread::scope(|scope| {
        let others: Vec<_> = (1..execution.plan.threads).map(|_| scope.spawn(|_| caught())).collect();
        let own = caught();
        let others = others.into_iter().map(|other| other.join().unwrap_or_else(|_| Err(panicked())));
        std::iter::once(own).chain(others).collect()
    })
    .unwrap_or_else(|_| Err(panicked()))
}

/// The same on threads that are kept from one join to the next, for work that borrows nothing. Those that have not
/// begun when there is nothing left to do are not waited for, and there is no result of them.
pub(in crate::join) fn on_pool<T: Send + 'static>(
    execution: &Arc<Execution>,
    work: impl Fn(Worker) -> Result<T> + Send + Sync + 'static,
) -> Result<Vec<T>> {
    let helpers = execution.plan.threads.saturating_sub(1);
    if helpers == 0 {
        return Ok(vec![guarded(execution, &work)?]);
    }
    let (sender, results) = bounded(helpers);
    // Withdrawn when the caller has nothing left to do, because a helper that begins later must hold nothing of the
    // store, which may be closed then.
    let shared = Arc::new((Arc::clone(execution), work));
    let offer = Arc::new(Mutex::new((Some(Arc::clone(&shared)), 0)));
    for _ in 0..helpers {
        let (offer, sender) = (Arc::clone(&offer), sender.clone());
        let is_started = thread_pool::start(Box::new(move || {
            let Some(shared) = accept(&offer) else { return };
            let (execution, work) = &*shared;
            let result = catch_panic(execution, work);
            drop(shared);
            // The caller waits for it.
            let _ = sender.send(result);
        }));
        if !is_started {
            break;
        }
    }
    drop(sender);
    let own = catch_panic(execution, &shared.1);
    let begun = {
        let mut offer = offer.lock();
        offer.0 = None;
        offer.1
    };
    let others = (0..begun).map(|_| results.recv().unwrap_or_else(|_| Err(panicked())));
    let all: Vec<Result<T>> = std::iter::once(own).chain(others).collect();
    all.into_iter().collect()
}

/// What helpers share, and how many have begun.
type Offer<S> = Mutex<(Option<Arc<S>>, usize)>;

/// Takes part, unless it is too late.
fn accept<S>(offer: &Offer<S>) -> Option<Arc<S>> {
    let mut offer = offer.lock();
    let shared = offer.0.clone()?;
    offer.1 += 1;
    Some(shared)
}

/// Does the work, and stops the other threads on every way out but the good one.
fn guarded<T>(execution: &Arc<Execution>, work: &impl Fn(Worker) -> Result<T>) -> Result<T> {
    struct StopOthers<'e>(Option<&'e Execution>);
    impl Drop for StopOthers<'_> {
        fn drop(&mut self) {
            if let Some(execution) = self.0 {
                execution.stop.store(true, Ordering::Relaxed);
            }
        }
    }
    let mut guard = StopOthers(Some(execution));
    let done = work(Worker::new(execution))?;
    guard.0 = None;
    Ok(done)
}

/// The same, where a panic is an error. Nothing is used after it: the work is over, and the others are told to stop.
fn catch_panic<T>(execution: &Arc<Execution>, work: &impl Fn(Worker) -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(|| guarded(execution, work))).unwrap_or_else(|_| Err(panicked()))
}

fn panicked() -> Error {
    Error::new(ErrorKind::Closed, "a worker of the join panicked")
}
