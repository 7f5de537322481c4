//! The facade over profiles, events and joins: it composes the rooms below into requests that need several of them.
//!
//! ```text
//! mod      Db: open, write, maintain            builder   settings
//! batch    write batches                        table     the profiles of one kind
//! events   the event log, erasure of a user     snapshot  a consistent point-in-time view
//! join     a snapshot as the join reads it      stats     statistics, backups
//! importer bulk import                      repair    repair of a damaged store
//! sealing  a pass that seals events         sealer    the thread that does so in the background
//! deletions  of users, which a crash does not end    codes     what joins have read is stored
//! refresher  the thread that keeps what joins have in memory up to date
//! background the handle of such a thread
//! ```

mod background;
mod batch;
mod builder;
mod codes;
mod deletions;
mod events;
mod importer;
mod join;
mod refresher;
mod repair;
mod sealer;
mod sealing;
mod snapshot;
mod stats;
mod table;

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

pub use batch::Batch;
pub use builder::Builder;
pub use events::EventLog;
pub use importer::{Import, Imported, Importer, NoteLine};
pub use repair::{FileRepair, RepairReport, TableRepair};
pub use sealing::Sealed;
pub use snapshot::Snapshot;
pub use stats::{Backup, SealingStats, Stats};
pub use table::Table;

use background::BackgroundThread;
use sealer::Sealer;

use crate::codec::CODES;
#[cfg(doc)]
use crate::error::ErrorKind;
use crate::error::Result;
use crate::ingest::Rules;
use crate::log::{self, Appender};
use crate::model::Kind;
use crate::ops::Excess;
use crate::rocks;
use crate::store::{
    CheckReport, Commit, Durability, ReadSource, Request, Store, TableReport, View, check_stored_codes,
};

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
    appender: Arc<Appender>,
    /// None in a store that is open for reading.
    sealer: Option<Arc<Sealer>>,
    /// Likewise.
    refresher: Option<Arc<BackgroundThread>>,
    /// Dropped after the threads have ended.
    store: Arc<Store>,
}

impl Db {
    /// Opens the store in a directory, and creates it if there is none.
    ///
    /// # Errors
    ///
    /// [`InUse`](ErrorKind::InUse) when it is open for writing already, by whatever path, in this process or another;
    /// [`Invalid`](ErrorKind::Invalid) when the directory holds something else, [`Corrupt`](ErrorKind::Corrupt) when it
    /// is damaged or of a newer format, [`Io`](ErrorKind::Io) when it cannot be read or written. Nothing in it was
    /// changed then.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::builder().open(path)
    }

    /// Settings for opening a store; [`Builder`] has an example.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The profiles of users.
    #[must_use]
    pub fn users(&self) -> Table {
        self.table(&Kind::User)
    }

    /// The profiles of the groups under a group key. The first update that creates a profile creates the table, up to
    /// [`group_keys_max`](crate::Limits::group_keys_max) of them.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use profiledb::{Db, Update};
    ///
    /// let companies = Db::open(dir.path().join("store"))?.groups("company")?;
    /// companies.update("acme", Update::new().set("tier", "gold"))?;
    /// assert_eq!(companies.get_property("acme", "tier")?, Some("gold".into()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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

    /// The kinds of profiles that have tables.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let db = profiledb::Db::open(dir.path().join("store"))?;
    /// use profiledb::Kind;
    ///
    /// db.groups("company")?.create()?;
    /// assert_eq!(db.kinds(), [Kind::group("company")?]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn kinds(&self) -> Vec<Kind> {
        self.store.shared.kinds()
    }

    /// Drops the table of a kind: all its profiles at once, and of groups their first event times. Says whether there
    /// was one. It is durable when it returns, and its space is reclaimed at once.
    ///
    /// What was submitted before is committed first; a later update of the kind creates the table anew, empty. Scans
    /// that are running go on to their end. A [`Snapshot`] that was taken before can no longer read the table: it fails
    /// with [`NotFound`](ErrorKind::NotFound). Backups keep what they have. Events are kept, so first event times of
    /// users are kept too, and those of groups can be had again by
    /// [`backfill_first_event_times`](Self::backfill_first_event_times). If the process ends in the middle, the
    /// profiles may be gone before the rest; to repeat it drops the rest.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let db = profiledb::Db::open(dir.path().join("store"))?;
    /// use profiledb::{Kind, Update};
    ///
    /// // The key and the id were swapped.
    /// db.groups("acme")?.update("company", Update::new().set("tier", "gold"))?;
    /// assert!(db.drop_table(&Kind::group("acme")?)?);
    /// assert_eq!(db.kinds(), []);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ReadOnly`](ErrorKind::ReadOnly) when the store was opened for reading, [`Io`](ErrorKind::Io) when the engine
    /// cannot write.
    pub fn drop_table(&self, kind: &Kind) -> Result<bool> {
        self.store.drop_table(kind)
    }

    /// The event log.
    #[must_use]
    pub fn events(&self) -> EventLog {
        EventLog::new(self.clone())
    }

    /// A consistent point-in-time view of the whole store, valid as long as it is held. It is cheap, but operands
    /// cannot be folded across it, which makes reads slower with time: do not hold one for hours.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot { engine: self.store.shared.engine().snapshot(), shared: Arc::clone(&self.store.shared) }
    }

    /// Commits a batch, all of it or nothing, and waits until it is as durable as the store's default.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use profiledb::{Batch, Db, Durability, Update};
    ///
    /// let db = Db::open(dir.path().join("store"))?;
    /// let mut batch = Batch::new();
    /// batch.update(&db.users(), "alice", Update::new().add("logins", 1))?;
    /// batch.update(&db.users(), "bob", Update::new().add("logins", 1))?;
    /// db.write(batch.clone())?;
    /// db.write_with(batch.clone(), Durability::Buffered)?;
    /// db.submit(batch)?.wait()?;
    /// assert_eq!(db.users().get_property("bob", "logins")?, Some(3.into()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Table::update`]. All of the batch is stored, or nothing of it; which of the two is not known after an
    /// [`OutcomeUnknown`](ErrorKind::OutcomeUnknown), and is visible once the store was reopened.
    pub fn write(&self, batch: Batch) -> Result<()> {
        self.write_with(batch, self.store.shared.options.durability)
    }

    /// As [`write`](Self::write), with a durability of its own.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    pub fn write_with(&self, batch: Batch, durability: Durability) -> Result<()> {
        let request = self.admit(batch.skip_refused(false))?;
        if request.is_empty() { Ok(()) } else { self.store.write(request, durability) }
    }

    /// Queues a batch and returns: the [`Commit`] can be waited on or awaited. Writes are committed in the order in
    /// which they were queued.
    ///
    /// The queue holds 16 MB of keys and values. When it is full, this blocks until the engine has caught up; an async
    /// program wants [`try_submit`](Self::try_submit).
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) or [`LimitExceeded`](ErrorKind::LimitExceeded) when it is not admitted,
    /// [`ReadOnly`](ErrorKind::ReadOnly) or [`Closed`](ErrorKind::Closed) when the store takes no writes.
    pub fn submit(&self, batch: Batch) -> Result<Commit> {
        self.submit_with(batch, self.store.shared.options.durability)
    }

    /// As [`submit`](Self::submit), with a durability of its own.
    ///
    /// # Errors
    ///
    /// As [`submit`](Self::submit).
    pub fn submit_with(&self, batch: Batch, durability: Durability) -> Result<Commit> {
        let request = self.admit(batch)?;
        if request.is_empty() { Ok(Commit::done(request.refused)) } else { self.store.submit(request, durability) }
    }

    /// As [`submit`](Self::submit), but it never blocks.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use profiledb::{Batch, Db, Update};
    ///
    /// let db = Db::open(dir.path().join("store"))?;
    /// let mut batch = Batch::new();
    /// batch.update(&db.users(), "alice", Update::new().add("logins", 1))?;
    /// match db.try_submit(batch) {
    ///     Ok(commit) => commit.wait()?,
    ///     Err(error) if error.is_busy() => println!("try again later"),
    ///     Err(error) => return Err(error.into()),
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
        if request.is_empty() { Ok(Commit::done(request.refused)) } else { self.store.try_submit(request, durability) }
    }

    /// An importer of updates and events that are parsed by `rules`, which are [`Db::rules`] unless there is a reason
    /// for others.
    pub fn importer(&self, rules: Rules) -> Importer {
        Importer::new(self.clone(), rules)
    }

    fn admit(&self, batch: Batch) -> Result<Request> {
        let mut request = Request::default();
        let shared = &self.store.shared;
        let now = (shared.options.clock)();
        request.profiles.reserve(batch.changes.len());
        let mut positions = batch.skips_refused.then(Vec::new);
        for (position, (key, change)) in batch.changes.into_iter().enumerate() {
            match (shared.admit(key, change, now, &mut Excess::Refused), &mut positions) {
                (Ok(write), positions) => {
                    positions.iter_mut().filter(|_| write.is_some()).for_each(|positions| positions.push(position));
                    request.add(write);
                }
                (Err(error), Some(_)) => request.refused.push((position, error)),
                (Err(error), None) => return Err(error),
            }
        }
        request.positions = positions;
        if !batch.events.is_empty() {
            let (groups, limits) = (shared.group_keys(), &shared.options.limits);
            request.events.reserve(batch.events.len());
            for event in batch.events {
                let (excess, first_events) = (&mut Excess::Refused, &mut request.first_events);
                request.events.push(self.appender.append(event, limits, excess, now, &groups, first_events)?);
            }
        }
        Ok(request)
    }

    /// Scans the whole log for the first-event time of each user, or each group of a kind, and adds them to the index
    /// that `$mp_first_event_time` is read from. Appended events are added to it anyway, but those of groups only from
    /// when their table exists; this creates the table if necessary. It can be repeated at any time, and should be if
    /// events were appended while it created the table. Events that cannot be read are skipped; [`check`](Self::check)
    /// reports them.
    ///
    /// Returns how many events had an id of this kind.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use profiledb::{Db, Event, Kind, Timestamp};
    ///
    /// let db = Db::open(dir.path().join("store"))?;
    /// let time = Timestamp::parse("2024-01-02")?;
    /// db.events().append(Event::new("visit", "alice", time).set("company", "acme"))?;
    /// assert_eq!(db.groups("company")?.first_event_time("acme")?, None);
    /// assert_eq!(db.backfill_first_event_times(&Kind::group("company")?)?, 1);
    /// assert_eq!(db.groups("company")?.first_event_time("acme")?, Some(time));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ReadOnly`](ErrorKind::ReadOnly) when the store was opened for reading,
    /// [`LimitExceeded`](ErrorKind::LimitExceeded) when there are too many group keys for another table,
    /// [`Io`](ErrorKind::Io) when the engine cannot read or write. To repeat it scans the log again.
    pub fn backfill_first_event_times(&self, kind: &Kind) -> Result<u64> {
        let _foreground = self.store.foreground();
        self.store.create_table(kind)?;
        let mut times = log::FirstEventBackfill::new(&self.store.shared.engine().snapshot(), kind);
        while let Some(first_events) = times.next()? {
            self.store.write(Request { first_events, ..Request::default() }, Durability::Buffered)?;
        }
        self.synced_by_default()?;
        Ok(times.events())
    }

    /// Builds the index of first-event times of a kind anew, after damage: from the times in it that can be read, and
    /// from all events. The first event of an id that is in a damaged part, and was deleted from the log, is lost.
    /// Nothing has to be reopened, but do not write meanwhile; opening for reading fails with
    /// [`Busy`](ErrorKind::Busy). If the process ends meanwhile, the next open for writing completes it.
    ///
    /// Returns how many events had an id of this kind.
    ///
    /// # Errors
    ///
    /// As [`backfill_first_event_times`](Self::backfill_first_event_times). It can be repeated.
    pub fn rebuild_first_event_times(&self, kind: &Kind) -> Result<u64> {
        let _foreground = self.store.foreground();
        self.store.keep_first_events(kind)?;
        self.store.renew_first_events(kind)?;
        let events = self.backfill_first_event_times(kind)?;
        self.sync()?;
        self.store.forget_kept_first_events(kind)?;
        Ok(events)
    }

    /// Rules for reading records in Mixpanel's formats that are going to be written to this store: its limits and its
    /// clock.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use profiledb::ingest::Record;
    /// use profiledb::{Batch, Db};
    ///
    /// let db = Db::open(dir.path().join("store"))?;
    /// let text = br#"{"$distinct_id":"alice","$set":{"plan":"pro"}}"#;
    /// let record = Record::from_slice(text, &db.rules().strict(true))?;
    /// let mut batch = Batch::new();
    /// batch.change(record.key, record.change);
    /// db.write(batch)?;
    /// assert!(db.users().contains("alice")?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn rules(&self) -> Rules {
        let options = &self.store.shared.options;
        let clock = Arc::clone(&options.clock);
        Rules::new().limits(options.limits.clone()).clock(move || clock())
    }

    /// Syncs after a sequence of buffered writes, if that is the store's default.
    fn synced_by_default(&self) -> Result<()> {
        match self.store.shared.options.durability {
            Durability::Synced => self.sync(),
            Durability::Buffered => Ok(()),
        }
    }

    /// Syncs the write-ahead log: everything that was written so far survives power loss.
    ///
    /// # Errors
    ///
    /// [`Io`](ErrorKind::Io) when the log cannot be synced. What was written since the last sync may then not survive
    /// power loss until the store was reopened, and the store takes no more writes before that: a second sync could
    /// succeed without having written anything. [`ReadOnly`](ErrorKind::ReadOnly) when it has stopped before.
    pub fn sync(&self) -> Result<()> {
        self.store.shared.engine().sync()
    }

    /// Flushes memtables to files, which composes pending operands.
    ///
    /// # Errors
    ///
    /// [`Io`](ErrorKind::Io) when the files cannot be written. Nothing is lost then: it is all in the write-ahead log.
    pub fn flush(&self) -> Result<()> {
        self.store.shared.engine().flush()
    }

    /// Compacts every table and the log: every profile is folded and every file rewritten. Reads are fastest
    /// afterwards. It takes time and, temporarily, up to twice the space.
    ///
    /// # Errors
    ///
    /// [`ReadOnly`](ErrorKind::ReadOnly) when the store was opened for reading, [`Io`](ErrorKind::Io) when the files
    /// cannot be written.
    pub fn compact(&self) -> Result<()> {
        let _foreground = self.store.foreground();
        self.store.compact()
    }

    /// Verifies every row, every pending operand and every event, and the checksums of all files.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let db = profiledb::Db::open(dir.path().join("store"))?;
    /// db.users().update("alice", profiledb::Update::new().set("plan", "pro"))?;
    /// let report = db.check()?;
    /// assert!(report.is_sound() && report.tables[0].profiles == 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Corrupt`](ErrorKind::Corrupt) or [`Io`](ErrorKind::Io) when the engine cannot continue. Rows that cannot be
    /// decoded are findings, not errors.
    pub fn check(&self) -> Result<CheckReport> {
        let snapshot = self.store.shared.engine().snapshot();
        let mut report = self.store.shared.check(&snapshot)?;
        if snapshot.engine().has_family(log::FAMILY) {
            let mut table = TableReport::named(log::FAMILY);
            let checked = log::check(&snapshot, |id, what| table.find_unreadable(id.as_bytes(), what))?;
            (table.events, table.row_bytes, table.damage) = (checked.events, checked.bytes, checked.damage);
            report.tables.push(table);
        }
        if snapshot.engine().has_family(log::SEALED_FAMILY) {
            let mut table = TableReport::named(log::SEALED_FAMILY);
            let checked = log::check_sealed(&snapshot, |id, what| table.find_unreadable(id.as_bytes(), what))?;
            (table.events, table.row_bytes, table.damage) = (checked.events, checked.bytes, checked.damage);
            report.tables.push(table);
        }
        if snapshot.engine().has_family(CODES) {
            let mut table = TableReport::named(CODES);
            check_stored_codes(&snapshot, |error| table.find_unreadable(b"", &error.to_string()))?;
            report.tables.push(table);
        }
        Ok(report)
    }

    /// Statistics of the store. Cheap: no data is read, but for the headers of column segments.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let merges = self.store.shared.engine().merge_counts();
        let health = self.store.shared.engine().health();
        let mut tables = self.store.shared.table_stats();
        let status = self.sealer.as_ref().map(|sealer| sealer.status()).unwrap_or_default();
        let mut sealing = SealingStats {
            unsealed_events: self.store.shared.unsealed.count(),
            passes: status.passes,
            failures: status.failures,
            last_error: status.last_error().map(ToString::to_string),
            ..SealingStats::default()
        };
        if let Some(segments) = tables.iter_mut().find(|stats| stats.table == log::SEALED_FAMILY) {
            // Headers that cannot be read are what `check` reports.
            let snapshot = self.store.shared.engine().snapshot();
            (sealing.segments, sealing.sealed_events) = log::count_sealed(&snapshot).unwrap_or_default();
            segments.profiles_estimate = sealing.sealed_events;
        }
        Stats {
            tables,
            writes: self.store.shared.write_stats(),
            full_merges: merges.full,
            partial_merges: merges.partial,
            operands_merged: merges.operands,
            merge_panics: merges.panics,
            background_errors: health.background_errors,
            writes_stopped: health.write_stopped,
            truncated: self.store.shared.engine().truncated().to_vec(),
            sealing,
        }
    }

    /// Adds a backup of the store, as it is now, to a directory of backups, which share unchanged files.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use profiledb::{Db, Update};
    ///
    /// let db = Db::open(dir.path().join("store"))?;
    /// db.users().update("alice", Update::new().set("plan", "pro"))?;
    /// let backup = db.backup(dir.path().join("backups"))?;
    /// assert_eq!(Db::backups(dir.path().join("backups"))?.last().map(|last| last.id), Some(backup.id));
    /// Db::restore(dir.path().join("backups"), dir.path().join("restored"))?;
    /// assert!(Db::open(dir.path().join("restored"))?.users().contains("alice")?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) when the directory holds something else, [`Io`](ErrorKind::Io) when it cannot be
    /// written.
    pub fn backup(&self, to: impl AsRef<Path>) -> Result<Backup> {
        rocks::backup(&self.store.shared.engine(), to.as_ref()).map(Backup::from)
    }

    /// The backups in a directory, oldest first, those included that are damaged. Their files are looked up, but not
    /// read.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) or [`Invalid`](ErrorKind::Invalid) when it is no directory of backups,
    /// [`Io`](ErrorKind::Io) when it cannot be read.
    pub fn backups(from: impl AsRef<Path>) -> Result<Vec<Backup>> {
        Ok(rocks::backups(from.as_ref())?.into_iter().map(Backup::from).collect())
    }

    /// Reads every file of one backup, or of all of them, and verifies its checksum. What is wrong is the
    /// [`damage`](Backup::damage) of a backup.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let db = profiledb::Db::open(dir.path().join("store"))?;
    /// # use profiledb::Db;
    /// let backup = db.backup(dir.path().join("backups"))?;
    /// let verified = Db::verify_backups(dir.path().join("backups"), None)?;
    /// assert!(verified.len() == 1 && verified[0].damage.is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`backups`](Self::backups), and [`NotFound`](ErrorKind::NotFound) when there is no backup with this id.
    pub fn verify_backups(from: impl AsRef<Path>, id: Option<u32>) -> Result<Vec<Backup>> {
        Ok(rocks::verify_backups(from.as_ref(), id)?.into_iter().map(Backup::from).collect())
    }

    /// Restores the newest backup into a new or empty directory. If that one is damaged it fails: an older backup is
    /// restored by [`restore_backup`](Self::restore_backup) only.
    ///
    /// When it fails, the target is as it was before. If the process dies, the target is no store, and the next restore
    /// into it starts over.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) when the target is not empty, [`Corrupt`](ErrorKind::Corrupt) when the backup is
    /// damaged or of a newer format, [`NotFound`](ErrorKind::NotFound) when there is no backup.
    pub fn restore(from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<Backup> {
        rocks::restore(from.as_ref(), None, to.as_ref()).map(Backup::from)
    }

    /// As [`restore`](Self::restore), but the backup with this id.
    ///
    /// # Errors
    ///
    /// As [`restore`](Self::restore).
    pub fn restore_backup(from: impl AsRef<Path>, id: u32, to: impl AsRef<Path>) -> Result<Backup> {
        rocks::restore(from.as_ref(), Some(id), to.as_ref()).map(Backup::from)
    }

    /// In a store opened with [`Builder::open_secondary`]: makes visible what the writer has written since. Snapshots
    /// and scans are not affected. It costs as much as opening, except for the block cache, which is kept.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) in a store that was opened otherwise, [`Io`](ErrorKind::Io) when the files of
    /// the writer cannot be read.
    pub fn catch_up(&self) -> Result<()> {
        self.store.shared.catch_up()
    }

    /// Ends background sealing, commits what was submitted, syncs the write-ahead log, flushes memtables to files
    /// (unless [`flush_on_close`](Builder::flush_on_close) says not to) and accepts no more writes. Dropping the last
    /// clone of the store does the same, but cannot report a failure. Events that are rows stay rows:
    /// [`EventLog::seal`] before it seals them.
    ///
    /// # Errors
    ///
    /// [`Io`](ErrorKind::Io) when the log cannot be synced or the files cannot be written: after a failed flush the log
    /// still has every write. [`ReadOnly`](ErrorKind::ReadOnly) when the store has stopped after an earlier failure:
    /// what was written since the last sync may not survive power loss.
    pub fn close(self) -> Result<()> {
        if let Some(sealer) = &self.sealer {
            sealer.stop();
        }
        if let Some(refresher) = &self.refresher {
            refresher.stop();
        }
        self.store.close()
    }
}

#[cfg(any(test, feature = "laws"))]
impl Db {
    /// Makes the commit of a change of segments fail, after this many that succeed, and all after it; with none, no
    /// more. Returns how many failed before. What is left is what a crash leaves there.
    #[doc(hidden)]
    #[expect(clippy::must_use_candidate, reason = "it is mostly called for what it sets")]
    pub fn fail_segment_commits_after(&self, commits: Option<u64>) -> u64 {
        let faults = &self.store.shared.commit_faults;
        faults.fail_after(commits);
        faults.failed()
    }

    /// Stores what joins have read, as the thread does that seals, and forgets it.
    #[doc(hidden)]
    pub fn store_codes(&self) -> Result<()> {
        let stored = codes::store_codes(&self.store, 0, &crate::join::CancelToken::default());
        self.store.shared.ordinal_cache.clear();
        stored.map(|_| ())
    }

    /// Deletes stored codes, so that changes are not recorded.
    #[doc(hidden)]
    pub fn forget_codes(&self) -> Result<()> {
        self.store.forget_codes()
    }

    /// Of how many combinations of properties codes are stored.
    #[doc(hidden)]
    pub fn stored_codes(&self) -> Result<usize> {
        crate::store::count_stored_codes(&self.store.shared.engine().snapshot())
    }
}

impl fmt::Debug for Db {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Db").field("path", &self.store.shared.engine().path()).finish_non_exhaustive()
    }
}
