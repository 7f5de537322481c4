//! Whose turn it is to change column segments, and failures of such changes for tests.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};

#[cfg(any(test, feature = "laws"))]
use crate::error::{Error, ErrorKind, Result};

/// Turns of those who change column segments or erase events.
#[derive(Default)]
pub(super) struct SegmentTurns {
    /// How many turns there were.
    count: Mutex<u64>,
    /// How many calls are running, or waiting for their turn, that background work gives way to.
    foreground: AtomicU64,
}

impl SegmentTurns {
    /// Waits for a turn.
    pub(super) fn take(&self) -> MutexGuard<'_, u64> {
        let mut turn = self.count.lock();
        *turn += 1;
        turn
    }

    /// A turn, unless another one lasts.
    pub(super) fn try_take(&self) -> Option<MutexGuard<'_, u64>> {
        let mut turn = self.count.try_lock()?;
        *turn += 1;
        Some(turn)
    }

    pub(super) fn foreground(&self) -> Foreground<'_> {
        self.foreground.fetch_add(1, Ordering::AcqRel);
        Foreground(&self.foreground)
    }

    pub(super) fn has_foreground(&self) -> bool {
        self.foreground.load(Ordering::Acquire) > 0
    }
}

/// As long as it is there, background work gives way.
pub(crate) struct Foreground<'s>(&'s AtomicU64);

impl Drop for Foreground<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Makes commits of changes of segments fail, for tests: what is left is what a crash at that point leaves.
#[cfg(any(test, feature = "laws"))]
#[derive(Default)]
pub(crate) struct CommitFaults {
    /// How many succeed before one fails, plus one; 0 when none fails.
    left: AtomicU64,
    failed: AtomicU64,
}

#[cfg(any(test, feature = "laws"))]
impl CommitFaults {
    /// Makes the commit after this many others fail, and those after it.
    pub(crate) fn fail_after(&self, commits: Option<u64>) {
        self.left.store(commits.map_or(0, |commits| commits.saturating_add(1)), Ordering::Release);
    }

    /// How many commits failed.
    pub(crate) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Acquire)
    }

    pub(super) fn before_commit(&self) -> Result<()> {
        let next = |left: u64| (left > 1).then(|| left - 1);
        match self.left.fetch_update(Ordering::AcqRel, Ordering::Acquire, next) {
            Err(1) => {
                self.failed.fetch_add(1, Ordering::AcqRel);
                Err(Error::new(ErrorKind::Io, "a commit that a test made fail"))
            }
            Ok(_) | Err(_) => Ok(()),
        }
    }
}
