//! An open store: an LSM tree per column family, with point reads, batched reads, commits, flushes and compactions.
//!
//! A column family that does not exist reads as empty: no profile of that kind has been written yet. Writing to it is
//! an error, so a family is only ever created explicitly.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use rocksdb::{
    BottommostLevelCompaction, BoundColumnFamily, CompactOptions, DBWithThreadMode, FlushOptions, MultiThreaded,
    ReadOptions, WriteBatch as RawWriteBatch, WriteOptions, properties,
};

use super::consistent_open;
use super::fault;
use super::file_names;
use super::format::{self, DirectoryKind, SEGMENTS_FORMAT, SYNCED_FORMAT, StoreState};
use super::lock::StoreLock;
use super::merge_operator::{MergeCounts, MergeOperator};
use super::options::{self, DEFAULT_FAMILY, EngineOptions, EngineSettings};
use super::synced::SyncRecorder;
use super::verify::{self, Tails, Verified};
use crate::codec::{SEGMENT_FAMILIES, SEGMENTS};
use crate::error::{Error, ErrorKind, Result};

pub(super) type Raw = DBWithThreadMode<MultiThreaded>;
pub(super) type Handle<'e> = Arc<BoundColumnFamily<'e>>;

/// Keys per `MultiGet`. Bounds the memory that one batched read pins.
pub(crate) const READ_KEYS_MAX: usize = 1024;

/// RocksDB's default number of levels, which is not changed.
const LEVELS: usize = 7;

/// How a store is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// For reading and writing, by one process at a time.
    ReadWrite {
        /// Whether a missing or empty directory becomes a store.
        create: bool,
    },
    /// For reading the current state. Later writes of another process are not visible.
    ReadOnly,
    /// For reading while another process writes. [`Engine::caught_up`] sees its later writes.
    Secondary {
        /// A separate directory for RocksDB's info log, outside the store.
        scratch: PathBuf,
    },
}

/// How many were opened.
static ENGINES: AtomicU64 = AtomicU64::new(0);

/// An open store.
pub(crate) struct Engine {
    db: Raw,
    path: PathBuf,
    mode: Mode,
    /// Kept for families created later: they must have the same options as those found on open.
    options: EngineOptions,
    reads: ReadOptions,
    buffered: WriteOptions,
    synced: WriteOptions,
    /// Also the lock that serialises creating and dropping families.
    names: Mutex<BTreeSet<String>>,
    /// No other engine of the process has this number.
    number: u64,
    /// How many families were dropped since the store was opened, and which drop was the last of each name.
    drops: AtomicU64,
    dropped: Mutex<BTreeMap<String, u64>>,
    failure: Mutex<Option<Error>>,
    failed: AtomicBool,
    /// The failure after which no write is accepted until the store is reopened.
    stopped: OnceLock<Error>,
    closed: AtomicBool,
    /// None in a reader.
    synced_lengths: Option<Mutex<SyncRecorder>>,
    /// What opening truncated.
    truncated: Vec<String>,
    /// None in a reader. The last field, so that the store is released after RocksDB has closed it.
    _lock: Option<StoreLock>,
}

impl Engine {
    /// Opens the store in this directory.
    pub(crate) fn open(path: &Path, mode: Mode, settings: &EngineSettings) -> Result<Self> {
        Self::open_with(path, mode, settings, MergeOperator::PROFILE)
    }

    pub(super) fn open_with(
        path: &Path,
        mode: Mode,
        settings: &EngineSettings,
        operator: MergeOperator,
    ) -> Result<Self> {
        settings.check()?;
        Self::open_options(path, mode, EngineOptions::new(settings, operator))
    }

    /// Opens a directory that no other process writes to, with one attempt.
    pub(super) fn open_settled(path: &Path, mode: Mode, settings: &EngineSettings) -> Result<Self> {
        settings.check()?;
        Self::open_once(path, mode, EngineOptions::new(settings, MergeOperator::PROFILE))
    }

    /// A secondary on the current state of the store, sharing the block cache and the counters of this engine.
    ///
    /// `TryCatchUpWithPrimary` of RocksDB is not usable here: what it replayed from the WAL stays in the memtable after
    /// the primary flushed it to a file, until the WAL has more for that family. That is harmless for puts, but
    /// operands are then folded twice.
    pub(crate) fn caught_up(&self) -> Result<Self> {
        if !self.is_secondary() {
            return Err(Error::invalid("only a secondary can catch up"));
        }
        Self::open_options(&self.path, self.mode.clone(), self.options.clone())
    }

    fn open_options(path: &Path, mode: Mode, options: EngineOptions) -> Result<Self> {
        if matches!(mode, Mode::ReadWrite { .. }) {
            return Self::open_once(path, mode, options);
        }
        // Another process may be writing meanwhile.
        consistent_open::retry(path, || Self::open_once(path, mode.clone(), options.clone()))
    }

    fn open_once(path: &Path, mode: Mode, options: EngineOptions) -> Result<Self> {
        let create = mode == Mode::ReadWrite { create: true };
        let mut found = format::admit(path, create)?;
        let mut lock = None;
        if matches!(mode, Mode::ReadWrite { .. }) {
            lock = Some(StoreLock::acquire(path)?);
            found = format::admit(path, create)?;
        }
        let writes = matches!(mode, Mode::ReadWrite { .. });
        let verified = match found {
            StoreState::New => None,
            StoreState::Existing => {
                let tails = if writes { Tails::Truncate } else { Tails::Keep };
                Some(verify::verify(path, tails, format::expects_synced(path)?)?)
            }
        };
        let Verified { synced, truncated, tables } = verified.unwrap_or_default();
        let keeps_all_open = matches!(mode, Mode::Secondary { .. });
        let database = options.database(create && found == StoreState::New, keeps_all_open);
        // Every family is listed with our options: RocksDB would open a family that is not listed, or listed by name
        // only, without the merge operator.
        let names = match found {
            StoreState::New => vec![DEFAULT_FAMILY.to_owned()],
            StoreState::Existing => Raw::list_cf(&database, path).map_err(|error| fault::open(error, path))?,
        };
        let families = options.descriptors(&names);
        let db = match &mode {
            Mode::ReadWrite { .. } => Raw::open_cf_descriptors(&database, path, families),
            Mode::ReadOnly => Raw::open_cf_descriptors_read_only(&database, path, families, false),
            Mode::Secondary { scratch } => {
                let scratch = scratch_directory(scratch, path)?;
                Raw::open_cf_descriptors_as_secondary(&database, path, scratch, families)
            }
        };
        let db = db.map_err(|error| fault::open(error, path))?;
        if matches!(mode, Mode::Secondary { .. }) {
            // A secondary leaves out tables that it cannot open.
            let opened = db.live_files().map_err(|error| fault::open(error, path))?;
            let opened = opened.iter().filter_map(|file| file_names::table(&file.name)).collect();
            if let Some(number) = tables.difference(&opened).next() {
                let remedy = fault::remedy(path);
                return Err(Error::corrupt(format!(
                    "a table file cannot be opened{remedy} file=\"{number:06}.sst\" path={path:?}"
                )));
            }
        }
        let recorder = if writes {
            let recorder = SyncRecorder::open(path, synced).map_err(|error| cannot_record(path, error))?;
            let format = if names.iter().any(|name| name == SEGMENTS) { SEGMENTS_FORMAT } else { SYNCED_FORMAT };
            format::raise(path, DirectoryKind::Store, format)?;
            Some(Mutex::new(recorder))
        } else {
            None
        };
        Ok(Self {
            db,
            path: path.to_owned(),
            mode,
            options,
            reads: ReadOptions::default(),
            buffered: options::writes(false),
            synced: options::writes(true),
            names: Mutex::new(names.into_iter().filter(|name| name != DEFAULT_FAMILY).collect()),
            number: ENGINES.fetch_add(1, Ordering::Relaxed),
            drops: AtomicU64::new(0),
            dropped: Mutex::default(),
            failure: Mutex::new(None),
            failed: AtomicBool::new(false),
            stopped: OnceLock::new(),
            closed: AtomicBool::new(false),
            synced_lengths: recorder,
            truncated,
            _lock: lock,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The names of all column families, sorted.
    pub(crate) fn families(&self) -> Vec<String> {
        self.names.lock().iter().cloned().collect()
    }

    /// The names of the column families with this prefix, sorted.
    pub(crate) fn families_with(&self, prefix: &str) -> Vec<String> {
        let names = self.names.lock();
        names.range(prefix.to_owned()..).take_while(|name| name.starts_with(prefix)).cloned().collect()
    }

    pub(crate) fn has_family(&self, name: &str) -> bool {
        self.handle(name).is_some()
    }

    /// Creates a column family unless it exists. Durable on return.
    pub(crate) fn create_family(&self, name: &str) -> Result<()> {
        self.writable()?;
        if name.is_empty() || name == DEFAULT_FAMILY || name.contains('\0') {
            return Err(Error::invalid(format!("bad family name family={name:?}")));
        }
        let mut names = self.names.lock();
        if names.contains(name) {
            return Ok(());
        }
        self.db
            .create_cf(name, &self.options.family(name))
            .map_err(|error| fault::engine(error, &format!("cannot create the family family={name:?}")))?;
        names.insert(name.to_owned());
        self.record_manifest();
        Ok(())
    }

    /// Creates the column families of column segments unless they exist. Versions that do not know them refuse the
    /// store from then on. Durable on return.
    pub(crate) fn create_segment_families(&self) -> Result<()> {
        if SEGMENT_FAMILIES.iter().all(|family| self.has_family(family)) {
            return Ok(());
        }
        self.writable()?;
        format::raise(&self.path, DirectoryKind::Store, SEGMENTS_FORMAT)?;
        SEGMENT_FAMILIES.iter().try_for_each(|family| self.create_family(family))
    }

    /// Drops a column family and its data, if it exists. Durable on return. Open scans keep reading it; older snapshots
    /// fail to read it.
    pub(crate) fn drop_family(&self, name: &str) -> Result<()> {
        self.writable()?;
        let mut names = self.names.lock();
        if !names.contains(name) {
            return Ok(());
        }
        // First: a snapshot that finds no family any more, or a new one of this name, finds this as well.
        self.dropped.lock().insert(name.to_owned(), self.drops.fetch_add(1, Ordering::AcqRel) + 1);
        self.db
            .drop_cf(name)
            .map_err(|error| fault::engine(error, &format!("cannot drop the family family={name:?}")))?;
        names.remove(name);
        self.record_manifest();
        Ok(())
    }

    /// A number that no other engine of the process has.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// How many column families were dropped since the store was opened.
    pub(super) fn drops(&self) -> u64 {
        self.drops.load(Ordering::Acquire)
    }

    /// Fails if this family was dropped after the first `drops` drops.
    pub(super) fn still_has(&self, family: &str, drops: u64) -> Result<()> {
        if self.drops() == drops || self.dropped.lock().get(family).is_none_or(|&drop| drop <= drops) {
            return Ok(());
        }
        let message = format!("the table was dropped after the snapshot was taken family={family:?}");
        Err(Error::new(ErrorKind::NotFound, message))
    }

    /// Reads the value of a key in place, without a copy.
    pub(crate) fn read<R>(&self, family: &str, key: &[u8], with: impl FnOnce(Option<&[u8]>) -> R) -> Result<R> {
        self.read_at(&self.reads, family, key, with)
    }

    /// Reads the values of many keys in place (`MultiGet`). `each` is called once per key, in the order of `keys`,
    /// with the position of the key.
    pub(crate) fn read_many<K: AsRef<[u8]>, R>(
        &self,
        family: &str,
        keys: &[K],
        each: impl FnMut(usize, Option<&[u8]>) -> R,
    ) -> Result<Vec<R>> {
        self.read_many_at(&self.reads, family, keys, each)
    }

    pub(super) fn read_at<R>(
        &self,
        options: &ReadOptions,
        family: &str,
        key: &[u8],
        with: impl FnOnce(Option<&[u8]>) -> R,
    ) -> Result<R> {
        let Some(handle) = self.handle(family) else { return Ok(with(None)) };
        let value = self.db.get_pinned_cf_opt(&handle, key, options).map_err(|error| unread(error, family))?;
        Ok(with(value.as_deref()))
    }

    pub(super) fn read_many_at<K: AsRef<[u8]>, R>(
        &self,
        options: &ReadOptions,
        family: &str,
        keys: &[K],
        mut each: impl FnMut(usize, Option<&[u8]>) -> R,
    ) -> Result<Vec<R>> {
        let Some(handle) = self.handle(family) else { return Ok((0..keys.len()).map(|at| each(at, None)).collect()) };
        let mut answers = Vec::with_capacity(keys.len());
        for chunk in keys.chunks(READ_KEYS_MAX) {
            // Sorted keys share blocks. They are deduplicated because RocksDB has had bugs with repeated merge keys.
            let mut unique: Vec<&[u8]> = chunk.iter().map(AsRef::as_ref).collect();
            unique.sort_unstable();
            unique.dedup();
            let values = self.db.batched_multi_get_cf_opt(&handle, unique.iter().copied(), true, options);
            let values: Vec<_> = values.into_iter().collect::<Result<_, _>>().map_err(|error| unread(error, family))?;
            for key in chunk {
                // Always found: `unique` holds the same keys.
                let at = unique.binary_search(&key.as_ref()).ok();
                let value = at.and_then(|at| values.get(at)).and_then(|value| value.as_deref());
                answers.push(each(answers.len(), value));
            }
        }
        Ok(answers)
    }

    /// Commits a batch. Called by [`WriteBatch`](super::WriteBatch) only, which limits the operations in it.
    pub(super) fn commit(&self, batch: RawWriteBatch, sync: bool) -> Result<()> {
        self.writable()?;
        if batch.is_empty() {
            return if sync { self.sync() } else { Ok(()) };
        }
        let options = if sync { &self.synced } else { &self.buffered };
        let Err(error) = self.db.write_opt(batch, options) else {
            self.record(|recorder| match sync {
                true => recorder.after_commit(),
                false => recorder.after_unsynced_commit(),
            });
            // RocksDB has resumed by itself.
            if self.failed.load(Ordering::Relaxed) {
                self.failed.store(false, Ordering::Relaxed);
                *self.failure.lock() = None;
            }
            return Ok(());
        };
        let error = fault::commit(error);
        if error.is_outcome_unknown() {
            return Err(self.stop(error));
        }
        Err(self.fail(error))
    }

    /// Syncs the WAL, so that everything written so far survives power loss.
    pub(crate) fn sync(&self) -> Result<()> {
        self.writable()?;
        // Before the sync, because others may write meanwhile.
        let logs = self.synced_lengths.as_ref().map(|recorder| recorder.lock().list());
        self.db.flush_wal(true).map_err(|error| self.stop(fault::sync(error)))?;
        if let Some(Ok(logs)) = logs {
            self.record(|recorder| recorder.record(logs));
        }
        Ok(())
    }

    /// Records how far files were synced.
    fn record(&self, record: impl FnOnce(&mut SyncRecorder) -> io::Result<()>) {
        let Some(recorder) = &self.synced_lengths else { return };
        // What cannot be recorded is recorded after the next sync: the write is durable nevertheless, and a record that
        // lags behind only demands less of the next open.
        let _ = record(&mut recorder.lock());
    }

    /// Records how long the MANIFEST is, after it grew.
    fn record_manifest(&self) {
        self.record(|recorder| recorder.record(recorder.synced_logs()));
    }

    /// The files that were truncated when the store was opened, and where.
    pub(crate) fn truncated(&self) -> &[String] {
        &self.truncated
    }

    /// Flushes all memtables to files. Folds and composes operands on the way.
    pub(crate) fn flush(&self) -> Result<()> {
        self.writable()?;
        let names = self.families();
        let handles: Vec<Handle> = names.iter().filter_map(|name| self.handle(name)).collect();
        for handle in &handles {
            let flushed = self.db.flush_cf_opt(handle, &FlushOptions::default());
            flushed.map_err(|error| self.flush_failed(error))?;
        }
        self.record_manifest();
        Ok(())
    }

    /// Compacts a whole column family, so that the only operands left are those that a snapshot needs.
    pub(crate) fn compact(&self, family: &str) -> Result<()> {
        self.writable()?;
        let Some(handle) = self.handle(family) else { return Ok(()) };
        let before = self.background_errors();
        let flushed = self.db.flush_cf_opt(&handle, &FlushOptions::default());
        flushed.map_err(|error| self.flush_failed(error))?;
        let mut options = CompactOptions::default();
        // By default files may be moved to the bottom level unread (trivial move), with all their operands.
        options.set_bottommost_level_compaction(BottommostLevelCompaction::Force);
        options.set_exclusive_manual_compaction(false);
        self.db.compact_range_cf_opt(&handle, None::<&[u8]>, None::<&[u8]>, &options);
        // The C API drops the status of a manual compaction; the counter of background errors shows a failure.
        if self.background_errors() > before {
            return Err(Error::new(ErrorKind::Io, format!("compaction failed family={family:?}")));
        }
        self.record_manifest();
        Ok(())
    }

    /// The sequence number of the last committed operation.
    pub(crate) fn latest_sequence(&self) -> u64 {
        self.db.latest_sequence_number()
    }

    /// Calls of the merge operator since the engine was opened.
    pub(crate) fn merge_counts(&self) -> MergeCounts {
        self.options.merge_counts()
    }

    /// Whether the engine still accepts writes, and why not.
    pub(crate) fn health(&self) -> Health {
        let stopped = self.db.property_int_value(properties::IS_WRITE_STOPPED).ok().flatten();
        Health {
            failure: self.failure.lock().clone(),
            background_errors: self.background_errors(),
            write_stopped: stopped.is_some_and(|stopped| stopped != 0),
        }
    }

    /// Roughly how many keys a family has.
    pub(crate) fn keys_estimate(&self, family: &str) -> u64 {
        let Some(handle) = self.handle(family) else { return 0 };
        // As in `family_stats`: RocksDB answers every property that this crate names.
        self.db.property_int_value_cf(&handle, properties::ESTIMATE_NUM_KEYS).ok().flatten().unwrap_or_default()
    }

    /// Statistics of a column family, from metadata only. Zeros for a family that does not exist.
    pub(crate) fn family_stats(&self, family: &str) -> FamilyStats {
        let Some(handle) = self.handle(family) else { return FamilyStats::default() };
        // RocksDB answers every property that this crate names. The one error is a name with a NUL byte, and "none"
        // means a name that it does not know; `tests/save.rs` would see both as zeros.
        let number = |name: &properties::PropName| {
            self.db.property_int_value_cf(&handle, name).ok().flatten().unwrap_or_default()
        };
        let files = |level| number(&properties::num_files_at_level(level));
        FamilyStats {
            keys_estimate: number(properties::ESTIMATE_NUM_KEYS),
            sst_bytes: number(properties::LIVE_SST_FILES_SIZE),
            memtable_bytes: number(properties::CUR_SIZE_ALL_MEM_TABLES),
            pending_compaction_bytes: number(properties::ESTIMATE_PENDING_COMPACTION_BYTES),
            files_per_level: (0..LEVELS).map(files).collect(),
        }
    }

    /// The approximate bytes of files in each key range. Memtables are not included:
    /// [`FamilyStats::memtable_bytes`] bounds what is missing.
    pub(crate) fn approximate_bytes(&self, family: &str, ranges: &[(&[u8], &[u8])]) -> Vec<u64> {
        let Some(handle) = self.handle(family) else { return vec![0; ranges.len()] };
        let ranges: Vec<_> = ranges.iter().map(|(from, to)| rocksdb::Range::new(from, to)).collect();
        self.db.get_approximate_sizes_cf(&handle, &ranges)
    }

    /// Syncs the WAL and flushes all memtables, then stops writes and background work. Reads and snapshots stay valid
    /// until they are dropped; dropping the last one releases the directory.
    pub(crate) fn close(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            return Ok(());
        }
        // A store that has stopped was not synced, and says so again.
        let saved = if matches!(self.mode, Mode::ReadWrite { .. }) { self.save() } else { Ok(()) };
        if !self.closed.swap(true, Ordering::AcqRel) {
            self.db.cancel_all_background_work(true);
        }
        saved
    }

    /// The sync comes first: it is what makes the writes durable, also when there is no space for a flush.
    fn save(&self) -> Result<()> {
        self.sync()?;
        if self.options.settings().flush_on_close { self.flush() } else { Ok(()) }
    }

    pub(super) fn raw(&self) -> &Raw {
        &self.db
    }

    pub(super) fn handle(&self, name: &str) -> Option<Handle<'_>> {
        // `default` belongs to RocksDB and is hidden from the rooms above.
        if name == DEFAULT_FAMILY { None } else { self.db.cf_handle(name) }
    }

    pub(super) fn is_secondary(&self) -> bool {
        matches!(self.mode, Mode::Secondary { .. })
    }

    pub(super) fn writable(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::new(ErrorKind::Closed, "the store is closed"));
        }
        match self.mode {
            Mode::ReadWrite { .. } => self.stopped.get().map_or(Ok(()), |failure| Err(fault::stopped(failure))),
            Mode::ReadOnly | Mode::Secondary { .. } => {
                Err(Error::new(ErrorKind::ReadOnly, "the store was opened for reading"))
            }
        }
    }

    fn background_errors(&self) -> u64 {
        // As in `family_stats`: RocksDB always answers this property.
        self.db.property_int_value(properties::BACKGROUND_ERRORS).ok().flatten().unwrap_or_default()
    }

    fn flush_failed(&self, error: rocksdb::Error) -> Error {
        self.fail(fault::engine(error, "the memtables cannot be written to files; they are still in the WAL"))
    }

    fn fail(&self, error: Error) -> Error {
        self.failure.lock().get_or_insert_with(|| error.clone());
        self.failed.store(true, Ordering::Relaxed);
        error
    }

    /// Takes no more writes. RocksDB would resume by itself once a full disk has space, and then the failed write would
    /// be there or not depending on what else happens until the next open. And a sync that succeeds after one that
    /// failed proves nothing: the operating system may have dropped the pages.
    pub(crate) fn stop(&self, error: Error) -> Error {
        self.stopped.get_or_init(|| error.clone());
        self.fail(error)
    }
}

/// Whether an engine accepts writes.
#[derive(Clone, Debug)]
pub(crate) struct Health {
    /// The first failure since the last successful write.
    pub(crate) failure: Option<Error>,
    /// Failed flushes and compactions since the engine was opened.
    pub(crate) background_errors: u64,
    /// Whether RocksDB stalls all writes until compaction has caught up.
    pub(crate) write_stopped: bool,
}

/// Statistics of one column family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FamilyStats {
    /// Estimated keys. Each operand counts as a key until it is folded.
    pub(crate) keys_estimate: u64,
    pub(crate) sst_bytes: u64,
    pub(crate) memtable_bytes: u64,
    pub(crate) pending_compaction_bytes: u64,
    /// SST files per level, from level 0.
    pub(crate) files_per_level: Vec<u64>,
}

pub(super) fn unread(error: rocksdb::Error, family: &str) -> Error {
    fault::engine(error, &format!("read failed family={family:?}"))
}

fn cannot_record(path: &Path, error: io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("cannot record what is synced path={path:?}")).because(error)
}

fn scratch_directory<'a>(scratch: &'a Path, store: &Path) -> Result<&'a Path> {
    if scratch.starts_with(store) {
        return Err(Error::invalid(format!("the scratch directory lies inside the store path={scratch:?}")));
    }
    fs::create_dir_all(scratch).map_err(|error| {
        Error::new(ErrorKind::Io, format!("cannot create the scratch directory path={scratch:?}")).because(error)
    })?;
    Ok(scratch)
}
