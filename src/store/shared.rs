//! What callers, the committing leader and views share of an open store: engine, options, registries, counters.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::RwLock;

use super::changes::RecentChanges;
use super::codes::ChangeRecords;
use super::committed::CommittedKeys;
use super::families::Families;
use super::first_index::FirstEventCache;
use super::joins::SealedJoins;
use super::names::{self, Names, Seen};
use super::probe::family_of_table;
use super::request::Durability;
use super::stats::{TableStats, WriteCounters, WriteStats};
#[cfg(any(test, feature = "laws"))]
use super::turns::CommitFaults;
use super::unsealed::UnsealedEvents;
use crate::codec::{EVENTS, GROUP_PREFIX, GroupKeys, SEGMENT_FAMILIES, SEGMENTS, family_of, first_kind_of, kind_of};
use crate::error::{Error, ErrorKind, Result};
use crate::join::{ChangedIds, ChangedRow, JoinTable, OrdinalCache, TailCache};
use crate::limits::{Limits, LimitsId};
use crate::model::{Kind, Timestamp};
use crate::rocks::{Engine, EngineSettings, EngineSnapshot};
use crate::segment::{BLOCK_EVENTS_MAX, OrdinalIndex};

/// The most names that the property-name registry of a table holds, whatever the limits say.
const NAMES_MAX: usize = 1 << 16;

/// Before the name of a column family of first-event times: those that are kept while it is built anew.
pub(super) const REBUILD_PREFIX: &str = "rebuild:";

/// Where the time of an update without one comes from.
pub(crate) type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The settings of a store; the builder documents each.
#[derive(Clone)]
pub(crate) struct Options {
    pub(crate) limits: Limits,
    pub(crate) durability: Durability,
    pub(crate) fold_after: u16,
    pub(crate) ordinal_cache_bytes: usize,
    pub(crate) sealing: SealSettings,
    pub(crate) create: bool,
    pub(crate) engine: EngineSettings,
    pub(crate) clock: Clock,
}

/// When events are sealed in the background.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SealSettings {
    /// With how many events that are rows. 0: never.
    pub(crate) after: u64,
    /// How long after the last append. Zero: never.
    pub(crate) idle: Duration,
    /// Events of a block.
    pub(crate) block_events: usize,
}

impl Default for SealSettings {
    fn default() -> Self {
        Self { after: 65_536, idle: Duration::from_secs(60), block_events: BLOCK_EVENTS_MAX }
    }
}

impl Options {
    /// The name budget of a table: with at most this many names, no profile can have too many properties.
    pub(super) fn names_max(&self) -> usize {
        self.limits.properties_max.min(NAMES_MAX)
    }
}

/// Fails while first-event times are being built anew, when reads would miss some.
pub(super) fn not_rebuilding(engine: &Engine) -> Result<()> {
    if engine.families_with(REBUILD_PREFIX).is_empty() {
        return Ok(());
    }
    let message = "first-event times are being built anew, or that was interrupted: opening for writing completes it";
    Err(Error::new(ErrorKind::Busy, format!("{message} path={:?}", engine.path())))
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("limits", &self.limits)
            .field("durability", &self.durability)
            .field("fold_after", &self.fold_after)
            .field("ordinal_cache_bytes", &self.ordinal_cache_bytes)
            .field("sealing", &self.sealing)
            .field("create", &self.create)
            .field("engine", &self.engine)
            .finish_non_exhaustive()
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            durability: Durability::default(),
            fold_after: 500,
            ordinal_cache_bytes: 128 << 20,
            sealing: SealSettings::default(),
            create: true,
            engine: EngineSettings::default(),
            clock: Arc::new(system_clock),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the one clock of the library: all below takes times as arguments")]
fn system_clock() -> Timestamp {
    // Before 1970 and after the year 292 million the clock is wrong, and saturates.
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// How a store is opened.
pub(crate) enum Access {
    ReadWrite,
    ReadOnly,
    Secondary { scratch: PathBuf },
}

/// The column families of the event log whose changes are noted.
pub(super) struct LogFamilies {
    pub(super) events: Arc<str>,
    pub(super) segments: Arc<str>,
}

/// An open store without its committer.
pub(crate) struct Shared {
    /// A secondary that catches up gets a new one. Readers keep the one that they started with.
    engine: RwLock<Arc<Engine>>,
    pub(crate) options: Options,
    pub(super) limits_id: LimitsId,
    /// The column family that nearly all writes go to.
    pub(super) users: Arc<str>,
    pub(super) names: RwLock<Names>,
    group_keys: RwLock<Arc<GroupKeys>>,
    pub(super) first_events: FirstEventCache,
    /// How many tables were dropped since the store was opened.
    pub(super) drops: AtomicU64,
    pub(super) counters: WriteCounters,
    pub(super) committed_keys: CommittedKeys,
    pub(crate) unsealed: UnsealedEvents,
    #[cfg(any(test, feature = "laws"))]
    pub(crate) commit_faults: CommitFaults,
    /// Of profiles.
    pub(super) changes: RecentChanges,
    /// Of events, and of column segments.
    pub(super) log_changes: RecentChanges,
    /// Of profiles of users, stored.
    pub(super) change_records: ChangeRecords,
    /// The column families of those that are in memory.
    pub(super) log_families: LogFamilies,
    pub(crate) joins: SealedJoins,
    /// What joins have read of tables, by ordinal.
    pub(crate) ordinal_cache: OrdinalCache,
    /// The events that are not sealed, as joins have read them.
    pub(crate) tail_cache: TailCache,
    /// Ordinals that were given away by this process, or looked up.
    pub(crate) ordinal_index: OrdinalIndex,
}

impl Shared {
    /// `moves`: whether the engine is that of a secondary, which [catches up](Self::catch_up).
    pub(super) fn new(
        engine: Arc<Engine>,
        options: Options,
        names: Names,
        change_records: ChangeRecords,
        moves: bool,
    ) -> Self {
        // What a secondary takes in goes past the cache.
        let cache_bytes = if moves { 0 } else { options.engine.block_cache_bytes / 16 };
        let group_keys = GroupKeys::of(&engine.families_with(GROUP_PREFIX));
        Self {
            engine: RwLock::new(engine),
            users: family_of(&Kind::User),
            names: RwLock::new(names),
            group_keys: RwLock::new(Arc::new(group_keys)),
            first_events: FirstEventCache::new(cache_bytes),
            drops: AtomicU64::new(0),
            counters: WriteCounters::default(),
            committed_keys: CommittedKeys::default(),
            unsealed: UnsealedEvents::default(),
            #[cfg(any(test, feature = "laws"))]
            commit_faults: CommitFaults::default(),
            changes: RecentChanges::default(),
            log_changes: RecentChanges::default(),
            change_records,
            joins: SealedJoins::default(),
            log_families: LogFamilies { events: EVENTS.into(), segments: SEGMENTS.into() },
            ordinal_cache: OrdinalCache::new(options.ordinal_cache_bytes),
            tail_cache: TailCache::default(),
            ordinal_index: OrdinalIndex::default(),
            limits_id: options.limits.id(),
            options,
        }
    }

    pub(crate) fn engine(&self) -> Arc<Engine> {
        Arc::clone(&self.engine.read())
    }

    /// Takes in what the writer has written since. Snapshots and scans stay where they are.
    pub(crate) fn catch_up(&self) -> Result<()> {
        let next = self.engine().caught_up()?;
        not_rebuilding(&next)?;
        *self.engine.write() = Arc::new(next);
        Ok(())
    }

    pub(super) fn read_only(&self) -> Error {
        let engine = self.engine();
        let path = engine.path().display();
        Error::new(ErrorKind::ReadOnly, format!("the store was opened for reading path={path}"))
    }

    /// Creates a column family unless it exists.
    pub(super) fn create_family(&self, family: &str) -> Result<()> {
        if !family.starts_with(GROUP_PREFIX) {
            return self.engine().create_family(family);
        }
        if self.group_keys.read().has_table(family) {
            return Ok(());
        }
        // Under the lock, so that a family that exists for its creator has its group key known to everyone.
        let mut keys = self.group_keys.write();
        let engine = self.engine();
        engine.create_family(family)?;
        *keys = Arc::new(GroupKeys::of(&engine.families_with(GROUP_PREFIX)));
        Ok(())
    }

    /// Fails if the table of a new group key, after `created` that are about to be created, would exceed the limit.
    pub(super) fn check_group_keys(&self, family: &str, created: usize) -> Result<()> {
        let (max, has) = (self.options.limits.group_keys_max, self.group_keys.read().len() + created);
        match family.strip_prefix(GROUP_PREFIX) {
            Some(key) if has >= max => Err(Error::limit(format!(
                "a new group key needs a table, and the store has as many as Limits::group_keys_max allows \
                 group_key={key:?} group_keys={has} group_keys_max={max}"
            ))),
            _ => Ok(()),
        }
    }

    /// Drops the table of a kind with its names and, of groups, its first-event times, and says whether there was
    /// anything. Nothing may be committed meanwhile. After a failure it can be repeated.
    pub(super) fn drop_table(&self, kind: &Kind) -> Result<bool> {
        let Families { rows, first_events, .. } = Families::of(kind.clone());
        let is_group = *kind != Kind::User;
        let mut keys = self.group_keys.write();
        let engine = self.engine();
        let existed = engine.has_family(&rows) || (is_group && engine.has_family(&first_events));
        if !is_group {
            self.forget_codes()?;
        }
        // The rows first: names that are left over cost reads, rows whose names are gone would exceed the limit.
        engine.drop_family(&rows)?;
        *keys = Arc::new(GroupKeys::of(&engine.families_with(GROUP_PREFIX)));
        if is_group {
            // The first events of users are known as long as their events are there.
            engine.drop_family(&first_events)?;
            self.first_events.forget(&first_events);
        }
        let mut batch = engine.batch();
        names::forget(&mut batch, &rows)?;
        batch.commit(true)?;
        self.names.write().forget(&rows);
        self.drops.fetch_add(1, Ordering::AcqRel);
        Ok(existed)
    }

    /// Whether the times of events are added to this column family: those of groups only while their table exists.
    pub(super) fn counts_events(&self, first_family: &str) -> bool {
        self.drops.load(Ordering::Acquire) == 0
            || match first_kind_of(first_family) {
                Some(kind @ Kind::Group(_)) => self.group_keys.read().has_table(&family_of(&kind)),
                Some(Kind::User) | None => true,
            }
    }

    /// The ids of a table whose rows may differ between a snapshot and a sequence number, before or after it, if that
    /// is known: both of the same engine. Ids come with what was written to them since the sequence number, if that is
    /// known.
    pub(crate) fn changes(&self, table: &JoinTable, snapshot: &EngineSnapshot, sequence: u64) -> Option<ChangedIds> {
        self.changes.writes(&family_of_table(table), sequence, snapshot.sequence())
    }

    /// The rows of events that may differ between a sequence number and a snapshot, before or after it, if that is
    /// known: both of the same engine. They come with what the snapshot has, if that is known.
    pub(crate) fn changed_rows(&self, snapshot: &EngineSnapshot, sequence: u64) -> Option<Vec<ChangedRow>> {
        self.log_changes.rows(EVENTS, sequence, snapshot.sequence())
    }

    /// As [`changed_rows`](Self::changed_rows), the keys of headers of column segments. The empty one says that ids
    /// have lost their ordinals.
    pub(crate) fn changed_headers(&self, snapshot: &EngineSnapshot, sequence: u64) -> Option<Vec<Box<[u8]>>> {
        self.log_changes.keys(SEGMENTS, sequence, snapshot.sequence())
    }

    /// The group keys that have tables.
    pub(crate) fn group_keys(&self) -> Arc<GroupKeys> {
        Arc::clone(&self.group_keys.read())
    }

    /// The kinds of profiles that have tables.
    pub(crate) fn kinds(&self) -> Vec<Kind> {
        let mut kinds: Vec<Kind> = self.engine().families().iter().filter_map(|family| kind_of(family)).collect();
        kinds.sort();
        kinds
    }

    pub(crate) fn table_stats(&self) -> Vec<TableStats> {
        let engine = self.engine();
        let names = self.names.read();
        let families = engine.families().into_iter();
        let tables = families.filter_map(|family| kind_of(&family).map(|kind| (family, kind.to_string())));
        let log = engine.has_family(EVENTS).then(|| (EVENTS.to_owned(), EVENTS.to_owned()));
        let mut stats: Vec<TableStats> =
            tables.chain(log).map(|(family, table)| self.stats_of(&engine, &[&family], table, &names)).collect();
        if engine.has_family(SEGMENTS) {
            stats.push(self.stats_of(&engine, &SEGMENT_FAMILIES, SEGMENTS.to_owned(), &names));
        }
        stats
    }

    /// The statistics of a table that is stored in these column families.
    fn stats_of(&self, engine: &Engine, families: &[&str], table: String, names: &Names) -> TableStats {
        let mut sum = TableStats { table, ..TableStats::default() };
        for family in families {
            let stats = engine.family_stats(family);
            sum.profiles_estimate += stats.keys_estimate;
            sum.sst_bytes += stats.sst_bytes;
            sum.memtable_bytes += stats.memtable_bytes;
            sum.pending_compaction_bytes += stats.pending_compaction_bytes;
            sum.files_per_level.resize(sum.files_per_level.len().max(stats.files_per_level.len()), 0);
            sum.files_per_level.iter_mut().zip(stats.files_per_level).for_each(|(sum, files)| *sum += files);
            sum.names += names.get(family).map_or(0, Seen::len);
            sum.wide |= names.get(family).is_some_and(Seen::is_wide);
        }
        sum
    }

    pub(crate) fn write_stats(&self) -> WriteStats {
        self.counters.read()
    }
}
