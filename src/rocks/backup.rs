//! Copies of a store that can be trusted.
//!
//! A backup directory holds any number of backups, which share files that did not change. It is marked like a store
//! is, but as a backup, so that neither is taken for the other, and a version that cannot fold the rows does not
//! restore them.

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
    /// Counts up from 1.
    pub(crate) id: u32,
    /// When it was made, in seconds since 1970.
    pub(crate) timestamp: i64,
    /// Its files together, in bytes. Files shared with other backups count in each.
    pub(crate) bytes: u64,
}

/// Copies the store as it is now. Writes go on meanwhile.
pub(crate) fn backup(engine: &Engine, to: &Path) -> Result<BackupInfo> {
    engine.writable()?;
    format::admit_backup(to, true)?;
    let mut backups = open(to)?;
    backups
        .create_new_backup_flush(engine.raw(), true)
        .map_err(|error| fault::engine(error, &format!("backup failed path={to:?}")))?;
    let made = list(&backups).pop();
    made.ok_or_else(|| Error::new(ErrorKind::Io, format!("backup left nothing behind path={to:?}")))
}

/// The backups in a directory, oldest first.
pub(crate) fn backups(from: &Path) -> Result<Vec<BackupInfo>> {
    format::admit_backup(from, false)?;
    Ok(list(&open(from)?))
}

/// Makes a store from a backup, by default the latest. The target must not exist, or be empty. It becomes a store
/// with the last step: a restore that was cut short leaves a directory that does not open.
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
