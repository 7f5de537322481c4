//! The facade: it joins the rooms below and adds nothing of its own.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

#[cfg(doc)]
use crate::error::ErrorKind;
use crate::error::Result;
use crate::limits::Limits;
use crate::model::{Kind, Profile, ProfileKey, Timestamp, Value};
use crate::ops::{Change, Update};
use crate::rocks;
use crate::store::{
    Access, CheckReport, Commit, Durability, Options, Profiles, Running, Source, TableStats, View, Write, WriteStats,
};

/// A store of profiles in a directory.
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
pub struct Db(Arc<Running>);

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
        let view = View::new(Source::Live(Arc::clone(&self.0)), kind.clone());
        Table { db: self.clone(), view }
    }

    /// The kinds of profiles that were ever written.
    #[must_use]
    pub fn kinds(&self) -> Vec<Kind> {
        self.0.kinds()
    }

    /// One moment of the whole store, to read from as long as it is held. It costs little, but what it keeps from being
    /// folded costs reads: do not hold one for hours.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot(self.0.engine().snapshot())
    }

    /// Commits a batch: all of it or nothing, as durable as the store's default.
    ///
    /// # Errors
    ///
    /// As [`Table::update`]; nothing of the batch was stored then.
    pub fn write(&self, batch: Batch) -> Result<()> {
        self.write_with(batch, self.0.options.durability)
    }

    /// Commits a batch with a durability of its own.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    pub fn write_with(&self, batch: Batch, durability: Durability) -> Result<()> {
        let writes = self.admit(batch)?;
        if writes.is_empty() { Ok(()) } else { self.0.write(writes, durability) }
    }

    /// Hands a batch over and returns at once; [`Commit::wait`] tells how it went.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) or [`LimitExceeded`](ErrorKind::LimitExceeded) when it is not admitted,
    /// [`ReadOnly`](ErrorKind::ReadOnly) or [`Closed`](ErrorKind::Closed) when the store takes no writes.
    pub fn submit(&self, batch: Batch) -> Result<Commit> {
        self.submit_with(batch, self.0.options.durability)
    }

    /// Hands a batch over with a durability of its own.
    ///
    /// # Errors
    ///
    /// As [`submit`](Self::submit).
    pub fn submit_with(&self, batch: Batch, durability: Durability) -> Result<Commit> {
        let writes = self.admit(batch)?;
        if writes.is_empty() { Ok(Commit::done()) } else { self.0.submit(writes, durability) }
    }

    fn admit(&self, batch: Batch) -> Result<Vec<Write>> {
        let mut writes = Vec::with_capacity(batch.changes.len());
        let now = (self.0.options.clock)();
        for (key, change) in batch.changes {
            writes.extend(self.0.admit(key, change, now)?);
        }
        Ok(writes)
    }

    /// Makes everything that was written so far survive power loss.
    ///
    /// # Errors
    ///
    /// [`Io`](ErrorKind::Io) when the log cannot be synced.
    pub fn sync(&self) -> Result<()> {
        self.0.engine().sync()
    }

    /// Writes what is in memory to files, composing pending operands on the way.
    ///
    /// # Errors
    ///
    /// [`Io`](ErrorKind::Io) when the files cannot be written.
    pub fn flush(&self) -> Result<()> {
        self.0.engine().flush()
    }

    /// Folds every profile and rewrites every file. Reads are fastest afterwards. It takes time and, for a while, up to
    /// twice the space.
    ///
    /// # Errors
    ///
    /// [`ReadOnly`](ErrorKind::ReadOnly) when the store was opened for reading, [`Io`](ErrorKind::Io) when the files
    /// cannot be written.
    pub fn compact(&self) -> Result<()> {
        self.0.compact()
    }

    /// Walks every row and every pending operand and reports what it finds. Checksums of the files are verified on the
    /// way.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](ErrorKind::Corrupt) or [`Io`](ErrorKind::Io) when the engine cannot go on reading. Rows that can be
    /// read but not understood are findings, not errors.
    pub fn check(&self) -> Result<CheckReport> {
        self.0.check()
    }

    /// Figures of the store. Cheap: nothing is read.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let merges = self.0.engine().merge_counts();
        let health = self.0.engine().health();
        Stats {
            tables: self.0.table_stats(),
            writes: self.0.write_stats(),
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
        rocks::backup(&self.0.engine(), to.as_ref()).map(Backup::from)
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
        self.0.catch_up()
    }

    /// Commits what was submitted, syncs the log and takes no more writes. Dropping the store does the same, but
    /// cannot tell of a failure.
    ///
    /// # Errors
    ///
    /// [`Io`](ErrorKind::Io) when the log cannot be synced.
    pub fn close(self) -> Result<()> {
        self.0.close()
    }
}

impl fmt::Debug for Db {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Db").field("path", &self.0.engine().path()).finish_non_exhaustive()
    }
}

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
    /// What updates may contain. Default: [`Limits::mixpanel`].
    pub fn limits(mut self, limits: Limits) -> Self {
        self.0.limits = limits;
        self
    }

    /// What a write survives unless it says otherwise. Default: [`Durability::Synced`].
    pub fn durability(mut self, durability: Durability) -> Self {
        self.0.durability = durability;
        self
    }

    /// Whether a missing or empty directory becomes a store. Default: yes.
    pub fn create(mut self, create: bool) -> Self {
        self.0.create = create;
        self
    }

    /// After how many operands on one profile its row is written, so that reads of profiles that are updated all the
    /// time stay fast. Default: 500. 0: never, until a compaction.
    pub fn fold_after(mut self, operands: u16) -> Self {
        self.0.fold_after = operands;
        self
    }

    /// Memory for blocks of files, shared by all tables, in bytes. Default: 256 MB; at least 1 MB.
    pub fn block_cache_bytes(mut self, bytes: usize) -> Self {
        self.0.engine.block_cache_bytes = bytes;
        self
    }

    /// Memory that a table collects writes in before they go to a file, in bytes. Default: 64 MB; 64 KB to 2 GB.
    pub fn memtable_bytes(mut self, bytes: usize) -> Self {
        self.0.engine.memtable_bytes = bytes;
        self
    }

    /// Flushes and compactions at the same time. Default: the number of cores, at least 2; 1 to 256.
    pub fn background_jobs(mut self, jobs: usize) -> Self {
        self.0.engine.background_jobs = jobs;
        self
    }

    /// Where the time comes from when an update brings none, and what no update may lie beyond. Default: the clock of
    /// the system.
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

    /// Opens a store for reading, as it is now, even while another process writes to it.
    ///
    /// # Errors
    ///
    /// As [`Db::open`], and [`NotFound`](ErrorKind::NotFound) when there is no store.
    pub fn open_read_only(self, path: impl AsRef<Path>) -> Result<Db> {
        self.open_as(path.as_ref(), Access::ReadOnly)
    }

    /// Opens a store for reading beside a process that writes to it, whose later writes [`Db::catch_up`] takes in.
    /// `scratch` is a directory for the reader's own log.
    ///
    /// # Errors
    ///
    /// As [`open_read_only`](Self::open_read_only).
    pub fn open_secondary(self, path: impl AsRef<Path>, scratch: impl AsRef<Path>) -> Result<Db> {
        self.open_as(path.as_ref(), Access::Secondary { scratch: scratch.as_ref().to_owned() })
    }

    fn open_as(self, path: &Path, access: Access) -> Result<Db> {
        Running::open(path, access, self.0).map(|running| Db(Arc::new(running)))
    }
}

/// Changes of any profiles of any kinds that are committed together or not at all.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// use profiledb::{Batch, Db, ProfileKey, Update};
///
/// let db = Db::open(dir.path().join("store"))?;
/// let mut batch = Batch::new();
/// batch.update(ProfileKey::user("alice")?, Update::new().union("company", ["acme"]));
/// batch.update(ProfileKey::group("company", "acme")?, Update::new().set("tier", "gold"));
/// db.write(batch)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Batch {
    changes: Vec<(ProfileKey, Change)>,
}

impl Batch {
    /// A batch without changes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an update of a profile.
    pub fn update(&mut self, key: ProfileKey, update: Update) {
        self.change(key, Change::Update(update));
    }

    /// Adds the end of a profile.
    pub fn delete(&mut self, key: ProfileKey) {
        self.change(key, Change::Delete);
    }

    /// Adds a change of a profile.
    pub fn change(&mut self, key: ProfileKey, change: Change) {
        self.changes.push((key, change));
    }

    /// How many changes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

impl FromIterator<(ProfileKey, Change)> for Batch {
    fn from_iter<I: IntoIterator<Item = (ProfileKey, Change)>>(changes: I) -> Self {
        Self { changes: changes.into_iter().collect() }
    }
}

/// The profiles of one kind: the verbs to write them, and those to read them as they are at each call.
#[derive(Clone, Debug)]
pub struct Table {
    db: Db,
    view: View,
}

impl Table {
    fn batch(&self, id: &str, change: Change) -> Result<Batch> {
        let key = ProfileKey::new(self.view.kind().clone(), id)?;
        Ok(Batch { changes: vec![(key, change)] })
    }

    /// Applies an update to a profile. It is a blind write: nothing is read.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) for an empty id, a reserved name or a number that is not finite;
    /// [`LimitExceeded`](ErrorKind::LimitExceeded) for values that are too large or too many properties;
    /// [`Io`](ErrorKind::Io) or [`ReadOnly`](ErrorKind::ReadOnly) when the engine cannot write. The profile is
    /// unchanged then.
    pub fn update(&self, id: &str, update: Update) -> Result<()> {
        self.db.write(self.batch(id, Change::Update(update))?)
    }

    /// Applies an update with a durability of its own.
    ///
    /// # Errors
    ///
    /// As [`update`](Self::update).
    pub fn update_with(&self, id: &str, update: Update, durability: Durability) -> Result<()> {
        self.db.write_with(self.batch(id, Change::Update(update))?, durability)
    }

    /// Hands an update over and returns at once, so that one thread can keep many synced updates in flight.
    ///
    /// # Errors
    ///
    /// As [`Db::submit`].
    pub fn submit(&self, id: &str, update: Update) -> Result<Commit> {
        self.db.submit(self.batch(id, Change::Update(update))?)
    }

    /// Removes a profile with all its properties. Removing one that is not there succeeds.
    ///
    /// # Errors
    ///
    /// As [`update`](Self::update).
    pub fn delete(&self, id: &str) -> Result<()> {
        self.db.write(self.batch(id, Change::Delete)?)
    }

    /// The read verbs alone.
    #[must_use]
    pub fn view(&self) -> &View {
        &self.view
    }

    /// The kind of profile that this is about.
    #[must_use]
    pub fn kind(&self) -> &Kind {
        self.view.kind()
    }

    /// As [`View::get`].
    ///
    /// # Errors
    ///
    /// As [`View::get`].
    pub fn get(&self, id: &str) -> Result<Option<Profile>> {
        self.view.get(id)
    }

    /// As [`View::get_property`].
    ///
    /// # Errors
    ///
    /// As [`View::get`].
    pub fn get_property(&self, id: &str, name: &str) -> Result<Option<Value>> {
        self.view.get_property(id, name)
    }

    /// As [`View::get_many`].
    ///
    /// # Errors
    ///
    /// As [`View::get_many`].
    pub fn get_many<I: AsRef<str>>(&self, ids: &[I]) -> Result<Vec<Option<Profile>>> {
        self.view.get_many(ids)
    }

    /// As [`View::contains`].
    ///
    /// # Errors
    ///
    /// As [`View::get`].
    pub fn contains(&self, id: &str) -> Result<bool> {
        self.view.contains(id)
    }

    /// As [`View::iter`].
    #[must_use]
    pub fn iter(&self) -> Profiles {
        self.view.iter()
    }

    /// As [`View::range`].
    #[must_use]
    pub fn range<'a>(&self, range: impl std::ops::RangeBounds<&'a str>) -> Profiles {
        self.view.range(range)
    }

    /// As [`View::prefix`].
    #[must_use]
    pub fn prefix(&self, prefix: &str) -> Profiles {
        self.view.prefix(prefix)
    }
}

/// One moment of the whole store: what was acknowledged before it was taken, and nothing after.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let db = profiledb::Db::open(dir.path().join("store"))?;
/// use profiledb::Update;
///
/// db.users().update("alice", Update::new().set("plan", "free"))?;
/// let before = db.snapshot();
/// db.users().update("alice", Update::new().set("plan", "pro"))?;
/// assert_eq!(before.users().get_property("alice", "plan")?, Some("free".into()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Snapshot(rocks::Snapshot);

impl Snapshot {
    /// The number of the last change that it sees. Numbers grow by one with every change of one key.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.0.sequence()
    }

    /// The profiles of users.
    #[must_use]
    pub fn users(&self) -> View {
        self.table(&Kind::User)
    }

    /// The profiles of the groups under a group key.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) when the key is empty, longer than 255 bytes or has a NUL in it.
    pub fn groups(&self, group_key: impl Into<String>) -> Result<View> {
        Ok(self.table(&Kind::group(group_key)?))
    }

    /// The profiles of a kind.
    #[must_use]
    pub fn table(&self, kind: &Kind) -> View {
        View::new(Source::Pinned(self.0.clone()), kind.clone())
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").field("sequence", &self.sequence()).finish()
    }
}

/// Figures of a store.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// Table by table.
    pub tables: Vec<TableStats>,
    /// What was written since the store was opened.
    pub writes: WriteStats,
    /// Rows folded since the store was opened, on reads, flushes and compactions.
    pub full_merges: u64,
    /// Runs of operands composed since the store was opened, on flushes and compactions.
    pub partial_merges: u64,
    /// Operands that went into those.
    pub operands_merged: u64,
    /// Merges that panicked. Their operands are in quarantine. Always 0, unless there is a defect in this crate.
    pub merge_panics: u64,
    /// Failed flushes and compactions since the store was opened.
    pub background_errors: u64,
    /// Whether the engine holds writes back, because flushes or compactions cannot keep up or failed.
    pub writes_stopped: bool,
}

/// One backup in a directory of backups.
#[derive(Clone, Copy, Debug, Serialize)]
#[non_exhaustive]
pub struct Backup {
    /// Its number.
    pub id: u32,
    /// When it was made, in seconds since the epoch.
    pub timestamp: i64,
    /// Its size, in bytes.
    pub bytes: u64,
}

impl From<rocks::Backup> for Backup {
    fn from(backup: rocks::Backup) -> Self {
        Self { id: backup.id, timestamp: backup.timestamp, bytes: backup.bytes }
    }
}
