//! The engine room: the only room that names RocksDB.
//!
//! It speaks bytes and family names. It opens a store in one way for every mode, folds rows through
//! [`merge`](crate::merge) behind one fence, and hands out snapshots and scans that own their database. It knows
//! nothing of profiles, events or updates, and it may not decide what an operand means.
//!
//! ```text
//! format     which directories are stores, checked before RocksDB opens anything
//! options    every option of every family, for every mode, from one table
//! glue       the two functions that RocksDB calls, and the fence around them
//! engine     open, read, maintain, close
//! batch      the unit of commit
//! snapshot   a moment that stays        scan    a cursor that knows "ended" from "failed"
//! backup     copies that can be trusted  fault   what an error of RocksDB means to a caller
//! steady     reading files that another process writes
//! ```

mod backup;
mod batch;
mod engine;
mod fault;
mod format;
mod glue;
mod options;
mod scan;
mod snapshot;
mod steady;

#[cfg(test)]
mod tests;

pub(crate) use backup::{Backup, backup, backups, restore};
pub(crate) use batch::{Action, Batch, Operation};
pub(crate) use engine::{Engine, Mode, READ_KEYS_MAX};
pub(crate) use glue::{Pending, probe};
pub(crate) use options::EngineSettings;
pub(crate) use scan::{Extent, Scan};
pub(crate) use snapshot::Snapshot;
