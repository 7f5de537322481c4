//! The RocksDB options of every column family and of the database, in one place, for every open mode.
//!
//! RocksDB does not persist its merge operator. A column family opened without it can lose acknowledged writes while
//! `open` succeeds, and the usual shorthands of `open` do exactly that. So no other module builds options, and every
//! family gets the operator, including those without profiles.

use std::sync::Arc;

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompressionType, DBRecoveryMode, Options, ReadOptions,
    WriteOptions,
};

use super::merge_operator::{self, MergeCounters, MergeCounts, MergeOperator};
use crate::codec;
use crate::error::{Error, Result};

/// The column family that every RocksDB database has. Nothing is stored in it.
pub(super) const DEFAULT_FAMILY: &str = "default";

/// Read-ahead of a full scan, in bytes.
const READAHEAD_BYTES: usize = 2 << 20;

/// The plain settings of an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EngineSettings {
    /// Block cache shared by all column families, in bytes. Default 256 MB; 1 MB to 1 TB.
    pub(crate) block_cache_bytes: usize,
    /// Memtable size of a column family, in bytes. Default 64 MB; 64 KB to 2 GB.
    pub(crate) memtable_bytes: usize,
    /// Concurrent flushes and compactions. Default: the number of cores, at least 2; 1 to 256.
    pub(crate) background_jobs: usize,
    /// Table files kept open, except by a secondary. Default: half of the files that the process may open; 20 to
    /// 4,194,304.
    pub(crate) open_files_max: Option<usize>,
    /// Whether closing flushes all memtables, so that no write lives in the WAL alone. Default: true.
    pub(crate) flush_on_close: bool,
}

impl Default for EngineSettings {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        Self {
            block_cache_bytes: 256 << 20,
            memtable_bytes: 64 << 20,
            background_jobs: cores.clamp(2, 256),
            open_files_max: None,
            flush_on_close: true,
        }
    }
}

impl EngineSettings {
    /// How many table files are kept open. The other half of the limit is for what the process opens besides.
    fn open_files(&self) -> i32 {
        let half = process_files_max().map_or(OPEN_FILES_MAX, |files| files / 2);
        let files = self.open_files_max.map_or(half, |files| files as u64);
        // It is at most 4,194,304.
        i32::try_from(files.clamp(OPEN_FILES_MIN, OPEN_FILES_MAX)).unwrap_or(i32::MAX)
    }

    pub(super) fn check(&self) -> Result<()> {
        // RocksDB reserves address space for its cache, a seventh of this, and aborts where it cannot.
        let open_files_max = self.open_files_max.map(|files| ("open_files_max", files, OPEN_FILES_MIN, OPEN_FILES_MAX));
        let bounded = [
            ("block_cache_bytes", self.block_cache_bytes, 1 << 20, 1_u64 << 40),
            ("memtable_bytes", self.memtable_bytes, 64 << 10, 2 << 30),
            ("background_jobs", self.background_jobs, 1, 256),
        ];
        for (name, value, min, max) in bounded.into_iter().chain(open_files_max) {
            if !(min..=max).contains(&(value as u64)) {
                return Err(Error::invalid(format!("setting out of bounds {name}={value} min={min} max={max}")));
            }
        }
        Ok(())
    }
}

/// RocksDB opens at least as many, whatever is set.
const OPEN_FILES_MIN: u64 = 20;

/// The capacity of RocksDB's cache of open files.
const OPEN_FILES_MAX: u64 = 1 << 22;

/// How many files this process may open, if there is a limit.
fn process_files_max() -> Option<u64> {
    #[cfg(unix)]
    return rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    #[cfg(not(unix))]
    return None;
}

/// Builds all options. Clones share the block cache and the counters.
#[derive(Clone)]
pub(super) struct EngineOptions {
    settings: EngineSettings,
    operator: MergeOperator,
    counters: Arc<MergeCounters>,
    cache: Cache,
}

impl EngineOptions {
    pub(super) fn new(settings: &EngineSettings, operator: MergeOperator) -> Self {
        // A block that is larger than a shard of the cache is never kept, and the Bloom filter of a file of ten million
        // ids has 12 MB. Shards of this cache have at least 32 MB, or there is one. Those of RocksDB's LRU cache have a
        // sixty-fourth of it each, 4 MB by default.
        let cache = Cache::new_hyper_clock_cache(settings.block_cache_bytes, ENTRY_BYTES_UNKNOWN);
        Self { settings: settings.clone(), operator, counters: Arc::default(), cache }
    }

    pub(super) fn settings(&self) -> &EngineSettings {
        &self.settings
    }

    pub(super) fn merge_counts(&self) -> MergeCounts {
        self.counters.read()
    }

    /// The descriptors of column families. The only way in which families are passed to RocksDB.
    pub(super) fn descriptors(&self, names: &[String]) -> Vec<ColumnFamilyDescriptor> {
        names.iter().map(|name| ColumnFamilyDescriptor::new(name, self.family(name))).collect()
    }

    /// The options of the database as a whole.
    pub(super) fn database(&self, create: bool, keeps_all_open: bool) -> Options {
        // RocksDB takes some column family options from the database options, so both start out the same.
        let mut options = self.family(DEFAULT_FAMILY);
        options.create_if_missing(create);
        // A torn tail is a crash during an unacknowledged write. Damage before the tail is not; the default mode would
        // drop everything after it.
        options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
        options.set_paranoid_checks(true);
        // A WAL file is kept until every family has flushed its part of it. A family that is rarely written does not
        // flush by itself, and would keep the whole WAL on disk, to be replayed on the next open.
        options.set_max_total_wal_size((self.settings.memtable_bytes as u64).saturating_mul(WAL_MEMTABLES_MAX));
        // `EngineSettings::check` bounds it to 256.
        options.set_max_background_jobs(i32::try_from(self.settings.background_jobs).unwrap_or(i32::MAX));
        // A secondary must keep every file open, because the primary may delete any of them. Others would fail where
        // there are more files than the process may open, in the midst of writing as well.
        options.set_max_open_files(if keeps_all_open { -1 } else { self.settings.open_files() });
        options.set_bytes_per_sync(1 << 20);
        options.set_keep_log_file_num(4);
        options.set_max_log_file_size(16 << 20);
        options
    }

    /// The options of a column family. Families differ only in the compression of the bottom level: the event log, as
    /// rows and as columns, is by far the largest, is written once and read in long ranges; rows of profiles are read
    /// one by one, each decompressing a block.
    pub(super) fn family(&self, name: &str) -> Options {
        let mut options = Options::default();
        merge_operator::install(&mut options, self.operator, &self.counters);
        // It counts the operands of the key on every write and folds under the write lock: 2 to 6 times slower.
        options.set_max_successive_merges(0);
        options.set_write_buffer_size(self.settings.memtable_bytes);
        options.set_target_file_size_base(self.settings.memtable_bytes as u64);
        // Few files at level 0, so that operands are composed early.
        options.set_level_zero_file_num_compaction_trigger(4);
        options.set_max_bytes_for_level_base((self.settings.memtable_bytes as u64).saturating_mul(4));
        options.set_level_compaction_dynamic_level_bytes(true);
        options.set_compression_type(DBCompressionType::Lz4);
        let is_log = [codec::EVENTS, codec::CHUNKS, codec::ORDINAL_IDS].contains(&name);
        options.set_bottommost_compression_type(if is_log { DBCompressionType::Zstd } else { DBCompressionType::Lz4 });
        if name == codec::EVENTS {
            // Rows that were sealed one by one leave tombstones, which every scan of their day would skip for long.
            options.add_compact_on_deletion_collector_factory(TOMBSTONES_WINDOW, TOMBSTONES_WINDOW / 2, 0.5);
        }
        options.set_block_based_table_factory(&self.blocks());
        options
    }

    fn blocks(&self) -> BlockBasedOptions {
        let mut blocks = BlockBasedOptions::default();
        blocks.set_block_size(16 << 10);
        // At the bottom level as well: a key that has only operands is searched for in every level.
        blocks.set_bloom_filter(10.0, false);
        blocks.set_block_cache(&self.cache);
        blocks.set_cache_index_and_filter_blocks(true);
        blocks.set_cache_index_and_filter_blocks_with_high_priority(true);
        blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
        blocks
    }
}

/// Entries of the cache are blocks of 16 KB as well as indexes and filters of megabytes.
const ENTRY_BYTES_UNKNOWN: usize = 0;

/// A file of the log with this many entries in a row of which half are tombstones is compacted.
const TOMBSTONES_WINDOW: usize = 8_192;

/// Cap on the total size of WAL files, as a multiple of the memtable size.
const WAL_MEMTABLES_MAX: u64 = 4;

/// Options of a full scan: large read-ahead, does not fill the block cache.
pub(super) fn full_scan_reads() -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_readahead_size(READAHEAD_BYTES);
    options.fill_cache(false);
    options
}

/// Options of a scan that is one of many: automatic read-ahead, which grows with the scan; does not fill the cache.
pub(super) fn long_range_reads() -> ReadOptions {
    let mut options = ReadOptions::default();
    options.fill_cache(false);
    options
}

/// Options of a commit.
pub(super) fn writes(sync: bool) -> WriteOptions {
    let mut options = WriteOptions::default();
    options.set_sync(sync);
    // A family may be dropped between filling a batch and committing it. Its operations are then dropped with it;
    // otherwise RocksDB would refuse the batch and every write after it.
    options.set_ignore_missing_column_families(true);
    options
}
