//! How many events are rows, as far as this process knows, and who is told when they are many.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::sync::Unparker;

/// Counts the events that were committed since all rows were sealed. An event that is sent again counts each time.
#[derive(Default)]
pub(crate) struct UnsealedEvents {
    /// Since the store was opened.
    committed: AtomicU64,
    /// Those of `committed` that are sealed.
    sealed: AtomicU64,
    /// Rows of before, once they were counted.
    earlier: AtomicU64,
    /// Woken by the first event, and by the one with which there are this many.
    sealer: OnceLock<(Unparker, u64)>,
}

impl UnsealedEvents {
    /// Sets who is woken when there are this many.
    pub(crate) fn wake(&self, sealer: Unparker, events: u64) {
        // There is one sealer.
        let _ = self.sealer.set((sealer, events));
    }

    /// Wakes the sealer for another reason.
    pub(super) fn wake_now(&self) {
        self.sealer.get().into_iter().for_each(|(sealer, _)| sealer.unpark());
    }

    /// Counts events that were just committed.
    pub(super) fn add(&self, events: usize) {
        if events == 0 {
            return;
        }
        let before = self.committed.fetch_add(events as u64, Ordering::AcqRel);
        let Some((sealer, many)) = self.sealer.get() else { return };
        let before = before.saturating_sub(self.sealed.load(Ordering::Acquire));
        if before == 0 || (before < *many && before.saturating_add(events as u64) >= *many) {
            sealer.unpark();
        }
    }

    pub(crate) fn committed(&self) -> u64 {
        self.committed.load(Ordering::Acquire)
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        let since = self.committed().saturating_sub(self.sealed.load(Ordering::Acquire));
        since.saturating_add(self.earlier.load(Ordering::Acquire))
    }

    /// Adds rows of before the store was opened.
    pub(crate) fn add_earlier(&self, rows: u64) {
        self.earlier.store(rows, Ordering::Release);
    }

    /// All rows were sealed that there were when [`committed`](Self::committed) was this.
    pub(crate) fn sealed(&self, committed: u64) {
        self.sealed.fetch_max(committed, Ordering::AcqRel);
        self.earlier.store(0, Ordering::Release);
    }
}
