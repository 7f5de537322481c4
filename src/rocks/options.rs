//! Every option of every family, from one table, for every way to open a store.
//!
//! RocksDB does not remember its merge operator. A family opened without it can lose acknowledged writes while `open`
//! says that all is well, and the usual short forms of `open` do just that. So no other module builds options, and
//! every family gets the operator, those that hold no profiles as well.

use std::sync::Arc;

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompressionType, DBRecoveryMode, Options, ReadOptions,
    WriteOptions,
};

use super::glue::{self, Counters, MergeCounts, Operator};
use crate::codec;
use crate::error::{Error, Result};

/// The family that RocksDB insists on. Nothing is stored in it.
pub(super) const DEFAULT_FAMILY: &str = "default";

/// How much a large scan reads ahead, in bytes.
const READAHEAD_BYTES: usize = 2 << 20;

/// The plain settings of an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EngineSettings {
    /// The cache of blocks, shared by all families, in bytes. Default 256 MB; at least 1 MB.
    pub(crate) block_cache_bytes: usize,
    /// What a family holds in memory before it is flushed, in bytes. Default 64 MB; 64 KB to 2 GB.
    pub(crate) memtable_bytes: usize,
    /// Flushes and compactions at the same time. Default: the number of cores, at least 2; 1 to 256.
    pub(crate) background_jobs: usize,
}

impl Default for EngineSettings {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        Self { block_cache_bytes: 256 << 20, memtable_bytes: 64 << 20, background_jobs: cores.clamp(2, 256) }
    }
}

impl EngineSettings {
    pub(super) fn check(&self) -> Result<()> {
        let bounded = [
            ("block_cache_bytes", self.block_cache_bytes, 1 << 20, usize::MAX),
            ("memtable_bytes", self.memtable_bytes, 64 << 10, 2 << 30),
            ("background_jobs", self.background_jobs, 1, 256),
        ];
        for (name, value, min, max) in bounded {
            if value < min || value > max {
                return Err(Error::invalid(format!("setting out of bounds {name}={value} min={min} max={max}")));
            }
        }
        Ok(())
    }
}

/// What all options are built from.
#[derive(Clone)]
pub(super) struct Table {
    settings: EngineSettings,
    operator: Operator,
    counters: Arc<Counters>,
    cache: Cache,
}

impl Table {
    pub(super) fn new(settings: &EngineSettings, operator: Operator) -> Self {
        let cache = Cache::new_lru_cache(settings.block_cache_bytes);
        Self { settings: settings.clone(), operator, counters: Arc::default(), cache }
    }

    pub(super) fn merge_counts(&self) -> MergeCounts {
        self.counters.read()
    }

    /// The families of a store with their options. There is no other way to name one to RocksDB.
    pub(super) fn descriptors(&self, names: &[String]) -> Vec<ColumnFamilyDescriptor> {
        names.iter().map(|name| ColumnFamilyDescriptor::new(name, self.family(name))).collect()
    }

    /// The options of the database as a whole.
    pub(super) fn database(&self, create: bool) -> Options {
        // Some options of families are read from here when a family names none, so they start out the same.
        let mut options = self.family(DEFAULT_FAMILY);
        options.create_if_missing(create);
        // A torn tail is a crash in the middle of an unacknowledged write. Damage before the tail is not, and the
        // default would drop everything after it.
        options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
        options.set_paranoid_checks(true);
        // A log is kept until every family has flushed what it has in there, and one that is hardly ever written does
        // not flush by itself: it would hold up to everything, on disk and to be read at the next opening.
        options.set_max_total_wal_size((self.settings.memtable_bytes as u64).saturating_mul(LOGS_IN_MEMTABLES));
        options.set_max_background_jobs(i32::try_from(self.settings.background_jobs).unwrap_or(i32::MAX));
        // A secondary must hold every file open, because the primary may delete any of them.
        options.set_max_open_files(-1);
        options.set_bytes_per_sync(1 << 20);
        options.set_keep_log_file_num(4);
        options.set_max_log_file_size(16 << 20);
        options
    }

    /// The options of a family. They differ in how the bottom level is packed, and in nothing else: the log is the most
    /// by far, is written once and read in long stretches; rows are read one by one, and unpacked for each.
    pub(super) fn family(&self, name: &str) -> Options {
        let mut options = Options::default();
        glue::install(&mut options, self.operator, &self.counters);
        // It counts the chain at every write and folds under the write lock: two to six times slower.
        options.set_max_successive_merges(0);
        options.set_write_buffer_size(self.settings.memtable_bytes);
        options.set_target_file_size_base(self.settings.memtable_bytes as u64);
        // Few files at level 0, so that operands meet early.
        options.set_level_zero_file_num_compaction_trigger(4);
        options.set_max_bytes_for_level_base((self.settings.memtable_bytes as u64).saturating_mul(4));
        options.set_level_compaction_dynamic_level_bytes(true);
        options.set_compression_type(DBCompressionType::Lz4);
        options.set_bottommost_compression_type(if name == codec::EVENTS {
            DBCompressionType::Zstd
        } else {
            DBCompressionType::Lz4
        });
        options.set_block_based_table_factory(&self.blocks());
        options
    }

    fn blocks(&self) -> BlockBasedOptions {
        let mut blocks = BlockBasedOptions::default();
        blocks.set_block_size(16 << 10);
        // At every level: a key that has only operands is looked for in all of them.
        blocks.set_bloom_filter(10.0, false);
        blocks.set_block_cache(&self.cache);
        blocks.set_cache_index_and_filter_blocks(true);
        blocks.set_cache_index_and_filter_blocks_with_high_priority(true);
        blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
        blocks
    }
}

/// Bytes that logs may have, in memtables.
const LOGS_IN_MEMTABLES: u64 = 4;

/// The options of a large scan, which reads ahead and leaves the cache to others.
pub(super) fn bulk_reads() -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_readahead_size(READAHEAD_BYTES);
    options.fill_cache(false);
    options
}

/// The options of a scan that is one of many: RocksDB reads ahead by itself, in steps that grow as the scan goes on.
pub(super) fn stretch_reads() -> ReadOptions {
    let mut options = ReadOptions::default();
    options.fill_cache(false);
    options
}

/// The options of a write.
pub(super) fn writes(sync: bool) -> WriteOptions {
    let mut options = WriteOptions::default();
    options.set_sync(sync);
    // A family may be dropped between filling a batch and writing it. Its updates are then gone with it; without
    // this, RocksDB would refuse the batch and every write after it.
    options.set_ignore_missing_column_families(true);
    options
}
