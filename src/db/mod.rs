//! The facade: it joins the rooms below and adds nothing of its own.
//!
//! ```text
//! mod      Db: open, write, maintain            builder   settings
//! batch    many changes at once                 table     the profiles of one kind
//! events   the event log                        snapshot  one moment of all
//! stats    figures
//! ```

mod batch;
mod builder;
mod events;
mod join;
mod snapshot;
mod stats;
mod table;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

pub use batch::Batch;
pub use builder::Builder;
pub use events::EventLog;
pub use snapshot::Snapshot;
pub use stats::{Backup, Stats};
pub use table::Table;

#[cfg(doc)]
use crate::error::ErrorKind;
use crate::error::Result;
use crate::log::{self, Appender};
use crate::model::Kind;
use crate::rocks;
use crate::store::{CheckReport, Commit, Durability, ReadSource, Request, Store, TableReport, View};

/// A store of profiles and events in a directory.
///
/// Cloning is cheap, and clones share everything. All methods take `&self`, from any thread. The store closes when the
/// last clone, [`Table`] and [`Batch`] of it is gone; what was submitted is committed first.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// use profiledb::{Db, Update};
///
/// let db = Db::open(dir.path().join("store"))?;
/// let users = db.users();
/// users.update("alice", Update::new().set("plan", "pro").add("logins", 1).union("teams", ["eng"]))?;
/// users.update("alice", Update::new().add("logins", 1))?;
///
/// let alice = users.get("alice")?.expect("she was just written");
/// assert_eq!(alice.get("logins"), Some(&2.into()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Db {
    store: Arc<Store>,
    appender: Arc<Appender>,
}

impl Db {
    /// Opens the store in a directory, and makes it if there is none.
    ///
    /// # Errors
    ///
    /// [`InUse`](ErrorKind::InUse) when another process has it open, [`Invalid`](ErrorKind::Invalid) when the directory
    /// holds something else, [`Corrupt`](ErrorKind::Corrupt) when it is damaged or of a newer format,
    /// [`Io`](ErrorKind::Io) when it cannot be read or written. Nothing in it was changed then.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::builder().open(path)
    }

    /// Settings for opening a store.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The profiles of users.
    #[must_use]
    pub fn users(&self) -> Table {
        self.table(&Kind::User)
    }

    /// The profiles of the groups under a group key. The first write to it makes the table.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) when the key is empty, longer than 255 bytes or has a NUL in it.
    pub fn groups(&self, group_key: impl Into<String>) -> Result<Table> {
        Ok(self.table(&Kind::group(group_key)?))
    }

    /// The profiles of a kind.
    #[must_use]
    pub fn table(&self, kind: &Kind) -> Table {
        let view = View::new(ReadSource::Live(Arc::clone(&self.store.shared)), kind.clone());
        Table { db: self.clone(), view }
    }

    /// The kinds of profiles that were ever written.
    #[must_use]
    pub fn kinds(&self) -> Vec<Kind> {
        self.store.shared.kinds()
    }

    /// The log of events.
    #[must_use]
    pub fn events(&self) -> EventLog {
        EventLog::new(self.clone())
    }

    /// One moment of the whole store, to read from as long as it is held. It costs little, but what it keeps from being
    /// folded costs reads: do not hold one for hours.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot { engine: self.store.shared.engine().snapshot() }
    }

    /// Commits a batch: all of it or nothing, as durable as the store's default.
    ///
    /// # Errors
    ///
    /// As [`Table::update`]; nothing of the batch was stored then.
    pub fn write(&self, batch: Batch) -> Result<()> {
        self.write_with(batch, self.store.shared.options.durability)
    }

    /// Commits a batch with a durability of its own.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    pub fn write_with(&self, batch: Batch, durability: Durability) -> Result<()> {
        let request = self.admit(batch)?;
        if request.is_empty() { Ok(()) } else { self.store.write(request, durability) }
    }

    /// Hands a batch over and returns at once; [`Commit::wait`] tells how it went.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) or [`LimitExceeded`](ErrorKind::LimitExceeded) when it is not admitted,
    /// [`ReadOnly`](ErrorKind::ReadOnly) or [`Closed`](ErrorKind::Closed) when the store takes no writes.
    pub fn submit(&self, batch: Batch) -> Result<Commit> {
        self.submit_with(batch, self.store.shared.options.durability)
    }

    /// Hands a batch over with a durability of its own.
    ///
    /// # Errors
    ///
    /// As [`submit`](Self::submit).
    pub fn submit_with(&self, batch: Batch, durability: Durability) -> Result<Commit> {
        let request = self.admit(batch)?;
        if request.is_empty() { Ok(Commit::done()) } else { self.store.submit(request, durability) }
    }

    /// As [`submit`](Self::submit), but never blocks.
    ///
    /// # Errors
    ///
    /// [`Busy`](ErrorKind::Busy) when the queue of writes is full; otherwise as [`submit`](Self::submit).
    pub fn try_submit(&self, batch: Batch) -> Result<Commit> {
        self.try_submit_with(batch, self.store.shared.options.durability)
    }

    /// As [`try_submit`](Self::try_submit), with a durability of its own.
    ///
    /// # Errors
    ///
    /// As [`try_submit`](Self::try_submit).
    pub fn try_submit_with(&self, batch: Batch, durability: Durability) -> Result<Commit> {
        let request = self.admit(batch)?;
        if request.is_empty() { Ok(Commit::done()) } else { self.store.try_submit(request, durability) }
    }

    fn admit(&self, batch: Batch) -> Result<Request> {
        let mut request = Request::default();
        let shared = &self.store.shared;
        let now = (shared.options.clock)();
        request.profiles.reserve(batch.changes.len());
        for (key, change) in batch.changes {
            request.profiles.extend(shared.admit(key, change, now)?);
        }
        if !batch.events.is_empty() {
            let (groups, limits) = (shared.group_keys(), &shared.options.limits);
            request.events.reserve(batch.events.len());
            for event in batch.events {
                request.events.push(self.appender.append(event, limits, now, &groups, &mut request.first_events)?);
            }
        }
        Ok(request)
    }

    /// Looks through the whole log for when each user, or each group of a kind, had its first event, and takes that
    /// into account for `$mp_first_event_time`. Events that are appended are taken into account anyway, but those of
    /// groups only from when their table is there; this makes the table first, if need be. It can be run again at any
    /// time, and should be if events were being appended while it made the table. Events that cannot be read are
    /// passed over.
    ///
    /// It says how many events had an id of this kind.
    ///
    /// # Errors
    ///
    /// [`ReadOnly`](ErrorKind::ReadOnly) when the store was opened for reading, [`Io`](ErrorKind::Io) when the engine
    /// cannot read or write. Running it again goes through the log again.
    pub fn backfill_first_event_times(&self, kind: &Kind) -> Result<u64> {
        self.store.create_table(kind)?;
        let mut times = log::FirstEventBackfill::new(&self.store.shared.engine().snapshot(), kind);
        while let Some(first_events) = times.next()? {
            self.store.write(Request { first_events, ..Request::default() }, Durability::Buffered)?;
        }
        self.synced_by_default()?;
        Ok(times.events())
    }

    /// Ends a sequence of buffered writes.
    fn synced_by_default(&self) -> Result<()> {
        match self.store.shared.options.durability {
            Durability::Synced => self.sync(),
            Durability::Buffered => Ok(()),
        }
    }

    /// Makes everything that was written so far survive power loss.
    ///
    /// # Errors
    ///
    /// [`Io`](ErrorKind::Io) when the log cannot be synced.
    pub fn sync(&self) -> Result<()> {
        self.store.shared.engine().sync()
    }

    /// Writes what is in memory to files, composing pending operands on the way.
    ///
    /// # Errors
    ///
    /// [`Io`](ErrorKind::Io) when the files cannot be written.
    pub fn flush(&self) -> Result<()> {
        self.store.shared.engine().flush()
    }

    /// Folds every profile and rewrites every file, those of the log as well. Reads are fastest afterwards. It takes
    /// time and, for a while, up to twice the space.
    ///
    /// # Errors
    ///
    /// [`ReadOnly`](ErrorKind::ReadOnly) when the store was opened for reading, [`Io`](ErrorKind::Io) when the files
    /// cannot be written.
    pub fn compact(&self) -> Result<()> {
        self.store.compact()
    }

    /// Walks every row, every pending operand and every event and reports what it finds. Checksums of the files are
    /// verified on the way.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](ErrorKind::Corrupt) or [`Io`](ErrorKind::Io) when the engine cannot go on reading. Rows that can be
    /// read but not understood are findings, not errors.
    pub fn check(&self) -> Result<CheckReport> {
        let snapshot = self.store.shared.engine().snapshot();
        let mut report = self.store.shared.check(&snapshot)?;
        if snapshot.engine().has_family(log::FAMILY) {
            let mut table = TableReport::named(log::FAMILY);
            let walked = log::check(&snapshot, |id, what| table.find_unreadable(id.as_bytes(), what))?;
            (table.events, table.row_bytes) = (walked.events, walked.bytes);
            report.tables.push(table);
        }
        Ok(report)
    }

    /// Figures of the store. Cheap: nothing is read.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let merges = self.store.shared.engine().merge_counts();
        let health = self.store.shared.engine().health();
        Stats {
            tables: self.store.shared.table_stats(),
            writes: self.store.shared.write_stats(),
            full_merges: merges.full,
            partial_merges: merges.partial,
            operands_merged: merges.operands,
            merge_panics: merges.panics,
            background_errors: health.background_errors,
            writes_stopped: health.write_stopped,
        }
    }

    /// Adds a backup of the store, as it is now, to a directory of backups. Backups there share unchanged files.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) when the directory holds something else, [`Io`](ErrorKind::Io) when it cannot be
    /// written.
    pub fn backup(&self, to: impl AsRef<Path>) -> Result<Backup> {
        rocks::backup(&self.store.shared.engine(), to.as_ref()).map(Backup::from)
    }

    /// The backups in a directory, oldest first.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) or [`Invalid`](ErrorKind::Invalid) when it is no directory of backups.
    pub fn backups(from: impl AsRef<Path>) -> Result<Vec<Backup>> {
        Ok(rocks::backups(from.as_ref())?.into_iter().map(Backup::from).collect())
    }

    /// Makes a store in a new or empty directory from the latest backup.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) when the target is not empty, [`Corrupt`](ErrorKind::Corrupt) when the backup is
    /// damaged or of a newer format.
    pub fn restore(from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<Backup> {
        rocks::restore(from.as_ref(), None, to.as_ref()).map(Backup::from)
    }

    /// In a store opened with [`Builder::open_secondary`]: takes in what the writer wrote meanwhile. Snapshots and
    /// scans stay where they are. It costs as much as opening, but for the cache, which stays.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) in a store that was opened otherwise, [`Io`](ErrorKind::Io) when the files of
    /// the writer cannot be read.
    pub fn catch_up(&self) -> Result<()> {
        self.store.shared.catch_up()
    }

    /// Commits what was submitted, syncs the log and takes no more writes. Dropping the store does the same, but
    /// cannot tell of a failure.
    ///
    /// # Errors
    ///
    /// [`Io`](ErrorKind::Io) when the log cannot be synced.
    pub fn close(self) -> Result<()> {
        self.store.close()
    }
}

impl fmt::Debug for Db {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Db").field("path", &self.store.shared.engine().path()).finish_non_exhaustive()
    }
}
