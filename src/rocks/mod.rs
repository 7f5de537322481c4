//! The storage engine: the only room that names RocksDB.
//!
//! It speaks bytes and names of column families. It opens a store in one way for every mode, folds rows through
//! [`merge`](crate::merge) behind an unwind boundary, and hands out snapshots and cursors that own their database. It
//! does not know profiles, events or updates, and never interprets an operand.
//!
//! ```text
//! format           which directories are stores, checked before RocksDB opens anything
//! lock             one writer per directory, by the inode of its format file
//! verify           damage is told from a torn tail before RocksDB reads anything
//! framing          the records of WAL and MANIFEST         manifest   which files a store consists of
//! logged_batch     the write batches in WAL records
//! file_names       which MANIFEST is current, and which WAL files there are
//! synced           how far both were synced, kept in PROFILEDB.synced
//! options          every option of every column family, for every mode, from one table
//! merge_operator   the two callbacks of RocksDB, and the unwind boundary around them
//! engine           open, read, maintain, close
//! batch            the write batch: the unit of commit
//! salvage          a scan that goes on after damage
//! snapshot         a point-in-time view          scan    a cursor that tells its end from a failure
//! backup           verified copies               fault   what an error of RocksDB means to a caller
//! backup_files     which backups there are, and whether each is whole
//! repair           the longest prefix of a damaged store that is whole
//! consistent_open  retries an open until the MANIFEST was stable while it was read
//! ```

mod backup;
mod backup_files;
mod batch;
mod consistent_open;
mod engine;
mod fault;
mod file_names;
mod format;
mod framing;
mod lock;
mod logged_batch;
mod manifest;
mod merge_operator;
mod options;
mod repair;
mod salvage;
mod scan;
mod snapshot;
mod synced;
mod verify;

#[cfg(test)]
mod tests;

pub(crate) use backup::{backup, backups, restore, verify_backups};
pub(crate) use backup_files::BackupInfo;
pub(crate) use batch::WriteBatch;
pub(crate) use engine::{Engine, Mode, READ_KEYS_MAX};
pub(crate) use merge_operator::{PendingOperands, probe_folds};
pub(crate) use options::EngineSettings;
pub(crate) use repair::{LostKeys, RepairOutcome, RepairedFamily, RepairedFile, plan_repair, repair};
pub(crate) use salvage::{DamagedKeys, SalvagedRow};
pub(crate) use scan::{EngineScan, ReadHint};
pub(crate) use snapshot::EngineSnapshot;
