//! The merge operator of RocksDB (full and partial merge), behind an unwind boundary.
//!
//! RocksDB calls a merge operator from its own threads, through C. A panic that crosses that boundary aborts the
//! process, and a full merge that reports failure makes the database read-only permanently. So both callbacks are
//! total: a fold that panics yields a row that keeps all operands in quarantine, and a composition that panics leaves
//! the operands as they are. Catching needs unwinding; with `panic = "abort"` a panic still ends the process.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rocksdb::{MergeOperands, Options};

use crate::merge;

/// The name of the operator, which RocksDB records. It contains the version of the operators.
const NAME: &std::ffi::CStr = c"profiledb.profile.v1";

/// Folds a row, if there is one, and operands into a row.
type Fold = fn(Option<&[u8]>, &[&[u8]]) -> Vec<u8>;

/// The functions that the callbacks run. Each may panic.
#[derive(Clone, Copy)]
pub(super) struct MergeOperator {
    /// The full merge.
    pub(super) full: Fold,
    /// The partial merge: composes operands into one.
    pub(super) partial: fn(&[&[u8]]) -> Vec<u8>,
    /// The fallback when `full` panicked: keeps every operand in quarantine.
    pub(super) keep: Fold,
}

impl MergeOperator {
    /// The operator of every column family.
    pub(super) const PROFILE: Self = Self { full: merge::full, partial: merge::partial, keep: merge::quarantine_all };
}

/// Calls of the merge operator since the engine was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct MergeCounts {
    /// Folds of operands into a row: on reads, flushes and compactions.
    pub(crate) full: u64,
    /// Compositions of operands: on flushes and compactions.
    pub(crate) partial: u64,
    /// Operands passed to either of them.
    pub(crate) operands: u64,
    /// Panics caught. Each is a bug; none lost data.
    pub(crate) panics: u64,
}

#[derive(Debug, Default)]
pub(super) struct MergeCounters {
    full: AtomicU64,
    partial: AtomicU64,
    operands: AtomicU64,
    panics: AtomicU64,
}

impl MergeCounters {
    pub(super) fn read(&self) -> MergeCounts {
        MergeCounts {
            full: self.full.load(Relaxed),
            partial: self.partial.load(Relaxed),
            operands: self.operands.load(Relaxed),
            panics: self.panics.load(Relaxed),
        }
    }
}

/// Installs the operator in the options of a column family. Not as an associative operator: an operand is not a row.
pub(super) fn install(options: &mut Options, operator: MergeOperator, counters: &Arc<MergeCounters>) {
    let (for_full, for_partial) = (Arc::clone(counters), Arc::clone(counters));
    options.set_merge_operator(
        NAME,
        move |_: &[u8], base: Option<&[u8]>, operands: &MergeOperands| Some(full(operator, &for_full, base, operands)),
        move |_: &[u8], _: Option<&[u8]>, operands: &MergeOperands| partial(operator, &for_partial, operands),
    );
}

fn full(operator: MergeOperator, counters: &MergeCounters, base: Option<&[u8]>, operands: &MergeOperands) -> Vec<u8> {
    let operands: Vec<&[u8]> = operands.iter().collect();
    counters.full.fetch_add(1, Relaxed);
    counters.operands.fetch_add(operands.len() as u64, Relaxed);
    record(&operands);
    catch_panic(counters, || (operator.full)(base, &operands))
        .or_else(|| catch_panic(counters, || (operator.keep)(base, &operands)))
        // Both panicked: two bugs at once. The base is all that is still readable.
        .unwrap_or_else(|| base.unwrap_or_default().to_vec())
}

fn partial(operator: MergeOperator, counters: &MergeCounters, operands: &MergeOperands) -> Option<Vec<u8>> {
    let operands: Vec<&[u8]> = operands.iter().collect();
    counters.partial.fetch_add(1, Relaxed);
    counters.operands.fetch_add(operands.len() as u64, Relaxed);
    // None makes RocksDB keep the operands one by one, for a later full merge.
    catch_panic(counters, || (operator.partial)(&operands))
}

fn catch_panic<R>(counters: &MergeCounters, fold: impl FnOnce() -> R) -> Option<R> {
    // A fold only reads its arguments, so unwinding leaves nothing inconsistent.
    let folded = catch_unwind(AssertUnwindSafe(fold)).ok();
    if folded.is_none() {
        counters.panics.fetch_add(1, Relaxed);
    }
    folded
}

/// Operands that are not folded into a stored row yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PendingOperands {
    /// Their number.
    pub(crate) operands: u64,
    /// Their total size, in bytes.
    pub(crate) bytes: u64,
}

thread_local! {
    static PROBE: Cell<Option<PendingOperands>> = const { Cell::new(None) };
}

/// Observes the operands that reads on this thread fold. RocksDB folds a key on the thread that reads it, when it
/// reads it.
pub(crate) struct FoldProbe(());

impl FoldProbe {
    /// The operands folded on this thread since the last call. After one step of a scan, or one point read, these are
    /// the pending operands of that key.
    pub(crate) fn take(&mut self) -> PendingOperands {
        PROBE.replace(Some(PendingOperands::default())).unwrap_or_default()
    }
}

/// Runs `walk` with a probe on this thread. Probes do not nest: an inner probe hides its folds from the outer one.
pub(crate) fn probe_folds<R>(walk: impl FnOnce(&mut FoldProbe) -> R) -> R {
    struct Restore(Option<PendingOperands>);
    impl Drop for Restore {
        fn drop(&mut self) {
            PROBE.set(self.0);
        }
    }
    let _restore = Restore(PROBE.replace(Some(PendingOperands::default())));
    walk(&mut FoldProbe(()))
}

fn record(operands: &[&[u8]]) {
    if let Some(pending) = PROBE.get() {
        let bytes: u64 = operands.iter().map(|operand| operand.len() as u64).sum();
        PROBE.set(Some(PendingOperands {
            operands: pending.operands.saturating_add(operands.len() as u64),
            bytes: pending.bytes.saturating_add(bytes),
        }));
    }
}
