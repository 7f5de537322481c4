//! Incremental backups with verified checksums (RocksDB's backup engine).
//!
//! A backup directory contains any number of backups, which share unchanged files. It has a format version file like a
//! store, but of another kind, so that neither is mistaken for the other, and a version that cannot fold the rows
//! refuses to restore them.

use std::fs;
use std::path::Path;

use rocksdb::Env;
use rocksdb::backup::{BackupEngine, BackupEngineOptions, RestoreOptions};

use super::engine::Engine;
use super::{fault, format};
use crate::error::{Error, ErrorKind, Result};

/// One backup in a directory of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BackupInfo {
    /// Sequential, from 1.
    pub(crate) id: u32,
    /// Time of creation, in seconds since the Unix epoch.
    pub(crate) timestamp: i64,
    /// Total size of its files, in bytes. A file shared by several backups counts in each.
    pub(crate) bytes: u64,
}

/// Backs up the current state of the store. Concurrent writes are allowed.
pub(crate) fn backup(engine: &Engine, to: &Path) -> Result<BackupInfo> {
    engine.writable()?;
    format::admit_backup(to, true)?;
    let mut backups = open(to)?;
    backups
        .create_new_backup_flush(engine.raw(), true)
        .map_err(|error| fault::engine(error, &format!("backup failed path={to:?}")))?;
    let made = list(&backups).pop();
    made.ok_or_else(|| Error::new(ErrorKind::Io, format!("the backup is missing after it was created path={to:?}")))
}

/// The backups in a directory, oldest first.
pub(crate) fn backups(from: &Path) -> Result<Vec<BackupInfo>> {
    format::admit_backup(from, false)?;
    Ok(list(&open(from)?))
}

/// Restores a backup, by default the latest, into a target that must be missing or empty. The last step marks it as a
/// store, so an interrupted restore leaves a directory that does not open.
pub(crate) fn restore(from: &Path, id: Option<u32>, to: &Path) -> Result<BackupInfo> {
    format::admit_backup(from, false)?;
    if !format::vacant(to)? {
        return Err(Error::invalid(format!("the target of a restore must be empty path={to:?}")));
    }
    let mut backups = open(from)?;
    let mut found = list(&backups);
    let chosen = match id {
        None => found.pop(),
        Some(id) => found.into_iter().find(|backup| backup.id == id),
    };
    let chosen = chosen.ok_or_else(|| Error::new(ErrorKind::NotFound, format!("no such backup path={from:?}")))?;
    let damaged = |error| fault::engine(error, &format!("restore failed backup={} path={to:?}", chosen.id));
    backups.verify_backup(chosen.id).map_err(damaged)?;
    fs::create_dir_all(to)?;
    backups.restore_from_backup(to, to, &RestoreOptions::default(), chosen.id).map_err(damaged)?;
    format::mark(to, format::DirectoryKind::Store)?;
    Ok(chosen)
}

fn open(path: &Path) -> Result<BackupEngine> {
    let engine = || BackupEngine::open(&BackupEngineOptions::new(path)?, &Env::new()?);
    engine().map_err(|error| fault::engine(error, &format!("cannot open the backups path={path:?}")))
}

fn list(backups: &BackupEngine) -> Vec<BackupInfo> {
    let found = backups.get_backup_info().into_iter();
    let mut found: Vec<BackupInfo> =
        found.map(|info| BackupInfo { id: info.backup_id, timestamp: info.timestamp, bytes: info.size }).collect();
    found.sort_unstable_by_key(|backup| backup.id);
    found
}
