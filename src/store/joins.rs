//! How many joins of sealed events there were, and who is told of one.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crossbeam::sync::Unparker;

/// Counts joins of sealed events.
#[derive(Default)]
pub(crate) struct SealedJoins {
    count: AtomicU64,
    refresher: OnceLock<Unparker>,
    /// Whether the refresher waits to be woken.
    is_asleep: AtomicBool,
}

impl SealedJoins {
    /// Sets who is woken by one after it slept.
    pub(crate) fn wake(&self, refresher: Unparker) {
        // There is one refresher.
        let _ = self.refresher.set(refresher);
    }

    /// There is another one.
    pub(crate) fn note(&self) {
        self.count.fetch_add(1, Ordering::AcqRel);
        if self.is_asleep.swap(false, Ordering::AcqRel) {
            self.refresher.get().into_iter().for_each(Unparker::unpark);
        }
    }

    /// The refresher is about to wait for the next one. False if there is one after that many already.
    pub(crate) fn sleeps_after(&self, count: u64) -> bool {
        self.is_asleep.store(true, Ordering::Release);
        self.count() == count
    }

    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }
}
