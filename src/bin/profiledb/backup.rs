//! The commands `backup`, `restore` and `backups`.

use std::path::Path;

use profiledb::{Backup, Db, Timestamp};

use crate::failure::Failure;
use crate::open;
use crate::print::{self, Format, RowPrinter};

/// Creates a backup in a directory of backups, and prints it.
pub(crate) fn backup(dir: &Path, to: &Path) -> Result<(), Failure> {
    print::line(&open::to_write(dir)?.backup(to)?)
}

/// Restores a store from the latest backup, and prints which one that was.
pub(crate) fn restore(dir: &Path, from: &Path) -> Result<(), Failure> {
    print::line(&Db::restore(from, dir)?)
}

/// Prints the backups in a directory.
pub(crate) fn backups(from: &Path, format: Format) -> Result<(), Failure> {
    let mut rows = RowPrinter::new(format, ["id", "made", "bytes"])?;
    for Backup { id, timestamp, bytes, .. } in Db::backups(from)? {
        let made = Timestamp::from_seconds(timestamp).to_string();
        rows.row(&[("id", id.into()), ("made", made.into()), ("bytes", bytes.into())])?;
    }
    rows.end()
}
