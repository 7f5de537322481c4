//! The commands `backup`, `restore` and `backups`.

use std::path::Path;
use std::process::ExitCode;

use profiledb::{Backup, Db, Timestamp, Value};

use crate::bar::Spinner;
use crate::failure::{Failure, SOME_WRONG};
use crate::open;
use crate::print::{self, Format, Named, RowPrinter};

/// Creates a backup in a directory of backups, and prints it.
pub(crate) fn backup(dir: &Path, to: &Path) -> Result<(), Failure> {
    let db = open::to_back_up(dir)?;
    let made = Spinner::new("copying").during(|| db.backup(to))?;
    print::line(&made)
}

/// Restores a store from the newest backup, or from the one with this id, and prints which one that was.
pub(crate) fn restore(dir: &Path, from: &Path, id: Option<u32>) -> Result<(), Failure> {
    print::line(&match id {
        Some(id) => Db::restore_backup(from, id, dir)?,
        None => Db::restore(from, dir)?,
    })
}

/// Prints the backups in a directory.
pub(crate) fn backups(from: &Path, format: Format) -> Result<ExitCode, Failure> {
    list(&Db::backups(from)?, format)
}

/// Reads the backups in a directory, or one of them, and prints whether they are whole.
pub(crate) fn verify(from: &Path, id: Option<u32>, format: Format) -> Result<ExitCode, Failure> {
    list(&Db::verify_backups(from, id)?, format)
}

fn list(backups: &[Backup], format: Format) -> Result<ExitCode, Failure> {
    let mut rows = RowPrinter::new(format, ["id", "made", "bytes", "damage"])?;
    for Backup { id, timestamp, bytes, damage, .. } in backups {
        let made = timestamp.map(|seconds| Timestamp::from_seconds(seconds).to_string());
        let mut cells: Vec<Named<'_>> = vec![("id", (*id).into()), ("made", json(made)), ("bytes", json(*bytes))];
        cells.extend(damage.iter().map(|damage| ("damage", damage.as_str().into())));
        rows.row(&cells)?;
    }
    rows.end()?;
    let sound = backups.iter().all(|backup| backup.damage.is_none());
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::from(SOME_WRONG) })
}

fn json(value: Option<impl Into<Value>>) -> Value {
    value.map_or(Value::Null, Into::into)
}
