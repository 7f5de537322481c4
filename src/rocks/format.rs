//! The format version file `PROFILEDB`, which marks a directory as a store or a backup.
//!
//! It is read before RocksDB opens anything, because RocksDB does not know the meaning of its values: a version that
//! folds rows differently would open the same files successfully. This module only ever writes the file into an empty
//! directory, and never changes a directory that belongs to something else. A store begins with format 1. It gets
//! format 2 in place, by one byte, once there is a record of what was synced, and format 3 before its first column
//! segment.
//!
//! ```text
//! profiledb            the kind of directory: a store; or "profiledb backup"
//! format 2             how keys and values are written; from 2 on, "PROFILEDB.synced" is there; with 3, column
//!                      segments may be
//! operators 1          how operands fold into rows
//! ```

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use super::fault;
use crate::error::{Error, ErrorKind, Result};

/// The name of the file in a store or backup directory.
pub(super) const FILE: &str = "PROFILEDB";

/// A directory in the target of a restore, until it is complete. The target is no store until then.
pub(super) const RESTORING: &str = "RESTORING";

/// As long as one of these is in a store, its files are being replaced by repaired ones, and it is no store.
pub(super) const REPAIRING: &str = "REPAIRING";
pub(super) const REPAIRED: &str = "REPAIRED";

/// The newest format that this version reads.
const FORMAT: u32 = SEGMENTS_FORMAT;

/// The format of a store without a record of what was synced, and of backups.
const FIRST_FORMAT: u32 = 1;

/// From this format on a store has a record of what was synced.
pub(super) const SYNCED_FORMAT: u32 = 2;

/// The format of a store that may have column segments, and of a directory with a backup of one: a version that does
/// not know them would see a log with holes.
pub(super) const SEGMENTS_FORMAT: u32 = 3;

/// The newest set of merge operators that this version folds, and the one that it writes.
const OPERATORS: u32 = 1;

/// Maximum size of the file, in bytes. A longer one is not ours.
const BYTES_MAX: u64 = 4096;

/// The kind of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DirectoryKind {
    Store,
    Backup,
}

impl DirectoryKind {
    const fn line(self) -> &'static str {
        match self {
            Self::Store => "profiledb",
            Self::Backup => "profiledb backup",
        }
    }

    const fn noun(self) -> &'static str {
        match self {
            Self::Store => "store",
            Self::Backup => "backup",
        }
    }
}

/// Whether a store directory already contains a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StoreState {
    New,
    Existing,
}

/// Checks a store directory before RocksDB opens it. With `create`, a missing or empty directory becomes a store;
/// nothing else is ever changed. Once the store is locked it is checked again: another process may have made it.
pub(super) fn admit(path: &Path, create: bool) -> Result<StoreState> {
    if path.join(REPAIRING).exists() || path.join(REPAIRED).exists() {
        let path = path.display();
        return Err(Error::corrupt(format!("a repair was interrupted: \"profiledb repair --db {path}\" completes it")));
    }
    match look(path, DirectoryKind::Store)? {
        Directory::Vacant if create => mark(path, DirectoryKind::Store).map(|()| StoreState::New),
        Directory::Vacant => Err(no_store(path)),
        Directory::Marked => match database(path)? {
            Database::Present => Ok(StoreState::Existing),
            Database::Absent if create => Ok(StoreState::New),
            Database::Absent => Err(no_store(path)),
            // RocksDB would take the directory for a new database, and delete these files as obsolete.
            Database::Orphaned(file) => {
                let remedy = fault::remedy(path);
                Err(Error::corrupt(format!("data files without a CURRENT file{remedy} file={file:?} path={path:?}")))
            }
        },
    }
}

/// Checks the directory of a store that is to be repaired.
pub(super) fn admit_damaged(path: &Path) -> Result<()> {
    match look(path, DirectoryKind::Store)? {
        Directory::Vacant => Err(no_store(path)),
        Directory::Marked => Ok(()),
    }
}

/// Checks a backup directory. With `create`, a missing or empty directory becomes one.
pub(super) fn admit_backup(path: &Path, create: bool) -> Result<()> {
    match look(path, DirectoryKind::Backup)? {
        Directory::Marked => Ok(()),
        Directory::Vacant if create => mark(path, DirectoryKind::Backup),
        Directory::Vacant => Err(Error::new(ErrorKind::NotFound, format!("no backup here path={path:?}"))),
    }
}

/// Whether the directory is missing or empty.
pub(super) fn vacant(path: &Path) -> Result<bool> {
    Ok(names(path)?.is_none_or(|names| names.iter().all(is_temporary)))
}

/// Writes the file atomically and durably: temporary file, sync, link, sync of the directory. A file that another
/// process wrote first stays: it may be locked already.
pub(super) fn mark(path: &Path, kind: DirectoryKind) -> Result<()> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let text = format!("{}\nformat {FIRST_FORMAT}\noperators {OPERATORS}\n", kind.line());
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let temporary = path.join(format!("{FILE}.tmp-{}-{number}", std::process::id()));
    let write = || -> io::Result<()> {
        // The entry of each new directory must be durable as well.
        let is_new = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
        let new: Vec<&Path> = path.ancestors().take_while(is_new).collect();
        fs::create_dir_all(path)?;
        let mut file = File::create(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        publish(&temporary, &path.join(FILE))?;
        sync_directory(path)?;
        new.into_iter().filter_map(Path::parent).try_for_each(sync_directory)
    };
    write().map_err(|error| {
        // The first error is reported. A temporary file that stays behind is ignored by `is_temporary`.
        let _ = fs::remove_file(&temporary);
        refused("cannot create", path, error)
    })?;
    match look(path, kind)? {
        Directory::Marked => Ok(()),
        Directory::Vacant => Err(garbage(path)),
    }
}

/// Gives a complete file its name, unless there is one of that name already. A rename would replace it.
fn publish(temporary: &Path, file: &Path) -> io::Result<()> {
    match fs::hard_link(temporary, file) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            // A file system without hard links. Two creators at the same time are then told apart by RocksDB's lock.
            fs::rename(temporary, file)
        }
        _ => fs::remove_file(temporary),
    }
}

enum Directory {
    Vacant,
    Marked,
}

fn look(path: &Path, kind: DirectoryKind) -> Result<Directory> {
    let Some(names) = names(path)? else { return Ok(Directory::Vacant) };
    if names.iter().any(|name| name == RESTORING) {
        return Err(Error::corrupt(format!("a restore was interrupted: restore again path={path:?}")));
    }
    if names.iter().any(|name| name == FILE) {
        let found = check(&read(path)?, path)?;
        return if found == kind {
            Ok(Directory::Marked)
        } else {
            let (found, expected) = (found.noun(), kind.noun());
            Err(Error::invalid(format!("the directory contains a {found}, not a {expected} path={path:?}")))
        };
    }
    if names.iter().all(is_temporary) {
        return Ok(Directory::Vacant);
    }
    Err(Error::invalid(format!("not a profiledb {} path={path:?}", kind.noun())))
}

/// The entries of a directory, or none when it does not exist.
fn names(path: &Path) -> Result<Option<Vec<OsString>>> {
    match fs::metadata(path) {
        Ok(found) if !found.is_dir() => return Err(Error::invalid(format!("not a directory path={path:?}"))),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(refused("cannot look into", path, error)),
    }
    let list = || fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.file_name())).collect::<io::Result<_>>();
    list().map(Some).map_err(|error| refused("cannot look into", path, error))
}

/// Left by a crash before the rename in `mark`. It is ours and contains no data.
fn is_temporary(name: &OsString) -> bool {
    name.to_str().is_some_and(|name| name.strip_prefix(FILE).is_some_and(|rest| rest.starts_with(".tmp-")))
}

fn read(path: &Path) -> Result<String> {
    let read = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(path.join(FILE))?.take(BYTES_MAX + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|error| refused("cannot read", &path.join(FILE), error))?;
    String::from_utf8(bytes).map_err(|_| garbage(path))
}

/// The format of a store or backup.
pub(super) fn version(path: &Path) -> Result<u32> {
    let text = read(path)?;
    text.lines().nth(1).and_then(|line| number(line, "format")).ok_or_else(|| garbage(path))
}

/// Whether a store must have a record of what was synced.
pub(super) fn expects_synced(path: &Path) -> Result<bool> {
    Ok(version(path)? >= SYNCED_FORMAT)
}

/// Raises the format of a store or backup to at least this one, durably. In place: the file is locked.
pub(super) fn raise(path: &Path, kind: DirectoryKind, format: u32) -> Result<()> {
    if version(path)? >= format {
        return Ok(());
    }
    let name = path.join(FILE);
    let write = || {
        let mut file = File::options().write(true).open(&name)?;
        // One digit replaces another.
        file.seek(SeekFrom::Start((kind.line().len() + "\nformat ".len()) as u64))?;
        file.write_all(format.to_string().as_bytes())?;
        file.sync_all()
    };
    write().map_err(|error| refused("cannot write", &name, error))
}

fn check(text: &str, path: &Path) -> Result<DirectoryKind> {
    let mut lines = text.lines();
    let kind = match lines.next() {
        Some(line) if line == DirectoryKind::Store.line() => DirectoryKind::Store,
        Some(line) if line == DirectoryKind::Backup.line() => DirectoryKind::Backup,
        _ => return Err(garbage(path)),
    };
    // The version is checked before the rest is parsed: a newer format may have other lines.
    for (name, supported) in [("format", FORMAT), ("operators", OPERATORS)] {
        let found = lines.next().and_then(|line| number(line, name)).ok_or_else(|| garbage(path))?;
        if found > supported {
            return Err(Error::corrupt(format!(
                "written by a newer version of profiledb {name}={found} supported={supported} path={path:?}"
            )));
        }
    }
    if lines.next().is_some() || text.len() as u64 > BYTES_MAX {
        return Err(garbage(path));
    }
    Ok(kind)
}

fn number(line: &str, name: &str) -> Option<u32> {
    let digits = line.strip_prefix(name)?.strip_prefix(' ')?;
    digits.parse().ok().filter(|number| *number > 0)
}

enum Database {
    Present,
    Absent,
    Orphaned(String),
}

fn database(path: &Path) -> Result<Database> {
    let names = names(path)?.unwrap_or_default();
    if names.iter().any(|name| name == "CURRENT") {
        return Ok(Database::Present);
    }
    // Names of RocksDB files are ASCII.
    let orphan = names.iter().filter_map(|name| name.to_str()).find(|name| is_data(name));
    Ok(orphan.map_or(Database::Absent, |name| Database::Orphaned(name.to_owned())))
}

/// Whether a file of RocksDB may contain data. `MANIFEST-000001` does not: RocksDB creates it first, points CURRENT at
/// it, and replaces it before the first write. Alone it is left by a crash during creation.
fn is_data(name: &str) -> bool {
    [".sst", ".log", ".blob"].iter().any(|suffix| name.ends_with(suffix))
        || (name.starts_with("MANIFEST-") && name != "MANIFEST-000001")
}

fn no_store(path: &Path) -> Error {
    Error::new(ErrorKind::NotFound, format!("no store here path={path:?}"))
}

fn garbage(path: &Path) -> Error {
    Error::corrupt(format!("unreadable {FILE} file path={path:?}"))
}

pub(super) fn refused(what: &str, path: &Path, error: io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("{what} path={path:?}")).because(error)
}

#[cfg(unix)]
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    // The parent of a relative path of one name is the empty path.
    File::open(if path.as_os_str().is_empty() { Path::new(".") } else { path })?.sync_all()
}

/// Directories cannot be synced on this platform; the file system decides when the rename is durable.
#[cfg(not(unix))]
pub(super) fn sync_directory(_path: &Path) -> io::Result<()> {
    Ok(())
}
