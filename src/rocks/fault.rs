//! What an error of RocksDB means to a caller.
//!
//! RocksDB reports a class and a sentence. This module turns the class into a kind, reads the sentence only where the
//! class does not tell enough, and keeps the whole as the source.

use std::path::Path;

use rocksdb::ErrorKind as Class;

use crate::error::{Error, ErrorKind};

/// An error of the engine, with what was being done.
pub(super) fn engine(error: rocksdb::Error, doing: &str) -> Error {
    Error::new(kind(&error), doing).because(error)
}

/// An error on the way to an open store.
pub(super) fn open(error: rocksdb::Error, path: &Path) -> Error {
    let message = match kind(&error) {
        ErrorKind::InUse => format!("another process has the store open path={path:?}"),
        ErrorKind::Corrupt => format!("the store is damaged path={path:?}"),
        _ => format!("cannot open the store path={path:?}"),
    };
    engine(error, &message)
}

/// An error of a write. `halted` says that an earlier write or background job failed: RocksDB then answers every
/// write with that first failure, until the store is opened again.
pub(super) fn write(error: rocksdb::Error, halted: bool) -> Error {
    match kind(&error) {
        kind @ (ErrorKind::Closed | ErrorKind::ReadOnly) => Error::new(kind, "write refused").because(error),
        // RocksDB goes on by itself once there is space.
        ErrorKind::Io if no_space(&error) => Error::new(ErrorKind::Io, "write failed: no space").because(error),
        _ if halted => Error::new(ErrorKind::ReadOnly, "the engine refuses writes after a failure").because(error),
        kind => Error::new(kind, "write failed").because(error),
    }
}

fn kind(error: &rocksdb::Error) -> ErrorKind {
    let sentence = error.as_ref();
    match error.kind() {
        // The first when another process has the lock, the second when this one has.
        Class::IOError if sentence.contains("While lock file") || sentence.contains("lock hold by current process") => {
            ErrorKind::InUse
        }
        Class::Corruption => ErrorKind::Corrupt,
        Class::NotSupported if sentence.contains("read only mode") || sentence.contains("secondary mode") => {
            ErrorKind::ReadOnly
        }
        Class::ShutdownInProgress => ErrorKind::Closed,
        Class::NotFound => ErrorKind::NotFound,
        Class::InvalidArgument | Class::NotSupported | Class::ColumnFamilyDropped => ErrorKind::Invalid,
        // What remains is the operating system, or a wait that RocksDB gave up.
        _ => ErrorKind::Io,
    }
}

fn no_space(error: &rocksdb::Error) -> bool {
    let sentence = error.as_ref();
    sentence.contains("No space left") || sentence.contains("Space limit reached") || sentence.contains("NoSpace")
}
