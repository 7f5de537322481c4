//! Opening the store that `--db` names, and what there is to read it with.

use std::path::Path;

use profiledb::{Builder, Db, Error};

use crate::failure::Failure;

/// For reading, also beside a process that writes.
pub(crate) fn to_read(dir: &Path) -> Result<Db, Failure> {
    Db::builder().open_read_only(dir).map_err(|error| explain(error, dir))
}

/// For writing to a store that is there.
pub(crate) fn to_write(dir: &Path) -> Result<Db, Failure> {
    Db::builder().create(false).open(dir).map_err(|error| explain(error, dir))
}

/// For writing; a missing or empty directory becomes a store.
pub(crate) fn or_create(settings: Builder, dir: &Path) -> Result<Db, Failure> {
    settings.open(dir).map_err(|error| explain(error, dir))
}

/// How many threads can work at the same time.
pub(crate) fn cores() -> usize {
    // At most what a join takes.
    std::thread::available_parallelism().map_or(1, usize::from).min(256)
}

fn explain(error: Error, dir: &Path) -> Failure {
    if error.is_not_found() {
        let dir = dir.display();
        return Failure::new(format!("no store at {dir}; \"profiledb import FILE --db {dir}\" makes one"));
    }
    error.into()
}
