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
        ErrorKind::Corrupt => format!("the store is damaged{} path={path:?}", remedy(path)),
        _ => format!("cannot open the store path={path:?}"),
    };
    engine(error, &message)
}

/// What there is to do about a damaged store.
pub(super) fn remedy(path: &Path) -> String {
    format!("; \"profiledb repair --db {}\" keeps what is whole", path.display())
}

/// An error of a commit.
///
/// RocksDB writes a batch to the WAL, syncs it, and then inserts it into the memtables. A failure on the way leaves
/// bytes in the WAL that the next open may replay. Only two statuses are certainly from before the first byte: a
/// refusal, and a failure of background work or of the switch to a new WAL, which RocksDB repeats for every write until
/// it has resumed.
pub(super) fn commit(error: rocksdb::Error) -> Error {
    match kind(&error) {
        kind @ (ErrorKind::Closed | ErrorKind::ReadOnly) => {
            Error::new(kind, "the write was refused and nothing of it is stored").because(error)
        }
        _ if is_before_the_write(error.as_ref()) => {
            let refused = "the engine refuses writes after a failure, and nothing of this one is stored";
            Error::new(ErrorKind::ReadOnly, refused).because(error)
        }
        _ => {
            let unknown = "the write may or may not be stored, and the store takes no more writes: \
                           reopen it, and read before writing again";
            Error::new(ErrorKind::OutcomeUnknown, unknown).because(error)
        }
    }
}

/// An error of a sync of the WAL. What was written before stays readable.
pub(super) fn sync(error: rocksdb::Error) -> Error {
    let unsynced = "the WAL cannot be synced, and the store takes no more writes: what was written since the last sync \
                    is stored but may not survive power loss until the store is reopened";
    Error::new(ErrorKind::Io, unsynced).because(error)
}

/// A write to a store that has stopped.
pub(super) fn stopped(failure: &Error) -> Error {
    let refused = "the store takes no writes after a failed one, and nothing of this one is stored: reopen it";
    Error::new(ErrorKind::ReadOnly, refused).because(failure.clone())
}

/// A file that could not be opened is a new one, and table files and the MANIFEST are written by background work.
fn is_before_the_write(message: &str) -> bool {
    let is_elsewhere = message.contains(".sst") || message.contains("MANIFEST-");
    message.contains("While open a file") || (is_elsewhere && !message.contains(".log"))
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
