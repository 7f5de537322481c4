//! The lock of a store: an advisory whole-file lock (`flock`) on the inode of `PROFILEDB`.
//!
//! RocksDB locks its `LOCK` file by `fcntl`. That lock belongs to the process: any descriptor of the file that it
//! closes releases it, and RocksDB recognises a store that it has open already by the spelling of its path. A `flock`
//! belongs to one open file, so it excludes this process like any other, is found whatever the directory is called, and
//! ends with this file or with the process.
//!
//! Readers take no lock. Where there is no `flock` (not Unix), RocksDB's lock is the only one.

use std::fs::File;
use std::path::Path;

use super::format;
use crate::error::Result;

/// A held lock. Dropping it releases the store.
pub(super) struct StoreLock {
    #[cfg_attr(not(unix), expect(dead_code, reason = "keeps the file open"))]
    file: File,
    #[cfg(unix)]
    id: InodeId,
}

impl StoreLock {
    /// Locks the store in a directory that [`format::admit`] has admitted.
    pub(super) fn acquire(path: &Path) -> Result<Self> {
        let name = path.join(format::FILE);
        let failed = |error| format::refused("cannot lock", &name, error);
        loop {
            // Open for writing as well: NFS has no exclusive lock on a file that is open for reading only.
            let file = File::options().read(true).write(true).open(&name).map_err(failed)?;
            #[cfg(not(unix))]
            return Ok(Self { file });
            #[cfg(unix)]
            if let Some(locked) = lock(file, path)? {
                return Ok(locked);
            }
        }
    }
}

#[cfg(unix)]
use unix::{InodeId, lock};

#[cfg(unix)]
mod unix {
    use std::collections::BTreeSet;
    use std::fs::{self, File, TryLockError};
    use std::os::unix::fs::MetadataExt;
    use std::path::Path;

    use parking_lot::Mutex;

    use super::StoreLock;
    use crate::error::{Error, ErrorKind, Result};
    use crate::rocks::format;

    /// Device and inode.
    pub(super) type InodeId = (u64, u64);

    /// The stores that this process has locked. It only words the error: the lock is what excludes.
    static HELD: Mutex<BTreeSet<InodeId>> = Mutex::new(BTreeSet::new());

    impl Drop for StoreLock {
        fn drop(&mut self) {
            HELD.lock().remove(&self.id);
            // Closing the file alone would leave the lock to a child process that is just being spawned and still has
            // a copy of the descriptor. Should this fail, closing releases it all the same.
            let _ = self.file.unlock();
        }
    }

    /// Locks a file. None when it is not the file of the store any more: another process replaced it meanwhile.
    pub(super) fn lock(file: File, path: &Path) -> Result<Option<StoreLock>> {
        let name = path.join(format::FILE);
        let failed = |error| format::refused("cannot lock", &name, error);
        let metadata = file.metadata().map_err(failed)?;
        let id = (metadata.dev(), metadata.ino());
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(in_use(id, path)),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let current = fs::metadata(&name).map_err(failed)?;
        if (current.dev(), current.ino()) != id {
            return Ok(None);
        }
        HELD.lock().insert(id);
        Ok(Some(StoreLock { file, id }))
    }

    fn in_use(id: InodeId, path: &Path) -> Error {
        let message = if HELD.lock().contains(&id) {
            format!("this process has the store open already path={path:?}")
        } else if let Some(pid) = holder(id) {
            format!("another process has the store open pid={pid} path={path:?}")
        } else {
            format!("another process has the store open path={path:?}")
        };
        Error::new(ErrorKind::InUse, message)
    }

    /// The process that holds the lock, where the system says so: Linux lists all locks in one file.
    fn holder((device, inode): InodeId) -> Option<u32> {
        // Best effort: without the file, or when the holder has just ended, the error names no process.
        let locks = fs::read_to_string("/proc/locks").ok()?;
        // `makedev` of Linux: 12 bits of the major number above the low 8 of the minor, whose other bits are above.
        let (major, minor) = ((device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xf_ff00));
        let file = format!("{major:02x}:{minor:02x}:{inode}");
        let line = locks.lines().find(|line| line.contains("FLOCK") && line.split(' ').any(|word| word == file))?;
        // 1: FLOCK  ADVISORY  WRITE 1234 08:01:131 0 EOF
        line.split_whitespace().nth(4)?.parse().ok().filter(|pid| *pid > 0)
    }
}
