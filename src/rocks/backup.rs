//! Incremental backups with verified checksums (RocksDB's backup engine).
//!
//! A backup directory contains any number of backups, which share unchanged files. It has a format version file like a
//! store, but of another kind, so that neither is mistaken for the other, and a version that cannot fold the rows
//! refuses to restore them. A backup that is damaged is never skipped: the newest is restored, or none.
//!
//! A restore copies into a directory `RESTORING` inside of the target, verifies, and moves the files up. As long as
//! that directory exists, the target is no store; if it fails or the process dies, the next restore starts over.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use rocksdb::Env;
use rocksdb::backup::{BackupEngine, BackupEngineOptions, RestoreOptions};

use super::backup_files::{self, BackupFiles, BackupInfo};
use super::engine::Engine;
use super::format::DirectoryKind;
use super::synced::{SyncRecorder, SyncedRecord};
use super::{fault, format};
use crate::codec::SEGMENTS;
use crate::error::{Error, ErrorKind, Result};

/// Backs up the current state of the store. Concurrent writes are allowed.
pub(crate) fn backup(engine: &Engine, to: &Path) -> Result<BackupInfo> {
    engine.writable()?;
    separate("a backup lies inside of the store", to, engine.path())?;
    format::admit_backup(to, true)?;
    let _lock = lock(to)?;
    if engine.has_family(SEGMENTS) {
        format::raise(to, DirectoryKind::Backup, format::SEGMENTS_FORMAT)?;
    }
    let mut backups = open(to)?;
    backups
        .create_new_backup_flush(engine.raw(), true)
        .map_err(|error| fault::engine(error, &format!("backup failed path={to:?}")))?;
    let id = backups.get_backup_info().iter().map(|info| info.backup_id).max().unwrap_or_default();
    backup_files::seal(to, id)?;
    let made = backup_files::list(to)?.pop().filter(|made| made.info.id == id && made.info.damage.is_none());
    made.map(|made| made.info).ok_or_else(|| {
        Error::new(ErrorKind::Io, format!("the backup is damaged after it was created backup={id} path={to:?}"))
    })
}

/// The backups in a directory, oldest first, damaged ones included. Their files are looked up, but not read.
pub(crate) fn backups(from: &Path) -> Result<Vec<BackupInfo>> {
    format::admit_backup(from, false)?;
    Ok(backup_files::list(from)?.into_iter().map(|backup| backup.info).collect())
}

/// Reads every file of one backup, or of all, and verifies its checksum.
pub(crate) fn verify_backups(from: &Path, id: Option<u32>) -> Result<Vec<BackupInfo>> {
    format::admit_backup(from, false)?;
    let backups = backup_files::list(from)?;
    let chosen = match id {
        Some(id) => vec![choose(backups, Some(id), from)?],
        None => backups,
    };
    chosen.into_iter().map(|backup| backup.verify(from)).collect()
}

/// Restores a backup, by default the newest, into a target that must be missing or empty, or left by a restore that was
/// interrupted. If it fails, the target is as it was before.
pub(crate) fn restore(from: &Path, id: Option<u32>, to: &Path) -> Result<BackupInfo> {
    format::admit_backup(from, false)?;
    separate("the target of a restore lies inside of the backups", to, from)?;
    let sound = |backups: &[BackupFiles]| -> Vec<u32> {
        backups.iter().map(|backup| &backup.info).filter(|info| info.damage.is_none()).map(|info| info.id).collect()
    };
    let backups = backup_files::list(from)?;
    let others = sound(&backups);
    let chosen = choose(backups, id, from)?;
    // Without its seal a backup is only restored when it is named: there may have been a newer one.
    if let Some(damage) = chosen.info.damage.as_ref().filter(|_| id.is_none() || !chosen.is_unsealed) {
        let id = chosen.info.id;
        return Err(Error::corrupt(format!("{damage} backup={id} path={from:?} undamaged backups={others:?}")));
    }
    let is_new = !to.exists();
    clear_interrupted(to)?;
    if !format::vacant(to)? {
        return Err(Error::invalid(format!("the target of a restore must be empty path={to:?}")));
    }
    let restored = copy(from, chosen.info.id, to);
    if restored.is_err() {
        // The first error is reported. What stays behind is cleared by the next restore.
        let _ = clear_interrupted(to);
        let _ = if is_new { fs::remove_dir(to) } else { Ok(()) };
    }
    restored.map(|()| chosen.info)
}

/// The backup with an id, or the newest.
fn choose(backups: Vec<BackupFiles>, id: Option<u32>, from: &Path) -> Result<BackupFiles> {
    let ids: Vec<u32> = backups.iter().map(|backup| backup.info.id).collect();
    let chosen = backups.into_iter().rfind(|backup| id.is_none_or(|id| id == backup.info.id));
    chosen.ok_or_else(|| {
        let what = id.map_or_else(|| "no backup".to_owned(), |id| format!("no backup backup={id}"));
        Error::new(ErrorKind::NotFound, format!("{what} path={from:?} backups={ids:?}"))
    })
}

fn copy(from: &Path, id: u32, to: &Path) -> Result<()> {
    let partial = to.join(format::RESTORING);
    fs::create_dir_all(&partial).map_err(|error| format::refused("cannot create", &partial, error))?;
    open(from)?
        .restore_from_backup(&partial, &partial, &RestoreOptions::default(), id)
        .map_err(|error| fault::engine(error, &format!("restore failed backup={id} path={to:?}")))?;
    format::mark(&partial, DirectoryKind::Store)?;
    // From the beginning: a file that is cut before the first open for writing is noticed as well.
    SyncRecorder::open(&partial, SyncedRecord::Nothing)
        .map_err(|error| format::refused("cannot record what is synced", &partial, error))?;
    format::raise(&partial, DirectoryKind::Store, format::version(from)?.max(format::SYNCED_FORMAT))?;
    let move_up = || -> io::Result<()> {
        for entry in fs::read_dir(&partial)? {
            let entry = entry?;
            fs::rename(entry.path(), to.join(entry.file_name()))?;
        }
        format::sync_directory(to)
    };
    move_up().map_err(|error| format::refused("cannot move files into", to, error))?;
    let end = || fs::remove_dir(&partial).and_then(|()| format::sync_directory(to));
    end().map_err(|error| format::refused("cannot remove", &partial, error))
}

/// Removes what an interrupted restore left: the target was empty when it began.
fn clear_interrupted(to: &Path) -> Result<()> {
    if !to.join(format::RESTORING).exists() {
        return Ok(());
    }
    let clear = || -> io::Result<()> {
        for entry in fs::read_dir(to)? {
            let entry = entry?;
            // It is removed last, because it is what says that the rest may be.
            if entry.file_name() != format::RESTORING && entry.file_type()?.is_file() {
                fs::remove_file(entry.path())?;
            }
        }
        fs::remove_dir_all(to.join(format::RESTORING))
    };
    clear().map_err(|error| format::refused("cannot clear an interrupted restore", to, error))
}

/// One backup at a time is created in a directory. Unlocked when the file is dropped.
fn lock(dir: &Path) -> Result<File> {
    let path = dir.join("LOCK");
    let file = File::create(&path).map_err(|error| format::refused("cannot create", &path, error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(Error::new(ErrorKind::InUse, format!("another backup is being created path={dir:?}")))
        }
        Err(TryLockError::Error(error)) => Err(format::refused("cannot lock", &path, error)),
    }
}

/// Fails if the path, which need not exist, lies in the directory, however both are spelled.
fn separate(what: &str, path: &Path, dir: &Path) -> Result<()> {
    let io = |error| format::refused("cannot look at", dir, error);
    let dir = fs::canonicalize(dir).map_err(io)?;
    let absolute = std::path::absolute(path).map_err(io)?;
    // The nearest ancestor that exists decides.
    let found: Option<PathBuf> = absolute.ancestors().find_map(|ancestor| fs::canonicalize(ancestor).ok());
    if found.is_some_and(|found| found.starts_with(&dir)) {
        return Err(Error::invalid(format!("{what} path={path:?}")));
    }
    Ok(())
}

fn open(path: &Path) -> Result<BackupEngine> {
    let engine = || BackupEngine::open(&BackupEngineOptions::new(path)?, &Env::new()?);
    engine().map_err(|error| fault::engine(error, &format!("cannot open the backups path={path:?}")))
}
