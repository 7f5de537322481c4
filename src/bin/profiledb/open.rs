//! Opens the store of `--db`.

use std::io::Write;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use profiledb::{Builder, Db, Error};

use crate::failure::Failure;

/// How long to wait for a store that another process has open for writing.
static WAIT: OnceLock<Duration> = OnceLock::new();

/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(50);

/// Sets how long to wait. Called once, before anything is opened.
pub(crate) fn wait_at_most(wait: Duration) {
    WAIT.get_or_init(|| wait);
}

/// Opens a store for reading. Another process may have it open for writing.
pub(crate) fn to_read(dir: &Path) -> Result<Db, Failure> {
    Db::builder().open_read_only(dir).map_err(|error| explain(error, dir))
}

/// Opens an existing store for writing.
pub(crate) fn to_write(dir: &Path) -> Result<Db, Failure> {
    or_create(Db::builder().create(false), dir)
}

/// Opens a store for writing. A missing or empty directory becomes a store.
pub(crate) fn or_create(settings: Builder, dir: &Path) -> Result<Db, Failure> {
    attempt(&settings, dir).map_err(|error| explain(error, dir))
}

/// Opens an existing store for a backup.
pub(crate) fn to_back_up(dir: &Path) -> Result<Db, Failure> {
    attempt(&Db::builder().create(false), dir).map_err(|error| match error.is_in_use() {
        true => Failure::from(error).then(
            "only the process that writes to a store can back it up meanwhile, by Db::backup; otherwise end that \
             process first (--wait SECONDS waits for its end), or read the store while it runs, by \
             \"profiledb export\" and \"profiledb events\"",
        ),
        false => explain(error, dir),
    })
}

/// Opens a store, as soon as no other process writes to it, if `--wait` says so.
fn attempt(settings: &Builder, dir: &Path) -> Result<Db, Error> {
    let started = Instant::now();
    let wait = WAIT.get().copied().unwrap_or_default();
    loop {
        match settings.clone().open(dir) {
            Err(error) if error.is_in_use() && started.elapsed() < wait => std::thread::sleep(PAUSE),
            Ok(db) => {
                warn_of_truncated(&db);
                return Ok(db);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Says what opening a store has cut off.
fn warn_of_truncated(db: &Db) {
    for file in db.stats().truncated {
        // If the standard error is closed, there is no way to report that.
        let _ = writeln!(
            std::io::stderr(),
            "profiledb: warning: what a crash left unfinished was cut off: {file}; a copy of the file ends in .torn"
        );
    }
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
