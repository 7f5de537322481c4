//! Keeps what joins have in memory up to date while they are asked one after the other: the rows that are not sealed,
//! and the codes of users. A join then finds little to read again, however much is written.
//!
//! One thread per open store. It sleeps until a join of sealed events has run, and then looks every other millisecond
//! whether something was committed, until none has run for a while.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam::sync::Parker;

use super::Snapshot;
use super::background::BackgroundThread;
use super::join::SnapshotTables;
use crate::error::Result;
use crate::join::{CancelToken, EventTable, refresh_codes};
use crate::log::load_ordinals;
use crate::store::Store;

/// The interval at which it looks.
const PAUSE: Duration = Duration::from_millis(2);

/// How long after the last join it goes on, and codes that no join has used are left alone.
const IDLE: Duration = Duration::from_secs(5);

/// Starts the thread.
pub(super) fn start(store: &Arc<Store>) -> Result<BackgroundThread> {
    let parker = Parker::new();
    store.shared.joins.wake(parker.unparker().clone());
    let store = Arc::clone(store);
    BackgroundThread::start("profiledb-refresh", parker, |parker, closing| {
        RefresherThread { store, closing, parker }.run();
    })
}

struct RefresherThread {
    /// The thread is joined before the store closes, so that this is never the last reference.
    store: Arc<Store>,
    closing: CancelToken,
    parker: Parker,
}

impl RefresherThread {
    fn run(&self) {
        let joins = &self.store.shared.joins;
        // None has run yet: without joins there are no snapshots of this thread, which keep operands from being folded.
        let (mut count, mut last_join) = (joins.count(), None::<Instant>);
        // Codes count as used if they were after this moment, when there had been this many uses.
        let (mut uses, mut used_since) = (0, now());
        let mut sequence = 0;
        while !self.closing.is_cancelled() {
            if joins.count() != count {
                (count, last_join) = (joins.count(), Some(now()));
            } else if last_join.is_none_or(|last| last.elapsed() > IDLE) {
                if joins.sleeps_after(count) {
                    self.parker.park();
                }
                continue;
            }
            let latest = self.store.shared.engine().latest_sequence();
            if latest != sequence {
                sequence = latest;
                let used = self.refresh(uses);
                if used_since.elapsed() > IDLE {
                    (uses, used_since) = (used, now());
                }
            }
            self.parker.park_timeout(PAUSE);
        }
    }

    /// Brings the rows up to date, and the codes that were used since this many uses. Returns how many uses there were.
    fn refresh(&self, used_after: u64) -> u64 {
        let shared = &self.store.shared;
        let (used, uses) = shared.ordinal_cache.used_since(used_after);
        let snapshot = Snapshot { engine: shared.engine().snapshot(), shared: Arc::clone(shared) };
        let tables = SnapshotTables::new(&snapshot);
        let Some(columns) = tables.columns() else { return uses };
        // What fails here, or below, fails the next join as well, which reports it.
        if matches!(columns.tail(), Ok(Some(_))) {
            let _ = used.iter().try_for_each(|names| refresh_codes(&tables, names, &self.closing));
            // Without it, each id is looked up in the table. `check` reports an ordinal that cannot be read.
            let _ = load_ordinals(&snapshot.engine, &shared.ordinal_index, || self.closing.is_cancelled());
        }
        uses
    }
}

#[expect(clippy::disallowed_methods, reason = "how long background work goes on; no value depends on it")]
fn now() -> Instant {
    Instant::now()
}
