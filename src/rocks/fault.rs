//! Error mapping: a RocksDB status to an [`ErrorKind`].
//!
//! RocksDB reports a status code and a message. The code determines the kind; the message is parsed only where the code
//! is ambiguous. The whole status is kept as the source.

use std::path::Path;

use rocksdb::ErrorKind as Class;

use crate::error::{Error, ErrorKind};

/// An error of the engine during an operation.
pub(super) fn engine(error: rocksdb::Error, doing: &str) -> Error {
    Error::new(kind(&error), doing).because(error)
}

/// An error while opening a store.
pub(super) fn open(error: rocksdb::Error, path: &Path) -> Error {
    let message = match kind(&error) {
        ErrorKind::InUse => format!("another process has the store open path={path:?}"),
        ErrorKind::Corrupt => format!("the store is damaged path={path:?}"),
        _ => format!("cannot open the store path={path:?}"),
    };
    engine(error, &message)
}

/// An error of a write. `halted` says that an earlier write or background job failed: RocksDB then refuses every write
/// with that first failure until the store is reopened.
pub(super) fn write(error: rocksdb::Error, halted: bool) -> Error {
    match kind(&error) {
        kind @ (ErrorKind::Closed | ErrorKind::ReadOnly) => Error::new(kind, "write refused").because(error),
        // RocksDB resumes by itself once there is space.
        ErrorKind::Io if no_space(&error) => Error::new(ErrorKind::Io, "write failed: no space").because(error),
        _ if halted => Error::new(ErrorKind::ReadOnly, "the engine refuses writes after a failure").because(error),
        kind => Error::new(kind, "write failed").because(error),
    }
}

fn kind(error: &rocksdb::Error) -> ErrorKind {
    let message = error.as_ref();
    match error.kind() {
        // The first when another process has the lock, the second when this one has.
        Class::IOError if message.contains("While lock file") || message.contains("lock hold by current process") => {
            ErrorKind::InUse
        }
        Class::Corruption => ErrorKind::Corrupt,
        Class::NotSupported if message.contains("read only mode") || message.contains("secondary mode") => {
            ErrorKind::ReadOnly
        }
        Class::ShutdownInProgress => ErrorKind::Closed,
        Class::NotFound => ErrorKind::NotFound,
        Class::InvalidArgument | Class::NotSupported | Class::ColumnFamilyDropped => ErrorKind::Invalid,
        // The rest are I/O errors and timeouts.
        _ => ErrorKind::Io,
    }
}

fn no_space(error: &rocksdb::Error) -> bool {
    let message = error.as_ref();
    message.contains("No space left") || message.contains("Space limit reached") || message.contains("NoSpace")
}
