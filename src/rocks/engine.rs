//! An open store: families of keys and values, read, written in batches, flushed, compacted, closed.
//!
//! A family that does not exist reads as empty, for no profile of that kind was written yet. Writing to it is an
//! error, so that a family is always made on purpose.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use rocksdb::{
    BottommostLevelCompaction, BoundColumnFamily, CompactOptions, DBWithThreadMode, FlushOptions, MultiThreaded,
    ReadOptions, WriteBatch, WriteOptions, properties,
};

use super::fault;
use super::format::{self, Found};
use super::glue::{MergeCounts, Operator};
use super::options::{self, DEFAULT_FAMILY, EngineSettings, Table};
use super::steady;
use crate::error::{Error, ErrorKind, Result};

pub(super) type Raw = DBWithThreadMode<MultiThreaded>;
pub(super) type Handle<'e> = Arc<BoundColumnFamily<'e>>;

/// Keys of one batched read. It bounds what a read pins in memory.
pub(crate) const READ_KEYS_MAX: usize = 1024;

/// RocksDB's own number of levels, which we leave alone.
const LEVELS: usize = 7;

/// How a store is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// For reading and writing, by one process at a time.
    ReadWrite {
        /// Whether a missing or empty directory becomes a store.
        create: bool,
    },
    /// For reading, as it is now. Later writes of another process are not seen.
    ReadOnly,
    /// For reading beside a writer, whose later writes [`Engine::caught_up`] sees.
    Secondary {
        /// A directory of its own for RocksDB's log, outside the store.
        scratch: PathBuf,
    },
}

/// An open store.
pub(crate) struct Engine {
    db: Raw,
    path: PathBuf,
    mode: Mode,
    /// Also for families made later: they must not differ from those found.
    table: Table,
    reads: ReadOptions,
    buffered: WriteOptions,
    synced: WriteOptions,
    /// Also the lock under which families come and go.
    names: Mutex<BTreeSet<String>>,
    failure: Mutex<Option<Error>>,
    failed: AtomicBool,
    closed: AtomicBool,
}

impl Engine {
    /// Opens the store in this directory.
    pub(crate) fn open(path: &Path, mode: Mode, settings: &EngineSettings) -> Result<Self> {
        Self::open_with(path, mode, settings, Operator::PROFILE)
    }

    pub(super) fn open_with(path: &Path, mode: Mode, settings: &EngineSettings, operator: Operator) -> Result<Self> {
        settings.check()?;
        Self::open_table(path, mode, Table::new(settings, operator))
    }

    /// The store as it is now, for a secondary that goes on, with the cache and the counts of this engine.
    ///
    /// RocksDB can make a secondary catch up in place, but must not here: what was replayed from the log stays in
    /// memory when the primary flushes it to a file, until the log has more for that family. To puts that does
    /// nothing. Operands are then folded twice.
    pub(crate) fn caught_up(&self) -> Result<Self> {
        if !self.is_secondary() {
            return Err(Error::invalid("only a secondary can catch up"));
        }
        Self::open_table(&self.path, self.mode.clone(), self.table.clone())
    }

    fn open_table(path: &Path, mode: Mode, table: Table) -> Result<Self> {
        if matches!(mode, Mode::ReadWrite { .. }) {
            return Self::open_once(path, mode, table);
        }
        // A writer goes on meanwhile.
        steady::read(path, || Self::open_once(path, mode.clone(), table.clone()))
    }

    fn open_once(path: &Path, mode: Mode, table: Table) -> Result<Self> {
        let create = mode == Mode::ReadWrite { create: true };
        let found = format::admit(path, create)?;
        let options = table.database(create && found == Found::New);
        // All of them, with our options: RocksDB would open the ones that we do not name, or name by their name
        // alone, without the operator.
        let names = match found {
            Found::New => vec![DEFAULT_FAMILY.to_owned()],
            Found::Existing => Raw::list_cf(&options, path).map_err(|error| fault::open(error, path))?,
        };
        let families = table.descriptors(&names);
        let db = match &mode {
            Mode::ReadWrite { .. } => Raw::open_cf_descriptors(&options, path, families),
            Mode::ReadOnly => Raw::open_cf_descriptors_read_only(&options, path, families, false),
            Mode::Secondary { scratch } => {
                let scratch = scratch_directory(scratch, path)?;
                Raw::open_cf_descriptors_as_secondary(&options, path, scratch, families)
            }
        };
        Ok(Self {
            db: db.map_err(|error| fault::open(error, path))?,
            path: path.to_owned(),
            mode,
            table,
            reads: ReadOptions::default(),
            buffered: options::writes(false),
            synced: options::writes(true),
            names: Mutex::new(names.into_iter().filter(|name| name != DEFAULT_FAMILY).collect()),
            failure: Mutex::new(None),
            failed: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The names of all families, sorted.
    pub(crate) fn families(&self) -> Vec<String> {
        self.names.lock().iter().cloned().collect()
    }

    /// The names of the families whose names begin like this, sorted.
    pub(crate) fn families_with(&self, prefix: &str) -> Vec<String> {
        let names = self.names.lock();
        names.range(prefix.to_owned()..).take_while(|name| name.starts_with(prefix)).cloned().collect()
    }

    pub(crate) fn has_family(&self, name: &str) -> bool {
        self.handle(name).is_some()
    }

    /// Makes a family, unless it is there. Durable when it returns.
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
            .create_cf(name, &self.table.family(name))
            .map_err(|error| fault::engine(error, &format!("cannot create the family family={name:?}")))?;
        names.insert(name.to_owned());
        Ok(())
    }

    /// Drops a family with all it holds, unless it is not there. Snapshots and scans keep what they see.
    #[cfg(test)]
    pub(crate) fn drop_family(&self, name: &str) -> Result<()> {
        self.writable()?;
        let mut names = self.names.lock();
        if !names.contains(name) {
            return Ok(());
        }
        self.db
            .drop_cf(name)
            .map_err(|error| fault::engine(error, &format!("cannot drop the family family={name:?}")))?;
        names.remove(name);
        Ok(())
    }

    /// Reads the value of a key where it lies, without a copy.
    pub(crate) fn read<R>(&self, family: &str, key: &[u8], with: impl FnOnce(Option<&[u8]>) -> R) -> Result<R> {
        self.read_at(&self.reads, family, key, with)
    }

    /// Reads the values of many keys, where they lie. `each` is called once per key, in the order of `keys`, with
    /// the position of the key.
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
            // Sorted keys share blocks. Each is asked once, because repeated keys with operands have a history of bugs.
            let mut unique: Vec<&[u8]> = chunk.iter().map(AsRef::as_ref).collect();
            unique.sort_unstable();
            unique.dedup();
            let values = self.db.batched_multi_get_cf_opt(&handle, unique.iter().copied(), true, options);
            let values: Vec<_> = values.into_iter().collect::<Result<_, _>>().map_err(|error| unread(error, family))?;
            for key in chunk {
                let slot = unique.binary_search(&key.as_ref()).ok();
                let value = slot.and_then(|slot| values.get(slot)).and_then(|value| value.as_deref());
                answers.push(each(answers.len(), value));
            }
        }
        Ok(answers)
    }

    /// Commits operations together. Called by [`Batch`](super::Batch), which knows that they are ours.
    pub(super) fn commit(&self, batch: WriteBatch, sync: bool) -> Result<()> {
        self.writable()?;
        if batch.is_empty() {
            return if sync { self.sync() } else { Ok(()) };
        }
        let options = if sync { &self.synced } else { &self.buffered };
        match self.db.write_opt(batch, options) {
            Ok(()) => {
                if self.failed.load(Ordering::Relaxed) {
                    self.failed.store(false, Ordering::Relaxed);
                    *self.failure.lock() = None;
                }
                Ok(())
            }
            Err(error) => Err(self.write_failed(error)),
        }
    }

    /// Makes everything written so far survive power loss.
    pub(crate) fn sync(&self) -> Result<()> {
        self.writable()?;
        self.db.flush_wal(true).map_err(|error| self.write_failed(error))
    }

    /// Moves everything from memory to files. Folds and composes on the way.
    pub(crate) fn flush(&self) -> Result<()> {
        self.writable()?;
        let names = self.families();
        let handles: Vec<Handle> = names.iter().filter_map(|name| self.handle(name)).collect();
        for handle in &handles {
            let flushed = self.db.flush_cf_opt(handle, &FlushOptions::default());
            flushed.map_err(|error| self.write_failed(error))?;
        }
        Ok(())
    }

    /// Rewrites a whole family, so that no operand is left that no snapshot needs.
    pub(crate) fn compact(&self, family: &str) -> Result<()> {
        self.writable()?;
        let Some(handle) = self.handle(family) else { return Ok(()) };
        let before = self.background_errors();
        let flushed = self.db.flush_cf_opt(&handle, &FlushOptions::default());
        flushed.map_err(|error| self.write_failed(error))?;
        let mut options = CompactOptions::default();
        // Otherwise files may be moved down as they are, with all their operands.
        options.set_bottommost_level_compaction(BottommostLevelCompaction::Force);
        options.set_exclusive_manual_compaction(false);
        self.db.compact_range_cf_opt(&handle, None::<&[u8]>, None::<&[u8]>, &options);
        // The C interface of RocksDB drops the status of a compaction, but not its count of failures.
        if self.background_errors() > before {
            return Err(Error::new(ErrorKind::Io, format!("compaction failed family={family:?}")));
        }
        Ok(())
    }

    /// The number of the last committed operation.
    pub(crate) fn latest_sequence(&self) -> u64 {
        self.db.latest_sequence_number()
    }

    /// How often RocksDB merged, since the engine was opened.
    pub(crate) fn merge_counts(&self) -> MergeCounts {
        self.table.merge_counts()
    }

    /// Whether writes still go through, and what stopped them.
    pub(crate) fn health(&self) -> Health {
        let stopped = self.db.property_int_value(properties::IS_WRITE_STOPPED).ok().flatten();
        Health {
            failure: self.failure.lock().clone(),
            background_errors: self.background_errors(),
            write_stopped: stopped.is_some_and(|stopped| stopped != 0),
        }
    }

    /// What RocksDB knows of a family without reading it.
    pub(crate) fn family_stats(&self, family: &str) -> FamilyStats {
        let Some(handle) = self.handle(family) else { return FamilyStats::default() };
        let number = |name: &properties::PropName| {
            self.db.property_int_value_cf(&handle, name).ok().flatten().unwrap_or_default()
        };
        let files = |level| {
            let text = self.db.property_value_cf(&handle, &*properties::num_files_at_level(level)).ok().flatten();
            text.and_then(|text| text.parse().ok()).unwrap_or_default()
        };
        FamilyStats {
            keys_estimate: number(properties::ESTIMATE_NUM_KEYS),
            sst_bytes: number(properties::LIVE_SST_FILES_SIZE),
            memtable_bytes: number(properties::CUR_SIZE_ALL_MEM_TABLES),
            pending_compaction_bytes: number(properties::ESTIMATE_PENDING_COMPACTION_BYTES),
            files_per_level: (0..LEVELS).map(files).collect(),
        }
    }

    /// How many bytes the files of a family hold between two keys, for each pair of them, roughly. What is still in
    /// memory does not count: [`FamilyStats::memtable_bytes`] is the most that could be missing.
    pub(crate) fn approximate_bytes(&self, family: &str, ranges: &[(&[u8], &[u8])]) -> Vec<u64> {
        let Some(handle) = self.handle(family) else { return vec![0; ranges.len()] };
        let ranges: Vec<_> = ranges.iter().map(|(from, to)| rocksdb::Range::new(from, to)).collect();
        self.db.get_approximate_sizes_cf(&handle, &ranges)
    }

    /// Ends writing and background work, with everything durable. Reads and snapshots go on until they are dropped;
    /// the last of them gives the directory free.
    pub(crate) fn close(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            return Ok(());
        }
        let synced = if self.writable().is_ok() { self.sync() } else { Ok(()) };
        if !self.closed.swap(true, Ordering::AcqRel) {
            self.db.cancel_all_background_work(true);
        }
        synced
    }

    pub(super) fn raw(&self) -> &Raw {
        &self.db
    }

    pub(super) fn handle(&self, name: &str) -> Option<Handle<'_>> {
        // `default` is RocksDB's; for everyone above there is no such family.
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
            Mode::ReadWrite { .. } => Ok(()),
            Mode::ReadOnly | Mode::Secondary { .. } => {
                Err(Error::new(ErrorKind::ReadOnly, "the store was opened for reading"))
            }
        }
    }

    fn background_errors(&self) -> u64 {
        self.db.property_int_value(properties::BACKGROUND_ERRORS).ok().flatten().unwrap_or_default()
    }

    fn write_failed(&self, error: rocksdb::Error) -> Error {
        let halted = self.failed.load(Ordering::Relaxed) || self.background_errors() > 0;
        let error = fault::write(error, halted);
        self.failure.lock().get_or_insert_with(|| error.clone());
        self.failed.store(true, Ordering::Relaxed);
        error
    }
}

/// Whether an engine still takes writes.
#[derive(Clone, Debug)]
pub(crate) struct Health {
    /// The first failure since the last write that went through.
    pub(crate) failure: Option<Error>,
    /// Flushes and compactions that failed since the engine was opened.
    pub(crate) background_errors: u64,
    /// Whether RocksDB holds all writes back until compaction has caught up.
    pub(crate) write_stopped: bool,
}

/// Numbers about one family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FamilyStats {
    /// An estimate: each operand counts as a key until it is folded.
    pub(crate) keys_estimate: u64,
    pub(crate) sst_bytes: u64,
    pub(crate) memtable_bytes: u64,
    pub(crate) pending_compaction_bytes: u64,
    /// Table files at each level, the newest level first.
    pub(crate) files_per_level: Vec<u64>,
}

pub(super) fn unread(error: rocksdb::Error, family: &str) -> Error {
    fault::engine(error, &format!("read failed family={family:?}"))
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
