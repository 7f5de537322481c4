//! Settings for opening a store.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::Db;
use super::refresher;
use super::sealer::Sealer;
#[cfg(doc)]
use crate::error::ErrorKind;
use crate::error::{Error, Result};
use crate::limits::Limits;
use crate::log::Appender;
use crate::model::Timestamp;
use crate::store::{Access, Durability, Options, Store};

/// Settings for opening a store.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// use profiledb::{Db, Durability, Limits};
///
/// let db = Db::builder()
///     .durability(Durability::Buffered)
///     .limits(Limits::unbounded())
///     .block_cache_bytes(64 << 20)
///     .open(dir.path().join("store"))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Builder(Options);

impl Builder {
    /// What updates and events may contain. Default: [`Limits::mixpanel`].
    pub fn limits(mut self, limits: Limits) -> Self {
        self.0.limits = limits;
        self
    }

    /// What a write survives unless it says otherwise. Default: [`Durability::Synced`].
    pub fn durability(mut self, durability: Durability) -> Self {
        self.0.durability = durability;
        self
    }

    /// Whether a missing or empty directory becomes a store. Default: true.
    pub fn create(mut self, create: bool) -> Self {
        self.0.create = create;
        self
    }

    /// After how many operands on one profile its row is written, so that reads of frequently updated profiles stay
    /// fast. Default: 500. 0: never, until a compaction.
    pub fn fold_after(mut self, operands: u16) -> Self {
        self.0.fold_after = operands;
        self
    }

    /// The most memory for what joins of sealed events keep of profiles from one to the next, in bytes: for each
    /// combination of properties that was joined, one to four bytes for each user with sealed events, and the distinct
    /// values. A join may use codes of that size whatever its `memory_bytes`, which bounds the distinct values.
    /// Default: 128 MB. 0: every join reads the tables anew.
    pub fn ordinal_cache_bytes(mut self, bytes: usize) -> Self {
        self.0.ordinal_cache_bytes = bytes;
        self
    }

    /// With how many events that are rows the store seals them in the background, as
    /// [`EventLog::seal`](super::EventLog::seal) does. Default: 65,536, which is one block of a column segment. 0:
    /// never by itself, also not when idle.
    ///
    /// Only a process that appends events seals, and then also the rows that it found. It takes one thread, which rests
    /// after each change for as long as the change took, so that it is busy half of the time at most. What it has to
    /// write again to keep segments few is bounded: an event is merged at most once for each fourfold growth of the
    /// segments of its day. [`Db::stats`] has what failed; it is tried again. Closing the store ends it within
    /// milliseconds and seals nothing: what is a row then stays one.
    pub fn seal_after(mut self, events: u64) -> Self {
        self.0.sealing.after = events;
        self
    }

    /// How long after the last append fewer events than [`seal_after`](Self::seal_after) are sealed. Default: 60
    /// seconds. Zero: never.
    pub fn seal_when_idle(mut self, time: Duration) -> Self {
        self.0.sealing.idle = time;
        self
    }

    /// How many events a block has that is sealed in the background, so that tests have many of them.
    #[cfg(any(test, feature = "laws"))]
    #[doc(hidden)]
    pub fn seal_in_blocks_of(mut self, events: usize) -> Self {
        self.0.sealing.block_events = events;
        self
    }

    /// The size of the block cache, which all tables share, in bytes. Default: 256 MB; 1 MB to 1 TB. Blocks of data,
    /// indexes and Bloom filters are in it; a filter takes 1.25 bytes for each key of its file. A sixteenth of the size
    /// is used on top for a cache of first-event times, in a store that has events.
    pub fn block_cache_bytes(mut self, bytes: usize) -> Self {
        self.0.engine.block_cache_bytes = bytes;
        self
    }

    /// The size of the memtable of a table, in bytes. Default: 64 MB; 64 KB to 2 GB. The write-ahead log is capped at
    /// about four times this. What of it was not flushed is replayed when the store is opened.
    pub fn memtable_bytes(mut self, bytes: usize) -> Self {
        self.0.engine.memtable_bytes = bytes;
        self
    }

    /// How many flushes and compactions run concurrently. Default: the number of cores, at least 2; 1 to 256.
    pub fn background_jobs(mut self, jobs: usize) -> Self {
        self.0.engine.background_jobs = jobs;
        self
    }

    /// How many table files are kept open; others are opened when they are read. Default: half of the files that the
    /// process may open when it opens the store (`ulimit -n`); 20 to 4,194,304. A program that opens several stores
    /// divides them itself. What else is open at a time comes on top, a few dozen files. A secondary keeps all of its
    /// files open, because the writer may delete any of them.
    pub fn open_files_max(mut self, files: usize) -> Self {
        self.0.engine.open_files_max = Some(files);
        self
    }

    /// Whether closing the store flushes all memtables to files. Then nothing lives in the write-ahead log alone, and
    /// the next process that opens the store has no log to replay, which takes seconds per 100 MB. A flush writes what
    /// is in memory once more, so closing takes longer, after a large import by up to half of the import. Whatever is
    /// set here, closing syncs the log first. Default: true.
    pub fn flush_on_close(mut self, flush: bool) -> Self {
        self.0.engine.flush_on_close = flush;
        self
    }

    /// The clock for updates without a time. The times of all others are clamped to it, and events may be at most
    /// [`event_ahead_seconds_max`](Limits::event_ahead_seconds_max) ahead of it. Default: the system clock.
    pub fn clock(mut self, clock: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        self.0.clock = Arc::new(clock);
        self
    }

    /// Opens a store for reading and writing. One process at a time can.
    ///
    /// # Errors
    ///
    /// As [`Db::open`], and [`Invalid`](ErrorKind::Invalid) when a setting is out of bounds.
    pub fn open(self, path: impl AsRef<Path>) -> Result<Db> {
        self.open_as(path.as_ref(), Access::ReadWrite)
    }

    /// Opens a store for reading, as it is now, also while another process writes to it.
    ///
    /// # Errors
    ///
    /// As [`Db::open`], and [`NotFound`](ErrorKind::NotFound) when there is no store.
    pub fn open_read_only(self, path: impl AsRef<Path>) -> Result<Db> {
        self.open_as(path.as_ref(), Access::ReadOnly)
    }

    /// Opens a store as a secondary: for reading, while another process writes to it, whose later writes
    /// [`Db::catch_up`] makes visible. `scratch` is a directory for the reader's own info log.
    ///
    /// # Errors
    ///
    /// As [`open_read_only`](Self::open_read_only).
    pub fn open_secondary(self, path: impl AsRef<Path>, scratch: impl AsRef<Path>) -> Result<Db> {
        self.open_as(path.as_ref(), Access::Secondary { scratch: scratch.as_ref().to_owned() })
    }

    fn open_as(self, path: &Path, access: Access) -> Result<Db> {
        let store = Arc::new(Store::open(path, access, self.0)?);
        let writes = store.writable().is_ok();
        let sealer = writes.then(|| Sealer::start(&store)).transpose()?.map(Arc::new);
        let refresher = writes.then(|| refresher::start(&store)).transpose()?.map(Arc::new);
        let db = Db { store, appender: Arc::new(Appender::new()), sealer, refresher };
        for kind in db.store.interrupted_rebuilds() {
            db.rebuild_first_event_times(&kind).map_err(|error| {
                let message =
                    "first-event times were being built anew when the process ended, and that cannot be completed";
                Error::new(error.kind(), format!("{message} table=\"{kind}\" path={path:?}")).because(error)
            })?;
        }
        Ok(db)
    }
}
