//! A snapshot: a point-in-time view of a store, valid for as long as it is held.
//!
//! It owns its engine, so it has no lifetime parameter and can be sent to any thread. Operands cannot be folded across
//! a snapshot, so one that is held for long makes reads slow.

use std::sync::Arc;

use rocksdb::{ReadOptions, SnapshotWithThreadMode};
use self_cell::self_cell;

use super::engine::{Engine, Raw};
use crate::error::Result;

/// A point-in-time view of a store. Clones share it.
#[derive(Clone)]
pub(crate) struct EngineSnapshot(Arc<PinnedSnapshot>);

self_cell!(
    struct PinnedSnapshot {
        owner: Arc<Engine>,

        #[covariant]
        dependent: SnapshotReads,
    }
);

/// Fields drop in order: the options refer to the snapshot.
struct SnapshotReads<'e> {
    /// How many families had been dropped before. RocksDB's snapshots do not keep dropped families.
    drops: u64,
    reads: ReadOptions,
    snapshot: Option<SnapshotWithThreadMode<'e, Raw>>,
}

impl Engine {
    pub(crate) fn snapshot(self: &Arc<Self>) -> EngineSnapshot {
        EngineSnapshot(Arc::new(PinnedSnapshot::new(Arc::clone(self), |engine| {
            let drops = engine.drops();
            // RocksDB has no snapshots of a secondary. It needs none: its state never changes, because catching up
            // opens another one.
            let snapshot = (!engine.is_secondary()).then(|| engine.raw().snapshot());
            let mut reads = ReadOptions::default();
            if let Some(snapshot) = &snapshot {
                reads.set_snapshot(snapshot);
            }
            SnapshotReads { drops, reads, snapshot }
        })))
    }
}

impl EngineSnapshot {
    pub(crate) fn engine(&self) -> &Arc<Engine> {
        self.0.borrow_owner()
    }

    /// The sequence number of the last operation visible in the snapshot.
    pub(crate) fn sequence(&self) -> u64 {
        let snapshot = self.0.borrow_dependent().snapshot.as_ref();
        snapshot.map_or_else(|| self.engine().latest_sequence(), SnapshotWithThreadMode::sequence_number)
    }

    /// How many families had been dropped before.
    pub(crate) fn drops(&self) -> u64 {
        self.0.borrow_dependent().drops
    }

    /// Reads the value of a key in place, without a copy.
    pub(crate) fn read<R>(&self, family: &str, key: &[u8], with: impl FnOnce(Option<&[u8]>) -> R) -> Result<R> {
        let value = self.engine().read_at(&self.0.borrow_dependent().reads, family, key, with)?;
        self.still_has(family).map(|()| value)
    }

    /// Reads the values of many keys in place (`MultiGet`). `each` is called once per key, in the order of `keys`,
    /// with the position of the key.
    pub(crate) fn read_many<K: AsRef<[u8]>, R>(
        &self,
        family: &str,
        keys: &[K],
        each: impl FnMut(usize, Option<&[u8]>) -> R,
    ) -> Result<Vec<R>> {
        let values = self.engine().read_many_at(&self.0.borrow_dependent().reads, family, keys, each)?;
        self.still_has(family).map(|()| values)
    }

    /// Fails if a family was dropped since. Called after it was read: what was read before the drop is right.
    pub(super) fn still_has(&self, family: &str) -> Result<()> {
        self.engine().still_has(family, self.0.borrow_dependent().drops)
    }

    /// Makes reads with these options see the snapshot.
    pub(super) fn bind(&self, reads: &mut ReadOptions) {
        if let Some(snapshot) = &self.0.borrow_dependent().snapshot {
            reads.set_snapshot(snapshot);
        }
    }
}
