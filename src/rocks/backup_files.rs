//! The files of a backup directory: which backups there are, and whether each is whole, by checksums (CRC-32C).
//!
//! RocksDB skips a backup whose list of files it cannot read, as if it had never been made, and it does not protect
//! that list. So every backup has a seal, which is written last. A backup is found by its list or by its seal: without
//! the other one, or if they disagree, it is damaged, and never skipped.
//!
//! ```text
//! PROFILEDB                    the kind of directory and its format
//! LOCK                         locked while a backup is created
//! meta/N                       RocksDB's list of the files of backup N, each with its CRC-32C
//! private/N/, shared_checksum/ the files
//! seals/N                      "profiledb seal 1", then "meta LENGTH CRC" of meta/N, with the CRC-32C in hexadecimal
//! ```

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::format;
use crate::error::{Error, ErrorKind, Result};

const META: &str = "meta";
const SEALS: &str = "seals";

/// The maximum size of a list of files, in bytes: some 100 per file.
const META_BYTES_MAX: u64 = 256 << 20;

/// One backup in a directory of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BackupInfo {
    /// Sequential, from 1.
    pub(crate) id: u32,
    /// Time of creation, in seconds since the Unix epoch. None if its list of files cannot be read.
    pub(crate) timestamp: Option<i64>,
    /// Total size of its files, in bytes. A file shared by several backups counts in each.
    pub(crate) bytes: Option<u64>,
    /// What is wrong with it, as far as it was read.
    pub(crate) damage: Option<String>,
}

/// A backup with its files, as RocksDB lists them.
pub(super) struct BackupFiles {
    pub(super) info: BackupInfo,
    files: Vec<(PathBuf, u32)>,
    /// Whether only the seal is missing.
    pub(super) is_unsealed: bool,
}

/// All backups, oldest first. Files are looked up, but not read.
pub(super) fn list(dir: &Path) -> Result<Vec<BackupFiles>> {
    let mut ids = BTreeSet::new();
    for part in [META, SEALS] {
        let path = dir.join(part);
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(format::refused("cannot look into", &path, error)),
        };
        for entry in entries {
            let name = entry.map_err(|error| format::refused("cannot look into", &path, error))?.file_name();
            // Other names are temporary files.
            ids.extend(name.to_str().and_then(id_of));
        }
    }
    ids.into_iter().map(|id| find(dir, id)).collect()
}

/// As RocksDB writes it.
fn id_of(name: &str) -> Option<u32> {
    name.parse().ok().filter(|id: &u32| *id > 0 && id.to_string() == name)
}

/// What there is of a backup.
fn find(dir: &Path, id: u32) -> Result<BackupFiles> {
    let info = BackupInfo { id, timestamp: None, bytes: None, damage: None };
    let mut found = BackupFiles { info, files: Vec::new(), is_unsealed: false };
    let meta = read_if_exists(&dir.join(META).join(id.to_string()))?;
    let seal = read_if_exists(&dir.join(SEALS).join(id.to_string()))?;
    let Some(meta) = meta else {
        found.info.damage = Some("its list of files is missing".to_owned());
        return Ok(found);
    };
    if seal.as_ref().is_some_and(|seal| *seal != seal_of(&meta).into_bytes()) {
        found.info.damage = Some("its list of files is damaged, or its seal is".to_owned());
        return Ok(found);
    }
    let Some((timestamp, files)) = parse(&meta) else {
        found.info.damage = Some("its list of files is damaged".to_owned());
        return Ok(found);
    };
    let mut bytes = 0;
    for (path, _) in &files {
        match fs::metadata(dir.join(path)) {
            Ok(found) => bytes += found.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                found.info.damage.get_or_insert(format!("a file is missing file={path:?}"));
            }
            Err(error) => return Err(format::refused("cannot look at", &dir.join(path), error)),
        }
    }
    found.info.timestamp = Some(timestamp);
    found.info.bytes = Some(bytes);
    found.is_unsealed = seal.is_none() && found.info.damage.is_none();
    if found.is_unsealed {
        found.info.damage = Some("its seal is missing: it was interrupted, or made by an older version".to_owned());
    }
    found.files = files;
    Ok(found)
}

fn read_if_exists(path: &Path) -> Result<Option<Vec<u8>>> {
    let read = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(path)?.take(META_BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    match read() {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format::refused("cannot read", path, error)),
    }
}

/// RocksDB's list, schema version 1: the time, a sequence number, a number of files, and `PATH crc32 CRC` for each.
fn parse(meta: &[u8]) -> Option<(i64, Vec<(PathBuf, u32)>)> {
    let mut lines = std::str::from_utf8(meta).ok()?.lines();
    let timestamp = lines.next()?.parse().ok()?;
    let count: usize = lines.nth(1)?.parse().ok()?;
    let file = |line: &str| {
        let (path, crc) = line.rsplit_once(" crc32 ")?;
        Some((PathBuf::from(path), crc.parse().ok()?))
    };
    let files: Vec<_> = lines.map(file).collect::<Option<_>>()?;
    (files.len() == count).then_some((timestamp, files))
}

fn seal_of(meta: &[u8]) -> String {
    format!("profiledb seal 1\nmeta {} {:08x}\n", meta.len(), crc32c::crc32c(meta))
}

/// Seals a backup that is complete. Durable on return.
pub(super) fn seal(dir: &Path, id: u32) -> Result<()> {
    let path = dir.join(META).join(id.to_string());
    let meta = read_if_exists(&path)?.ok_or_else(|| {
        Error::new(ErrorKind::Io, format!("the backup is missing after it was created backup={id} path={dir:?}"))
    })?;
    let seals = dir.join(SEALS);
    let write = || -> io::Result<()> {
        fs::create_dir_all(&seals)?;
        let temporary = seals.join(format!("{id}.tmp"));
        let mut file = File::create(&temporary)?;
        file.write_all(seal_of(&meta).as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, seals.join(id.to_string()))?;
        format::sync_directory(&seals)?;
        format::sync_directory(dir)
    };
    write().map_err(|error| format::refused("cannot seal the backup", &seals, error))
}

impl BackupFiles {
    /// Reads every file and compares its checksum. What is wrong is in the result.
    pub(super) fn verify(mut self, dir: &Path) -> Result<BackupInfo> {
        if self.info.damage.is_none() {
            for (path, crc) in &self.files {
                if checksum(&dir.join(path))? != *crc {
                    self.info.damage = Some(format!("a file has a wrong checksum file={path:?}"));
                    break;
                }
            }
        }
        Ok(self.info)
    }
}

fn checksum(path: &Path) -> Result<u32> {
    let read = || -> io::Result<u32> {
        let (mut file, mut buffer, mut crc) = (File::open(path)?, vec![0; 1 << 20], 0);
        loop {
            let length = file.read(&mut buffer)?;
            match buffer.get(..length) {
                Some(part) if length > 0 => crc = crc32c::crc32c_append(crc, part),
                _ => return Ok(crc),
            }
        }
    };
    read().map_err(|error| format::refused("cannot read", path, error))
}
