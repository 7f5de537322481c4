//! An open store: its settings, its threads, its figures.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use parking_lot::{Mutex, RwLock};
use serde::Serialize;

use super::admission::Durability;
use super::commit::{Committer, Request};
use super::group::Leader;
use super::names::Names;
use crate::codec::{EVENTS, META, family_of, kind_of};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;
use crate::model::{Kind, Timestamp};
use crate::rocks::{Action, Engine, EngineSettings, Mode};

/// The most names that a table's register holds, whatever the limits say.
const NAMES_MAX: usize = 1 << 16;

/// Where the time comes from when an update brings none.
pub(crate) type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The settings of a store; the builder documents each.
#[derive(Clone)]
pub(crate) struct Options {
    pub(crate) limits: Limits,
    pub(crate) durability: Durability,
    pub(crate) fold_after: u16,
    pub(crate) create: bool,
    pub(crate) engine: EngineSettings,
    pub(crate) clock: Clock,
}

impl Options {
    /// How many names a table may see and still be written blindly.
    pub(super) fn names_max(&self) -> usize {
        self.limits.properties_max.min(NAMES_MAX)
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("limits", &self.limits)
            .field("durability", &self.durability)
            .field("fold_after", &self.fold_after)
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
            create: true,
            engine: EngineSettings::default(),
            clock: Arc::new(system_clock),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the one clock of the library: all below takes times as arguments")]
fn system_clock() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// How a store is opened.
pub(crate) enum Access {
    ReadWrite,
    ReadOnly,
    Secondary { scratch: PathBuf },
}

/// The engine of a store.
enum Held {
    Fixed(Arc<Engine>),
    /// Of a reader that catches up, which gets a new one. Whoever reads meanwhile keeps the one that he has.
    Moving(RwLock<Arc<Engine>>),
}

/// The engine of a store, for one call.
pub(crate) enum Current<'s> {
    Fixed(&'s Arc<Engine>),
    Moving(Arc<Engine>),
}

impl std::ops::Deref for Current<'_> {
    type Target = Arc<Engine>;

    fn deref(&self) -> &Arc<Engine> {
        match self {
            Self::Fixed(engine) => engine,
            Self::Moving(engine) => engine,
        }
    }
}

/// A store without its thread.
pub(crate) struct Store {
    engine: Held,
    pub(crate) options: Options,
    /// The family that nearly all writes go to.
    pub(super) users: Arc<str>,
    pub(super) names: RwLock<Names>,
    pub(super) counters: Counters,
    committer: Option<Committer>,
}

/// A store and its committer thread, which ends with it.
pub(crate) struct Running {
    store: Arc<Store>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl std::ops::Deref for Running {
    type Target = Arc<Store>;

    fn deref(&self) -> &Arc<Store> {
        &self.store
    }
}

impl Running {
    pub(crate) fn open(path: &Path, access: Access, options: Options) -> Result<Self> {
        let writes = matches!(access, Access::ReadWrite);
        let mode = match access {
            Access::ReadWrite => Mode::ReadWrite { create: options.create },
            Access::ReadOnly => Mode::ReadOnly,
            Access::Secondary { scratch } => Mode::Secondary { scratch },
        };
        let moves = matches!(mode, Mode::Secondary { .. });
        let engine = Arc::new(Engine::open(path, mode, &options.engine)?);
        let (users, counters) = (family_of(&Kind::User), Counters::default());
        if !writes {
            let names = RwLock::default();
            let engine = if moves { Held::Moving(RwLock::new(engine)) } else { Held::Fixed(engine) };
            let store = Arc::new(Store { engine, options, users, names, counters, committer: None });
            return Ok(Self { store, thread: Mutex::new(None) });
        }
        engine.create_family(META)?;
        let names = RwLock::new(Names::load(&engine, options.names_max())?);
        let (committer, parker) = Committer::new(Leader::new());
        let engine = Held::Fixed(engine);
        let store = Arc::new(Store { engine, options, users, names, counters, committer: Some(committer) });
        let served = Arc::clone(&store);
        let thread = std::thread::Builder::new().name("profiledb-commit".into()).spawn(move || {
            if let Some(committer) = &served.committer {
                committer.run(&served, &parker);
            }
        })?;
        Ok(Self { store, thread: Mutex::new(Some(thread)) })
    }

    /// Commits what was submitted and ends the thread. Later writes fail.
    fn stop(&self) {
        if let Some(committer) = &self.store.committer {
            committer.close();
        }
        if let Some(thread) = self.thread.lock().take() {
            // It cannot panic: it runs no code of callers.
            let _ = thread.join();
        }
    }

    /// Commits what was submitted, makes it durable, and ends background work.
    pub(crate) fn close(&self) -> Result<()> {
        self.stop();
        self.store.engine().close()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Store {
    pub(crate) fn engine(&self) -> Current<'_> {
        match &self.engine {
            Held::Fixed(engine) => Current::Fixed(engine),
            Held::Moving(engine) => Current::Moving(Arc::clone(&engine.read())),
        }
    }

    /// Takes in what the writer wrote meanwhile. Snapshots and scans stay where they are.
    pub(crate) fn catch_up(&self) -> Result<()> {
        let next = self.engine().caught_up()?;
        if let Held::Moving(engine) = &self.engine {
            *engine.write() = Arc::new(next);
        }
        Ok(())
    }

    pub(super) fn committer(&self) -> Result<&Committer> {
        self.committer.as_ref().ok_or_else(|| {
            let engine = self.engine();
            let path = engine.path().display();
            Error::new(ErrorKind::ReadOnly, format!("the store was opened for reading path={path}"))
        })
    }

    /// Whether the store takes writes at all.
    pub(crate) fn writable(&self) -> Result<()> {
        self.committer().map(|_| ())
    }

    /// Makes the table of a kind, unless it is there.
    pub(crate) fn create_table(&self, kind: &Kind) -> Result<()> {
        self.writable()?;
        self.engine().create_family(&family_of(kind))
    }

    /// The kinds of profiles that were ever written.
    pub(crate) fn kinds(&self) -> Vec<Kind> {
        let mut kinds: Vec<Kind> = self.engine().families().iter().filter_map(|family| kind_of(family)).collect();
        kinds.sort();
        kinds
    }

    /// The families that hold profiles, with their kinds.
    pub(super) fn profile_families(&self) -> Vec<(String, Kind)> {
        let families = self.engine().families().into_iter();
        families.filter_map(|family| kind_of(&family).map(|kind| (family, kind))).collect()
    }

    /// Folds and rewrites every table, the log and the times of first events, so that no operand is pending afterwards.
    pub(crate) fn compact(&self) -> Result<()> {
        self.writable()?;
        let families = self.engine().families();
        families.iter().try_for_each(|family| self.engine().compact(family))
    }

    pub(crate) fn table_stats(&self) -> Vec<TableStats> {
        let names = self.names.read();
        let tables = self.profile_families().into_iter().map(|(family, kind)| (family, kind.to_string()));
        let log = self.engine().has_family(EVENTS).then(|| (EVENTS.to_owned(), EVENTS.to_owned()));
        let stats = tables.chain(log).map(|(family, table)| {
            let stats = self.engine().family_stats(&family);
            TableStats {
                table,
                profiles_estimate: stats.keys_estimate,
                sst_bytes: stats.sst_bytes,
                memtable_bytes: stats.memtable_bytes,
                pending_compaction_bytes: stats.pending_compaction_bytes,
                files_per_level: stats.files_per_level,
                names: names.get(&family).map_or(0, super::names::Seen::len),
                wide: names.get(&family).is_some_and(|seen| seen.wide),
            }
        });
        stats.collect()
    }
}

/// What a table, or the log, takes, as the engine estimates it.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct TableStats {
    /// `users`, or `group:` and the group key, or `events`, which is the log.
    pub table: String,
    /// Profiles, roughly: every pending operand counts as one more. In the log, events.
    pub profiles_estimate: u64,
    /// Bytes in files.
    pub sst_bytes: u64,
    /// Bytes in memory that are not flushed yet.
    pub memtable_bytes: u64,
    /// Bytes that the engine means to rewrite, roughly.
    pub pending_compaction_bytes: u64,
    /// Files on each level, newest data first.
    pub files_per_level: Vec<u64>,
    /// Distinct property names that were ever written. Not known in a store that is open for reading.
    pub names: usize,
    /// Whether so many names were seen that updates which may create properties read their profile first.
    pub wide: bool,
}

/// What was written since the store was opened.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct WriteStats {
    /// Changes of single profiles.
    pub changes: u64,
    /// Events, those that were sent again as well.
    pub events: u64,
    /// Calls that brought them; a batch is one.
    pub requests: u64,
    /// Batches of the engine that carried them.
    pub commits: u64,
    /// Keys in those batches: fewer than changes where operands of one key were composed on the way.
    pub keys: u64,
}

#[derive(Default)]
pub(super) struct Counters {
    changes: AtomicU64,
    events: AtomicU64,
    requests: AtomicU64,
    commits: AtomicU64,
    keys: AtomicU64,
}

impl Counters {
    pub(super) fn count(&self, requests: &[Request], keys: usize) {
        let changes: usize = requests.iter().map(|request| request.work.writes.len()).sum();
        self.changes.fetch_add(changes as u64, Ordering::Relaxed);
        let beside = requests.iter().flat_map(|request| &request.work.beside);
        // Nothing but events is put whole.
        let events = beside.filter(|operation| matches!(operation.action, Action::Put(_))).count();
        self.events.fetch_add(events as u64, Ordering::Relaxed);
        self.requests.fetch_add(requests.len() as u64, Ordering::Relaxed);
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.keys.fetch_add(keys as u64, Ordering::Relaxed);
    }
}

impl Store {
    pub(crate) fn write_stats(&self) -> WriteStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        WriteStats {
            changes: read(&self.counters.changes),
            events: read(&self.counters.events),
            requests: read(&self.counters.requests),
            commits: read(&self.counters.commits),
            keys: read(&self.counters.keys),
        }
    }
}
