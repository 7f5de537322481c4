//! Opens the store of `--db`.

use std::path::Path;

use profiledb::{Builder, Db, Error};

use crate::failure::Failure;

/// Opens a store for reading. Another process may have it open for writing.
pub(crate) fn to_read(dir: &Path) -> Result<Db, Failure> {
    Db::builder().open_read_only(dir).map_err(|error| explain(error, dir))
}

/// Opens an existing store for writing.
pub(crate) fn to_write(dir: &Path) -> Result<Db, Failure> {
    Db::builder().create(false).open(dir).map_err(|error| explain(error, dir))
}

/// Opens a store for writing. A missing or empty directory becomes a store.
pub(crate) fn or_create(settings: Builder, dir: &Path) -> Result<Db, Failure> {
    settings.open(dir).map_err(|error| explain(error, dir))
}

/// The number of threads for a join.
pub(crate) fn cores() -> usize {
    // A join accepts at most 256.
    std::thread::available_parallelism().map_or(1, usize::from).min(256)
}

fn explain(error: Error, dir: &Path) -> Failure {
    if error.is_not_found() {
        let dir = dir.display();
        return Failure::new(format!("no store at {dir}; \"profiledb import FILE --db {dir}\" creates one"));
    }
    error.into()
}
