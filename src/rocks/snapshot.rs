//! A snapshot: one moment of a store, for as long as it is held.
//!
//! It owns its engine, so it has no lifetime and may go to any thread. Chains of operands cannot be folded across it,
//! so a snapshot that is held for long makes reads slow.

use std::sync::Arc;

use rocksdb::{ReadOptions, SnapshotWithThreadMode};
use self_cell::self_cell;

use super::engine::{Engine, Raw};
use crate::error::Result;

/// A moment of a store. Clones share it.
#[derive(Clone)]
pub(crate) struct Snapshot(Arc<Held>);

self_cell!(
    struct Held {
        owner: Arc<Engine>,

        #[covariant]
        dependent: Moment,
    }
);

/// Fields drop in order: the options name the snapshot.
struct Moment<'e> {
    reads: ReadOptions,
    snapshot: Option<SnapshotWithThreadMode<'e, Raw>>,
}

impl Engine {
    pub(crate) fn snapshot(self: &Arc<Self>) -> Snapshot {
        Snapshot(Arc::new(Held::new(Arc::clone(self), |engine| {
            // A secondary refuses snapshots. It stands still by itself: to catch up is to open another one.
            let snapshot = (!engine.is_secondary()).then(|| engine.raw().snapshot());
            let mut reads = ReadOptions::default();
            if let Some(snapshot) = &snapshot {
                reads.set_snapshot(snapshot);
            }
            Moment { reads, snapshot }
        })))
    }
}

impl Snapshot {
    pub(crate) fn engine(&self) -> &Arc<Engine> {
        self.0.borrow_owner()
    }

    /// The number of the last operation that the snapshot sees.
    pub(crate) fn sequence(&self) -> u64 {
        let snapshot = self.0.borrow_dependent().snapshot.as_ref();
        snapshot.map_or_else(|| self.engine().latest_sequence(), SnapshotWithThreadMode::sequence_number)
    }

    /// Reads the value of a key where it lies, without a copy.
    pub(crate) fn read<R>(&self, family: &str, key: &[u8], with: impl FnOnce(Option<&[u8]>) -> R) -> Result<R> {
        self.engine().read_at(&self.0.borrow_dependent().reads, family, key, with)
    }

    /// Reads the values of many keys, where they lie. `each` is called once per key, in the order of `keys`, with
    /// the position of the key.
    pub(crate) fn read_many<K: AsRef<[u8]>, R>(
        &self,
        family: &str,
        keys: &[K],
        each: impl FnMut(usize, Option<&[u8]>) -> R,
    ) -> Result<Vec<R>> {
        self.engine().read_many_at(&self.0.borrow_dependent().reads, family, keys, each)
    }

    /// Makes a cursor read at this moment.
    pub(super) fn bind(&self, reads: &mut ReadOptions) {
        if let Some(snapshot) = &self.0.borrow_dependent().snapshot {
            reads.set_snapshot(snapshot);
        }
    }
}
