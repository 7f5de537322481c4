//! Tasks (morsels): the pieces of work that workers take.

use std::sync::atomic::AtomicUsize;

use parking_lot::Mutex;

use super::partition::Partitioner;
use crate::join::scan::{EventScan, OwnEvents};
use crate::model::Kind;

/// Where tasks come from.
pub(in crate::join) enum Tasks {
    /// Ranges of days, of which each ends where the next one begins.
    Days { ranges: Vec<(Option<i32>, Option<i32>)>, next: AtomicUsize },
    /// Partitions of tables of users.
    Partitions(Mutex<Partitioner>),
    /// The profiles of a table, all in one task.
    Profiles(Mutex<Option<Kind>>),
    /// The caller's events, all in one task.
    OwnEvents(Mutex<Option<OwnEvents>>),
}

impl Tasks {
    /// Nothing to do.
    pub(in crate::join) fn none() -> Self {
        Self::Days { ranges: Vec::new(), next: AtomicUsize::new(0) }
    }
}

/// A task that a worker works on.
pub(super) struct OpenTask {
    pub(super) number: usize,
    pub(super) scan: Box<dyn EventScan>,
}
