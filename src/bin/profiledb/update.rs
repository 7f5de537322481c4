//! The commands `update`, `delete`, `seal` and `compact`.

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use profiledb::ingest::Record;
use profiledb::{Batch, Change, Db, Durability, Kind, ProfileKey, Sealed};
use serde::Serialize;

use crate::args::UpdateArgs;
use crate::bar::{self, Spinner};
use crate::failure::Failure;
use crate::format::Json;
use crate::import::{self, InputQueue, RecordReport};
use crate::input::Input;
use crate::known;
use crate::open;
use crate::output;
use crate::print;

/// Imports the update object on the command line, or on the standard input.
pub(crate) fn update(dir: &Path, update: &UpdateArgs) -> Result<ExitCode, Failure> {
    let UpdateArgs { json, reading, add_on_groups } = update;
    let input = if json == "-" { Input::Stdin } else { Input::Bytes("argument", json.clone().into_bytes().into()) };
    if json.trim().is_empty() {
        return Err(Failure::new("no update object in the argument"));
    }
    output::check(dir, std::slice::from_ref(&input), &[])?;
    let db = open::or_create(Db::builder().limits(reading.limits()), dir)?;
    let rules = db.rules().strict(reading.strict).add_on_groups(*add_on_groups);
    let importer = db.importer(rules).durability(Durability::Synced);
    let mut report = RecordReport::stderr(&bar::none());
    let (summary, failure) = import::import(&importer, &Json::<Record>::new(), InputQueue::one(input), &mut report);
    import::conclude(&summary, failure)
}

#[derive(Serialize)]
struct Deleted {
    deleted: usize,
}

/// Deletes profiles, all or none.
pub(crate) fn delete(dir: &Path, kind: &Kind, ids: &[String]) -> Result<(), Failure> {
    let changes = ids.iter().map(|id| Ok((ProfileKey::new(kind.clone(), id)?, Change::Delete)));
    let batch: Batch = changes.collect::<Result<_, Failure>>()?;
    let db = open::to_write(dir)?;
    known::table(&db, kind)?;
    db.write(batch)?;
    print::line(&Deleted { deleted: ids.len() })
}

#[derive(Serialize)]
struct Compacted {
    tables: usize,
    bytes_before: u64,
    bytes_after: u64,
    seconds: f64,
}

/// Folds every profile.
pub(crate) fn compact(dir: &Path) -> Result<(), Failure> {
    let db = open::to_write(dir)?;
    // Flushed first, so that the size before includes what was only in memory.
    db.flush()?;
    let bytes = || db.stats().tables.iter().map(|table| table.sst_bytes).sum();
    let (started, bytes_before) = (Instant::now(), bytes());
    Spinner::new("compacting").during(|| db.compact())?;
    let seconds = import::rounded(started.elapsed().as_secs_f64());
    print::line(&Compacted { tables: db.kinds().len(), bytes_before, bytes_after: bytes(), seconds })
}

#[derive(Serialize)]
struct SealReport {
    #[serde(flatten)]
    sealed: Sealed,
    seconds: f64,
}

/// Moves the events into column segments.
pub(crate) fn seal(dir: &Path) -> Result<(), Failure> {
    let db = open::to_write(dir)?;
    let started = Instant::now();
    let sealed = db.events().seal()?;
    db.close()?;
    print::line(&SealReport { sealed, seconds: import::rounded(started.elapsed().as_secs_f64()) })
}
