//! The replacement of the files of a store by repaired ones: renames that are repeated until they are complete, under a
//! marker that keeps the directory from being opened (a redo log of one entry).
//!
//! ```text
//! REPAIR.tmp/     being made: the store is as it was
//! REPAIRING/      new/ is complete; the files of the store go to originals/
//! REPAIRED/       originals/ is complete; the files of new/ go to the store
//! damaged-N/      the originals
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::rocks::format::{self, DirectoryKind};

const MAKING: &str = "REPAIR.tmp";
const NEW: &str = "new";
const ORIGINALS: &str = "originals";

/// Whether a repair was interrupted while it replaced files.
pub(super) fn is_interrupted(store: &Path) -> bool {
    store.join(format::REPAIRING).exists() || store.join(format::REPAIRED).exists()
}

/// An empty directory for what is being made. What was left of another repair is removed.
pub(super) fn working_directory(store: &Path) -> Result<PathBuf> {
    let path = store.join(MAKING);
    clear(&path)?;
    fs::create_dir(&path).map_err(|error| format::refused("cannot create", &path, error))?;
    Ok(path)
}

/// Removes what was made.
pub(super) fn clear(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(format::refused("cannot remove", path, error)),
        _ => Ok(()),
    }
}

/// Replaces the files of a store by a new store that was made in its working directory, and says where they are.
pub(super) fn replace(store: &Path, new: &Path) -> Result<PathBuf> {
    let begin = || {
        let working = store.join(MAKING);
        fs::rename(new, working.join(NEW))?;
        format::sync_directory(&working.join(NEW))?;
        format::sync_directory(&working)?;
        fs::rename(working, store.join(format::REPAIRING))?;
        format::sync_directory(store)
    };
    begin().map_err(|error| format::refused("cannot begin to replace files", store, error))?;
    resume(store)
}

/// Goes on with a replacement that has begun.
pub(super) fn resume(store: &Path) -> Result<PathBuf> {
    let resume = || {
        let (repairing, repaired) = (store.join(format::REPAIRING), store.join(format::REPAIRED));
        if repairing.exists() {
            let originals = repairing.join(ORIGINALS);
            fs::create_dir_all(&originals)?;
            fs::copy(store.join(format::FILE), originals.join(format::FILE))?;
            move_files(store, &originals)?;
            format::sync_directory(&repairing)?;
            fs::rename(&repairing, &repaired)?;
            format::sync_directory(store)?;
        }
        move_files(&repaired.join(NEW), store)?;
        let damaged = (1_u32..).map(|number| store.join(format!("damaged-{number}"))).find(|path| !path.exists());
        let damaged = damaged.ok_or_else(|| io::Error::other("too many copies of damaged files"))?;
        let originals = repaired.join(ORIGINALS);
        // They have been moved already if the repair was interrupted after that.
        if originals.exists() {
            fs::rename(originals, &damaged)?;
        }
        format::sync_directory(store)?;
        Ok(damaged)
    };
    let damaged = resume().map_err(|error| format::refused("cannot replace files", store, error))?;
    // Before the marker is gone: the store must not be opened without its record of what was synced.
    format::raise(store, DirectoryKind::Store, format::SYNCED_FORMAT)?;
    clear(&store.join(format::REPAIRED))?;
    format::sync_directory(store).map_err(|error| format::refused("cannot replace files", store, error))?;
    Ok(damaged)
}

/// Moves the engine's files and the record of what was synced. The file that is locked stays.
fn move_files(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_ours = name.to_str().is_some_and(|name| name != format::FILE && name != "LOCK");
        if is_ours && entry.file_type()?.is_file() {
            fs::rename(entry.path(), to.join(name))?;
        }
    }
    format::sync_directory(to)?;
    format::sync_directory(from)
}
