//! The two functions that RocksDB calls, and the fence around them.
//!
//! RocksDB calls a merge operator from its own threads, through C. A panic there ends the process, and a full merge
//! that says "failed" turns the database read-only for good. So nothing gets out of this module but bytes: a fold
//! that panics becomes a row that keeps everything, and a failed composition leaves the operands as they are.
//! The fence needs unwinding; a program built with `panic = "abort"` has none.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rocksdb::{MergeOperands, Options};

use crate::merge;

/// The name under which RocksDB records the operator. It carries the version of the operators.
const NAME: &std::ffi::CStr = c"profiledb.profile.v1";

/// From a row, or none, and operands to a row.
type Fold = fn(Option<&[u8]>, &[&[u8]]) -> Vec<u8>;

/// The functions behind the fence.
#[derive(Clone, Copy)]
pub(super) struct Operator {
    /// Folds a row, or none, and operands into a row.
    pub(super) full: Fold,
    /// Composes operands into one.
    pub(super) partial: fn(&[&[u8]]) -> Vec<u8>,
    /// Keeps everything when `full` panicked.
    pub(super) keep: Fold,
}

impl Operator {
    /// The operator of every family.
    pub(super) const PROFILE: Self = Self { full: merge::full, partial: merge::partial, keep: merge::quarantine_all };
}

/// How often RocksDB merged, since the engine was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct MergeCounts {
    /// Folds of operands into a row: on reads, flushes and compactions.
    pub(crate) full: u64,
    /// Compositions of operands: on flushes and compactions.
    pub(crate) partial: u64,
    /// Operands that either of them was given.
    pub(crate) operands: u64,
    /// Panics that the fence caught. Each is a bug; none lost data.
    pub(crate) panics: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    full: AtomicU64,
    partial: AtomicU64,
    operands: AtomicU64,
    panics: AtomicU64,
}

impl Counters {
    pub(super) fn read(&self) -> MergeCounts {
        MergeCounts {
            full: self.full.load(Relaxed),
            partial: self.partial.load(Relaxed),
            operands: self.operands.load(Relaxed),
            panics: self.panics.load(Relaxed),
        }
    }
}

/// Gives a family its operator. Two functions, never the associative short form, because an operand is not a row.
pub(super) fn install(options: &mut Options, operator: Operator, counters: &Arc<Counters>) {
    let (for_full, for_partial) = (Arc::clone(counters), Arc::clone(counters));
    options.set_merge_operator(
        NAME,
        move |_: &[u8], base: Option<&[u8]>, operands: &MergeOperands| Some(full(operator, &for_full, base, operands)),
        move |_: &[u8], _: Option<&[u8]>, operands: &MergeOperands| partial(operator, &for_partial, operands),
    );
}

fn full(operator: Operator, counters: &Counters, base: Option<&[u8]>, operands: &MergeOperands) -> Vec<u8> {
    let operands: Vec<&[u8]> = operands.iter().collect();
    counters.full.fetch_add(1, Relaxed);
    counters.operands.fetch_add(operands.len() as u64, Relaxed);
    record(&operands);
    fence(counters, || (operator.full)(base, &operands))
        .or_else(|| fence(counters, || (operator.keep)(base, &operands)))
        // Two bugs in a row. The base is what a reader can still use.
        .unwrap_or_else(|| base.unwrap_or_default().to_vec())
}

fn partial(operator: Operator, counters: &Counters, operands: &MergeOperands) -> Option<Vec<u8>> {
    let operands: Vec<&[u8]> = operands.iter().collect();
    counters.partial.fetch_add(1, Relaxed);
    counters.operands.fetch_add(operands.len() as u64, Relaxed);
    // "No" makes RocksDB keep the operands one by one, for a full merge to judge.
    fence(counters, || (operator.partial)(&operands))
}

fn fence<R>(counters: &Counters, fold: impl FnOnce() -> R) -> Option<R> {
    // A fold only reads its arguments, so a half-done one leaves nothing broken behind.
    let folded = catch_unwind(AssertUnwindSafe(fold)).ok();
    if folded.is_none() {
        counters.panics.fetch_add(1, Relaxed);
    }
    folded
}

/// Operands that were not folded into a stored row yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pending {
    /// How many.
    pub(crate) operands: u64,
    /// Their size together, in bytes.
    pub(crate) bytes: u64,
}

thread_local! {
    static PROBE: Cell<Option<Pending>> = const { Cell::new(None) };
}

/// Sees what reads on this thread had to fold. RocksDB folds a key on the thread that reads it, when it reads it.
pub(crate) struct Probe(());

impl Probe {
    /// What was folded on this thread since the last call. After one step of a scan, or one read of one key, that
    /// is what was pending for that key.
    pub(crate) fn take(&mut self) -> Pending {
        PROBE.replace(Some(Pending::default())).unwrap_or_default()
    }
}

/// Runs `walk` with a probe on this thread. Probes do not nest: an inner one takes from the outer.
pub(crate) fn probe<R>(walk: impl FnOnce(&mut Probe) -> R) -> R {
    struct Restore(Option<Pending>);
    impl Drop for Restore {
        fn drop(&mut self) {
            PROBE.set(self.0);
        }
    }
    let _restore = Restore(PROBE.replace(Some(Pending::default())));
    walk(&mut Probe(()))
}

fn record(operands: &[&[u8]]) {
    if let Some(pending) = PROBE.get() {
        let bytes: u64 = operands.iter().map(|operand| operand.len() as u64).sum();
        PROBE.set(Some(Pending {
            operands: pending.operands.saturating_add(operands.len() as u64),
            bytes: pending.bytes.saturating_add(bytes),
        }));
    }
}
